"""Differences between models on the same test patients: which form a pair, how much they differ, and their rows."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import mean, stdev
from typing import Any

import numpy as np

from cxrflow.compare.collect import ModelResult, Results, group_seeds
from cxrflow.compare.permutation import swap_p
from cxrflow.compare.rows import describe_seen, estimate_columns, identify
from cxrflow.compare.scores import LEAST_SEEDS, score_models
from cxrflow.config.backbones import BACKBONES
from cxrflow.config.study import BASE, SCRATCH
from cxrflow.results.bootstrap import Estimate, check_same_images, subtract_estimates
from cxrflow.results.families import adjust_holm, find_p

Pair = tuple[ModelResult, ModelResult]


def compare_pairs(results: Results, pairs: Sequence[Pair]) -> Estimate:
    """Return the mean over pairs of (first minus second) macro F1; all of one dataset, on the same resamples.

    Raises:
        CxrflowError: the models were tested on different images.
    """
    check_same_images([model.predictions for pair in pairs for model in pair])
    first, second = (score_models(results, [pair[side] for pair in pairs]) for side in (0, 1))
    return subtract_estimates(first, second)


def transfer_pairs(results: Results) -> list[Pair]:
    """Return each transferred base model with the one from scratch, of the same dataset, backbone and seed."""
    return _find_pairs([m for m in results.base_models if m.id.init != SCRATCH], results, init=SCRATCH)


def ablation_pairs(results: Results) -> list[Pair]:
    """Return each variant's model with the base model, of the same dataset, backbone, init and seed."""
    return _find_pairs([m for m in results.models if not m.is_base], results, variant=BASE)


def _find_pairs(models: Iterable[ModelResult], results: Results, **parts: Any) -> list[Pair]:
    """Return each model with the one that differs from it only by these parts of its id, where that exists."""
    return [(model, other) for model in models for other in results.select(**vars(replace(model.id, **parts)))]


def adjust_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give rows, which are one family, the p values that are corrected for all of them.

    A row's is the larger of two: the swap test's, which is of these trainings on other patients, and that at which its
    interval, which with several seeds has the trainings in it, too, would end at zero.
    """
    larger = [max(row["p"], row["p_interval"]) for row in rows]
    return [
        {**{key: value for key, value in row.items() if key != "p_interval"}, "p_holm": p}
        for row, p in zip(rows, adjust_holm(larger), strict=True)
    ]


def transfer_rows(results: Results) -> list[dict[str, Any]]:
    """One row per dataset, backbone and init: transfer minus scratch. All of them are one family."""
    return adjust_rows(
        [
            {**pair_columns(results, pairs, "scratch"), "caution": describe_seen(results, pairs[0][0])}
            for pairs in group_pairs(transfer_pairs(results))
        ]
    )


def group_pairs(pairs: list[Pair]) -> list[list[Pair]]:
    """Put the pairs together that differ only in their seed."""
    twins = {model.id: other for model, other in pairs}
    return [[(m, twins[m.id]) for m in members] for members in group_seeds(model for model, _ in pairs).values()]


def pair_columns(results: Results, pairs: list[Pair], other: str) -> dict[str, Any]:
    """Return the columns of pairs that differ only in their seed; `other` names the second of a pair."""
    model, difference = pairs[0][0], compare_pairs(results, pairs)
    return {
        "dataset": results.dataset_title(model.id.dataset),
        "backbone": BACKBONES[model.id.backbone].title,
        "init": results.study.init_title(model.id.init),
        "n_seeds": len(pairs),
        "n_patients": model.metrics["n_patients"],
        **estimate_columns("macro_f1", score_models(results, [first for first, _ in pairs])),
        **estimate_columns(f"macro_f1_{other}", score_models(results, [second for _, second in pairs])),
        **estimate_columns("difference", difference),
        "p": swap_p([(first.predictions, second.predictions) for first, second in pairs]),
        "p_interval": find_p(difference),
    }


def seed_rows(results: Results) -> list[dict[str, Any]]:
    """One row per group of models that differ only in their seed: mean and standard deviation over seeds."""
    return [
        {
            **{key: value for key, value in identify(results, members[0]).items() if key not in ("seed", "model")},
            "n_seeds": len(members),
            **estimate_columns("macro_f1_mean", score := score_models(results, members)),
            **(spread := spread_columns("macro_f1_sd", scores)),
            **share_columns("seed_share", score, [*spread.values()], len(members)),
            "macro_f1_min": min(scores),
            "macro_f1_max": max(scores),
            "epoch_kept_mean": mean(model.epoch_kept for model in members),
        }
        for members in group_seeds(results.models).values()
        if len(members) > 1
        and len(scores := [model.macro_f1 for model in members if model.macro_f1 is not None]) == len(members)
    ]


def spread_columns(key: str, values: Sequence[float]) -> dict[str, float]:
    """Return three columns: the standard deviation of normal values and its 95 % interval, by chi-square.

    values: at least two. (Sheskin 2011, Handbook of Parametric and Nonparametric Statistical Procedures, test 3.)
    """
    from scipy.special import chdtri  # here: it takes longer to import than all else, and one seed needs none

    spread, freedom = stdev(values), len(values) - 1
    low, high = (spread * float(np.sqrt(freedom / chdtri(freedom, tail))) for tail in (0.025, 0.975))
    return {key: spread, f"{key}_low": low, f"{key}_high": high}


def share_columns(key: str, score: Estimate, spread: Sequence[float], n_seeds: int) -> dict[str, float | None]:
    """Return three columns: the trainings' share of the variance of a mean over n_seeds trainings, and its interval.

    The resamples show the whole variance; SD^2 / n_seeds of it comes from the trainings, the rest from the test
    patients (random effects: Searle, Casella & McCulloch 1992, Variance Components, chapter 3). The interval is that of
    the SD. None below LEAST_SEEDS seeds, of which an SD says little, and where nothing was resampled.

    spread: the SD over trainings and its ends, as `spread_columns` gives them.
    """
    keys = (key, f"{key}_low", f"{key}_high")
    resampled = score.resampled[~np.isnan(score.resampled)]
    if n_seeds < LEAST_SEEDS or score.low is None or len(resampled) < 2:
        return dict.fromkeys(keys)
    of_seeds = [sd**2 / n_seeds for sd in spread]
    of_patients = max(0.0, float(resampled.var(ddof=1)) - of_seeds[0])
    whole = [each + of_patients for each in of_seeds]
    return {name: each / total if total else None for name, each, total in zip(keys, of_seeds, whole, strict=True)}
