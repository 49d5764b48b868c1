"""How often 95 % intervals cover the truth, in simulated studies whose truth is known: ours, and four that we left.

    PYTHONPATH=scripts python -m tests.results.coverage 1000 > tests/results/coverage.md     # studies per setting

A class of m patients, each with 1 to `most` images, whose scores are normal and correlate within a patient where there
are several; a share `hit` of the images is predicted right, errors fall on every other class alike.
"""

import sys
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from cxrflow.files.records import Predictions
from cxrflow.results.bootstrap import LEVEL, patient_numbers, resample_weights
from cxrflow.results.metrics import METRICS, Floats, Outcomes, Sample, macro_f1, whole_sample
from cxrflow.results.scoring import score_predictions

RESAMPLES = 500
Z = NormalDist().inv_cdf((1 + LEVEL) / 2)
CORRELATION = 0.5  # of the scores of one patient's images
FAR = 0.03
INTRODUCTION = """# How often 95 % intervals cover the truth

In which share of {studies:,} simulated studies the interval holds the true value; {resamples} resamples. Bold: further
than {far} from 0.95. Ours is `wilson_interval` (`results/bootstrap.py`); the others are described at `other_intervals`
(`tests/results/coverage.py`). Printed by

    PYTHONPATH=scripts python -m tests.results.coverage {studies} > tests/results/coverage.md
"""


@dataclass(frozen=True)
class Setting:
    """A test subset, and how good the model is."""

    patients: tuple[int, ...]  # of each class
    hit: float  # share of images predicted right, of every class
    most: int = 1  # images of a patient

    @property
    def title(self) -> str:
        """For example `3 x 12, 0.90`."""
        same = len(set(self.patients)) == 1
        sizes = f"{len(self.patients)} x {self.patients[0]}" if same else " / ".join(map(str, self.patients))
        return f"{sizes}, {self.hit:.2f}" + f", 1 to {self.most} images" * (self.most > 1)


SMALL = [
    Setting((12,) * 3, 0.65), Setting((12,) * 3, 0.90), Setting((12,) * 3, 0.98), Setting((12,) * 3, 0.80, 4),
    Setting((10,) * 7, 0.50, 3), Setting((10,) * 7, 0.40), Setting((45, 45, 18), 0.80),
]  # fmt: skip
LARGE = [
    Setting((30,) * 3, 0.98), Setting((30,) * 3, 0.80, 4), Setting((30,) * 7, 0.50, 3), Setting((45,) * 3, 0.80),
    Setting((1529, 542, 202), 0.93),
]  # fmt: skip


def draw_predictions(setting: Setting, generator: np.random.Generator, times: int = 1) -> Predictions:
    """Draw a test subset. times: as many patients; of one image each where more than 1, as only shares then matter."""
    n_classes = len(setting.patients)
    of_class = np.repeat(np.arange(n_classes), np.array(setting.patients) * times)
    images = generator.integers(1, setting.most + 1, len(of_class)) if times == 1 else np.ones_like(of_class)
    patient = np.repeat(np.arange(len(of_class)), images)
    labels, shared = of_class[patient], CORRELATION * (setting.most > 1)
    of_patient = generator.standard_normal((len(of_class), n_classes))[patient]
    scores = np.sqrt(shared) * of_patient + np.sqrt(1 - shared) * generator.standard_normal((len(labels), n_classes))
    scores[np.arange(len(labels)), labels] += find_shift(setting.hit, n_classes)
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    names = [f"class {k}" for k in range(n_classes)]
    ids = [f"{i}" for i in range(len(labels))]
    return Predictions(ids, [f"{i}" for i in patient], labels, odds / odds.sum(axis=1, keepdims=True), names)


@lru_cache
def find_shift(hit: float, n_classes: int) -> float:
    """Return how far the true class's normal score has to lie above the others to be the highest in this share."""
    x = np.linspace(-9, 15, 2001)
    below = np.vectorize(NormalDist().cdf)(x) ** (n_classes - 1)
    shifts = np.linspace(0, 6, 601)
    shares = [(np.exp(-((x - shift) ** 2) / 2) * below).sum() for shift in shifts] / np.sqrt(2 * np.pi) * (x[1] - x[0])
    return float(np.interp(hit, shares, shifts))


def find_truth(setting: Setting) -> dict[str, Floats]:
    """Return every metric of METRICS on 200,000 images, known to 0.001."""
    times = 200_000 // sum(setting.patients)
    large = draw_predictions(setting, np.random.default_rng(0), times)
    sample = whole_sample(Outcomes(large.labels, large.probabilities))
    return {name: metric.compute(sample)[0] for name, metric in METRICS.items()}


