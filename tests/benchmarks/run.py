"""Run the rows of the benchmark, each in a process of its own, and print one table.

make bench                                  everything: under 15 minutes on 2 cores
make bench ARGS="--quick --rows gradcam,tsne"
make bench ARGS="--append tests/benchmarks/RESULTS.md"
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.machine import describe_run
from tests.benchmarks.measure import ROOT, SIZES, Row, child_environment, format_table, skip

ROWS = (
    "preprocess_large",
    "preprocess_small",
    "preprocess_threads",
    "batches",
    "train_step",
    "epoch_share",
    "gradcam",
    "one_xray",
    "tsne",
    "memory",
    "startup",
    "dry_run",
    "gpu_training",
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
        raise argparse.ArgumentTypeError(f"{', '.join(unknown) or 'nothing'} is no row; known: {', '.join(ROWS)}")
    return names


def append_section(path: Path, text: str) -> None:
    """Write a run at the end of a file of results."""
    before = path.read_text(encoding="utf-8").rstrip() if path.exists() else "# Results"
    path.write_text(f"{before}\n\n{text}\n", encoding="utf-8")


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
