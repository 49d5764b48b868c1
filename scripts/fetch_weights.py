r"""Fetch ImageNet weights once, for transfer learning.

Reads a URL; writes one .pth file, checked against the SHA-256 in its name, and a study's copy of it. A file that exists
and is right is left alone, so on a machine without internet it can be copied into place by hand.

    python scripts/fetch_weights.py --url https://download.pytorch.org/models --folder data/weights \
        --weights results/lungs/weights/resnet34-b627a593.pth
"""

from pathlib import Path

from cxrflow.config.stages import Output, leave_on_sigterm, run_stage
from cxrflow.models.weights import copy_weights, fetch_weights


def fetch(*, url: str, folder: Path, weights: Output) -> None:
    """Download a file of weights into a folder that studies share, and copy it into a study.

    url: where its folder is
    folder: that studies share
    weights: the copy to write; its name ends with the first hex digits of its SHA-256, as torchvision names it
    """
    leave_on_sigterm()
    fetch_weights(f"{url}/{weights.name}", folder / weights.name)
    copy_weights(folder / weights.name, weights)


if __name__ == "__main__":
    run_stage(fetch)
