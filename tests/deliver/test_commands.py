"""The two commands, from files to files."""

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import export
import predict
from cxrflow.deliver import exporting
from cxrflow.deliver.delivered import open_model
from cxrflow.deliver.tool import Answer, open_tool
from cxrflow.deliver.xrays import open_csv
from cxrflow.errors import CxrflowError
from tests.deliver.conftest import CLASS_NAMES, make_noise

SCRIPTS = Path(export.__file__).parent


@pytest.fixture
def films(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "films" / name for name in ("a.png", "b c.png", "d.png")]
    paths[0].parent.mkdir()
    for path, image in zip(paths, make_noise(3, 40), strict=True):
        cv2.imwrite(str(path), image)
    return paths


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return [*csv.DictReader(handle)]


def test_export_writes_a_checked_file(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx = model.with_name("new.onnx")
    export.export(model=model, training=model.with_name("training.json"), onnx=onnx)
    assert open_model(onnx, threads=1).card.n_train == 1234
    first = onnx.read_bytes()
    export.export(model=model, training=model.with_name("training.json"), onnx=onnx)
    assert onnx.read_bytes() == first
    assert "equal to PyTorch to " in capsys.readouterr().out


def test_export_that_fails_its_check_writes_nothing(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    monkeypatch.setattr(exporting, "TIMES_OWN_ERROR", -1.0)
    with pytest.raises(CxrflowError, match="differs from PyTorch"):
        export.export(model=model, onnx=model.with_name("new.onnx"))
    assert not model.with_name("new.onnx").exists()


def test_a_damaged_model_is_not_exported(model: Path) -> None:
    model.write_bytes(model.read_bytes() + b"x")
    with pytest.raises(CxrflowError, match="is damaged"):
        export.export(model=model, onnx=model.with_name("new.onnx"))


def test_the_table_and_the_csv_say_the_same(
    exported: Path, films: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predict.predict(films[1], films[0].parent, model=exported, csv=tmp_path / "answers.csv", threads=2)
    rows = read_csv(tmp_path / "answers.csv")
    assert [row["file"] for row in rows] == [str(path) for path in [films[1], *films]]
    shown = capsys.readouterr()
    assert "not a medical device" in shown.err
    lines = shown.out.splitlines()
    assert lines[0].endswith("  file")
    assert len(lines) == 5
    tool = open_tool(exported)
    for row, line in zip(rows, lines[1:], strict=True):
        found = [float(row[f"p({name})"]) for name in CLASS_NAMES]
        answer = tool.read("", Path(row["file"]).read_bytes())
        np.testing.assert_allclose(found, answer.probabilities, atol=1e-6)
        assert row["predicted"] == CLASS_NAMES[int(np.argmax(found))]
        assert line.startswith(row["predicted"])
        assert all(f"{p:.4f}" in line for p in found)
        assert line.endswith(row["file"])
        assert row["problem"] == ""


def test_an_unreadable_file_stops_no_other(
    exported: Path, films: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films[1].write_bytes(b"<html>")
    with pytest.raises(CxrflowError, match="1 of 3 files could not be read; they are named above"):
        predict.predict(*films, model=exported, csv=tmp_path / "answers.csv", threads=1)
    assert [bool(row["problem"]) for row in read_csv(tmp_path / "answers.csv")] == [False, True, False]
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 3
    assert f"not read: {films[1]}: it is a web page" in shown.err


def test_what_is_no_image_is_counted_and_what_looks_like_one_is_read(
    exported: Path, films: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = films[0].parent
    (folder / "scan").write_bytes(films[0].read_bytes())
    for name in ("notes.txt", "more.TXT", "volume.mhd"):
        (folder / name).write_text("no image")
    predict.predict(folder, model=exported, threads=1)
    shown = capsys.readouterr()
    assert shown.err.splitlines()[-1] == "not read: files that are no images: 1 .mhd, 2 .txt"
    assert str(folder / "scan") in shown.out


def run_predict(*arguments: str | Path, **options: Any) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, SCRIPTS / "predict.py", *arguments]
    return subprocess.run(command, capture_output="stdout" not in options, text=True, check=False, **options)


@pytest.mark.parametrize("how", ["itself", "by a link"])
@pytest.mark.parametrize("kind", ["X-ray", "model", "other file"])
def test_no_file_of_a_person_is_overwritten(
    exported: Path, films: list[Path], tmp_path: Path, kind: str, how: str
) -> None:
    (tmp_path / "notes.csv").write_text("name,age\n")
    target = {"X-ray": films[1], "model": exported, "other file": tmp_path / "notes.csv"}[kind]
    before = target.read_bytes()
    named = target
    if how == "by a link":
        named = tmp_path / "link.csv"
        named.symlink_to(target)
    with pytest.raises(CxrflowError, match=f"{named.name} is there and holds no answers, so it is not overwritten"):
        predict.predict(films[0].parent, model=exported, csv=named, threads=1)
    assert target.read_bytes() == before


def test_an_older_table_is_overwritten_and_a_link_to_it_stays(
    exported: Path, films: list[Path], tmp_path: Path
) -> None:
    link, table = tmp_path / "link.csv", tmp_path / "answers.csv"
    link.symlink_to(table)
    for asked in (films, films[:1]):
        predict.predict(*asked, model=exported, csv=link, threads=1)
        assert link.is_symlink()
        assert [row["file"] for row in read_csv(table)] == [str(path) for path in asked]


def test_a_folder_as_the_table_is_refused_before_the_work(
    exported: Path, films: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CxrflowError, match="films is a folder, and a file is to be written: name a file in it"):
        predict.predict(*films, model=exported, csv=films[0].parent, threads=1)
    assert capsys.readouterr().out == ""


def test_a_second_process_does_not_overwrite_what_one_writes(exported: Path, films: list[Path], tmp_path: Path) -> None:
    with open_csv(tmp_path / "answers.csv", CLASS_NAMES) as write:
        write(Answer(str(films[0]), "not yet"))
        run = run_predict(films[1], "--model", exported, "--csv", tmp_path / "answers.csv")
        assert "another process writes its answers to" in run.stderr
    assert [row["problem"] for row in read_csv(tmp_path / "answers.csv")] == ["not yet"]


def test_answers_are_kept_as_they_come(exported: Path, films: list[Path], tmp_path: Path) -> None:
    with open_csv(tmp_path / "answers.csv", CLASS_NAMES) as write:
        for number, path in enumerate(films, start=1):
            write(Answer(str(path), "x"))
            assert len(read_csv(tmp_path / "answers.csv")) == number


def test_pipes_and_standard_output_are_written_to_and_stay(exported: Path, films: list[Path], tmp_path: Path) -> None:
    """Not with files of /dev: should this fail, root would lose them."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    predict.predict(films[0], model=exported, csv=tmp_path / "pipe", threads=1)
    assert os.read(reader, 9999).decode().splitlines()[1].startswith(f"{films[0]},")
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    with (tmp_path / "out.txt").open("w") as out:
        run_predict(*films, "--model", exported, "--csv", "/proc/self/fd/1", stdout=out, stderr=subprocess.PIPE)
    lines = (tmp_path / "out.txt").read_text().splitlines()
    assert len(lines) == 8
    assert [line.split(",")[0] for line in lines if line.startswith("/")] == [str(path) for path in films]


def test_a_pipe_that_looks_like_an_image_stops_nothing(
    exported: Path, films: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(films[0].with_name("aa.png"))
    with pytest.raises(CxrflowError, match="1 of 4"):
        predict.predict(films[0].parent, model=exported, threads=1)
    assert "aa.png: it is a pipe, a socket or a device, not a file" in capsys.readouterr().err


def test_only_cxrflow_speaks_of_a_damaged_file(exported: Path, films: list[Path]) -> None:
    cv2.imwrite(str(films[1].with_suffix(".tif")), make_noise(1, 40)[0])
    for path in (films[0], films[1].with_suffix(".tif")):
        path.write_bytes(path.read_bytes()[:-200])
    run = run_predict(films[0].parent, "--model", exported)
    assert "2 of 4 files" in run.stderr
    assert [line.split(":")[0] for line in run.stderr.splitlines()[1:]] == ["not read", "not read", "error"]


def test_a_name_that_is_not_utf8_is_shown(
    exported: Path, films: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    odd = Path(os.fsdecode(os.fsencode(films[0].parent) + b"/\xe9.png"))
    films[0].rename(odd)
    predict.predict(odd, model=exported, threads=1)
    assert r"\xe9.png" in capsys.readouterr().out


def test_a_name_cannot_command_the_terminal(
    exported: Path, films: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    odd = films[0].with_name("\x1b[2Ja\nb.png")
    films[0].rename(odd)
    with pytest.raises(CxrflowError, match="1 of 2"):
        predict.predict(odd, odd.with_name("none\x1b.png"), model=exported, threads=1)
    shown = capsys.readouterr()
    assert shown.out.splitlines()[1].endswith(r"\x1b[2Ja\nb.png")
    assert "\x1b" not in shown.out + shown.err


def test_prediction_imports_neither_torch_nor_snakemake(exported: Path, films: list[Path]) -> None:
    code = (
        "import sys, runpy\n"
        "for name in ('torch', 'torchvision', 'snakemake', 'onnx', 'pandas', 'matplotlib'): sys.modules[name] = None\n"
        f"sys.path.insert(0, {str(SCRIPTS)!r}); sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [
        sys.executable,
        "-c",
        code,
        SCRIPTS / "predict.py",
        films[0],
        films[0].parent / "none",
        "--model",
        exported,
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stdout.splitlines()[1].endswith(str(films[0]))
    assert run.stderr.splitlines()[-1] == "error: 1 of 2 files could not be read; they are named above"
    assert "Traceback" not in run.stderr
