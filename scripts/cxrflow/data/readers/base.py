"""What every reader returns, and how it looks into folders for image files."""

import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cxrflow.data.readers.keys import quote_names
from cxrflow.errors import CxrflowError, escape_controls
from cxrflow.files.records import RegionRow, RejectRow

# Also formats that are refused later: a folder of HEIC files must not look like an empty one.
IMAGE_SUFFIXES = (
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif", ".pgm", ".pbm",
    ".ppm", ".pnm", ".jp2", ".j2k", ".avif", ".heic", ".heif", ".dcm", ".dicom",
)  # fmt: skip
# Not looked into: no images, parts and copies of files, and what begins like a TIFF with a preview in it.
OTHER_SUFFIXES = frozenset((
    ".csv", ".tsv", ".txt", ".md", ".html", ".xml", ".json", ".yaml", ".yml", ".xls", ".xlsx", ".ods", ".pdf", ".doc",
    ".docx", ".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".npy", ".npz", ".mat", ".h5", ".hdf5", ".pt",
    ".pth", ".onnx", ".py", ".ipynb", ".log", ".bak", ".tmp", ".part", ".crdownload", ".dng", ".nef", ".cr2", ".svs",
))  # fmt: skip
# How the formats above begin: PNG, JPEG, BMP, TIFF, GIF, PGM and its kin, JPEG 2000, AVIF and HEIC, WebP, DICOM.
IMAGE_START = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|BM.{4}\0{4}|II\*\0|MM\0\*|GIF8[79]a|P[1-6]\s+(?:#[^\n]*\s+)*\d+\s+\d+\s"
    rb"|\0{3}\x0cjP  |\xff\x4f\xff\x51|.{4}ftyp(?:avif|heic|mif1)|RIFF.{4}WEBP|.{128}DICM|[\x02\x08]\0.\0[A-Z]{2}",
    re.DOTALL,
)


LITTER = frozenset(("__MACOSX", "lost+found", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information"))


@dataclass(frozen=True)
class Candidate:
    """One image that a dataset's rule selects; nothing of it has been read yet.

    Attributes:
        image_id: unique within the dataset.
        path: relative to the dataset's folder, forward slashes; bytes that are not UTF-8 stay surrogates (os.fsdecode).
        label: from a reader: the folder, cell or finding that names the class; from `list_dataset`: the class name.
        patient_id: the patient; from a reader empty where the dataset names none, then the image_id.
        source: the part of the dataset that the file lies in (train, test, images_001, ...), or empty.
        part: its subset in the dataset's own split (train, val or test); empty where it publishes none.
        metadata: as in the index.
    """

    image_id: str
    path: str
    label: str
    patient_id: str
    source: str
    part: str = ""
    metadata: str = ""


@dataclass(frozen=True)
class Listing:
    """What a reader found in a folder.

    Attributes:
        candidates: in any order; indexing sorts them.
        rejects: files that the dataset's rule leaves out, kind `selection`, and images that its own table lists and
            whose files are missing, kind `missing`.
        regions: annotated regions of candidates.
        box_frame_px: side of the square in whose pixels the boxes are given, whatever the file's size is now; 0:
            the file's.
        classes: {label: class name} that the reader keeps where the settings name no classes; empty: every label.
        notes: what was chosen, passed over or joined, one sentence each.
    """

    candidates: list[Candidate]
    rejects: list[RejectRow] = field(default_factory=list)
    regions: list[RegionRow] = field(default_factory=list)
    box_frame_px: int = 0
    classes: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def listed_missing(self) -> int:
        """Images that the dataset's own table lists and whose files are missing."""
        return sum(row.kind == "missing" for row in self.rejects)

    def write_notes(self) -> str:
        """Return the notes as the end of a message."""
        return "".join(f". Note: {note}" for note in self.notes)


def is_litter(name: str) -> bool:
    """Say whether a name is left by a system: hidden files, `._x` twins, `__MACOSX`, thumbnails of a file server, bins.

    The placeholder of a file that iCloud has not downloaded is hidden, too, and no litter: an image is missing.
    """
    return (name.startswith(".") and not name.endswith(".icloud")) or name in LITTER


def image_names(folder: Path) -> list[str]:
    """Return the sorted names of the image files directly in a folder; none where it does not exist."""
    return [name for name in _entries(folder, folders=False) if is_image(folder / name)]


def is_image(path: Path) -> bool:
    """Say whether a file counts as an image: by its suffix or, where that tells nothing, by its first bytes."""
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES or suffix in OTHER_SUFFIXES:
        return suffix in IMAGE_SUFFIXES
    try:
        if not path.is_file():  # a pipe without a writer would never open
            return False
        with path.open("rb") as handle:
            return IMAGE_START.match(handle.read(256)) is not None
    except OSError:
        return False


def folder_names(folder: Path) -> list[str]:
    """Return the sorted names of the folders directly in a folder; none where it does not exist."""
    return _entries(folder, folders=True)


def _entries(folder: Path, folders: bool) -> list[str]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if not is_litter(e.name) and e.is_dir() == folders)


def refuse_closed(error: OSError) -> None:
    """Stop at a folder that cannot be looked into: its images would be missing without a word.

    One that does not exist holds none; the caller reports that.
    """
    if isinstance(error, FileNotFoundError):
        return
    reason = os.strerror(error.errno or 0)
    raise CxrflowError(f"the folder {error.filename} cannot be opened ({reason}): make it readable, or move it away")


def walk_images(
    folder: Path,
    skip: str = "",
    on_closed: Callable[[OSError], None] = refuse_closed,
    on_repeated: Callable[[str], None] = lambda _place: None,
    others: Counter[str] | None = None,
) -> list[str]:
    """Return the paths of every image below a folder, relative to it, with forward slashes, sorted.

    Linked folders are followed, because data on a cluster is often a link; a loop of links is entered once.

    skip: one relative folder to leave out (the lesion masks), or empty.
    on_closed: called with the error of a folder below that cannot be opened, whose name is in its `filename`.
    on_repeated: called with a link to a folder that was entered already, whose images are not listed again.
    others: counts the files that are no images, by suffix in lower case; hidden files do not count.

    Raises:
        CxrflowError: a folder below cannot be opened, by default.
    """
    seen: set[tuple[int, int]] = set()
    found: list[str] = []
    left_out = os.path.normpath(folder / skip) if skip else None
    for place, folders, names in os.walk(folder, onerror=on_closed, followlinks=True):
        status = os.stat(place)
        repeated = (status.st_dev, status.st_ino) in seen
        if repeated or os.path.normpath(place) == left_out:
            folders.clear()
            if repeated:
                on_repeated(os.path.relpath(place, folder))
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not is_litter(name))
        base = os.path.relpath(place, folder)
        for name in (each for each in names if not is_litter(each)):
            if is_image(Path(place, name)):
                found.append(name if base == "." else f"{base}/{name}")
            elif others is not None:
                others[Path(name).suffix.lower()] += 1
    return sorted(found)


