"""A config is put together as Snakemake does it."""

from pathlib import Path

import pytest
from snakemake.cli import parse_config

from cxrflow.config.loading import load_config, parse_override
from cxrflow.errors import CxrflowError


def test_later_configs_win_key_by_key(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("study: a\ntrain: {epochs: 3, batch_size: 8}\n")
    (tmp_path / "b.yaml").write_text("train: {epochs: 5}\n")
    config = load_config([tmp_path / "a.yaml", tmp_path / "b.yaml"], ["data_root=x", "train={batch_size: 16}"])
    assert config == {"study": "a", "train": {"epochs": 5, "batch_size": "16"}, "data_root": "x"}


@pytest.mark.parametrize(
    "text",
    [
        "seeds=3",
        "rate=1e-4",
        "flag=True",
        "flag=false",
        "data_root=/a b/c",
        "data_root='/quoted'",
        "train={epochs: 3, device: cpu}",
        "seeds=[0, 1]",
        "phantoms=",
        "odd={a: b",
        "pair=a=b",
    ],
)
def test_an_override_is_read_as_snakemake_reads_it(text: str) -> None:
    assert parse_override(text) == parse_config([text])


@pytest.mark.parametrize("text", ["epochs", "3x=4", "=4", "two words=1"])
def test_what_snakemake_would_refuse_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Invalid config definition"):
        parse_config([text])
    with pytest.raises(CxrflowError, match="expected KEY=VALUE, as in data_root"):
        parse_override(text)
