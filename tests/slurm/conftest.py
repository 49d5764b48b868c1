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
from typing import Any, TypeVar

import pytest

from cxrflow.files.tables import read_table
from tests.slurm.cluster import ACCOUNT, CPUS, GPUS, MEMORY_MB, PACKAGES, Cluster, missing_programs, one_at_a_time
from tests.workflow.conftest import copy_workflow, run_snakemake

STUDY = """
study: proof
phantoms: {images_per_class: 14, size_scale: 0.13}
datasets:
  pneumonia: {reader: kermany, folder: pneumonia, lesion_masks: lesion_masks}
backbones: [mobilenet_v3_large]
seeds: [0]
preprocess: {size_px: 32}
train: {epochs: 24, restart_epochs: 10, batch_size: 16}
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
# Snakemake as installed, but for one thing: after each look at jobs that still run, the Slurm plugin waits ten seconds
# longer for the next one, up to three minutes. Tests would wait for that most of their time.
EAGER = """
import sys
from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor
Executor.next_seconds_between_status_checks = property(lambda _: 3, lambda _, seconds: None)
sys.exit(main())
"""
EPOCH_LINE = re.compile(r"^ *(\d+) +[\d.e+-]+ +[\d.]+ ", re.MULTILINE)
T = TypeVar("T")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Start the cluster; skip where Slurm is not installed."""
    if missing := missing_programs():
        pytest.skip(f"no Slurm here (missing: {', '.join(missing)}); as root on Debian: apt-get install {PACKAGES}")
    with tempfile.TemporaryDirectory(prefix="cxs") as folder:  # short: sockets have names of at most 108 characters
        os.chmod(folder, 0o755)  # for other users too
        cluster = Cluster(Path(folder) / "c")
        cluster.up()
        try:
            yield cluster
        finally:
            cluster.down()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder that all processes of pytest share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def prepared(shared: Path, cluster: Cluster) -> Path:
    """Make the data of the study on this machine, once for all processes of pytest."""
    folder = shared / "prepared study"
    with one_at_a_time(shared / "prepared.lock"):
        if not folder.exists():
            new = copy_workflow(shared / "new study")
            (new / "config/proof.yaml").write_text(STUDY)
            (new / "profiles/slurm/site.yaml").write_text(SITE)
            make_here(new, "data")
            new.rename(folder)
    return folder


def make_here(folder: Path, *targets: str) -> None:
    """Make files of the study on this machine, without a cluster."""
    study = ("--profile", "profiles/local", "--configfile", "config/proof.yaml", "--config", "seeds=[0,1,2,3,4]")
    run = run_snakemake(folder, *targets, *study, "--cores", "2", "--set-threads", "train=1")
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]


class Peace:
    """The same trainings on this machine, without a cluster and undisturbed; each is run when it is first asked for."""

    def __init__(self, prepared: Path) -> None:
        """Copy a prepared study, once for all processes of pytest."""
        self._folder = prepared.with_name("undisturbed study")
        self._lock = prepared.with_name("undisturbed.lock")
        with one_at_a_time(self._lock):
            if not self._folder.exists():
                shutil.copytree(prepared, self._folder)

    def train(self, *targets: str) -> None:
        """Train models of the study that are not there yet."""
        with one_at_a_time(self._lock):
            if not all((self._folder / target).exists() for target in targets):
                make_here(self._folder, *targets)

    def assert_equal(self, model: Path) -> None:
        """Assert that a model's weights and history are the undisturbed training's, and nothing is half-written."""
        from cxrflow.models.checkpoints import load_model  # torch takes seconds, and not every process compares
        from tests.models.toy import equal_weights

        place = model.relative_to(model.parents[7])
        self.train(str(place / "model.pt"))
        one, two = load_model(model / "model.pt"), load_model(self._folder / place / "model.pt")
        assert equal_weights(one.state_dict, two.state_dict)
        assert _read_history(model) == _read_history(self._folder / place)
        assert not [path.name for path in model.rglob("*") if path.name.endswith(".tmp")]
        assert not (model / "resume").exists()


def _read_history(model: Path) -> list[dict[str, str]]:
    """Return the epochs of a training without how long they took."""
    timed = {"seconds", "images_per_s"}
    return [{key: row[key] for key in row.keys() - timed} for row in read_table(model / "history.csv")]


@pytest.fixture(scope="session")
def undisturbed(prepared: Path) -> Peace:
    """Give the study to compare with."""
    return Peace(prepared)


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


@dataclass
class Held:
    """A training on the cluster that stands still in the middle, until `go_on`, so that a test need not hurry.

    Attributes:
        model: its folder.
        head: that started it.
        job: Slurm's id.
        process: on the node.
    """

    model: Path
    head: Head
    job: str
    process: int

    def go_on(self) -> None:
        """Let it train."""
        os.kill(self.process, signal.SIGCONT)


class Login:
    """A login node: starts Snakemake on the cluster, and looks at jobs and processes."""

    def __init__(self, cluster: Cluster) -> None:
        """Take the cluster."""
        self.cluster = cluster
        self.user: dict[str, Any] = {}  # who works here, for subprocess; empty: root
        self._heads: list[Head] = []
        self.python = find_python(cluster.folder)
        self._snakemake = cluster.folder / "snakemake"
        self._snakemake.write_text(EAGER)
        path = f"{self.python.parent}:{os.environ['PATH']}"  # as after `source .venv/bin/activate`
        self.environment = {**os.environ, "PATH": path, **cluster.environment}

    def snakemake(self, folder: Path, *arguments: str) -> Head:
        """Start Snakemake in a study's folder, in the background."""
        screen = folder / f"screen{len(self._heads)}.txt"
        command = [self.python, self._snakemake, *arguments]
        with screen.open("wb") as handle:
            process = subprocess.Popen(
                command,
                cwd=folder,
                stdout=handle,
                stderr=handle,
                env=self.environment,
                **self.user,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(
                    signal.SIGINT, signal.SIG_DFL
                ),  # what runs in a shell's background ignores it
            )
        self._heads.append(Head(folder, process, screen))
        return self._heads[-1]

    def train(self, study: Path, epoch: int, *options: str, goal: str = "") -> Held:
        """Start the training of seed 0, or what needs it, and hold it when it has finished an epoch."""
        model, head = model_folder(study), self.snakemake(study, goal or target(), *ON_CLUSTER, *options)
        wait_for(lambda: epochs_done(model) >= epoch, 600, f"epoch {epoch} in {model / 'train.log'}")
        held = Held(model, head, self.job_of(model), training_process(model))
        os.kill(held.process, signal.SIGSTOP)
        return held

    def train_again(self, study: Path) -> None:
        """Start the same command once more and wait for its end."""
        again = self.snakemake(study, target(), *ON_CLUSTER)
        assert again.wait() == 0, again.said[-3000:]

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
