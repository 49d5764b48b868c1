"""Drawn chest X-rays in the published layouts of the three datasets."""
