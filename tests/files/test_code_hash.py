"""What changes the hash of a stage's code, and what does not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cxrflow.files import code_hash as module
from cxrflow.files.code_hash import code_hash

ALPHA = '''"""Doc."""
from cxrflow.beta import f


def g(x):
    """Say what."""
    return f(x) + 1
'''


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    package = tmp_path / "cxrflow"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "alpha.py").write_text(ALPHA)
    (package / "beta.py").write_text("from cxrflow.config.settings import S\n\n\ndef f(x):\n    return x\n")
    (package / "config").mkdir()
    (package / "config/settings.py").write_text("S = 1\n")
    (package / "other.py").write_text("O = 1\n")
    (tmp_path / "stage.py").write_text("import json\nfrom cxrflow import alpha\n")
    monkeypatch.setattr(module, "SCRIPTS", tmp_path)
    start_anew()
    yield package
    start_anew()


def hash_after(path: Path, text: str) -> str:
    path.write_text(text)
    start_anew()
    return code_hash("stage")


def start_anew() -> None:
    """Forget what a process keeps of the scripts, as the next process has."""
    module.code_hash.cache_clear()
    module.read_module.cache_clear()


def test_comments_docstrings_and_layout_do_not_count(scripts: Path) -> None:
    before = hash_after(scripts / "alpha.py", ALPHA)
    changed = ALPHA.replace("Say what.", "Say it otherwise.").replace("+ 1", "+  1  # why")
    assert hash_after(scripts / "alpha.py", changed) == before


def test_code_counts_also_behind_an_import(scripts: Path) -> None:
    before = hash_after(scripts / "alpha.py", ALPHA)
    assert hash_after(scripts / "alpha.py", ALPHA.replace("+ 1", "+ 2")) != before
    hash_after(scripts / "alpha.py", ALPHA)
    assert hash_after(scripts / "beta.py", "def f(x):\n    return -x\n") != before


def test_unrelated_modules_and_settings_do_not_count(scripts: Path) -> None:
    before = hash_after(scripts / "alpha.py", ALPHA)
    assert hash_after(scripts / "other.py", "O = 2\n") == before
    assert hash_after(scripts / "config/settings.py", "S = 2\n") == before


def test_a_module_behind_a_table_counts_when_named(scripts: Path) -> None:
    before = code_hash("stage", "cxrflow.other")
    assert before != code_hash("stage")
    (scripts / "other.py").write_text("O = 3\n")
    start_anew()
    assert code_hash("stage", "cxrflow.other") != before


def test_constants_that_compare_equal_differ(scripts: Path) -> None:
    assert hash_after(scripts / "alpha.py", "X = 1\n") != hash_after(scripts / "alpha.py", "X = 1.0\n")
    assert hash_after(scripts / "alpha.py", "X = None\n") != hash_after(scripts / "alpha.py", "X = 'None'\n")


def test_how_the_hash_is_made_reruns_nothing(scripts: Path) -> None:
    (scripts / "code_hash.py").write_text("H = 1\n")
    before = hash_after(scripts / "alpha.py", ALPHA + "from cxrflow.files.code_hash import H\n")
    assert hash_after(scripts / "code_hash.py", "H = 2\n") == before


def test_a_package_is_read_like_a_module(scripts: Path) -> None:
    (scripts / "gamma").mkdir()
    before = hash_after(scripts / "gamma" / "__init__.py", "G = 1\n")
    assert hash_after(scripts / "alpha.py", ALPHA + "from cxrflow.gamma import G\n") != before
    before = code_hash("stage")
    assert hash_after(scripts / "gamma" / "__init__.py", "G = 2\n") != before


def test_a_module_that_is_added_counts(scripts: Path) -> None:
    before = hash_after(scripts / "alpha.py", ALPHA + "from cxrflow import delta\n")
    assert hash_after(scripts / "delta.py", "D = 1\n") != before


def test_what_is_left_out_exists() -> None:
    assert [name for name in module.LEFT_OUT if not module.find_module(name)] == []


def test_what_computes_is_counted() -> None:
    def counted(name: str) -> set[str]:
        found = {name}
        for each in module.read_module(name)[1]:
            found |= counted(each) if each not in found else set()
        return found

    assert "phantoms.write" in counted("phantom")
    assert "cxrflow.data.decode" in counted("preprocess") & counted("index")
    assert "cxrflow.models.training" in counted("train")
    assert "cxrflow.data.readers.nih" not in counted("index"), "the rule names the reader"
    assert code_hash("index") != code_hash("index", "cxrflow.data.readers.nih")


def test_own_version_is_the_projects(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    assert module.find_own_version(tmp_path) == "1.2.3"
    assert module.find_own_version(tmp_path / "elsewhere") == module.UNKNOWN
