"""Run the rows of the benchmark, each script in a process of its own, and print one table.

make bench                                  everything: under 15 minutes on 2 cores
make bench ARGS="--quick --rows gradcam,tsne"
make bench ARGS="--append tests/benchmarks/RESULTS.md"
"""

import argparse
import datetime
import importlib
import multiprocessing
import os
import platform
import re
import subprocess
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.benchmarks.measure import ROOT, Row, format_table, skip

ROWS = (
    *("preprocess", "batches", "train_step", "gradcam", "one_xray"),
    *("tsne", "memory", "startup", "dry_run", "gpu_training"),
)
PACKAGES = (
    "numpy opencv-python-headless pillow kornia-rs torch torchvision timm scikit-learn opentsne grad-cam onnxruntime"
    " snakemake"
)


def measure_rows(name: str, size: str) -> list[Row]:
    """Return the rows of one script."""
    rows: list[Row] = importlib.import_module(f"tests.benchmarks.{name}").measure_rows(size)
    return rows


def run_script(name: str, size: str) -> list[Row]:
    """Run one script in a new process; return its rows, or one row that says why there are none."""
    begin_s = time.monotonic()
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(measure_rows, name, size).result()
    except Exception as error:
        traceback.print_exc()
        return [skip(name, f"failed: {type(error).__name__}: {error}")]
    finally:
        print(f"{name}: {time.monotonic() - begin_s:.0f} s", file=sys.stderr, flush=True)


def choose_rows(text: str) -> list[str]:
    """Return the names in a comma-separated list; argparse reports the unknown."""
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in ROWS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown) or 'nothing'} is not a row; known: {', '.join(ROWS)}")
    return names


def describe_run(command: str, seconds: float) -> str:
    """Return a heading with date and commit, then command, machine and versions."""
    date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    changed = " with changes" if ask_git("status", "--porcelain", "--untracked-files=no") else ""
    lines = [
        f"## {date}, commit {ask_git('rev-parse', '--short', 'HEAD')}{changed}",
        f"`{command}`, {seconds / 60:.1f} minutes on {describe_machine()}.",
        f"Python {platform.python_version()}, {', '.join(map(describe_package, PACKAGES.split()))}.",
    ]
    return "\n\n".join(lines)


def describe_machine() -> str:
    """Return processor, usable cores, memory and how busy the machine has been in the last minute."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    name, cores = model[1] if model else platform.machine(), len(os.sched_getaffinity(0))
    return f"{name}, {cores} cores, {gib:.0f} GiB, load {os.getloadavg()[0]:.1f}"


def describe_package(name: str) -> str:
    """Return a package with its version."""
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"{name} not installed"


def ask_git(*arguments: str) -> str:
    """Return what git says of the repository."""
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=choose_rows, default=[*ROWS], help=f"comma-separated, of: {', '.join(ROWS)}")
    parser.add_argument(
        "--quick", dest="size", action="store_const", const="quick", default="full", help="measure less"
    )
    parser.add_argument("--append", type=Path, metavar="FILE", help="also write the table to the end of this file")
    arguments = parser.parse_args()
    begin_s = time.monotonic()
    sys.path.insert(0, str(ROOT / "scripts"))  # processes that are spawned find what this one finds
    rows = [row for name in arguments.rows for row in run_script(name, arguments.size)]
    command = f"python -m tests.benchmarks.run {' '.join(sys.argv[1:])}".strip()
    text = f"{describe_run(command, time.monotonic() - begin_s)}\n\n{format_table(rows)}"
    print(text)
    if arguments.append:
        with arguments.append.open("a", encoding="utf-8") as handle:
            handle.write(f"\n{text}\n")
    if any(row.note.startswith("failed") for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
