"""Equal accuracy over seeds: what makes a training step fast on a CPU must not cost macro F1.

The same trainings on drawn X-rays twice, with equal seeds: as the study runs them (channels_last, fused Adam), and as a
plain PyTorch script would (float32 NCHW, Adam weight by weight). Prints macro F1 on the test images by seed, and the
mean difference with its 95 % interval (Student's t over the seeds).

    export PYTHONPATH=scripts
    python -m tests.benchmarks.equal_accuracy --seeds 5 --backbones mobilenet_v3_large,efficientnet_b1,resnet34
"""

import argparse
import sys
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from scipy import stats
from tabulate import tabulate
from torch import Tensor

from cxrflow.config.backbones import BACKBONES
from cxrflow.config.settings import PreprocessSettings, TrainSettings
from cxrflow.data.preprocessing import preprocess_image
from cxrflow.files.records import SUBSETS
from cxrflow.models import epochs as epochs_module
from cxrflow.models import training
from cxrflow.models.batches import open_source
from cxrflow.models.devices import prepare_process
from cxrflow.models.epochs import macro_f1
from cxrflow.models.inference import predict_logits
from cxrflow.models.networks import build_network, normalize_gray
from cxrflow.models.subsets import SplitImages, join_split
from phantoms.render import synthesise_image
from tests.benchmarks.drawn import CLASSES, draw_task, split_rows
from tests.benchmarks.machine import describe_run
from tests.benchmarks.run import append_section

SIZE_PX, IMAGES = 48, 240
SIGN_CONTRAST = 2.5  # as in the demo: few images and epochs are enough to learn something, not all
EPOCHS = 10
CPU = torch.device("cpu")


def draw_data(count: int = IMAGES) -> SplitImages:
    """Draw distinct X-rays of three classes, preprocess them and split them."""
    settings = PreprocessSettings(SIZE_PX, blur_px=3)
    labels = [[*CLASSES][number % len(CLASSES)] for number in range(count)]
    tasks = [draw_task(label, number, 2 * SIZE_PX) for number, label in enumerate(labels)]
    films = [preprocess_image(synthesise_image(task, 0, SIGN_CONTRAST).pixels, settings) for task in tasks]
    return join_split(np.stack(films), split_rows(count), subsets=SUBSETS)


def score_training(backbone: str, data: SplitImages, seed: int, epochs: int, plain: bool) -> float:
    """Train from scratch; return the macro F1 of the kept epoch on the test images, 0-1."""
    settings = TrainSettings(
        epochs=epochs, restart_epochs=epochs, batch_size=16, learning_rate=0.002, batch_norm_momentum=0.3
    )
    network = build_network(backbone, len(data.class_names), settings.batch_norm_momentum, seed)
    run = training.start_training(network, data, settings, seed=seed, device=CPU)
    if plain:
        network.to(memory_format=torch.contiguous_format)
        run.optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, foreach=False)
    with patch.object(epochs_module, "normalize_gray", normalize_as_nchw if plain else normalize_gray):
        epochs_module.fit(run, None, lambda *_: None)
    network.load_state_dict(run.best.state_dict)
    source, labels = open_source(data.images, data.rows["test"], CPU), data.labels_of("test")
    predicted = predict_logits(network, source, len(labels), 64).argmax(dim=1).numpy()
    return macro_f1(labels, predicted, len(data.class_names))


def normalize_as_nchw(images: Tensor) -> Tensor:
    """Normalize as the study does, with the channels outermost in memory."""
    return normalize_gray(images).contiguous()


def compare_backbone(backbone: str, data: SplitImages, seeds: int, epochs: int) -> dict[str, str]:
    """Return one row of the table."""
    ours, plain = (
        np.array([score_training(backbone, data, seed, epochs, way) for seed in range(seeds)]) for way in (False, True)
    )
    differences = ours - plain
    mean = differences.mean()
    half = stats.t.ppf(0.975, seeds - 1) * differences.std(ddof=1) / np.sqrt(seeds)
    return {
        "backbone": BACKBONES[backbone].title,
        "ours": " ".join(f"{score:.2f}" for score in ours),
        "plain": " ".join(f"{score:.2f}" for score in plain),
        "mean of ours": f"{ours.mean():.3f}",
        "mean of plain": f"{plain.mean():.3f}",
        "difference (95 %)": f"{mean:+.3f} ({mean - half:+.3f} to {mean + half:+.3f})",
    }


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each side, at least 2")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of each training: one cosine cycle")
    parser.add_argument("--backbones", default=",".join(BACKBONES), help="comma-separated")
    parser.add_argument("--append", type=Path, metavar="FILE", help="also write the table to the end of this file")
    arguments = parser.parse_args()
    begin_s = time.monotonic()
    prepare_process(1)
    data = draw_data()
    rows = [compare_backbone(name, data, arguments.seeds, arguments.epochs) for name in arguments.backbones.split(",")]
    command = f"python -m tests.benchmarks.equal_accuracy {' '.join(sys.argv[1:])}".strip()
    text = f"{describe_run(command, time.monotonic() - begin_s)}\n\n{tabulate(rows, headers='keys', tablefmt='github')}"
    print(text)
    if arguments.append:
        append_section(arguments.append, text)


if __name__ == "__main__":
    main()
