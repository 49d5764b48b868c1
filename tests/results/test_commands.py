"""The stages score, embed and explain on a tiny dataset, from files to files."""

import csv
import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import embed
import explain
import score
from cxrflow.config.settings import EmbedSettings, ExplainSettings, PreprocessSettings, ScoreSettings
from cxrflow.errors import CxrflowError
from cxrflow.files.records import IndexRow, Predictions, RegionRow, read_predictions, write_predictions
from cxrflow.files.tables import read_records, read_table, write_records
from cxrflow.models.checkpoints import SavedModel, save_model
from cxrflow.models.networks import build_network
from cxrflow.results.localization import LocalizationRow

NAMES = ["Mass", "Nodule", "Pneumothorax"]
SIZE = 64
N = 30
TEST = list(range(0, N, 2))  # every second image is a test image


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a whole dataset with an untrained MobileNetV3: 30 images, 15 of them tested, boxes and masks on 29."""
    folder = tmp_path_factory.mktemp("dataset")
    generator = np.random.default_rng(0)
    np.save(folder / "images.npy", generator.integers(0, 256, (N, SIZE, SIZE), dtype=np.uint8))
    index = [IndexRow(f"i{k:02}", f"i{k}.png", NAMES[k % 3], f"p{k // 4}", "", 128, 256, "L", "", "") for k in range(N)]
    write_records(folder / "index.csv", IndexRow, index)
    mask = np.zeros((32, 16), np.uint8)
    mask[8:24, 4:12] = 255
    (folder / "mask.png").write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    boxes = [RegionRow(row.image_id, "lesion", 32, 64, 64, 128, "") for row in index[1:]]
    lungs = [RegionRow(row.image_id, "lungs", 0, 0, 0, 0, "mask.png") for row in index[1:]]
    write_records(folder / "regions.csv", RegionRow, [*boxes, *lungs])
    write_records(folder / "none.csv", RegionRow, [])
    labels = np.array([k % 3 for k in TEST])
    probabilities = generator.dirichlet(np.ones(3), size=len(TEST))
    patients = [index[k].patient_id for k in TEST]
    write_predictions(
        folder / "predictions.csv",
        Predictions([index[k].image_id for k in TEST], patients, labels, probabilities, NAMES),
    )
    np.save(folder / "features.npy", generator.normal(size=(len(TEST), 16)).astype(np.float32))
    network = build_network("mobilenet_v3_large", 3, 0.1)
    preprocess = PreprocessSettings(size_px=SIZE)
    save_model(
        folder / "model.pt",
        SavedModel(
            network.state_dict(), "toy", "mobilenet_v3_large", "scratch", "base", 0, NAMES, preprocess, 1, 1.0, 0.1
        ),
    )
    return folder


def run_explain(dataset: Path, out: Path, regions: str = "regions.csv", **settings: int) -> dict:
    explain.explain_model(
        images=dataset / "images.npy",
        index=dataset / "index.csv",
        regions=dataset / regions,
        folder=dataset,
        model=dataset / "model.pt",
        predictions=dataset / "predictions.csv",
        settings=ExplainSettings(images_per_class=1, **settings),
        device="cpu",
        threads=1,
        title="Toy, MobileNetV3-Large",
        gallery=out / "gradcam.png",
        table=out / "gradcam.csv",
        summary=out / "gradcam.json",
    )
    return json.loads((out / "gradcam.json").read_text())


def test_score_writes_metrics_and_figure_and_repeats_itself(dataset: Path, tmp_path: Path) -> None:
    for run in ("a", "b"):
        score.score_model(
            predictions=dataset / "predictions.csv",
            settings=ScoreSettings(bootstrap_resamples=50),
            title="Toy",
            metrics=tmp_path / run / "metrics.json",
            confusion=tmp_path / run / "confusion.png",
        )
    assert json.loads((tmp_path / "a" / "metrics.json").read_text())["n_images"] == len(TEST)
    for name in ("metrics.json", "confusion.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_embed_writes_one_row_per_test_image(dataset: Path, tmp_path: Path) -> None:
    embed.embed_test_images(
        features=dataset / "features.npy",
        predictions=dataset / "predictions.csv",
        settings=EmbedSettings(),
        title="Toy",
        table=tmp_path / "tsne.csv",
        figure=tmp_path / "tsne.png",
    )
    rows = read_table(tmp_path / "tsne.csv", ["image_id", "label", "predicted", "x", "y"])
    predictions = read_predictions(dataset / "predictions.csv")
    assert [row["image_id"] for row in rows] == predictions.image_ids
    assert [row["predicted"] for row in rows] == [NAMES[k] for k in predictions.predicted]
    assert len({(row["x"], row["y"]) for row in rows}) == len(TEST)
    assert cv2.imdecode(np.fromfile(tmp_path / "tsne.png", np.uint8), cv2.IMREAD_COLOR) is not None


def test_embed_refuses_features_of_another_run(dataset: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "features.npy", np.zeros((3, 4), np.float32))
    with pytest.raises(CxrflowError, match="has 3 rows"):
        embed.embed_test_images(
            features=tmp_path / "features.npy",
            predictions=dataset / "predictions.csv",
            settings=EmbedSettings(),
            title="Toy",
            table=tmp_path / "tsne.csv",
            figure=tmp_path / "tsne.png",
        )
    assert not (tmp_path / "tsne.csv").exists()


def test_explain_scores_annotated_test_images_only(dataset: Path, tmp_path: Path) -> None:
    summary = run_explain(dataset, tmp_path)
    rows: list[LocalizationRow] = read_records(tmp_path / "gradcam.csv", LocalizationRow)
    tested = {f"i{k:02}" for k in TEST if k != 0}  # image 0 has no region
    assert {row.image_id for row in rows} == tested
    assert [row.region for row in rows] == ["lesion", "lungs"] * len(tested)
    predictions = read_predictions(dataset / "predictions.csv")
    predicted = dict(zip(predictions.image_ids, predictions.predicted, strict=True))
    assert all(row.predicted == NAMES[predicted[row.image_id]] for row in rows)
    assert summary["layer"] == "features"
    assert summary["n_scored"] == len(tested)
    assert set(summary["regions"]) == {"lesion", "lungs"}
    for kind in summary[
        "regions"
    ].values():  # the box and the mask are the same region: the middle quarter of the image
        assert kind["inside_share_uniform"] == pytest.approx(0.25, abs=1e-3)
        assert kind["pointing_hit_rate_centred"] == 1.0
        assert kind["n_images"] == len(tested)
    assert (tmp_path / "gradcam.png").stat().st_size > 10_000


def test_the_number_of_scored_images_is_capped_and_the_draw_repeats(dataset: Path, tmp_path: Path) -> None:
    summaries = [run_explain(dataset, tmp_path / run, scored_images=4) for run in ("a", "b")]
    assert summaries[0]["n_scored"] == 4
    assert summaries[0] == summaries[1]
    for name in ("gradcam.png", "gradcam.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_without_annotations_the_gallery_is_drawn_and_nothing_scored(dataset: Path, tmp_path: Path) -> None:
    summary = run_explain(dataset, tmp_path, regions="none.csv")
    assert (summary["n_scored"], summary["regions"]) == (0, {})
    with (tmp_path / "gradcam.csv").open() as handle:
        assert list(csv.reader(handle)) == [[field.name for field in dataclasses.fields(LocalizationRow)]]
    assert (tmp_path / "gradcam.png").exists()


def test_explain_refuses_predictions_of_other_classes(dataset: Path, tmp_path: Path) -> None:
    predictions = read_predictions(dataset / "predictions.csv")
    renamed = dataclasses.replace(predictions, class_names=["A", "B", "C"])
    test = explain.open_test_images(*(dataset / name for name in FILES), dataset, dataset / "predictions.csv")
    saved = explain.load_model(dataset / "model.pt")
    with pytest.raises(CxrflowError, match="run evaluate again"):
        explain.check_model(saved, dataclasses.replace(test, predictions=renamed), tmp_path / "model.pt")
    small = dataclasses.replace(test, images=test.images[:, :32, :32])
    with pytest.raises(CxrflowError, match="64 px, and these have 32 px"):
        explain.check_model(saved, small, tmp_path / "model.pt")


def test_explain_refuses_predictions_of_images_that_the_index_lacks(dataset: Path, tmp_path: Path) -> None:
    predictions = read_predictions(dataset / "predictions.csv")
    strange = dataclasses.replace(predictions, image_ids=["stranger", *predictions.image_ids[1:]])
    write_predictions(tmp_path / "predictions.csv", strange)
    with pytest.raises(CxrflowError, match="1 of 15 predicted images are not in the index, first stranger"):
        explain.open_test_images(*(dataset / name for name in FILES), dataset, tmp_path / "predictions.csv")


FILES = ("images.npy", "index.csv", "regions.csv")
