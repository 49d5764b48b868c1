"""Each model against the classifiers without a network, above all the 16 px thumbnail, on the same test patients."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cxrflow.compare.collect import ModelResult, Results
from cxrflow.compare.rows import metric_columns, model_rows
from cxrflow.compare.scores import score_models, score_probe
from cxrflow.config.probes import BASELINES, THUMBNAIL
from cxrflow.config.study import BASE
from cxrflow.files.formats import KINDS, count_words, join_words
from cxrflow.results.bootstrap import Estimate, subtract_estimates
from cxrflow.results.families import ALPHA, adjust_holm, find_p

ABOVE, BELOW, UNKNOWN = "yes", "no, below", "cannot be told"
MEASURE = "above a logistic regression on 16 px thumbnails"


def scored_rows(results: Results) -> list[dict[str, Any]]:
    """One row per model and per classifier without a network, dataset by dataset: Table 3."""
    rows: list[dict[str, Any]] = []
    for name in results.datasets:
        models = results.select(dataset=name)
        compared = zip(model_rows(results, models), thumbnail_columns(results, models), strict=True)
        rows += [{**row, **columns} for row, columns in compared]
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


def subtract_thumbnail(results: Results, score: Estimate, dataset: str) -> Estimate:
    """Return a macro F1 on the test images of a dataset minus the thumbnail's, on the same resamples of patients."""
    return subtract_estimates(score, score_probe(results, dataset, THUMBNAIL))


def judge_difference(difference: Estimate, p: float) -> str:
    """Return whether a model is above the thumbnail: yes, below, or it cannot be told.

    p: of `find_p`, corrected where other models are judged, too.
    """
    if p >= ALPHA:
        return UNKNOWN
    return ABOVE if difference.value > 0 else BELOW


def thumbnail_columns(results: Results, models: Sequence[ModelResult]) -> list[dict[str, Any]]:
    """Return of each model of one dataset the columns that compare it with the thumbnail; all are one family (Holm)."""
    differences = [subtract_thumbnail(results, score_models(results, [model]), model.id.dataset) for model in models]
    corrected = adjust_holm([find_p(difference) for difference in differences])
    return [
        {
            "over_thumbnail": difference.value,
            "over_thumbnail_low": difference.low,
            "over_thumbnail_high": difference.high,
            "above_thumbnail": judge_difference(difference, p),
        }
        for difference, p in zip(differences, corrected, strict=True)
    ]


def describe_against_thumbnail(results: Results, score: Estimate, dataset: str) -> str:
    """Return one sentence: whether a macro F1 on the test images is above the thumbnail's, and by how much."""
    difference = subtract_thumbnail(results, score, dataset)
    verdict = {ABOVE: "Above", BELOW: "Below", UNKNOWN: "Cannot be told from"}[
        judge_difference(difference, find_p(difference))
    ]
    by = KINDS["difference"].show_interval(difference.value, difference.low, difference.high, difference.n_patients)
    theirs = results.probes[dataset][THUMBNAIL]["macro_f1"]["value"]
    return f"{verdict} a logistic regression on 16 px thumbnails, {KINDS['score'].show(theirs)}: {by}."


def count_above_thumbnail(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return one sentence from the rows of Table 3: how many models are above a classifier of 16 px thumbnails."""
    found = [row["above_thumbnail"] for row in rows if row["above_thumbnail"]]
    n_above, n_below, n_unknown = (found.count(word) for word in (ABOVE, BELOW, UNKNOWN))
    verb = "score" if n_above > 1 else "scores"
    parts = [f"{n_above or 'none'} of {count_words(len(found), 'model')} {verb} {MEASURE}"]
    parts += [f"{n_below} below it"] * bool(n_below)
    parts += [f"{n_unknown} cannot be told from it"] * bool(n_unknown)
    return f"On the same test patients, {join_words(parts)}."
