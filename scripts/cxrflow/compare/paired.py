"""Differences between models on the same test patients: which form a pair, how much they differ, and their rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from statistics import mean, stdev
from typing import Any

import numpy as np

from cxrflow.compare.baselines import describe_against_thumbnail
from cxrflow.compare.collect import ModelResult, Results, group_seeds
from cxrflow.compare.permutation import adjust_holm, swap_p
from cxrflow.compare.rows import describe_seen, estimate_columns, identify, timing_columns
from cxrflow.config.backbones import BACKBONES
from cxrflow.config.parsing import settings_dict
from cxrflow.config.probes import THUMBNAIL
from cxrflow.config.study import BASE, SCRATCH, ModelId
from cxrflow.results.bootstrap import LEVEL, Estimate, check_same_images, mean_macro_f1, subtract_estimates

Pair = tuple[ModelResult, ModelResult]
ALPHA = 0.05  # of a family of tests together
DETECTABLE = 2.8  # standard errors


def score_models(results: Results, models: Sequence[ModelResult], level: float = LEVEL) -> Estimate:
    """Return the mean macro F1 of models of one dataset on its test images, those of different seeds as one."""
    score = results.study.settings.score
    procedures = [[model.predictions for model in trainings] for trainings in group_seeds(models).values()]
    return mean_macro_f1(procedures, score.bootstrap_resamples, score.bootstrap_seed, level)


def compare_pairs(results: Results, pairs: Sequence[Pair], level: float = LEVEL) -> Estimate:
    """Return the mean over pairs of (first minus second) macro F1; all of one dataset, on the same resamples.

    Raises:
        CxrflowError: the models were tested on different images.
    """
    check_same_images([model.predictions for pair in pairs for model in pair])
    first, second = (score_models(results, [pair[side] for pair in pairs], level) for side in (0, 1))
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


def backbone_rows(results: Results) -> list[dict[str, Any]]:
    """One row per dataset and pair of backbones, both from scratch: which scores higher. A dataset is a family."""
    rows: list[dict[str, Any]] = []
    for dataset in results.datasets:
        scratch = results.select(results.base_models, dataset=dataset, init=SCRATCH)
        families = [_find_twins(results, scratch, *two) for two in combinations(results.backbones, 2)]
        rows += _adjust(
            [
                {
                    **_pair_columns(results, pairs, "other"),
                    "other": BACKBONES[pairs[0][1].id.backbone].title,
                    "detectable": find_detectable(compare_pairs(results, pairs)),
                }
                for pairs in families
                if pairs
            ]
        )
    return [{**row, "verdict": _judge_pair(row)} for row in rows]


def _find_twins(results: Results, models: Sequence[ModelResult], one: str, other: str) -> list[Pair]:
    """Return the models of one backbone, each with that of the other and of the same seed, where there is one."""
    firsts = results.select(models, backbone=one)
    return [(m, twin) for m in firsts for twin in results.select(models, backbone=other, seed=m.id.seed)]


def _judge_pair(row: Mapping[str, Any]) -> str:
    """Return which of two backbones scores higher, by the corrected p value and by the interval, or that none does."""
    low, high = row["difference_low"], row["difference_high"]
    if low is None or high is None or row["p_holm"] >= ALPHA or low <= 0 <= high:
        return "cannot be told"
    higher = row["backbone"] if low > 0 else row["other"]
    return f"{higher} is higher" if row["n_seeds"] > 1 else f"this training of {higher} is higher"


def find_detectable(difference: Estimate) -> float | None:
    """Return the least true difference that such a test sees in 80 of 100 studies: 2.8 standard errors.

    1.96 for a two-sided test at 5 %, and 0.84 for a power of 80 % (Cohen 1988, Statistical Power Analysis).
    """
    defined = difference.resampled[~np.isnan(difference.resampled)]
    return float(DETECTABLE * defined.std(ddof=1)) if difference.low is not None and len(defined) > 1 else None


def _adjust(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add the p values that are corrected for all rows, which are one family."""
    return [{**row, "p_holm": p} for row, p in zip(rows, adjust_holm([row["p"] for row in rows]), strict=True)]


def transfer_rows(results: Results) -> list[dict[str, Any]]:
    """One row per dataset, backbone and init: transfer minus scratch. All of them are one family."""
    return _adjust(
        [
            {**_pair_columns(results, pairs, "scratch"), "caution": describe_seen(results, pairs[0][0])}
            for pairs in _group_pairs(transfer_pairs(results))
        ]
    )


