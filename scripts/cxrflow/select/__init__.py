"""Which model to take."""
