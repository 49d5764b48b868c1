"""Differences between models on the same test patients: which models form a pair, and how much they differ."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from cxrflow.compare.collect import ModelResult, Results, base_twin, scratch_twin
from cxrflow.config.study import SCRATCH
from cxrflow.results.bootstrap import Estimate, check_same_images, make_estimate, mean_macro_f1, subtract_estimates

Pair = tuple[ModelResult, ModelResult]


def score_models(results: Results, models: Sequence[ModelResult]) -> Estimate:
    """Return the mean macro F1 of models of one dataset on its test images."""
    score = results.study.settings.score
    return mean_macro_f1([model.predictions for model in models], score.bootstrap_resamples, score.bootstrap_seed)


def compare_pairs(results: Results, pairs: Sequence[Pair]) -> Estimate:
    """Return the mean over pairs of (first minus second) macro F1; all of one dataset, on the same resamples.

    Raises:
        CxrflowError: the models were tested on different images.
    """
    check_same_images([model.predictions for pair in pairs for model in pair])
    first, second = (score_models(results, [pair[side] for pair in pairs]) for side in (0, 1))
    return subtract_estimates(first, second)


def mean_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of estimates from different datasets.

    Their patients have nothing to do with each other, so the resamples are shuffled before they are averaged: made with
    one seed, they would otherwise vary together.
    """
    generator = np.random.default_rng(0)
    n_resamples = min(len(each.resampled) for each in estimates)
    resampled = np.array([generator.permutation(each.resampled)[:n_resamples] for each in estimates]).mean(axis=0)
    return make_estimate(float(np.mean([each.value for each in estimates])), resampled)


def transfer_pairs(results: Results) -> list[Pair]:
    """Return each transferred base model with the one from scratch, of the same dataset, backbone and seed."""
    return _find_pairs([m for m in results.base_models if m.id.init != SCRATCH], results, scratch_twin)


def ablation_pairs(results: Results) -> list[Pair]:
    """Return each variant's model with the base model, of the same dataset, backbone, init and seed."""
    return _find_pairs([m for m in results.models if not m.is_base], results, base_twin)


def _find_pairs(
    models: Iterable[ModelResult], results: Results, twin: Callable[[Results, ModelResult], ModelResult | None]
) -> list[Pair]:
    """Return each model with its twin, where it exists."""
    found = [(model, twin(results, model)) for model in models]
    return [(model, other) for model, other in found if other is not None]
