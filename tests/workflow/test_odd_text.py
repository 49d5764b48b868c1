"""Text of a config reaches every rule as it is, whatever Snakemake, the shell or a format string see in it."""

import csv
import re
from pathlib import Path

import pytest
import yaml

from cxrflow.files.atomic import write_json
from tests.data.toy import write_image
from tests.workflow.conftest import run_snakemake

ODD = '{seed} {{x}} {3} "q" it\'s $HOME `id` % %s é'
PATTERN = r"(?P<patient>p\d{3})_\d{1,2}"
STUDY = ("--cores", "1", "--configfile", "config/odd.yaml")


@pytest.fixture
def odd(clone: Path) -> Path:
    """Write a study of which every free text is odd, and its images."""
    for label in ("a", "b"):
        for i in range(24):
            write_image(clone / f"raw {ODD}" / "x{t}" / label / f"p{i // 2:03d}_{i}.png", 100 * (label == "b") + i, 64)
    config = {
        "study": "odd",
        "data_root": f"raw {ODD}",
        "weights_root": f"weights {ODD}",
        "weights_url": "https://example.org/{models}",
        "datasets": {
            "one": {
                "reader": "folders",
                "folder": "x{t}",
                "title": ODD,
                "citation": f"{ODD}\n{ODD}\n",
                "patient_pattern": PATTERN,
                "classes": {"a": ODD, "b": "b"},
            }
        },
        "backbones": ["resnet34"],
        "transfer": {"one": {"init": "imagenet", "backbone": "resnet34"}},
        "preprocess": {"size_px": 32},
        "compute": {"device": "cpu", "threads": 1},
    }
    write_json(clone / "config/odd.yaml", config)  # JSON is YAML
    assert yaml.safe_load((clone / "config/odd.yaml").read_text()) == config
    return clone


def test_a_study_of_odd_text_is_planned(odd: Path) -> None:
    run = run_snakemake(odd, "-n", "-p", *STUDY)
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"^train +2$", run.stdout, flags=re.MULTILINE)


@pytest.mark.slow
def test_odd_text_reaches_the_jobs(odd: Path) -> None:
    run = run_snakemake(odd, *STUDY, "--", "data")
    assert run.returncode == 0, run.stdout + run.stderr
    with (odd / "results/odd/data/one/index.csv").open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert {row["label"] for row in rows} == {ODD, "b"}
    assert len({row["patient_id"] for row in rows}) < len(rows), "the pattern has lost its braces"
