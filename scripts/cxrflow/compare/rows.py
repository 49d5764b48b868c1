"""Rows of the tables on data, backbones and single models, and the page's first sentences. Pure functions."""

from collections.abc import Iterable
from typing import Any

from cxrflow.compare.collect import ModelResult, Results
from cxrflow.config.backbones import BACKBONES
from cxrflow.config.study import SCRATCH
from cxrflow.data.splitting import describe_split
from cxrflow.files.formats import KINDS, count_words, join_words
from cxrflow.files.records import SUBSETS
from cxrflow.files.timings import describe_times
from cxrflow.results.bootstrap import Estimate
from cxrflow.results.metrics import METRICS

REJECT_TITLES = {
    "selection": "left out by the dataset's rule",
    "unreadable": "unreadable",
    "conflict": "equal pixels, different labels",
    "cap": "over the cap per class",
}
PAPER_SIZE_PX = 256  # the paper's FLOPS are closest to one forward pass of 32 images of this side
SEEN = "may have seen test images"


def dataset_rows(results: Results) -> list[dict[str, Any]]:
    """One row per dataset: what was kept, by subset, and how many were left out by kind of reason."""
    return [
        {
            "dataset": dataset.title,
            "n_published": dataset.n_published,
            "n_images": dataset.n_images,
            "n_patients": dataset.index["n_patients"],
            "split": describe_split(dataset.split),
            **{f"n_{subset}": sum(dataset.counts[subset].values()) for subset in SUBSETS},
            "n_test_patients": dataset.patients["test"],
            **{f"n_{kind}": sum(dataset.index["rejects"].get(kind, {}).values()) for kind in REJECT_TITLES},
            "n_listed_missing": dataset.index["listed_missing"],
            "n_duplicate_groups": dataset.index["n_duplicate_groups"],
        }
        for dataset in results.datasets.values()
    ]


def class_rows(results: Results) -> list[dict[str, Any]]:
    """One row per dataset and class: published, kept, and by subset."""
    return [
        {
            "dataset": dataset.title,
            "class": name,
            "n_published": dataset.published.get(name),
            "n_images": dataset.index["counts"].get(name, 0),
            "share": dataset.index["counts"].get(name, 0) / dataset.n_images if dataset.n_images else None,
            **{f"n_{subset}": dataset.counts[subset][name] for subset in SUBSETS},
            "n_test_patients": dataset.class_patients["test"][name],
        }
        for dataset in results.datasets.values()
        for name in dataset.index["class_names"]
    ]


def reject_rows(results: Results) -> list[dict[str, Any]]:
    """One row per dataset, kind and reason: how many images were there and are not used."""
    return [
        {"dataset": dataset.title, "kind": REJECT_TITLES.get(kind, kind), "reason": reason, "n_images": count}
        for dataset in results.datasets.values()
        for kind, reasons in dataset.index["rejects"].items()
        for reason, count in reasons.items()
    ]


def note_rows(results: Results) -> list[dict[str, Any]]:
    """One row per dataset and note of its index: what was chosen, passed over or joined."""
    return [
        {"dataset": dataset.title, "note": note}
        for dataset in results.datasets.values()
        for note in dataset.index["notes"]
    ]


def backbone_rows(results: Results) -> list[dict[str, Any]]:
    """One row per backbone: measured here, next to the paper's figures."""
    rows = []
    for name, profile in results.profiles.items():
        backbone, paper = BACKBONES[name], BACKBONES[name].paper
        rows.append(
            {
                "backbone": backbone.title,
                "params_m": profile["params"] / 1e6,
                "paper_params_m": paper.params_m if paper else None,
                "layers": profile["layers"],
                "paper_layers": paper.layers if paper else None,
                "size_px": profile["size_px"],
                "gmac": profile["gmac"],
                "gmac_batch": profile["gmac_batch"] if profile["size_px"] == PAPER_SIZE_PX else None,
                "paper_gflops": paper.gflops if paper else None,
                "imagenet_top5": backbone.imagenet.top5 if backbone.imagenet else None,
                **timing_columns("latency_ms", profile["latency_ms"]["1"]),
                "device": profile["cpu"],
                "energy": show_energy(profile["inference"]["energy_j"]),
            }
        )
    return rows


def show_energy(joules: float | None) -> str:
    """Return the energy of one image in words."""
    return "not readable" if joules is None else KINDS["amount"].show(joules)


