"""One training step of each backbone on one core, against eager PyTorch and timm."""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import StochasticDepth

from cxrflow.config.backbones import BACKBONES
from cxrflow.config.settings import TrainSettings
from cxrflow.models.augment import sample_changes
from cxrflow.models.batches import SplitImages
from cxrflow.models.devices import note_on_precision
from cxrflow.models.epochs import train_step
from cxrflow.models.networks import build_network, to_network_input
from cxrflow.models.training import Training, start_training
from tests.benchmarks.inputs import pack_films, work_folder
from tests.benchmarks.measure import (
    IMAGES_PER_CPU_S,
    OURS,
    Goal,
    Row,
    compare,
    is_installed,
    require_equal,
    skip,
)
from tests.benchmarks.processes import interleave_processes

SIZES = {"full": (8, 224, 2), "quick": (8, 128, 3), "tiny": (4, 48, 1)}  # batch size, px, rounds
GOALS = {"mobilenet_v3_large": 1.5, "efficientnet_b1": 1.5, "resnet34": 2.2}
BFLOAT16 = "resnet34"  # the only one that bfloat16 makes faster on a CPU; its goal was found with it
TIMM_NAMES = {"mobilenet_v3_large": "mobilenetv3_large_100"}
EAGER, TIMM, FLOOR = "eager, float32 NCHW", "timm", "forward and backward"
CPU = torch.device("cpu")
LEARNING_RATE = 1e-4
SMALL_DIFFERENCE = 1e-3  # of a loss near 1, float32: the order of additions
LARGE_DIFFERENCE = 5e-2  # with bfloat16, whose numbers have 8 bits
NOTE = "one thread, a process each; ours includes gathering and augmenting the batch, the others are given it ready"


def step_ours(training: Training, places: Tensor) -> float:
    """Take a step as the training loop does; return the loss per image."""
    draws = sample_changes(len(places), training.settings, 0, 1)
    sums, _ = train_step(training, places, draws, LEARNING_RATE)
    return float(sums[0] / sums[1])


def step_eager(network: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor, labels: Tensor) -> float:
    """Take a step as a plain PyTorch script does."""
    optimizer.zero_grad()
    loss = functional.cross_entropy(network(inputs), labels)
    loss.backward()
    optimizer.step()
    return loss.item()


def step_bare(network: nn.Module, inputs: Tensor, labels: Tensor) -> None:
    """Compute gradients and nothing else."""
    network.zero_grad()
    functional.cross_entropy(network(inputs), labels).backward()


def make_timm(backbone: str, inputs: Tensor, labels: Tensor) -> Callable[[], float]:
    """Return a step of the same network from timm, with its optimizer, as its train.py takes it (channels_last)."""
    import timm
    from timm.optim import create_optimizer_v2

    network = timm.create_model(TIMM_NAMES.get(backbone, backbone), num_classes=3)
    network = network.to(memory_format=torch.channels_last).train()
    optimizer = create_optimizer_v2(network, opt="adam", lr=LEARNING_RATE)
    return partial(step_eager, network, optimizer, inputs, labels)


def make_sides(backbone: str, data: SplitImages, precision: str, batch: int) -> dict[str, Callable[[], object]]:
    """Return one step of every side, from the same weights and the same batch; alike in every process."""
    network = build_network(backbone, len(data.class_names), 0.1, seed=0)
    settings = TrainSettings(batch_size=batch, precision=precision, class_weights="none")
    training = start_training(network, data, settings, seed=0, device=CPU)
    places = torch.arange(batch)
    inputs, labels = to_network_input(training.sources["train"].gather(places)), training.labels["train"][places]
    plain = copy.deepcopy(training.network).to(memory_format=torch.contiguous_format)
    optimizer = torch.optim.Adam(plain.parameters(), lr=LEARNING_RATE)
    sides: dict[str, Callable[[], object]] = {
        OURS: partial(step_ours, training, places),
        EAGER: partial(step_eager, plain, optimizer, inputs.contiguous(), labels),
        FLOOR: partial(step_bare, copy.deepcopy(training.network), inputs, labels),
    }
    if is_installed("timm") and precision == "float32":
        sides[TIMM] = make_timm(backbone, inputs, labels)
    return sides


def check_losses(backbone: str, data: SplitImages, precision: str, batch: int) -> None:
    """Check that ours and eager find the same loss in the same batch when nothing is augmented or dropped out."""
    network = build_network(backbone, len(data.class_names), 0.1, seed=0)
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    turn_off_dropout(network)
    turn_off_dropout(plain)
    settings = TrainSettings(
        precision=precision,
        class_weights="none",
        flip_probability=0.0,
        sharpness_probability=0.0,
        autocontrast_probability=0.0,
    )
    training = start_training(network, data, settings, seed=0, device=CPU)
    places = torch.arange(batch)
    inputs = to_network_input(training.sources["train"].gather(places)).contiguous()
    optimizer = torch.optim.Adam(plain.parameters(), lr=LEARNING_RATE)
    tolerance = SMALL_DIFFERENCE if precision == "float32" else LARGE_DIFFERENCE
    ours = step_ours(training, places)
    theirs = step_eager(plain, optimizer, inputs, training.labels["train"][places])
    require_equal(f"loss of {backbone}", abs(ours - theirs), tolerance * max(1.0, theirs))


def turn_off_dropout(network: nn.Module) -> None:
    """Let nothing be drawn at random in the forward pass."""
    for module in network.modules():
        if isinstance(module, nn.Dropout | StochasticDepth):
            module.p = 0.0


def measure_backbone(backbone: str, precision: str, folder: Path, size: str) -> list[Row]:
    """Return one row per peer."""
    batch, size_px, rounds = SIZES[size]
    what = f"training step, {BACKBONES[backbone].title}, {precision}, batch {batch}, {size_px} px"
    if warning := note_on_precision(CPU, precision):
        return [skip(what, warning.removeprefix("note: "), f"{GOALS[backbone]:g}x")]
    data = pack_films(folder / f"{backbone}.npy", size_px, 5 * batch)
    check_losses(backbone, data, precision, batch)
    make = partial(make_sides, backbone, data, precision, batch)
    rates = interleave_processes(make, [EAGER, TIMM], rounds).rates(batch)
    goal = Goal(GOALS[backbone])
    first = compare(what, IMAGES_PER_CPU_S, rates, peer=EAGER, floor=FLOOR, goal=goal, note=NOTE)
    return [first, compare(what, IMAGES_PER_CPU_S, rates, peer=TIMM)] if precision == "float32" else [first]


def measure_rows(size: str) -> list[Row]:
    """Return the rows of every backbone in float32, and of one in bfloat16."""
    torch.set_num_threads(1)
    runs = [*((backbone, "float32") for backbone in GOALS), (BFLOAT16, "bfloat16")]
    with work_folder() as folder:
        return [row for backbone, precision in runs for row in measure_backbone(backbone, precision, folder, size)]
