"""The delivered folder: complete, alone, elsewhere, and refusing what is not as it was delivered."""

import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

import deliver
from cxrflow.config.backbones import BACKBONES
from cxrflow.config.layout import Layout
from cxrflow.config.parsing import parse_settings
from cxrflow.config.settings import StudySettings
from cxrflow.config.study import recipe_name
from cxrflow.deliver import tool as tool_module
from cxrflow.deliver.bundle import write_reliability
from cxrflow.deliver.folder import SUMS, format_sums, list_files
from cxrflow.deliver.overlays import draw_overlay
from cxrflow.deliver.tool import open_tool, to_probabilities
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import write_bytes
from cxrflow.files.records import IndexRow, Predictions, SplitRow, read_predictions, write_predictions
from cxrflow.files.tables import write_records
from cxrflow.models.checkpoints import restore_network, save_model
from cxrflow.models.inference import predict
from cxrflow.results.calibration import calibrate_model
from cxrflow.results.ensembles import average_predictions
from tests.deliver.conftest import CLASS_NAMES, SIZE_PX, make_noise, make_saved
from tests.deliver.fake_tool import FakeTool
from tests.deliver.test_serving import Page
from tests.models.toy import CPU, TINY
from tests.packed import save_images

CONFIG = parse_settings(StudySettings, {"study": "toy", "datasets": {"toy": {"reader": "kermany", "folder": "toy"}}})
MODEL = "toy/tiny/scratch/base/seed4"
SCORE = {"value": 0.8123, "low": 0.7, "high": 0.9, "n_patients": 40}
EACH = ("f1", "precision", "recall", "auroc")
METRICS = {
    "n_images": 60,
    "n_patients": 50,
    "macro_f1": SCORE,
    "accuracy": SCORE,
    "macro_auroc": {"value": None, "low": None, "high": None, "n_patients": 3},
    "chance_macro_f1": 1 / 3,
    "per_class": {
        name: dict.fromkeys(("f1", "precision", "recall", "auroc"), SCORE) | {"support": 20} for name in CLASS_NAMES
    },
}
TRAINING = {"key": "0123456789abcdef", "n_train": 1234, "n_val": 56, "epochs": 9, "host": "secret-node"} | {
    "class_weights": dict.fromkeys(CLASS_NAMES, 1.0)
}
# MONAI's specification of a bundle, the mandatory keys of metadata.json and of a tensor in it.
MONAI_KEYS = {
    "version", "monai_version", "pytorch_version", "numpy_version", "optional_packages_version", "task", "description",
    "authors", "copyright", "network_data_format",
}  # fmt: skip
TENSOR_KEYS = {
    "type", "format", "modality", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data",
    "channel_def",
}  # fmt: skip
# What a hospital's computer lacks, and what Windows lacks.
LACKING = ("torch", "torchvision", "sklearn", "scipy", "snakemake", "kornia_rs", "pydantic", "yaml", "onnx", "fcntl")


