"""The stages evaluate and score on a tiny dataset, from files to files."""

import csv
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import score
from cxrflow.config.backbones import BACKBONES
from cxrflow.config.settings import EmbedSettings, ExplainSettings, PreprocessSettings, ScoreSettings
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import sha256_file
from cxrflow.files.records import (
    IndexRow,
    LocalizationRow,
    Predictions,
    RegionRow,
    SplitRow,
    read_predictions,
    write_predictions,
)
from cxrflow.files.tables import read_records, read_table, write_records
from cxrflow.models.checkpoints import SavedModel, load_model, restore_network, save_model
from cxrflow.models.inference import predict
from cxrflow.models.networks import build_network
from cxrflow.results.gradcam import iterate_maps
from tests.packed import save_images
from tests.results.conftest import evaluate_into

NAMES = ["Mass", "Nodule", "Pneumothorax"]
SIZE = 64
N = 30
SUBSETS = ["test" if k % 2 == 0 else "val" if k % 4 == 1 else "train" for k in range(N)]
TEST = [k for k in range(N) if SUBSETS[k] == "test"]
LEARNED = [k for k in range(N) if SUBSETS[k] != "test"]
VAL = [k for k in range(N) if SUBSETS[k] == "val"]
MASK_NAME = "mask.png"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a whole dataset with an untrained MobileNetV3: 30 images, 15 of them tested, boxes and masks on 29."""
    folder = tmp_path_factory.mktemp("dataset")
    generator = np.random.default_rng(0)
    index = [IndexRow(f"i{k:02}", f"i{k}.png", NAMES[k % 3], f"p{k // 4}", "", 128, 256, "L", "", "") for k in range(N)]
    pixels = generator.integers(0, 256, (N, SIZE, SIZE), dtype=np.uint8)
    write_records(folder / "index.csv", IndexRow, index)
    for images, table, places in (("images.npy", "split.csv", LEARNED), ("test_images.npy", "test.csv", TEST)):
        save_images(folder / images, pixels[places], [index[k] for k in places])
        write_split(folder / table, SUBSETS, places)
    mask = np.zeros((32, 16), np.uint8)
    mask[8:24, 4:12] = 255
    (folder / MASK_NAME).write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    boxes = [RegionRow(row.image_id, "lesion", 32, 64, 64, 128, "") for row in index[1:]]
    lungs = [
        RegionRow(row.image_id, "lungs", 0, 0, 0, 0, MASK_NAME, sha256_file(folder / MASK_NAME)) for row in index[1:]
    ]
    write_records(folder / "regions.csv", RegionRow, [*boxes, *lungs])
    write_records(folder / "none.csv", RegionRow, [])
    labels, patients = np.array([k % 3 for k in TEST]), [f"p{k // 4}" for k in TEST]
    probabilities = generator.dirichlet(np.ones(3), size=len(TEST))
    write_predictions(
        folder / "predictions.csv", Predictions([f"i{k:02}" for k in TEST], patients, labels, probabilities, NAMES)
    )
    np.save(folder / "features.npy", generator.normal(size=(len(TEST), 16)).astype(np.float32))
    save_model(folder / "model.pt", untrained_model(NAMES))
    return folder


def write_split(path: Path, subsets: list[str], places: list[int], names: list[str] = NAMES) -> None:
    rows = [SplitRow(f"i{k:02}", names[k % 3], f"p{k // 4}", f"p{k // 4}", subsets[k]) for k in places]
    write_records(path, SplitRow, rows)


def untrained_model(names: list[str]) -> SavedModel:
    state = build_network("mobilenet_v3_large", len(names), 0.1).state_dict()
    preprocess = PreprocessSettings(size_px=SIZE)
    return SavedModel(state, "toy", "mobilenet_v3_large", "scratch", "base", 0, names, preprocess, 1, 1.0, 0.1)


def run_evaluate(dataset: Path, out: Path, **files: Any) -> dict[str, Any]:
    """Evaluate into `out` and return gradcam.json; `files` stand in for the dataset's own."""
    given = {name: dataset / f"{name}.csv" for name in ("split", "test", "index", "regions")}
    given |= {"folder": dataset, "images": dataset / "images.npy", "model": dataset / "model.pt"}
    given["test_images"] = dataset / "test_images.npy"
    evaluate_into(out, **{**given, **files})
    content: dict[str, Any] = json.loads((out / "gradcam.json").read_text())
    return content


