"""States of jobs from made-up queues, leases, logs and processes; the page that a user sees."""

import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from cxrflow.files.leases import STALE_S, Holder, hold_lease
from cxrflow.files.records import EpochRow
from cxrflow.models.progress import epoch_line
from cxrflow.operate.estimates import Estimator
from cxrflow.operate.jobs import Job
from cxrflow.operate.states import find_state, look
from cxrflow.operate.watching import describe_study
from tests.operate.conftest import FakeCommand, job_line, make_study, model_job, write, write_profile

TRAIN, EVALUATE = model_job(), model_job("evaluate")
COMMENT = "rule_train_wildcards_covid_resnet34_scratch_base_0"
LEASE = Path(TRAIN.log).parent / "resume/lease.json"


def state_of(folder: Path, job: Job = TRAIN) -> tuple[str, str]:
    state = find_state(job, look(folder))
    return state.name, state.why


def describe(folder: Path, jobs: list[Job], remaining: list[Job], epochs: int = 10, **changes: Any) -> str:
    study = make_study(train={"epochs": epochs, "batch_size": 16, "precise_batch_norm_images": 0}, **changes)
    return describe_study(Estimator(study, has_gpu=False), jobs, remaining, look(folder))


def write_epochs(job: Job, *seconds: float) -> None:
    rows = (EpochRow(i, 1e-3, 0.5, 0.7, 0.6, 0.65, each, 10.0) for i, each in enumerate(seconds, start=1))
    write(Path(job.log), "\n".join(["header", *(epoch_line(row, False) for row in rows)]) + "\n")


def write_lease(*, age_s: float, job_id: str = "") -> None:
    holder = Holder("node7", pid=4, started=1, space="far", job=job_id, work="it", token="t")
    touched = time.time() - age_s
    os.utime(write(LEASE, json.dumps(asdict(holder))), (touched, touched))


def test_a_fresh_lease_runs_and_an_old_one_is_dead(folder: Path, bare_path: Path) -> None:
    write_epochs(TRAIN, 60, 60, 60)
    write_lease(age_s=1)
    assert state_of(folder) == ("running", "process 4 on node7")
    assert state_of(folder, EVALUATE)[0] == "not started", "the lease is the training's"
    write_lease(age_s=STALE_S + 5)
    assert state_of(folder)[0] == "stopped"


def test_a_lease_that_is_held_is_seen(folder: Path, bare_path: Path) -> None:
    with hold_lease(LEASE.parent, "it"):
        assert state_of(folder) == ("running", f"process {os.getpid()} on {platform.node()}")
    write(LEASE, '{"host": "no')
    assert state_of(folder)[0] == "not started", "a lease in the making is not an error"


def test_an_old_lease_lives_while_its_job_is_in_the_queue(folder: Path, fake: FakeCommand) -> None:
    fake("squeue", job_line("77", "RUNNING", "rule_group", folder))
    write_lease(age_s=STALE_S + 5, job_id="77")
    assert state_of(folder) == ("running", "job 77 on node7")


@pytest.mark.parametrize(
    ("state", "expected"),
    [("PENDING", "queued"), ("RUNNING", "running"), ("TIMEOUT", "failed"), ("CANCELLED", "not started")],
)
def test_the_queue_decides(folder: Path, fake: FakeCommand, state: str, expected: str) -> None:
    fake("squeue", job_line("12", state, COMMENT, folder))
    found, why = state_of(folder)
    assert found == expected
    assert expected == "not started" or "12" in why


def test_a_retry_in_the_queue_counts_more_than_the_failure_before(folder: Path, fake: FakeCommand) -> None:
    fake("squeue", job_line("9", "FAILED", COMMENT, folder) + job_line("10", "PENDING", COMMENT, folder))
    assert state_of(folder)[0] == "queued"


def test_a_job_that_others_share_is_seen_as_theirs(folder: Path, fake: FakeCommand) -> None:
    fake("squeue", job_line("12", "PENDING", "rule_models0_evaluate_train", folder))
    jobs = [TRAIN, EVALUATE, model_job("score")]
    rows = [line.split() for line in describe(folder, jobs, jobs, compute={"trainings_per_job": 2}).splitlines()]
    assert ["jobs", "queued", "not", "started"] in rows
    assert [row for row in rows if row[1:2] == ["1"] or row[:1] == ["score"]] == [
        ["train", "1", "."],
        ["evaluate", "1", "."],
        ["score", ".", "1"],
    ]
    assert ["train", "1"] in [line.split() for line in describe(folder, [TRAIN], [TRAIN]).splitlines()]


