import cv2
import numpy as np
import pytest

from phantoms.anatomy import Chest, build_chest
from phantoms.body import LEFT, RIGHT, SIDES, sample_body
from phantoms.pose import Mask, Pose
from phantoms.signs import SIGNS

SIDE_PX = 192
POSE = Pose(SIDE_PX, SIDE_PX, 200.0, 196.0, 0.02, (0.0, 0.01), (0.005, 1.0, 0.004, 2.0))
SEEDS = range(6)


def make_healthy(seed: int) -> Chest:
    return build_chest(
        sample_body(np.random.default_rng(seed), child=bool(seed % 2)), POSE, np.random.default_rng(seed + 100)
    )


def make_sick(name: str, seed: int) -> tuple[Chest, Chest, Mask]:
    chest = make_healthy(seed)
    return chest, *SIGNS[name](chest, np.random.default_rng(seed + 200))


def lungs_of(chest: Chest) -> Mask:
    return (chest.fields[0] > 0.5) | (chest.fields[1] > 0.5)


@pytest.mark.parametrize("name", SIGNS)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_signs_mask_lies_in_the_lungs_and_holds_most_of_what_it_changes(name: str, seed: int) -> None:
    chest, sick, mask = make_sick(name, seed)
    assert mask.dtype == np.bool_
    assert mask.any()
    assert not (mask & ~lungs_of(chest)).any()
    change = np.abs(sick.lung - chest.lung)
    seen = change * (chest.visible(RIGHT) | chest.visible(LEFT))
    assert change[mask].mean() > 0.03
    if name != "pneumothorax":  # the collapsed lung beside the air is denser too
        assert seen[cv2.dilate(mask.astype(np.uint8), np.ones((7, 7))) > 0].sum() > 0.8 * seen.sum()


@pytest.mark.parametrize("name", SIGNS)
def test_a_sign_follows_its_generator(name: str) -> None:
    (_, first, mask), (_, second, same) = make_sick(name, 1), make_sick(name, 1)
    np.testing.assert_array_equal(first.lung, second.lung)
    np.testing.assert_array_equal(mask, same)
    moved = SIGNS[name](make_healthy(1), np.random.default_rng(999))[1]
    assert not np.array_equal(mask, moved)


@pytest.mark.parametrize("name", sorted(set(SIGNS) - {"pneumothorax"}))
def test_opacities_only_brighten_the_lung(name: str) -> None:
    chest, sick, mask = make_sick(name, 2)
    assert (sick.lung - chest.lung).min() > -0.05
    assert (sick.lung - chest.lung)[mask].mean() > 0.03


@pytest.mark.parametrize("seed", SEEDS)
def test_pneumothorax_is_a_dark_rim_without_vessels_at_the_wall_and_apex(seed: int) -> None:
    chest, sick, mask = make_sick("pneumothorax", seed)
    inner = cv2.erode(mask.astype(np.uint8), np.ones((5, 5))) > 0
    assert sick.lung[inner].mean() < chest.lung[inner].mean() - 0.03
    assert sick.lung[inner].std() < 0.5 * chest.lung[inner].std()  # no markings
    side = RIGHT if mask[:, : SIDE_PX // 2].any() else LEFT
    assert not (mask & (chest.field(-side) > 0.5)).any()
    rows = np.nonzero((chest.field(side) > 0.5).any(axis=1))[0]
    assert mask[rows[0] : rows[0] + 8].any()


@pytest.mark.parametrize("seed", SEEDS)
def test_effusion_fills_the_base_and_climbs_the_wall(seed: int) -> None:
    chest, _, mask = make_sick("effusion", seed)
    for side in SIDES:
        field = chest.field(side) > 0.5
        if not (mask & field).any():
            continue
        fluid = mask & field
        assert np.nonzero(fluid)[0].max() > np.nonzero(field)[0].max() - 6  # down to the costophrenic angle
        columns = np.nonzero(fluid.any(axis=0))[0][::side]  # from the mediastinum outward
        tops = fluid.argmax(axis=0)[columns].astype(float)
        wall, middle = tops[-len(tops) // 8 :].min(), np.median(tops[len(tops) // 4 : len(tops) // 2])
        assert wall < middle - 2  # the meniscus


@pytest.mark.parametrize("name", ["ground_glass", "interstitial"])
@pytest.mark.parametrize("seed", SEEDS)
def test_diffuse_signs_are_in_both_lungs(name: str, seed: int) -> None:
    chest, _, mask = make_sick(name, seed)
    areas = [(mask & (chest.field(side) > 0.5)).sum() for side in SIDES]
    assert min(areas) > 0.15 * max(areas)


def test_ground_glass_lies_outward_of_the_interstitial_pattern() -> None:
    def outward(name: str) -> float:
        return float(np.mean([np.abs(np.nonzero(make_sick(name, seed)[2])[1] - SIDE_PX / 2).mean() for seed in SEEDS]))

    assert outward("ground_glass") > outward("interstitial") + 0.06 * SIDE_PX


@pytest.mark.parametrize("seed", SEEDS)
def test_a_nodule_is_3_to_6_px_wide_at_64_px_and_a_mass_clearly_wider(seed: int) -> None:
    def widest(name: str) -> float:
        _, _, stats, _ = cv2.connectedComponentsWithStats(make_sick(name, seed)[2].astype(np.uint8))
        return float(np.sqrt(stats[1:, cv2.CC_STAT_AREA].max() * 4 / np.pi) * 64 / SIDE_PX)

    assert 2.8 < widest("nodule") < 7.0
    assert widest("mass") > 8.0


@pytest.mark.parametrize("seed", SEEDS)
def test_atelectasis_is_longer_than_it_is_thick(seed: int) -> None:
    _, _, mask = make_sick("atelectasis", seed)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    sides = sorted(cv2.minAreaRect(max(contours, key=len))[1])
    assert sides[1] > 1.8 * sides[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_consolidation_keeps_to_one_lung_and_has_a_sharp_edge(seed: int) -> None:
    chest, sick, mask = make_sick("consolidation", seed)
    assert min((mask & (chest.field(side) > 0.5)).sum() for side in SIDES) == 0
    step = np.abs(np.diff(sick.lung - chest.lung, axis=0)) * mask[1:]
    assert np.sort(step.max(axis=0))[-20:].mean() > 0.06
