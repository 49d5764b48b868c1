"""Every row runs at a tiny size, and the sides that must agree do; a row whose sides differ raises. No times."""

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.benchmarks import gpu_training, gradcam, memory, one_xray, preprocess, run, startup
from tests.benchmarks.inputs import pack_films, split_rows, write_films, write_index
from tests.benchmarks.measure import OURS, UnequalError
from tests.benchmarks.processes import interleave_processes
from tests.models.conftest import _one_thread  # noqa: F401  # here too

HERE = Path(__file__).parent
IN_PROCESS = [name for name in run.ROWS if name not in ("startup", "memory", "gpu_training")]
NO_ROWS = {"__init__", "run", "measure", "inputs", "processes", "memory_child", "searches", "slurm_jobs"}


def bench(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that runs rows."""
    return pytest.mark.bench(pytest.mark.slow(test))


@pytest.fixture(autouse=True)
def _one_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    for script in ("gradcam", "gpu_training"):
        monkeypatch.setattr(f"tests.benchmarks.{script}.CONVOLUTIONAL", ["resnet34"])
    for script, goal in (("train_step", 2.2), ("one_xray", 1.4)):
        monkeypatch.setattr(f"tests.benchmarks.{script}.GOALS", {"resnet34": goal})


@bench
@pytest.mark.parametrize("name", IN_PROCESS)
def test_a_row_runs_and_its_sides_agree(name: str) -> None:
    rows = importlib.import_module(f"tests.benchmarks.{name}").measure_rows("tiny")
    assert rows
    for row in rows:
        assert row.ours
        assert row.note.startswith("this ") or all(value > 0 for value in row.values[OURS])


@bench
def test_the_rows_of_a_gpu_run_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_training, "PRECISION", "float32")  # bfloat16 takes 13 times as long on an old CPU
    rows = gpu_training.measure_on(torch.device("cpu"), "tiny")
    assert [len(row.values[OURS]) for row in rows] == [1] * 3
    assert "streamed" in rows[1].what


@bench
def test_a_started_preprocess_leaves_at_its_first_image(tmp_path: Path) -> None:
    paths = write_films(tmp_path / "films", 128, 3)
    index = write_index(tmp_path / "films", paths, tmp_path / "index.csv")
    startup.begin_preprocess(tmp_path / "films", index)
    assert not (tmp_path / "out.npy").exists()
    with pytest.raises(RuntimeError, match=r"ended with status 3: .*no such film"):
        startup.run_child("import sys; print('no such film'); sys.exit(3)")


@bench
@pytest.mark.parametrize("way", ["feed", "resnet34"])
def test_the_watched_process_runs(tmp_path: Path, way: str) -> None:
    pack_films(tmp_path / "unused.npy", 32, 15)
    assert memory.watch_data_path(tmp_path, 40, 32, way) > 30


def test_every_script_is_a_row() -> None:
    scripts = {path.stem for path in HERE.glob("*.py") if not path.stem.startswith("test_")}
    assert scripts - NO_ROWS == {*run.ROWS}


def test_wrong_pixels_are_noticed() -> None:
    pixels = np.zeros((1, 4, 4), np.uint8)
    with pytest.raises(UnequalError, match="pixels of cv2 alone"):
        preprocess.check_pixels({OURS: pixels, preprocess.CV2: pixels + np.uint8(1)})


def test_wrong_maps_are_noticed() -> None:
    maps = np.ones((1, 4, 4))
    gradcam.check_maps("resnet34", {OURS: maps, gradcam.PEER: maps + 1e-6})
    with pytest.raises(UnequalError, match="maps of resnet34"):
        gradcam.check_maps("resnet34", {OURS: maps, gradcam.PEER: maps * 0.999})


@bench
def test_wrong_answers_are_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = one_xray.answer_by_torch
    monkeypatch.setattr(one_xray, "answer_by_torch", lambda *arguments: real(*arguments) + 1e-4)
    model = one_xray.save_lively(tmp_path, "resnet34", 48)
    with pytest.raises(UnequalError, match="answers of resnet34"):
        one_xray.measure_backbone(model, write_films(tmp_path / "films", 64, 2), "tiny")


def fail() -> dict[str, Callable[[], object]]:
    raise ValueError("no such film")


@bench
def test_what_fails_in_a_process_is_reported() -> None:
    with pytest.raises(ValueError, match="no such film"):
        interleave_processes(fail, [], rounds=1)


def test_memory_of_a_process_is_seen() -> None:
    hold = "import time; data = bytearray(64 * 2**20); data[::4096] = b'x' * len(data[::4096]); time.sleep(0.3)"
    assert 64 < memory.watch_memory([sys.executable, "-c", hold]) < 128


def test_every_subset_of_the_split_has_every_class() -> None:
    rows = split_rows(30)
    assert {(row.subset, row.label) for row in rows} == {
        (subset, label) for subset in ("train", "val") for label in ("Effusion", "Mass", "No Finding")
    }


def test_rows_are_chosen_by_name() -> None:
    assert run.choose_rows("tsne,gradcam") == ["tsne", "gradcam"]
    with pytest.raises(Exception, match="speed is not a row; known: preprocess"):
        run.choose_rows("tsne,speed")


def test_a_script_that_fails_leaves_a_row_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table has it, also in the file that it is added to, and the exit status tells."""
    results = tmp_path / "R.md"
    results.write_text("# Results\n")
    monkeypatch.setattr(run, "ROWS", ("no_such_row",))
    monkeypatch.setattr(sys, "argv", ["run", "--rows", "no_such_row", "--append", str(results)])
    with pytest.raises(SystemExit, match="1"):
        run.main()
    table = capsys.readouterr().out
    assert re.search(r"^1\. failed: ModuleNotFoundError: No module named", table, re.MULTILINE)
    assert results.read_text() == f"# Results\n\n{table}"
