"""The paper's claim about views: that a horizontal flip makes the model invariant to AP and PA."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from cxrflow.checks.verdicts import UNKNOWN, Verdict, check, write_estimate
from cxrflow.compare.collect import ModelResult, Results, group_seeds
from cxrflow.compare.paired import ablation_pairs
from cxrflow.files.records import Predictions
from cxrflow.results.bootstrap import (
    Estimate,
    average_estimates,
    mean_macro_f1,
    scale_estimate,
    subtract_estimates,
)

VIEWS = ("PA", "AP")
REASON = (
    "A flip mirrors left and right, as in situs inversus. AP and PA differ in the direction of the rays: the heart is"
    " magnified in AP, and a mirrored AP film is not a PA film. So the reason that the paper gives for the flip does"
    " not hold."
)
CONFOUNDED = (
    "AP and PA films are of other patients with other findings, so a gap between them is not the view's alone; and no"
    " gap that is seen proves invariance."
)
REMEDY = (
    'Put "no_flip: {train: {flip_probability: 0}}" under "variants:" and no_flip into "ablation.variants", for a'
    " dataset whose table says the view, such as ChestX-ray8."
)


@check("claim", "Horizontal flip makes the model invariant to AP and PA views.", needs=("index", "predictions"))
def flip_views(results: Results) -> Verdict:
    """What the paper's sentence would need, and the scores by view with and without the flip."""
    texts = list(filter(None, (_compare_views(results, dataset) for dataset in results.datasets)))
    if not texts:
        return Verdict(UNKNOWN, f"{REASON} Whether it helps is a question for an ablation by view.", remedy=REMEDY)
    return Verdict(UNKNOWN, " ".join([REASON, *texts, CONFOUNDED]))


def _compare_views(results: Results, dataset: str) -> str:
    """Return in words what the flip does to each view of a dataset, and to the gap between them; empty: not known."""
    views = {row.image_id: row.facts["view"] for row in results.datasets[dataset].images if "view" in row.facts}
    pairs = [(base, model) for model, base in ablation_pairs(results) if model.id.dataset == dataset]
    pairs = [pair for pair in pairs if _drops_flip(results, pair[1].id.variant)]
    shown = {views.get(image_id) for _, model in pairs for image_id in model.predictions.image_ids}
    if not set(VIEWS) <= shown:
        return ""
    flipped, plain = (
        {view: _score_view(results, [pair[side] for pair in pairs], views, view) for view in VIEWS} for side in (0, 1)
    )
    gains = [f"{view} {_write(subtract_estimates(flipped[view], plain[view]))}" for view in VIEWS]
    gaps = [_write(_subtract_apart(*(scores[view] for view in VIEWS))) for scores in (flipped, plain)]
    return (
        f"{results.dataset_title(dataset)}, macro F1 with the flip minus without it: {', '.join(gains)}. PA minus AP:"
        f" {gaps[0]} with the flip, {gaps[1]} without it."
    )


def _drops_flip(results: Results, variant: str) -> bool:
    study, train = results.study, results.study.settings.train
    is_alike = study.preprocess_settings(variant) == study.settings.preprocess and train.flip_probability > 0
    return is_alike and study.train_settings(variant) == replace(train, flip_probability=0.0)


def _score_view(results: Results, models: Sequence[ModelResult], views: Mapping[str, str], view: str) -> Estimate:
    """Return the mean macro F1 of models on the test images of one view."""
    procedures = [[_keep_view(m.predictions, views, view) for m in seeds] for seeds in group_seeds(models).values()]
    score = results.study.settings.score
    return mean_macro_f1(procedures, score.bootstrap_resamples, score.bootstrap_seed)


def _keep_view(predictions: Predictions, views: Mapping[str, str], view: str) -> Predictions:
    rows = np.array([i for i, name in enumerate(predictions.image_ids) if views.get(name) == view])
    return Predictions(
        image_ids=[predictions.image_ids[i] for i in rows],
        patient_ids=[predictions.patient_ids[i] for i in rows],
        labels=predictions.labels[rows],
        probabilities=predictions.probabilities[rows],
        class_names=predictions.class_names,
    )


def _subtract_apart(one: Estimate, other: Estimate) -> Estimate:
    """Return one minus the other, of different patients: twice the mean of one and minus the other."""
    return scale_estimate(average_estimates([one, scale_estimate(other, -1)]), 2)


def _write(estimate: Estimate) -> str:
    return write_estimate(estimate, "difference")
