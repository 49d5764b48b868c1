"""Which backbone: all pairs of a dataset, the standing of each, and both in a sentence."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from cxrflow.compare.collect import ModelResult, Results
from cxrflow.compare.paired import Pair, adjust_rows, compare_pairs, pair_columns
from cxrflow.compare.rows import estimate_columns
from cxrflow.compare.scores import score_models
from cxrflow.config.backbones import BACKBONES
from cxrflow.config.study import SCRATCH
from cxrflow.files.formats import KINDS, count_words, join_words
from cxrflow.results.bootstrap import Estimate
from cxrflow.results.families import ALPHA

DETECTABLE = 2.8  # standard errors
EQUAL = "cannot be told"


def backbone_rows(results: Results) -> list[dict[str, Any]]:
    """One row per dataset and pair of backbones, both from scratch: which scores higher. A dataset is a family."""
    rows: list[dict[str, Any]] = []
    for dataset in results.datasets:
        scratch = _from_scratch(results, dataset)
        families = [_find_twins(results, scratch, *two) for two in combinations(results.backbones, 2)]
        rows += adjust_rows(
            [
                {
                    **pair_columns(results, pairs, "other"),
                    "other": BACKBONES[pairs[0][1].id.backbone].title,
                    "detectable": find_detectable(compare_pairs(results, pairs)),
                }
                for pairs in families
                if pairs
            ]
        )
    return [{**row, "verdict": _judge_pair(row)} for row in rows]


def _from_scratch(results: Results, dataset: str) -> list[ModelResult]:
    return results.select(results.base_models, dataset=dataset, init=SCRATCH)


def _find_twins(results: Results, models: Sequence[ModelResult], one: str, other: str) -> list[Pair]:
    """Return the models of one backbone, each with that of the other and of the same seed, where there is one."""
    firsts = results.select(models, backbone=one)
    return [(m, twin) for m in firsts for twin in results.select(models, backbone=other, seed=m.id.seed)]


def _judge_pair(row: Mapping[str, Any]) -> str:
    """Return which of two backbones scores higher, by the corrected p value, or that it cannot be told."""
    if row["p_holm"] >= ALPHA:
        return EQUAL
    higher = row["backbone"] if row["difference"] > 0 else row["other"]
    return f"{higher} is higher" if row["n_seeds"] > 1 else f"this training of {higher} is higher"


def find_detectable(difference: Estimate) -> float | None:
    """Return the least true difference that such a test sees in 80 of 100 studies: 2.8 standard errors.

    1.96 for a two-sided test at 5 %, and 0.84 for a power of 80 % (Cohen 1988, Statistical Power Analysis).
    """
    defined = difference.resampled[~np.isnan(difference.resampled)]
    return float(DETECTABLE * defined.std(ddof=1)) if difference.low is not None and len(defined) > 1 else None


def standing_rows(results: Results) -> list[dict[str, Any]]:
    """One row per dataset and backbone from scratch, the highest first: its rank, and how sure that is.

    Of k backbones, one that b are clearly above and a clearly below has a rank from 1 + b to k - a, by the pairs as
    Table 3b judges them: all these intervals of a dataset together hold in 95 % of studies (Mogstad et al. 2024, Rev.
    Econ. Stud. 91:476-518). Ranks counted in the resamples would not: of backbones that are alike, a bootstrap keeps
    the order that it happens to see (Xie, Singh & Zhang 2009, J. Am. Stat. Assoc. 104:775-788).
    """
    pairs = backbone_rows(results)
    return [row for dataset in results.datasets for row in _stand(results, dataset, pairs)]


def _stand(results: Results, dataset: str, pairs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    title, scratch = results.dataset_title(dataset), _from_scratch(results, dataset)
    decided = [_order(row) for row in pairs if row["dataset"] == title and row["verdict"] != EQUAL]
    groups = {name: results.select(scratch, backbone=name) for name in results.backbones}
    scores = {BACKBONES[name].title: score_models(results, group) for name, group in groups.items() if group}
    best_first = sorted(scores, key=lambda name: -scores[name].value) if len(scores) > 1 else []
    return [
        {
            "dataset": title,
            "backbone": name,
            "n_seeds": len(scratch) // len(scores),
            **estimate_columns("macro_f1", scores[name]),
            "rank": rank,
            "rank_low": 1 + len(above := [higher for higher, lower in decided if lower == name]),
            "rank_high": len(scores) - sum(higher == name for higher, _ in decided),
            "below": join_words(above) if above else "",
            "among_best": "no" if above else "yes",
        }
        for rank, name in enumerate(best_first, start=1)
    ]


def _order(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return the higher and the lower of a pair that is decided."""
    return (row["backbone"], row["other"]) if row["difference"] > 0 else (row["other"], row["backbone"])


def describe_standing(standings: Iterable[Mapping[str, Any]], pairs: Iterable[Mapping[str, Any]], dataset: str) -> str:
    """Answer which backbone, for one dataset, from the rows of both tables; empty where there are not two."""
    rows = [row for row in standings if row["dataset"] == dataset]
    if not rows:
        return ""
    if any(row["macro_f1_low"] is None for row in rows):
        return "cannot be told, as there are no intervals: too few test patients of a class, or no resamples."
    best = [row["backbone"] for row in rows if row["among_best"] == "yes"]
    parts = [f"{join_words(best)} cannot be told apart"] * (len(best) > 1)
    parts += [f"{row['backbone']} is below {row['below']}" for row in rows if row["below"]]
    seen = [row["detectable"] for row in pairs if row["dataset"] == dataset and row["detectable"] is not None]
    if len(best) == len(rows):
        show = KINDS["score"].show
        sizes = show(seen[0]) if show(min(seen)) == show(max(seen)) else f"{show(min(seen))} to {show(max(seen))}"
        parts.append(f"a true difference would have to be {sizes} for such a test to see it in 80 of 100 studies")
    trained = rows[0]["n_seeds"]
    once = "; of these trainings, one each: of the backbones, nothing can be told"
    of = once if trained == 1 else f" (mean of {count_words(trained, 'seed')})"
    return f"{'; '.join(parts)}{of}."
