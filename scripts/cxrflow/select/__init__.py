"""Which model to take, chosen on validation images."""
