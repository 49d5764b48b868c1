"""The caution about copies: which images of a study show the same exposure, within a dataset and across datasets."""

from collections import Counter
from collections.abc import Iterable

from cxrflow.checks.verdicts import PASS, WARN, Verdict, check
from cxrflow.compare.collect import Results
from cxrflow.config.readers import READERS, SharedImages, list_shared
from cxrflow.files.formats import join_words
from cxrflow.files.records import CopyRow, GroupRow, IndexRow
from cxrflow.files.tables import read_records

# Measured on planted copies (python -m tests.data.planted): tests/data/copies.md.
MISSED = (
    "Looked for were copies that are whole, resized, brightened, marked, mirrored, inverted, turned by a few degrees or"
    " evenly cut by up to a tenth of each side. Of copies that are cut unevenly most are missed, and what was exposed"
    " twice is no copy."
)
NAMED = 3  # left out images that are named


@check("caution", "Are there copies among the images?", needs=("index", "copies"))
def copies(results: Results) -> Verdict:
    """Copies share a subset wherever they are; what is written of the published sets is held against what was found."""
    pairs: list[CopyRow] = read_records(results.layout.copies(), CopyRow)
    found = [pair for pair in pairs if pair.kind == "copy"]
    left_out = [row for row in read_records(results.layout.groups(), GroupRow) if row.left_out]
    details = _hold_against_writings(results, found)
    if left_out:
        names = join_words([f"{row.image_id} ({results.dataset_title(row.dataset)})" for row in left_out[:NAMED]])
        more = f" and {len(left_out) - NAMED:,} more" if len(left_out) > NAMED else ""
        details.append(
            f"Left out, because a copy in the same dataset has another label: {names}{more} (data/groups.csv)."
        )
    if n_alike := len(pairs) - len(found):
        pairs_of = "One pair of images looks" if n_alike == 1 else f"{n_alike:,} pairs of images look"
        drawn = "which says little of images that one program drew"
        what = drawn if results.study.settings.phantoms else "and should be looked at by a person"
        details.append(f"{pairs_of} alike, {what} (data/copies.csv).")
    n_copies = len({image for pair in found for image in (pair.first, pair.second)})
    lead = (
        "Yes, and all images of a group of copies and their patients are in one subset"
        if found
        else "No copy was found"
    )
    return Verdict(
        WARN if pairs else PASS,
        " ".join([f"{lead}.", *_count_pairs(results, found)]),
        value=float(n_copies),
        threshold=0.0,
        details=(*details, MISSED),
    )


def _count_pairs(results: Results, found: Iterable[CopyRow]) -> list[str]:
    """Say how many images of which datasets are copies of each other's."""
    images: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for pair in found:
        key = min(pair.dataset, pair.other_dataset), max(pair.dataset, pair.other_dataset)
        images.setdefault(key, set()).update((pair.first, pair.second))
    sentences = []
    for (one, two), members in sorted(images.items()):
        counts = Counter(dataset for dataset, _ in members)
        if one == two:
            sentences.append(f"{counts[one]:,} images of {results.dataset_title(one)} have a copy in it.")
        else:
            sentences.append(
                f"{counts[one]:,} images of {results.dataset_title(one)} are {counts[two]:,} of"
                f" {results.dataset_title(two)}."
            )
    return sentences


def _hold_against_writings(results: Results, found: Iterable[CopyRow]) -> list[str]:
    """Say how many images were found where the literature has shared ones, and how many follow from its counts."""
    if results.study.settings.phantoms:
        return []
    pairs = [tuple(sorted(((p.dataset, p.image_id), (p.other_dataset, p.other_image_id)))) for p in found]
    sentences = []
    for taker, origin in ((a, b) for a in results.datasets for b in results.datasets if a != b):
        for shared in list_shared(results.reader_of(taker), results.reader_of(origin)):
            if shared.taker != results.reader_of(taker):
                continue
            labels = {row.image_id: row.label for row in read_records(results.layout.index(taker), IndexRow)}
            copied = {
                image
                for pair in pairs
                for (dataset, image), (other, _) in (pair, pair[::-1])
                if dataset == taker and other == origin and labels.get(image) == shared.label
            }
            n_kept = sum(label == shared.label for label in labels.values())
            n_expected = expect_shared(shared, n_kept, results.datasets[origin].n_images)
            sentences.append(
                f"Because {shared.words}, about {n_expected:,.0f} of the {n_kept:,} images of class {shared.label} in"
                f" {results.dataset_title(taker)} were expected among those of {results.dataset_title(origin)}, and"
                f" {len(copied):,} were found."
            )
    return sentences


def expect_shared(shared: SharedImages, n_kept: int, n_origin_kept: int) -> float:
    """Return how many of a class's kept images have their original here, if both datasets are random samples."""
    published = READERS[shared.taker].published_counts[shared.label]
    return n_kept * shared.n_images / published * min(1.0, n_origin_kept / shared.n_origin)
