"""The choice on validation images: every candidate with its costs, what was chosen, and what that scores on test."""

from typing import Any

from cxrflow.compare.baselines import describe_against_thumbnail
from cxrflow.compare.collect import Results
from cxrflow.compare.rows import estimate_columns, show_energy
from cxrflow.compare.scores import find_trainings, score_candidate
from cxrflow.config.layout import CandidateId
from cxrflow.config.probes import THUMBNAIL

LATENCY = ("latency_ms", "latency_ms_low", "latency_ms_high")


def candidate_rows(results: Results) -> list[dict[str, Any]]:
    """One row per candidate of the choice: validation, costs, and what it scores on the test images."""
    return [
        {
            "dataset": results.dataset_title(name),
            "candidate": results.study.candidate_title(candidate),
            "standing": "chosen" if path == choice["chosen"] else "not inferior" if row["admissible"] else "",
            **_val_columns("val_macro_f1", row),
            "difference": row["difference"],
            "difference_bound": row["difference_low"],
            **{key: row[key] for key in (*LATENCY, "gmac", "weights_mib")},
            "params_m": row["params"] / 1e6,
            "energy_j": row["energy_j"],
            "energy": show_energy(row["energy_j"]),
            **estimate_columns("macro_f1", score_candidate(results, candidate)),
            "model": path,
        }
        for name, choice in results.selection.items()
        for row in choice["candidates"]
        if find_trainings(results, candidate := CandidateId.parse(path := row["model"]))
    ]


def choice_rows(results: Results) -> list[dict[str, Any]]:
    """One row per dataset: what was chosen on validation images next to the best, and what the chosen scores on test.

    From selection.json; only datasets whose chosen model is among the named ones.
    """
    rows = []
    for name, choice in results.selection.items():
        candidate = find_chosen(results, name)
        if candidate:
            by_path = {row["model"]: row for row in choice["candidates"]}
            best, chosen = by_path[choice["best"]], by_path[choice["chosen"]]
            rows.append(
                {
                    "dataset": results.dataset_title(name),
                    "best": results.study.candidate_title(CandidateId.parse(best["model"])),
                    **_val_columns("best_val_macro_f1", best),
                    **{f"best_{key}": best[key] for key in LATENCY},
                    "chosen": results.study.candidate_title(candidate),
                    **_val_columns("val_macro_f1", chosen),
                    "difference": chosen["difference"],
                    "difference_bound": chosen["difference_low"],
                    **{key: chosen[key] for key in LATENCY},
                    **estimate_columns("macro_f1", score_candidate(results, candidate)),
                    "model": chosen["model"],
                }
            )
    return rows


def _val_columns(key: str, row: dict[str, Any]) -> dict[str, Any]:
    ends = {"": "val_macro_f1", "_low": "val_low", "_high": "val_high", "_n_patients": "val_n_patients"}
    return {f"{key}{end}": row[of] for end, of in ends.items()}


def find_chosen(results: Results, dataset: str) -> CandidateId | None:
    """Return what was chosen for a dataset; None where nothing was, or its models are not among the named ones."""
    path = results.selection[dataset]["chosen"]
    candidate = CandidateId.parse(path) if path else None
    return candidate if candidate and find_trainings(results, candidate) else None


def describe_chosen(results: Results, dataset: str) -> dict[str, Any]:
    """Return the choice for a dataset, made on validation images, with its test score, the thumbnail's and chance."""
    title, candidate = results.dataset_title(dataset), find_chosen(results, dataset)
    trainings = find_trainings(results, candidate) if candidate else []
    if not candidate or any(model.macro_f1 is None for model in trainings):
        return {"dataset": title, "estimate": None}
    estimate, metrics = score_candidate(results, candidate), trainings[0].metrics
    seeds = f", mean of {len(trainings)} seeds" if len(trainings) > len(candidate.members) else ""
    return {
        "dataset": title,
        "model": f"{results.study.candidate_title(candidate)}{seeds}",
        "estimate": estimate,
        "chance": metrics["chance_macro_f1"],
        "thumbnail": results.probes[dataset][THUMBNAIL]["macro_f1"]["value"],
        "against": describe_against_thumbnail(results, estimate, dataset),
        "n_classes": len(metrics["class_names"]),
        "n_rivals": len(results.selection[dataset]["candidates"]),
    }
