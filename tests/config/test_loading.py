"""A config is put together as Snakemake does it."""

import contextlib
from pathlib import Path

import pytest
from snakemake.cli import parse_config

from cxrflow.config.loading import load_config, parse_override, read_mapping, refuse_repeated_options
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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train: {epochs: 2}\nseeds: [0]\ntrain: {epochs: 50}\n", "'train' is given twice (line 1 and line 3)"),
        ("datasets:\n  a: {reader: nih}\n  a: {reader: csv}\n", "'a' is given twice (line 2 and line 3)"),
        ("rows: [{a: 1, a: 2}]\n", "'a' is given twice (line 1)"),
        ('{"seeds": [0], "seeds": [1]}', "'seeds' is given twice (line 1)"),
        ("__use_yte__: true\ncores: 1\ncores: 2\n", "'cores' is given twice (line 2 and line 3)"),
    ],
)
def test_a_key_that_is_given_twice_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(CxrflowError) as raised:
        read_mapping(path)
    assert str(raised.value).startswith(f"{path}: {words}")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--config", "a=1", "b=2", "--configfile", "x"], ""),
        (["--config", "a=1", "--cores", "1", "--config", "b=2"], "--config is given twice"),
        (["-C", "a=1", "--config=b=2"], "--config is given twice"),
        (["--configfile=a.yaml", "--configfiles", "b.yaml"], "--configfile is given twice"),
        (["--profile", "a", "--profile", "b"], "--profile is given twice"),
    ],
)
def test_an_option_of_snakemake_that_is_given_twice_is_named(words: list[str], named: str) -> None:
    """Of `--config data_root=DIR --config seeds=[1]` it takes the second, and reads other data."""
    with pytest.raises(CxrflowError, match=named) if named else contextlib.nullcontext():
        refuse_repeated_options(words)


def test_a_key_may_replace_that_of_an_alias(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("one: &one {a: 1, b: 2}\ntwo: {<<: *one, a: 3}\n")
    assert read_mapping(path)["two"] == {"a": 3, "b": 2}


def test_an_override_gives_no_key_twice() -> None:
    with pytest.raises(CxrflowError, match="--config: 'epochs' is given twice"):
        parse_override("train={epochs: 3, epochs: 5}")


@pytest.mark.parametrize("text", ["epochs", "3x=4", "=4", "two words=1"])
def test_what_snakemake_would_refuse_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Invalid config definition"):
        parse_config([text])
    with pytest.raises(CxrflowError, match="expected KEY=VALUE, as in data_root"):
        parse_override(text)
