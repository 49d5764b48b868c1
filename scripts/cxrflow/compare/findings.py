"""Rows of the tables of a study of images that may have several findings, and what published figures they compare with.

The published figures are cited, not measured here, and stand in a table of their own.
"""

from typing import Any

from cxrflow.compare.collect import Results
from cxrflow.compare.rows import describe_seen, identify, score_columns
from cxrflow.data.splitting import describe_split
from cxrflow.results.findings import FINDING_METRICS

OFFICIAL_TEST, OFFICIAL_LABELS = 25_596, 14  # images of the NIH's test_list.txt, and labels of ChestX-ray14
# Mean AUROC of the 14 labels of ChestX-ray14 as their authors give it. DenseNet and ViT, 224 px all.
PUBLISHED_AUROC = (
    ("CheXNet, DenseNet-121", 0.841, "their own, not the official one", "Rajpurkar et al. 2017, arXiv:1711.05225"),
    ("EVA-X-B, ViT-B", 0.835, "the official test list", "Yao et al. 2024, arXiv:2405.05237"),
    ("Medical MAE, ViT-S", 0.823, "the official test list", "Xiao et al. 2023, WACV, arXiv:2210.12843"),
)


def model_rows(results: Results) -> list[dict[str, Any]]:
    """One row per model: its mean scores."""
    return [
        {
            **identify(results, model),
            **score_columns(model.metrics, [f"mean_{name}" for name in FINDING_METRICS]),
            "n_findings": len(model.metrics["class_names"]),
            "n_images": model.metrics["n_images"],
            "epoch_kept": model.epoch_kept,
            "caution": describe_seen(results, model),
        }
        for model in results.models
    ]


def finding_rows(results: Results) -> list[dict[str, Any]]:
    """One row per model and finding."""
    return [
        {
            "title": results.study.model_title(model.id),
            "finding": finding,
            **{key: scores[key] for key in ("support", "share")},
            **score_columns(scores, FINDING_METRICS),
        }
        for model in results.models
        for finding, scores in model.metrics["per_class"].items()
    ]


def published_rows(_results: Results) -> list[dict[str, Any]]:
    """One row per published figure."""
    return [dict(zip(("model", "mean_auroc", "split", "source"), each, strict=True)) for each in PUBLISHED_AUROC]


def say_comparable(results: Results) -> str:
    """Say of each dataset whether its scores can be held against published ones of the official test list.

    Up to 1 % of the list may be missing, such as images that cannot be read.
    """
    said = []
    for dataset in results.datasets.values():
        split, n_test = describe_split(dataset.split), sum(dataset.counts["test"].values())
        n_findings = len(results.study.settings.datasets[dataset.name].findings)
        faults = {
            "its images are synthetic": results.study.settings.phantoms is not None,
            "its split is not the official one": not split.startswith("published"),
            "too many images of the official test list are missing": n_test < 0.99 * OFFICIAL_TEST,
            f"{n_findings} of the {OFFICIAL_LABELS} labels are asked for": n_findings != OFFICIAL_LABELS,
        }
        why = "; ".join(fault for fault, is_one in faults.items() if is_one)
        verdict = (
            f"no score of Table 4 compares with these: {why}" if why else "those of the official test list compare"
        )
        said.append(f"{dataset.title} (split: {split}; test images: {n_test:,} of {OFFICIAL_TEST:,}): {verdict}.")
    return " ".join(said)
