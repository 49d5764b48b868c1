"""The rows that stages hand to each other: one dataclass per CSV file, the columns in this order.

Rows of different files are joined by their image_id, never by their place: a table may have been sorted.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cxrflow.errors import CxrflowError
from cxrflow.files.tables import read_records, read_table, write_table

if TYPE_CHECKING:  # the Snakefile reads the readers' table through here, and planning needs no numpy
    import numpy as np
    from numpy.typing import NDArray

AGAIN = "it was edited or damaged; delete it and run evaluate again"
SUBSETS = ("train", "val", "test")
NO_FINDINGS = "none"  # the findings of an image that may have several and has none


@dataclass(frozen=True, slots=True)
class IndexRow:
    """index.csv: one kept image.

    Attributes:
        image_id: unique within the dataset.
        path: relative to the dataset's folder, with forward slashes.
        label: class name. Classes are in alphabetical order wherever they are numbered.
        patient_id: images of one patient never cross subsets; the image_id where the dataset names no patient.
        source: the part of the dataset that the file came from (train, test, images_001, ...).
        width: pixels, of the file.
        height: pixels, of the file.
        mode: Pillow's mode of the file (L, RGB, RGBA, I;16, ...).
        sha256: of the file's bytes; preprocess checks it.
        pixel_sha256: of the decoded gray pixels and their shape; images with equal ones stay together.
        part: its subset in the dataset's own split (train, val or test); empty where it publishes none.
        metadata: what its table says of it beside the label, `view=PA sex=F age_years=58 follow_up=3`, or empty;
            `ignored=Edema|Hernia` are its findings that the dataset's rule takes no notice of; `findings=Mass|Nodule`
            or `findings=none` its labels, where an image may have several.
        size_bytes: of the file.
    """

    image_id: str
    path: str
    label: str
    patient_id: str
    source: str
    width: int
    height: int
    mode: str
    sha256: str
    pixel_sha256: str
    part: str = ""
    metadata: str = ""
    size_bytes: int = 0

    @property
    def facts(self) -> dict[str, str]:
        """The metadata by name."""
        return dict(fact.split("=", 1) for fact in self.metadata.split(" ") if fact)

    @property
    def findings(self) -> str:
        """Its labels where an image may have several, as in split.csv; else empty."""
        return self.facts.get("findings", "")


@dataclass(frozen=True, slots=True)
class RejectRow:
    """rejects.csv: one image that was there, or should be, and is not kept.

    Attributes:
        image_id: as in the index; the escaped file name where there is none.
        path: relative to the dataset's folder; bytes that are not UTF-8 are escaped.
        label: class name, or empty.
        kind: `selection` (the rule leaves it out), `missing` (the dataset's table lists it, and there is no file),
            `unreadable`, `conflict` (equal pixels, other label) or `cap`.
        reason: one sentence.
    """

    image_id: str
    path: str
    label: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class RegionRow:
    """regions.csv: one annotated region of a kept image.

    Attributes:
        image_id: as in the index.
        kind: `lesion` or `lungs`.
        x_px, y_px, width_px, height_px: a box in the file's pixels, top left corner first; all 0 where a mask is given.
        mask_path: PNG relative to the dataset's folder, non-zero inside, any size with the image's aspect; or empty.
        mask_sha256: of the mask's bytes; evaluate checks it. Empty for a box.
    """

    image_id: str
    kind: str
    x_px: float
    y_px: float
    width_px: float
    height_px: float
    mask_path: str
    mask_sha256: str = ""


@dataclass(frozen=True, slots=True)
class PackedRow:
    """images.csv, beside images.npy: one packed image, in the array's order.

    Attributes:
        image_id: as in the index.
        crc32: of the image's pixels (zlib.crc32), checked wherever they are read.
    """

    image_id: str
    crc32: int


@dataclass(frozen=True, slots=True)
class CopyRow:
    """copies.csv: two images of a study that show the same exposure, or may.

    Attributes:
        dataset, image_id, other_dataset, other_image_id: the two images.
        kind: `copy`, or `look-alike` for what a person should look at.
        view: how the second lies on the first: whole, cut, turned, mirrored; inverse.
        distance: bits of 256 in which their hashes differ.
        correlation: of the registered pictures, -1 to 1.
    """

    dataset: str
    image_id: str
    other_dataset: str
    other_image_id: str
    kind: str
    view: str
    distance: int
    correlation: float

    @property
    def first(self) -> tuple[str, str]:
        """Dataset and image_id of the first image."""
        return self.dataset, self.image_id

    @property
    def second(self) -> tuple[str, str]:
        """Dataset and image_id of the second image."""
        return self.other_dataset, self.other_image_id


@dataclass(frozen=True, slots=True)
class GroupRow:
    """groups.csv: one image that copies join with others, of the same dataset or not.

    Attributes:
        dataset, image_id, label: the image.
        group: equal for all images of the group.
        patient_id: as in the index; the group where the dataset names no patient.
        subset: where the group lies in every dataset that it spans; empty where it spans one, or as is published.
        left_out: why the image is not used; empty: it is.
    """

    dataset: str
    image_id: str
    label: str
    group: str
    patient_id: str
    subset: str = ""
    left_out: str = ""


@dataclass(frozen=True, slots=True)
class LungsRow:
    """lungs.csv: where a network found the lungs of one image.

    Attributes:
        dataset, image_id: the image.
        x, y, width, height: the box around both, in shares of the image's sides, top left corner first; all 0 where it
            found none or a box that no lungs have.
    """

    dataset: str
    image_id: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class SplitRow:
    """split.csv and test.csv: the subset of one kept image, in index order. The test images are in test.csv alone.

    Attributes:
        image_id, label, patient_id: as in the index.
        group: patients and duplicates joined; a group never crosses subsets.
        subset: train, val or test.
        decided_by: what put it there: `seed`, or `published` for the dataset's own split.
        findings: where an image may have several labels, those that it has, `Mass|Nodule` or `none`; else empty.
    """

    image_id: str
    label: str
    patient_id: str
    group: str
    subset: str
    decided_by: str = "seed"
    findings: str = ""


def list_findings(row: IndexRow | SplitRow) -> list[str]:
    """Return the labels of an image that may have several; none where it has one class."""
    return [] if row.findings in ("", NO_FINDINGS) else row.findings.split("|")


def list_labels(row: IndexRow | SplitRow) -> list[str]:
    """Return what an image counts as in a split: its findings, or else its class."""
    return list_findings(row) or [row.label]


def read_split(split: Path, test: Path) -> list[SplitRow]:
    """Read split.csv and test.csv together, for what describes a whole dataset; nothing that trains or chooses may."""
    return [*read_records(split, SplitRow), *read_records(test, SplitRow)]


@dataclass(frozen=True)
class EpochRow:
    """history.csv: one epoch.

    Attributes:
        epoch: from 1.
        learning_rate: at the epoch's first step.
        train_loss, train_macro_f1: over the epoch's augmented batches, in training mode.
        val_loss, val_macro_f1: after the epoch; the loss carries the same class weights.
        seconds: wall time of training and validation, without writing.
        images_per_s: train images over the seconds spent training on them.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    train_macro_f1: float
    val_loss: float
    val_macro_f1: float
    seconds: float
    images_per_s: float


@dataclass(frozen=True)
class LocalizationRow:
    """gradcam.csv: the map of one scored test image against one kind of region.

    Attributes:
        image_id, patient_id: as in the index.
        label: the true class, which the map explains.
        predicted: class name.
        region: `lesion` or `lungs`.
        inside_share, inside_share_random, inside_share_fixed: 0 to 1, of the map's heat; of random maps' on average,
            and of a fixed place's (NaN where none is known).
        inside_share_uniform: the region's share of the image.
        hit, hit_random, hit_fixed: 1 when the maximum lies in the region, else 0; between them where it is several
            pixels, and on average.
        empty_map: 1 when the map is 0 everywhere; its inside_share and hit are 0.
    """

    image_id: str
    patient_id: str
    label: str
    predicted: str
    region: str
    inside_share: float
    inside_share_random: float
    inside_share_fixed: float
    inside_share_uniform: float
    hit: float
    hit_random: float
    hit_fixed: float
    empty_map: int


@dataclass(frozen=True)
class Predictions:
    """predictions.csv: the test images, in index order.

    Attributes:
        image_ids, patient_ids: one per image.
        labels: int64 (n,), index of the true class.
        probabilities: float64 (n, n_classes), rows sum to 1.
        class_names: alphabetical.
    """

    image_ids: list[str]
    patient_ids: list[str]
    labels: "NDArray[np.int64]"
    probabilities: "NDArray[np.float64]"
    class_names: list[str]

    @property
    def predicted(self) -> "NDArray[np.int64]":
        """int64 (n,), index of the most probable class; the first of equals."""
        predicted: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return predicted


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions.csv: image_id, patient_id, label, predicted, and one column `p(class)` per class."""
    names = predictions.class_names
    columns = ["image_id", "patient_id", "label", "predicted", *(f"p({name})" for name in names)]
    rows = (
        {
            "image_id": image_id,
            "patient_id": patient_id,
            "label": names[label],
            "predicted": names[predicted],
            **{f"p({name})": float(p) for name, p in zip(names, row, strict=True)},
        }
        for image_id, patient_id, label, predicted, row in zip(
            predictions.image_ids,
            predictions.patient_ids,
            predictions.labels,
            predictions.predicted,
            predictions.probabilities,
            strict=True,
        )
    )
    write_table(path, columns, rows)


def read_predictions(path: Path) -> Predictions:
    """Read predictions.csv.

    Raises:
        CxrflowError: columns are missing, the file has no rows or an image twice, or a row is not a prediction: unknown
        classes, probabilities that are not 0 to 1 or do not add up to 1, or another predicted class than theirs.
    """
    import numpy as np

    rows = read_table(path, ["image_id", "patient_id", "label", "predicted"])
    if not rows:
        raise CxrflowError(f"{path} has no rows: the test subset is empty; run evaluate again")
    names = [column[2:-1] for column in rows[0] if column.startswith("p(")]
    number = {name: place for place, name in enumerate(names)}
    try:
        probabilities = np.array([[float(row[f"p({name})"]) for name in names] for row in rows], dtype=np.float64)
        labels, predicted = (
            np.array([number[row[column]] for row in rows], dtype=np.int64) for column in ("label", "predicted")
        )
    except (ValueError, TypeError, KeyError) as error:
        raise CxrflowError(f"{path} has a value that is not a class or a number ({error}): {AGAIN}") from None
    predictions = Predictions(
        [row["image_id"] for row in rows], [row["patient_id"] for row in rows], labels, probabilities, names
    )
    # NaN fails every comparison, so it is found too. Softmax in float32 adds up to 1 within 1e-6.
    is_prediction = (probabilities >= 0).all(axis=1) & (abs(probabilities.sum(axis=1) - 1) < 1e-4)
    faults = np.flatnonzero(~is_prediction | (predicted != predictions.predicted))
    if len(faults):
        raise CxrflowError(f"{path}: the row of {predictions.image_ids[faults[0]]} is not a prediction: {AGAIN}")
    if len(set(predictions.image_ids)) < len(rows):
        raise CxrflowError(f"{path} has an image twice: {AGAIN}")
    return predictions
