"""Synthetic chest X-rays (phantoms) in the published layouts of the three datasets."""
