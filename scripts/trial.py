r"""Train one run of a search: a new trial up to its first rung, or one that was promoted on to the next.

Reads the questions of its generation, packed images, split.csv and, for a transfer, the weights to start from; writes
one trial file: the question, macro F1 on validation after each epoch, and that of the epoch that would be kept, which
is the trial's value. What cannot train (a loss that is not finite, too little GPU memory) is an answer too, with state
FAIL. Before the last rung, checkpoints stay in the resume folder until the search is over: a promoted trial goes on
from there, bit for bit as if it had never stopped. A finished run is also kept in kept/, and taken back when its
question returns. Test rows are never opened.

    python scripts/trial.py --asked generation0.json --run 3 --images data/covid/256px-equalized-blur5/images.npy \
        --split split.csv --model-id covid/resnet34/scratch/trial/seed1000 --preprocess '{"size_px": 256}' \
        --train '{"epochs": 8}' --threads 2 --folder results/lungs/tune/tuned --trial 0003.json
"""

from pathlib import Path
from typing import Any

from cxrflow.config.stages import Output, importing_much, leave_on_sigterm, run_stage

with importing_much():
    import torch

    from cxrflow.config.layout import ModelId
    from cxrflow.config.parsing import override_settings
    from cxrflow.config.settings import PreprocessSettings, TrainSettings
    from cxrflow.config.study import recipe_name
    from cxrflow.config.tuning import as_variant
    from cxrflow.errors import CxrflowError
    from cxrflow.files.atomic import read_json, sha256_file, write_json
    from cxrflow.files.leases import hold_lease
    from cxrflow.files.provenance import record_path, save_record
    from cxrflow.models.batches import open_split_images, take_share
    from cxrflow.models.devices import choose_device, describe_device, prepare_process
    from cxrflow.models.epochs import fit
    from cxrflow.models.progress import epoch_line
    from cxrflow.models.resume import CheckpointStore, find_deadline, training_circumstances, training_key
    from cxrflow.models.training import CannotTrainError, Training, open_training
    from cxrflow.select.tuning import DONE, FAILED, IDLE


def run_trial(
    *,
    asked: Path,
    run: str,
    model_id: str,
    preprocess: PreprocessSettings,
    train: TrainSettings,
    images: list[Path],
    split: Path,
    init_weights: Path | None = None,
    device: str = "auto",
    threads: int,
    folder: Path,
    trial: Output,
) -> None:
    """Train one run and write what came of it.

    asked: the questions of its generation
    run: its number
    model_id: dataset/backbone/init/trial/seed0; equal settings of two trials are one training
    preprocess: the study's preprocessing, as JSON.
    train: the study's training, with the epochs of the last rung, as JSON.
    images: images.npy of every preprocessing that the search can try, in folders named by it
    split: split.csv of the dataset
    init_weights: what a transferred model starts from: torchvision's .pth file, or another dataset's model.pt
    device: auto (a GPU if there is one), cpu or cuda
    threads: CPU threads
    folder: of the search, for checkpoints and kept runs
    trial: the trial file to write
    """
    leave_on_sigterm()
    question = next(each for each in read_json(asked) if each["run"] == int(run))
    if question["trial"] is None:
        write_json(trial, {**question, "state": IDLE})
        print("no trial was left that could go on")
        return
    variant = as_variant(question["parameters"])
    pixels = override_settings(preprocess, variant.preprocess, "preprocess")
    settings = override_settings(train, variant.train, "train")
    packed = next(path for path in images if path.parent.name == recipe_name(pixels))
    identity = ModelId.parse(model_id)
    key = training_key(identity, settings, pixels, split=split, images=packed, init_weights=init_weights)
    found = choose_device(device)
    prepare_process(threads)
    resume = folder / "resume" / f"trial{question['trial']:04d}"
    with hold_lease(resume, f"run {run}, of trial {question['trial']}") as lease:
        circumstances = training_circumstances(describe_device(found), threads)
        store = CheckpointStore(resume, key, circumstances, guard=lease.check)
        kept = folder / "kept" / f"{store.key}-{question['epochs']}.json"
        answer = take_back(kept)
        if answer is None:
            data = take_share(open_split_images(packed, split, pixels.size_px), settings.train_share)
            answer = train_run(identity, data, settings, init_weights, found, store, question["epochs"])
            lease.check()
            if answer["state"] == DONE:
                keep(kept, answer)
        write_json(trial, {**question, **answer})
        if question["epochs"] == settings.epochs:
            store.clear()  # it goes on nowhere


def train_run(
    identity: ModelId, data: Any, settings: TrainSettings, init_weights: Path | None, device: torch.device,
    store: CheckpointStore, last_epoch: int,
) -> dict[str, Any]:  # fmt: skip
    """Train up to an epoch and return the answer; what fails by the settings is an answer too."""
    try:
        training = open_training(identity, data, settings, init_weights, device)
        fit(training, store, lambda row, is_best: print(epoch_line(row, is_best)), find_deadline(), last_epoch)
    except (CannotTrainError, torch.OutOfMemoryError) as error:
        print(f"failed: {error}")
        return {"state": FAILED, "value": None, "error": str(error).partition("\n")[0]}
    return describe_run(training)


def describe_run(training: Training) -> dict[str, Any]:
    """Return the answer of a run that reached its rung."""
    kept = training.history[training.best.epoch - 1]
    return {
        "state": DONE,
        "value": kept.val_macro_f1,
        "epoch_kept": kept.epoch,
        "curve": [row.val_macro_f1 for row in training.history],
        "seconds": sum(row.seconds for row in training.history),
        "device_name": describe_device(training.device),
    }


def keep(path: Path, answer: dict[str, Any]) -> None:
    """Keep an answer under the key of all that it depends on."""
    write_json(path, answer)
    hashes = {path.name: sha256_file(path)}
    save_record(record_path(path), {"stage": "trial", "settings": {}, "inputs": {}, "outputs": hashes})


def take_back(path: Path) -> dict[str, Any] | None:
    """Return an answer that was kept; None where there is none, or it is damaged."""
    if not path.exists():
        return None
    try:
        answer: dict[str, Any] = read_json(path)
    except CxrflowError as error:
        print(f"note: {error}. Training again")
        return None
    print(f"taken back from {path}, where this run was kept: delete that file to train again")
    return answer


if __name__ == "__main__":
    run_stage(run_trial)
