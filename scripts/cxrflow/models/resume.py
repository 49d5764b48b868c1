"""What lets a training be interrupted: checkpoints that the next attempt resumes from, and the deadline of its job.

Writes <resume>/<key>/epoch_0007.pt with epoch_0007.pt.sha256, keeps the last two, and removes them when the training is
done. The finished model is then linked into kept/<key> in its folder: a setting that is changed and changed
back trains nothing. Neither folder is a declared output of a rule: Snakemake deletes those before it runs a rule again.

Slurm ends a job at its time limit; a training leaves before, with its last epoch saved.
"""

import datetime
import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cxrflow.config.backbones import describe_network
from cxrflow.config.layout import ModelId
from cxrflow.config.parsing import settings_json
from cxrflow.config.settings import PreprocessSettings, TrainSettings
from cxrflow.data.images import table_path
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import check_unchanged, sha256_file, write_atomically
from cxrflow.files.code_hash import code_hash
from cxrflow.files.provenance import record_path, save_record
from cxrflow.models.checkpoints import checksum_path, load_checked, save_checked, set_aside
from cxrflow.models.networks import find_backbone

KEPT = 2  # checkpoints; the older one serves where the newer is damaged
KEPT_MODELS = 3  # finished trainings of one model folder, of different settings
TIME_SHARE = 0.1  # of the time may go into writing checkpoints: with short epochs, not every epoch gets one
RESERVE_S = 30.0  # before the deadline, to write a checkpoint and to end
SPREAD = 1.2  # an epoch may take this much longer than the longest of the last ones
LAST = 5
KEY_FOLDER = re.compile(r"[0-9a-f]{16}")
CHECKPOINT = re.compile(r"epoch_(\d{4,})\.pt")
OURS = re.compile(r"\.?epoch_\d{4,}\.pt(\.sha256|\.damaged)?(\.\d+\.tmp)?")


def training_key(
    model: ModelId,
    settings: TrainSettings,
    preprocess: PreprocessSettings,
    *,
    split: Path,
    images: Path,
    init_weights: Path | None,
) -> dict[str, str]:
    """Return what a checkpoint depends on, by name. Two trainings with equal keys may continue each other.

    The images count with images.csv, which has a checksum of each. The device and the number of GPUs are left out: a
    training may move. The code is included: an old checkpoint is not what changed code would have computed.
    """
    find_backbone(model.backbone)  # an unknown one is named
    return {
        "model": model.path,
        "network": describe_network(model.backbone),
        "settings": settings_json(settings),
        "preprocess": settings_json(preprocess),
        "split": sha256_file(split),
        "images": sha256_file(table_path(images)),
        "init_weights": sha256_file(init_weights) if init_weights else "none",
        "code": code_hash("train"),
    }


def training_circumstances(device_name: str, threads: int, gpus: int = 1) -> dict[str, str]:
    """Return what changes the last bits of a result, but does not keep a training from resuming.

    Plain text: torch.__version__ itself is of a class that torch.load refuses.
    """
    return {"device": device_name, "threads": str(threads), "gpus": str(gpus), "torch": str(torch.__version__)}


