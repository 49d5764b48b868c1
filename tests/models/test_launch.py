"""Processes that are started together end together, and say why in the words of the one that failed."""

import multiprocessing
import threading
from pathlib import Path

import pytest

from cxrflow.errors import CxrflowError
from cxrflow.models import launch
from cxrflow.models.interrupts import leave_on_sigterm
from cxrflow.models.launch import run_ranks
from tests.models import rank_tasks


def test_an_error_of_any_process_is_raised_here(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CxrflowError, match="^what went wrong$"):
        run_ranks(2, "gloo", rank_tasks.fail_in_one, {"failing": 1, "how": "error"})
    assert capfd.readouterr().out == "process 0 speaks\n"
    assert not multiprocessing.active_children()


def test_a_killed_process_ends_the_others_and_is_named() -> None:
    with pytest.raises(CxrflowError, match=r"rank 0 of the 2 processes .* ended by SIGKILL .*go on from the last"):
        run_ranks(2, "gloo", rank_tasks.fail_in_one, {"failing": 0, "how": "kill"})
    assert not multiprocessing.active_children()


def test_the_status_of_a_process_that_leaves_is_kept() -> None:
    with pytest.raises(SystemExit) as left:
        run_ranks(2, "gloo", rank_tasks.fail_in_one, {"failing": 0, "how": "leave"})
    assert left.value.code == 77
