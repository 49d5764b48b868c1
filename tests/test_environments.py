"""Every environment installs the versions of the one lock."""

import re
from pathlib import Path

import pytest
import yaml

ENVS = Path(__file__).resolve().parents[1] / "envs"


def locked() -> list[str]:
    lines = (ENVS / "requirements.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_the_lock_pins_every_package() -> None:
    assert len(locked()) > 50
    assert all(re.match(r"[a-z0-9._-]+==\S+( ; .+)?$", line) for line in locked())


def test_the_conda_environment_is_the_lock() -> None:
    environment = yaml.safe_load((ENVS / "cxrflow.yaml").read_text())
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert pip == locked(), "run `make lock`"


@pytest.mark.parametrize("name", ["Dockerfile", "cxrflow.def"])
def test_containers_install_the_lock_and_nothing_else(name: str) -> None:
    text = (ENVS / name).read_text()
    assert re.findall(r"pip install.*", text) == ["pip install --no-cache-dir -r /tmp/requirements.txt"]
    assert "envs/requirements.txt /tmp/requirements.txt" in text
    conda = yaml.safe_load((ENVS / "cxrflow.yaml").read_text())["dependencies"][0]
    assert f"python:{conda.removeprefix('python=')}-slim" in text
