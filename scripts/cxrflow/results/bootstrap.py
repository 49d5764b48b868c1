"""95 % intervals over patients: of every metric of one model, and of differences between models.

The patient is resampled (cluster bootstrap: Field & Welsh 2007, J. R. Statist. Soc. B 69:369-390): images of one
patient are alike, and intervals that take them as independent are too narrow.

Every score lies between 0 and 1 and has Wilson's interval (1927, J. Am. Stat. Assoc. 22:209-212) with an effective
number of images, n = value (1 - value) / variance over the resamples. Of a share of images that is their number by the
design effect of patients with several (Kish 1965, Survey Sampling; recommended by Franco et al. 2019, J. Surv. Stat.
Methodol. 7:334-364); macro F1 and AUROC are taken the same way, and `tests/results/coverage.py` measures how often each
interval covers the truth. Where all resamples are equal, as they are at 0 and 1, n is the number of patients: a design
effect as if all images of a patient were the same. The interval never has zero width and never leaves 0 to 1.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from cxrflow.errors import CxrflowError
from cxrflow.files.formats import MIN_PATIENTS
from cxrflow.files.records import Predictions
from cxrflow.results.metrics import METRICS, Floats, Outcomes, Sample, macro_f1, recall, whole_sample

Ends = tuple[float | None, float | None]  # of an interval; None where there is none
LEVEL = 0.95
ROUNDING = 1e-12  # a variance below it is rounding
CHUNK = 100  # resamples made at once. It changes which patients are sampled: leave it


def patient_numbers(patient_ids: list[str]) -> NDArray[np.int64]:
    """Return int64 (n,): equal numbers, from 0, for images of the same patient."""
    numbers: NDArray[np.int64] = np.unique(np.array(patient_ids), return_inverse=True)[1].astype(np.int64)
    return numbers


def resample_weights(patients: NDArray[np.int64], resamples: int, seed: int) -> Iterator[Floats]:
    """Sample as many patients as there are, with replacement, `resamples` times; yield the weights of a few at a time.

    patients: int64 (n,), from 0 without gaps.
    Yields float64 (n, some), together (n, resamples): how often each image's patient was sampled; all images of a
    patient weigh the same.
    """
    generator = np.random.default_rng(seed)
    n_patients = int(patients.max()) + 1
    for start in range(0, resamples, CHUNK):
        some = min(CHUNK, resamples - start)
        sampled = generator.integers(n_patients, size=(some, n_patients))
        cell = sampled * some + np.arange(some)[:, None]  # (patient, resample): a patient's lie side by side
        times = np.bincount(cell.ravel(), minlength=n_patients * some).reshape(n_patients, some)
        yield times.astype(np.float64)[patients]


def count_patients(outcomes: Outcomes, patient_ids: list[str]) -> dict[str, NDArray[np.int64]]:
    """Return how many patients there are for each thing that metrics rest on (`Metric.rests_on`), by class.

    Each int64 (n_classes,), of patients with an image that is of the class (`true`), is of another class (`rest`), or
    is predicted to be of the class (`predicted`); `all` counts every patient.
    """
    patients = patient_numbers(patient_ids)
    shape = (int(patients.max()) + 1, outcomes.probabilities.shape[1])
    true, predicted = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    true[patients, outcomes.labels] = predicted[patients, outcomes.probabilities.argmax(axis=1)] = True
    rest = true.sum(axis=1, keepdims=True) > true  # of a class that is not this one
    counted = {"true": true, "rest": rest, "predicted": predicted, "all": np.ones(shape, np.bool_)}
    return {what: of_class.sum(axis=0) for what, of_class in counted.items()}


def count_behind(outcomes: Outcomes, patient_ids: list[str]) -> dict[str, NDArray[np.int64]]:
    """Return how many patients every metric of METRICS rests on: int64 (n_classes,), each class's least.

    Of accuracy, which rests on all images alike, (1,); of a mean over classes, those of the classes that occur.
    """
    counts = count_patients(outcomes, patient_ids)
    behind: dict[str, NDArray[np.int64]] = {}
    for name, metric in METRICS.items():
        least = np.minimum.reduce([counts[what] for what in metric.rests_on])
        of_means = least[:1] if metric.rests_on == ("all",) else least[counts["true"] > 0]
        behind[name] = least if metric.per_class else of_means
    return behind


def resample_metrics(outcomes: Outcomes, patient_ids: list[str], resamples: int, seed: int) -> dict[str, Floats]:
    """Return every metric of METRICS in every resample: float64 (resamples,), or (resamples, n_classes) per class.

    A class without a sampled image is undefined in that resample (NaN) and left out of its macro averages.
    """
    chunks: dict[str, list[Floats]] = {name: [] for name in METRICS}
    for weights in resample_weights(patient_numbers(patient_ids), resamples, seed):
        sample = Sample(outcomes, weights)
        stratified = sample.with_own_mix()
        for name, metric in METRICS.items():
            chunks[name].append(metric.compute(stratified if metric.depends_on_mix else sample))
    return {name: np.concatenate(values) for name, values in chunks.items()}


def wilson_interval(value: float, resampled: Floats, patients: NDArray[np.int64], level: float = LEVEL) -> Ends:
    """Return Wilson's interval of a score, with the effective number of images that its resamples show.

    value: 0 to 1. resampled: float64 (resamples,), NaN where it is undefined. patients: int64 (n,), of each class that
        the score is a plain mean over; fewer than MIN_PATIENTS of one give no interval, nor do no resamples.
    """
    return find_wilson(value, resampled, patients)(level)


def find_wilson(value: float, resampled: Floats, patients: NDArray[np.int64]) -> Callable[[float], Ends]:
    """Return Wilson's interval, as `wilson_interval`, as a function of its level."""
    defined = resampled[~np.isnan(resampled)]
    if len(defined) < 2 or patients.min() < MIN_PATIENTS:
        return lambda level: (None, None)
    variance = defined.var(ddof=1)
    n = value * (1 - value) / variance if variance > ROUNDING else len(patients) ** 2 / (1 / patients).sum()

    def find_ends(level: float) -> Ends:
        z = NormalDist().inv_cdf((1 + level) / 2)
        centre, half = value + z**2 / (2 * n), z * np.sqrt(value * (1 - value) / n + z**2 / (4 * n**2))
        low, high = (centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)
        return float(np.clip(low, 0, value)), float(np.clip(high, value, 1))  # at 0 and 1 rounding alone crosses them

    return find_ends


