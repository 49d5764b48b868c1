"""Copies of the workflow that a test may run and change."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
Snakemake = Callable[..., "subprocess.CompletedProcess[str]"]


def copy_workflow(folder: Path) -> Path:
    """Copy what a clone of the repository needs to run, without results."""
    folder.mkdir(parents=True)
    for name in ("workflow", "scripts", "config", "profiles", "envs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def can_cut_the_network() -> bool:
    """Say whether this user may make a network namespace, in which not even localhost answers."""
    return bool(shutil.which("unshare")) and not subprocess.run(["unshare", "--net", "true"], check=False).returncode


def run_snakemake(folder: Path, *arguments: str | Path, offline: bool = False) -> "subprocess.CompletedProcess[str]":
    """Run Snakemake in a folder, with this Python and a PATH that does not lead to it; `offline` cuts the network."""
    environment = {**os.environ, "PATH": "/usr/bin:/bin"}
    cut = ["unshare", "--net"] if offline else []
    command = [*cut, sys.executable, "-m", "snakemake", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Give a fresh copy of the workflow in a folder whose name has a space and a quote."""
    return copy_workflow(tmp_path / "it's a clone")