class CheckpointStore:
    """The checkpoints of one training, in <resume>/<key>; the key stands for all that the training depends on."""

    def __init__(
        self,
        resume: Path,
        key: dict[str, str],
        circumstances: dict[str, str],
        *,
        time_share: float = TIME_SHARE,
        guard: Callable[[], None] = lambda: None,
    ) -> None:
        """Take the resume folder of a model, `training_key` and `training_circumstances`.

        time_share: at most this share of the time goes into writing; 1 or more writes after every epoch.
        guard: called before anything is written; raises if this process may no longer write (leases.Lease.check).
        """
        self._resume, self._circumstances, self._time_share, self._guard = resume, circumstances, time_share, guard
        self._last_save_s, self._cost_s = time.monotonic(), 0.0
        self.key = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = resume / self.key

    def save(self, epoch: int, state: Callable[[], dict[str, Any]], *, at_any_cost: bool = False) -> None:
        """Write a checkpoint after an epoch and drop all but the last two; skipped where it would cost too much."""
        start_s = time.monotonic()
        if not at_any_cost and self._cost_s > self._time_share * (start_s - self._last_save_s + self._cost_s):
            return
        self._guard()
        content = {"circumstances": self._circumstances, "epoch": epoch, "state": state()}
        save_checked(self.folder / f"epoch_{epoch:04d}.pt", content)
        for path in self._checkpoints()[KEPT:]:
            _remove(path)
        self._last_save_s = time.monotonic()
        self._cost_s = self._last_save_s - start_s

    def load(self, last_epoch: int | None = None) -> dict[str, Any] | None:
        """Return the state of the newest checkpoint that is whole, or None; others are reported and renamed.

        last_epoch: later ones do not count.
        """
        for path in self._checkpoints():
            if last_epoch and epoch_of(path) > last_epoch:
                continue
            try:
                content = load_checked(path)
            except CxrflowError as error:
                print(f"note: {error}. It is now {set_aside(path).name}; using the checkpoint before it")
                continue
            self._report_circumstances(content["circumstances"])
            print(f"resuming after epoch {content['epoch']} ({path})")
            return dict(content["state"])
        return None

    def clear(self) -> None:
        """Remove the checkpoints of this model, of other settings too, and the folders if they are then empty."""
        folders = [folder for folder in self._resume.glob("*/") if KEY_FOLDER.fullmatch(folder.name)]
        for path in [path for folder in folders for path in folder.iterdir() if OURS.fullmatch(path.name)]:
            path.unlink(missing_ok=True)
        for folder in [*folders, self._resume]:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def keep(self, files: Sequence[Path]) -> None:
        """Link the files of the finished training into kept/<key> beside them; the last three trainings stay."""
        kept = files[0].parent / "kept" / self.key
        for path in files:
            _link(path, kept / path.name)
        hashes = {path.name: sha256_file(path) for path in files}
        save_record(record_path(kept / "kept"), {"stage": "train", "settings": {}, "inputs": {}, "outputs": hashes})
        trainings = sorted(kept.parent.iterdir(), key=lambda folder: folder.stat().st_mtime_ns)
        for folder in trainings[:-KEPT_MODELS]:
            shutil.rmtree(folder)

    def take_back(self, files: Sequence[Path]) -> bool:
        """Link the files back if exactly this training was finished before; return whether it was."""
        kept = files[0].parent / "kept" / self.key
        try:
            for path in files:
                check_unchanged(kept / path.name)
        except FileNotFoundError:
            return False
        except CxrflowError as error:
            print(f"note: {error}. Training again")
            return False
        for path in files:
            _link(kept / path.name, path)
        print(f"taken back from {kept}, where this training was kept: delete that folder to train again")
        return True

    def _checkpoints(self) -> list[Path]:
        """Return the checkpoints, newest first."""
        found = [path for path in self.folder.glob("epoch_*.pt") if CHECKPOINT.fullmatch(path.name)]
        return sorted(found, key=epoch_of, reverse=True)

    def _report_circumstances(self, before: dict[str, str]) -> None:
        pairs = [(name, before.get(name), now) for name, now in self._circumstances.items()]
        changed = ", ".join(f"{name} {was} -> {now}" for name, was, now in pairs if was != now)
        if changed:
            print(f"note: the training moved ({changed}): its last bits may differ from an uninterrupted one")


def epoch_of(path: Path) -> int:
    """Return the epoch after which a checkpoint was saved."""
    return int(path.stem.removeprefix("epoch_"))


def _link(source: Path, target: Path) -> None:
    with write_atomically(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:  # a file system without links, or another one
            shutil.copyfile(source, temporary)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    checksum_path(path).unlink(missing_ok=True)


@dataclass(frozen=True)
class Deadline:
    """The end of a job's time."""

    at_s: float = math.inf  # on `clock`; infinity where there is no limit
    clock: Callable[[], float] = time.monotonic

    def allows(self, epoch_seconds: Sequence[float]) -> bool:
        """Return whether one more epoch fits, judged by the seconds of this attempt's epochs so far.

        The first always does, so that every attempt gains an epoch if its time allows one at all.
        """
        if not epoch_seconds:
            return True
        return self.clock() + SPREAD * max(epoch_seconds[-LAST:]) + RESERVE_S < self.at_s

    def leave(self, done: int, epochs: int) -> CxrflowError:
        """Return the error that ends a training in time."""
        return CxrflowError(
            f"the job's time ends in {max(0.0, self.at_s - self.clock()):.0f} s, before another epoch would: "
            f"saved after epoch {done} of {epochs}. The next attempt resumes from there (`retries` in the profile "
            "starts one by itself; a larger `runtime` of train needs none)"
        )


def find_deadline() -> Deadline:
    """Return the deadline of the Slurm job that this process runs in; none outside of one, or where Slurm says none.

    Slurm is asked once, at the start; from then on the process's own clock counts.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if not job:
        return Deadline()
    command = ["squeue", "--noheader", "--jobs", job, "--format", "%e"]
    environment = {**os.environ, "SLURM_TIME_FORMAT": "standard"}  # ISO, in this machine's time zone
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=environment)
        left = datetime.datetime.fromisoformat(run.stdout.strip()) - datetime.datetime.now()
        return Deadline(time.monotonic() + left.total_seconds())
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        print(f"note: Slurm does not say when job {job} ends ({error}); at its limit the last checkpoint counts")
        return Deadline()
