"""What the tests of the models share, and those of delivered models and of the benchmark's rows with them."""

import signal
from collections.abc import Iterator

import cv2
import pytest
import torch

from cxrflow.config.backbones import BACKBONES
from tests.models.toy import TINY


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Compute on one thread, which is faster for networks this small, and leave torch and cv2 as they were found."""
    threads, cv2_threads, handler = torch.get_num_threads(), cv2.getNumThreads(), signal.getsignal(signal.SIGTERM)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    cv2.setNumThreads(cv2_threads)
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture(autouse=True)
def _tiny_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONES, "tiny", TINY)
