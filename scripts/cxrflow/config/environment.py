"""The versions that results depend on, and whether they are still those that Snakemake was started with.

Snakemake leaves them in an environment variable (workflow/rules/common.smk), which its jobs inherit, also on a cluster.
Where somebody changes a shared environment meanwhile, the next job stops, and no study is made of a mixture unknown.
"""

import json
import os
import sys
import sysconfig
from pathlib import Path

from cxrflow.errors import CxrflowError

PLANNED = "CXRFLOW_ENVIRONMENT"
PACKAGES = (
    "torch", "torchvision", "timm", "numpy", "scipy", "opencv-python-headless", "kornia-rs", "pydicom", "scikit-learn",
    "opentsne", "grad-cam", "optuna", "onnxruntime", "matplotlib", "pillow", "jinja2", "tabulate", "snakemake",
)  # fmt: skip
MISSING, PLACES = "missing", "places"


def list_packages() -> dict[str, str]:
    """Return {name: version} of those of PACKAGES that are installed; imports none of them."""
    return {name: found for name in PACKAGES if (found := find_version(name)) is not None}


def find_version(package: str) -> str | None:
    """Return an installed package's version, or None where it is not installed as a package."""
    from importlib.metadata import PackageNotFoundError, version  # here: of each stage's start, it would be a fifth

    try:
        return version(package)
    except (PackageNotFoundError, KeyError):  # KeyError: it is being installed, and its metadata is not whole yet
        return None


def describe_environment() -> str:
    """Return the versions of Python and PACKAGES as JSON, for the variable PLANNED.

    Python's without the third number, in which the nodes of a cluster may differ, and which an update may raise.
    """
    return json.dumps({"python": sysconfig.get_python_version(), **list_packages(), PLACES: list_places()})


def list_places() -> dict[str, int]:
    """Return when each folder of packages last changed, in ns: what is installed or removed there leaves its mark."""
    folders = [*filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    folders += [folder for folder in sys.path if folder.endswith(("site-packages", "dist-packages"))]
    return {folder: Path(folder).stat().st_mtime_ns for folder in folders if Path(folder).is_dir()}


def check_environment() -> None:
    """Compare the versions with those that Snakemake was started with; where it has not left them, with nothing.

    Raises:
        CxrflowError: some differ or are missing.
    """
    planned = json.loads(os.environ.get(PLANNED) or "null")
    if planned is None or planned.pop(PLACES, None) == list_places():
        return
    here = json.loads(describe_environment())
    del here[PLACES]
    versions = {name: (planned.get(name, MISSING), here.get(name, MISSING)) for name in {**planned, **here}}
    changed = [f"{name} {old} -> {new}" for name, (old, new) in versions.items() if old != new]
    if not changed:
        return
    raise CxrflowError(
        f"{sys.prefix} has changed since Snakemake was started: {', '.join(changed)}. Put these versions back"
        " (envs/requirements.txt has those of the lock) and start Snakemake again; or, once nothing is being installed"
        " there any more, start it as things are, and what is left is made with the new ones"
    )