def run_score(dataset: Path, out: Path, features: Path | None = None) -> None:
    score.score_model(
        predictions=dataset / "predictions.csv",
        features=features or dataset / "features.npy",
        settings=ScoreSettings(bootstrap_resamples=50),
        embed=EmbedSettings(),
        title="Toy",
        confusion=out / "confusion.png",
        tsne_csv=out / "tsne.csv",
        tsne_png=out / "tsne.png",
        metrics=out / "metrics.json",
    )


@pytest.fixture(scope="module")
def evaluated(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What evaluate writes of the dataset."""
    folder = tmp_path_factory.mktemp("evaluated")
    run_evaluate(dataset, folder)
    return folder


def test_val_and_test_images_are_predicted_in_index_order(dataset: Path, evaluated: Path) -> None:
    saved = load_model(dataset / "model.pt")
    learned, tested = (np.load(dataset / name) for name in ("images.npy", "test_images.npy"))
    val_places, test_places = [LEARNED.index(k) for k in VAL], list(range(len(TEST)))
    features = {}
    for name, numbers, images, places in (
        ("val_predictions.csv", VAL, learned, val_places), ("predictions.csv", TEST, tested, test_places),
        ("val_mirrored.csv", VAL, learned[:, :, ::-1].copy(), val_places),
        ("mirrored.csv", TEST, tested[:, :, ::-1].copy(), test_places),
    ):  # fmt: skip
        predictions = read_predictions(evaluated / name)
        assert predictions.image_ids == [f"i{k:02}" for k in numbers]
        assert predictions.patient_ids == [f"p{k // 4}" for k in numbers]
        assert predictions.labels.tolist() == [k % 3 for k in numbers]
        network, rows = restore_network(saved), np.array(places)
        wanted, features[name] = predict(
            network, saved.backbone, images, rows, device=torch.device("cpu"), batch_size=8
        )
        assert np.array_equal(predictions.probabilities, wanted)  # repr and back: no bit lost
    np.testing.assert_array_equal(np.load(evaluated / "features.npy"), features["predictions.csv"])


def test_annotated_test_images_alone_are_scored(evaluated: Path) -> None:
    content = json.loads((evaluated / "gradcam.json").read_text())
    rows: list[LocalizationRow] = read_records(evaluated / "gradcam.csv", LocalizationRow)
    tested = {f"i{k:02}" for k in TEST if k != 0}  # image 0 has no region
    assert {row.image_id for row in rows} == tested
    assert [row.region for row in rows] == ["lesion", "lungs"] * len(tested)
    predictions = read_predictions(evaluated / "predictions.csv")
    predicted = dict(zip(predictions.image_ids, predictions.predicted, strict=True))
    assert all(row.predicted == NAMES[predicted[row.image_id]] for row in rows)
    assert {row.image_id: row.patient_id for row in rows}["i04"] == "p1"
    assert (content["grid"], content["method"], content["is_scored"]) == ([8, 8], "LayerCAM", True)
    for row in rows:  # the box and the mask are the same region: the image's middle quarter, also of those fitted on
        assert row.inside_share_uniform == pytest.approx(0.25, abs=1e-3)
        assert row.inside_share_random == pytest.approx(0.25, abs=0.01)
        assert (row.inside_share_fixed, row.hit_fixed) == (pytest.approx(1, abs=0.1), 1)
    assert content["n_scored"] == len(tested)
    assert (evaluated / "gradcam.png").stat().st_size > 10_000


def test_the_scored_map_is_of_the_true_class_and_the_shown_one_of_the_predicted(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []

    def note(*arguments: Any) -> Iterator[np.ndarray]:
        asked.append(arguments[4])
        return iterate_maps(*arguments)

    monkeypatch.setattr("cxrflow.results.explaining.iterate_maps", note)
    run_evaluate(dataset, tmp_path)
    shown, scored = asked
    assert scored == [k % 3 for k in TEST if k != 0]
    assert shown != [k % 3 for k in TEST[: len(shown)]]
    predicted = read_predictions(tmp_path / "predictions.csv").predicted.tolist()
    assert set(shown) <= set(predicted)


def test_maps_of_too_few_cells_are_shown_and_not_scored(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coarse = dataclasses.replace(BACKBONES["mobilenet_v3_large"], gradcam_layer="features")
    monkeypatch.setitem(BACKBONES, "mobilenet_v3_large", coarse)
    content = run_evaluate(dataset, tmp_path)
    assert (content["grid"], content["method"]) == ([2, 2], "Grad-CAM")
    assert (content["n_scored"], content["is_scored"]) == (0, False)
    assert (tmp_path / "gradcam.png").exists()


def test_the_number_of_scored_images_is_capped_and_the_sample_repeats(dataset: Path, tmp_path: Path) -> None:
    few = ExplainSettings(images_per_class=1, scored_images=4)
    first, again = (run_evaluate(dataset, tmp_path / run, explain=few) for run in ("a", "b"))
    assert first["n_scored"] == 4
    assert first == again
    for name in ("gradcam.png", "gradcam.csv", "predictions.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_without_annotations_the_gallery_is_drawn_and_nothing_scored(dataset: Path, tmp_path: Path) -> None:
    content = run_evaluate(dataset, tmp_path, regions=dataset / "none.csv")
    assert (content["n_scored"], content["is_scored"]) == (0, True)
    with (tmp_path / "gradcam.csv").open() as handle:
        assert list(csv.reader(handle)) == [[field.name for field in dataclasses.fields(LocalizationRow)]]
    assert (tmp_path / "gradcam.png").exists()


def test_evaluation_refuses_other_classes_another_recipe_and_another_index(dataset: Path, tmp_path: Path) -> None:
    write_split(tmp_path / "split.csv", SUBSETS, LEARNED, [name.upper() for name in NAMES])
    with pytest.raises(CxrflowError, match="the split has MASS, NODULE, PNEUMOTHORAX"):
        run_evaluate(dataset, tmp_path, split=tmp_path / "split.csv")
    index = read_records(dataset / "index.csv", IndexRow)
    small = np.zeros((len(LEARNED), 32, 32), np.uint8)
    save_images(tmp_path / "small.npy", small, [index[k] for k in LEARNED])
    with pytest.raises(CxrflowError, match="holds images of 32x32 px"):
        run_evaluate(dataset, tmp_path, images=tmp_path / "small.npy")
    write_records(tmp_path / "index.csv", IndexRow, index[1:])
    with pytest.raises(CxrflowError, match=r"test\.csv lists images that index\.csv lacks"):
        run_evaluate(dataset, tmp_path, index=tmp_path / "index.csv")
    assert not (tmp_path / "predictions.csv").exists()


def test_evaluation_of_an_empty_subset_stops(dataset: Path, tmp_path: Path) -> None:
    write_split(tmp_path / "split.csv", ["train"] * N, LEARNED)
    with pytest.raises(CxrflowError, match="the val subset is empty"):
        run_evaluate(dataset, tmp_path, split=tmp_path / "split.csv")


def test_score_writes_metrics_figures_and_map_and_repeats_itself(dataset: Path, tmp_path: Path) -> None:
    for run in ("a", "b"):
        run_score(dataset, tmp_path / run)
    assert json.loads((tmp_path / "a" / "metrics.json").read_text())["n_images"] == len(TEST)
    for name in ("metrics.json", "confusion.png", "tsne.csv", "tsne.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    rows = read_table(tmp_path / "a" / "tsne.csv", ["image_id", "label", "predicted", "x", "y"])
    predictions = read_predictions(dataset / "predictions.csv")
    assert [row["image_id"] for row in rows] == predictions.image_ids
    assert [row["predicted"] for row in rows] == [NAMES[k] for k in predictions.predicted]
    assert len({(row["x"], row["y"]) for row in rows}) == len(TEST)


@pytest.mark.parametrize("n", [1, 3])
def test_too_few_test_images_for_a_map_are_scored_without_one(
    dataset: Path, tmp_path: Path, n: int, capsys: pytest.CaptureFixture[str]
) -> None:
    all_ = read_predictions(dataset / "predictions.csv")
    few = Predictions(all_.image_ids[:n], all_.patient_ids[:n], all_.labels[:n], all_.probabilities[:n], NAMES)
    write_predictions(tmp_path / "predictions.csv", few)
    np.save(tmp_path / "features.npy", np.load(dataset / "features.npy")[:n])
    run_score(tmp_path, tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text())["n_images"] == n
    assert read_table(tmp_path / "tsne.csv", ["image_id", "label", "predicted", "x", "y"]) == []
    assert (tmp_path / "tsne.png").exists()
    assert "No map: t-SNE needs at least 4 test images" in capsys.readouterr().out


def test_score_refuses_features_of_another_run(dataset: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "features.npy", np.zeros((3, 4), np.float32))
    with pytest.raises(CxrflowError, match="has 3 rows"):
        run_score(dataset, tmp_path, tmp_path / "features.npy")
    assert not (tmp_path / "metrics.json").exists()
