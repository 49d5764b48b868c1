"""Training on a GPU: images per second of each backbone, and the whole pneumonia set from scratch.

bfloat16, 224 px; the dataset as uint8 on the GPU (resident) or copied batch by batch (streamed).
"""

import copy
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrflow.config.backbones import BACKBONES
from cxrflow.config.settings import TrainSettings
from cxrflow.models.augment import sample_changes
from cxrflow.models.batches import ImageSource, ResidentSource, SplitImages, epoch_order
from cxrflow.models.devices import describe_device, prepare_process
from cxrflow.models.epochs import fit, train_step
from cxrflow.models.networks import build_network, to_network_input
from cxrflow.models.training import Training, start_training
from tests.benchmarks.inputs import pack_films, work_folder
from tests.benchmarks.measure import IMAGES_PER_S, OURS, WALL_S, Goal, Row, compare, interleave, skip
from tests.models.toy import CONVOLUTIONAL

SIZES = {  # packed images, px, batches, steps per round, rounds, images and epochs of the whole training
    "full": (6000, 224, (32, 256), 40, 5, 5840, 50),
    "quick": (1500, 224, (32, 256), 10, 3, 1000, 5),
    "tiny": (15, 32, (4,), 1, 1, 15, 1),
}
GOALS = {  # images/s at these batches, on one H200-class GPU
    "mobilenet_v3_large": {32: 8_000, 256: 12_000},
    "efficientnet_b1": {32: 4_000, 256: 6_000},
    "resnet34": {32: 7_000, 256: 10_000},
}
PRECISION = "bfloat16"
STREAMED = "streamed"
EAGER, FLOOR = "eager float32 NCHW, batch on the GPU", "network alone, batch on the GPU"
NO_GPU = "no GPU is at hand"
IDLE = "100 % less the share of the floor is what the GPU waits for data and is not spent in the network"


def finish(device: torch.device) -> None:
    """Wait until the device has done all that is queued."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def run_steps(training: Training, batch: int, steps: int) -> None:
    """Take steps as the training loop does, wrapping around at the end of the epoch."""
    n_train = len(training.labels["train"])
    order, draws = epoch_order(n_train, 0, 1), sample_changes(n_train, training.settings, 0, 1)
    for step in range(steps):
        places = order[(torch.arange(batch) + step * batch) % n_train]
        train_step(training, places, draws.of(places), 1e-4)
    finish(training.device)


def run_network(
    network: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor, labels: Tensor, steps: int, precision: str
) -> None:
    """Take steps on one batch that is ready."""
    for _ in range(steps):
        optimizer.zero_grad()
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            logits = network(inputs)
        functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
    finish(inputs.device)


def start(
    backbone: str, data: SplitImages, batch: int, device: torch.device, source: Callable[..., ImageSource]
) -> Training:
    """Start a training whose train images come from a source of this kind."""
    settings = TrainSettings(batch_size=batch, precision=PRECISION)
    training = start_training(build_network(backbone, 3, 0.1), data, settings, seed=0, device=device)
    training.sources["train"] = source(data.images, data.rows["train"], device)
    return training


def make_sides(
    backbone: str, data: SplitImages, batch: int, steps: int, device: torch.device
) -> dict[str, Callable[[], None]]:
    """Return some steps of every side: ours with resident and with streamed images, eager, and the network alone."""
    resident = start(backbone, data, batch, device, ResidentSource)
    places = torch.arange(batch) % len(data.rows["train"])
    inputs = to_network_input(resident.sources["train"].gather(places))
    labels = resident.labels["train"][places.to(device)]
    alone = copy.deepcopy(resident.network)
    plain = copy.deepcopy(resident.network).to(memory_format=torch.contiguous_format)
    fused = torch.optim.Adam(alone.parameters(), lr=1e-4, fused=True)
    slow = torch.optim.Adam(plain.parameters(), lr=1e-4)
    return {
        OURS: partial(run_steps, resident, batch, steps),
        STREAMED: partial(run_steps, start(backbone, data, batch, device, ImageSource), batch, steps),
        EAGER: partial(run_network, plain, slow, inputs.contiguous(), labels, steps, "float32"),
        FLOOR: partial(run_network, alone, fused, inputs, labels, steps, PRECISION),
    }


def measure_speed(backbone: str, batch: int, data: SplitImages, device: torch.device, size: str) -> list[Row]:
    """Return the rows of one backbone at one batch size: resident and streamed."""
    _, size_px, _, steps, rounds, _, _ = SIZES[size]
    wall_s = interleave(make_sides(backbone, data, batch, steps, device), rounds).wall_s
    rates = {name: [batch * steps / value for value in values] for name, values in wall_s.items()}
    goal = Goal(GOALS[backbone].get(batch, 0), of_ratio=False)
    what = f"training, {BACKBONES[backbone].title}, {PRECISION}, batch {batch}, {size_px} px"
    note = f"{describe_device(device)}; {IDLE}"
    streamed = {OURS: rates[STREAMED], "resident": rates[OURS]}
    return [
        compare(f"{what}, resident", IMAGES_PER_S, rates, peer=EAGER, floor=FLOOR, goal=goal, note=note),
        compare(f"{what}, streamed", IMAGES_PER_S, streamed, peer="resident", goal=Goal(0.9)),
    ]


def measure_study(backbone: str, data: SplitImages, device: torch.device, size: str) -> Row:
    """Return the row of a whole training from scratch, with its validations."""
    _, size_px, _, _, _, count, epochs = SIZES[size]
    settings = TrainSettings(epochs=epochs, precision=PRECISION)
    training = start_training(build_network(backbone, 3, 0.1), data, settings, seed=0, device=device)
    begin_s = time.perf_counter()
    fit(training, None, lambda *_: None)
    finish(device)
    values = {OURS: [time.perf_counter() - begin_s]}
    what = f"{epochs} epochs of {count:,} images of {size_px} px, {BACKBONES[backbone].title}, batch 32"
    return compare(what, WALL_S, values, goal=Goal(60, of_ratio=False))


def measure_on(device: torch.device, size: str) -> list[Row]:
    """Return every row, on whatever device."""
    prepare_process(torch.get_num_threads())
    n_packed, size_px, batches, _, _, n_study, _ = SIZES[size]
    rows = []
    with work_folder() as folder:
        data = pack_films(folder / "images.npy", size_px, n_packed)
        study = pack_films(folder / "study.npy", size_px, n_study)
        for backbone in CONVOLUTIONAL:
            for batch in batches:
                rows += measure_speed(backbone, batch, data, device, size)
        rows += [measure_study(backbone, study, device, size) for backbone in CONVOLUTIONAL]
    return rows


def measure_rows(size: str) -> list[Row]:
    """Return the rows of a GPU, or one that says that none is at hand."""
    if not torch.cuda.is_available():
        return [skip("training on a GPU: images/s of each backbone, streamed images, a whole training", NO_GPU)]
    return measure_on(torch.device("cuda"), size)
