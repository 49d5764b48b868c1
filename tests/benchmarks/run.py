"""Run the rows of the benchmark, each in a process of its own, and print one table.

make bench                                  everything: under 15 minutes on 2 cores
make bench ARGS="--quick --rows gradcam,tsne"
make bench ARGS="--append tests/benchmarks/RESULTS.md"
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.measure import ROOT, SIZES, Row, child_environment, format_table, skip

# fmt: off
ROWS = (
    "preprocess", "batches", "train_step", "gradcam", "one_xray", "tsne", "memory", "growth", "startup", "dry_run",
    "gpu_training",
)
# fmt: on
PACKAGES = (
    "numpy opencv-python-headless pillow torch torchvision scikit-learn grad-cam snakemake scikit-image albumentations"
    " kornia-rs deflate opentsne timm"
)


def run_script(name: str, size: str, folder: Path) -> list[Row]:
    """Run one script; return its rows, or one row that says why there are none."""
    target = folder / f"{name}.json"
    command = [sys.executable, "-m", f"tests.benchmarks.{name}", "--size", size, "--json", str(target)]
    run = subprocess.run(command, cwd=ROOT, env=child_environment(), capture_output=True, text=True, check=False)
    if run.returncode != 0:
        print(run.stderr, file=sys.stderr)
        last = run.stderr.strip().splitlines()[-1:] or ["no message"]
        return [skip(name, f"failed with status {run.returncode}: {last[0]}")]
    return [Row(**row) for row in json.loads(target.read_text(encoding="utf-8"))]


def run_scripts(names: Sequence[str], size: str) -> list[Row]:
    """Run scripts one after the other; say on standard error how long each took."""
    rows = []
    with TemporaryDirectory(prefix="cxrflow-bench-") as folder:
        for name in names:
            begin_s = time.monotonic()
            rows += run_script(name, size, Path(folder))
            print(f"{name}: {time.monotonic() - begin_s:.0f} s", file=sys.stderr, flush=True)
    return rows


def choose_rows(text: str) -> list[str]:
    """Return the names in a comma-separated list; argparse reports the unknown."""
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in ROWS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown) or 'nothing'} is not a row; known: {', '.join(ROWS)}")
    return names


def append_section(path: Path, text: str) -> None:
    """Write a run at the end of a file of results."""
    before = path.read_text(encoding="utf-8").rstrip() if path.exists() else "# Results"
    path.write_text(f"{before}\n\n{text}\n", encoding="utf-8")


def describe_run(command: str, seconds: float) -> str:
    """Return a heading with date and commit, then command, machine and versions."""
    date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    lines = [
        f"## {date}, commit {read_commit()}",
        f"`{command}`, {seconds / 60:.1f} minutes on {describe_machine()}.",
        f"Python {platform.python_version()}, {list_versions()}.",
    ]
    return "\n\n".join(lines)


def describe_machine() -> str:
    """Return processor, usable cores, memory and how busy the machine has been in the last minute."""
    cores, memory = len(os.sched_getaffinity(0)), read_field(Path("/proc/meminfo"), "MemTotal")
    gib = int(memory.split()[0]) / 2**20 if memory else 0
    model = read_field(Path("/proc/cpuinfo"), "model name") or platform.machine()
    return f"{model}, {cores} cores, {gib:.0f} GiB, load {os.getloadavg()[0]:.1f}"


def read_field(path: Path, name: str) -> str:
    """Return the first value of `name: value` lines, or nothing."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == name), "")


def list_versions() -> str:
    """Return every package that is compared, with its version."""
    return ", ".join(f"{name} {_version(name)}" for name in PACKAGES.split())


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def read_commit() -> str:
    """Return the short hash of the commit, and whether files differ from it."""
    commit = _git("rev-parse", "--short", "HEAD") or "unknown"
    return f"{commit} with changes" if _git("status", "--porcelain", "--untracked-files=no") else commit


def _git(*arguments: str) -> str:
    try:
        run = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return run.stdout.strip()


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=choose_rows, default=[*ROWS], help=f"comma-separated, of: {', '.join(ROWS)}")
    parser.add_argument("--size", choices=SIZES, default="full", help="tiny shows only that everything runs")
    parser.add_argument("--quick", dest="size", action="store_const", const="quick", help="the same as --size quick")
    parser.add_argument("--append", type=Path, metavar="FILE", help="also write the table to the end of this file")
    arguments = parser.parse_args()
    begin_s = time.monotonic()
    rows = run_scripts(arguments.rows, arguments.size)
    command = f"python -m tests.benchmarks.run {' '.join(sys.argv[1:])}".strip()
    text = f"{describe_run(command, time.monotonic() - begin_s)}\n\n{format_table(rows)}"
    print(text)
    if arguments.append:
        append_section(arguments.append, text)
    if any(row.note.startswith("failed") for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
