"""Parts of the library that must not know each other do not."""

import re
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
ASKING = {"plan", "status", "recover", "slurm_check"}  # commands of a user, no stages


@pytest.mark.parametrize(("part", "other"), [("planning", "runs"), ("runs", "planning")])
def test_plans_and_the_state_of_runs_do_not_import_each_other(part: str, other: str) -> None:
    modules = list((SCRIPTS / "cxrflow" / part).glob("*.py"))
    assert modules
    assert [module.name for module in modules if re.search(rf"cxrflow[. ].*\b{other}\b", module.read_text())] == []


def test_no_stage_imports_either() -> None:
    stages = [path for path in SCRIPTS.glob("*.py") if path.stem not in ASKING]
    assert len(stages) > 10
    assert [path.name for path in stages if re.search(r"cxrflow\.(planning|runs)\b", path.read_text())] == []
