"""Where the time goes in the rows that stay behind their goals: one table per row.

    export PYTHONPATH=scripts
    python -m tests.benchmarks.profiles --rows preprocess_small,train_step,gradcam,one_xray,startup,dry_run

One thread. Figures of parts that are timed under a profiler are longer than in the benchmark; what counts is the share.
"""

import argparse
import pstats
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from tabulate import tabulate
from torch.profiler import ProfilerActivity, profile

from cxrflow.config.backbones import BACKBONES
from cxrflow.config.settings import PreprocessSettings
from cxrflow.data.decode import decode_image
from cxrflow.data.indexed import decode_indexed
from cxrflow.data.preprocessing import blur, equalize, preprocess_image, resize_gray
from cxrflow.deliver.session import open_model
from cxrflow.files.atomic import sha256_bytes
from cxrflow.models.checkpoints import load_model, restore_network
from cxrflow.models.networks import to_network_input
from tests.benchmarks import dry_run, gradcam, one_xray, startup, train_step
from tests.benchmarks.drawn import pack_films, work_folder, write_films
from tests.benchmarks.machine import describe_run
from tests.benchmarks.measure import OURS, child_environment
from tests.benchmarks.processes import Group, interleave_processes
from tests.benchmarks.run import append_section
from tests.workflow.conftest import copy_workflow

Table = list[dict[str, Any]]
SIZE_PX, FILE_PX = 224, 299
# The first group with a word that is in an operation's name counts it.
GROUPS = {
    "convolution": ("conv",),
    "BatchNorm": ("batch_norm", "batchnorm"),
    "activation": ("relu", "hardswish", "hardsigmoid", "silu", "sigmoid"),
    "Adam": ("adam",),
    "product by squeeze-and-excitation": ("aten::mul",),
    "memory: copies, fills, sums": ("copy", "clone", "fill", "zero", "empty", "add", "sum", "cat", "index"),
}
OTHER = "other"
SOURCES = {"Snakemake": "snakemake", "cxrflow and its rules": "cxrflow|workflow/rules|Snakefile"}


def time_part(function: Callable[[], object], repeats: int) -> float:
    """Return milliseconds of CPU time per call, after one call that does not count."""
    function()
    begin_s = time.process_time()
    for _ in range(repeats):
        function()
    return 1000 * (time.process_time() - begin_s) / repeats


def list_parts(parts: Mapping[str, float], unit: str = "ms") -> Table:
    """Return a table of parts, the longest first, with their share of the sum."""
    total = sum(parts.values())
    rows = sorted(parts.items(), key=lambda part: -part[1])
    return [{"part": name, unit: f"{value:.3g}", "share": f"{value / total:.0%}"} for name, value in rows]


def profile_preprocess_small(folder: Path) -> Table:
    """A 299 px PNG on its way to the packed array."""
    (path,) = write_films(folder / "films", FILE_PX, 1)
    data, settings = path.read_bytes(), PreprocessSettings(SIZE_PX)
    gray = decode_indexed(data)
    small = resize_gray(gray, SIZE_PX)
    parts: dict[str, Callable[[], object]] = {
        "read the file": path.read_bytes,
        "SHA-256": lambda: sha256_bytes(data),
        "decode": lambda: decode_indexed(data),
        "resize": lambda: resize_gray(gray, SIZE_PX),
        "equalize and blur": lambda: blur(equalize(small), settings.blur_px),
    }
    ours = {name: time_part(part, 300) for name, part in parts.items()}
    rows = list_parts(ours)
    peer = {
        "cv2 decodes (part of the peer)": lambda: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE),
        "cv2 encodes the result as PNG (part of the peer)": lambda: cv2.imencode(".png", small),
    }
    return rows + [{"part": name, "ms": f"{time_part(part, 300):.3g}", "share": ""} for name, part in peer.items()]


def group_operations(function: Callable[[], object], repeats: int = 3) -> Counter[str]:
    """Return milliseconds of CPU time per call by kind of operation, from PyTorch's profiler."""
    function()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(repeats):
            function()
    milliseconds: Counter[str] = Counter()
    for event in found.key_averages():
        groups = (group for group, words in GROUPS.items() if any(word in event.key.lower() for word in words))
        milliseconds[next(groups, OTHER)] += event.self_cpu_time_total / 1000 / repeats
    return milliseconds


def profile_sides(make: Group, wanted: tuple[str, ...]) -> dict[str, Callable[[], Counter[str]]]:
    """Return what profiles each wanted side of a group, once it is called in the group's process."""
    return {name: partial(group_operations, call) for name, call in make().items() if name in wanted}


def compare_operations(ours: Group, others: Group, wanted: tuple[str, ...]) -> Table:
    """Return milliseconds by kind of operation, one column per wanted side."""
    groups_of = (partial(profile_sides, ours, wanted), partial(profile_sides, others, wanted))
    found: dict[str, Counter[str]] = interleave_processes(*groups_of, rounds=0).results
    groups = sorted({group for side in found.values() for group in side})
    rows = [{"operation": group} | {f"{name}, ms": f"{found[name][group]:.3g}" for name in found} for group in groups]
    return [*rows, {"operation": "sum"} | {f"{name}, ms": f"{found[name].total():.3g}" for name in found}]


