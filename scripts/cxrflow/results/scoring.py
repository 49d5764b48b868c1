"""From predictions to the content of metrics.json, and the figure of the confusion matrix."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cxrflow.files.figures import INK, MUTED, SEQUENTIAL, add_title, new_figure
from cxrflow.files.formats import FEW_PATIENTS, FEW_SIGN, mark_patients
from cxrflow.files.records import Predictions
from cxrflow.results.bootstrap import count_behind, count_patients, resample_metrics, wilson_interval
from cxrflow.results.metrics import METRICS, Floats, Outcomes, chance_macro_f1, whole_sample

CELL_IN = 0.62
MARGIN_IN = 1.5  # for the class names


def score_predictions(predictions: Predictions, resamples: int, seed: int) -> dict[str, Any]:
    """Return what metrics.json holds: every metric of METRICS with its value, None where undefined, and 95 % interval.

    Beside each stands how many patients it rests on, those of the smallest class. resamples: of patients; 0 leaves the
    intervals None, and so do fewer than MIN_PATIENTS patients of what a metric rests on.
    """
    names = predictions.class_names
    outcomes = Outcomes(predictions.labels, predictions.probabilities)
    sample = whole_sample(outcomes)
    counts = np.bincount(predictions.labels, minlength=len(names))
    patients = count_patients(outcomes, predictions.patient_ids)["true"]
    behind = count_behind(outcomes, predictions.patient_ids)
    resampled = resample_metrics(outcomes, predictions.patient_ids, resamples, seed) if resamples else {}
    values: dict[str, Any] = {name: metric.compute(sample)[0] for name, metric in METRICS.items()}

    def score(name: str, *k: int) -> dict[str, float | None]:  # k: number of the class, for metrics of each
        of_class = behind[name][k[0] : k[0] + 1] if k else behind[name]
        return add_interval(values[name][k], resampled[name].T[k] if resamples else np.zeros(0), of_class)

    overall = [name for name, metric in METRICS.items() if not metric.per_class]
    per_class = [name for name, metric in METRICS.items() if metric.per_class]
    return {
        "n_images": len(predictions.labels),
        "n_patients": len(set(predictions.patient_ids)),
        "class_names": names,
        "confusion": sample.confusion[0].astype(int).tolist(),
        **{name: score(name) for name in overall},
        "chance_macro_f1": chance_macro_f1(counts),
        "per_class": {
            class_name: {
                **{name: score(name, k) for name in per_class},
                "support": int(counts[k]),
                "n_patients": int(patients[k]),
            }
            for k, class_name in enumerate(names)
        },
        "bootstrap": {"resamples": resamples, "seed": seed, "unit": "patient"},
    }


def add_interval(value: float, resampled: Floats, patients: NDArray[np.int64]) -> dict[str, float | None]:
    """Return value, low and high, all None where the value is undefined, and the patients of the smallest class."""
    low, high = (None, None) if np.isnan(value) else wilson_interval(float(value), resampled, patients)
    return {
        "value": None if np.isnan(value) else float(value),
        "low": low,
        "high": high,
        "n_patients": int(patients.min()),
    }


def draw_confusion(scores: Mapping[str, Any], title: str) -> Figure:
    """Draw counts and, as colour and percent, the share of each true class. `scores`: the content of metrics.json."""
    names: list[str] = scores["class_names"]
    counts = np.array(scores["confusion"], dtype=np.int64)
    side_in = max(CELL_IN * len(names), 2.2) + MARGIN_IN
    figure = new_figure(side_in, side_in - 0.4)
    add_title(figure, title, _subtitle(scores))
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap=SEQUENTIAL, vmin=0.0, vmax=1.0, aspect="equal")
    _write_cells(axes, counts, shares)
    _name_classes(axes, names, counts.sum(axis=1))
    return figure


def _subtitle(scores: Mapping[str, Any]) -> str:
    score = format_interval(scores["macro_f1"])
    few = f"{FEW_SIGN} of fewer than {FEW_PATIENTS} patients of a class\n" * score.endswith(FEW_SIGN)
    return (
        f"Test macro F1 {score}\n{few}Macro F1 of guessing without looking {scores['chance_macro_f1']:.3f}\n"
        f"{scores['n_images']:,} images of {scores['n_patients']:,} patients\n"
        "Colour and percent: share of the true class"
    )


def format_interval(score: Mapping[str, Any]) -> str:
    """Return `0.653 (95 % interval 0.643 to 0.664)`, without the bounds where there are none; `undefined` for null."""
    if score["value"] is None:
        return "undefined"
    mark = mark_patients(score["n_patients"])
    if score["low"] is None or score["high"] is None:
        return f"{score['value']:.3f}{mark}"
    return f"{score['value']:.3f} (95 % interval {score['low']:.3f} to {score['high']:.3f}){mark}"


def _write_cells(axes: Axes, counts: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
    for (row, column), count in np.ndenumerate(counts):
        share = float(shares[row, column])
        color = "white" if share > 0.65 else INK if count else MUTED
        style: dict[str, Any] = {"ha": "center", "va": "center", "color": color, "textcoords": "offset points"}
        weight = "bold" if row == column else "normal"
        axes.annotate(f"{count:,}", (column, row), (0, 5), size=8.5, weight=weight, **style)
        axes.annotate(_percent(share), (column, row), (0, -7), size=6.5, **style)


def _percent(share: float) -> str:
    return "<1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def _name_classes(axes: Axes, names: Sequence[str], support: NDArray[np.int64]) -> None:
    places = np.arange(len(names))
    axes.set_xticks(places, names, rotation=35, ha="right", rotation_mode="anchor", color=INK)
    axes.set_yticks(places, [f"{name}\nn = {n:,}" for name, n in zip(names, support, strict=True)], color=INK)
    axes.set_xlabel("Predicted", weight="bold")
    axes.set_ylabel("True", weight="bold")
    axes.set_xticks(places[1:] - 0.5, minor=True)
    axes.set_yticks(places[1:] - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
