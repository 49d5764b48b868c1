"""Runs of the workflow, seen from outside: what would run, what it took elsewhere, what it will take."""
