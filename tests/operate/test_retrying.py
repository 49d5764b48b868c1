"""Why a job failed, from made-up queues and logs, and what its next attempt asks for."""

import json
from pathlib import Path

import pytest

from cxrflow.operate.jobs import Job
from cxrflow.operate.retrying import Attempt, find_failure
from cxrflow.operate.states import look
from tests.operate.conftest import FakeCommand, job_line, model_job, write

TRAIN = model_job()
NAME = "covid_resnet34_scratch_base_0"
SLURM_LOG = Path("logs/slurm/rule_train") / NAME
OF_MEMORY = "slurmstepd-n1: error: Detected 1 oom_kill event in StepId=7.batch. Some step tasks have been OOM Killed."
OF_TIME = "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-11-26T20:49:11 DUE TO TIME LIMIT ***"
KILLED = "/usr/bin/bash: line 1:  6236 Killed                  python scripts/train.py --images TIMEOUT.npy"
DONE_SO_FAR = "error: the job's time ends in 9 s, before another epoch would: saved after epoch 3 of 24."


def asks(cause: str, attempt: int = 1) -> tuple[int, int, int]:
    """Return the number, the memory and the time of the attempt after one that failed by a cause."""
    next_one = Attempt.after(attempt, cause) + 1
    return int(next_one), next_one.memory, next_one.time


@pytest.mark.parametrize(
    ("state", "slurm_log", "stage_log", "cause"),
    [
        ("OUT_OF_MEMORY", "", "", "memory"),
        ("", OF_MEMORY, "", "memory"),
        ("FAILED", KILLED, "", "memory"),
        ("FAILED", "", "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 9 GiB", "memory"),
        ("TIMEOUT", "", "stopped by SIGTERM: run the same command again to resume", "time"),
        ("", OF_TIME, "", "time"),
        ("FAILED", "", DONE_SO_FAR, "time"),
        ("NODE_FAIL", "", "", "place"),
        ("PREEMPTED", "", "", "place"),
        ("FAILED", "", "stopped by SIGTERM: run the same command again to resume", "place"),
        ("FAILED", "", "OSError: [Errno 5] Input/output error", "place"),
        ("FAILED", "", "torch.AcceleratorError: CUDA error: unspecified launch failure", "place"),
        ("FAILED", "", "error: the loss is not finite in epoch 1", "program"),
        ("FAILED", "", "FileNotFoundError: [Errno 2] No such file or directory: 'a.csv'", "program"),
        ("FAILED", "", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate", "program"),
        ("FAILED", "an import failed", "epoch 3", "unknown"),
        ("", "", "", "unknown"),
    ],
)
def test_a_failure_has_the_cause_that_queue_and_logs_say(
    folder: Path, fake: FakeCommand, state: str, slurm_log: str, stage_log: str, cause: str
) -> None:
    fake("squeue", job_line("7", state, f"rule_train_wildcards_{NAME}", folder) if state else "")
    if slurm_log:
        write(folder / SLURM_LOG / "7.log", f"Building DAG of jobs...\n{slurm_log}\n")
    write(folder / TRAIN.log, f"header\n{stage_log}\n")
    assert find_failure(TRAIN, look(folder)).cause == cause


def test_a_log_of_an_earlier_attempt_says_nothing_of_the_last(folder: Path, fake: FakeCommand) -> None:
    fake("squeue", job_line("8", "FAILED", f"rule_train_wildcards_{NAME}", folder))
    write(folder / SLURM_LOG / "7.log", OF_MEMORY)
    assert find_failure(TRAIN, look(folder)).cause == "unknown"


@pytest.mark.parametrize(
    ("logs", "cause"),
    [
        (("error: the loss is not finite in epoch 1", "all is well"), "program"),
        (("error: the loss is not finite in epoch 1", "error: the job's time ends in 9 s"), "time"),
        (("all is well", "all is well"), "unknown"),
    ],
)
def test_of_jobs_that_share_a_slurm_job_what_another_attempt_mends_counts(
    folder: Path, bare_path: Path, logs: tuple[str, str], cause: str
) -> None:
    members = (model_job(), model_job("evaluate"))
    for job, text in zip(members, logs, strict=True):
        write(folder / job.log, f"{text}\n")
    assert find_failure(Job("models0_evaluate_train", members=members), look(folder)).cause == cause


def test_the_log_of_a_shared_slurm_job_says_why(folder: Path, bare_path: Path) -> None:
    write(folder / "logs/slurm/group_models0_evaluate_train/7.log", f"{OF_MEMORY}\n")
    assert find_failure(Job("models0_evaluate_train", members=(TRAIN,)), look(folder)).cause == "memory"


def test_an_attempt_asks_for_more_of_what_was_lacking_and_is_a_number_to_snakemake() -> None:
    assert asks("memory") == (2, 2, 1)
    assert asks("time") == (2, 1, 2)
    assert asks("place") == (2, 1, 1)
    assert asks("unknown") == (2, 2, 2)
    third = Attempt.after(Attempt.after(1, "memory") + 1, "time") + 1
    assert (third, third.memory, third.time) == (3, 2, 2)
    assert json.dumps(third) == str(third) == "3"
