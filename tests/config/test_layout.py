"""One class owns every path of a study."""

import ast
from pathlib import Path

import pytest

from cxrflow.config.layout import PATTERN, CandidateId, Layout, ModelId
from cxrflow.errors import CxrflowError

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
LAYOUT = Layout.of_study("toy")
FOLDERS = ("results", "data", "models", "phantoms", "backbones", "summary", "checks")


def test_paths_are_those_of_the_results_readme() -> None:
    model = ModelId("covid", "resnet34", "imagenet", "no_blur", 3)
    assert LAYOUT.index("covid").as_posix() == "results/toy/data/covid/index.csv"
    assert LAYOUT.images("covid", "256px").as_posix() == "results/toy/data/covid/256px/images.npy"
    folder = "results/toy/models/covid/resnet34/imagenet/no_blur/seed3"
    assert LAYOUT.model(model).as_posix() == LAYOUT.model(model.path).as_posix() == folder
    assert LAYOUT.model_file(model, "model.pt").as_posix() == f"{folder}/model.pt"
    assert LAYOUT.check("leakage").as_posix() == "results/toy/checks/leakage.json"


def test_wildcards_give_patterns() -> None:
    assert str(LAYOUT.split("{dataset}")) == "results/toy/data/{dataset}/split.csv"
    assert str(LAYOUT.test("{dataset}")) == "results/toy/data/{dataset}/test.csv"
    assert str(LAYOUT.model(PATTERN)) == "results/toy/models/{dataset}/{backbone}/{init}/{variant}/seed{seed}"


@pytest.mark.parametrize("end", ["seed0", "seed0+1+12", "seed3/flip", "seed0+1/flip"])
def test_the_path_of_a_candidate_is_its_whole_identity(end: str) -> None:
    candidate = CandidateId.parse(f"covid/resnet34/scratch/base/{end}")
    assert candidate.path == f"covid/resnet34/scratch/base/{end}"
    assert [member.seed for member in candidate.members] == [int(seed) for seed in end[4:].split("/")[0].split("+")]
    assert {member.backbone for member in candidate.members} == {"resnet34"}


@pytest.mark.parametrize("end", ["seed0+", "seed0+1x", "seed0+1/flop", "seed"])
def test_what_is_no_candidate_is_refused(end: str) -> None:
    with pytest.raises(CxrflowError, match=r"is not the path of a model|does not name the seeds"):
        CandidateId.parse(f"covid/resnet34/scratch/base/{end}")


def joined_by_hand(path: Path) -> list[str]:
    """Return the lines on which a module joins a folder of a study to a path."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        parts: list[ast.expr] = []
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            parts = [node.left, node.right]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Path":
            parts = node.args
        elif isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
            if any(f"{{}}/{folder}/" in text for folder in FOLDERS):
                found.append(f"{path.name}:{node.lineno}")
        texts = [str(part.value).split("/")[0] for part in parts if isinstance(part, ast.Constant)]
        if set(texts) & set(FOLDERS):
            found.append(f"{path.name}:{node.lineno}")
    return found


@pytest.mark.parametrize("code", ['root / "models" / x', 'Path("results", x)', 'f"{root}/data/{x}"'])
def test_a_path_joined_by_hand_is_found(tmp_path: Path, code: str) -> None:
    (tmp_path / "module.py").write_text(f"path = {code}\n")
    assert joined_by_hand(tmp_path / "module.py")


def test_nothing_else_joins_these_paths() -> None:
    others = [path for path in SCRIPTS.rglob("*.py") if path.name != "layout.py"]
    assert len(others) > 50
    assert [place for path in others for place in joined_by_hand(path)] == []
