import torch

from cxrflow.models.devices import derive_generator, derive_seed


def test_seeds_differ_by_purpose_and_by_each_number() -> None:
    asked = [("order", 0, 1), ("order", 1, 0), ("order", 1, 1), ("augment", 0, 1), ("order", 11), ("order", 1, 10)]
    seeds = {derive_seed(*one) for one in asked}
    assert len(seeds) == len(asked)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seed_is_the_same_on_every_machine() -> None:
    assert derive_seed("weights", 0) == 0x5CFA9343532FF6C6
    assert torch.equal(
        torch.rand(3, generator=derive_generator("x", 1)), torch.rand(3, generator=derive_generator("x", 1))
    )