def measure_coverage(setting: Setting, studies: int, resamples: int = RESAMPLES) -> dict[str, float]:
    """Return in which share of simulated studies each metric's interval holds its truth; of classes, all together.

    Raises:
        AssertionError: an interval has no width, or leaves out its value.
    """
    generator, truth, covered = np.random.default_rng(1), find_truth(setting), {name: [] for name in METRICS}
    for study in range(studies):
        scores = score_predictions(draw_predictions(setting, generator), resamples, seed=study)
        for name, metric in METRICS.items():
            of_classes = [each[name] for each in scores["per_class"].values()] if metric.per_class else [scores[name]]
            for score, true in zip(of_classes, np.atleast_1d(truth[name]), strict=True):
                if score["low"] is not None:
                    assert 0 <= score["low"] <= score["value"] <= score["high"] <= 1
                    assert score["high"] - score["low"] > 1e-3
                    covered[name].append(score["low"] <= true <= score["high"])
    return {name: float(np.mean(each)) for name, each in covered.items() if each}


def compare_methods(setting: Setting, studies: int) -> dict[str, float]:
    """Return in which share of simulated studies each method's interval of macro F1 holds the truth."""
    generator, truth, covered = np.random.default_rng(1), float(find_truth(setting)["macro_f1"]), Counter[str]()
    for study in range(studies):
        predictions = draw_predictions(setting, generator)
        outcomes = Outcomes(predictions.labels, predictions.probabilities)
        patients = patient_numbers(predictions.patient_ids)
        for name, (low, high) in other_intervals(outcomes, patients, study).items():
            covered[name] += low <= truth <= high
    return {name: count / studies for name, count in covered.items()}


def other_intervals(outcomes: Outcomes, patients: NDArray[np.int64], seed: int) -> dict[str, tuple[float, float]]:
    """Return the intervals of macro F1 that were tried and left.

    Percentile and BCa (Efron 1987, J. Am. Stat. Assoc. 82:171-185) over patients; Dirichlet: each true class's row of
    the confusion matrix drawn with one image more, spread over its cells (Goutte & Gaussier 2005, LNCS 3408:345-359);
    delta: normal, with the variance between patients (Takahashi et al. 2022, Appl. Intell. 52:4961-4972).
    """
    value = float(macro_f1(whole_sample(outcomes))[0])
    resampled = np.concatenate([macro_f1(Sample(outcomes, w)) for w in resample_weights(patients, RESAMPLES, seed)])
    n_patients = int(patients.max()) + 1
    errors = value - macro_f1(Sample(outcomes, (patients[:, None] != np.arange(n_patients)).astype(float)))
    errors -= errors.mean()  # of leaving one patient out
    spread = Z * float(np.sqrt((n_patients - 1) / n_patients * (errors**2).sum()))
    acceleration = (errors**3).sum() / max(6 * (errors**2).sum() ** 1.5, 1e-12)
    normal, below = NormalDist(), np.mean(resampled < value) + np.mean(resampled == value) / 2
    bias = normal.inv_cdf(float(np.clip(below, 1 / RESAMPLES, 1 - 1 / RESAMPLES)))
    ends = [normal.cdf(bias + (bias + z) / (1 - acceleration * (bias + z))) for z in (-Z, Z)]
    confusion, generator = whole_sample(outcomes).confusion[0], np.random.default_rng(seed)
    rows = [generator.dirichlet(row + 1 / len(row), RESAMPLES) * row.sum() for row in confusion]
    smoothed = np.stack(rows, axis=1)
    sides = smoothed.sum(axis=1) + smoothed.sum(axis=2)
    scores = (2 * np.diagonal(smoothed, axis1=1, axis2=2) / sides).mean(axis=1)
    return {
        "percentile": tuple(np.quantile(resampled, [0.025, 0.975])),
        "BCa": tuple(np.quantile(resampled, ends)),
        "Dirichlet": tuple(np.quantile(scores, [0.025, 0.975])),
        "delta": (value - spread, value + spread),
    }


def write_table(title: str, rows: dict[Setting, dict[str, float]]) -> str:
    """Return Markdown: a line per setting, a column per method or metric; what strays far from 0.95 is bold."""
    heads = list(dict.fromkeys(head for row in rows.values() for head in row))
    cells = [[f"{row[head]:.3f}" if head in row else "" for head in heads] for row in rows.values()]
    cells = [[f"**{cell}**" if cell and abs(float(cell) - 0.95) > FAR else cell for cell in line] for line in cells]
    lines = [[setting.title, *line] for setting, line in zip(rows, cells, strict=True)]
    return f"{title}\n\n{tabulate(lines, ['Test patients, share right', *heads], 'pipe', disable_numparse=True)}\n"


def main() -> None:
    """Print the coverage of each setting: of macro F1 by every method, and of every metric by ours."""
    studies = int(sys.argv[1])
    ours = {setting: measure_coverage(setting, studies) for setting in SMALL + LARGE}
    macro = {s: {**compare_methods(s, studies), "ours": ours[s]["macro_f1"]} for s in SMALL + LARGE}
    print(INTRODUCTION.format(studies=studies, resamples=RESAMPLES, far=FAR))
    print(write_table("Macro F1 by method", macro))
    print(write_table("Every metric, by ours; each class's metrics over all classes together", ours))


if __name__ == "__main__":
    main()
