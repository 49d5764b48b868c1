"""The test rows have one door, with a record of who went through; nothing that trains or chooses depends on them."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import train
from cxrflow.config.backbones import BACKBONES
from cxrflow.config.settings import PreprocessSettings, ScoreSettings, TrainSettings
from cxrflow.files.atomic import sha256_file
from cxrflow.files.openings import OPENINGS, read_openings
from cxrflow.files.records import IndexRow, RegionRow, SplitRow, read_predictions
from cxrflow.files.tables import write_records
from cxrflow.models.checkpoints import load_model, save_model
from cxrflow.select.choosing import Candidate, choose_model
from tests.models.toy import TINY, toy_images, toy_labels, toy_rows, training_files, write_packed
from tests.results.conftest import evaluate_into

SCRIPTS = Path(__file__).parents[2] / "scripts"
TREES = {path.relative_to(SCRIPTS).as_posix(): ast.parse(path.read_text()) for path in SCRIPTS.rglob("*.py")}


def who_names(name: str) -> set[str]:
    """Return the modules in whose code a name or attribute occurs."""
    return {module for module, tree in TREES.items() if name in set(find_names(tree))}


def find_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.alias):
            yield node.name
        elif isinstance(node, ast.Name | ast.FunctionDef | ast.ClassDef):
            yield node.id if isinstance(node, ast.Name) else node.name
        elif isinstance(node, ast.Attribute):
            yield node.attr


@pytest.mark.parametrize(
    ("name", "modules"),
    [
        ("open_test_rows", {"cxrflow/models/batches.py", "evaluate.py", "evaluate_findings.py", "probe.py"}),
        ("_open_subsets", {"cxrflow/models/batches.py"}),
        # The pixels of all subsets; samples shows a few images of each class, and nobody learns from the picture.
        ("open_images", {"cxrflow/data/images.py", "cxrflow/models/batches.py", "samples.py"}),
        # An opening is recorded where it happens.
        ("record_opening", {"cxrflow/files/openings.py", "cxrflow/models/batches.py"}),
        # The labels by subset: made by split, packed apart by preprocess, joined with the images. What a transfer has
        # seen is told from split.csv alone.
        (
            "SplitRow",
            {
                "cxrflow/files/records.py", "cxrflow/data/splitting.py", "cxrflow/data/images.py", "split.py",
                "cxrflow/models/batches.py", "cxrflow/data/packing.py", "cxrflow/compare/collect.py",
                "cxrflow/data/overlap.py", "lungs.py",
            },
        ),
        # Both tables together: counted by collect and for a plan.
        ("read_split", {"cxrflow/files/records.py", "cxrflow/compare/collect.py", "cxrflow/operate/estimates.py"}),
        # Saved predictions: validation's are read by select and deliver, test's by score and by the comparison.
        (
            "read_predictions",
            {
                "cxrflow/files/records.py", "cxrflow/results/ensembles.py", "score.py",
                "cxrflow/compare/collect.py",
            },
        ),
        (
            "read_candidate",
            {
                "cxrflow/results/ensembles.py", "cxrflow/select/choosing.py", "cxrflow/compare/scores.py", "deliver.py",
            },
        ),
    ],
)  # fmt: skip
def test_who_may_open_what(name: str, modules: set[str]) -> None:
    assert who_names(name) == modules


def test_the_choice_knows_no_test_result() -> None:
    for module in ("cxrflow/select/choosing.py", "select_models.py"):
        imported = [n.module or "" for n in ast.walk(TREES[module]) if isinstance(n, ast.ImportFrom)]
        assert not [name for name in imported if name.startswith("cxrflow.compare")]
        texts = [n.value for n in ast.walk(TREES[module]) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        files = [text for text in texts if text.endswith((".csv", ".json", ".npy")) and " " not in text]
        assert not files
        assert "test" not in texts  # the subset whose answers are read


LABELS = toy_labels(51)
N_TRAIN, N_VAL = 30, 12


def run_study(folder: Path, images: np.ndarray, split: list[SplitRow]) -> dict[str, Any]:
    """Train and evaluate two models, and choose between them; there are no test rows while models are trained."""
    folder.mkdir()
    write_packed(folder, images, split)
    tested = {name: (folder / name).rename(folder / f"{name}.away") for name in ("test", "test.csv")}
    index = [IndexRow(r.image_id, "", r.label, r.patient_id, "", 16, 16, "L", "", "") for r in split]
    write_records(folder / "index.csv", IndexRow, index)
    write_records(folder / "regions.csv", RegionRow, [])
    files = [training_files(folder, folder / f"seed{seed}") for seed in (0, 1)]
    for seed, given in enumerate(files):
        train.train_model(
            **given,
            model_id=f"toy/tiny/scratch/base/seed{seed}",
            preprocess=PreprocessSettings(size_px=16),
            settings=TrainSettings(epochs=2, batch_size=8, learning_rate=0.01),
            device="cpu",
            threads=1,
        )
    for name, away in tested.items():
        away.rename(folder / name)
    for given in files:
        evaluate_toy(folder, given)
    validated = [read_predictions(folder / f"seed{seed}" / "val_predictions.csv") for seed in (0, 1)]
    candidates = [Candidate(f"seed{seed}", "Tiny", [each], 1.0 + seed, 1000) for seed, each in enumerate(validated)]
    return choose_model(candidates, 0.02, ScoreSettings(bootstrap_resamples=50))


def evaluate_toy(folder: Path, files: dict[str, Path]) -> None:
    opened = {name: files[name] for name in ("images", "split", "model")}
    opened |= {"test_images": folder / "test/images.npy", "test": folder / "test.csv"}
    more = {"index": folder / "index.csv", "regions": folder / "regions.csv", "folder": folder}
    evaluate_into(files["model"].parent, **opened, **more)


def test_permuted_test_labels_and_black_test_images_change_no_model_and_no_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKBONES, "tiny", TINY)
    split, images = toy_rows(LABELS, N_TRAIN, N_VAL), toy_images(LABELS, 16)
    blinded = images.copy()
    blinded[N_TRAIN + N_VAL :] = 0
    tested = split[N_TRAIN + N_VAL :]
    labels = [row.label for row in tested]
    permuted = [
        SplitRow(row.image_id, label, row.patient_id, row.group, row.subset)
        for row, label in zip(tested, labels[1:] + labels[:1], strict=True)
    ]
    assert [row.label for row in permuted] != labels
    choice = run_study(tmp_path / "seen", images, split)
    assert run_study(tmp_path / "blind", blinded, [*split[: N_TRAIN + N_VAL], *permuted]) == choice
    for seed in ("seed0", "seed1"):
        seen, blind = tmp_path / "seen" / seed, tmp_path / "blind" / seed
        for name in ("model.pt", "val_predictions.csv"):
            assert (seen / name).read_bytes() == (blind / name).read_bytes()
        assert (seen / "predictions.csv").read_bytes() != (blind / "predictions.csv").read_bytes()


def test_a_model_that_is_edited_and_evaluated_again_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONES, "tiny", TINY)
    folder = tmp_path / "toy"
    run_study(folder, toy_images(LABELS, 16), toy_rows(LABELS, N_TRAIN, N_VAL))
    files = training_files(folder, folder / "seed0")
    evaluate_toy(folder, files)
    model = load_model(files["model"])
    next(iter(model.state_dict.values())).mul_(1.01)
    save_model(files["model"], model)
    evaluate_toy(folder, files)
    openings = read_openings(folder / OPENINGS)
    assert [opening.opener for opening in openings] == [f"toy/tiny/scratch/base/seed{seed}" for seed in (0, 1, 0, 0)]
    first, _, again, edited = (opening.opener_sha256 for opening in openings)
    assert first == again != edited == sha256_file(files["model"])
