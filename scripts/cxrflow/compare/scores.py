"""Macro F1 of models and probes with what resampling shows, each worked out once."""

from collections.abc import Sequence
from pathlib import Path

from cxrflow.compare.collect import ModelResult, Results, group_seeds
from cxrflow.config.layout import CandidateId
from cxrflow.files.records import Predictions
from cxrflow.results.bootstrap import Estimate, mean_macro_f1
from cxrflow.results.ensembles import read_candidate

LEAST_SEEDS = 3  # of fewer trainings, what differs between them is hardly known


def score_models(results: Results, models: Sequence[ModelResult]) -> Estimate:
    """Return the mean macro F1 of models of one dataset on its test images, those of different seeds as one."""
    key = tuple(model.folder for model in models)
    if key not in results.estimates:
        trainings = [[model.predictions for model in seeds] for seeds in group_seeds(models).values()]
        results.estimates[key] = _resample(results, trainings)
    return results.estimates[key]


def find_trainings(results: Results, candidate: CandidateId) -> list[ModelResult]:
    """Return all seeds of a candidate's model; none where it is not among the named ones."""
    return group_seeds(results.base_models).get(candidate.members[0], [])


def read_test_answers(results: Results, candidate: CandidateId) -> list[Predictions]:
    """Return what a candidate says of the test images, once per training; of an ensemble once."""
    trainings = find_trainings(results, candidate)
    if candidate == CandidateId((trainings[0].id,)):
        return [model.predictions for model in trainings]
    return read_candidate(results.layout, candidate, [model.id for model in trainings], "test")


def score_candidate(results: Results, candidate: CandidateId) -> Estimate:
    """Return a candidate's macro F1 on the test images; an ensemble is one, resampled over patients alone."""
    key = (Path(candidate.path),)
    if key not in results.estimates:
        results.estimates[key] = _resample(results, [read_test_answers(results, candidate)])
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