def identify(results: Results, model: ModelResult) -> dict[str, Any]:
    """Return the columns that say which model a row is about, in words; `model` is its path."""
    return {
        "dataset": results.dataset_title(model.id.dataset),
        "backbone": BACKBONES[model.id.backbone].title,
        "init": results.study.init_title(model.id.init),
        "variant": model.id.variant,
        "seed": model.id.seed,
        "model": model.id.path,
    }


def metric_columns(scores: dict[str, Any], *, per_class: bool) -> dict[str, Any]:
    """Return four columns, value, interval and patients, for every metric of METRICS of the one kind or the other.

    scores: of metrics.json as a whole, or of one class there.
    """
    return score_columns(scores, [name for name, metric in METRICS.items() if metric.per_class == per_class])


def score_columns(scores: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return the same four columns for the scores of these names."""
    ends = {"": "value", "_low": "low", "_high": "high", "_n_patients": "n_patients"}
    return {f"{name}{end}": scores[name][key] for name in names for end, key in ends.items()}


def model_rows(results: Results, models: Iterable[ModelResult] | None = None) -> list[dict[str, Any]]:
    """One row per model, all of them where none are given: what it scores on the test images and what it costs."""
    return [
        {
            **identify(results, model),
            **metric_columns(model.metrics, per_class=False),
            "chance_macro_f1": model.metrics["chance_macro_f1"],
            "val_loss": model.training["val_loss"],
            "epoch_kept": model.epoch_kept,
            "epochs": len(model.history),
            **timing_columns("epoch_seconds", describe_times([row.seconds for row in model.history])),
            **timing_columns("images_per_s", describe_times([row.images_per_s for row in model.history])),
            **cost_columns(results, model),
            "caution": describe_seen(results, model),
        }
        for model in (results.models if models is None else models)
    ]


def describe_seen(results: Results, model: ModelResult) -> str:
    """Return whether a model has seen test images in the training it starts from, in words; empty: not as is known."""
    if n_seen := results.seen_test.count(model.id):
        return f"has seen {n_seen:,} of {model.metrics['n_images']:,} test images"
    return SEEN if results.study.may_have_seen_test(model.id) else ""


def cost_columns(results: Results, model: ModelResult) -> dict[str, Any]:
    """Return the cost of a model's backbone; GMAC and latency only where it was profiled at this image size."""
    profile = results.profiles[model.id.backbone]
    same = profile["size_px"] == results.study.preprocess_settings(model.id.variant).size_px
    return {
        "params_m": profile["params"] / 1e6,
        "gmac": profile["gmac"] if same else None,
        **timing_columns("latency_ms", profile["latency_ms"]["1"] if same else None),
    }


def estimate_columns(key: str, estimate: Estimate) -> dict[str, Any]:
    """Return four columns: value, interval and the patients of the smallest class."""
    return {
        key: estimate.value,
        f"{key}_low": estimate.low,
        f"{key}_high": estimate.high,
        f"{key}_n_patients": estimate.n_patients,
    }


def timing_columns(key: str, timing: dict[str, float | None] | None) -> dict[str, float | None]:
    """Return three columns, median and interval."""
    ends = {"": "median", "_low": "low", "_high": "high"}
    return {f"{key}{end}": timing[of] if timing else None for end, of in ends.items()}


def per_class_rows(results: Results) -> list[dict[str, Any]]:
    """One row per model and class."""
    return [
        {
            **identify(results, model),
            "class": name,
            "support": scores["support"],
            "n_patients": scores["n_patients"],
            **metric_columns(scores, per_class=True),
        }
        for model in results.models
        for name, scores in model.metrics["per_class"].items()
    ]


def describe_study(results: Results) -> str:
    """Return one sentence: how many models of what."""
    base = results.base_models
    scratch = [model for model in base if model.id.init == SCRATCH]
    counts = {
        "from scratch": len(scratch),
        "by transfer": len(base) - len(scratch),
        "as variants of the settings": len(results.models) - len(base),
    }
    parts = join_words([f"{count} {how}" for how, count in counts.items() if count])
    missing = f" {count_words(len(results.missing), 'model')} of the study missing: see the cautions." * bool(
        results.missing
    )
    return (
        f"{count_words(len(results.models), 'model')}: {count_words(len(results.profiles), 'backbone')} on"
        f" {count_words(len(results.datasets), 'dataset')}; {parts}.{missing}"
    )
