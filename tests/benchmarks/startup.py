"""The time that a preprocess and a train job take before their first image."""

from functools import partial
from pathlib import Path

from cxrflow.files.records import SplitRow
from cxrflow.files.tables import write_records
from tests.benchmarks.inputs import pack_films, preprocess_files, split_rows, work_folder, write_films, write_index
from tests.benchmarks.measure import CPU_S, OURS, ROOT, Goal, Row, Timings, compare, interleave, run_python, show

SIZES = {"full": 3, "quick": 2, "tiny": 1}  # rounds
SIZE_PX = 32
LEFT = 7  # exit status of a job that was stopped at its first image
SCRIPTS = ROOT / "scripts"
# A script is read as it is started, with its own imports first; then what would take the first image is replaced.
RUN = f"""
import os, runpy, sys
sys.argv = sys.argv[1:]
script = runpy.run_path(sys.argv[0], run_name="started")
from {{module}} import {{owner}} as owner
owner.{{name}} = lambda *_, **__: os._exit({LEFT})
script["run_stage"](script["{{stage}}"])
"""
START_PREPROCESS = RUN.format(
    module="cxrflow.data", owner="packing", name="read_preprocessed", stage="preprocess_dataset"
)
START_TRAIN = RUN.format(module="cxrflow.models.batches", owner="ImageSource", name="gather", stage="train_model")
PLAIN = f"""
import os, sys, torch
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
next(iter(DataLoader(ImageFolder(sys.argv[1], transforms.ToTensor()))))
os._exit({LEFT})
"""
IMPORTS = f"import os\nimport {{}}\nos._exit({LEFT})"
FLOORS = {"import cv2, numpy": "cv2, numpy", "import torch, torchvision": "torch, torchvision"}
PEER = "torchvision ImageFolder + DataLoader"

run_child = partial(run_python, "-c", status=LEFT)


def begin_preprocess(folder: Path, index: Path) -> None:
    """Start a preprocess job and leave at its first image."""
    files = preprocess_files(folder.parent, index, index.with_name("out.npy"))
    run_child(
        START_PREPROCESS, SCRIPTS / "preprocess.py", *files, "--settings", f'{{"size_px": {SIZE_PX}}}', "--threads", "1"
    )


def begin_train(images: Path, split: Path) -> None:
    """Start a training and leave at its first batch."""
    names = {"resume": "train_resume", "history": "history.csv", "training": "training.json", "model": "model.pt"}
    outputs = [text for name, file in names.items() for text in (f"--{name}", images.with_name(file))]
    arguments = ["--images", images, "--split", split, "--model-id", "covid/resnet34/scratch/base/seed0"]
    settings = ["--preprocess", f'{{"size_px": {SIZE_PX}}}', "--settings", "{}", "--device", "cpu", "--threads", "1"]
    run_child(START_TRAIN, SCRIPTS / "train.py", *arguments, *settings, *outputs)


def make_row(job: str, timings: Timings, floor: str, goal_s: float) -> Row:
    """Return the row of one of the jobs."""
    what = f"start of a {job} job to its first image"
    walls = ", ".join(f"{name} {show(timings.wall_s[name])} s" for name in (job, PEER, floor))
    values = {OURS: timings.cpu_s[job], **timings.cpu_s}
    goal = Goal(goal_s, of_ratio=False)
    return compare(what, CPU_S, values, peer=PEER, floor=floor, goal=goal, note=f"on the wall clock: {walls}")


def measure_rows(size: str) -> list[Row]:
    """Return the rows of both jobs."""
    with work_folder() as folder:
        films = folder / "films"
        index = write_index(films, write_films(films, 64, 15), folder / "index.csv")
        pack_films(folder / "images.npy", SIZE_PX, 30)
        write_records(folder / "split.csv", SplitRow, split_rows(30))
        sides = {
            "preprocess": partial(begin_preprocess, films, index),
            "train": partial(begin_train, folder / "images.npy", folder / "split.csv"),
            PEER: partial(run_child, PLAIN, films),
            **{floor: partial(run_child, IMPORTS.format(modules)) for floor, modules in FLOORS.items()},
        }
        timings = interleave(sides, SIZES[size], warm_up=size != "tiny")
    small, large = FLOORS
    return [make_row("preprocess", timings, small, goal_s=0.5), make_row("train", timings, large, goal_s=4.0)]
