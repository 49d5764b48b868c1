"""Whether the folder, the Python and the files of a study are where a cluster's jobs can use them."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cxrflow.config.study import Study
from cxrflow.operate.checking import Finding, Findings
from cxrflow.operate.mounts import find_mount
from cxrflow.operate.steps import imagenet_weights

IMPORT_TIMEOUT_S = 180.0  # torch from a busy network file system
OLDEST_PYTHON = [3, 11]
# Run by the Python that jobs will use; prints one line of JSON.
PROBE = """
import json, sys
said = {"version": list(sys.version_info[:3]), "base": sys.base_prefix}
try:
    import torch, torchvision
    said |= {"torch": torch.__version__, "cuda": torch.version.cuda or ""}
except Exception as error:
    said["error"] = f"{type(error).__name__}: {error}"
import importlib.util
said["plugin"] = importlib.util.find_spec("snakemake_executor_plugin_slurm") is not None
print(json.dumps(said))
"""


def check_folder(study: Study, folder: Path, *, n_nodes: int | None, wants_gpu: bool) -> list[Finding]:
    """Return what is found about the working folder, the Python and the study's files.

    Args:
        study: to be run.
        folder: the working directory.
        n_nodes: of the cluster; None: not known.
        wants_gpu: whether jobs ask for a GPU.
    """
    places = {"the working folder": folder}
    named = {"the data": study.data_root, "the results": study.results, "the weights": study.settings.weights_root}
    places |= {what: folder / path for what, path in named.items() if (folder / path).exists()}
    return [
        *check_places(places, n_nodes),
        *check_python(n_nodes, wants_gpu=wants_gpu),
        *check_weights(study, folder),
        *(Finding("note", f"data: {line}") for line in study.missing_data()),
    ]


def check_places(places: dict[str, Path], n_nodes: int | None) -> Findings:
    """Check that folders lie on file systems that the cluster's nodes share; each file system is named once."""
    by_mount: dict[tuple[str, str, bool], list[str]] = {}
    for what, path in places.items():
        mount = find_mount(path)
        if mount is None:
            yield Finding("note", f"this system does not say on which file system {what} lies", _try_on_node(path))
            continue
        by_mount.setdefault((str(mount.point), mount.kind, mount.is_shared), []).append(what)
    for (point, kind, is_shared), names in by_mount.items():
        text = f"{' and '.join(names)}: on {point} ({kind})"
        if is_shared or n_nodes == 1:
            yield Finding("OK", text + ("" if is_shared else ", a local file system, which is enough for one node"))
        else:
            remedy = f"the jobs' nodes may not see it: {_try_on_node(places[names[0]])}; else work on the shared one"
            yield Finding("note", f"{text}, not a kind that machines share", remedy)


def _try_on_node(path: Path) -> str:
    return f"try srun ls '{path}'"


def check_python(n_nodes: int | None, *, wants_gpu: bool) -> Findings:
    """Check the Python beside the `snakemake` of the PATH: all jobs run with it."""
    snakemake = shutil.which("snakemake")
    if snakemake is None:
        yield Finding("PROBLEM", "no snakemake on the PATH", "make setup, then source .venv/bin/activate")
        return
    python = Path(snakemake).parent / "python"
    if any(character.isspace() for character in str(python)):
        text = f"{python} has a space in its path, and Snakemake's Slurm plugin starts jobs with it unquoted"
        yield Finding("PROBLEM", text, "move the environment, or make a link without a space and use its bin/activate")
    said = probe_python(python)
    if isinstance(said, Finding):
        yield said
        return
    yield from judge_python(python, said, wants_gpu=wants_gpu)
    yield from check_places({f"{python}": python.parent, "its base Python": Path(said["base"])}, n_nodes)


def probe_python(python: Path) -> dict[str, Any] | Finding:
    """Ask a Python for its version and whether it can import what jobs need."""
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    try:
        done = subprocess.run(
            [python, "-c", PROBE],
            capture_output=True,
            text=True,
            timeout=IMPORT_TIMEOUT_S,
            env=environment,
            check=False,
        )
        return dict(json.loads(done.stdout.splitlines()[-1]))
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError) as error:
        return Finding("PROBLEM", f"{python} does not run ({error})", "make setup, then source .venv/bin/activate")


def judge_python(python: Path, said: dict[str, Any], *, wants_gpu: bool) -> Findings:
    """Say what a Python lacks."""
    version = ".".join(map(str, said["version"]))
    remedy = "make setup, then source .venv/bin/activate"
    if said["version"][:2] < OLDEST_PYTHON:
        yield Finding("PROBLEM", f"{python} is Python {version}, and 3.11 is the oldest", remedy)
    if not said["plugin"]:
        yield Finding("PROBLEM", f"{python} has no snakemake-executor-plugin-slurm", remedy)
    if "error" in said:
        yield Finding("PROBLEM", f"{python} cannot import torch and torchvision: {said['error']}", remedy)
    elif wants_gpu and not said["cuda"]:
        text = f"torch {said['torch']} has no CUDA, and jobs ask for GPUs"
        yield Finding("PROBLEM", text, "install a torch that is built with CUDA (or ROCm, and then ignore this line)")
    else:
        cuda = f", CUDA {said['cuda']}" if said["cuda"] else ", CPU only"
        yield Finding("OK", f"{python}: Python {version}, torch {said['torch']}{cuda}")


def check_weights(study: Study, folder: Path) -> Findings:
    """Check that ImageNet weights are there, if models start from them."""
    names = imagenet_weights(study)
    root = folder / study.settings.weights_root
    absent = [name for name in names if not (root / name).is_file()]
    if absent:
        text = f"ImageNet weights not there yet: {', '.join(absent)}"
        remedy = (
            f"Snakemake fetches them here at the start, with the internet; without it, copy them into"
            f" {study.settings.weights_root}/ from {study.settings.weights_url}/"
        )
        yield Finding("note", text, remedy)
    elif names:
        yield Finding("OK", f"ImageNet weights are in {study.settings.weights_root}")


def exit_status(findings: Iterable[Finding]) -> int:
    """Return 1 if any of the findings is a problem."""
    return int(any(finding.level == "PROBLEM" for finding in findings))
