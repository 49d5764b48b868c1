"""Read new X-rays with an exported model.

Reads model.onnx and image files, or every image below a folder; prints one line per file: the most probable class, the
probability of each class, and the file. Files are decoded and preprocessed as the model's training images were. A file
that cannot be read is named, the others are read all the same, and the exit status is 1. Research software, not a
medical device: nothing it says is a diagnosis.

    python scripts/predict.py --model model.onnx new_xrays/ one_more.png --csv answers.csv
"""

from pathlib import Path

from cxrflow.config.stages import run_stage
from cxrflow.deliver.tool import MAX_MPX, open_tool
from cxrflow.deliver.xrays import count_cores, print_answers


def predict(
    *xrays: Path,
    model: Path,
    csv: Path | None = None,
    threads: int | None = None,
    max_image_mpx: float = MAX_MPX,
    prior: str = "",
) -> None:
    """Print what a model says about each X-ray.

    xrays: image files, or folders with images; files and folders below them that are named like masks are only counted
    model: a delivered folder, or model.onnx, made by scripts/export.py
    csv: also write the answers here, each as it comes: file, predicted, p(class) for each class, warnings, problem;
        replaces an older table of answers and no other file
    threads: CPU threads; without it, all cores
    max_image_mpx: refuse larger images before decoding them, megapixels
    prior: of a delivered folder: share of each class among the people who are X-rayed, such as Normal=0.9,COVID=0.1
    """
    threads = threads or count_cores()
    tool = open_tool(model, threads)
    tool.max_mpx = max_image_mpx
    if prior:
        tool.assume_prior(prior)
    print_answers(tool, xrays, threads, csv)


if __name__ == "__main__":
    run_stage(predict)
