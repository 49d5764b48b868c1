"""Processes that are started together end together, and say why in the words of the one that failed."""

import multiprocessing
from pathlib import Path
from types import SimpleNamespace

import pytest

from cxrflow.errors import CxrflowError
from cxrflow.models import launch
from cxrflow.models.interrupts import SIGTERM_STATUS
from cxrflow.models.launch import run_ranks
from tests.models import failing_task


def test_an_error_of_any_process_is_raised_here(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CxrflowError) as caught:
        run_ranks(2, "gloo", failing_task.fail_in_one, {"failing": 1, "how": "error"})
    assert str(caught.value) == "what went wrong"
    assert capfd.readouterr().out == "process 0 speaks\n"
    assert not multiprocessing.active_children()


def test_a_killed_process_ends_the_others_and_is_named() -> None:
    with pytest.raises(CxrflowError, match=r"rank 0 of the 2 processes .* ended by SIGKILL .*go on from the last"):
        run_ranks(2, "gloo", failing_task.fail_in_one, {"failing": 0, "how": "kill"})
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(("status", "words"), [(77, ""), (SIGTERM_STATUS, "stopped by SIGTERM")])
def test_the_status_of_a_process_that_leaves_is_kept(
    status: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        launch._raise_failure(SimpleNamespace(exitcode=status, name="rank 0"), 2, tmp_path / "none")  # type: ignore[arg-type]
    assert left.value.code == status
    assert words in capsys.readouterr().out


def test_an_error_that_cannot_be_sent_is_told_as_text() -> None:
    class Local(Exception):
        """Of a class that another process cannot import."""

    try:
        raise Local("the words")
    except Local as error:
        content = launch._pickle_error(error)
    assert "the words" in str(launch.pickle.loads(content))
