"""Several jobs pack one dataset: the same bytes, and no other number of jobs ever repeats what is done."""

import re
from pathlib import Path

import pytest

from tests.workflow.conftest import copy_workflow, run_snakemake

pytestmark = pytest.mark.slow

STUDY = """
study: toy
phantoms: {images_per_class: 12, size_scale: 0.06}
datasets:
  covid: {reader: covid_radiography, folder: covid}
backbones: [mobilenet_v3_large]
preprocess: {size_px: 16}
"""
RECIPE = Path("results/toy/data/covid/16px-equalized-blur5")


def pack(folder: Path, shards: int, *arguments: str) -> dict[str, int]:
    """Run or plan the packing with this number of shards; return the jobs."""
    command = [
        RECIPE / "images.npy",
        *arguments,
        "--profile",
        "profiles/local",
        "--cores",
        "2",
        "--configfile",
        "config/toy.yaml",
    ]
    run = run_snakemake(folder, *command, "--config", f"preprocess_shards={shards}")
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    counts = re.findall(r"^(\w+) +(\d+)$", run.stdout + run.stderr, flags=re.MULTILINE)  # a run tells on stderr
    return {rule: int(n) for rule, n in counts}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pack by one job."""
    folder = copy_workflow(tmp_path_factory.mktemp("shards") / "it's one")
    (folder / "config/toy.yaml").write_text(STUDY)
    assert set(pack(folder, 1)) == {"phantom", "index", "preprocess", "total"}
    return folder


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pack by three jobs."""
    folder = copy_workflow(tmp_path_factory.mktemp("shards") / "it's three")
    (folder / "config/toy.yaml").write_text(STUDY)
    assert pack(folder, 3) == {"phantom": 1, "index": 1, "preprocess_shard": 3, "join_shards": 1, "total": 6}
    return folder


def test_the_bytes_are_those_of_one_job_and_no_shard_is_left(whole: Path, sharded: Path) -> None:
    assert (whole / RECIPE / "images.npy").read_bytes() == (sharded / RECIPE / "images.npy").read_bytes()
    left = {path.name for path in (sharded / RECIPE / "shards").rglob("*") if path.is_file()}
    assert left == {"preprocess_shard.log", "preprocess_shard.tsv"}


@pytest.mark.parametrize("shards", [1, 3, 5])
def test_another_number_repeats_nothing(whole: Path, sharded: Path, shards: int) -> None:
    assert pack(whole, shards, "-n") == {}
    assert pack(sharded, shards, "-n") == {}


def test_changed_code_packs_again_by_as_many_jobs_as_before(whole: Path, sharded: Path) -> None:
    for folder, rules in ((whole, {"preprocess"}), (sharded, {"preprocess_shard", "join_shards"})):
        module = folder / "scripts/cxrflow/data/preprocessing.py"
        text = module.read_text()
        module.write_text(text + "\nCHANGED = 1\n")
        jobs = pack(folder, 5, "-n")
        module.write_text(text)
        assert set(jobs) == {*rules, "total"}
        assert jobs.get("preprocess_shard", 3) == 3


def test_a_job_of_a_cluster_runs_the_rule_that_was_chosen_for_it(whole: Path) -> None:
    """By then Snakemake has deleted the old images.npy, and the folder looks as if nothing had been packed."""
    images, dataset = whole / RECIPE / "images.npy", f"dataset=covid,recipe={RECIPE.name}"
    before = images.read_bytes()
    images.unlink()
    command = ["--target-jobs", f"preprocess:{dataset}", "--allowed-rules", "preprocess", "--mode", "remote"]
    run = run_snakemake(
        whole, *command, "--cores", "1", "--configfile", "config/toy.yaml", "--config", "preprocess_shards=3"
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert images.read_bytes() == before
