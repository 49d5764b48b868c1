"""Seeds for what is drawn, each from its purpose and numbers alone.

Nothing is drawn from a stream that moves along with the training: a stream's place depends on how often it was asked,
and so on workers, batches and restarts. A seed made from (purpose, seed, epoch) is the same wherever it is needed.
"""

import hashlib

import torch


def derive_seed(purpose: str, *numbers: int) -> int:
    """Return a seed of 63 bits for one purpose ("weights", "order", "augment", "epoch") and, say, a seed and an epoch.

    Hashed, not added up, so that seed 0 in epoch 1 and seed 1 in epoch 0 have nothing in common.
    """
    text = "/".join([purpose, *map(str, numbers)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def derive_generator(purpose: str, *numbers: int) -> torch.Generator:
    """Return a generator on the CPU with that seed; draws made with it are the same on every device."""
    return torch.Generator().manual_seed(derive_seed(purpose, *numbers))
