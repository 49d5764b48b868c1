r"""Train one model and keep its best epoch on the validation images.

Reads images.npy with images.csv, split.csv and, for a transfer, the weights to start from; writes training.json,
history.csv (one row per epoch), model.pt.sha256 and model.pt. Checkpoints go to the resume folder and leave it when all
is written: run the same command again after an interruption. A finished training is also kept in kept/ beside model.pt,
and taken back from there when its settings return. The test images are never opened.

    python scripts/train.py --images images.npy --split split.csv --model-id covid/resnet34/scratch/base/seed0 \
        --preprocess '{"size_px": 256}' --settings '{"epochs": 50}' --device cuda --threads 2 --resume resume \
        --history history.csv --training training.json --model model.pt
"""

from contextlib import ExitStack
from pathlib import Path

from cxrflow.config.stages import Output, importing_much, leave_on_sigterm, run_stage

with importing_much():
    from torch import distributed

    from cxrflow.config.layout import ModelId
    from cxrflow.config.settings import PreprocessSettings, TrainSettings
    from cxrflow.files.atomic import write_json
    from cxrflow.files.leases import hold_lease
    from cxrflow.files.records import EpochRow
    from cxrflow.files.tables import write_records
    from cxrflow.models.batches import SplitImages, open_split_images, take_share
    from cxrflow.models.checkpoints import checksum_path, save_model
    from cxrflow.models.devices import choose_device, claim_gpus, describe_device, note_on_precision, prepare_process
    from cxrflow.models.epochs import fit
    from cxrflow.models.losses import weigh_classes
    from cxrflow.models.probing import fit_head
    from cxrflow.models.progress import epoch_line, final_line, header
    from cxrflow.models.ranks import join_ranks, run_together
    from cxrflow.models.resume import CheckpointStore, find_deadline, training_circumstances, training_key
    from cxrflow.models.training import (
        Training,
        describe_training,
        is_finished,
        open_training,
        saved_model,
    )


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
    history: Output,
    training: Output,
    model: Output,
) -> None:
    """Fit on the train rows and choose the epoch on the val rows.

    images: images.npy of the model's preprocessing
    split: split.csv of the dataset
    model_id: dataset/backbone/init/variant/seed0
    preprocess: how the images were made, as JSON.
    settings: the training, as JSON.
    device: auto (a GPU if there is one), cpu or cuda
    gpus: processes that share the training, one per GPU
    init_weights: what a transferred model starts from: torchvision's .pth file, another dataset's model.pt, or named
        weights, which may ask for a head on frozen features
    threads: CPU threads, divided among the processes of several GPUs; another number changes the last bits of the
        result
    resume: folder for checkpoints, emptied at the end
    history: history.csv to write
    training: training.json to write
    model: model.pt to write, last
    """
    is_rank = distributed.is_torchelastic_launched()
    leave_on_sigterm(report=not is_rank)
    claim_gpus(device, gpus)
    if gpus > 1 and not is_rank:
        run_together(gpus, device)
        return
    identity, found = ModelId.parse(model_id), choose_device(device, gpus)
    prepare_process(max(1, threads // gpus))
    with join_ranks(device) as ranks, ExitStack() as held:
        lease = held.enter_context(hold_lease(resume, f"the training of {model_id}")) if ranks.leads else None
        data = take_share(open_split_images(images, split, preprocess.size_px), settings.train_share)
        key = training_key(identity, settings, preprocess, split=split, images=images, init_weights=init_weights)
        circumstances = training_circumstances(describe_device(found), threads, gpus)
        store = CheckpointStore(resume, key, circumstances, guard=lease.check) if lease else None
        files = [history, training, checksum_path(model), model]
        if ranks.share(store and (is_finished(training, model, store.key) or store.take_back(files))):
            print(f"{model} already exists for exactly this configuration")
            return
        state = open_training(identity, data, settings, init_weights, found, ranks)
        print_start(state, identity, data, threads)
        if state.is_probe:
            print(epoch_line(fit_head(state, data, identity.backbone), is_best=True))
        else:
            fit(state, store, lambda row, is_best: print(epoch_line(row, is_best)), find_deadline())
        if store and lease:
            lease.check()
            print(final_line(state.best.epoch, state.history))
            model.unlink(missing_ok=True)  # until all new files are there, none of the old ones may pass for them
            write_json(training, describe_training(state, identity, data, threads, store.key))
            write_records(history, EpochRow, state.history)
            save_model(model, saved_model(state, identity, data.class_names, preprocess))
            store.keep(files)
            store.clear()


def print_start(training: Training, identity: ModelId, data: SplitImages, threads: int) -> None:
    """Print what the log starts with: where, how precisely, and on how many images of each class."""
    if note := note_on_precision(training.device, training.settings.precision):
        print(note)
    device_name = describe_device(training.device, training.ranks.count)
    print(
        header(
            identity, device_name, threads, data.counts("train"), weigh_classes(data.counts("train"), training.settings)
        )
    )


if __name__ == "__main__":
    run_stage(train_model)
