"""Each model against the classifiers without a network, above all the 16 px thumbnail, on the same test patients."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from cxrflow.compare.collect import ModelResult, Results
from cxrflow.compare.rows import metric_columns, model_rows
from cxrflow.config.probes import BASELINES, THUMBNAIL
from cxrflow.config.study import BASE
from cxrflow.files.formats import KINDS, count_words, join_words
from cxrflow.results.bootstrap import LEVEL, Estimate, mean_macro_f1, subtract_estimates

ABOVE, BELOW, UNKNOWN = "yes", "no, below", "cannot be told"
MEASURE = "above a logistic regression on 16 px thumbnails"


def scored_rows(results: Results) -> list[dict[str, Any]]:
    """One row per model and per classifier without a network, dataset by dataset: Table 3."""
    rows: list[dict[str, Any]] = []
    for name in results.datasets:
        models = results.select(dataset=name)
        trained = model_rows(results, models)
        rows += [
            {**row, **thumbnail_columns(results, [model], len(models))}
            for row, model in zip(trained, models, strict=True)
        ]
        rows += [dict.fromkeys(rows[-1]) | row for row in probe_rows(results, name)]
    return rows


def probe_rows(results: Results, dataset: str) -> list[dict[str, Any]]:
    """One row per classifier without a network of one dataset, in the columns of Table 3 that it has."""
    return [
        {
            "dataset": results.dataset_title(dataset),
            "backbone": probe.title,
            "init": "baseline",
            "variant": BASE,
            **_probe_scores(results.probes[dataset][name]),
            "model": f"probes/{dataset}/{name}",
        }
        for name, probe in BASELINES.items()
    ]


def _probe_scores(scores: Mapping[str, Any]) -> dict[str, Any]:
    if "absent" in scores:
        return {"above_thumbnail": "", "caution": f"not run: {scores['absent']}"}
    columns = metric_columns(dict(scores), per_class=False)
    return {**columns, "chance_macro_f1": scores["chance_macro_f1"], "above_thumbnail": "", "caution": ""}


def subtract_thumbnail(results: Results, models: Sequence[ModelResult]) -> Estimate:
    """Return the mean macro F1 of models of one dataset minus the thumbnail's, on the same resamples of patients."""
    score = results.study.settings.score
    thumbnail = results.probe_predictions(models[0].id.dataset, THUMBNAIL)
    ours, theirs = (
        mean_macro_f1([predictions], score.bootstrap_resamples, score.bootstrap_seed)
        for predictions in ([model.predictions for model in models], [thumbnail])
    )
    return subtract_estimates(ours, theirs)


def judge_difference(difference: Estimate, n_models: int) -> str:
    """Return whether a model is above the thumbnail: yes, below, or it cannot be told.

    Decided by the interval at 1 - 0.05 / n_models, so that among n_models of one dataset that are no better than the
    thumbnail one is called better in at most 5 % of studies (Bonferroni; Dunn 1961, J. Am. Stat. Assoc. 56:52-64).
    """
    defined = difference.resampled[~np.isnan(difference.resampled)]
    if difference.low is None or difference.high is None or not len(defined):
        return UNKNOWN
    tail = (1 - LEVEL) / 2 / n_models
    low, high = np.quantile(defined, [tail, 1 - tail])
    if min(low, difference.low) > 0:
        return ABOVE
    return BELOW if max(high, difference.high) < 0 else UNKNOWN


def thumbnail_columns(results: Results, models: Sequence[ModelResult], n_models: int) -> dict[str, Any]:
    """Return the columns that compare the mean of models of one dataset, one of n_models, with the thumbnail."""
    difference = subtract_thumbnail(results, models)
    return {
        "over_thumbnail": difference.value,
        "over_thumbnail_low": difference.low,
        "over_thumbnail_high": difference.high,
        "above_thumbnail": judge_difference(difference, n_models),
    }


def describe_against_thumbnail(results: Results, models: Sequence[ModelResult]) -> str:
    """Return one sentence: whether the mean of models of one dataset is above the thumbnail, and by how much."""
    difference = subtract_thumbnail(results, models)
    verdict = {ABOVE: "Above", BELOW: "Below", UNKNOWN: "Cannot be told from"}[judge_difference(difference, 1)]
    by = KINDS["difference"].show_interval(difference.value, difference.low, difference.high, difference.n_patients)
    score = results.probes[models[0].id.dataset][THUMBNAIL]["macro_f1"]["value"]
    return f"{verdict} a logistic regression on 16 px thumbnails, {KINDS['score'].show(score)}: {by}."


def count_above_thumbnail(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return one sentence from the rows of Table 3: how many models are above a classifier of 16 px thumbnails."""
    found = [row["above_thumbnail"] for row in rows if row["above_thumbnail"]]
    n_above, n_below, n_unknown = (found.count(word) for word in (ABOVE, BELOW, UNKNOWN))
    verb = "scores" if n_above == 1 else "score"
    parts = [f"{n_above or 'none'} of {count_words(len(found), 'model')} {verb} {MEASURE}"]
    parts += [f"{n_below} below it"] * bool(n_below)
    parts += [f"{n_unknown} cannot be told from it"] * bool(n_unknown)
    return f"On the same test patients, {join_words(parts)}."
