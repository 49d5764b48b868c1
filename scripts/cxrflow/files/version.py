"""The version of cxrflow: read from pyproject.toml, because the code runs from its folder and is not installed."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
UNKNOWN = "of unknown version"


def find_own_version(root: Path = ROOT) -> str:
    """Return cxrflow's version as the pyproject.toml in `root` has it, or that it is unknown."""
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    except (OSError, ValueError, KeyError):
        return UNKNOWN
    return str(project["version"])
