"""Shared by the tests of results."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def single_thread() -> None:
    """Compute on one core: on a shared machine, threads that wait for another core cost more than they save."""
    torch.set_num_threads(1)
