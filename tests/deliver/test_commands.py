"""The two commands, from files to files."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import export
import predict
from cxrflow.deliver import exporting
from cxrflow.deliver.session import open_model
from cxrflow.deliver.xrays import read_xray
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
    model = open_model(exported, threads=1)
    for row, line in zip(rows, lines[1:], strict=True):
        found = [float(row[f"p({name})"]) for name in CLASS_NAMES]
        image = read_xray(Path(row["file"]), model.card.preprocess, max_mpx=1)
        assert not isinstance(image, str)
        np.testing.assert_allclose(found, model.predict(image[None])[0], atol=1e-6)
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
