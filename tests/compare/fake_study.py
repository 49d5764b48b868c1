"""A whole invented results tree in the stages' formats, so that tables, figures, claims and the page can be tested.

`write_fake_study(folder, FakeStudy(...))` draws predictions with a set skill per model and derives everything else.
"""

import csv
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image, ImageDraw

from cxrflow.checks.cautions_plan import plan_analysis, write_plan
from cxrflow.checks.registry import judge_checks, list_verdicts
from cxrflow.checks.verdicts import Verdict
from cxrflow.compare.collect import Results, collect_results
from cxrflow.config.layout import Layout
from cxrflow.config.parsing import parse_settings
from cxrflow.config.probes import PROBES
from cxrflow.config.settings import StudySettings
from cxrflow.config.study import ModelId, Study
from cxrflow.files.atomic import sha256_bytes, write_json
from cxrflow.files.openings import record_opening
from cxrflow.files.records import (
    CopyRow,
    EpochRow,
    GroupRow,
    IndexRow,
    LocalizationRow,
    Predictions,
    SplitRow,
    write_predictions,
)
from cxrflow.files.tables import write_records
from cxrflow.results.scoring import score_predictions
from cxrflow.select.choosing import select_models

PARAMS = {"mobilenet_v3_large": 5_483_032, "efficientnet_b1": 7_794_184, "resnet34": 21_797_672}
GMAC = {"mobilenet_v3_large": 0.283, "efficientnet_b1": 0.744, "resnet34": 4.786}
LATENCY_MS = {"mobilenet_v3_large": 14.2, "efficientnet_b1": 31.7, "resnet34": 38.9}
DATASETS: dict[str, dict[str, Any]] = {
    "covid": {
        "reader": "covid_radiography",
        "title": "COVID-19 Radiography",
        "citation": "Chowdhury et al. 2020, IEEE Access 8:132665",
        "counts": {"COVID": 3616, "Normal": 10192, "Viral Pneumonia": 1345},
        "skill": 0.93,
    },
    "pneumonia": {
        "reader": "kermany",
        "title": "Paediatric pneumonia",
        "citation": "Kermany, Zhang, Goldbaum 2018, doi:10.17632/rscbjbr9sj",
        "counts": {"bacterial": 2780, "normal": 1583, "viral": 1493},
        "skill": 0.8,
    },
    "xray8": {
        "reader": "nih",
        "title": "ChestX-ray8",
        "citation": "Wang et al. 2017, CVPR",
        "counts": {
            "Atelectasis": 5316, "Effusion": 5623, "Infiltration": 11622, "Mass": 2630, "No Finding": 24907,
            "Nodule": 3187, "Pneumothorax": 2752,
        },
        "skill": 0.45,
    },
}  # fmt: skip
TRANSFER = {name: {"init": "imagenet", "backbone": "resnet34"} for name in DATASETS}
ONE_MODEL: dict[str, Any] = {
    "datasets": {"covid": {"reader": "covid_radiography", "folder": "covid", "title": "COVID-19 Radiography"}},
    "backbones": ["resnet34"],
    "transfer": {},
}


@dataclass
class FakeStudy:
    """What to invent.

    Attributes:
        config: replaces keys of the study's config.
        share: images per published image.
        least: images of a class at least; a seventh of its patients, of two images each, is in the test subset.
        skill: share of test images that a model gets right, by model; the dataset's own where it gives None.
        val_skill: the same for the validation images; as `skill` where it is None.
        probe_skill: share of test images that the classifiers without a network get right.
        history: rows by model; typical ones where it gives None.
        edit_metrics: changes a model's metrics.json before it is written.
        regions: whether lesions are annotated.
        pictures: size in pixels of the pictures of data and models, which only the page needs; None writes none.
    """

    config: dict[str, Any] = field(default_factory=dict)
    share: float = 0.02
    least: int = 160  # a seventh of 80 patients: enough for an interval
    skill: Callable[[ModelId], float | None] = lambda model: None
    val_skill: Callable[[ModelId], float | None] | None = None
    probe_skill: float = 0.5
    history: Callable[[ModelId], list[EpochRow] | None] = lambda model: None
    edit_metrics: Callable[[ModelId, dict[str, Any]], None] = lambda model, metrics: None
    regions: bool = True
    pictures: tuple[int, int] | None = None


