import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from cxrflow.errors import CxrflowError
from cxrflow.models import locks
from cxrflow.models.locks import hold_lock

HOLDER = """
    import sys, time
    from pathlib import Path
    from cxrflow.models.locks import hold_lock
    with hold_lock(Path(sys.argv[1]), "the first copy"):
        print("held", flush=True)
        time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds tmp_path/resume/lock. Locks of one process never exclude each other."""
    scripts = Path(locks.__file__).parents[2]
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), str(tmp_path / "resume" / "lock")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(scripts), "SLURM_JOB_ID": "42"}
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_copy_leaves_and_says_who_is_first(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    path = tmp_path / "resume" / "lock"
    with (
        pytest.raises(
            CxrflowError, match=f"the training is already running: process {holder.pid} on host .*Slurm job 42"
        ),
        hold_lock(path, "the training"),
    ):
        pytest.fail("both hold it")
    assert path.exists()  # the second copy has not removed the first one's


def test_a_killed_holder_is_in_nobodys_way(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    path = tmp_path / "resume" / "lock"
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert path.exists()
    with hold_lock(path, "the training"):
        pass
    assert not path.parent.exists()


def test_folder_with_something_in_it_stays(tmp_path: Path) -> None:
    with hold_lock(tmp_path / "resume" / "lock", "the training"):
        (tmp_path / "resume" / "checkpoint").touch()
    assert [path.name for path in (tmp_path / "resume").iterdir()] == ["checkpoint"]


def test_file_system_without_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(locks.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "lockf", refuse)
    with hold_lock(tmp_path / "lock", "the training"):
        pass
    assert "has no locks; make sure that no second copy of the training runs" in capsys.readouterr().out


def test_a_lock_file_removed_while_it_was_opened_is_not_taken_for_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first copy ends between our open and our lock: we must not hold a file that nobody else can find."""
    path, lock = tmp_path / "lock", locks.fcntl.lockf
    removals = [path]

    def lock_too_late(descriptor: int, operation: int) -> None:
        for removed in removals[:]:
            removed.unlink()
            removals.remove(removed)
        lock(descriptor, operation)

    monkeypatch.setattr(locks.fcntl, "lockf", lock_too_late)
    with hold_lock(path, "the training"):
        assert path.read_text().startswith("process ")
