import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cxrflow.config.settings import PhantomSettings
from phantoms.kaggle import plan_pneumonia
from phantoms.render import Fate, Form
from tests.phantoms.conftest import COUNT, Phantoms, read_image

ROOT = "covid/COVID-19_Radiography_Dataset"
NAMES = {
    "bacterial": r"chest_xray/(train|test)/PNEUMONIA/(person\d+)_bacteria_\d+\.jpeg",
    "viral": r"chest_xray/(train|test)/PNEUMONIA/(person\d+)_virus_\d+\.jpeg",
    "normal": r"chest_xray/(train|test)/NORMAL/((?:NORMAL2-)?IM-\d{4})-0001(?:-\d{4})?\.jpeg",
}


def test_the_published_folders_hold_the_published_names(phantoms: Phantoms) -> None:
    root = phantoms.folder / ROOT
    assert sorted(path.name for path in root.iterdir()) == ["COVID", "Lung_Opacity", "Normal", "Viral Pneumonia"]
    for label in ("COVID", "Normal", "Viral Pneumonia"):
        expected = {f"{label}-{number}.png" for number in range(1, COUNT + 1)}
        assert {path.name for path in (root / label / "images").iterdir()} == expected
        assert {path.name for path in (root / label / "masks").iterdir()} == expected
    assert len(list((root / "Lung_Opacity" / "images").iterdir())) == 3


def test_images_are_square_gray_and_not_under_128_px(phantoms: Phantoms) -> None:
    paths = sorted((phantoms.folder / ROOT / "Viral Pneumonia" / "images").iterdir())
    assert {(image.size, image.mode) for image in map(read_image, paths)} == {((128, 128), "L")}


def test_lung_masks_are_256_px_rgb_and_cover_both_lungs(phantoms: Phantoms) -> None:
    for path in sorted((phantoms.folder / ROOT / "COVID" / "masks").iterdir()):
        image = read_image(path)
        mask = np.asarray(image)
        assert (image.mode, image.size) == ("RGB", (256, 256))
        assert set(np.unique(mask)) == {0, 255}
        assert 0.10 < (mask[:, :128, 0] > 0).mean() < 0.6
        assert 0.08 < (mask[:, 128:, 0] > 0).mean() < 0.6


def test_a_lesion_lies_within_the_lung_mask_of_its_image(phantoms: Phantoms) -> None:
    for label in ("COVID", "Viral Pneumonia"):
        for path in sorted((phantoms.folder / ROOT / label / "images").iterdir()):
            lesion = np.asarray(read_image(phantoms.folder / "covid" / "lesion_masks" / path.name)) > 0
            lungs = read_image(path.parents[1] / "masks" / path.name).convert("L").resize(lesion.shape[::-1])
            assert lesion.any()
            assert (lesion & (np.asarray(lungs) < 64)).sum() <= 0.02 * lesion.sum()
    assert not list((phantoms.folder / "covid" / "lesion_masks").glob("Normal-*"))


def images(phantoms: Phantoms) -> list[Path]:
    return sorted((phantoms.folder / "pneumonia" / "chest_xray").rglob("*.jpeg"))


def test_names_are_the_published_ones_and_each_class_has_its_count(phantoms: Phantoms) -> None:
    paths = [path.relative_to(phantoms.folder / "pneumonia").as_posix() for path in images(phantoms)]
    counts = Counter(label for path in paths for label, pattern in NAMES.items() if re.fullmatch(pattern, path))
    assert counts == {"bacterial": COUNT + 1, "viral": COUNT, "normal": COUNT}  # one bacterial is truncated
    assert len(paths) == sum(counts.values())
    assert len({Path(path).stem for path in paths}) == len(paths)


def test_patients_have_several_images_of_one_body_and_lie_in_one_part() -> None:
    tasks = plan_pneumonia(PhantomSettings(images_per_class=100)).tasks
    for label, pattern in NAMES.items():
        own = [task for task in tasks if task.label == label and not task.copy_of]
        found = [(m[2], m[1], task.patient) for task in own if (m := re.fullmatch(pattern, task.path))]
        names = {name for name, _, _ in found}
        assert 1.2 < len(found) / len(names) < 2.5
        assert {part for _, part, _ in found} == {"train", "test"}
        assert len({(name, part) for name, part, _ in found}) == len(names)
        bodies = {(name.replace("NORMAL2-", ""), patient) for name, _, patient in found}
        assert len(bodies) == len({name for name, _ in bodies}) == len({patient for _, patient in bodies})


def test_sizes_and_aspects_vary_and_no_side_is_under_128_px(phantoms: Phantoms) -> None:
    sizes = {(task.width_px, task.height_px) for task in plan_pneumonia(PhantomSettings(images_per_class=100)).tasks}
    aspects = [width / height for width, height in sizes]
    assert len(sizes) > 250
    assert min(min(size) for size in sizes) >= 128
    assert min(aspects) < 1.05
    assert max(aspects) > 1.5
    planned = {task.path: (task.width_px, task.height_px) for task in plan_pneumonia(phantoms.settings).tasks}
    normal = [path for path in images(phantoms) if "NORMAL" in path.parts]
    assert all(
        read_image(path).size == planned[path.relative_to(phantoms.folder / "pneumonia").as_posix()] for path in normal
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_size_of_a_film_does_not_tell_the_class(seed: int) -> None:
    tasks = plan_pneumonia(PhantomSettings(images_per_class=100, seed=seed)).tasks
    means = [sum(t.width_px for t in tasks if t.label == label) / 100 for label in NAMES]
    assert max(means) / min(means) < 1.2


def test_every_class_keeps_its_count_at_any_number() -> None:
    for count in (12, 13, 50):
        tasks = plan_pneumonia(PhantomSettings(images_per_class=count)).tasks
        assert Counter(t.label for t in tasks if t.fate == Fate.KEPT) == dict.fromkeys(NAMES, count)
        assert [t.form for t in tasks if t.fate != Fate.KEPT] == [Form.TRUNCATED]
        assert len({t.path for t in tasks}) == len(tasks)
