"""Test images that a transferred model has seen: those that are among the images that trained the one it starts from.

Measured on index.csv and split.csv of the two datasets, whatever reads them, and on the copies that the study found
among its images (groups.csv). What is written of the published sets, and no image shows, is in the table of readers
(`Study.may_have_seen_test`).
"""

from dataclasses import dataclass, field

from cxrflow.config.layout import FROM_DATASET, Layout, ModelId
from cxrflow.config.readers import READERS
from cxrflow.config.study import Study
from cxrflow.files.records import GroupRow, IndexRow, SplitRow
from cxrflow.files.tables import read_records


@dataclass(frozen=True)
class DatasetSplit:
    """The images of a dataset, apart: those that train a model or choose its epoch, and those that test it."""

    used: list[IndexRow]
    test: list[IndexRow]
    groups: dict[str, str] = field(default_factory=dict)  # image_id: group, of the images that copies join

    @classmethod
    def read(cls, layout: Layout, dataset: str) -> "DatasetSplit":
        """Read index.csv and split.csv: what is not in the second, nor left out, tests. test.csv stays closed."""
        grouped = {row.image_id: row for row in read_records(layout.groups(), GroupRow) if row.dataset == dataset}
        learned = {row.image_id for row in read_records(layout.split(dataset), SplitRow)}
        used: list[IndexRow] = []
        test: list[IndexRow] = []
        for row in read_records(layout.index(dataset), IndexRow):
            if not (row.image_id in grouped and grouped[row.image_id].left_out):
                (used if row.image_id in learned else test).append(row)
        return cls(used, test, {image_id: row.group for image_id, row in grouped.items()})


def list_seen(source: DatasetSplit, target: DatasetSplit, *, one_collection: bool = False) -> list[IndexRow]:
    """Return the test images of `target` that are among the used images of `source`, or whose patient is.

    Equal are equal bytes, equal pixels, and copies; with a copy all images of its patient are seen. Patients are
    compared only where equal names mean the same person: in one published collection (`one_collection`), or where the
    datasets have an image in common under the same name.
    """
    known = {digest for row in source.used for digest in (row.sha256, row.pixel_sha256)}
    both = [
        {(row.pixel_sha256, row.patient_id) for row in [*d.used, *d.test] if _is_named(row)} for d in (source, target)
    ]
    patients = (
        {row.patient_id for row in source.used if _is_named(row)} if one_collection or both[0] & both[1] else set()
    )
    groups = {source.groups[row.image_id] for row in source.used if row.image_id in source.groups}
    return [
        row
        for row in target.test
        if target.groups.get(row.image_id) in groups
        or not known.isdisjoint((row.sha256, row.pixel_sha256))
        or (_is_named(row) and row.patient_id in patients)
    ]


def _is_named(row: IndexRow) -> bool:
    return row.patient_id != row.image_id


@dataclass(frozen=True)
class SeenTest:
    """Which models of a study have seen test images of their own dataset, each pair of datasets compared once."""

    study: Study
    layout: Layout
    _counts: dict[tuple[str, str], int] = field(default_factory=dict)

    def count(self, model: ModelId) -> int:
        """Return how many test images of its dataset the model that this one starts from has seen."""
        if not model.init.startswith(FROM_DATASET):
            return 0
        pair = model.init.removeprefix(FROM_DATASET), model.dataset
        if pair not in self._counts:
            readers = {self.study.settings.datasets[name].reader for name in pair}
            one_collection = len(readers) == 1 and bool(READERS[min(readers)].published_counts)
            source, target = (DatasetSplit.read(self.layout, name) for name in pair)
            self._counts[pair] = len(list_seen(source, target, one_collection=one_collection))
        return self._counts[pair]

    def is_possible(self, model: ModelId) -> bool:
        """Return whether a model has seen test images, as measured, or may have, as is known of the published sets."""
        return self.study.may_have_seen_test(model) or self.count(model) > 0