@dataclass(frozen=True)
class Estimate:
    """A value and its interval, of 95 % unless it was asked for at another level.

    The ends are None where nothing was resampled, or a class has too few patients.
    """

    value: float
    low: float | None
    high: float | None
    resampled: Floats  # float64 (resamples,), the value in each resample
    n_patients: int | None = None  # of the smallest class, where it rests on classes
    ends: Callable[[float], Ends] | None = None  # the interval by its level; None: it is known at this one only

    def at(self, level: float) -> "Estimate":
        """Return it with its interval at another level, 0 to 1.

        Raises:
            ValueError: its interval is known at one level only.
        """
        if self.ends is None:
            raise ValueError("this estimate was made without the interval's other levels")
        low, high = self.ends(level)
        return replace(self, low=low, high=high)


def make_estimate(
    value: float, ends: Callable[[float], Ends], resampled: Floats, n_patients: int | None = None
) -> Estimate:
    """Return an estimate with its 95 % interval, from its interval as a function of the level."""
    return Estimate(value, *ends(LEVEL), resampled, n_patients, ends)


def mean_macro_f1(procedures: Sequence[Sequence[Predictions]], resamples: int, seed: int) -> Estimate:
    """Return the mean over procedures of the mean macro F1 of their trainings, all on the same images.

    Without resamples where a class has too few patients. A procedure's trainings, which differ in their seed, are
    resampled, too, in each resample of patients anew (two levels: Bouthillier et al. 2021, Proc. MLSys 3:747-769): the
    interval is then of the procedure, not of these trainings alone. K - 1 of K are sampled, with which the variance of
    their mean is not underestimated (Rao & Wu 1988, J. Am. Stat. Assoc. 83:231-241).

    With equal seeds, every call on the same images sees the same resamples: what two models share (hard patients, easy
    patients) cancels out of the difference of their estimates.

    Raises:
        CxrflowError: the predictions are of different images.
    """
    first = procedures[0][0]
    patients = count_behind(Outcomes(first.labels, first.probabilities), first.patient_ids)["macro_f1"]
    return _average_trainings(procedures, resamples, seed, macro_f1, patients)


def mean_recall(procedures: Sequence[Sequence[Predictions]], label: int, resamples: int, seed: int) -> Estimate:
    """Return the mean recall of one class, number `label`, over procedures and trainings as `mean_macro_f1` does."""
    first = procedures[0][0]
    patients = count_behind(Outcomes(first.labels, first.probabilities), first.patient_ids)["recall"]
    return _average_trainings(
        procedures, resamples, seed, lambda sample: recall(sample)[:, label], patients[label : label + 1]
    )


