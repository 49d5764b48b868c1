"""What a study's numbers do and do not show: verdicts."""