def fake_config(**changes: Any) -> dict[str, Any]:
    """Return the config of a study of three datasets, three backbones and one transfer each."""
    datasets = {
        name: {"reader": d["reader"], "folder": name, "title": d["title"], "citation": d["citation"]}
        for name, d in DATASETS.items()
    }
    config = {
        "study": "fake",
        "datasets": datasets,
        "transfer": TRANSFER,
        "train": {"epochs": 30, "restart_epochs": 10},
        "score": {"bootstrap_resamples": 200},
        "variants": {
            "no_preprocessing": {"preprocess": {"equalize": False, "blur_px": 0}},
            "no_class_weights": {"train": {"class_weights": False}},
        },
    }
    return {**config, **changes}


@patch.object(os, "fsync", lambda descriptor: None)  # thousands of files, of which none needs to survive a power cut
def write_fake_study(folder: Path, fake: FakeStudy | None = None) -> tuple[Study, list[str]]:
    """Write data/, models/, backbones/ and selection.json of a study into `folder`; return it and its models' paths."""
    fake = fake or FakeStudy()
    study = Study(parse_settings(StudySettings, fake_config(**fake.config), "config"))
    write_plan(folder / "analysis_plan.json", plan_analysis(study.settings))
    write_records(folder / "data" / "groups.csv", GroupRow, [])
    write_records(folder / "data" / "copies.csv", CopyRow, [])
    for name in study.settings.datasets:
        write_dataset(folder / "data" / name, name, study, fake)
        write_probes(folder / "probes" / name, name, folder, fake)
    for backbone in {model.backbone for model in study.models()}:
        write_json(folder / "backbones" / f"{backbone}.json", fake_profile(backbone, study.settings.preprocess.size_px))
    for model in study.models():
        write_model_files(folder / "models" / model.path, model, study, fake)
    write_json(folder / "selection.json", select_models(study, Layout(folder), study.models()))
    return study, [model.path for model in study.models()]


def write_probes(folder: Path, dataset: str, results: Path, fake: FakeStudy) -> None:
    """Write the predictions and scores of classifiers without a network, all as good as the study says."""
    model = ModelId(dataset, "resnet34", seed=99)
    predictions = fake_predictions(results, model, replace(fake, skill=lambda model: fake.probe_skill))
    folder.mkdir(parents=True, exist_ok=True)
    first, *others = (folder / f"{probe}.csv" for probe in PROBES)
    write_predictions(first, predictions)
    for other in others:
        shutil.copy(first, other)
    write_json(folder / "probes.json", dict.fromkeys(PROBES, score_predictions(predictions, 200, 0)))


def collect_fake(folder: Path, fake: FakeStudy | None = None) -> Results:
    """Write a fake study and read it back."""
    study, paths = write_fake_study(folder, fake)
    return collect_results(folder, study, paths)


def class_counts(name: str, fake: FakeStudy) -> dict[str, int]:
    """Return images kept per class."""
    counts = DATASETS[name if name in DATASETS else "covid"]["counts"]
    return {label: max(fake.least, round(count * fake.share)) for label, count in counts.items()}


