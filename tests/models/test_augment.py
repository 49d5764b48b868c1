"""The batched augmentation against torchvision's transforms, one image at a time."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from cxrflow.config.settings import TrainSettings
from cxrflow.models.augment import (
    Changes,
    _augment_together,
    _filter_on_cpu,
    _filter_on_gpu,
    adjust_sharpness,
    augment,
    autocontrast,
    map_images,
    sample_affine,
    sample_changes,
)

TOLERANCE = {"rtol": 0, "atol": 1e-6}


def edge_cases(height: int, width: int) -> Tensor:
    """Noise, low-contrast noise, black, white, one gray, one bright pixel inside and one in the corner."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand((1, height, width), generator=generator)
    inside, corner = torch.zeros(1, height, width), torch.zeros(1, height, width)
    inside[0, height // 2, width // 2] = 1
    corner[0, 0, 0] = 1
    flat = [torch.full((1, height, width), value) for value in (0.0, 1.0, 0.3)]
    return torch.stack([noise, 0.4 + 0.1 * noise, inside, corner, *flat])


SHAPES = [(16, 16), (7, 11), (3, 3), (2, 9), (9, 2), (1, 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_sharpness_equals_torchvision(shape: tuple[int, int], factor: float) -> None:
    images = edge_cases(*shape)
    wanted = torch.stack([reference.adjust_sharpness(image, factor) for image in images])
    torch.testing.assert_close(adjust_sharpness(images, factor), wanted, **TOLERANCE)


@pytest.mark.parametrize("shape", SHAPES)
def test_autocontrast_equals_torchvision(shape: tuple[int, int]) -> None:
    images = edge_cases(*shape)
    wanted = torch.stack([reference.autocontrast(image) for image in images])
    torch.testing.assert_close(autocontrast(images), wanted, **TOLERANCE)


@pytest.mark.parametrize("augment_images", [augment, _augment_together])  # of a CPU, of a GPU
def test_each_image_of_a_batch_is_changed_by_its_own_draws(augment_images: Callable[..., Tensor]) -> None:
    masks = torch.cartesian_prod(*[torch.tensor([False, True])] * 3)  # all 8 combinations
    images = torch.randint(0, 180, (8, 10, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    before = images.clone()
    changed = augment_images(images, Changes(*masks.unbind(1)), 2.0)
    assert changed.shape == (8, 1, 10, 12)
    for image, after, (flip, sharpen, stretch) in zip(images[:, None] / 255, changed, masks.tolist(), strict=True):
        wanted = reference.horizontal_flip(image) if flip else image
        wanted = reference.adjust_sharpness(wanted, 2.0) if sharpen else wanted
        wanted = reference.autocontrast(wanted) if stretch else wanted
        torch.testing.assert_close(after, wanted, **TOLERANCE)
    assert torch.equal(images, before)  # the input is not changed in place


@pytest.mark.parametrize("shape", SHAPES[:3])
def test_both_filters_agree_within_the_border(shape: tuple[int, int]) -> None:
    images = edge_cases(*shape)
    for centre, around in ((1.0, 0.0), (2 - 5 / 13, -1 / 13)):
        found, wanted = (way(images, centre, around)[..., 1:-1, 1:-1] for way in (_filter_on_cpu, _filter_on_gpu))
        torch.testing.assert_close(found, wanted, **TOLERANCE)


def test_no_images_stay_none() -> None:
    nothing = torch.zeros(0, dtype=torch.bool)
    augmented = augment(torch.empty((0, 4, 5), dtype=torch.uint8), Changes(nothing, nothing, nothing), 2.0)
    assert augmented.shape == (0, 1, 4, 5)


def test_draws_depend_on_seed_epoch_and_place_alone() -> None:
    settings = TrainSettings()
    draws = sample_changes(50, settings, seed=3, epoch=4)
    again = sample_changes(50, settings, seed=3, epoch=4)
    some = draws.of(torch.tensor([7, 49, 7]))
    assert torch.equal(draws.flip, again.flip)
    assert some.sharpen.tolist() == [bool(again.sharpen[i]) for i in (7, 49, 7)]
    for other in (sample_changes(50, settings, seed=3, epoch=5), sample_changes(50, settings, seed=4, epoch=4)):
        assert not torch.equal(draws.flip, other.flip)


def test_switching_one_augmentation_off_leaves_the_draws_of_the_others() -> None:
    on = sample_changes(200, TrainSettings(), seed=0, epoch=1)
    off = sample_changes(200, TrainSettings(flip_probability=0.0, autocontrast_probability=1.0), seed=0, epoch=1)
    assert not off.flip.any()
    assert off.autocontrast.all()
    assert torch.equal(on.sharpen, off.sharpen)


def test_probabilities_are_kept() -> None:
    draws = sample_changes(20_000, TrainSettings(sharpness_probability=0.1), seed=0, epoch=1)
    assert float(draws.flip.float().mean()) == pytest.approx(0.5, abs=0.02)
    assert float(draws.sharpen.float().mean()) == pytest.approx(0.1, abs=0.02)
    assert float((draws.flip & draws.sharpen).float().mean()) == pytest.approx(0.05, abs=0.01)  # independent


AFFINE = TrainSettings(affine_probability=0.75, affine_degrees=20, affine_shift=0.2, affine_scale=0.3)


@pytest.mark.parametrize("shape", [(16, 16), (9, 9)])
@pytest.mark.parametrize(
    ("degrees", "shift", "scale"), [(13.0, (0, 0), 1.0), (0.0, (3, -2), 1.0), (0.0, (0, 0), 1.2), (-20.0, (2, 1), 0.8)]
)
def test_an_affine_map_equals_torchvision(
    shape: tuple[int, int], degrees: float, shift: tuple[int, int], scale: float
) -> None:
    images = edge_cases(*shape)
    side = shape[0]
    limits = {"affine_degrees": abs(degrees), "affine_shift": 0.5, "affine_scale": abs(scale - 1)}
    settings = TrainSettings(affine_probability=1, **limits)
    wanted_draws = torch.tensor(
        [
            0.0,
            *(
                draw / 2 + 0.5
                for draw in (
                    degrees / (abs(degrees) or 1),
                    (scale - 1) / (abs(scale - 1) or 1),
                    *(each / side * 2 for each in shift),
                )
            ),
        ]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "rand", lambda size, generator: wanted_draws.expand(size))
        affine = sample_affine(len(images), settings, seed=0, epoch=1)
    wanted = reference.affine(
        images, degrees, list(shift), scale, shear=[0.0], interpolation=reference.InterpolationMode.BILINEAR
    )
    torch.testing.assert_close(map_images(images, affine), wanted, rtol=0, atol=1e-5)


def test_of_a_share_of_the_images_each_is_mapped_in_its_own_way_within_the_limits() -> None:
    affine = sample_affine(4000, AFFINE, seed=3, epoch=2)
    inverse = affine[:, :, :2]
    is_same = (affine == torch.eye(2, 3)).all(dim=(1, 2))
    assert abs(1 - is_same.float().mean() - 0.75) < 0.03
    scale = 1 / torch.linalg.det(inverse).sqrt()
    angle = torch.rad2deg(torch.atan2(inverse[:, 0, 1], inverse[:, 0, 0]))
    shift = -(torch.linalg.solve(inverse, affine[:, :, 2:])) / 2
    assert 0.7 <= scale.min() < 0.71 < 1.29 < scale.max() <= 1.3001
    assert -20.001 <= angle.min() < -19.5 < 19.5 < angle.max() <= 20.001
    assert -0.2001 <= shift.min() < -0.19 < 0.19 < shift.max() <= 0.2001
    assert len(affine[~is_same].unique(dim=0)) == (~is_same).sum()


def test_mapped_images_do_not_depend_on_the_batch_and_leave_other_draws_as_they_were() -> None:
    images = torch.randint(0, 256, (6, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    changes, plain = sample_changes(6, AFFINE, 0, 1), sample_changes(6, TrainSettings(), 0, 1)
    assert plain.affine is None
    assert torch.equal(changes.flip, plain.flip)
    whole = augment(images, changes, 2.0)
    torch.testing.assert_close(whole, _augment_together(images, changes, 2.0), rtol=0, atol=1e-6)
    assert torch.equal(whole[2:4], augment(images[2:4], changes.of(slice(2, 4)), 2.0))
    assert not torch.allclose(whole, augment(images, plain, 2.0), atol=0.05)
