"""Read new X-rays with an exported model.

Reads model.onnx and image files, or every image below a folder; prints one line per file: the most probable class, the
probability of each class, and the file. Files are decoded and preprocessed as the model's training images were. A file
that cannot be read is named, the others are read all the same, and the exit status is 1. Research software, not a
medical device: nothing it says is a diagnosis.

    python scripts/predict.py --model model.onnx new_xrays/ one_more.png --csv answers.csv
"""

import os
import sys
from collections import Counter
from pathlib import Path

from cxrflow.config.stages import run_stage
from cxrflow.data.readers.base import describe_others
from cxrflow.deliver.tool import MAX_MPX, open_tool
from cxrflow.deliver.xrays import AnswerTable, find_xrays, open_csv, print_answer
from cxrflow.errors import CxrflowError, escape_controls


def predict(
    *xrays: Path, model: Path, csv: Path | None = None, threads: int | None = None, max_image_mpx: float = MAX_MPX
) -> None:
    """Print what a model says about each X-ray.

    xrays: image files, or folders with images; files and folders below them that are named like masks are only counted
    model: a delivered folder, or model.onnx, made by scripts/export.py
    csv: also write the answers here, each as it comes: file, predicted, p(class) for each class, warnings, problem;
        replaces an older table of answers and no other file
    threads: CPU threads; without it, all cores
    max_image_mpx: refuse larger images before decoding them, megapixels
    """
    threads = threads or count_cores()
    tool = open_tool(model, threads)
    tool.max_mpx = max_image_mpx
    card = tool.card
    print(escape_controls(f"{card.describe()}. {card.notice}"), file=sys.stderr)
    table, n_files, n_problems = AnswerTable(card.class_names), 0, 0
    others: Counter[str] = Counter()
    with open_csv(csv, card.class_names) as write_answer:
        print(table.header())
        for answer in tool.read_files(find_xrays(xrays, others), threads):
            print_answer(table, answer)
            write_answer(answer)
            n_files += 1
            n_problems += bool(answer.problem)
    if others:
        print(f"not read: {describe_others(others)}", file=sys.stderr)
    if n_problems:
        raise CxrflowError(f"{n_problems} of {n_files} files could not be read; they are named above")


def count_cores() -> int:
    """Return the cores that this process may use, which a scheduler may have made fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    run_stage(predict)
