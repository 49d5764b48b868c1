"""Config files, profiles and site files: YAML that holds a mapping, rendered first where it is a template."""

from pathlib import Path
from typing import Any

import yaml

from cxrflow.errors import CxrflowError

TEMPLATE_KEY = "__use_yte__"  # Snakemake renders profiles with YTE where they say so


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
