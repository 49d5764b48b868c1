"""Build the index of a dataset: every image read once, hashed, and kept or refused with a reason.

Reads the dataset's folder. Nothing is written here; scripts/index.py writes what this returns.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrflow.config.settings import DatasetSettings, IndexSettings
from cxrflow.data.capping import rank_images
from cxrflow.data.readers import list_dataset
from cxrflow.data.readers.base import Candidate, Listing, escape_name
from cxrflow.data.reading import ImageFacts, map_in_threads, read_facts, sequence_in_threads
from cxrflow.errors import CxrflowError, is_control
from cxrflow.files.atomic import sha256_file
from cxrflow.files.records import IndexRow, RegionRow, RejectRow

NOT_UTF8 = "its file name is not UTF-8: rename it"
CONTROLS = "its class has control characters in its name: rename it, or name it with datasets.<name>.classes"
CONFLICT = "its pixels equal those of an image with another label"
CAPPED = "beyond max_images_per_class"


Keep = Callable[[str, NDArray[np.uint8]], None]


@dataclass(frozen=True)
class Index:
    """A dataset's kept images, sorted by image_id, what was refused, the regions of kept images, and the notes."""

    rows: list[IndexRow]
    rejects: list[RejectRow]
    regions: list[RegionRow]
    notes: list[str]


def build_index(
    folder: Path, dataset: DatasetSettings, settings: IndexSettings, threads: int, keep: Keep | None = None
) -> Index:
    """List, read and check a dataset; the result depends on neither the order of files nor the number of threads.

    keep: called with the image_id and the thumbnail of every image that is read.

    Raises:
        CxrflowError: another layout, too many unreadable images, or a class of which nothing is left.
    """
    listing = list_dataset(folder, dataset)
    named, misnamed = refuse_misnamed(listing.candidates)
    reader = _Reader(folder, settings, threads, len(listing.candidates), misnamed, keep)
    capped = reader.read_capped(named) if settings.max_images_per_class else reader.read_all(named)
    rows, conflicts = refuse_conflicts(sorted(reader.rows, key=lambda row: row.image_id))
    check_classes(folder, listing, rows, [*reader.rejects, *conflicts, *capped])
    rejects = [_escaped(row) for row in [*listing.rejects, *reader.rejects, *conflicts, *capped]]
    regions = sign_masks(keep_regions(listing, rows), folder, threads)
    notes = [f"of {n:,} image{'s' * (n > 1)}: {note}" for note, n in sorted(reader.notes.items())]
    return Index(rows, sorted(rejects, key=lambda row: row.path), regions, [*listing.notes, *notes])


def refuse_misnamed(candidates: Sequence[Candidate]) -> tuple[list[Candidate], list[RejectRow]]:
    """Part the candidates into those with names that can be written, sorted by image_id, and refused ones."""
    named, refused = [], []
    for each in sorted(candidates, key=lambda each: each.image_id):
        if not _is_utf8(each.path + each.patient_id + each.label):
            refused.append(_reject(each, "unreadable", NOT_UTF8))
        elif any(map(is_control, each.label)):  # every stage prints it
            refused.append(_reject(each, "unreadable", CONTROLS))
        else:
            named.append(each)
    return named, refused


class _Reader:
    """Reads candidates and sorts them into rows and rejects; stops when too many are unreadable."""

    def __init__(
        self,
        folder: Path,
        settings: IndexSettings,
        threads: int,
        n_candidates: int,
        rejects: list[RejectRow],
        keep: Keep | None,
    ) -> None:
        self.keep = keep
        self.folder, self.settings, self.threads = folder, settings, threads
        self.n_candidates, self.n_read = n_candidates, len(rejects)
        self.rows: list[IndexRow] = []
        self.rejects = rejects
        self.notes = Counter[str]()  # on images, and of how many

    def read_all(self, candidates: list[Candidate]) -> list[RejectRow]:
        """Read every candidate; nothing is capped."""
        self._read(candidates)
        self._check_share(self.n_candidates)
        return []

    def read_capped(self, candidates: list[Candidate]) -> list[RejectRow]:
        """Read images in seeded order until every class is full; return what the cap leaves out.

        Only what may be kept is read, because decoding is nearly all the cost: a cap of 300 on 56,000 images takes
        seconds. Places that refused images leave are filled in the next round, so that a class keeps fewer than the cap
        only where it has no more. The result depends on the seed and the files alone.
        """
        waiting = rank_images(candidates, self.settings.cap_seed)
        while True:
            kept = Counter(row.label for row in refuse_conflicts(self.rows)[0])
            room = {label: self.settings.max_images_per_class - kept[label] for label in waiting}
            chosen = [candidate for label, images in waiting.items() for candidate in images[: room[label]]]
            if not chosen:
                break
            waiting = {label: images[room[label] :] for label, images in waiting.items()}
            self._read(chosen)
        self._check_share(self.n_read)
        return [_reject(candidate, "cap", CAPPED) for images in waiting.values() for candidate in images]

    def _read(self, candidates: list[Candidate]) -> None:
        def read(candidate: Candidate) -> ImageFacts | str:
            return read_facts(self.folder / candidate.path, self.settings.max_image_mpx)

        results = sequence_in_threads(read, candidates, self.threads, "read")
        for candidate, result in zip(candidates, results, strict=True):
            self.n_read += 1
            if isinstance(result, str):
                self.rejects.append(_reject(candidate, "unreadable", result))
                self._check_share(self.n_candidates)  # beyond this no later image can bring the share down
            else:
                self.rows.append(IndexRow(**vars(candidate), **result.columns))
                self.notes.update(result.notes)
                if self.keep:
                    self.keep(candidate.image_id, result.thumbnail)

    def _check_share(self, total: int) -> None:
        if len(self.rejects) <= self.settings.max_rejected_share * total:
            return
        examples = "; ".join(f"{escape_name(row.path)}: {row.reason}" for row in self.rejects[:5])
        raise CxrflowError(
            f"{self.folder}: {len(self.rejects):,} of the first {self.n_read:,} images are unreadable, more than"
            f" max_rejected_share = {self.settings.max_rejected_share:g} of all {total:,}. {examples}."
            " Repair or remove these files, or raise index.max_rejected_share"
        )


