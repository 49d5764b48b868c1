"""The lease on a folder of unfinished work: one holder, dead ones replaced, nothing written after it was lost."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cxrflow.errors import CxrflowError
from cxrflow.files import leases
from cxrflow.files.leases import FILE, hold_lease, read_holder

HOLDER = """
    import sys
    from pathlib import Path
    from cxrflow.files.leases import hold_lease
    with hold_lease(Path(sys.argv[1]), "the first copy", heartbeat_s=0.1):
        print("held", flush=True)
        sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "resume"


@pytest.fixture
def other(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lease, as Slurm job 42."""
    scripts = Path(leases.__file__).parents[2]
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), str(folder)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(scripts), "SLURM_JOB_ID": "42"},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def write_foreign_lease(folder: Path, age_s: float = 0.0, **changes: object) -> None:
    """Write the lease of a process on another machine, touched `age_s` ago."""
    folder.mkdir()
    holder = {"host": "node7", "pid": 1, "started": 5, "space": "far", "job": "9", "work": "it", "token": "t"}
    (folder / FILE).write_text(json.dumps(holder | changes))
    touched = time.time() - age_s
    os.utime(folder / FILE, (touched, touched))


def test_a_second_copy_leaves_and_says_who_is_first(other: subprocess.Popen[str], folder: Path) -> None:
    expected = f"the training is already running: process {other.pid} on host .*Slurm job 42"
    with pytest.raises(CxrflowError, match=expected), hold_lease(folder, "the training", wait_s=0.3):
        pytest.fail("both hold it")
    holder = read_holder(folder / FILE)
    assert holder is not None
    assert holder.pid == other.pid


def test_a_second_copy_that_waits_goes_on_when_the_first_ends(other: subprocess.Popen[str], folder: Path) -> None:
    assert other.stdin is not None
    other.stdin.close()
    with hold_lease(folder, "the training", wait_s=30):
        holder = read_holder(folder / FILE)
        assert holder is not None
        assert holder.pid == os.getpid()


def test_a_killed_holder_on_this_machine_is_in_nobodys_way(
    other: subprocess.Popen[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert (folder / FILE).exists()
    with hold_lease(folder, "the training", wait_s=0):
        pass
    assert f"taking over from process {other.pid}" in capsys.readouterr().out
    assert not folder.exists()


def test_a_process_number_that_is_used_again_is_not_taken_for_the_holder(folder: Path) -> None:
    write_foreign_lease(folder, pid=os.getpid(), started=1, space=leases._process_space())
    with hold_lease(folder, "the training", wait_s=0) as lease:
        lease.check()
        holder = read_holder(folder / FILE)
        assert holder is not None
        assert (holder.pid, holder.started) == (os.getpid(), leases._start_of(os.getpid()))


def test_a_process_that_this_user_may_not_see_lives(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_pid: int, _signal: int) -> None:
        raise PermissionError

    write_foreign_lease(folder, pid=2**22 - 1, space=leases._process_space())
    monkeypatch.setattr(os, "kill", refuse)
    with pytest.raises(CxrflowError, match="already running"), hold_lease(folder, "it", wait_s=0):
        pytest.fail("it lives")


def test_a_silent_holder_elsewhere_is_waited_for_and_then_replaced(folder: Path) -> None:
    write_foreign_lease(folder, age_s=100)
    with pytest.raises(CxrflowError, match="process 1 on host node7"), hold_lease(folder, "it", wait_s=0, stale_s=120):
        pytest.fail("it may still live")
    with hold_lease(folder, "it", wait_s=0, stale_s=90):
        pass


def test_a_lease_with_a_time_in_the_future_ages_from_now_on(folder: Path) -> None:
    """Nobody touches it, so that it would have refused for good."""
    write_foreign_lease(folder, age_s=-10_000)
    with hold_lease(folder, "it", wait_s=20, stale_s=0.5) as lease:
        lease.check()


def test_a_living_holder_is_not_stale(other: subprocess.Popen[str], folder: Path) -> None:
    """It is touched all the time: waiting for longer than it takes to go stale changes nothing."""
    with pytest.raises(CxrflowError, match="already running"), hold_lease(folder, "it", wait_s=2.0, stale_s=1.0):
        pytest.fail("both hold it")


def test_a_holder_that_stood_still_writes_nothing_more(folder: Path) -> None:
    with hold_lease(folder, "the first", heartbeat_s=60) as first:
        first.check()
        os.utime(folder / FILE, (0, 0))
        with hold_lease(folder, "the second", wait_s=0, stale_s=90) as second:
            second.check()
            with pytest.raises(CxrflowError, match="the first was taken over by process"):
                first.check()
            first.release()
            second.check()  # the first has not removed the second's


def test_of_many_that_take_over_exactly_one_holds_it(folder: Path) -> None:
    write_foreign_lease(folder, age_s=1000)
    code = """
        import sys, time
        from pathlib import Path
        from cxrflow.errors import CxrflowError
        from cxrflow.files.leases import hold_lease
        try:
            with hold_lease(Path(sys.argv[1]), "it", wait_s=0):
                print("held"); time.sleep(3)
        except CxrflowError:
            print("left")
    """
    environment = {"PYTHONPATH": str(Path(leases.__file__).parents[2])}
    command = [sys.executable, "-c", textwrap.dedent(code), str(folder)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(6)]
    said = [run.communicate()[0].splitlines()[-1] for run in runs]
    assert sorted(said) == ["held", *["left"] * 5]


def test_without_links_the_lease_is_made_another_way(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(leases.errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    with hold_lease(folder, "it") as lease:
        lease.check()
        with pytest.raises(CxrflowError, match="already running"), hold_lease(folder, "it", wait_s=0):
            pytest.fail("both hold it")


def test_a_lease_that_cannot_be_seen_for_a_moment_stays_held(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process puts it back, or a network fails; its file goes on being touched."""
    monkeypatch.setattr(leases, "CHECK_PAUSES_S", (0.3, 0.0))
    with hold_lease(folder, "it", heartbeat_s=0.05) as lease:
        os.rename(folder / FILE, folder / "aside")
        threading.Timer(0.2, os.rename, (folder / "aside", folder / FILE)).start()
        lease.check()
        os.utime(folder / FILE, (0, 0))
        waited_until = time.monotonic() + 20
        while (folder / FILE).stat().st_mtime == 0 and time.monotonic() < waited_until:
            time.sleep(0.05)
        assert (folder / FILE).stat().st_mtime > 0


def test_a_lease_that_is_gone_ends_the_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "CHECK_PAUSES_S", (0.0,))
    with hold_lease(folder, "it") as lease:
        (folder / FILE).unlink()
        with pytest.raises(CxrflowError, match=r"lease\.json is gone.*run the same command again"):
            lease.check()


def test_a_link_that_nfs_sends_twice_is_no_other_holders(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def link_twice(source: Path, path: Path) -> None:
        link(source, path)
        link(source, path)

    monkeypatch.setattr(os, "link", link_twice)
    with hold_lease(folder, "it", wait_s=0) as lease:
        lease.check()


def test_a_folder_with_something_in_it_stays(folder: Path) -> None:
    with hold_lease(folder, "the training"):
        (folder / "checkpoint").touch()
    assert [path.name for path in folder.iterdir()] == ["checkpoint"]
