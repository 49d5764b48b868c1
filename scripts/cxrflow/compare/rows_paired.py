"""Rows of the paired comparisons: transfer against scratch, and each variant against the base settings."""

from collections.abc import Callable, Iterable
from typing import Any

from cxrflow.compare.collect import ModelResult, Results, base_twin, group_seeds, may_have_seen_test, scratch_twin
from cxrflow.compare.paired import Estimate, mean_difference, mean_macro_f1
from cxrflow.compare.rows_models import SEEN
from cxrflow.config.backbones import BACKBONES
from cxrflow.config.settings import settings_dict
from cxrflow.config.study import SCRATCH

Pair = tuple[ModelResult, ModelResult]


def compare_pairs(results: Results, pairs: list[Pair]) -> Estimate:
    """Return the mean difference (first minus second) of pairs of one dataset."""
    score = results.study.settings.score
    return mean_difference(pairs, score.bootstrap_draws, score.bootstrap_seed)


def score_models(results: Results, models: list[ModelResult]) -> Estimate:
    """Return the mean macro F1 of models of one dataset."""
    score = results.study.settings.score
    return mean_macro_f1(models, score.bootstrap_draws, score.bootstrap_seed)


def find_pairs(
    models: Iterable[ModelResult], results: Results, twin: Callable[[Results, ModelResult], ModelResult | None]
) -> list[Pair]:
    """Return each model with its twin, where there is one."""
    found = [(model, twin(results, model)) for model in models]
    return [(model, other) for model, other in found if other is not None]


def transfer_pairs(results: Results) -> list[Pair]:
    """Return each transferred base model with the one from scratch, of the same dataset, backbone and seed."""
    return find_pairs([m for m in results.base_models if m.id.init != SCRATCH], results, scratch_twin)


def ablation_pairs(results: Results) -> list[Pair]:
    """Return each variant's model with the base model, of the same dataset, backbone, init and seed."""
    return find_pairs([m for m in results.models if not m.is_base], results, base_twin)


def transfer_rows(results: Results) -> list[dict[str, Any]]:
    """One row per dataset, backbone and init: transfer minus scratch."""
    return [
        {
            **_pair_columns(results, pairs),
            "macro_f1": score_models(results, [model for model, _ in pairs]).value,
            "macro_f1_scratch": score_models(results, [other for _, other in pairs]).value,
            **_difference_columns(results, pairs),
            "caution": SEEN if may_have_seen_test(results, pairs[0][0]) else "",
        }
        for pairs in _group_pairs(transfer_pairs(results))
    ]


def ablation_rows(results: Results) -> list[dict[str, Any]]:
    """One row per dataset, backbone, init and variant: variant minus base."""
    return [
        {
            **_pair_columns(results, pairs),
            "variant": pairs[0][0].id.variant,
            "change": describe_variant(results, pairs[0][0].id.variant),
            "macro_f1": score_models(results, [model for model, _ in pairs]).value,
            "macro_f1_base": score_models(results, [other for _, other in pairs]).value,
            **_difference_columns(results, pairs),
        }
        for pairs in _group_pairs(ablation_pairs(results))
    ]


def _group_pairs(pairs: list[Pair]) -> list[list[Pair]]:
    """Put the pairs together that differ only in their seed."""
    twins = {model.id: other for model, other in pairs}
    return [[(m, twins[m.id]) for m in members] for members in group_seeds(model for model, _ in pairs).values()]


def _pair_columns(results: Results, pairs: list[Pair]) -> dict[str, Any]:
    model = pairs[0][0]
    return {
        "dataset": results.dataset_title(model.id.dataset),
        "backbone": BACKBONES[model.id.backbone].title,
        "init": results.study.init_title(model.id.init),
        "n_seeds": len(pairs),
        "n_patients": model.metrics["n_patients"],
    }


def _difference_columns(results: Results, pairs: list[Pair]) -> dict[str, Any]:
    difference = compare_pairs(results, pairs)
    return {"difference": difference.value, "difference_low": difference.low, "difference_high": difference.high}


def describe_variant(results: Results, variant: str) -> str:
    """Return what a variant changes, for example `blur_px: 5 → 0`."""
    settings, study = results.study.settings, results.study
    pairs = [
        (settings.preprocess, study.preprocess_settings(variant)),
        (settings.train, study.train_settings(variant)),
    ]
    changes = [
        f"{key}: {_plain(old)} → {_plain(settings_dict(there)[key])}"
        for here, there in pairs
        for key, old in settings_dict(here).items()
        if settings_dict(there)[key] != old
    ]
    return ", ".join(changes) or "nothing"


def _plain(value: Any) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else f"{value}"
