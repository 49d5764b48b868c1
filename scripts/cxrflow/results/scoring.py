"""From predictions to the content of metrics.json."""

from typing import Any

import numpy as np

from cxrflow.files.records import Predictions
from cxrflow.results.bootstrap import percentile_interval, resample_metrics
from cxrflow.results.metrics import METRICS, Floats, Outcomes, chance_macro_f1, whole_sample


def score_predictions(predictions: Predictions, resamples: int, seed: int) -> dict[str, Any]:
    """Return what metrics.json holds: every metric of METRICS with its value and 95 % interval, None where undefined.

    resamples: of patients; 0 leaves the intervals None, and so does a test subset of one patient.
    """
    names = predictions.class_names
    outcomes = Outcomes(predictions.labels, predictions.probabilities)
    sample = whole_sample(outcomes)
    counts = np.bincount(predictions.labels, minlength=len(names))
    n_patients = len(set(predictions.patient_ids))
    resampled = (
        resample_metrics(outcomes, predictions.patient_ids, resamples, seed) if resamples and n_patients > 1 else {}
    )
    overall = [name for name, metric in METRICS.items() if not metric.per_class]
    per_class = [name for name, metric in METRICS.items() if metric.per_class]
    values = {name: metric.compute(sample)[0] for name, metric in METRICS.items()}
    return {
        "n_images": len(predictions.labels),
        "n_patients": n_patients,
        "class_names": names,
        "confusion": sample.confusion[0].astype(int).tolist(),
        **{name: _with_interval(values[name], resampled.get(name)) for name in overall},
        "chance_macro_f1": chance_macro_f1(counts),
        "per_class": {
            class_name: {
                **{
                    name: _with_interval(values[name][k], resampled[name][:, k] if resampled else None)
                    for name in per_class
                },
                "support": int(counts[k]),
            }
            for k, class_name in enumerate(names)
        },
        "bootstrap": {"resamples": resamples, "seed": seed, "unit": "patient"},
    }


def _with_interval(value: float, resampled: Floats | None) -> dict[str, float | None]:
    """Return value, low and high; all None where the value is undefined."""
    if np.isnan(value):
        return {"value": None, "low": None, "high": None}
    low, high = (None, None) if resampled is None else percentile_interval(resampled)
    return {"value": float(value), "low": low, "high": high}
