r"""Fetch ImageNet weights once, for transfer learning.

Reads a URL; writes one .pth file, checked against the SHA-256 in its name. A file that exists and is right is left
alone, so on a machine without internet it can be copied into place by hand.

    python scripts/fetch_weights.py --url https://download.pytorch.org/models/resnet34-b627a593.pth \
        --weights data/weights/resnet34-b627a593.pth
"""

from cxrflow.config.stages import Output, leave_on_sigterm, run_stage
from cxrflow.models.weights import fetch_weights


def fetch(*, url: str, weights: Output) -> None:
    """Download a file of weights.

    url: where it is
    weights: file to write; its name ends with the first hex digits of its SHA-256, as torchvision names it
    """
    leave_on_sigterm()
    fetch_weights(url, weights)


if __name__ == "__main__":
    run_stage(fetch)
