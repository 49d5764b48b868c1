"""What a training prints, and the parser that reads it back."""

from dataclasses import replace

import pytest

from cxrflow.config.layout import ModelId
from cxrflow.files.records import EpochRow
from cxrflow.models.progress import epoch_line, final_line, header, parse_epochs

ROWS = [
    EpochRow(1, 0.001, 1.28994, 0.3434, 1.10841, 0.1667, 14.12, 15.4),
    EpochRow(2, 3.81e-05, 0.9, 1.0, 123.4567, 0.0, 3600.04, 12345.6),
]


def write_log() -> str:
    counts = {"Viral Pneumonia": 70, "No 1 Finding": 2}
    top = header(ModelId("covid", "resnet34"), "CPU", 1, counts, dict.fromkeys(counts, 1.0))
    lines = [top, *(epoch_line(row, row.epoch == 2) for row in ROWS), final_line(2, ROWS)]
    return "\n".join(["note: something", *lines]) + "\n"


def test_epochs_are_read_back_and_nothing_else() -> None:
    rows = parse_epochs(write_log())
    assert [row.epoch for row in rows] == [1, 2]
    assert rows[0] == replace(ROWS[0], train_loss=1.2899, val_loss=1.1084, seconds=14.1)
    assert rows[1] == replace(ROWS[1], seconds=3600.0)


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_line_in_the_making_is_not_believed(cut: int) -> None:
    text = epoch_line(ROWS[0], True) + "\n" + epoch_line(ROWS[1], True)
    assert [row.epoch for row in parse_epochs(text[:-cut])] == [1]


def test_logs_of_other_things_have_no_epochs() -> None:
    assert parse_epochs("error: no\n1 2 3 4 5 6 7 eight\n") == []
