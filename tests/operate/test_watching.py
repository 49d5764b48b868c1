"""States of steps from made-up queues, leases, logs and files; the page that a user sees."""

import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from cxrflow.config.identity import ModelId
from cxrflow.config.study import Study, load_study
from cxrflow.files.leases import STALE_S, Holder, hold_lease
from cxrflow.files.records import EpochRow
from cxrflow.models.progress import epoch_line
from cxrflow.operate.evidence import look, see_step
from cxrflow.operate.steps import MODEL_OUTPUTS, Step, expected_steps
from cxrflow.operate.watching import describe_study
from tests.operate.conftest import FakeCommand, job_line

MODEL = ModelId("covid", "resnet34")
COMMENT = "rule_train_wildcards_covid_resnet34_scratch_base_0"


@pytest.fixture
def study() -> Study:
    datasets = {name: {"reader": "folders", "folder": name} for name in ("covid", "other")}
    return load_study({"study": "toy", "datasets": datasets, "backbones": ["resnet34"], "train": {"epochs": 10}})


@pytest.fixture
def step(study: Study) -> Step:
    return next(step for step in expected_steps(study) if step.comment == COMMENT)


def state_of(folder: Path, step: Step) -> tuple[str, str]:
    sight = see_step(step, look(folder, [step]))
    return sight.state, sight.why


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_epochs(log: Path, n: int, seconds: float = 60.0) -> None:
    rows = (EpochRow(i, 1e-3, 0.5, 0.7, 0.6, 0.65, seconds, 10.0) for i in range(1, n + 1))
    write(log, "\n".join(["header", *(epoch_line(row, False) for row in rows)]) + "\n")


def write_lease(step: Step, *, age_s: float, job_id: str = "") -> None:
    holder = Holder("node7", pid=4, started=1, space="far", job=job_id, work="it", token="t")
    assert step.lease
    write(step.lease, json.dumps(asdict(holder)))
    touched = time.time() - age_s
    os.utime(step.lease, (touched, touched))


def test_a_step_is_done_when_all_its_files_are_there(folder: Path, bare_path: Path, step: Step) -> None:
    write(step.outputs[0])
    assert state_of(folder, step)[0] == "not started"
    for path in step.outputs:
        write(path)
    assert state_of(folder, step)[0] == "done"


def test_a_fresh_lease_runs_and_an_old_one_is_dead(folder: Path, bare_path: Path, step: Step) -> None:
    write_epochs(step.log, 3)
    write_lease(step, age_s=1)
    assert state_of(folder, step) == ("running", "process 4 on node7")
    write_lease(step, age_s=STALE_S + 5)
    assert state_of(folder, step)[0] == "stopped"


def test_a_lease_that_is_held_is_seen(folder: Path, bare_path: Path, step: Step) -> None:
    assert step.lease
    with hold_lease(step.lease.parent, "it"):
        assert state_of(folder, step) == ("running", f"process {os.getpid()} on {platform.node()}")


def test_a_trainings_lease_says_nothing_of_the_models_other_steps(
    folder: Path, bare_path: Path, study: Study, step: Step
) -> None:
    write_lease(step, age_s=1)
    evidence = look(folder, [step])
    running = {each.rule for each in expected_steps(study) if see_step(each, evidence).state == "running"}
    assert running == {"train"}


def test_an_old_lease_lives_while_its_job_is_in_the_queue(folder: Path, fake: FakeCommand, step: Step) -> None:
    fake("squeue", job_line("77", "RUNNING", "rule_group", folder))
    write_lease(step, age_s=STALE_S + 5, job_id="77")
    assert state_of(folder, step) == ("running", "job 77 on node7")


def test_a_lease_in_the_making_is_no_error(folder: Path, bare_path: Path, step: Step) -> None:
    assert step.lease
    write(step.lease, '{"host": "no')
    assert state_of(folder, step)[0] == "not started"


@pytest.mark.parametrize(
    ("state", "expected"),
    [("PENDING", "queued"), ("RUNNING", "running"), ("TIMEOUT", "failed"), ("CANCELLED", "not started")],
)
def test_the_queue_decides(folder: Path, fake: FakeCommand, step: Step, state: str, expected: str) -> None:
    fake("squeue", job_line("12", state, COMMENT, folder))
    found, why = state_of(folder, step)
    assert found == expected
    assert expected == "not started" or "12" in why


def test_a_retry_in_the_queue_counts_more_than_the_failure_before(folder: Path, fake: FakeCommand, step: Step) -> None:
    fake("squeue", job_line("9", "FAILED", COMMENT, folder) + job_line("10", "PENDING", COMMENT, folder))
    assert state_of(folder, step)[0] == "queued"


