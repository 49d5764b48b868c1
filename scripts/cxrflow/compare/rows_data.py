"""Rows of Tables 1 and 2: the data that was used, and the backbones. Pure functions of the collected results."""

from typing import TYPE_CHECKING, Any

from cxrflow.config.backbones import BACKBONES

if TYPE_CHECKING:  # the Snakefile imports this module while it plans, and collect imports numpy
    from cxrflow.compare.collect import Results

REJECT_TITLES = {
    "selection": "left out by the dataset's rule",
    "unreadable": "unreadable",
    "conflict": "equal pixels, different labels",
    "cap": "over the cap per class",
}
SUBSETS = ("train", "val", "test")
PAPER_SIZE_PX = 256  # the paper's FLOPS are closest to one forward pass of 32 images of this side


def dataset_rows(results: "Results") -> list[dict[str, Any]]:
    """One row per dataset: what was kept, by subset, and how many were left out by kind of reason."""
    return [
        {
            "dataset": dataset.title,
            "n_published": dataset.n_published,
            "n_images": dataset.n_images,
            "n_patients": dataset.index["n_patients"],
            **{f"n_{subset}": sum(dataset.counts[subset].values()) for subset in SUBSETS},
            "n_test_patients": dataset.patients["test"],
            **{f"n_{kind}": sum(dataset.index["rejects"].get(kind, {}).values()) for kind in REJECT_TITLES},
            "n_listed_missing": dataset.index["listed_missing"],
            "n_duplicate_groups": dataset.index["n_duplicate_groups"],
        }
        for dataset in results.datasets.values()
    ]


def class_rows(results: "Results") -> list[dict[str, Any]]:
    """One row per dataset and class: published, kept, and by subset."""
    return [
        {
            "dataset": dataset.title,
            "class": name,
            "n_published": dataset.index["published_counts"].get(name),
            "n_images": dataset.index["counts"].get(name, 0),
            "share": dataset.index["counts"].get(name, 0) / dataset.n_images if dataset.n_images else None,
            **{f"n_{subset}": dataset.counts[subset][name] for subset in SUBSETS},
        }
        for dataset in results.datasets.values()
        for name in dataset.index["class_names"]
    ]


def reject_rows(results: "Results") -> list[dict[str, Any]]:
    """One row per dataset, kind and reason: how many images were there and are not used."""
    return [
        {"dataset": dataset.title, "kind": REJECT_TITLES.get(kind, kind), "reason": reason, "n_images": count}
        for dataset in results.datasets.values()
        for kind, reasons in dataset.index["rejects"].items()
        for reason, count in reasons.items()
    ]


def backbone_rows(results: "Results") -> list[dict[str, Any]]:
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
                "latency_ms": profile["latency_ms"]["median"],
                "latency_ms_low": profile["latency_ms"]["low"],
                "latency_ms_high": profile["latency_ms"]["high"],
                "device": profile["device_name"],
            }
        )
    return rows
