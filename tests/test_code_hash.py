"""What changes the hash of a stage's code, and what does not."""

from pathlib import Path

import pytest

from cxrflow import code_hash as module
from cxrflow.code_hash import code_hash

ALPHA = '''"""Doc."""
from cxrflow.beta import f


def g(x):
    """Say what."""
    return f(x) + 1
'''


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "cxrflow"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "alpha.py").write_text(ALPHA)
    (package / "beta.py").write_text("from cxrflow.settings import S\n\n\ndef f(x):\n    return x\n")
    (package / "settings.py").write_text("S = 1\n")
    (package / "other.py").write_text("O = 1\n")
    (tmp_path / "stage.py").write_text("import json\nfrom cxrflow import alpha\n")
    monkeypatch.setattr(module, "SCRIPTS", tmp_path)
    return package


def hash_after(path: Path, text: str) -> str:
    path.write_text(text)
    module.read_module.cache_clear()
    return code_hash("stage")


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
    assert hash_after(scripts / "settings.py", "S = 2\n") == before


def test_a_module_behind_a_table_counts_when_named(scripts: Path) -> None:
    before = code_hash("stage", "cxrflow.other")
    assert before != code_hash("stage")
    (scripts / "other.py").write_text("O = 3\n")
    module.read_module.cache_clear()
    assert code_hash("stage", "cxrflow.other") != before
