"""Partition files are read as the Slurm plugin reads them."""

from pathlib import Path

import pytest

from cxrflow.errors import CxrflowError
from cxrflow.operate.slurm_partitions import read_partitions


def read(folder: Path, text: str) -> dict[str, dict[str, float]]:
    (folder / "site.yaml").write_text(text)
    return read_partitions(folder / "site.yaml")


@pytest.mark.parametrize(
    ("runtime", "minutes"), [("2-00:00:00", 2880), ("1d", 1440), ("1440", 1440), ('"2:30"', 150), ("90.5", 90.5)]
)
def test_runtimes_are_minutes(tmp_path: Path, runtime: str, minutes: float) -> None:
    assert read(tmp_path, f"partitions: {{cpu: {{max_runtime: {runtime}}}}}") == {"cpu": {"max_runtime": minutes}}


def test_limits_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    text = "partitions: {cpu: , gpu: {max_gpu: 4, available_gpu_models: [a100], supports_mpi: true}}"
    assert read(tmp_path, text) == {"cpu": {}, "gpu": {"max_gpu": 4}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("partitions: {cpu: {max_runtime: soon}}", "site.yaml, max_runtime: 'soon' is no time"),
        ("account: mine", "site.yaml has no mapping where one is expected"),
    ],
)
def test_a_file_that_says_something_else_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(CxrflowError, match=words):
        read(tmp_path, text)