def test_jobs_of_other_folders_and_other_models_do_not_count(folder: Path, fake: FakeCommand, step: Step) -> None:
    other = COMMENT.replace("covid", "other")
    fake("squeue", job_line("1", "RUNNING", COMMENT, Path("/elsewhere")) + job_line("2", "RUNNING", other, folder))
    assert state_of(folder, step)[0] == "not started"


def test_a_job_that_left_the_queue_is_looked_up_by_its_slurm_log(folder: Path, fake: FakeCommand, step: Step) -> None:
    fake("squeue")
    fake("sacct", "101|OUT_OF_MEMORY\n")
    logs = Path("logs/slurm/rule_train/covid_resnet34_scratch_base_0")
    write(logs / "99.log")
    write(logs / "101.log")
    assert state_of(folder, step) == ("failed", "job 101: OUT_OF_MEMORY")


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("error: images.npy is not there", "failed"),
        ("torch.OutOfMemoryError: CUDA out of memory.", "failed"),
        ("stopped by SIGTERM: run the same command again to go on", "stopped"),
    ],
)
def test_the_end_of_a_log_decides_when_nothing_runs(
    folder: Path, bare_path: Path, step: Step, end: str, expected: str
) -> None:
    write(step.log, f"epoch\n{end}\n\n")
    found, why = state_of(folder, step)
    assert (found, end in why) == (expected, True)


@pytest.mark.parametrize(("started", "state"), [("scripts/train.py", "running"), ("snakemake", "not started")])
def test_a_process_of_this_machine_is_seen_by_the_files_it_makes(
    folder: Path, bare_path: Path, step: Step, started: str, state: str
) -> None:
    """Snakemake itself, asked for a file, does not make it."""
    for name in ("scripts/train.py", "snakemake"):
        write(Path(name), "import sys; print('begun', flush=True); sys.stdin.read()")
    command = [sys.executable, started, "--model", str(step.outputs[0])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            assert state_of(folder, step)[0] == state
        finally:
            process.communicate()
    assert state_of(folder, step)[0] == "not started"


def test_a_queue_that_does_not_answer_is_said_and_the_files_are_still_read(
    folder: Path, fake: FakeCommand, study: Study
) -> None:
    fake("squeue", status=1, error="Unable to contact slurm controller")
    write_epochs(Path("results/toy/models", MODEL.path, "train.log"), 2)
    page = describe_study(study, folder)
    assert "Unable to contact slurm controller" in page
    assert "stopped" in page


def test_the_page_of_a_running_study(folder: Path, fake: FakeCommand, study: Study, step: Step) -> None:
    fake("squeue", job_line("12", "RUNNING", COMMENT, folder))
    write_epochs(step.log, 4, seconds=60.0)
    write(Path("results/toy/data/covid/index.json"), '{"counts": {"a": 60, "b": 40}}')
    write(Path("results/toy/data/other/index.json"), '{"counts": {"a": 200}}')
    page = describe_study(study, folder)
    assert "toy at " in page
    assert "0 of 2 models complete" in page
    assert "epoch 4 of 10 done, val loss 0.6000, val macro F1 0.6500, 60.0 s an epoch, 6 min left" in page
    # 6 epochs of 60 s, then 10 of a dataset twice as large: 6 + 20 minutes
    assert "time left: about 26 min" in page
    assert "1 at once, as now" in page
    assert "1 without an epoch yet" in page


def test_the_page_of_a_finished_study_needs_no_slurm(folder: Path, bare_path: Path, study: Study) -> None:
    for each in expected_steps(study):
        for path in each.outputs:
            write(path)
    page = describe_study(study, folder)
    assert "2 of 2 models complete" in page
    assert "all trainings are done" in page
    assert "no Slurm here" in page
    assert "no Snakemake is seen" not in page


def test_looking_changes_nothing(folder: Path, fake: FakeCommand, study: Study, step: Step) -> None:
    fake("squeue", job_line("12", "RUNNING", COMMENT, folder))
    write_epochs(step.log, 4)
    before = {path: os.stat(path).st_mtime_ns for path in folder.rglob("*")}
    describe_study(study, folder)
    assert {path: os.stat(path).st_mtime_ns for path in folder.rglob("*")} == before


def test_every_step_of_a_model_has_a_row(folder: Path, bare_path: Path, study: Study) -> None:
    page = describe_study(study, folder)
    assert all(rule in page for rule in MODEL_OUTPUTS)
