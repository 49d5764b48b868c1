"""What a model says of images that may have several findings, and how well it ranks the images by each of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrflow.errors import CxrflowError
from cxrflow.files.records import AGAIN, NO_FINDINGS
from cxrflow.files.tables import read_table, write_table
from cxrflow.results.bootstrap import patient_numbers, resample_weights
from cxrflow.results.metrics import Floats, area_under_roc, average_precision, mean_of_defined, rank_scores
from cxrflow.results.scoring import add_interval

# Name and title of each metric: of a finding, and averaged over them.
FINDING_METRICS = {"auroc": "AUROC", "average_precision": "Average precision"}


@dataclass(frozen=True)
class FindingPredictions:
    """predictions.csv of a model of findings: the test images, in index order.

    Attributes:
        image_ids, patient_ids: one per image.
        present: bool (n, n_findings), which findings an image has.
        probabilities: float64 (n, n_findings), 0 to 1, each of its own.
        names: of the findings, alphabetical.
    """

    image_ids: list[str]
    patient_ids: list[str]
    present: NDArray[np.bool_]
    probabilities: Floats
    names: list[str]


def write_findings(path: Path, predictions: FindingPredictions) -> None:
    """Write predictions.csv: image_id, patient_id, findings (`Mass|Nodule` or `none`), one column `p(finding)` each."""
    names = predictions.names
    columns = ["image_id", "patient_id", "findings", *(f"p({name})" for name in names)]
    rows = (
        [image_id, patient_id, "|".join(np.array(names)[present]) or NO_FINDINGS, *probabilities.tolist()]
        for image_id, patient_id, present, probabilities in zip(
            predictions.image_ids, predictions.patient_ids, predictions.present, predictions.probabilities, strict=True
        )
    )
    write_table(path, columns, (dict(zip(columns, row, strict=True)) for row in rows))


def read_findings(path: Path) -> FindingPredictions:
    """Read predictions.csv of a model of findings.

    Raises:
        CxrflowError: columns or rows are missing, an image is there twice, or a value is no finding or no probability.
    """
    rows = read_table(path, ["image_id", "patient_id", "findings"])
    names = [column[2:-1] for column in (rows[0] if rows else ()) if column.startswith("p(")]
    found = [[] if row["findings"] == NO_FINDINGS else row["findings"].split("|") for row in rows]
    image_ids = [row["image_id"] for row in rows]
    try:
        probabilities = np.array([[float(row[f"p({name})"]) for name in names] for row in rows], dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise CxrflowError(f"{path} has a value that is not a number ({error}): {AGAIN}") from None
    is_whole = bool(names) and {name for each in found for name in each} <= set(names)
    if not (is_whole and ((probabilities >= 0) & (probabilities <= 1)).all() and len(set(image_ids)) == len(rows)):
        raise CxrflowError(f"{path} is not a table of findings, each image once with its probabilities: {AGAIN}")
    present = np.array([[name in each for name in names] for each in found], dtype=np.bool_)
    return FindingPredictions(image_ids, [row["patient_id"] for row in rows], present, probabilities, names)


def score_findings(predictions: FindingPredictions, resamples: int, seed: int) -> dict[str, Any]:
    """Return what metrics.json holds: AUROC and average precision of each finding and their means, as `add_interval`.

    Each finding is told from all images without it. A mean is over the findings where the metric is defined.
    """
    patients = patient_numbers(predictions.patient_ids)
    of_sample, n = np.ones((len(patients), 1)), len(predictions.names)
    measures = _list_measures(predictions)
    values = {name: measure(of_sample)[0] for name, measure in measures.items()}
    chunks: dict[str, list[Floats]] = {name: [np.zeros((0, n))] for name in measures}
    for weights in resample_weights(patients, resamples, seed):
        for name, measure in measures.items():
            chunks[name].append(measure(weights))
    resampled = {name: np.concatenate(each) for name, each in chunks.items()}
    present = predictions.present
    having, without = (np.array([len({*patients[column]}) for column in side.T]) for side in (present, ~present))
    behind, support = np.minimum(having, without), present.sum(axis=0)
    defined = behind > 0
    return {
        "n_images": len(patients),
        "n_patients": int(patients.max()) + 1,
        "class_names": predictions.names,
        **{
            f"mean_{name}": add_interval(
                mean_of_defined(values[name][None])[0],
                mean_of_defined(resampled[name]),
                behind[defined] if defined.any() else behind,
            )
            for name in measures
        },
        "per_class": {
            finding: {
                **{m: add_interval(values[m][k], resampled[m][:, k], behind[k : k + 1]) for m in measures},
                "support": int(support[k]),
                "share": float(support[k] / len(patients)),
                "n_patients": int(having[k]),
            }
            for k, finding in enumerate(predictions.names)
        },
        "bootstrap": {"resamples": resamples, "seed": seed, "unit": "patient"},
    }


def _list_measures(predictions: FindingPredictions) -> dict[str, Callable[[Floats], Floats]]:
    """Return every metric as a function of weights, float64 (n, n_resamples), to (n_resamples, n_findings)."""
    pairs = [*zip(predictions.probabilities.T, predictions.present.T, strict=True)]
    rankings = [rank_scores(scores, present) for scores, present in pairs]
    return {
        "auroc": lambda weights: np.stack([area_under_roc(each, weights) for each in rankings], axis=1),
        "average_precision": lambda weights: np.stack([average_precision(*pair, weights) for pair in pairs], axis=1),
    }
