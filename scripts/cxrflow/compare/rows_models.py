"""Rows of the model tables: the comparison, seeds, classes, explanations. Pure functions of the collected results."""

from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from cxrflow.config.backbones import BACKBONES

if TYPE_CHECKING:  # the Snakefile imports this module while it plans, and collect imports numpy
    from cxrflow.compare.collect import ModelResult, Results

SEEN = "may have seen test images"
REGION_TITLES = {"lesion": "lesions", "lungs": "lungs"}


def identify(results: "Results", model: "ModelResult") -> dict[str, Any]:
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
    """Return three columns, value and interval, for every metric of METRICS of the one kind or the other.

    scores: of metrics.json as a whole, or of one class there.
    """
    from cxrflow.results.metrics import METRICS

    names = [name for name, metric in METRICS.items() if metric.per_class == per_class]
    ends = {"": "value", "_low": "low", "_high": "high"}
    return {f"{name}{end}": scores[name][key] for name in names for end, key in ends.items()}


def model_rows(results: "Results") -> list[dict[str, Any]]:
    """One row per model: what it scores on the test images and what it costs."""
    from cxrflow.compare.collect import may_have_seen_test

    return [
        {
            **identify(results, model),
            **metric_columns(model.metrics, per_class=False),
            "chance_macro_f1": model.metrics["chance_macro_f1"],
            "val_loss": model.training["val_loss"],
            "epoch_kept": model.epoch_kept,
            "epochs": len(model.history),
            "epoch_seconds": model.epoch_seconds,
            "images_per_s": model.images_per_s,
            **cost_columns(results, model),
            "caution": SEEN if may_have_seen_test(results, model) else "",
        }
        for model in results.models
    ]


def cost_columns(results: "Results", model: "ModelResult") -> dict[str, Any]:
    """Return the cost of a model's backbone; GMAC and latency only where it was profiled at this image size."""
    profile = results.profiles[model.id.backbone]
    same = results.same_size(model)
    return {
        "params_m": profile["params"] / 1e6,
        "gmac": profile["gmac"] if same else None,
        "latency_ms": profile["latency_ms"]["median"] if same else None,
    }


def seed_rows(results: "Results") -> list[dict[str, Any]]:
    """One row per group of models that differ only in their seed: mean and standard deviation over seeds."""
    from cxrflow.compare.collect import group_seeds

    rows = []
    for members in group_seeds(results.models).values():
        scores = [model.macro_f1 for model in members if model.macro_f1 is not None]
        if len(members) > 1:
            columns = identify(results, members[0])
            rows.append(
                {
                    **{key: columns[key] for key in ("dataset", "backbone", "init", "variant")},
                    "n_seeds": len(members),
                    "macro_f1_mean": mean(scores) if scores else None,
                    "macro_f1_sd": stdev(scores) if len(scores) > 1 else None,
                    "macro_f1_min": min(scores, default=None),
                    "macro_f1_max": max(scores, default=None),
                    "epoch_kept_mean": mean(model.epoch_kept for model in members),
                }
            )
    return rows


def per_class_rows(results: "Results") -> list[dict[str, Any]]:
    """One row per model and class."""
    return [
        {
            **identify(results, model),
            "class": name,
            "support": scores["support"],
            **metric_columns(scores, per_class=True),
        }
        for model in results.models
        for name, scores in model.metrics["per_class"].items()
    ]


def explanation_rows(results: "Results") -> list[dict[str, Any]]:
    """One row per model and kind of annotated region: where Grad-CAM falls, next to baselines that know nothing."""
    keys = (
        "inside_share",
        "inside_share_centred",
        "inside_share_uniform",
        "pointing_hit_rate",
        "pointing_hit_rate_centred",
    )
    return [
        {
            **identify(results, model),
            "region": REGION_TITLES.get(kind, kind),
            "n_images": scores["n_images"],
            **{key: scores.get(key) for key in keys},
        }
        for model in results.models
        for kind, scores in (model.gradcam.get("regions") or {}).items()
        if scores and scores["n_images"]
    ]
