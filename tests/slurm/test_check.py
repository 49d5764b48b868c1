"""The check before a study asks a real Slurm: what it would refuse is said, and what fits is not."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from cxrflow.operate.cluster_checks import check_cluster
from cxrflow.operate.jobs import MANY_CORES, Call, dry_run, read_profile
from tests.slurm.cluster import CPUS, GPUS, MEMORY_MB
from tests.slurm.conftest import Login
from tests.workflow.conftest import ROOT, copy_workflow

pytestmark = pytest.mark.slow
LUNGS = Call(Path("config/lungs.yaml"), profile=Path("profiles/slurm"))
PARTITIONS = f"""
partitions:
  cpu: {{max_runtime: 1d, max_mem_mb: {MEMORY_MB}, max_threads: {CPUS}}}
  gpu: {{max_runtime: 12h, max_mem_mb: {MEMORY_MB}, max_threads: {CPUS}, max_gpu: {GPUS}}}
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_workflow(tmp_path_factory.mktemp("check") / "a clone")


def write_site(clone: Path, site: str) -> None:
    (clone / "profiles/slurm/site.yaml").write_text(site + PARTITIONS)


def test_a_site_file_in_the_notation_of_the_plugin_passes_and_can_be_planned(login: Login, clone: Path) -> None:
    write_site(clone, "gpu: {gpu: 1}")
    done = login.script(clone, "slurm_check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "OK       sbatch --test-only takes every request" in done.stdout
    planned = login.script(clone, "plan", *LUNGS.words)
    assert planned.returncode == 0, planned.stderr
    assert "WARNING" not in planned.stdout


def test_the_site_file_is_written_for_the_cluster_and_then_nothing_is_missing(login: Login, clone: Path) -> None:
    site_file = clone / "profiles/slurm/site.yaml"
    site_file.write_bytes((ROOT / "profiles/slurm/site.yaml").read_bytes())
    written = login.script(clone, "slurm_site")
    assert written.returncode == 0, written.stdout + written.stderr
    assert "account lungs: your default one of lungs, root" in written.stdout
    assert "+    max_threads: 8  # cluster: 8" in written.stdout
    limits = {"max_runtime": 1440, "max_threads": CPUS, "max_mem_mb": MEMORY_MB, "max_gpu": GPUS}
    found = yaml.safe_load(site_file.read_text())
    assert found == {"account": "lungs", "gpu": {"gpu": 1}, "partitions": {"cpu": limits, "gpu": limits}}
    checked = login.script(clone, "slurm_check")
    assert checked.returncode == 0, checked.stdout
    mine = site_file.read_text().replace("max_runtime: 1440  #", "max_runtime: 12h  #", 1)
    site_file.write_text(mine)
    assert "says so already" in login.script(clone, "slurm_site").stdout
    assert site_file.read_text() == mine


@pytest.mark.parametrize(
    ("site", "config", "words"),
    [
        ("gpu: {gpu: 1}", ["compute={gpus: 3}"], "takes train: cpu has max_gpu 0 for 3; gpu has max_gpu 2 for 3"),
        ("gpu: {gpu: 1, gpu_model: a100}", [], "train: sbatch failed: allocation failure: Requested node"),
        ("gpu: {gpu: 1, constraint: big}", [], "train: sbatch failed: allocation failure: Invalid feature"),
        ('gpu: {gres: "gpu:1,lscratch:100"}', [], "would not be submitted: Invalid GRES format"),
        ("gpu: {gpu: 1, qos: fast}", [], "no qos fast"),
        ("account: hearts", [], "no slurm_account hearts"),
    ],
)
def test_what_slurm_or_the_plugin_would_refuse_is_a_problem(
    login: Login, clone: Path, monkeypatch: pytest.MonkeyPatch, site: str, config: list[str], words: str
) -> None:
    write_site(clone, site)
    monkeypatch.chdir(clone)
    monkeypatch.setenv("SLURM_CONF", login.environment["SLURM_CONF"])
    jobs = dry_run("--forceall", *replace(LUNGS, config=tuple(config)).words, "--cores", str(MANY_CORES))
    findings, _ = check_cluster(read_profile(Path("profiles/slurm")), jobs)
    assert any(finding.level == "PROBLEM" and words in finding.text for finding in findings), findings


def test_a_run_stops_where_no_partition_takes_a_job(login: Login, clone: Path) -> None:
    """The Slurm plugin would submit it to the default partition, which has no GPU."""
    write_site(clone, "gpu: {gpu: 1}")
    target = "results/lungs/models/covid/resnet34/scratch/base/seed0/model.pt"
    head = login.snakemake(clone, target, *LUNGS.words, "--config", "compute={gpus: 3}")
    assert head.wait(120) == 1
    assert "takes train: cpu has max_gpu 0 for 3; gpu has max_gpu 2 for 3" in head.said
    assert "has been submitted" not in head.said
    assert not list((clone / ".snakemake/locks").glob("*")), "the next start needs no unlocking"
