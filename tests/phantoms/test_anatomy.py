import dataclasses

import numpy as np
import pytest

from phantoms.anatomy import Chest, build_chest, compose
from phantoms.body import LEFT, RIGHT, sample_body
from phantoms.pose import Pose

POSE = Pose(192, 192, 192.0, 192.0, 0.0, (0.0, 0.0), (0.0, 0.0, 0.0, 0.0))


def make_chest(seed: int, child: bool = False) -> Chest:
    return build_chest(sample_body(np.random.default_rng(seed), child), POSE, np.random.default_rng(seed + 1))


@pytest.mark.parametrize("child", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_lungs_are_dark_between_brighter_chest_wall_heart_and_abdomen(seed: int, child: bool) -> None:
    chest = make_chest(seed, child)
    density = compose(chest)
    lungs = chest.visible(RIGHT) | chest.visible(LEFT)
    assert density[lungs].mean() < density[chest.heart > 0.9].mean() - 0.2
    assert density[lungs].mean() < density[175:185, 60:130].mean() - 0.2
    assert 0.12 < lungs.mean() < 0.45


@pytest.mark.parametrize("seed", range(4))
def test_the_heart_lies_to_the_patients_left_and_the_right_dome_is_higher(seed: int) -> None:
    chest = make_chest(seed)
    low = chest.heart[90:120] > 0.5
    assert low[:, 96:].sum() > 1.3 * low[:, :96].sum()
    assert chest.body.dome(RIGHT) < chest.body.dome(LEFT)


def test_a_childs_heart_is_wider_against_its_chest_than_an_adults() -> None:
    ratios = [
        np.mean(
            [(c.heart > 0.5).any(axis=0).sum() / ((c.fields[0] + c.fields[1]) > 0.5).any(axis=0).sum() for c in chests]
        )
        for chests in ([make_chest(seed) for seed in range(8)], [make_chest(seed, child=True) for seed in range(8)])
    ]
    assert ratios[1] > ratios[0] + 0.03


def test_images_of_one_patient_share_their_vessels_and_not_their_mottle() -> None:
    body = sample_body(np.random.default_rng(3), child=False)
    first, second = (build_chest(body, POSE, np.random.default_rng(seed)) for seed in (1, 2))
    np.testing.assert_array_equal(first.vessels, second.vessels)
    assert not np.array_equal(first.lung, second.lung)
    other = build_chest(dataclasses.replace(body, vessels_seed=9), POSE, np.random.default_rng(1))
    assert not np.array_equal(first.vessels, other.vessels)
