"""From a network's logits to probabilities that can be believed: fitted on validation images, applied with numpy alone.

A loss with class weights teaches a network the posterior that it would have if each class were as common as its weight
makes it, so the weights are taken back first (Saerens et al. 2002, Neural Computation 14:21-41). Then one temperature
for all classes mends how sure it is (Guo et al. 2017, ICML), and one bias per class what is left (bias-corrected
temperature scaling: Alexandari et al. 2020, ICML).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrflow.errors import CxrflowError
from cxrflow.files.formats import FEW_PATIENTS
from cxrflow.files.records import Predictions

Floats = NDArray[np.float64]
SUM_TOLERANCE = 0.01  # by how much given shares may miss 1


@dataclass(frozen=True)
class Calibration:
    """Turns logits into probabilities, softmax(logits / temperature + shift), and says below which not to answer.

    Attributes:
        class_names: in the order of the logits.
        temperature: above 1 where the network is too sure of itself.
        shift: one per class, added to the logits.
        prevalence: share of each class that the probabilities assume, adding up to 1.
        threshold: a most probable class below it is not named; 0: always named.
        biased: whether a bias was fitted for each class.
        n_images, n_patients: of the validation images; of patients, those of the smallest class.
    """

    class_names: list[str]
    temperature: float
    shift: list[float]
    prevalence: list[float]
    threshold: float = 0.0
    biased: bool = False
    n_images: int = 0
    n_patients: int = 0

    def calibrate(self, logits: NDArray[Any]) -> Floats:
        """Return probabilities, float64 (n, n_classes), of logits, (n, n_classes), each row up to a constant."""
        return softmax(np.asarray(logits, np.float64) / self.temperature + np.asarray(self.shift))

    def choose(self, probabilities: Floats) -> int | None:
        """Return the number of the most probable class, from probabilities (n_classes,); None: too unsure to say."""
        best = int(probabilities.argmax())
        return best if probabilities[best] >= self.threshold else None

    def with_prevalence(self, shares: Mapping[str, float]) -> "Calibration":
        """Return the same for patients of whom each class has another share.

        shares: {class: share}, each above 0, together 1.

        Raises:
            CxrflowError: a class is missing or unknown, or the shares are none.
        """
        if set(shares) != set(self.class_names):
            raise CxrflowError(
                f"the prior names {', '.join(shares)}, and the model knows {', '.join(self.class_names)}: name each of"
                " them once"
            )
        new = np.array([shares[name] for name in self.class_names])
        if not (new > 0).all() or not abs(new.sum() - 1) <= SUM_TOLERANCE:
            raise CxrflowError(
                f"the prior {', '.join(f'{name}={share:g}' for name, share in shares.items())} is not made of shares:"
                " each is above 0, and together they are 1"
            )
        new = new / new.sum()
        shift = np.asarray(self.shift) + np.log(new) - np.log(self.prevalence)
        return dataclasses.replace(self, shift=shift.tolist(), prevalence=new.tolist())

    def describe_prevalence(self) -> str:
        """Return in one sentence how common the probabilities take each class to be."""
        shares = [f"{name} {100 * share:.3g} %" for name, share in zip(self.class_names, self.prevalence, strict=True)]
        return f"The probabilities assume that of the people X-rayed have: {', '.join(shares)}."


def softmax(logits: Floats) -> Floats:
    """Return the softmax of each row of float64 (n, n_classes)."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def read_logits(predictions: Predictions) -> Floats:
    """Return logits, float64 (n, n_classes), of saved probabilities: their logarithms, which differ by a constant."""
    return np.log(np.maximum(predictions.probabilities, np.finfo(np.float64).tiny))


def parse_prevalence(text: str) -> dict[str, float]:
    """Read `Normal=0.9,COVID=0.1`.

    Raises:
        CxrflowError: it is not of this form, or a class is named twice.
    """
    pairs = [part.rpartition("=") for part in text.split(",")]
    try:
        shares = {name.strip(): float(share) for name, _, share in pairs}
    except ValueError:
        raise CxrflowError(f"the prior {text!r} cannot be read: expected CLASS=SHARE,CLASS=SHARE") from None
    if len(shares) < len(pairs):
        raise CxrflowError(f"the prior {text!r} names a class twice")
    return shares


