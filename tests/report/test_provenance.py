import json
import shutil
import subprocess
from pathlib import Path

import pytest

from cxrflow.compare.collect import Results
from cxrflow.report.summary import NO_CHECKOUT, collect_provenance, find_commit


def test_machines_are_listed_once_with_their_models(results: Results):
    trainings = collect_provenance(results)["trainings"]
    assert [(machine["host"], machine["models"]) for machine in trainings] == [("node01", 12)]


def test_it_is_json_and_the_same_each_time(results: Results):
    first, second = (json.dumps(collect_provenance(results), allow_nan=False) for _ in range(2))
    assert first == second
    assert json.loads(first)["config"]["study"] == "fake"
    assert json.loads(first)["packages"]["numpy"]


def test_folder_outside_git_and_machine_without_it_are_said_to_have_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert find_commit(tmp_path) == NO_CHECKOUT
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_commit(Path(__file__).parent) == NO_CHECKOUT


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_changed_files_are_told(tmp_path: Path):
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    (tmp_path / "a").write_text("1")
    git("init")
    git("add", "a")
    git("commit", "--no-verify", "-m", "a")
    clean = find_commit(tmp_path)
    assert len(clean) == 40
    (tmp_path / "a").write_text("2")
    assert find_commit(tmp_path) == f"{clean} with uncommitted changes"
