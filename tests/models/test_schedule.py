import pytest
import torch

from cxrflow.models.epochs import cosine_warm_restart


def test_every_step_equals_torch() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.02)
    reference = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=3)
    for epoch in range(8):
        for step in range(5):
            progress = epoch + step / 5
            reference.step(progress)
            assert cosine_warm_restart(0.02, progress, 3) == pytest.approx(reference.get_last_lr()[0], abs=1e-15)


def test_cycle_starts_at_the_top_and_ends_near_zero() -> None:
    assert cosine_warm_restart(0.1, 0.0, 10) == cosine_warm_restart(0.1, 10.0, 10) == 0.1
    assert cosine_warm_restart(0.1, 5.0, 10) == pytest.approx(0.05)
    assert cosine_warm_restart(0.1, 9.99, 10) < 1e-6
