"""Which study is meant, and with which settings."""

import subprocess
import sys
from pathlib import Path

import pytest

from cxrflow.errors import CxrflowError
from cxrflow.operate.choosing import choose_config, read_study
from tests.workflow.conftest import ROOT


@pytest.fixture
def configs(folder: Path) -> Path:
    """Two studies, none begun."""
    (folder / "config").mkdir()
    for name in ("quick", "lungs"):
        (folder / "config" / f"my_{name}.yaml").write_text(f"study: {name}\n")
    return folder


def test_a_study_is_found_by_its_name_or_where_it_is_the_only_one_begun(configs: Path) -> None:
    assert choose_config(None, "lungs") == Path("config/my_lungs.yaml")
    with pytest.raises(CxrflowError, match="no study has results here yet"):
        choose_config(None, None)
    (configs / "results/quick").mkdir(parents=True)
    assert choose_config(None, None) == Path("config/my_quick.yaml")
    (configs / "results/lungs").mkdir()
    with pytest.raises(CxrflowError, match="several studies have results here"):
        choose_config(None, None)
    with pytest.raises(CxrflowError, match="no file in config/ has the study 'other'"):
        choose_config(None, "other")


def test_settings_may_be_replaced_as_for_snakemake() -> None:
    study = read_study(ROOT / "config/lungs.yaml", ["train={epochs: 3}", "seeds=[0, 1]"])
    assert study.settings.train.epochs == 3
    assert {model.seed for model in study.models()} == {0, 1}
    assert study.settings.backbones == read_study(ROOT / "config/lungs.yaml").settings.backbones


@pytest.mark.parametrize("script", ["status", "recover", "slurm_check", "plan"])
def test_every_command_about_a_run_takes_the_settings_that_snakemake_was_given(script: str) -> None:
    command = [sys.executable, ROOT / f"scripts/{script}.py", "--help"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "--config " in said
    assert "'train={epochs: 3}'" in " ".join(said.split())


def test_the_state_of_a_run_with_replaced_settings_is_shown(configs: Path) -> None:
    command = [sys.executable, ROOT / "scripts/status.py", "--configfile", ROOT / "config/demo.yaml"]
    run = subprocess.run(
        [*command, "--config", "seeds=[0, 1]", "study=two"], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("two at ")
    assert "0 of 24 models complete" in run.stdout
