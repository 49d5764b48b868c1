"""A real cluster for each process of pytest, a prepared study to copy, and runs of Snakemake on the cluster."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from cxrflow.files.tables import read_table
from cxrflow.models.checkpoints import load_model
from tests.models.toy import equal_weights
from tests.slurm.cluster import ACCOUNT, CPUS, GPUS, MEMORY_MB, PACKAGES, Cluster, missing_programs
from tests.workflow.conftest import copy_workflow, run_snakemake

STUDY = """
study: proof
phantoms: {images_per_class: 14, size_scale: 0.13}
datasets:
  pneumonia: {reader: kermany, folder: pneumonia, lesion_masks: lesion_masks}
backbones: [mobilenet_v3_large]
seeds: [0]
preprocess: {size_px: 32}
train: {epochs: 40, restart_epochs: 10, batch_size: 16}
explain: {images_per_class: 1, scored_images: 4}
profile: {repeats: 3}
score: {bootstrap_resamples: 50}
variants:
  diverged: {train: {learning_rate: 1.0e+30, epochs: 1}}
  on_gpu: {train: {epochs: 1}}
  short: {train: {epochs: 1}}
"""
# Threads change the last bits: one everywhere. Fast polling: the node is the same machine.
SITE = f"""
account: {ACCOUNT}
gpu: {{gpu: 1}}
partitions:
  cpu: {{max_runtime: 1440, max_mem_mb: {MEMORY_MB}, max_threads: {CPUS}}}
  gpu: {{max_runtime: 1440, max_mem_mb: {MEMORY_MB}, max_threads: {CPUS}, max_gpu: {GPUS}}}
"""
PROFILE = ("--profile", "profiles/slurm", "--configfile", "config/proof.yaml")
ONE_THREAD = ("--set-threads", "train=1", "evaluate=1")
ON_CLUSTER = (*PROFILE, *ONE_THREAD, "--slurm-init-seconds-before-status-checks", "3", "--latency-wait", "10")
EPOCH_LINE = re.compile(r"^ *(\d+) +[\d.e+-]+ +[\d.]+ ", re.MULTILINE)
T = TypeVar("T")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Start the cluster; skip where Slurm is not installed."""
    if missing := missing_programs():
        pytest.skip(f"no Slurm here (missing: {', '.join(missing)}); as root on Debian: apt-get install {PACKAGES}")
    with tempfile.TemporaryDirectory(prefix="cxs") as folder:  # short: sockets have names of at most 108 characters
        cluster = Cluster(Path(folder) / "c")
        cluster.up()
        try:
            yield cluster
        finally:
            cluster.down()


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Path:
    """Make the data of the study on this machine, once for all tests of a process."""
    folder = copy_workflow(tmp_path_factory.mktemp("slurm") / "prepared study")
    (folder / "config/proof.yaml").write_text(STUDY)
    (folder / "profiles/slurm/site.yaml").write_text(SITE)
    run = run_snakemake(folder, "data", *local(), "--cores", "2")
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    return folder


def local() -> tuple[str, ...]:
    """Return the arguments of the same study without a cluster."""
    return ("--profile", "profiles/local", "--configfile", "config/proof.yaml", "--set-threads", "train=1")