def test_jobs_of_other_folders_and_other_models_do_not_count(folder: Path, fake: FakeCommand) -> None:
    other = COMMENT.replace("covid", "other")
    fake("squeue", job_line("1", "RUNNING", COMMENT, Path("/elsewhere")) + job_line("2", "RUNNING", other, folder))
    assert state_of(folder)[0] == "not started"


def test_a_job_that_slurm_killed_is_known_by_the_last_slurm_log(folder: Path, fake: FakeCommand) -> None:
    fake("squeue")
    logs = Path("logs/slurm/rule_train/covid_resnet34_scratch_base_0")
    write(logs / "101.log", "slurmstepd: error: *** JOB 101 ON node1 CANCELLED AT 2026 DUE TO TIME LIMIT ***\n")
    assert state_of(folder) == ("failed", "job 101: *** JOB 101 ON node1 CANCELLED AT 2026 DUE TO TIME LIMIT ***")
    write(logs / "99.log", "nothing")
    assert state_of(folder)[0] == "failed"
    write(logs / "102.log", "slurmstepd: error: *** JOB 102 ON node1 CANCELLED AT 2026 ***\n")
    assert state_of(folder)[0] == "not started", "somebody cancelled it"


@pytest.mark.parametrize(
    ("end", "expected", "words"),
    [
        ("error: images.npy does not exist", "failed", "images.npy does not exist"),
        ("error: the settings are wrong:\n  epochs: 0 is out of range", "failed", "the settings are wrong:"),
        ("torch.OutOfMemoryError: CUDA out of memory.", "failed", "torch.OutOfMemoryError: CUDA out of memory."),
        (
            "stopped by SIGTERM: run the same command",
            "stopped",
            "the log ends: stopped by SIGTERM: run the same command",
        ),
    ],
)
def test_the_end_of_a_log_decides_when_nothing_runs(
    folder: Path, bare_path: Path, end: str, expected: str, words: str
) -> None:
    write(Path(TRAIN.log), f"epoch\n{end}\n\n")
    assert state_of(folder) == (expected, words)


