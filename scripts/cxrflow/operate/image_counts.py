"""How many images a dataset has: counted where its index is, else as published under the config's cap.

Reads index.json and split.csv of the study, where they are there already.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cxrflow.config.readers import READERS
from cxrflow.config.study import Study
from cxrflow.files.atomic import read_json
from cxrflow.files.records import SUBSETS
from cxrflow.files.tables import read_table


@dataclass(frozen=True)
class ImageCounts:
    """Images of one dataset.

    Attributes:
        total: all that are kept.
        subsets: by train, val and test.
        origin: where the numbers are from.
    """

    total: int
    subsets: dict[str, int]
    origin: str


def count_images(study: Study, dataset: str) -> ImageCounts | None:
    """Return how many images a dataset has; None where it is not indexed yet and no count is published."""
    total, origin = count_total(study, dataset)
    if total is None:
        return None
    return ImageCounts(total, _count_subsets(study, Path(study.results, "data", dataset, "split.csv"), total), origin)


def count_total(study: Study, dataset: str, folder: Path = Path()) -> tuple[int | None, str]:
    """Return how many images a dataset has, None where that is not known yet, and where the number is from.

    Args:
        study: that has it.
        dataset: its name.
        folder: the study's working directory.
    """
    index = folder / study.results / "data" / dataset / "index.json"
    if index.exists():
        return sum(read_json(index)["counts"].values()), "counted by index"
    settings, data = study.settings, study.settings.datasets[dataset]
    published = READERS[data.reader].published_counts
    if not published:
        return None, ""
    if settings.phantoms:
        return len(published) * settings.phantoms.count_of(data.folder), "as many as phantom draws"
    cap = settings.index.max_images_per_class
    if cap:
        return sum(min(cap, count) for count in published.values()), f"published, at most {cap:,} a class"
    return sum(published.values()), "published"


def _count_subsets(study: Study, split: Path, total: int) -> dict[str, int]:
    if split.exists():
        counts = Counter(row["subset"] for row in read_table(split, ["subset"]))
        return {subset: counts[subset] for subset in SUBSETS}
    return {subset: round(total * getattr(study.settings.split, subset)) for subset in SUBSETS}


def count_all(study: Study, datasets: Iterable[str]) -> dict[str, ImageCounts]:
    """Return the counts of those datasets whose number of images is known."""
    found = {dataset: count_images(study, dataset) for dataset in datasets}
    return {dataset: counts for dataset, counts in found.items() if counts is not None}