def write_learned_from(results: Path, folder: Path) -> None:
    """Write the train and validation images, what lists them, and what the model says of the latter."""
    pixels, names = make_noise(60, SIZE_PX), [CLASS_NAMES[row % 3] for row in range(60)]
    split = [SplitRow(f"i{n}", name, f"p{n}", f"p{n}", "train" if n < 36 else "val") for n, name in enumerate(names)]
    index = [IndexRow(row.image_id, "", row.label, row.patient_id, "", 40, 50, "L", "", "") for row in split]
    layout = Layout(results)
    images = layout.images("toy", recipe_name(make_saved().preprocess))
    images.parent.mkdir(parents=True)
    save_images(images, pixels, split)
    write_records(layout.split("toy"), SplitRow, split)
    write_records(layout.index("toy"), IndexRow, index)
    ids = [row.image_id for row in split[36:]]
    labels = np.arange(36, 60) % 3
    probabilities = np.full((24, 3), 0.2) + 0.4 * np.eye(3)[(np.arange(24) // 8 + labels) % 3]
    for name in ("val_predictions.csv", "predictions.csv"):
        write_predictions(folder / name, Predictions(ids, ids, labels, probabilities, CLASS_NAMES))


def add_member(results: Path, seed: int) -> None:
    """Write another training of the same model, and what both say of mirror images and of test images."""
    first = results / "models" / MODEL
    folder = first.with_name(f"seed{seed}")
    folder.mkdir()
    save_model(folder / "model.pt", make_saved(seed=seed))
    shutil.copy(first / "training.json", folder)
    validated = read_predictions(first / "val_predictions.csv")
    for number, path in enumerate([first, folder]):
        for name in ("val_predictions.csv", "val_mirrored.csv", "predictions.csv", "mirrored.csv"):
            turned = np.roll(validated.probabilities, number, axis=1)
            write_predictions(path / name, replace(validated, probabilities=turned))


def make_results(place: Path, chosen: str | None = MODEL) -> Path:
    """Write what a study leaves of one model; return results/<study>."""
    results = place / "results"
    folder = results / "models" / MODEL
    folder.mkdir(parents=True)
    save_model(folder / "model.pt", make_saved())
    write_learned_from(results, folder)
    for path, value in {
        folder / "training.json": TRAINING,
        folder / "metrics.json": METRICS,
        results / "selection.json": {"toy": {"chosen": chosen, "reason": "It is the fastest."}},
    }.items():
        write_bytes(path, json.dumps(value).encode())
    return results


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Deliver once; the tests take copies."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "tiny", TINY)
        results = make_results(tmp_path_factory.mktemp("study"))
        deliver.deliver(results=results, datasets=["toy"], config=CONFIG, folder=results / "deliver")
    return results / "deliver/toy"


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """Copy the delivered folder elsewhere, to a name with a space."""
    return Path(shutil.copytree(made, tmp_path / "moved here"))


def run(folder: Path, *arguments: str | Path, lacking: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
    """Run `python run` as a user does, with some packages lacking."""
    code = (
        f"import runpy, sys\nsys.modules.update(dict.fromkeys({lacking!r}))\n"
        "sys.argv = sys.argv[1:]; sys.path[0] = sys.argv[0].rpartition('/')[0]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-I", "-c", code, folder / "run", *arguments]
    if not lacking:
        command = [sys.executable, folder / "run", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")


def test_the_folder_runs_alone_elsewhere_and_without_what_a_hospital_lacks(folder: Path, tmp_path: Path) -> None:
    checked = run(folder, "check", lacking=LACKING)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "Every file is as it was delivered" in checked.stdout
    read = run(folder, "read", folder / "golden", "--csv", tmp_path / "answers.csv", lacking=LACKING)
    assert read.returncode == 0, read.stderr
    assert len(read.stdout.splitlines()) == 4
    lines = (tmp_path / "answers.csv").read_text().splitlines()
    expected = json.loads((folder / "golden/golden.json").read_text())["probabilities"]
    for line in lines[1:]:
        name = line.split(",")[0].rpartition("/")[2]
        found = [float(cell) for cell in line.split(",")[2 : 2 + len(CLASS_NAMES)]]
        calibration = open_tool(folder).calibration
        assert calibration is not None
        calibrated = calibration.calibrate(np.log([expected[f"golden/{name}"]]))
        assert found == pytest.approx(calibrated[0].tolist(), abs=1e-4)


def test_without_a_package_the_remedy_is_told(folder: Path) -> None:
    lacking = run(folder, "check", lacking=("onnxruntime",))
    assert "onnxruntime is missing: pip install" in lacking.stderr
    lacking = run(folder, "check", lacking=("cv2",))
    assert "pip install -r requirements.txt" in lacking.stderr
    assert "Traceback" not in lacking.stderr
    assert lacking.returncode == 1


def test_a_file_that_cannot_be_read_is_named_and_the_status_says_so(folder: Path) -> None:
    answered = run(folder, "read", folder / "golden/healthy.png", folder / "none.png")
    assert answered.returncode == 1
    assert "none.png: it does not exist" in answered.stderr
    assert "healthy.png" in answered.stdout


@pytest.mark.parametrize("name", ["model.onnx", "golden/healthy.png", "cxrflow/data/decode.py", "golden/golden.json"])
@pytest.mark.parametrize("what", ["changed", "missing"])
def test_a_changed_or_missing_file_is_refused_by_name(folder: Path, name: str, what: str) -> None:
    data = (folder / name).read_bytes()
    (folder / name).unlink() if what == "missing" else (folder / name).write_bytes(data + b" ")
    with pytest.raises(CxrflowError, match=rf"{name} is (missing|not the file that was delivered)"):
        open_tool(folder)


def test_a_foreign_model_is_refused_even_if_the_list_agrees(folder: Path, exported: Path) -> None:
    (folder / "model.onnx").write_bytes(exported.read_bytes().replace(b"third", b"THIRD"))
    with pytest.raises(CxrflowError, match=r"model.onnx is not the file that was delivered"):
        open_tool(folder)
    golden = json.loads((folder / "golden/golden.json").read_text())
    first = next(iter(golden["probabilities"].values()))
    first[0], first[1] = first[1] + 0.01, first[0] - 0.01
    (folder / "golden/golden.json").write_text(json.dumps(golden))
    (folder / SUMS).write_text(format_sums({name: (folder / name).read_bytes() for name in list_files(folder)}))
    with pytest.raises(CxrflowError, match=r"gives another answer than on the machine that made this folder \(off by"):
        open_tool(folder)


def test_a_machine_that_reads_otherwise_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = tool_module.preprocess_image
    monkeypatch.setattr(tool_module, "preprocess_image", lambda gray, settings: 255 - read(gray, settings))
    with pytest.raises(CxrflowError, match=r"nothing was read. Install the versions in requirements.txt"):
        open_tool(folder)


def test_what_is_no_delivered_folder_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CxrflowError, match="no delivered folder, or not a whole one"):
        open_tool(tmp_path)
    (folder / SUMS).write_text("nonsense")
    with pytest.raises(CxrflowError, match="SHA256SUMS is damaged"):
        open_tool(folder)


def test_a_new_delivery_replaces_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    results = make_results(tmp_path)
    place = results / "deliver/toy"
    for names in (["old.txt", "cxrflow/old.py", "model.onnx"],):
        deliver.write_folder(place, dict.fromkeys(names, b"x"))
    (place / "answers.csv").write_text("mine")
    deliver.deliver(results=results, datasets=["toy"], config=CONFIG, folder=results / "deliver")
    first = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    assert place / "cxrflow/old.py" not in first
    assert first.pop(place / "answers.csv") == b"mine"
    deliver.deliver(results=results, datasets=["toy"], config=CONFIG, folder=results / "deliver", model=MODEL)
    assert {path for path in first if path.read_bytes() != first[path]} == {
        place / "README.md", place / "metadata.json", place / SUMS,
    }  # fmt: skip


def test_an_ensemble_with_flip_is_delivered_as_one_model(tmp_path: Path) -> None:
    """The folder says the mean of its members' answers to both images; its scores and calibration are its own."""
    both = f"{MODEL}+5/flip"
    results = make_results(tmp_path, chosen=both)
    add_member(results, 5)
    deliver.deliver(results=results, datasets=["toy"], config=CONFIG, folder=results / "deliver")
    place = results / "deliver/toy"
    tool = open_tool(place)
    (answer,) = tool.read_files([place / "golden/effusion.png"], pictures=True)
    assert answer.image is not None
    views = np.stack([answer.image, answer.image[:, ::-1]])
    members = [make_saved(seed=seed) for seed in (4, 5)]
    each = [
        predict(restore_network(saved), "tiny", views, np.arange(2), device=CPU, batch_size=2)[0] for saved in members
    ]
    np.testing.assert_allclose(to_probabilities(answer), np.mean(each, axis=(0, 1)), atol=1e-5)
    files = [results / "models" / MODEL / ".." / f"seed{seed}/val_predictions.csv" for seed in (4, 5)]
    validated = average_predictions([read_predictions(path) for path in files])
    shares = dict.fromkeys(CLASS_NAMES, 12)
    wanted = calibrate_model(validated, TRAINING["class_weights"], shares, CONFIG.deliver.answered)
    assert tool.calibration == wanted
    text = (place / "README.md").read_text()
    assert f"`{both}`, the mean of 2 networks (Tiny), of the image and of its mirror image" in text.replace("\n", " ")
    assert "epochs 7 and 7 of 9 were kept" in text.replace("\n", " ")
    metadata = json.loads((place / "metadata.json").read_text())
    assert [member["seed"] for member in metadata["members"]] == [4, 5]
    assert metadata["eval_metrics"]["n_images"] == 24


def test_without_a_choice_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = make_results(tmp_path, chosen=None)
    deliver.deliver(results=results, datasets=["toy"], config=CONFIG, folder=results / "deliver")
    assert "toy: no model is delivered. It is the fastest." in capsys.readouterr().out
    with pytest.raises(CxrflowError, match=r"holds no model; its README.md says why"):
        open_tool(results / "deliver/toy")


def test_nothing_of_the_machine_and_no_image_of_a_patient_is_in_it(made: Path) -> None:
    for path in made.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert b"secret-node" not in data
        assert str(Path(deliver.__file__).parent).encode() not in data
    assert {path.name for path in (made / "golden").glob("*.png")} == {f"{name}.png" for name in deliver.GOLDEN_SIGNS}


def test_the_metadata_has_what_monai_asks_for_and_our_intervals(made: Path) -> None:
    metadata: dict[str, Any] = json.loads((made / "metadata.json").read_text())
    assert metadata.keys() >= MONAI_KEYS
    data_format = metadata["network_data_format"]
    for tensor in [*data_format["inputs"].values(), *data_format["outputs"].values()]:
        assert tensor.keys() >= TENSOR_KEYS
    assert data_format["outputs"]["probabilities"]["channel_def"] == dict(zip("012", CLASS_NAMES, strict=True))
    assert metadata["eval_metrics"]["macro_f1"] == SCORE
    assert metadata["training"]["n_train"] == 1234
    assert "CC BY 4.0" in metadata["data_source"]


def test_the_model_card_has_valid_front_matter_and_every_score_its_interval(made: Path) -> None:
    _, front, text = (made / "README.md").read_text().split("---\n", 2)
    card = yaml.safe_load(front)
    assert (card["license"], card["license_link"]) == ("other", "LICENSE")
    (model,) = card["model-index"]
    (result,) = model["results"]
    assert result["task"]["type"] == card["pipeline_tag"] == "image-classification"
    assert result["metrics"][0] == {"type": "f1", "name": "Macro F1", "value": 0.8123}
    assert {each["type"] for each in result["metrics"]} == {"f1", "accuracy"}  # of nothing there is no value
    assert text.count("0.81 (0.70–0.90)") == 14
    assert "not a medical device" in text
    assert "calibrated on 24 validation images. On the test images their log loss is 1." in text
    assert "worse there" not in text


@pytest.mark.parametrize(("low", "is_worse"), [(0.02, True), (-0.01, False), (None, False)])
def test_the_model_card_says_where_calibration_makes_percentages_worse(low: float | None, is_worse: bool) -> None:
    loss = {"log_loss": {"value": 0.9, "low": 0.8, "high": 1.0}}
    found = {"raw": loss, "calibrated": loss, "log_loss_change": {"low": low}, "n_val_images": 100}
    assert ("They are worse there" in write_reliability(found)) == is_worse


def test_a_model_of_phantoms_says_so(tmp_path: Path) -> None:
    results = make_results(tmp_path)
    phantoms = {"phantoms": {}, "datasets": {"toy": {"reader": "kermany", "folder": "toy"}}, "study": "toy"}
    config = parse_settings(StudySettings, phantoms)
    deliver.deliver(results=results, datasets=["toy"], config=config, folder=results / "deliver")
    text = (results / "deliver/toy/README.md").read_text()
    assert "knows nothing about patients" in text
    assert "license: mit" in text
    assert "CC BY 4.0" not in text


def test_the_folder_serves_its_page_and_ctrl_c_ends_it_without_a_word(folder: Path) -> None:
    command = [sys.executable, folder / "run", "serve", "--port", "0", "--no-browser"]
    hears = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # tests that run in the background ignore it
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd="/", preexec_fn=hears) as process:
        assert process.stdout
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", process.stdout.readline())
        assert found
        page = Page(FakeTool(), int(found[1]))
        facts = dict(json.loads(page.ask("GET", "/card")[2])["facts"])
        status, answer = page.upload((folder / "golden/effusion.png").read_bytes(), "/read?pictures")
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 130
    assert (status, len(answer["probabilities"])) == (200, len(CLASS_NAMES))
    assert "0.81 (0.70–0.90) on 60 test images of 50 patients" in facts["Test score"]
    with pytest.raises(ConnectionRefusedError):
        page.ask("GET", "/")


def test_maps_are_written_into_an_empty_folder_and_no_other(folder: Path, tmp_path: Path) -> None:
    if open_tool(folder).grid is None:
        assert "has no maps" in run(folder, "read", folder / "golden", "--maps", tmp_path / "maps").stderr
        return
    read = run(folder, "read", folder / "golden", "--maps", tmp_path / "maps", lacking=LACKING)
    assert read.returncode == 0, read.stderr
    names = sorted(path.name for path in (tmp_path / "maps").iterdir())
    assert names == ["0001_consolidation.png", "0002_effusion.png", "0003_healthy.png"]
    assert cv2.imdecode(np.fromfile(tmp_path / "maps" / names[0], np.uint8), -1).shape == (512, 512, 3)
    assert "is not empty" in run(folder, "read", folder / "golden", "--maps", tmp_path / "maps").stderr


def test_without_heat_the_film_alone_is_seen() -> None:
    film = np.arange(40 * 30, dtype=np.uint8).reshape(40, 30)
    heat = np.zeros((20, 20), np.uint8)
    heat[:10] = 255
    drawn = draw_overlay(film, heat)
    assert drawn.shape == (40, 30, 3)
    assert (drawn[30:] == film[30:, :, None]).all()
    assert (drawn[:5] != film[:5, :, None]).any()
