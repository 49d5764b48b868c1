"""How far the probabilities of each base model can be believed, before and after calibration on validation images."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cxrflow.compare.collect import ModelResult, Results
from cxrflow.compare.rows import identify
from cxrflow.results.calibration import Calibration, calibrate_model, read_logits, softmax
from cxrflow.results.reliability import average, log_losses, measure_reliability, weigh_patients


def calibrate(results: Results, model: ModelResult) -> Calibration:
    """Return the calibration that a model would be delivered with."""
    counts, answered = results.datasets[model.id.dataset].counts["train"], results.study.settings.deliver.answered
    return calibrate_model(model.val_predictions, model.training["class_weights"], counts, answered)


def measure_calibration_change(
    results: Results, models: Sequence[ModelResult], alpha: float
) -> dict[str, float | None]:
    """Return how much calibration raises the log loss of the test images, mean over models of one dataset.

    With its interval over patients at 1 - alpha; None where a class has too few of them.
    """
    score, tested = results.study.settings.score, models[0].predictions
    changes = []
    for model in models:
        logits = read_logits(model.predictions)
        calibrated = calibrate(results, model).calibrate(logits)
        changes.append(log_losses(calibrated, tested.labels) - log_losses(softmax(logits), tested.labels))
    weights = weigh_patients(tested, score.bootstrap_resamples, score.bootstrap_seed)
    return average(np.mean(changes, axis=0), weights, (50 * alpha, 100 - 50 * alpha))


def calibration_rows(results: Results) -> list[dict[str, Any]]:
    """One row per base model: temperature, log loss and calibration error before and after, and abstention."""
    return [_describe_model(results, model) for model in results.base_models]


def _describe_model(results: Results, model: ModelResult) -> dict[str, Any]:
    score = results.study.settings.score
    found = measure_reliability(
        model.predictions, calibrate(results, model), score.bootstrap_resamples, score.bootstrap_seed
    )
    raw, calibrated, answered = found["raw"], found["calibrated"], found["answered"]
    intervals = {
        "log_loss_raw": raw["log_loss"],
        "log_loss": calibrated["log_loss"],
        "log_loss_change": found["log_loss_change"],
        "brier_raw": raw["brier"],
        "brier": calibrated["brier"],
        **{key: answered[key] for key in ("coverage", "risk", "risk_of_all", "aurc")},
    }
    ends = {"": "value", "_low": "low", "_high": "high"}
    return {
        **identify(results, model),
        **{key: found[key] for key in ("temperature", "n_val_patients", "threshold")},
        "bias": "yes" if found["biased"] else "no",
        **{f"{key}{end}": each[name] for key, each in intervals.items() for end, name in ends.items()},
        "error_raw": raw["error"],
        "error": calibrated["error"],
        "error_by_chance": calibrated["error_by_chance"],
        "p": calibrated["p"],
    }