def ablation_rows(results: Results) -> list[dict[str, Any]]:
    """One row per dataset, backbone, init and variant: variant minus base. All of them are one family."""
    return _adjust(
        [
            {
                **_pair_columns(results, pairs, "base"),
                "variant": pairs[0][0].id.variant,
                "change": describe_variant(results, pairs[0][0].id.variant),
            }
            for pairs in _group_pairs(ablation_pairs(results))
        ]
    )


def _group_pairs(pairs: list[Pair]) -> list[list[Pair]]:
    """Put the pairs together that differ only in their seed."""
    twins = {model.id: other for model, other in pairs}
    return [[(m, twins[m.id]) for m in members] for members in group_seeds(model for model, _ in pairs).values()]


def _pair_columns(results: Results, pairs: list[Pair], other: str) -> dict[str, Any]:
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
    }


def seed_rows(results: Results) -> list[dict[str, Any]]:
    """One row per group of models that differ only in their seed: mean and standard deviation over seeds."""
    return [
        {
            **{key: value for key, value in identify(results, members[0]).items() if key not in ("seed", "model")},
            "n_seeds": len(members),
            **estimate_columns("macro_f1_mean", score_models(results, members)),
            **spread_columns("macro_f1_sd", scores),
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


def choice_rows(results: Results) -> list[dict[str, Any]]:
    """One row per dataset: the model chosen on validation images next to the best, and what the chosen scores on test.

    From selection.json; only datasets whose chosen model is among the named ones.
    """
    groups = group_seeds(results.base_models)
    rows = []
    for name, choice in results.selection.items():
        if choice["chosen"] and (members := groups.get(ModelId.parse(choice["chosen"]))):
            by_path = {candidate["model"]: candidate for candidate in choice["candidates"]}
            best, chosen = by_path[choice["best"]], by_path[choice["chosen"]]
            test = score_models(results, members)
            rows.append(
                {
                    "dataset": results.dataset_title(name),
                    "best": describe_model(results, ModelId.parse(best["model"])),
                    **_val_columns("best_val_macro_f1", best),
                    **timing_columns("best_latency_ms", _time(results, best)),
                    "chosen": describe_model(results, ModelId.parse(chosen["model"])),
                    **_val_columns("val_macro_f1", chosen),
                    "difference": chosen["difference"],
                    "difference_bound": chosen["difference_low"],
                    **timing_columns("latency_ms", _time(results, chosen)),
                    **estimate_columns("macro_f1", test),
                    "model": chosen["model"],
                }
            )
    return rows


def _val_columns(key: str, candidate: dict[str, Any]) -> dict[str, Any]:
    ends = {"": "val_macro_f1", "_low": "val_low", "_high": "val_high", "_n_patients": "val_n_patients"}
    return {f"{key}{end}": candidate[of] for end, of in ends.items()}


def _time(results: Results, candidate: dict[str, Any]) -> dict[str, float | None]:
    latency: dict[str, float | None] = results.profiles[ModelId.parse(candidate["model"]).backbone]["latency_ms"]
    return latency


def chosen_model(results: Results, dataset: str) -> dict[str, Any]:
    """Return the model of a dataset chosen on validation images, with its test score, the thumbnail's and chance."""
    title, path = results.dataset_title(dataset), results.selection[dataset]["chosen"]
    members = group_seeds(results.base_models).get(ModelId.parse(path)) if path else None
    if not members or any(model.macro_f1 is None for model in members):
        return {"dataset": title, "estimate": None}
    estimate, metrics = score_models(results, members), members[0].metrics
    seeds = f", mean of {len(members)} seeds" if len(members) > 1 else ""
    return {
        "dataset": title,
        "model": f"{describe_model(results, members[0].id)}{seeds}",
        "estimate": estimate,
        "chance": metrics["chance_macro_f1"],
        "thumbnail": results.probes[dataset][THUMBNAIL]["macro_f1"]["value"],
        "against": describe_against_thumbnail(results, members),
        "n_classes": len(metrics["class_names"]),
        "n_rivals": len(results.selection[dataset]["candidates"]),
    }


def describe_model(results: Results, model: ModelId) -> str:
    """Return backbone and init in words, for example `ResNet-34, from scratch`."""
    return f"{BACKBONES[model.backbone].title}, {results.study.init_title(model.init)}"


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
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else f"{value}"
