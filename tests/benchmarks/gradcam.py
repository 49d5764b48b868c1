"""Grad-CAM maps, on one core, against the package pytorch-grad-cam as its documentation calls it."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cxrflow.config.backbones import BACKBONES
from cxrflow.models.networks import build_network, to_network_input
from cxrflow.results.gradcam import MapLayer, compute_by_reference, find_map_layer, iterate_maps
from tests.benchmarks.inputs import pack_films, work_folder
from tests.benchmarks.measure import IMAGES_PER_CPU_S, OURS, Goal, Row, compare, require_equal
from tests.benchmarks.processes import interleave_processes
from tests.models.toy import CONVOLUTIONAL

SIZES = {"full": (8, 224, 3), "quick": (8, 128, 3), "tiny": (3, 64, 1)}  # images, px, rounds
PEER, FLOOR = "pytorch-grad-cam", "forward alone"
TOLERANCE = 1e-5  # of maps from 0 to 1
CPU = torch.device("cpu")
NOTE = "one thread, a process each; maps equal to 1e-5; floor: the plain forward pass, no map"


def build_lively(backbone: str, images: np.ndarray) -> nn.Module:
    """Build a network whose BatchNorm has seen the images: fresh statistics let activations fade to nothing."""
    network = build_network(backbone, 3, batch_norm_momentum=1.0, seed=1)
    with torch.no_grad():
        network.train()(to_network_input(torch.from_numpy(np.array(images))))
    return network.eval()


def map_ours(network: nn.Module, layer: MapLayer, images: np.ndarray, targets: list[int]) -> np.ndarray:
    return np.stack([*iterate_maps(network, layer, images, range(len(images)), targets, CPU)])


def map_by_package(network: nn.Module, layer: MapLayer, images: np.ndarray, targets: list[int]) -> np.ndarray:
    """Return the maps of the package, the network as it is: gradients reach back through all of it."""
    inputs = to_network_input(torch.from_numpy(np.array(images)))
    return compute_by_reference(network, network.get_submodule(layer.path), layer, inputs, targets)


def pass_forward(network: nn.Module, images: np.ndarray) -> None:
    with torch.inference_mode():
        network(to_network_input(torch.from_numpy(np.array(images))))


def make_sides(backbone: str, images: np.ndarray, targets: list[int]) -> dict[str, Callable[[], object]]:
    """Return ours, the peer and the floor."""
    network = build_lively(backbone, images)
    layer = find_map_layer(network, backbone, images.shape[-1])
    arguments = (network, layer, images, targets)
    return {
        OURS: partial(map_ours, *arguments),
        PEER: partial(map_by_package, *arguments),
        FLOOR: partial(pass_forward, network, images),
    }


def measure_backbone(backbone: str, path: Path, size: str) -> Row:
    """Return the row of one backbone."""
    count, size_px, rounds = SIZES[size]
    arguments = (backbone, np.array(pack_films(path, size_px, count).images), [number % 3 for number in range(count)])
    timings = interleave_processes(partial(make_sides, *arguments), [PEER], rounds)
    check_maps(backbone, timings.results)
    what = f"Grad-CAM, {BACKBONES[backbone].title}, {size_px} px"
    return compare(what, IMAGES_PER_CPU_S, timings.rates(count), peer=PEER, floor=FLOOR, goal=Goal(3.5), note=NOTE)


def check_maps(backbone: str, maps: Mapping[str, np.ndarray]) -> None:
    """Check that both give the same maps."""
    require_equal(f"maps of {backbone}", float(np.abs(maps[OURS] - maps[PEER]).max()), TOLERANCE)


def measure_rows(size: str) -> list[Row]:
    """Return one row per backbone."""
    torch.set_num_threads(1)
    with work_folder() as folder:
        return [measure_backbone(backbone, folder / f"{backbone}.npy", size) for backbone in CONVOLUTIONAL]
