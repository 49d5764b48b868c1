"""One new X-ray, from its file to its answer, on one core: an exported model against eager PyTorch."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cxrflow.config.backbones import BACKBONES
from cxrflow.config.settings import PreprocessSettings
from cxrflow.data.decode import decode_image
from cxrflow.data.preprocessing import preprocess_image
from cxrflow.deliver.delivered import open_model
from cxrflow.deliver.exporting import describe_model, export_model
from cxrflow.deliver.tool import Tool, Xray, read_xray
from cxrflow.files.atomic import write_bytes
from cxrflow.models.checkpoints import SavedModel, load_model, restore_network, save_model
from cxrflow.models.networks import to_network_input
from tests.benchmarks.gradcam import build_lively
from tests.benchmarks.inputs import CLASSES, make_films, work_folder, write_films
from tests.benchmarks.measure import OURS, WALL_S, Goal, Row, Unit, compare, interleave, require_equal, run_python

SIZES = {"full": (299, 224, 3, 3), "quick": (299, 224, 3, 5), "tiny": (64, 48, 1, 1)}  # file px, px, repeats, rounds
GOALS = {"mobilenet_v3_large": 2.4, "efficientnet_b1": 2.4, "resnet34": 1.4}
PEER, FLOOR = "eager PyTorch", "ONNX forward alone"
TOLERANCE = 1e-5  # of probabilities
MAX_MPX = 100.0
XRAYS_PER_CPU_S = Unit("X-rays/CPU-s", True)
NOTE = (
    "one thread, one X-ray at a time, the model loaded before: read a PNG, decode, preprocess, network, softmax; both "
    "sides read and preprocess alike; eager PyTorch in channels_last, under inference_mode"
)
START_NOTE = "wall clock, from the start of the process to its last answer, of one X-ray; both sides load the model"
BY_TORCH = """
import sys
from pathlib import Path
import torch
from cxrflow.models.checkpoints import load_model, restore_network
from tests.benchmarks.one_xray import answer_by_torch
torch.set_num_threads(1)
saved = load_model(Path(sys.argv[1]))
print(answer_by_torch(restore_network(saved), saved.preprocess, Path(sys.argv[2])))
"""


def save_lively(folder: Path, backbone: str, size_px: int) -> Path:
    """Write a model.pt whose BatchNorm has seen X-rays and its model.onnx; return the model.pt."""
    settings = PreprocessSettings(size_px=size_px)
    films = [preprocess_image(pixels, settings) for _, pixels in make_films(size_px)]
    network, path = build_lively(backbone, np.stack(films)), folder / backbone / "model.pt"
    saved = SavedModel(network.state_dict(), "xray8", backbone, "scratch", "base", 0, [*CLASSES], settings, 1, 1.0, 0.1)
    save_model(path, saved)
    write_bytes(path.with_suffix(".onnx"), export_model([saved], describe_model(saved, path, None)))
    return path


def answer_ours(tool: Tool, path: Path) -> NDArray[np.float64]:
    """Read one file and answer, as scripts/predict.py does."""
    answer = tool.read(path.name, path.read_bytes())
    assert answer.probabilities is not None, answer.problem
    return answer.probabilities[None]


def answer_by_torch(network: nn.Module, settings: PreprocessSettings, path: Path) -> NDArray[np.float64]:
    """Read one file and answer with the network as it was trained."""
    image = preprocess_image(decode_image(path.read_bytes(), MAX_MPX).gray, settings)
    with torch.inference_mode():
        logits = network(to_network_input(torch.from_numpy(image)[None]))
        return logits.double().softmax(dim=1).numpy()


def answer_all(answer: Callable[[Path], NDArray[np.float64]], paths: list[Path], repeats: int) -> NDArray[np.float64]:
    """Answer every file once per repeat, one at a time; return the last answers, float64 (n, n_classes)."""
    return [np.concatenate([answer(path) for path in paths]) for _ in range(repeats)][-1]


def make_sides(model: Path, paths: list[Path], repeats: int) -> dict[str, Callable[[], object]]:
    """Return the sides of one model, by name."""
    delivered, saved = open_model(model.with_suffix(".onnx"), threads=1), load_model(model)
    xray = read_xray(paths[0], saved.preprocess, MAX_MPX)
    assert isinstance(xray, Xray)
    eager = partial(answer_by_torch, restore_network(saved), saved.preprocess)
    return {
        OURS: partial(answer_all, partial(answer_ours, Tool(delivered)), paths, repeats),
        PEER: partial(answer_all, eager, paths, repeats),
        FLOOR: partial(answer_all, lambda _: delivered.run(xray.image[None]).probabilities, paths, repeats),
    }


def measure_backbone(model: Path, paths: list[Path], size: str) -> Row:
    """Return the row of one backbone, a model.pt with its model.onnx beside it."""
    file_px, size_px, repeats, rounds = SIZES[size]
    backbone = model.parent.name
    timings = interleave(make_sides(model, paths, repeats), rounds)
    difference = np.abs(timings.results[OURS] - timings.results[PEER]).max()
    require_equal(f"answers of {backbone}", float(difference), TOLERANCE)
    what = f"one X-ray ({file_px} px PNG) to its answer, {BACKBONES[backbone].title}, {size_px} px"
    rates = timings.rates(len(paths) * repeats)
    return compare(what, XRAYS_PER_CPU_S, rates, peer=PEER, floor=FLOOR, goal=Goal(GOALS[backbone]), note=NOTE)


def measure_start(model: Path, path: Path, size: str) -> Row:
    """Return the row of one X-ray with the start of the process in it."""
    ours = ("scripts/predict.py", "--model", model.with_suffix(".onnx"), "--threads", "1", path)
    sides = {OURS: partial(run_python, *ours), PEER: partial(run_python, "-c", BY_TORCH, model, path)}
    timings = interleave(sides, SIZES[size][3], warm_up=size != "tiny")
    what = f"one X-ray, the start of the process and the loading of the model included, {model.parent.name}"
    return compare(what, WALL_S, timings.wall_s, peer=PEER, note=START_NOTE)


def measure_rows(size: str) -> list[Row]:
    """Return one row per backbone, and one of a whole process."""
    torch.set_num_threads(1)
    file_px, size_px = SIZES[size][:2]
    with work_folder() as folder:
        paths = write_films(folder / "films", file_px, 3)
        models = [save_lively(folder, backbone, size_px) for backbone in GOALS]
        rows = [measure_backbone(model, paths, size) for model in models]
        return [*rows, measure_start(models[0], paths[0], size)]