class Peace:
    """The same trainings on this machine, without a cluster and undisturbed; each is run when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        """Take a prepared study of its own."""
        self._folder = folder

    def train(self, *targets: str) -> None:
        """Train models of the study."""
        seeds = ("--config", f"seeds={[*range(5)]}")
        run = run_snakemake(self._folder, *targets, *local(), "--cores", "2", *seeds)
        assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]

    def assert_equal(self, model: Path) -> None:
        """Assert that a model's weights and history are the undisturbed training's, and nothing is half-written."""
        other = self._folder / model.relative_to(model.parents[7])
        if not other.exists():
            self.train(str(model.relative_to(model.parents[7]) / "model.pt"))
        one, two = load_model(model / "model.pt"), load_model(other / "model.pt")
        assert equal_weights(one.state_dict, two.state_dict)
        assert _read_history(model) == _read_history(other)
        assert not [path.name for path in model.rglob("*") if path.name.endswith(".tmp")]
        assert not (model / "resume").exists()


def _read_history(model: Path) -> list[dict[str, str]]:
    """Return the epochs of a training without how long they took."""
    timed = {"seconds", "images_per_s"}
    return [{key: row[key] for key in row.keys() - timed} for row in read_table(model / "history.csv")]


@pytest.fixture(scope="session")
def undisturbed(prepared: Path) -> Peace:
    """Give the study to compare with."""
    return Peace(Path(shutil.copytree(prepared, prepared.with_name("undisturbed study"))))


@dataclass
class Head:
    """Snakemake on the login node, working on a study in a folder of its own.

    Attributes:
        folder: of the study.
        process: Snakemake.
        screen: file with what it prints.
    """

    folder: Path
    process: "subprocess.Popen[bytes]"
    screen: Path

    @property
    def said(self) -> str:
        """What stands on the screen."""
        return self.screen.read_text(errors="replace")

    def wait(self, seconds: float = 600) -> int:
        """Wait until it ends; return its exit status."""
        return self.process.wait(seconds)

    def kill(self) -> None:
        """End it without warning, as a rebooted login node does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Login:
    """A login node: starts Snakemake on the cluster, and looks at jobs and processes."""

    def __init__(self, cluster: Cluster) -> None:
        """Take the cluster."""
        self.cluster = cluster
        self._heads: list[Head] = []
        self.python = find_python(cluster.folder)
        path = f"{self.python.parent}:{os.environ['PATH']}"  # as after `source .venv/bin/activate`
        self.environment = {**os.environ, "PATH": path, **cluster.environment}

    def snakemake(self, folder: Path, *arguments: str) -> Head:
        """Start Snakemake in a study's folder, in the background."""
        screen = folder / f"screen{len(self._heads)}.txt"
        command = [self.python, "-m", "snakemake", *arguments]
        with screen.open("wb") as handle:
            process = subprocess.Popen(
                command,
                cwd=folder,
                stdout=handle,
                stderr=handle,
                env=self.environment,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(
                    signal.SIGINT, signal.SIG_DFL
                ),  # what runs in a shell's background ignores it
            )
        self._heads.append(Head(folder, process, screen))
        return self._heads[-1]

    def script(self, folder: Path, name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run one of the project's own commands on the login node."""
        command = [self.python, f"scripts/{name}.py", *arguments]
        return subprocess.run(command, cwd=folder, env=self.environment, capture_output=True, text=True, timeout=200)

    def job_of(self, model: Path) -> str:
        """Return the id of the running job that trains a model, once there is one."""
        mark = model.relative_to(model.parents[4]).as_posix().replace("/", "_").replace("seed", "")
        return wait_for(lambda: self._find_job(mark), 120, f"a job of {mark}")

    def _find_job(self, mark: str) -> str:
        lines = self.cluster.ask("squeue", "-h", "-t", "R", "-o", "%i|%k").splitlines()
        return next((job for job, comment in (line.split("|") for line in lines) if mark in comment), "")

    def close(self) -> None:
        """End all heads and jobs that a test left."""
        for head in self._heads:
            if head.process.poll() is None:
                head.kill()
        self.cluster.ask("scancel", "--user=root", check=False)


def find_python(folder: Path) -> Path:
    """Return this Python by a path without spaces: the Slurm plugin starts jobs with it unquoted."""
    python = Path(sys.executable)
    if " " not in str(python):
        return python
    link = folder / "venv"
    if not link.exists():
        link.symlink_to(python.parents[1])
    return link / "bin" / python.name


@pytest.fixture
def login(cluster: Cluster) -> Iterator[Login]:
    """Give a login node; what it started is ended after the test."""
    node = Login(cluster)
    yield node
    node.close()


@pytest.fixture
def study(prepared: Path, tmp_path: Path) -> Path:
    """Give a copy of the prepared study."""
    return Path(shutil.copytree(prepared, tmp_path / "a study"))


def model_folder(study: Path, variant: str = "base", seed: int = 0) -> Path:
    """Return where a model of the study lies."""
    return study / f"results/proof/models/pneumonia/mobilenet_v3_large/scratch/{variant}/seed{seed}"


def target(variant: str = "base", seed: int = 0) -> str:
    """Return the target that trains a model."""
    return str(model_folder(Path(), variant, seed) / "model.pt")


def read_log(model: Path) -> str:
    """Return a training's log; empty where there is none: Snakemake deletes it just before a job begins."""
    try:
        return (model / "train.log").read_text(errors="replace")
    except FileNotFoundError:
        return ""


def epochs_done(model: Path) -> int:
    """Return the last epoch in a training's log."""
    numbers = EPOCH_LINE.findall(read_log(model))
    return int(numbers[-1]) if numbers else 0


def wait_for_epoch(model: Path, epoch: int) -> None:
    """Wait until a training has finished an epoch."""
    wait_for(lambda: epochs_done(model) >= epoch, 180, f"epoch {epoch} in {model / 'train.log'}")


def wait_for(ask: Callable[[], T], seconds: float, what: str) -> T:
    """Ask again and again until the answer is true; return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := ask():
            return answer
        time.sleep(0.3)
    raise AssertionError(f"{what} did not come within {seconds:.0f} s")


def training_process(model: Path) -> int:
    """Return the process that trains a model."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            here = os.readlink(path / "cwd")
        except OSError:
            continue
        mark = f"{model.parent.name}/{model.name}".encode()
        if words[1:2] == [b"scripts/train.py"] and Path(here) in model.parents and mark in b" ".join(words):
            return int(path.name)
    raise AssertionError(f"nothing trains {model}")


def job_names(head: Head) -> str:
    """Return the name of all jobs of a head."""
    return wait_for(lambda: next((w for w in head.said.split() if w.startswith("cxrflow_")), ""), 5, "its run's name")
