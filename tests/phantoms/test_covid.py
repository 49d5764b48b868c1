import numpy as np

from tests.phantoms.conftest import COUNT, Drawing, read_image

ROOT = "covid/COVID-19_Radiography_Dataset"


def test_the_published_folders_hold_the_published_names(drawing: Drawing) -> None:
    root = drawing.folder / ROOT
    assert sorted(path.name for path in root.iterdir()) == ["COVID", "Lung_Opacity", "Normal", "Viral Pneumonia"]
    for label in ("COVID", "Normal", "Viral Pneumonia"):
        expected = {f"{label}-{number}.png" for number in range(1, COUNT + 1)}
        assert {path.name for path in (root / label / "images").iterdir()} == expected
        assert {path.name for path in (root / label / "masks").iterdir()} == expected
    assert len(list((root / "Lung_Opacity" / "images").iterdir())) == 3


def test_images_are_square_gray_and_not_under_128_px(drawing: Drawing) -> None:
    paths = sorted((drawing.folder / ROOT / "Viral Pneumonia" / "images").iterdir())
    assert {(image.size, image.mode) for image in map(read_image, paths)} == {((128, 128), "L")}


def test_lung_masks_are_256_px_rgb_and_cover_both_lungs(drawing: Drawing) -> None:
    for path in sorted((drawing.folder / ROOT / "COVID" / "masks").iterdir()):
        image = read_image(path)
        mask = np.asarray(image)
        assert (image.mode, image.size) == ("RGB", (256, 256))
        assert set(np.unique(mask)) == {0, 255}
        assert 0.10 < (mask[:, :128, 0] > 0).mean() < 0.6
        assert 0.08 < (mask[:, 128:, 0] > 0).mean() < 0.6


def test_a_lesion_lies_within_the_lung_mask_of_its_image(drawing: Drawing) -> None:
    for label in ("COVID", "Viral Pneumonia"):
        for path in sorted((drawing.folder / ROOT / label / "images").iterdir()):
            lesion = np.asarray(read_image(drawing.folder / "covid" / "lesion_masks" / path.name)) > 0
            lungs = read_image(path.parents[1] / "masks" / path.name).convert("L").resize(lesion.shape[::-1])
            assert lesion.any()
            assert (lesion & (np.asarray(lungs) < 64)).sum() <= 0.02 * lesion.sum()
    assert not list((drawing.folder / "covid" / "lesion_masks").glob("Normal-*"))
