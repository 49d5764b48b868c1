"""Beside the way of the data: what a user asks before, during and after a run. No stage imports it."""
