"""CSV in and out gives the same values back, and says what is wrong with a file."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from cxrflow.errors import CxrflowError
from cxrflow.files.records import EpochRow, Predictions, SplitRow, read_predictions, write_predictions
from cxrflow.files.tables import read_numbered, read_records, read_table, write_records, write_table


def test_records_come_back_bit_for_bit(tmp_path: Path) -> None:
    rows = [EpochRow(i, 0.1 / 3, 1 / 7, 0.5, float("inf"), 1e-300, 2.5, 1e9 / 7) for i in range(3)]
    write_records(tmp_path / "h.csv", EpochRow, rows)
    assert read_records(tmp_path / "h.csv", EpochRow) == rows


def test_awkward_text_survives(tmp_path: Path) -> None:
    rows = [{"a": 'x, "y"\nz', "b": "Größe;'"}]
    write_table(tmp_path / "t.csv", ["a", "b"], rows)
    assert read_table(tmp_path / "t.csv", ["a"]) == rows


def test_problems_name_the_file_and_the_columns(tmp_path: Path) -> None:
    with pytest.raises(CxrflowError, match="does not exist"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(CxrflowError, match=r"t\.csv lacks the column\(s\) c; it has a, b"):
        read_table(tmp_path / "t.csv", ["a", "c"])
    (tmp_path / "t.csv").write_text("a,b\n1,2,3\n")
    with pytest.raises(CxrflowError, match="line 2: more values"):
        read_table(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_bytes(b"a\n\xff\n")
    with pytest.raises(CxrflowError, match="UTF-8"):
        read_table(tmp_path / "t.csv")


def test_short_rows_and_empty_lines(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1\n\n2,3\n")
    assert read_table(tmp_path / "t.csv") == [{"a": "1", "b": None}, {"a": "2", "b": "3"}]
    (tmp_path / "t.csv").write_text("")
    assert read_table(tmp_path / "t.csv") == []


def test_a_record_that_was_cut_off_is_told(tmp_path: Path) -> None:
    write_records(tmp_path / "s.csv", SplitRow, [SplitRow("i", "Mass", "p", "g", "train")] * 2)
    text = (tmp_path / "s.csv").read_text()
    (tmp_path / "s.csv").write_text(text.removesuffix(",\n"))
    with pytest.raises(CxrflowError, match=r"s\.csv, line 3: fewer values than the 7 columns"):
        read_records(tmp_path / "s.csv", SplitRow)


def test_records_are_found_by_the_names_of_their_columns(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("decided_by,subset,more,image_id,label,patient_id,group\nseed,test,x,i,Mass,p,g\n")
    assert read_records(tmp_path / "s.csv", SplitRow) == [SplitRow("i", "Mass", "p", "g", "test")]


def test_a_nameless_column_may_stand_over_several_values(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(",a\n0,1,2\n")
    assert read_table(tmp_path / "t.csv", ["a"])[0]["a"] == "1"


def test_rows_are_written_and_read_one_by_one(tmp_path: Path) -> None:
    """A million rows take no second copy in memory: half of the table's size is not held beside the records."""
    rows = [SplitRow(f"image{i}" * 20, "Mass", f"p{i}", f"p{i}", "train") for i in range(4000)]
    write_records(tmp_path / "s.csv", SplitRow, rows)
    size = (tmp_path / "s.csv").stat().st_size
    tracemalloc.start()
    write_records(tmp_path / "s.csv", SplitRow, rows)
    written = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    read = read_records(tmp_path / "s.csv", SplitRow)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert read == rows
    assert written < size / 2
    assert peak - held < size / 2


def test_a_row_with_other_keys_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not in fieldnames"):
        write_table(tmp_path / "t.csv", ["a"], [{"a": 1, "b": 2}])
    assert not (tmp_path / "t.csv").exists()


def test_predictions_come_back(tmp_path: Path) -> None:
    probabilities = np.array([[0.1, 0.9], [1 / 3, 2 / 3]])
    written = Predictions(["i1", "i2"], ["p", "p"], np.array([0, 1]), probabilities, ["No Finding", "Mass, big"])
    write_predictions(tmp_path / "p.csv", written)
    read = read_predictions(tmp_path / "p.csv")
    assert (read.image_ids, read.patient_ids, read.class_names) == (["i1", "i2"], ["p", "p"], written.class_names)
    assert np.array_equal(read.labels, written.labels)
    assert np.array_equal(read.probabilities, probabilities)
    assert read.predicted.tolist() == [1, 1]


def test_blank_lines_are_passed_over_and_lines_are_numbered_as_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('a,b\n\n1,"two\nlines"\n , \n\n3,4\n\n')
    assert read_numbered(tmp_path / "t.csv", ["a"]) == [(4, {"a": "1", "b": "two\nlines"}), (7, {"a": "3", "b": "4"})]
    (tmp_path / "t.csv").write_text("a,b\n\n\n1,2,3\n")
    with pytest.raises(CxrflowError, match="line 4: more values"):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize("header", ["a,b,a", "a,b, a "])
def test_a_column_given_twice_is_named(tmp_path: Path, header: str) -> None:
    (tmp_path / "t.csv").write_text(f"{header}\n1,2,3\n")
    with pytest.raises(CxrflowError, match=r"has the column\(s\) a more than once"):
        read_table(tmp_path / "t.csv", ["a"])
    assert [row["b"] for row in read_table(tmp_path / "t.csv", ["b"])] == ["2"]  # nobody reads the other


@pytest.mark.parametrize(("sign", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_another_separator_is_named(tmp_path: Path, sign: str, name: str) -> None:
    (tmp_path / "t.csv").write_text(sign.join(["image", "label"]) + "\n")
    with pytest.raises(CxrflowError, match=f"lacks the column.* {name} separate its columns: save it with commas"):
        read_table(tmp_path / "t.csv", ["image", "label"])


def test_blanks_around_a_columns_name_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image, label\na.png,1\n")
    assert read_table(tmp_path / "t.csv", ["label"])[0]["label"] == "1"


@pytest.mark.parametrize("cell", ['"x', '"x"y'])
def test_a_quote_that_swallows_rows_is_refused(tmp_path, cell):
    (tmp_path / "t.csv").write_text(f"a,b\n1,{cell}\n2,y\n3,z\n")
    with pytest.raises(CxrflowError, match=r'not a whole CSV file .* look for a quote \("\)'):
        read_table(tmp_path / "t.csv")


def test_a_table_from_before_its_last_column_is_read_and_any_other_must_be_there(tmp_path: Path) -> None:
    path, row = tmp_path / "split.csv", SplitRow("i", "a", "p", "g", "test", "published", "Mass")
    write_records(path, SplitRow, [row])
    path.write_text(path.read_text().replace(",findings", "").replace(",Mass", ""))
    assert read_records(path, SplitRow) == [SplitRow("i", "a", "p", "g", "test", "published")]
    path.write_text(path.read_text().replace(",decided_by", "").replace(",published", ""))
    with pytest.raises(CxrflowError, match=r"lacks the column.*decided_by"):
        read_records(path, SplitRow)