@pytest.mark.parametrize(("started", "state"), [("scripts/train.py", "running"), ("snakemake", "not started")])
def test_a_process_of_this_machine_is_seen_by_the_files_it_makes(
    folder: Path, bare_path: Path, started: str, state: str
) -> None:
    """Snakemake itself, asked for a file, does not make it."""
    script = write(folder / started, "import sys; print('begun', flush=True); sys.stdin.read()")
    command = [sys.executable, script, "--model", TRAIN.outputs[0]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            assert state_of(folder)[0] == state
        finally:
            process.communicate()
    assert state_of(folder)[0] == "not started"


def test_a_queue_that_does_not_answer_is_said_and_the_files_are_still_read(folder: Path, fake: FakeCommand) -> None:
    fake("squeue", status=1, error="Unable to contact slurm controller")
    write_epochs(TRAIN, 60, 60)
    page = describe(folder, [TRAIN], [TRAIN])
    assert "Unable to contact slurm controller" in page
    assert "stopped" in page


def test_the_page_of_a_running_study(folder: Path, fake: FakeCommand) -> None:
    fake("squeue", job_line("12", "RUNNING", COMMENT, folder))
    write_epochs(TRAIN, 60, 60, 60, 60)
    second, done = model_job(seed=1), model_job(seed=2)
    jobs = [TRAIN, second, done, EVALUATE]
    page = describe(folder, jobs, [TRAIN, second, EVALUATE])
    assert "new at " in page
    assert "1 of 3 models complete" in page
    assert "epoch 4 of 10 done, val loss 0.6000, val macro F1 0.6500, 60.0 s an epoch, 6 min left" in page
    assert "time left: at least 6 min of training" in page
    assert "not counted, as nothing is known of their speed yet: 1 trainings" in page
    rows = [line.split() for line in page.splitlines()]
    assert ["train", "1", "1", "1"] in rows
    write_profile()  # 10 epochs of 210 / 20 + 45 / 80 s
    page = describe(folder, jobs, [TRAIN, second, EVALUATE])
    assert "time left: at least 7.8 min of training" in page
    assert "not counted" not in page


def test_an_epochs_time_is_that_of_the_last_ones(folder: Path, bare_path: Path) -> None:
    write_lease(age_s=1)
    write_epochs(TRAIN, 900, 900, 60, 61, 62, 63, 64)
    assert "62.0 s an epoch" in describe(folder, [TRAIN], [TRAIN])


def test_the_page_of_a_finished_study_needs_no_slurm(folder: Path, bare_path: Path) -> None:
    page = describe(folder, [TRAIN, EVALUATE], [])
    assert "1 of 1 models complete" in page
    assert "all trainings are done" in page
    assert "no Slurm here" in page
    assert "no Snakemake is seen" not in page


def test_what_failed_is_listed_with_its_log(folder: Path, bare_path: Path) -> None:
    write(Path(TRAIN.log), "error: no tea\n")
    page = describe(folder, [TRAIN, EVALUATE], [TRAIN, EVALUATE])
    assert f"failed\n  {TRAIN.title}: no tea; log: {TRAIN.log}" in page
    assert "time left: unknown" in page


def test_looking_changes_nothing(folder: Path, fake: FakeCommand) -> None:
    fake("squeue", job_line("12", "RUNNING", COMMENT, folder))
    write_epochs(TRAIN, 60, 60, 60, 60)
    write_lease(age_s=1)
    before = {path: os.stat(path).st_mtime_ns for path in folder.rglob("*")}
    describe(folder, [TRAIN], [TRAIN])
    assert {path: os.stat(path).st_mtime_ns for path in folder.rglob("*")} == before


def test_the_log_of_a_finished_training_is_no_progress_of_the_next(folder: Path, bare_path: Path) -> None:
    """After a changed setting the training is to be repeated, and its old log says that all epochs are done."""
    write_epochs(TRAIN, 10)
    for path in TRAIN.outputs:
        write(Path(path))
    page = describe(folder, [TRAIN], [TRAIN])
    assert "stopped" not in page
    assert "time left: unknown" in page
    Path(TRAIN.outputs[0]).unlink()
    assert "time left: unknown" in describe(folder, [TRAIN], [TRAIN]), "its outputs go when it is submitted"
    write(LEASE.with_name("key") / "epoch_0010.pt")
    assert "time left: at least" in describe(folder, [TRAIN], [TRAIN]), "a checkpoint is progress"


def test_a_lease_of_the_future_is_as_old_as_one_of_the_past(folder: Path, bare_path: Path) -> None:
    write_lease(age_s=-STALE_S - 100)
    assert state_of(folder)[0] == "not started"


def test_a_training_that_stands_still_is_named_with_the_command_that_ends_it(folder: Path, fake: FakeCommand) -> None:
    fake("squeue", job_line("12", "RUNNING", COMMENT, folder))
    write_epochs(TRAIN, 60, 60)
    for silent_s, is_stalled in ((800, False), (1000, True)):
        os.utime(TRAIN.log, times=(time.time() - silent_s,) * 2)
        assert ("STALLED" in describe(folder, [TRAIN], [TRAIN])) is is_stalled
    assert "scancel 12 ends it" in describe(folder, [TRAIN], [TRAIN])
    write_epochs(TRAIN, 600, 600)
    os.utime(TRAIN.log, times=(time.time() - 1000,) * 2)
    assert "STALLED" not in describe(folder, [TRAIN], [TRAIN]), "an epoch takes ten minutes"


def test_a_job_that_slurm_has_forgotten_is_named_while_a_head_waits_for_it(folder: Path, fake: FakeCommand) -> None:
    lines = [
        "SLURM run ID: x",
        *(f"Job {number} has been submitted with SLURM jobid 1{number} (log: l)." for number in range(5)),
        "Finished jobid: 0 (Rule: train)",
        "    message: SLURM-job '11' failed, SLURM status is: 'FAILED'.",
        "Job 5 runs already, as SLURM job 15 of the last head: it is taken over.",
    ]
    write(folder / ".snakemake/log/2026-11-26T200000.000000.snakemake.log", "\n".join(lines) + "\n")
    queue = job_line("13", "RUNNING", COMMENT, folder) + job_line("14", "COMPLETED", "rule_index", folder)
    fake("squeue", queue)
    assert "forgotten" not in describe(folder, [TRAIN], [TRAIN]), "no Snakemake waits"
    fake("squeue", queue + job_line("9", "RUNNING", "", folder, name="cxrflow_head"))
    said = describe(folder, [TRAIN], [TRAIN])
    assert "Slurm has forgotten job 12, 15, and Snakemake would wait for it for ever" in said
    assert "scancel --full --signal=KILL 9; then python scripts/recover.py" in said
    assert "Snakemake runs here: job 9" in said
