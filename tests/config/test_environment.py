"""A stage whose packages are no longer those that Snakemake was started with stops, and names them."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cxrflow.config import environment
from cxrflow.config.environment import PLANNED, check_environment, describe_environment
from cxrflow.errors import CxrflowError

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def install(folder: Path, package: str, version: str) -> None:
    """Put a package into a folder, as far as its version is asked for."""
    metadata = folder / f"{package}-{version}.dist-info/METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be a job of a Snakemake that was started with this environment; give a folder of more packages."""
    monkeypatch.setenv(PLANNED, describe_environment())
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def test_where_no_folder_of_packages_has_changed_no_version_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PLANNED, describe_environment())
    monkeypatch.delattr(environment, "find_version")
    check_environment()


def test_without_a_plan_and_with_another_package_nothing_stops(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(packages, "unrelated", "1.0")
    check_environment()
    for planned in ("", None):  # of a Snakemake whose jobs have an environment of their own (--sdm conda); of none
        install(packages, "torch", f"1.{planned}")
        monkeypatch.setenv(PLANNED, planned) if planned is not None else monkeypatch.delenv(PLANNED)
        check_environment()


def test_what_has_changed_is_named_with_both_versions(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = json.loads(describe_environment())
    monkeypatch.setenv(PLANNED, json.dumps({**now, "python": "3.10"}))
    install(packages, "torch", "1.0")
    words = rf"python 3.10 -> {now['python']}, torch {now['torch']} -> 1.0\. Put these .* start Snakemake again; or"
    with pytest.raises(CxrflowError, match=words):
        check_environment()


@pytest.mark.filterwarnings("ignore:Implicit None:DeprecationWarning")  # importlib.metadata, from Python 3.12 on
def test_what_is_half_installed_or_has_come_is_named(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = json.loads(describe_environment())
    (packages / "numpy-9.9.dist-info").mkdir()
    with pytest.raises(CxrflowError, match=rf": numpy {now['numpy']} -> missing\."):
        check_environment()
    monkeypatch.setenv(PLANNED, describe_environment())  # of a Snakemake that was started at that time
    time.sleep(0.01)  # the clock of some file systems
    (packages / "numpy-9.9.dist-info").rmdir()
    with pytest.raises(CxrflowError, match=rf": numpy missing -> {now['numpy']}\."):
        check_environment()


def test_a_training_says_so_before_it_imports_what_has_gone(tmp_path: Path) -> None:
    """Torch cannot be imported here, as in the middle of an installation."""
    (tmp_path / "torch.py").write_text("raise ImportError('half of it')")
    planned = json.dumps({**json.loads(describe_environment()), "torch": "1.0"})
    environ = {**os.environ, PLANNED: planned, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, SCRIPTS / "train.py"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "torch 1.0 -> " in done.stderr