def refuse_conflicts(rows: list[IndexRow]) -> tuple[list[IndexRow], list[RejectRow]]:
    """Refuse every image whose pixels equal those of an image with another label: one of them is wrong."""
    labels: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        labels[row.pixel_sha256].add(row.label)
    kept = [row for row in rows if len(labels[row.pixel_sha256]) == 1]
    refused = [_reject(row, "conflict", CONFLICT) for row in rows if len(labels[row.pixel_sha256]) > 1]
    return kept, refused


def check_classes(folder: Path, listing: Listing, rows: list[IndexRow], rejects: list[RejectRow]) -> None:
    """Check that every listed class has a kept image.

    Raises:
        CxrflowError: names the class and why its images were refused.
    """
    kept = {row.label for row in rows}
    for label in sorted({each.label for each in listing.candidates} - kept):
        reasons = Counter(f"{row.kind}: {row.reason}" for row in rejects if row.label == label)
        why = "; ".join(f"{reason} ({n} images)" for reason, n in reasons.most_common(3))
        raise CxrflowError(
            f"{folder}: no image of class {escape_name(label)} is left. {why}, or leave the class out with"
            " datasets.<name>.classes"
        )


def keep_regions(listing: Listing, rows: list[IndexRow]) -> list[RegionRow]:
    """Return the regions of kept images, in index order, boxes in the pixels of the files that are there."""
    by_image: dict[str, list[RegionRow]] = defaultdict(list)
    for region in listing.regions:
        by_image[region.image_id].append(region)
    return [_fit_box(region, row, listing.box_frame_px) for row in rows for region in by_image.get(row.image_id, ())]


def _fit_box(region: RegionRow, row: IndexRow, frame_px: int) -> RegionRow:
    if region.mask_path or not frame_px:
        return region
    x_scale, y_scale = row.width / frame_px, row.height / frame_px
    return replace(
        region,
        x_px=region.x_px * x_scale,
        y_px=region.y_px * y_scale,
        width_px=region.width_px * x_scale,
        height_px=region.height_px * y_scale,
    )


def sign_masks(regions: list[RegionRow], folder: Path, threads: int) -> list[RegionRow]:
    """Return regions with the SHA-256 of their masks: evaluate reads them again, maybe much later."""
    masks = sorted({row.mask_path for row in regions if row.mask_path})
    hashes = map_in_threads(lambda path: sha256_file(folder / path), masks, threads)
    by_path = dict(zip(masks, hashes, strict=True))
    return [replace(row, mask_sha256=by_path.get(row.mask_path, "")) for row in regions]


def summarize_index(index: Index, name: str, dataset: DatasetSettings) -> dict[str, Any]:
    """Return what index.json holds: counts of kept and refused images, and notes."""
    counts = Counter(row.label for row in index.rows)
    pixels = Counter(row.pixel_sha256 for row in index.rows)
    rejects: dict[str, Counter[str]] = defaultdict(Counter)
    for row in index.rejects:
        rejects[row.kind][row.reason] += 1
    return {
        "dataset": name,
        "reader": dataset.reader,
        "class_names": sorted(counts),
        "counts": dict(sorted(counts.items())),
        "n_patients": len({row.patient_id for row in index.rows}),
        "rejects": {kind: dict(sorted(reasons.items())) for kind, reasons in sorted(rejects.items()) if reasons},
        "listed_missing": rejects["missing"].total(),
        "notes": index.notes,
        "n_duplicate_groups": sum(n > 1 for n in pixels.values()),
    }


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _reject(row: Candidate | IndexRow, kind: str, reason: str) -> RejectRow:
    return RejectRow(row.image_id, row.path, row.label, kind, reason)


def _escaped(row: RejectRow) -> RejectRow:
    return RejectRow(escape_name(row.image_id), escape_name(row.path), escape_name(row.label), row.kind, row.reason)
