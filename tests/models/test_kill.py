"""A training that is killed without warning, again and again, ends with the same bits as one left alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.models.toy import equal_weights

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "size_px", "epochs", "kills"), [("tiny", 12, 30, 10), ("mobilenet_v3_large", 32, 8, 4)]
)
def test_kills_change_no_bit(tmp_path: Path, backbone: str, size_px: int, epochs: int, kills: int) -> None:
    arguments = [backbone, str(tmp_path), str(size_px), str(epochs), str(kills)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.models.killed_server", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'scripts'}"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    starts = [line for line in done.stdout.splitlines() if line.startswith(("killed", "finished", "failed"))]
    assert [line.split()[0] for line in starts] == ["killed"] * kills + ["finished"]
    assert len(set(starts)) > kills // 4  # the kills came after different epochs
    whole, killed = (torch.load(tmp_path / name / "done.pt") for name in ("whole", "killed"))
    assert equal_weights(whole["network"], killed["network"])
    assert equal_weights(whole["best"], killed["best"])
    assert whole["history"] == killed["history"]
    assert len(whole["history"]) == epochs
    assert not (tmp_path / "killed" / "resume").exists()
