import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from cxrflow.config.settings import PreprocessSettings
from cxrflow.data.preprocessing import preprocess_image, resize_gray
from cxrflow.data.reading import read_facts
from cxrflow.deliver import tool
from cxrflow.deliver.tool import Answer, Xray, open_tool, prepare_xray, read_xray
from cxrflow.deliver.xrays import find_xrays
from tests.data.test_dicom import make_dicom
from tests.data.toy import encode
from tests.deliver.conftest import make_noise

SETTINGS = PreprocessSettings(size_px=18, blur_px=3)


def read_image(path: Path) -> np.ndarray:
    found = read_xray(path, SETTINGS, max_mpx=1)
    assert isinstance(found, Xray)
    return found.image


def test_an_image_is_made_as_for_training(folder: Path) -> None:
    found = read_xray(folder / "00.png", SETTINGS, max_mpx=1)
    assert isinstance(found, Xray)
    assert np.array_equal(found.image, preprocess_image(make_noise(1, 40)[0], SETTINGS))
    assert np.array_equal(found.plain, resize_gray(make_noise(1, 40)[0], SETTINGS.size_px))
    assert (found.width_px, found.height_px) == (40, 40)


def test_every_file_gets_its_own_answer_in_order(folder: Path, exported: Path) -> None:
    opened = open_tool(exported)
    paths = [*find_xrays([folder])]
    answers = [*opened.read_files(paths, threads=2)]
    assert [answer.name for answer in answers] == [*map(str, paths)]
    for answer, path in zip(answers, paths, strict=True):
        alone = opened.read("any name", path.read_bytes(), pictures=True)
        for name in ("probabilities", "logits", "features"):
            np.testing.assert_allclose(getattr(answer, name), getattr(alone, name), atol=1e-5)
        assert answer.predicted == alone.predicted == opened.card.class_names[int(np.argmax(answer.probabilities))]
        assert (alone.name, answer.image) == ("any name", None)
        assert np.array_equal(alone.image, read_image(path))


@pytest.mark.parametrize(
    ("shape", "shown"),
    [((60, 40), (60, 40)), ((1500, 3000), (512, 1024)), ((2049, 30), (1024, 15)), ((16, 40_000), (1, 1024))],
)
def test_the_film_is_shown_in_its_proportions(shape: tuple[int, int], shown: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    content = cv2.imencode(".png", noise)[1].tobytes()
    found = prepare_xray(lambda: content, SETTINGS, max_mpx=9, film=True)
    assert isinstance(found, Xray)
    assert found.film is not None
    assert found.film.shape == shown
    without = prepare_xray(lambda: content, SETTINGS, max_mpx=9)
    assert isinstance(without, Xray)
    assert without.film is None
    assert np.array_equal(without.image, found.image)


def test_unreadable_files_keep_their_place(folder: Path, exported: Path) -> None:
    bad = {
        "empty.png": (b"", "the file is empty"),
        "page.png": (b"<html>", "it is a web page"),
        "cut.png": ((folder / "00.png").read_bytes()[:200], "truncated or damaged"),
        "scan.dcm": (
            b"\x08\0\x05\0CS\x0a\0ISO_IR 100",  # without the preamble, as old devices write it
            "a DICOM file without a picture, or truncated before it",
        ),
    }
    for name, (content, _) in bad.items():
        (folder / name).write_bytes(content)
    names = ["00.png", "empty.png", "none.png", "01.png", "page.png", "cut.png", "scan.dcm", "02.png"]
    answers = [*open_tool(exported).read_files([folder / name for name in names])]
    assert [Path(answer.name).name for answer in answers] == names
    for answer in answers:
        reason = bad.get(Path(answer.name).name, (b"", "it does not exist"))[1]
        readable = Path(answer.name).name in ("00.png", "01.png", "02.png")
        assert (answer.probabilities is not None) == readable
        assert answer.problem == "" if readable else reason in answer.problem


def test_a_batch_without_any_image_is_no_end(folder: Path, exported: Path) -> None:
    paths = [folder / f"none{number}.png" for number in range(9)] + [folder / "00.png"]
    answers = [*open_tool(exported).read_files(paths)]
    assert [answer.probabilities is None for answer in answers] == [True] * 9 + [False]


def test_too_large_and_empty_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    assert "more than 0.001 megapixels" in str(read_xray(folder / "00.png", SETTINGS, max_mpx=0.001))
    (tmp_path / "hollow").mkdir()
    (place,) = find_xrays([tmp_path / "hollow"])
    assert "this folder holds no image" in str(read_xray(place, SETTINGS, max_mpx=1))


def test_what_index_refuses_predict_refuses_with_the_same_words(folder: Path) -> None:
    (folder / "black.png").write_bytes(cv2.imencode(".png", np.zeros((40, 40), np.uint8))[1].tobytes())
    (folder / "dot.png").write_bytes(cv2.imencode(".png", np.eye(4, dtype=np.uint8))[1].tobytes())
    (folder / "huge.png").touch()
    os.truncate(folder / "huge.png", 60 * 10**9)
    os.mkfifo(folder / "pipe.png")
    reasons = {"black": "no contrast", "dot": "no X-ray is smaller", "huge": "60.0 GB", "pipe": "a pipe, a socket"}
    for name, reason in reasons.items():
        found = read_xray(folder / f"{name}.png", SETTINGS, max_mpx=100)
        assert reason in str(found)
        assert found == read_facts(folder / f"{name}.png", 100)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_told(folder: Path) -> None:
    (folder / "00.png").chmod(0)
    assert "Permission denied" in str(read_xray(folder / "00.png", SETTINGS, max_mpx=1))


def test_memory_holds_a_few_images_only(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many files there are, no more are decoded than the next answers need."""
    n_read = 0

    def count(path: Path, settings: PreprocessSettings, max_mpx: float, *, film: bool) -> Xray:
        nonlocal n_read
        n_read += 1
        return Xray(np.zeros((18, 18), np.uint8), np.zeros((18, 18), np.uint8), 18, 18)

    monkeypatch.setattr(tool, "read_xray", count)
    answers = open_tool(exported).read_files(Path(f"{n}.png") for n in range(10_000))
    first: Answer = next(answers)
    assert first.name == "0.png"
    assert n_read < 100
    answers.close()  # type: ignore[attr-defined]


def test_a_dicom_file_is_answered_as_the_png_of_its_pixels_with_its_notes_as_warnings(exported: Path) -> None:
    pixels = make_noise(1, 40)[0]
    opened = open_tool(exported)
    plain = opened.read("a.png", encode(pixels), pictures=True)
    other = opened.read("a.dcm", make_dicom(255 - pixels, PhotometricInterpretation="MONOCHROME1", ViewPosition="LL"))
    np.testing.assert_array_equal(other.logits, plain.logits)
    assert plain.warnings == ()
    assert other.warnings == ("it is a lateral view (View Position LL), not a frontal one",)
    assert "ecret" not in str(other)


def test_files_keep_their_film_where_pictures_are_asked_for(exported: Path, folder: Path) -> None:
    (answer,) = open_tool(exported).read_files([folder / "00.png"], pictures=True)
    np.testing.assert_array_equal(answer.film, make_noise(1, 40)[0])
