"""Rows of the choice: for each dataset the best model, and the fastest one that is not clearly worse."""

from typing import Any

from cxrflow.compare.collect import ModelResult, Results, group_seeds, sound_models
from cxrflow.compare.rows_models import cost_columns
from cxrflow.compare.rows_paired import compare_pairs, score_models
from cxrflow.config.backbones import BACKBONES
from cxrflow.config.identity import ModelId

Groups = dict[ModelId, list[ModelResult]]


def choice_rows(results: Results) -> list[dict[str, Any]]:
    """One row per dataset with a defined score; base models only, seeds averaged."""
    rows = []
    for name in results.datasets:
        groups = group_seeds(sound_models(results, name))
        if not groups:
            continue
        best = max(groups, key=lambda model: score_models(results, groups[model]).value)
        chosen = find_fastest(results, groups, best)
        difference = compare_pairs(results, pair_seeds(groups[chosen], groups[best]))
        rows.append(
            {
                "dataset": results.dataset_title(name),
                "best": _describe(results, best),
                "best_macro_f1": score_models(results, groups[best]).value,
                "best_latency_ms": _latency_ms(results, groups[best]),
                "fastest": _describe(results, chosen),
                "macro_f1": score_models(results, groups[chosen]).value,
                "latency_ms": _latency_ms(results, groups[chosen]),
                "difference": difference.value,
                "difference_low": difference.low,
                "difference_high": difference.high,
            }
        )
    return rows


def find_fastest(results: Results, groups: Groups, best: ModelId) -> ModelId:
    """Return the fastest model whose difference to the best may be zero; without intervals the best itself."""
    for model in sorted(groups, key=lambda each: _latency_ms(results, groups[each])):
        pairs = pair_seeds(groups[best], groups[model])
        low = compare_pairs(results, pairs).low if pairs else None
        if model == best or (low is not None and low <= 0):
            return model
    return best


def pair_seeds(one: list[ModelResult], other: list[ModelResult]) -> list[tuple[ModelResult, ModelResult]]:
    """Return the models of equal seed as pairs."""
    by_seed = {model.id.seed: model for model in other}
    return [(model, by_seed[model.id.seed]) for model in one if model.id.seed in by_seed]


def _latency_ms(results: Results, members: list[ModelResult]) -> float:
    return float(cost_columns(results, members[0])["latency_ms"])


def _describe(results: Results, model: ModelId) -> str:
    return f"{BACKBONES[model.backbone].title}, {results.study.init_title(model.init)}"
