"""What every reader is and gives: a list of images with label and patient, before any pixel is read."""

from dataclasses import dataclass, field

from cxrflow.files.records import RegionRow, RejectRow


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