def describe_others(others: Counter[str]) -> str:
    """Say how many files of which suffixes are no images; empty where none are."""
    if not others:
        return ""
    kinds = ", ".join(f"{n:,} {escape_name(suffix) or 'without suffix'}" for suffix, n in sorted(others.items()))
    return f"files that are no images: {kinds}"


def walk_dataset(folder: Path, skip: str, notes: list[str]) -> list[str]:
    """Walk a dataset's folder as `walk_images` does; links to folders that were entered already go into the notes."""
    repeated: list[str] = []
    paths = walk_images(folder, skip, on_repeated=repeated.append)
    if repeated:
        notes.append(
            f"{quote_names(map(escape_name, repeated))}: linked to folders that are read already, and not read again"
        )
    return paths


def relative_path(root: Path, folder: Path, name: str) -> str:
    """Return `root/name` relative to `folder`, with forward slashes."""
    return (root / name).relative_to(folder).as_posix()


def describe_folder(folder: Path, limit: int = 8) -> str:
    """Say in a few words what a folder holds, for an error message."""
    if not folder.is_dir():
        return "it does not exist"
    names = [f"{name}/" for name in folder_names(folder)] + _entries(folder, folders=False)
    if not names:
        return "it is empty"
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"it holds {', '.join(escape_name(name) for name in names[:limit])}{more}"


def escape_name(name: str) -> str:
    r"""Return a name as one line that any terminal and CSV can hold.

    Bytes that are not UTF-8 become `\xe9`, and control characters, such as a terminal's commands, `\x1b` or `\n`.
    """
    return escape_controls(os.fsencode(name).decode("utf-8", "backslashreplace"))


def layout_error(folder: Path, expected: str) -> CxrflowError:
    """Build the error for a folder of another layout: what was expected and what was found."""
    return CxrflowError(
        f"{folder} is not laid out as expected: expected {expected}; {describe_folder(folder)}."
        " Choose another reader in the config, or put the data there as its owners publish it"
    )
