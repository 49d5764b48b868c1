"""Trains once undisturbed, then again with kills at random moments; run by test_kill.py.

    python -m tests.models.killed_server BACKBONE FOLDER SIZE_PX EPOCHS KILLS

Importing torch takes seconds, so this process imports it once, computes nothing itself (a fork of a process whose
thread pools run may hang), and forks one child per start. Prints one line per start: `killed` or `finished`, and the
newest checkpoint. Results: FOLDER/whole/done.pt and FOLDER/killed/done.pt.
"""

import dataclasses
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from cxrflow.config.backbones import BACKBONES
from cxrflow.config.settings import TrainSettings
from cxrflow.models.epochs import fit
from cxrflow.models.resume import CheckpointStore
from tests.models.toy import TINY, toy_data, toy_training

BACKBONES["tiny"] = TINY


def train(backbone: str, folder: Path, size_px: int, epochs: int) -> None:
    """Train to the end and write what came out."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    settings = TrainSettings(epochs=epochs, batch_size=10, learning_rate=0.01, restart_epochs=3)
    training = toy_training(settings, toy_data(n_train=28, n_val=12, n_test=1, size_px=size_px), backbone=backbone)
    store = CheckpointStore(folder / "resume", {"model": backbone}, {}, time_share=1)
    fit(training, store, lambda _row, _is_best: None)
    history = [dataclasses.asdict(row) for row in training.history]
    for row in history:
        del row["seconds"], row["images_per_s"]
    outcome = {"network": training.network.state_dict(), "best": training.best.state_dict, "history": history}
    torch.save(outcome, folder / "done.tmp")
    (folder / "done.tmp").rename(folder / "done.pt")
    store.clear()


def start(backbone: str, folder: Path, size_px: int, epochs: int) -> int:
    """Fork a child that trains; return its process id."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            train(backbone, folder, size_px, epochs)
            status = 0
        finally:
            os._exit(status)
    return process


def newest(folder: Path) -> str:
    """Return the name of the newest checkpoint."""
    return max((path.name for path in folder.glob("resume/*/epoch_*.pt")), default="none")


def wait_for_a_moment(rng: random.Random, folder: Path, epoch_s: float) -> None:
    """Wait for a random time, every other time counted from the next checkpoint, so that the training gets on."""
    if rng.random() < 0.5:
        before, deadline_s = newest(folder), time.monotonic() + 60
        while newest(folder) == before and time.monotonic() < deadline_s:
            time.sleep(0.0005)
    time.sleep(rng.uniform(0, 1.5 * epoch_s))


def kill(process: int) -> str:
    """Kill a child; say whether it was still there."""
    found, status = os.waitpid(process, os.WNOHANG)
    if found:
        return "finished early" if status == 0 else f"failed with {status}"
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return "killed"


def main() -> None:
    """Train undisturbed; then kill KILLS times, and let the last one finish."""
    backbone, folder = sys.argv[1], Path(sys.argv[2])
    size_px, epochs, kills = map(int, sys.argv[3:])
    whole, killed = folder / "whole", folder / "killed"
    whole.mkdir()
    killed.mkdir()
    begin_s = time.monotonic()
    os.waitpid(start(backbone, whole, size_px, epochs), 0)
    epoch_s = (time.monotonic() - begin_s) / epochs
    rng = random.Random(0)
    for _ in range(kills):
        process = start(backbone, killed, size_px, epochs)
        wait_for_a_moment(rng, killed, epoch_s)
        print(f"\n{kill(process)} {newest(killed)}", flush=True)  # the killed one may have left half a line
    _, status = os.waitpid(start(backbone, killed, size_px, epochs), 0)
    print("\nfinished" if status == 0 else f"\nfailed with {status}", flush=True)


if __name__ == "__main__":
    main()
