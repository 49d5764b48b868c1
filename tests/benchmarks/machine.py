"""What a run of the benchmark ran on: machine, versions, commit, date. Reads /proc and git, writes nothing."""

import datetime
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.benchmarks.measure import ROOT

PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "pillow",
    "torch",
    "torchvision",
    "scikit-learn",
    "grad-cam",
    "snakemake",
    "scikit-image",
    "albumentations",
    "kornia-rs",
    "deflate",
    "opentsne",
    "timm",
)


def describe_run(command: str, seconds: float) -> str:
    """Return a heading with date and commit, then command, machine and versions."""
    date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    lines = [
        f"## {date}, commit {read_commit()}",
        f"`{command}`, {seconds / 60:.1f} minutes on {describe_machine()}.",
        f"Python {platform.python_version()}, {list_versions()}.",
    ]
    return "\n\n".join(lines)


def describe_machine() -> str:
    """Return processor, usable cores, memory and how busy the machine has been in the last minute."""
    cores, memory = len(os.sched_getaffinity(0)), read_field(Path("/proc/meminfo"), "MemTotal")
    gib = int(memory.split()[0]) / 2**20 if memory else 0
    model = read_field(Path("/proc/cpuinfo"), "model name") or platform.machine()
    return f"{model}, {cores} cores, {gib:.0f} GiB, load {os.getloadavg()[0]:.1f}"


def read_field(path: Path, name: str) -> str:
    """Return the first value of `name: value` lines, or nothing."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == name), "")


def list_versions() -> str:
    """Return every package that is compared, with its version."""
    return ", ".join(f"{name} {_version(name)}" for name in PACKAGES)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def read_commit() -> str:
    """Return the short hash of the commit, and whether files differ from it."""
    commit = _git("rev-parse", "--short", "HEAD") or "unknown"
    return f"{commit} with changes" if _git("status", "--porcelain", "--untracked-files=no") else commit


def _git(*arguments: str) -> str:
    try:
        run = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return run.stdout.strip()
