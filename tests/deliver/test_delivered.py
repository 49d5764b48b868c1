import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from cxrflow.deliver.delivered import SEAL_BYTES, card_from_metadata, card_to_metadata, open_model, seal_model
from cxrflow.errors import CxrflowError
from cxrflow.files.code_hash import SCRIPTS


def reseal(path: Path, graph: onnx.ModelProto) -> None:
    path.write_bytes(seal_model(graph.SerializeToString()))


def test_a_sealed_file_is_ordinary_onnx(exported: Path) -> None:
    graph = onnx.load_model(exported)
    onnx.checker.check_model(graph)
    assert graph.metadata_props[-1].key == "cxrflow_sha256"
    assert json.loads({each.key: each.value for each in graph.metadata_props}["dataset"]) == "toy"


@pytest.mark.parametrize("place", [0, 50, 2000, -SEAL_BYTES - 1, -1])
def test_one_changed_byte_is_noticed(exported: Path, place: int) -> None:
    data = bytearray(exported.read_bytes())
    data[place] ^= 1
    exported.write_bytes(data)
    with pytest.raises(CxrflowError, match=r"model.onnx is damaged"):
        open_model(exported, threads=1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not end with the seal"),
        (b"hello", "does not end with the seal"),
        (seal_model(b"hello"), "cannot be run by ONNX Runtime"),
    ],
)
def test_what_is_no_model_is_refused(exported: Path, content: bytes, message: str) -> None:
    exported.write_bytes(content)
    with pytest.raises(CxrflowError, match=message):
        open_model(exported, threads=1)


def test_a_cut_or_foreign_file_is_refused(exported: Path) -> None:
    whole = exported.read_bytes()
    for content in (whole[:-1], whole[: len(whole) // 2], whole[:-SEAL_BYTES]):
        exported.write_bytes(content)
        with pytest.raises(CxrflowError, match="cut off, or another program wrote or changed it"):
            open_model(exported, threads=1)


def test_a_model_of_pytorch_is_told_apart(model: Path) -> None:
    with pytest.raises(CxrflowError, match=r"model.pt is a model of PyTorch: export it first"):
        open_model(model, threads=1)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(CxrflowError, match=r"none.onnx is not a file"):
        open_model(tmp_path / "none.onnx", threads=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_names": None}, "lacks class_names"),
        ({"format": "1"}, "metadata of format 1, and this cxrflow reads 3"),
        ({"format": None}, "metadata of format None"),
        ({"epoch": "{"}, "is not JSON"),
        ({"preprocess": '{"size_px": -1}'}, "preprocess.size_px"),
        ({"class_names": '["one", "two"]'}, "gives 3 probabilities and names 2 classes"),
    ],
)
def test_other_metadata_is_refused(exported: Path, change: dict[str, str | None], message: str) -> None:
    graph = onnx.load_model(exported)
    values = {each.key: each.value for each in graph.metadata_props} | change
    onnx.helper.set_model_props(graph, {key: value for key, value in values.items() if value is not None})
    reseal(exported, graph)
    with pytest.raises(CxrflowError, match=message):
        open_model(exported, threads=1)


def test_a_card_comes_back_as_it_was(exported: Path) -> None:
    card = open_model(exported, threads=1).card
    assert card_from_metadata(card_to_metadata(card), exported) == card
    assert "1,234 images" in card.describe()
    assert "images" not in replace(card, n_train=0).describe()


def test_without_onnxruntime_the_remedy_is_told(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(CxrflowError, match="pip install onnxruntime"):
        open_model(exported, threads=1)


def test_onnx_runtime_reports_to_nobody(exported: Path, tmp_path: Path) -> None:
    """What it would send it first writes into the home folder."""
    home = tmp_path / "home"
    home.mkdir()
    silent = ("CI", "GITHUB_ACTIONS", "TF_BUILD", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME", "XDG_DATA_HOME")
    environ = {name: value for name, value in os.environ.items() if name not in silent}
    environ |= {"HOME": str(home), "ORT_DISABLE_TELEMETRY": "0", "PYTHONPATH": str(SCRIPTS)}
    code = f"from cxrflow.deliver.delivered import *; open_model(Path({str(exported)!r}), threads=1)"
    subprocess.run([sys.executable, "-c", code], env=environ, check=True)
    assert not list(home.iterdir())
