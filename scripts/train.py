r"""Train one model and keep the epoch with the lowest validation loss.

Reads images.npy, split.csv and, for a transfer, the weights to start from; writes training.json, history.csv (one row
per epoch), model.pt.sha256 and model.pt. Checkpoints go to the resume folder and leave it when all is written: run the
same command again after an interruption. The test images are never opened.

    python scripts/train.py --images images.npy --split split.csv --model-id covid/resnet34/scratch/base/seed0 \
        --preprocess '{"size_px": 256}' --settings '{"epochs": 50}' --device cuda --threads 2 --resume resume \
        --history history.csv --summary training.json --model model.pt
"""

from contextlib import nullcontext
from pathlib import Path

from cxrflow.config.stages import importing_much, run_stage

with importing_much():
    import torch

    from cxrflow.config.identity import ModelId
    from cxrflow.config.settings import PreprocessSettings, TrainSettings
    from cxrflow.files.atomic import write_json
    from cxrflow.files.leases import hold_lease
    from cxrflow.files.records import EpochRow
    from cxrflow.files.tables import write_records
    from cxrflow.models.checkpoints import save_model
    from cxrflow.models.deadline import find_deadline
    from cxrflow.models.devices import (
        choose_device,
        describe_device,
        note_on_precision,
        prepare_process,
    )
    from cxrflow.models.distributed import choose_backend, find_ranks
    from cxrflow.models.inits import load_init
    from cxrflow.models.interrupts import leave_on_sigterm
    from cxrflow.models.launch import run_ranks
    from cxrflow.models.networks import build_network
    from cxrflow.models.outcome import is_finished, saved_model, summarize_training
    from cxrflow.models.ranks import Ranks
    from cxrflow.models.recording import note_on_recording
    from cxrflow.models.resume import CheckpointStore, training_circumstances, training_key
    from cxrflow.models.subsets import SplitImages, open_split_images
    from cxrflow.models.training import Training, fit, start_training, weigh_classes
    from cxrflow.models.training_log import epoch_line, final_line, header


def train_model(
    *,
    images: Path,
    split: Path,
    model_id: str,
    preprocess: PreprocessSettings,
    settings: TrainSettings,
    device: str = "auto",
    gpus: int = 1,
    init_weights: Path | None = None,
    threads: int,
    resume: Path,
    history: Path,
    summary: Path,
    model: Path,
) -> None:
    """Fit on the train rows and choose the epoch on the val rows.

    images: images.npy of the model's preprocessing
    split: split.csv of the dataset
    model_id: dataset/backbone/init/variant/seed0
    preprocess: how the images were made, as JSON.
    settings: the training, as JSON.
    device: auto (a GPU if there is one), cpu or cuda
    gpus: processes that share the training, one per GPU
    init_weights: what a transferred model starts from: torchvision's .pth file, or another dataset's model.pt
    threads: CPU threads, divided among the processes of several GPUs; another number changes the last bits of the
        result
    resume: folder for checkpoints, emptied at the end
    history: history.csv to write
    summary: training.json to write
    model: model.pt to write, last
    """
    arguments, ranks = {**locals()}, find_ranks()
    leave_on_sigterm(tell=ranks.count == 1)
    if ranks.count < gpus:
        run_ranks(gpus, choose_backend(gpus, device), train_model, arguments)
        return
    prepare_process(max(1, threads // ranks.count))
    identity, found = ModelId.parse(model_id), choose_device(device)
    data = open_split_images(images, split, preprocess.size_px)
    key = training_key(identity, settings, preprocess, split=split, images=data.images, init_weights=init_weights)
    with hold_lease(resume, f"the training of {model_id}") if ranks.leads else nullcontext() as lease:
        circumstances = training_circumstances(describe_device(found), threads, ranks.count)
        store = CheckpointStore(resume, key, circumstances, guard=lease.check) if lease else None
        if ranks.share(store and is_finished(summary, model, store.key)):
            print(f"{model} is there already, of this very training: delete it to train again")
            return
        training = prepare_training(identity, data, settings, init_weights, found, ranks)
        tell_start(training, identity, data, threads)
        fit(training, store, lambda row, is_best: print(epoch_line(row, is_best)), find_deadline())
        if store and lease:
            lease.check()
            print(final_line(training.best.epoch, training.history))
            write_json(summary, summarize_training(training, identity, data, threads, store.key))
            write_records(history, EpochRow, training.history)
            save_model(model, saved_model(training, identity, data.class_names, preprocess))
            store.clear()


def prepare_training(
    identity: ModelId,
    data: SplitImages,
    settings: TrainSettings,
    init_weights: Path | None,
    device: torch.device,
    ranks: Ranks,
) -> Training:
    """Build the network, give it its first weights, and make it ready for its first epoch."""
    network = build_network(identity.backbone, len(data.class_names), settings.batch_norm_momentum, identity.seed)
    load_init(network, identity.backbone, identity.init, init_weights)
    return start_training(network, data, settings, seed=identity.seed, device=device, ranks=ranks)


def tell_start(training: Training, identity: ModelId, data: SplitImages, threads: int) -> None:
    """Print what the log starts with: where, how precisely, and on how many images of each class."""
    settings, n_ranks = training.settings, training.ranks.count
    notes = (
        note_on_precision(training.device, settings.precision),
        note_on_recording(settings.cuda_graphs, training.device, n_ranks),
    )
    for note in filter(None, notes):
        print(note)
    device_name = describe_device(training.device, n_ranks)
    print(header(identity, device_name, threads, data.counts("train"), weigh_classes(data, settings)))


if __name__ == "__main__":
    run_stage(train_model)
