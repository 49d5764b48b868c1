import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cxrflow.data import reading
from cxrflow.data.reading import describe_end, map_in_parallel
from cxrflow.errors import CxrflowError
from tests.data.shared_task import add_process, die_at_three, fail_at_three

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def few_images(monkeypatch):
    monkeypatch.setattr(reading, "PROCESS_FROM", 2)


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_processes_share_the_work_in_order_and_end_with_it():
    results = list(map_in_parallel(add_process, range(60), 2, holds_lock=True))
    assert [number for number, _ in results] == list(range(60))
    workers = {pid for _, pid in results}
    assert len(workers) == 2
    assert os.getpid() not in workers
    assert not any(is_alive(pid) for pid in workers)


@pytest.mark.parametrize(("threads", "holds_lock", "n"), [(1, True, 60), (3, False, 60), (3, True, 5)])
def test_no_process_where_it_would_not_pay(threads, holds_lock, n):
    results = list(map_in_parallel(add_process, range(n), threads, holds_lock=holds_lock))
    assert results == [(number, os.getpid()) for number in range(n)]


def test_an_error_reaches_the_caller_as_it_was():
    with pytest.raises(CxrflowError, match="film 3 is gone: put it back"):
        list(map_in_parallel(fail_at_three, range(20), 2, holds_lock=True))


def test_a_process_that_is_killed_is_reported_with_what_killed_it():
    with pytest.raises(CxrflowError, match=r"was killed by signal 9 \(SIGKILL\): memory that ran out is one cause"):
        list(map_in_parallel(die_at_three, range(60), 2, holds_lock=True))


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        ([-9, -15, None], "killed by signal 9 (SIGKILL): memory that ran out is one cause"),
        ([-15, -11], "killed by signal 11 (SIGSEGV): a library crashed"),
        ([0, 3, -15], "ended by itself with status 3"),
        ([-15, -15], "ended from outside (SIGTERM), or nobody knows how"),
        ([], "nobody knows how"),
        ([-64], "killed by signal 64"),
    ],
)
def test_only_a_kill_that_memory_can_cause_is_said_to_be_one(codes, words):
    assert words in describe_end(codes)
    assert ("memory" in describe_end(codes)) == (-9 in codes)


def test_stopping_early_ends_the_processes():
    results = map_in_parallel(add_process, range(60), 2, holds_lock=True)
    _, worker = next(results)
    results.close()
    assert not is_alive(worker)


def test_the_processes_end_when_who_began_them_is_killed(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from cxrflow.data.reading import map_in_processes\n"
        "from tests.data.shared_task import write_process\n"
        "if __name__ == '__main__':\n"
        "    for _ in map_in_processes(write_process, [Path(sys.argv[1])] * 60, 2):\n"
        "        if len(list(Path(sys.argv[1]).iterdir())) == 2:\n"
        "            print('ready', flush=True)\n"
        "            time.sleep(600)\n"
    )
    search = os.pathsep.join([str(ROOT / "scripts"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": search}
    ) as run:
        assert run.stdout.readline() == b"ready\n"
        workers = [int(path.name) for path in tmp_path.iterdir()]
        assert len(workers) == 2
        run.send_signal(signal.SIGKILL)
    for _ in range(300):
        if not any(is_alive(pid) for pid in workers):
            return
        time.sleep(0.1)
    pytest.fail("the processes live on")
