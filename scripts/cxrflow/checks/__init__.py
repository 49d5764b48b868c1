"""What a study's numbers do and do not show: each check is one decorated function, found by walking this folder."""
