from pathlib import Path

from cxrflow.files.version import find_own_version


def test_own_version_is_the_projects(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    assert find_own_version(tmp_path) == "1.2.3"
    assert find_own_version(tmp_path / "elsewhere") == "of unknown version"
