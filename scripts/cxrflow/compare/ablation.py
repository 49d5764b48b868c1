"""What a setting is worth: every variant against the study's own settings, and what its score cost. Pure functions."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

import numpy as np

from cxrflow.compare.collect import ModelResult, Results
from cxrflow.compare.paired import Pair, ablation_pairs, adjust_rows, group_pairs, pair_columns
from cxrflow.compare.reliability import calibrate
from cxrflow.compare.rows import cost_columns, estimate_columns
from cxrflow.config.parsing import settings_dict
from cxrflow.config.variants import control_of
from cxrflow.files.formats import KINDS, count_words
from cxrflow.results.bootstrap import average_losses
from cxrflow.results.calibration import Floats, read_logits
from cxrflow.results.families import ALPHA
from cxrflow.results.reliability import log_losses

HIGHER, LOWER, UNTOLD = "higher", "lower", "cannot be told"


def ablation_rows(results: Results) -> list[dict[str, Any]]:
    """One row per dataset, backbone, init and variant: variant minus base. Those of one base are one family."""
    families: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for pairs in group_pairs(ablation_pairs(results)):
        model = pairs[0][0].id
        families.setdefault((model.dataset, model.backbone, model.init), []).append(_compare_variant(results, pairs))
    return [{**row, "verdict": _judge_variant(row)} for family in families.values() for row in adjust_rows(family)]


def _compare_variant(results: Results, pairs: list[Pair]) -> dict[str, Any]:
    variant, base = pairs[0][0], pairs[0][1]
    return {
        **pair_columns(results, pairs, "base"),
        "variant": variant.id.variant,
        "change": describe_variant(results, variant.id.variant),
        "control": control_of(results.study.settings, variant.id.variant),
        **_loss_columns(results, pairs),
        "train_seconds": _mean_seconds([first for first, _ in pairs]),
        "base_seconds": _mean_seconds([second for _, second in pairs]),
        "gmac": cost_columns(results, variant)["gmac"],
        "base_gmac": cost_columns(results, base)["gmac"],
    }


def _loss_columns(results: Results, pairs: list[Pair]) -> dict[str, Any]:
    """Return the mean log loss of calibrated probabilities on the test images, of both sides, and its difference."""
    first, second = (np.array([_measure_log_losses(results, pair[side]) for pair in pairs]) for side in (0, 1))
    score, patient_ids = results.study.settings.score, pairs[0][0].predictions.patient_ids
    difference = average_losses(first - second, patient_ids, score.bootstrap_resamples, score.bootstrap_seed)
    return {
        "log_loss_base": float(second.mean()),
        "log_loss": float(first.mean()),
        **estimate_columns("log_loss_difference", difference),
    }


def _measure_log_losses(results: Results, model: ModelResult) -> Floats:
    """Return -log p of the true class of each test image, float64 (n,), calibrated on the validation images.

    Without calibration, losses with other class weights or focal loss would not be comparable: their softmax assumes
    other prevalences.
    """
    probabilities = calibrate(results, model).calibrate(read_logits(model.predictions))
    return log_losses(probabilities, model.predictions.labels)


def _mean_seconds(models: Sequence[ModelResult]) -> float:
    return mean(float(model.training["total_seconds"]) for model in models)


def _judge_variant(row: Mapping[str, Any]) -> str:
    """Return whether a variant scores higher or lower than the base, by the corrected p value."""
    if row["p_holm"] >= ALPHA:
        return UNTOLD
    word = HIGHER if row["difference"] > 0 else LOWER
    return word if row["n_seeds"] > 1 else f"this training {word}"


def describe_ablation(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say which variants differ from the base of their dataset and backbone, and how many cannot be told from it."""
    told = [row for row in rows if row["verdict"] != UNTOLD]
    listed = [
        f"{row['variant']} scores {row['verdict'].removeprefix('this training ')} than the base"
        f" ({_write_difference(row)}; {row['dataset']}, {row['backbone']}, {row['init']})"
        for row in told
    ]
    untold = [row for row in rows if row["verdict"] == UNTOLD]
    sentences = [f"Of {count_words(len(rows), 'comparison')}, {len(untold)} cannot be told from no difference."]
    if listed:
        sentences.append(f"The others: {'; '.join(listed)}.")
    if len({row["n_seeds"] for row in rows} | {1}) == 1:
        sentences.append("Each was trained once: another training may differ as much.")
    return " ".join(sentences)


def _write_difference(row: Mapping[str, Any]) -> str:
    return KINDS["difference"].show_interval(*(row[f"difference{end}"] for end in ("", "_low", "_high")))


def describe_variant(results: Results, variant: str) -> str:
    """Return what a variant changes, for example `blur_px: 5 → 0`."""
    settings, study = results.study.settings, results.study
    pairs = [(settings.preprocess, study.preprocess_settings(variant)), (settings.train, study.train_settings(variant))]
    changes = [
        f"{key}: {_plain(old)} → {_plain(settings_dict(there)[key])}"
        for here, there in pairs
        for key, old in settings_dict(here).items()
        if settings_dict(there)[key] != old
    ]
    return ", ".join(changes) or "nothing"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.3g}" if isinstance(value, float) else f"{value}"  # a search finds numbers of 17 digits