def parse_calibration(values: Mapping[str, Any], class_names: Sequence[str], where: str) -> Calibration:
    """Read what `dataclasses.asdict` made of a Calibration; `where` is named in errors.

    Raises:
        CxrflowError: it lacks something, or is of a model with other classes.
    """
    try:
        calibration = Calibration(**values)
    except TypeError as error:
        raise CxrflowError(
            f"{where} is not a calibration of this version ({error}): make it again (`snakemake deliver`)"
        ) from None
    if calibration.class_names != list(class_names):
        raise CxrflowError(f"{where} is of a model with other classes: make it again (`snakemake deliver`)")
    return calibration


def fit_calibration(
    validation: Predictions, class_weights: Mapping[str, float], train_shares: Mapping[str, float]
) -> Calibration:
    """Return the calibration that makes the validation labels most likely.

    A bias per class is fitted only where each class has FEW_PATIENTS validation patients; without it the weights of the
    loss are taken back all the same. Temperature and bias are held towards 1 and 0 as by one further patient (a normal
    prior of deviation 1 on log T and on each bias), so that validation images without an error do not make it certain.

    class_weights: of the loss, {class: weight}. train_shares: {class: share of the train images}.
    """
    names = validation.class_names
    n_patients = min(count_patients(validation))
    biased = n_patients >= FEW_PATIENTS
    prior = -np.log([class_weights[name] for name in names])
    temperature, bias = fit_scale(read_logits(validation), prior, validation, biased=biased)
    counts = np.bincount(validation.labels, minlength=len(names))
    shares = counts / counts.sum() if biased else np.array([train_shares[name] for name in names])
    return Calibration(
        class_names=list(names),
        temperature=temperature,
        shift=(prior + bias).tolist(),
        prevalence=(shares / shares.sum()).tolist(),
        biased=biased,
        n_images=len(validation.labels),
        n_patients=n_patients,
    )


def calibrate_model(
    validation: Predictions, class_weights: Mapping[str, float], train_counts: Mapping[str, int], answered: float
) -> Calibration:
    """Return the calibration that a model is delivered with, fitted on its validation predictions.

    class_weights: of the loss, {class: weight}. train_counts: {class: train images}. answered: share of the images for
    which a class is named at least.
    """
    shares = {name: count / sum(train_counts.values()) for name, count in train_counts.items()}
    calibration = fit_calibration(validation, class_weights, shares)
    threshold = fit_threshold(calibration.calibrate(read_logits(validation)), answered)
    return dataclasses.replace(calibration, threshold=threshold)


def fit_threshold(probabilities: Floats, answered: float) -> float:
    """Return the greatest threshold at which at least a share of images is answered, one more than there are counted.

    The image to come is one of n + 1, each as likely to be the least sure (split conformal: Vovk et al. 2005); where
    that leaves none to spare, 0: every image is answered. probabilities: float64 (n, n_classes).
    """
    confidence = np.sort(probabilities.max(axis=1))[::-1]
    needed = int(np.ceil(answered * (len(confidence) + 1)))
    return float(confidence[needed - 1]) if needed <= len(confidence) else 0.0


def count_patients(predictions: Predictions) -> list[int]:
    """Return the patients with an image of each class."""
    pairs = set(zip(predictions.labels.tolist(), predictions.patient_ids, strict=True))
    return [sum(label == k for label, _ in pairs) for k in range(len(predictions.class_names))]


def fit_scale(logits: Floats, prior: Floats, found: Predictions, *, biased: bool) -> tuple[float, Floats]:
    """Return temperature and bias, float64 (n_classes,), of the greatest penalised likelihood of the labels.

    logits: float64 (n, n_classes); prior: float64 (n_classes,), added to the scaled logits.
    """
    from scipy.optimize import minimize  # here: who only applies a calibration needs no scipy

    n, n_classes = logits.shape
    n_patients = len(set(found.patient_ids))
    truth = np.eye(n_classes)[found.labels]

    def measure_loss(parameters: Floats) -> tuple[float, Floats]:
        scaled = logits * np.exp(-parameters[0])
        probabilities = softmax(scaled + prior + (parameters[1:] if biased else 0.0))
        loss = -np.log(np.maximum(probabilities[np.arange(n), found.labels], np.finfo(np.float64).tiny)).mean()
        wrong = (probabilities - truth) / n
        slope = np.array([-(wrong * scaled).sum(), *(wrong.sum(axis=0) if biased else np.zeros(n_classes))])
        return float(loss + parameters @ parameters / (2 * n_patients)), slope + parameters / n_patients

    best = minimize(measure_loss, np.zeros(1 + n_classes), jac=True, method="L-BFGS-B", options={"gtol": 1e-9}).x
    return float(np.exp(best[0])), np.asarray(best[1:])
