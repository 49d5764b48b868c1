"""Macro F1 of models and probes with what resampling shows, each worked out once."""

from collections.abc import Sequence

from cxrflow.compare.collect import ModelResult, Results, group_seeds
from cxrflow.files.records import Predictions
from cxrflow.results.bootstrap import Estimate, mean_macro_f1

LEAST_SEEDS = 3  # of fewer trainings, what differs between them is hardly known


def score_models(results: Results, models: Sequence[ModelResult]) -> Estimate:
    """Return the mean macro F1 of models of one dataset on its test images, those of different seeds as one."""
    key = tuple(model.folder for model in models)
    if key not in results.estimates:
        trainings = [[model.predictions for model in seeds] for seeds in group_seeds(models).values()]
        results.estimates[key] = _resample(results, trainings)
    return results.estimates[key]


def score_probe(results: Results, dataset: str, probe: str) -> Estimate:
    """Return the macro F1 of a classifier without a network on the test images of its dataset."""
    key = (results.layout.probe(dataset, f"{probe}.csv"),)
    if key not in results.estimates:
        results.estimates[key] = _resample(results, [[results.probe_predictions(dataset, probe)]])
    return results.estimates[key]


def _resample(results: Results, procedures: Sequence[Sequence[Predictions]]) -> Estimate:
    score = results.study.settings.score
    return mean_macro_f1(procedures, score.bootstrap_resamples, score.bootstrap_seed)