def write_dataset(folder: Path, name: str, study: Study, fake: FakeStudy) -> None:
    """Write index.json, split.csv, test.csv and the two pictures of a dataset."""
    counts = class_counts(name, fake)
    labels = [label for label, count in counts.items() for _ in range(count)]
    subsets = ["train", "train", "train", "train", "train", "val", "test"]
    rows = [
        SplitRow(f"{name}-{i}", label, f"patient{i // 2}", f"patient{i // 2}", subsets[(i // 2) % len(subsets)])
        for i, label in enumerate(labels)
    ]
    write_records(folder / "split.csv", SplitRow, [row for row in rows if row.subset != "test"])
    write_records(folder / "test.csv", SplitRow, [row for row in rows if row.subset == "test"])
    write_records(folder / "index.csv", IndexRow, [fake_image(row) for row in rows])
    write_json(
        folder / "index.json",
        {
            "dataset": name,
            "title": study.dataset_title(name),
            "reader": study.settings.datasets[name].reader,
            "class_names": sorted(counts),
            "counts": counts,
            "n_patients": len({row.patient_id for row in rows}),
            "rejects": {
                "selection": {"two findings": 31, "not the first image": 12},
                "unreadable": {"truncated file": 2},
            },
            "listed_missing": 7,
            "notes": ["12 image files lie where this layout has none"],
            "n_duplicate_groups": 3,
            "citation": study.settings.datasets[name].citation,
        },
    )
    for recipe in study.recipes():
        for picture in ("samples", "before_after"):
            write_picture(folder / recipe / f"{picture}.png", f"{name} {picture}", fake.pictures)


def fake_image(row: SplitRow) -> IndexRow:
    """Return the row of index.csv of an image that no other dataset has."""
    path = f"{row.label}/{row.image_id}.png"
    return IndexRow(row.image_id, path, row.label, row.patient_id, "", 64, 64, "L", row.image_id, row.image_id)


def fake_profile(backbone: str, size_px: int) -> dict[str, Any]:
    """Return backbones/<backbone>.json."""
    latency = LATENCY_MS[backbone]
    return {
        "backbone": backbone,
        "params": PARAMS[backbone],
        "gmac": GMAC[backbone] * (size_px / 256) ** 2,
        "size_px": size_px,
        "batch": 32,
        "gmac_batch": 32 * GMAC[backbone] * (size_px / 256) ** 2,
        "layers": 40,
        "latency_ms": {
            form: {"median": times * latency, "low": times * latency * 0.95, "high": times * latency * 1.2}
            for n in range(1, 6)
            for form, times in ((f"{n}", n), (f"{n}/flip", 2 * n))
        },
        "weights_mib": PARAMS[backbone] * 4 / 2**20,
        "inference": {"images_per_s": 100.0, "energy_j": None},
        "cpu": "an invented CPU",
        "tool": "torch.utils.flop_counter",
    }


def write_model_files(folder: Path, model: ModelId, study: Study, fake: FakeStudy) -> None:
    """Write every file of one model that summarize and report read."""
    history = fake.history(model) or fake_history(model, study)
    kept = min(history, key=lambda row: row.val_loss)
    predictions = fake_predictions(folder.parents[5], model, fake)
    write_records(folder / "history.csv", EpochRow, history)
    write_predictions(folder / "predictions.csv", predictions)
    write_predictions(folder / "val_predictions.csv", fake_predictions(folder.parents[5], model, fake, "val"))
    for subset, name in (("val", "val_mirrored.csv"), ("test", "mirrored.csv")):  # as sure as a guess, but right
        found = fake_predictions(folder.parents[5], model, fake, subset)
        right = np.eye(len(found.class_names))[found.labels]
        write_predictions(folder / name, replace(found, probabilities=0.9 * found.probabilities + 0.1 * right))
    write_json(folder / "training.json", fake_training(model, study, kept, len(history)))
    score = study.settings.score
    metrics = score_predictions(predictions, score.bootstrap_resamples, score.bootstrap_seed)
    fake.edit_metrics(model, metrics)
    record_opening(Layout(folder.parents[5]).test(model.dataset), model.path, sha256_bytes(model.path.encode()))
    write_json(folder / "metrics.json", metrics)
    localizations = fake_localizations(predictions, fake)
    write_records(folder / "gradcam.csv", LocalizationRow, localizations)
    maps = {"layer": "layer1", "grid": [12, 12], "method": "LayerCAM", "is_scored": True, "n_empty_maps": 0}
    write_json(folder / "gradcam.json", {**maps, "n_scored": len(localizations)})
    for picture in ("confusion", "tsne", "gradcam"):
        write_picture(folder / f"{picture}.png", f"{picture}\n{model.path}", fake.pictures)


def fake_history(model: ModelId, study: Study) -> list[EpochRow]:
    """Return a history with restarts, in which larger backbones overfit earlier."""
    settings = study.train_settings(model.variant)
    rng = np.random.default_rng(list(model.path.encode()))
    onset = {"mobilenet_v3_large": 26, "efficientnet_b1": 19, "resnet34": 9}[model.backbone]
    level = 1.2 - DATASETS.get(model.dataset, {"skill": 0.8})["skill"]
    rows = []
    for epoch in range(1, settings.epochs + 1):
        phase = (epoch - 1) % settings.restart_epochs
        bump = 0.12 * np.exp(-phase / 1.5) * (epoch > settings.restart_epochs)
        train = level * (0.4 + 1.6 * np.exp(-epoch / 8)) + bump + rng.normal(0, 0.01)
        rise = 0.8 + 1.2 * np.exp(-epoch / 6) + 0.03 * max(0, epoch - onset)
        val = level * rise + bump + rng.normal(0, 0.012)
        rows.append(
            EpochRow(
                epoch=epoch,
                learning_rate=0.5e-3 * (1 + np.cos(np.pi * phase / settings.restart_epochs)),
                train_loss=float(max(train, 0.01)),
                train_macro_f1=float(np.clip(1 - train / 2, 0, 0.99)),
                val_loss=float(max(val, 0.02)),
                val_macro_f1=float(np.clip(1 - val / 1.8, 0.05, 0.99)),
                seconds=float(8 + GMAC[model.backbone] * 4 + rng.normal(0, 0.2)),
                images_per_s=float(300 / (1 + GMAC[model.backbone])),
            )
        )
    return rows


def fake_predictions(results: Path, model: ModelId, fake: FakeStudy, subset: str = "test") -> Predictions:
    """Return predictions of a subset of the dataset, of which a share as large as the model's skill is right."""
    table = results / "data" / model.dataset / ("test.csv" if subset == "test" else "split.csv")
    with table.open(encoding="utf-8") as handle:
        rows = [row for row in csv.DictReader(handle) if row["subset"] == subset]
    names = sorted({row["label"] for row in rows})
    labels = np.array([names.index(row["label"]) for row in rows], dtype=np.int64)
    skill = (fake.val_skill if subset == "val" and fake.val_skill else fake.skill)(model)
    if skill is None:
        skill = DATASETS.get(model.dataset, {"skill": 0.8})["skill"]
        skill += {"mobilenet_v3_large": -0.03, "efficientnet_b1": 0.0, "resnet34": 0.02}[model.backbone]
        skill += 0.04 * (model.init != "scratch") - 0.05 * (model.variant != "base")
    # The same images are hard for every model, as in life.
    rng = np.random.default_rng([model.seed, 7] if subset == "test" else [model.seed, 7, 1])
    hardness, other = rng.random(len(labels)), rng.integers(1, len(names), len(labels))
    guess = np.where(hardness < skill, labels, (labels + other) % len(names))
    probabilities = np.full((len(labels), len(names)), 0.3 / (len(names) - 1))
    probabilities[np.arange(len(labels)), guess] = 0.7
    ids = [row["image_id"] for row in rows]
    return Predictions(ids, [row["patient_id"] for row in rows], labels, probabilities, names)


def fake_training(model: ModelId, study: Study, kept: EpochRow, epochs: int) -> dict[str, Any]:
    """Return training.json."""
    return {
        **{part: getattr(model, part) for part in ("dataset", "backbone", "init", "variant", "seed")},
        "class_names": sorted(DATASETS.get(model.dataset, DATASETS["covid"])["counts"]),
        "n_train": 700,
        "n_val": 150,
        "class_weights": dict.fromkeys(DATASETS.get(model.dataset, DATASETS["covid"])["counts"], 1.0),
        "epoch_kept": kept.epoch,
        "val_loss": kept.val_loss,
        "epochs": epochs,
        "settings": asdict(study.train_settings(model.variant)),
        "device": "cpu",
        "device_name": "an invented CPU",
        "host": "node01",
        "threads": 2,
        "versions": {"python": "3.11.9", "torch": "2.14.1", "torchvision": "0.29.1"},
        "total_seconds": 400.0,
    }


def fake_localizations(predictions: Predictions, fake: FakeStudy) -> list[LocalizationRow]:
    """Return gradcam.csv: maps that point at every second lesion, where random ones hit one in ten."""
    names = predictions.class_names
    each = zip(predictions.image_ids, predictions.patient_ids, predictions.labels, predictions.predicted, strict=True)
    return [
        LocalizationRow(
            image_id, patient_id, names[label], names[predicted], "lesion",
            inside_share=0.2 + 0.1 * (place % 3), inside_share_random=0.09, inside_share_fixed=0.18,
            inside_share_uniform=0.09, hit=place % 2, hit_random=0.1, hit_fixed=0.2, empty_map=0,
        )
        for place, (image_id, patient_id, label, predicted) in enumerate(each)
        if fake.regions and place % 4
    ]  # fmt: skip


def write_picture(path: Path, text: str, size: tuple[int, int] | None) -> None:
    """Write a gray PNG with its name on it, if pictures are wanted."""
    if size is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, (70, 80, 90))
    ImageDraw.Draw(image).text((4, 4), text, fill=(255, 255, 255))
    image.save(path)


def write_verdicts(results: Results) -> None:
    """Run every check on a study and write its verdict."""
    for name in list_verdicts():
        write_json(results.layout.check(name), judge_checks(name, results))


def all_said(verdict: Verdict) -> str:
    """Return a verdict's answer and its details."""
    return " ".join((verdict.text, *verdict.details))
