"""The site file follows the cluster, and what a person wrote in it stays."""

from pathlib import Path

import pytest
import yaml

from cxrflow.errors import CxrflowError
from cxrflow.operate.site_file import Entry, describe_cluster, merge_site
from tests.operate.conftest import FakeCommand
from tests.workflow.conftest import ROOT

SHIPPED = (ROOT / "profiles/slurm/site.yaml").read_text()
WANTED: dict[Entry, str] = {
    ("account",): "lungs",
    ("gpu",): "{gpu: 1}",
    ("partitions", "cpu", "max_runtime"): "600",
    ("partitions", "a100", "max_runtime"): "60",
    ("partitions", "a100", "max_gpu"): "4",
}


def test_the_shipped_example_becomes_the_cluster_and_its_explanations_stay() -> None:
    text = merge_site(SHIPPED, WANTED)
    assert yaml.safe_load(text) == {
        "account": "lungs",
        "gpu": {"gpu": 1},
        "partitions": {"cpu": {"max_runtime": 600}, "a100": {"max_runtime": 60, "max_gpu": 4}},
    }
    assert text.startswith(SHIPPED.partition("\ngpu:")[0])
    assert merge_site(text, WANTED) == text


def test_what_a_person_changed_added_or_commented_out_stays() -> None:
    mine = merge_site(SHIPPED, WANTED)
    mine = mine.replace("max_runtime: 600", "max_runtime: 1h").replace("account: lungs", "account: hearts")
    by_hand = "\n  big: {max_gpu: 8}  # of the institute\n  # a100:\n  #  max_runtime"
    mine = mine.replace("\n  a100:\n    max_runtime", by_hand)
    mine = mine.replace("\n    max_gpu: 4", "\n  #  max_gpu: 4") + "constraint: fast\n"
    later = {**WANTED, ("partitions", "cpu", "max_runtime"): "900", ("partitions", "new", "max_gpu"): "2"}
    text = merge_site(mine, later)
    assert yaml.safe_load(text) == {
        "account": "hearts",
        "gpu": {"gpu": 1},
        "partitions": {"cpu": {"max_runtime": "1h"}, "big": {"max_gpu": 8}, "new": {"max_gpu": 2}},
        "constraint": "fast",
    }
    assert "max_runtime: 1h  # cluster: 900" in text
    assert "# of the institute" in text


def test_a_partition_written_by_hand_is_left_as_it_is_and_one_that_is_gone_goes() -> None:
    by_hand = "partitions:\n  cpu:\n    max_threads: 8\n  old:\n    max_threads: 4  # cluster: 4\n"
    text = merge_site(by_hand, {("partitions", "cpu", "max_runtime"): "600"})
    assert text == "partitions:\n  cpu:\n    max_threads: 8\n"


def test_a_file_that_lines_cannot_be_put_into_is_left_with_the_remedy() -> None:
    with pytest.raises(CxrflowError, match="write `partitions:` as a block"):
        merge_site("partitions: {\n  cpu: {}}\n", {("partitions", "gpu", "max_gpu"): "1"})


@pytest.fixture
def cluster(fake: FakeCommand) -> FakeCommand:
    sinfo = "cpu*|up|infinite|8|9000|1|idle|(null)|\nno|up|1:00:00|8|9000|1|mixed|gpu:a100:4,gpu:v100:2|\n"
    fake("sinfo", sinfo + "old|up|1:00:00|8|9000|1|drained|(null)|\n")
    fake("sacctmgr", "lungs|normal,fast\n")
    return fake


def refuse(bare_path: Path, case: str) -> None:
    """Make an sbatch that refuses some requests."""
    (bare_path / "sbatch").write_text(f'#!/bin/sh\ncase "$*" in {case}) echo "invalid: $*" >&2; exit 1;; esac\n')
    (bare_path / "sbatch").chmod(0o755)


@pytest.mark.parametrize(
    ("case", "gpu"),
    [
        ("*nothing*", "{gpu: 1}"),
        ("*--gpus*", "{gres: 'gpu:1'}"),
        ("*--gpus=1*|*--gres=gpu:1*", "{gpu: 1, gpu_model: a100}"),
        ("*--gpus*|*--gres=gpu:1*", "{gres: 'gpu:a100:1'}"),
        ("*--ntasks=1*-p?no*|*-p?no*--ntasks=1*", "{gpu: 1}"),  # a partition that takes GPU jobs alone
    ],
)
def test_the_form_of_a_gpu_request_is_the_first_that_sbatch_takes(
    cluster: FakeCommand, bare_path: Path, case: str, gpu: str
) -> None:
    refuse(bare_path, case)
    wanted, findings = describe_cluster()
    assert yaml.safe_load(wanted["gpu",]) == yaml.safe_load(gpu)
    assert wanted["partitions", "'no'", "max_gpu"] == "6"
    assert ("partitions", "cpu", "max_runtime") not in wanted, "without end"
    assert any("partition old is left out: no node takes jobs (drained)" in str(finding) for finding in findings)


def test_a_partition_that_does_not_take_this_users_jobs_is_left_out_with_slurms_reason(
    cluster: FakeCommand, bare_path: Path
) -> None:
    refuse(bare_path, "*-p?no*")
    wanted, findings = describe_cluster()
    assert {entry[1] for entry in wanted if len(entry) == 3} == {"cpu"}
    assert any("partition no is left out: sbatch failed: invalid" in str(finding) for finding in findings)
    assert wanted["gpu",] == "{}"