def _average_trainings(
    procedures: Sequence[Sequence[Predictions]],
    resamples: int,
    seed: int,
    measure: Callable[[Sample], Floats],
    patients: NDArray[np.int64],
) -> Estimate:
    """Return the mean over procedures of the mean of a measure over their trainings, resampled on two levels."""
    check_same_images([each for trainings in procedures for each in trainings])
    outcomes = [[Outcomes(each.labels, each.probabilities) for each in trainings] for trainings in procedures]
    value = float(np.mean([np.mean([measure(whole_sample(each))[0] for each in group]) for group in outcomes]))
    parts = [[np.zeros((len(group), 0))] for group in outcomes]
    if patients.min() >= MIN_PATIENTS:
        for weights in resample_weights(patient_numbers(procedures[0][0].patient_ids), resamples, seed):
            for part, group in zip(parts, outcomes, strict=True):
                part.append(np.array([measure(Sample(each, weights)) for each in group]))
    generators = [np.random.default_rng([seed, number]) for number in range(len(parts))]
    means = [_resample_trainings(np.concatenate(p, axis=1), g) for p, g in zip(parts, generators, strict=True)]
    resampled = np.mean(means, axis=0)
    return make_estimate(value, find_wilson(value, resampled, patients), resampled, int(patients.min()))


def average_losses(losses: Floats, patient_ids: list[str], resamples: int, seed: int) -> Estimate:
    """Return the mean over trainings and images of values without bounds, resampled on the same two levels.

    Percentile interval; none of fewer than MIN_PATIENTS. losses: float64 (n_trainings, n).
    """
    patients = patient_numbers(patient_ids)
    n_patients, parts = int(patients.max()) + 1, [np.zeros((len(losses), 0))]
    if n_patients >= MIN_PATIENTS:
        parts += [losses @ weights / weights.sum(axis=0) for weights in resample_weights(patients, resamples, seed)]
    resampled = _resample_trainings(np.concatenate(parts, axis=1), np.random.default_rng([seed, 0]))

    def ends(level: float) -> Ends:
        if len(resampled) < 2:
            return None, None
        low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2]).tolist()
        return low, high

    return make_estimate(float(losses.mean()), ends, resampled, n_patients)


def _resample_trainings(scores: Floats, generator: np.random.Generator) -> Floats:
    """Return the mean of trainings sampled anew in each resample of patients. float64 (n_trainings, n) -> (n,)."""
    n_trainings, n = scores.shape
    if n_trainings == 1:
        return np.asarray(scores[0])
    sampled = generator.integers(n_trainings, size=(n_trainings - 1, n))
    return np.asarray(scores[sampled, np.arange(n)].mean(axis=0))


def average_images(
    shares: Mapping[str, Sequence[float]], patient_ids: list[str], resamples: int, seed: int
) -> dict[str, Estimate]:
    """Return the mean over images of each share, 0 to 1 and one per image; all see the same resamples."""
    values = np.array([*shares.values()], dtype=np.float64).T  # (n, shares)
    patients = patient_numbers(patient_ids)
    n_patients = np.array([patients.max() + 1])
    weights = np.concatenate([*resample_weights(patients, resamples, seed)], axis=1)  # (n, resamples)
    resampled = weights.T @ values / weights.sum(axis=0)[:, None]
    return {
        name: make_estimate(mean, find_wilson(mean, each, n_patients), each, int(n_patients[0]))
        for name, mean, each in zip(shares, values.mean(axis=0).tolist(), resampled.T, strict=True)
    }


def subtract_estimates(one: Estimate, other: Estimate) -> Estimate:
    """Return one minus the other; both come from the same images and seed.

    The distances of both from the ends of their intervals are added as correlated errors are, by the correlation of
    their resamples (MOVER: Zou & Donner 2008, Stat. Med. 27:1693-1702; for paired shares, Newcombe 1998, Stat. Med.
    17:2635-2650), so that two models without an error do not differ by exactly zero.
    """
    correlation = _correlate(one.resampled, other.resampled)

    def add_errors(first: float, second: float) -> float:
        return float(np.sqrt(max(0.0, first**2 + second**2 - 2 * correlation * first * second)))

    def find_ends(level: float) -> Ends:
        (low, high), (other_low, other_high) = _ends_at(one, level), _ends_at(other, level)
        if low is None or high is None or other_low is None or other_high is None:
            return None, None
        below = add_errors(one.value - low, other_high - other.value)
        above = add_errors(high - one.value, other.value - other_low)
        return one.value - other.value - below, one.value - other.value + above

    resampled, n_patients = one.resampled - other.resampled, _least_patients((one, other))
    return make_estimate(one.value - other.value, find_ends, resampled, n_patients)


