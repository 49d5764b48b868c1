"""Limits and partitions are those that Snakemake and its Slurm plugin use."""

from pathlib import Path

import pytest

from cxrflow.errors import CxrflowError
from cxrflow.operate.dry_run import Job
from cxrflow.operate.run_profile import choose_partition, read_run_profile

PARTITIONS: dict[str, dict[str, float]] = {
    "cpu": {"max_runtime": 1440, "max_threads": 64},
    "gpu": {"max_runtime": 1440, "max_threads": 64, "max_gpu": 8},
    "short": {"max_runtime": 60, "max_threads": 64},
}


def write_profile(folder: Path, text: str) -> Path:
    (folder / "config.yaml").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("asked", "partition"),
    [
        ({"runtime": 30}, "short"),
        ({"runtime": 61}, "cpu"),
        ({"runtime": 30, "gpu": 1}, "gpu"),
        ({"runtime": 30, "gpu": 0, "gres": "gpu:a100:2"}, "gpu"),
        ({"gres": "gpu:9"}, "none fits"),
        ({"runtime": 1441}, "none fits"),
        ({"gpu": 9}, "none fits"),
        ({"slurm_partition": "mine", "runtime": 9999}, "mine"),
    ],
)
def test_a_job_goes_to_the_partition_that_it_fills_most(asked: dict[str, int | str], partition: str) -> None:
    assert choose_partition(Job(1, "a", resources=asked), PARTITIONS) == partition


def test_a_local_job_goes_to_no_partition() -> None:
    assert choose_partition(Job(1, "split", is_local=True), PARTITIONS) == "local"
    assert choose_partition(Job(1, "split", is_local=True), {}) == ""


def test_no_partition_file_no_partition() -> None:
    assert choose_partition(Job(1, "a"), {}) == ""


def test_a_cluster_limits_jobs_and_a_machine_cores(tmp_path: Path) -> None:
    job = Job(1, "train", threads=4, resources={"gpu": 1})
    cluster = read_run_profile(write_profile(tmp_path, "executor: slurm\njobs: 50\n"))
    assert (cluster.is_cluster, cluster.limits, cluster.needs_of(job)) == (True, {"jobs": 50}, {"jobs": 1})
    local = read_run_profile(write_profile(tmp_path, "cores: 8\nresources: {gpu: 1}\n"), jobs=6)
    assert (local.is_cluster, local.limits) == (False, {"cores": 6, "gpu": 1})
    assert local.needs_of(job) == {"cores": 4, "gpu": 1}
    assert read_run_profile(tmp_path, resources=["gpu=2"]).limits == {"cores": 8, "gpu": 2}
    with pytest.raises(CxrflowError, match="--resources gpu: expected NAME=N"):
        read_run_profile(tmp_path, resources=["gpu"])


def test_a_profile_without_a_number_of_jobs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CxrflowError, match="say --jobs N"):
        read_run_profile(write_profile(tmp_path, "keep-going: true\n"))
    with pytest.raises(CxrflowError, match="is not there"):
        read_run_profile(tmp_path / "none")