def profile_train_step(folder: Path, backbone: str) -> Table:
    """One training step, ours against eager."""
    batch = train_step.SIZES["full"][0]
    arguments = (backbone, pack_films(folder / f"{backbone}.npy", SIZE_PX, 5 * batch), "float32", batch)
    ours, others = (partial(make, *arguments) for make in (train_step.make_ours, train_step.make_others))
    return compare_operations(ours, others, (OURS, train_step.EAGER))


def profile_gradcam(folder: Path, backbone: str) -> Table:
    """Maps of a few images, ours against the forward pass alone and the package."""
    images = np.array(pack_films(folder / f"{backbone}.npy", SIZE_PX, 12).images)
    arguments = (backbone, images, [number % 3 for number in range(12)])
    ours, peer = (partial(make, *arguments) for make in (gradcam.make_ours, gradcam.make_peer))
    return compare_operations(ours, peer, (OURS, gradcam.FLOOR, gradcam.PEER))


def profile_one_xray(folder: Path, backbone: str) -> Table:
    """One X-ray from its file to its answer."""
    (path,) = write_films(folder / "films", FILE_PX, 1)
    saved_at = one_xray.save_lively(folder, backbone, SIZE_PX)
    saved, delivered = load_model(saved_at), open_model(saved_at.with_suffix(".onnx"), threads=1)
    data, network = path.read_bytes(), restore_network(saved)
    gray = decode_image(data).gray
    image = preprocess_image(gray, saved.preprocess)
    inputs = to_network_input(torch.from_numpy(image[None]))

    def eager() -> None:
        with torch.inference_mode():
            network(inputs)

    parts = {
        "read and decode": lambda: decode_image(path.read_bytes()),
        "preprocess": lambda: preprocess_image(gray, saved.preprocess),
        "network, ONNX Runtime": lambda: delivered.predict(image[None]),
    }
    rows = list_parts({name: time_part(part, 30) for name, part in parts.items()})
    return [*rows, {"part": "network, eager PyTorch (the peer)", "ms": f"{time_part(eager, 30):.3g}", "share": ""}]


def profile_startup() -> Table:
    """What train.py imports before its first line, by package."""
    code = f"import sys; sys.path.insert(0, {str(startup.SCRIPTS)!r}); import train"
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, env=child_environment()
    )
    microseconds: Counter[str] = Counter()
    for own, name in re.findall(r"import time: +(\d+) \| +\d+ \| +(\S+)", run.stderr):
        package = "torch._dynamo" if name.startswith("torch._dynamo") else name.split(".")[0]
        microseconds[package] += int(own)
    longest = dict(microseconds.most_common(8))
    return list_parts({**longest, "others": microseconds.total() - sum(longest.values())}, "us")


def profile_dry_run(folder: Path) -> Table:
    """A dry run of 120 models, by whose code runs."""
    clone, found = copy_workflow(folder / "clone"), folder / "profile"
    config = dry_run.write_config(clone, 10)
    words = ["-m", "snakemake", "-n", "--quiet", "rules", "--cores", "1", "--configfile", config]
    command = [sys.executable, "-m", "cProfile", "-o", str(found), *words]
    subprocess.run(command, cwd=clone, capture_output=True, check=True, env=child_environment())
    seconds: Counter[str] = Counter()
    for (file, _, _), (_, _, own_s, _, _) in pstats.Stats(str(found)).stats.items():  # type: ignore[attr-defined]
        names = (name for name, pattern in SOURCES.items() if re.search(pattern, file))
        seconds[next(names, "Python's library and other packages")] += own_s
    return list_parts(seconds, "s")


ROWS: dict[str, Callable[[Path], dict[str, Table]]] = {
    "preprocess_small": lambda folder: {f"preprocess {FILE_PX} px PNG": profile_preprocess_small(folder)},
    "train_step": lambda folder: {
        f"training step, {BACKBONES[name].title}, {SIZE_PX} px": profile_train_step(folder, name) for name in BACKBONES
    },
    "gradcam": lambda folder: {
        f"Grad-CAM of 12 images, {BACKBONES[name].title}, {SIZE_PX} px": profile_gradcam(folder, name)
        for name in BACKBONES
    },
    "one_xray": lambda folder: {
        f"one X-ray, {BACKBONES[name].title}": profile_one_xray(folder, name) for name in BACKBONES
    },
    "startup": lambda _: {"imports of a train job": profile_startup()},
    "dry_run": lambda folder: {"dry run of 120 models, under cProfile": profile_dry_run(folder)},
}


def main() -> None:
    """Print and keep what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(ROWS), help=f"comma-separated, of: {', '.join(ROWS)}")
    parser.add_argument("--append", type=Path, metavar="FILE", help="also write the tables to the end of this file")
    arguments = parser.parse_args()
    begin_s = time.monotonic()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    tables: dict[str, Table] = {}
    with work_folder() as folder:
        for name in arguments.rows.split(","):
            tables |= ROWS[name](folder)
    command = f"python -m tests.benchmarks.profiles {' '.join(sys.argv[1:])}".strip()
    texts = [f"{what}:\n\n{tabulate(rows, headers='keys', tablefmt='github')}" for what, rows in tables.items()]
    text = "\n\n".join([describe_run(command, time.monotonic() - begin_s), *texts])
    print(text)
    if arguments.append:
        append_section(arguments.append, text)


if __name__ == "__main__":
    main()
