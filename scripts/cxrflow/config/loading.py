"""YAML files as Snakemake reads them, and a study's config: config files, overridden by the KEY=VALUE of `--config`."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cxrflow.errors import CxrflowError

TEMPLATE_KEY = "__use_yte__"  # Snakemake renders profiles with YTE where they say so
KEY = re.compile(r"[a-zA-Z_][\w-]*\w")


def load_config(paths: Sequence[Path], overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Merge config files and KEY=VALUE overrides as Snakemake does: later ones win, key by key.

    Raises:
        CxrflowError: a file is not there or no YAML, or an override is not KEY=VALUE.
    """
    config: dict[str, Any] = {}
    for values in [*map(read_mapping, paths), *map(parse_override, overrides)]:
        config = _merge(config, values)
    return config


def parse_override(text: str) -> dict[str, Any]:
    """Read one KEY=VALUE of `--config`: a number, True or False, or YAML whose values all stay text.

    Source: snakemake 9.27, snakemake.cli.parse_config; a test compares both.

    Raises:
        CxrflowError: it is no KEY=VALUE.
    """
    key, equals, value = text.partition("=")
    if not equals or not KEY.fullmatch(key):
        raise CxrflowError(f"--config {text}: expected KEY=VALUE, as in data_root=DIR or 'train={{epochs: 3}}'")
    value = value.strip("'\"")
    return {key: _read_value(value) if value else None}


def _read_value(text: str) -> Any:
    for read in FORMS:
        try:
            return read(text)
        except (ValueError, KeyError, yaml.YAMLError):
            continue
    return text


FORMS: tuple[Callable[[str], Any], ...] = (
    int,
    float,
    {"True": True, "False": False}.__getitem__,
    lambda text: yaml.load(text, Loader=yaml.BaseLoader),  # as Snakemake; makes text, lists and mappings, no objects
)


def _merge(base: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    def join(key: str) -> Any:
        both = isinstance(base.get(key), dict) and isinstance(other.get(key), dict)
        return _merge(base[key], other[key]) if both else other.get(key, base.get(key))

    return {key: join(key) for key in [*base, *(key for key in other if key not in base)]}


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping, as Snakemake reads it.

    Raises:
        CxrflowError: it is missing, no YAML, or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        raise CxrflowError(
            f"{path} is not there: run this in the folder of the Snakefile, or name an existing file, such as those in"
            " config/ and profiles/"
        ) from None
    try:
        values = yaml.safe_load(text)
        if isinstance(values, dict) and values.get(TEMPLATE_KEY):
            values = _render(text, path)
    except yaml.YAMLError as error:
        raise CxrflowError(f"{path} is no valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise CxrflowError(f"{path} has no mapping where one is expected: compare it with the one in the repository")
    return values


def _render(text: str, path: Path) -> Any:
    import yte  # comes with Snakemake; configs need none of it

    try:
        return yte.process_yaml(text)
    except Exception as error:  # whatever an expression in the file raises
        raise CxrflowError(f"{path} cannot be rendered: {error.__cause__ or error}") from None
