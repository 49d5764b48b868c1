"""What every reader is and gives: a list of images with label and patient, before any pixel is read."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cxrflow.records import RegionRow, RejectRow
from cxrflow.settings import DatasetSettings


@dataclass(frozen=True)
class Candidate:
    """One image that a dataset's rule selects; nothing of it has been read yet.

    Attributes:
        image_id: unique within the dataset.
        path: relative to the dataset's folder, forward slashes; bytes that are not UTF-8 stay surrogates (os.fsdecode).
        label: class name.
        patient_id: the patient; the image_id where the dataset names none.
        source: the part of the dataset that the file lies in (train, test, images_001, ...), or empty.
    """

    image_id: str
    path: str
    label: str
    patient_id: str
    source: str


@dataclass(frozen=True)
class Listing:
    """What a reader found in a folder.

    Attributes:
        candidates: in any order; indexing sorts them.
        rejects: files that are there and that the dataset's rule leaves out, kind `selection`.
        listed_missing: images that the dataset's own table selects and whose files are not there.
        regions: annotated regions of candidates.
        box_frame_px: side of the square in whose pixels the boxes are given, whatever the file's size is now; 0:
        the file's.
    """

    candidates: list[Candidate]
    rejects: list[RejectRow] = field(default_factory=list)
    listed_missing: int = 0
    regions: list[RegionRow] = field(default_factory=list)
    box_frame_px: int = 0


@dataclass(frozen=True)
class Reader:
    """One way in which a dataset lies on disk.

    Attributes:
        title: the layout's name, for people.
        layout: what the dataset's folder should contain, as a phrase that fits after "put ... into it".
        published_counts: images per class of the whole published set after this reader's rule; empty: not one set.
        list_images: `(folder, settings) -> Listing`; reads names and tables, no pixels.
            Raises CxrflowError: the folder is not laid out as expected.
    """

    title: str
    layout: str
    published_counts: dict[str, int]
    list_images: Callable[[Path, DatasetSettings], Listing]
