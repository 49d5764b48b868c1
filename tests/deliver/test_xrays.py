import os
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from cxrflow.config.settings import PreprocessSettings
from cxrflow.data.preprocessing import preprocess_image
from cxrflow.data.reading import read_facts
from cxrflow.deliver import xrays
from cxrflow.deliver.delivered import open_model
from cxrflow.deliver.xrays import Answer, answer_files, find_xrays, read_xray
from tests.data.toy import refuse_to_open
from tests.deliver.conftest import make_noise

SETTINGS = PreprocessSettings(size_px=18, blur_px=3)
N_FILES = 21  # more than two batches


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write PNG files, one of them into a folder below."""
    place = tmp_path / "new"
    (place / "below").mkdir(parents=True)
    for number, image in enumerate(make_noise(N_FILES, 40)):
        name = f"below/{number:02d}.png" if number == 3 else f"{number:02d}.png"
        cv2.imwrite(str(place / name), image)
    (place / "notes.txt").write_text("no image")
    return place


def test_files_come_as_they_are_and_folders_sorted(folder: Path) -> None:
    found = [*find_xrays([folder / "05.png", folder, folder / "none.png"])]
    assert found[0] == folder / "05.png"
    assert found[1:-1] == sorted(found[1:-1])
    assert len(found) == N_FILES + 2
    assert folder / "below/03.png" in found
    assert folder / "notes.txt" not in found
    assert found[-1] == folder / "none.png"


def test_masks_below_a_folder_are_counted_and_not_answered(folder: Path) -> None:
    (folder / "lung masks").mkdir()
    for name in ("lung masks/03.png", "00_mask.png"):
        (folder / name).write_bytes((folder / "00.png").read_bytes())
    others: Counter[str] = Counter()
    assert len([*find_xrays([folder], others)]) == N_FILES
    assert others == {".txt": 1, "masks, by their names": 2}
    assert len([*find_xrays([folder / "lung masks", folder / "00_mask.png"])]) == 2  # named by the user


def test_an_image_is_made_as_for_training(folder: Path) -> None:
    found = read_xray(folder / "00.png", SETTINGS, max_mpx=1)
    assert not isinstance(found, str)
    assert np.array_equal(found, preprocess_image(make_noise(1, 40)[0], SETTINGS))


def test_every_file_gets_its_own_answer_in_order(folder: Path, exported: Path) -> None:
    model = open_model(exported, threads=1)
    paths = [*find_xrays([folder])]
    answers = [*answer_files(model, paths, threads=2, max_mpx=1)]
    assert [answer.path for answer in answers] == paths
    for answer in answers:
        image = read_xray(answer.path, model.card.preprocess, max_mpx=1)
        assert not isinstance(image, str)
        np.testing.assert_allclose(answer.probabilities, model.predict(image[None])[0], atol=1e-6)


def test_unreadable_files_keep_their_place(folder: Path, exported: Path) -> None:
    bad = {
        "empty.png": (b"", "the file is empty"),
        "page.png": (b"<html>", "it is a web page"),
        "cut.png": ((folder / "00.png").read_bytes()[:200], "truncated or damaged"),
        "scan.dcm": (
            b"\x08\0\x05\0CS\x0a\0ISO_IR 100",  # without the preamble, as old devices write it
            "window (VOI LUT) applied, and inverted where its Photometric Interpretation is MONOCHROME1",
        ),
    }
    for name, (content, _) in bad.items():
        (folder / name).write_bytes(content)
    names = ["00.png", "empty.png", "none.png", "01.png", "page.png", "cut.png", "scan.dcm", "02.png"]
    answers = [*answer_files(open_model(exported, threads=1), [folder / name for name in names], 1, max_mpx=1)]
    assert [answer.path.name for answer in answers] == names
    for answer in answers:
        reason = bad.get(answer.path.name, (b"", "it does not exist"))[1]
        readable = answer.path.name in ("00.png", "01.png", "02.png")
        assert (answer.probabilities is not None) == readable
        assert answer.problem == "" if readable else reason in answer.problem


def test_a_batch_without_any_image_is_no_end(folder: Path, exported: Path) -> None:
    paths = [folder / f"none{number}.png" for number in range(9)] + [folder / "00.png"]
    answers = [*answer_files(open_model(exported, threads=1), paths, 1, max_mpx=1)]
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

    def count(path: Path, settings: PreprocessSettings, max_mpx: float) -> np.ndarray:
        nonlocal n_read
        n_read += 1
        return np.zeros((18, 18), np.uint8)

    monkeypatch.setattr(xrays, "read_xray", count)
    answers = answer_files(open_model(exported, threads=1), (Path(f"{n}.png") for n in range(10_000)), 1, max_mpx=1)
    first: Answer = next(answers)
    assert first.path == Path("0.png")
    assert n_read < 100
    answers.close()  # type: ignore[attr-defined]


def test_a_folder_that_cannot_be_opened_is_named_and_the_rest_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "films/closed").mkdir(parents=True)
    (tmp_path / "films/one.png").touch()
    refuse_to_open(monkeypatch, tmp_path / "films/closed")
    monkeypatch.setattr(os, "listdir", os.scandir)
    found = [*find_xrays([tmp_path / "films"])]
    assert found == [tmp_path / "films/one.png", tmp_path / "films/closed"]
    assert read_xray(found[1], PreprocessSettings(32), 100) == "it cannot be opened: Permission denied"