def average_estimates(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of estimates from different patients, whose errors have nothing to do with each other (MOVER)."""
    value = float(np.mean([each.value for each in estimates]))

    def find_ends(level: float) -> Ends:
        ends = [_ends_at(each, level) for each in estimates]
        errors = [
            (each.value - low, high - each.value)
            for each, (low, high) in zip(estimates, ends, strict=True)
            if low is not None and high is not None
        ]
        if len(errors) < len(ends):
            return None, None
        below, above = (float(np.linalg.norm(side)) / len(errors) for side in zip(*errors, strict=True))
        return value - below, value + above

    return make_estimate(value, find_ends, np.zeros(0), _least_patients(estimates))


def _ends_at(estimate: Estimate, level: float) -> Ends:
    at = estimate if level == LEVEL else estimate.at(level)
    return at.low, at.high


def _least_patients(estimates: Sequence[Estimate]) -> int | None:
    return min((each.n_patients for each in estimates if each.n_patients is not None), default=None)


def divide_estimates(one: Estimate, other: Estimate) -> Estimate:
    """Return one divided by the other; both come from the same images and seed.

    The interval holds every ratio at which `one - ratio * other` does not differ from zero (Fieller 1954, J. R.
    Statist. Soc. B 16:175-185), with the interval of that difference by MOVER (for ratios: Donner & Zou 2012, Stat.
    Methods Med. Res. 21:347-359). There is none where the divisor's own reaches down to zero: the ratio could then be
    anything.
    """
    from scipy.optimize import brentq  # here: most who need an interval need no ratio

    positive = np.where(other.resampled > 0, other.resampled, np.nan)
    value, resampled = one.value / other.value if other.value > 0 else float("nan"), one.resampled / positive
    n_patients = _least_patients((one, other))
    if one.low is None or one.high is None or other.low is None or other.low <= 0:
        return Estimate(value, None, None, resampled, n_patients)

    def find_ratio(end: str, towards: float) -> float:
        step = 1.0  # the difference falls as the ratio grows: at the value `low` is below zero and `high` above
        while towards * getattr(subtract_scaled(value + towards * step), end) > 0:
            step *= 2
        return float(brentq(lambda ratio: getattr(subtract_scaled(ratio), end), value, value + towards * step))

    def subtract_scaled(ratio: float) -> Estimate:
        return subtract_estimates(one, scale_estimate(other, ratio))

    return Estimate(value, find_ratio("low", -1.0), find_ratio("high", 1.0), resampled, n_patients)


def scale_estimate(estimate: Estimate, factor: float, shift: float = 0.0) -> Estimate:
    """Return factor * estimate + shift."""

    def find_ends(level: float) -> Ends:
        low, high = (None if end is None else factor * end + shift for end in _ends_at(estimate, level))
        return (low, high) if factor >= 0 else (high, low)

    resampled = factor * estimate.resampled + shift
    return make_estimate(factor * estimate.value + shift, find_ends, resampled, estimate.n_patients)


def _correlate(first: Floats, second: Floats) -> float:
    """Return the correlation of resamples where both are defined; 0, which widens, where one of them never varies."""
    defined = ~np.isnan(first + second)
    if not defined.any():
        return 0.0
    errors = [values[defined] - values[defined].mean() for values in (first, second)]
    size = float(np.sqrt((errors[0] ** 2).sum() * (errors[1] ** 2).sum()))
    return float(errors[0] @ errors[1]) / size if size > ROUNDING else 0.0


def check_same_images(predictions: Sequence[Predictions]) -> None:
    """Raise CxrflowError unless all predictions are of the same images with the same labels."""
    described = [(each.image_ids, each.patient_ids, each.labels.tolist(), each.class_names) for each in predictions]
    if any(each != described[0] for each in described):
        raise CxrflowError(
            "models of one dataset were evaluated on different images, so their scores cannot be paired: delete the"
            " predictions.csv and val_predictions.csv of all its models and run evaluate again"
        )
