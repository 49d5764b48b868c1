"""Whether this folder is ready for a cluster's jobs: its file systems, the Python, weights and data."""

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cxrflow.config.study import Study
from cxrflow.operate.cluster_checks import Finding, Findings
from cxrflow.operate.jobs import Job

IMPORT_TIMEOUT_S = 180.0  # torch from a busy network file system
SHARED = re.compile(
    r"(fuse\.)?(nfs4?|lustre|gpfs|mmfs|beegfs|fhgfs|ceph(-fuse)?|glusterfs|panfs|pvfs2|orangefs|afs|cifs|smb3|wekafs|"
    r"quobyte\S*|vastfs|juicefs\S*|gfs2|ocfs2|sshfs|moosefs|mfs|lizardfs|saunafs|9p|virtiofs)(_\w+)?"
)
SETUP = "make setup, then source .venv/bin/activate"
# Run by the Python that jobs will use; prints one line of JSON.
PROBE = """
import importlib.util, json, sys
said = {"version": ".".join(map(str, sys.version_info[:3])), "is_old": sys.version_info < (3, 11)}
said |= {"base": sys.base_prefix, "plugin": importlib.util.find_spec("snakemake_executor_plugin_slurm") is not None}
try:
    import torch, torchvision
    said |= {"torch": torch.__version__, "cuda": torch.version.cuda or ""}
except Exception as error:
    said["error"] = f"{type(error).__name__}: {error}"
print(json.dumps(said))
"""


def check_folder(study: Study, jobs: Sequence[Job], n_nodes: int | None) -> list[Finding]:
    """Return what is found about the working folder, the Python and the study's files, for all of its jobs."""
    folder = Path.cwd()
    named = {
        "the data": study.data_root,
        "the results": str(study.layout.root),
        "the weights": study.settings.weights_root,
    }
    places = {what: folder / path for what, path in named.items() if (folder / path).exists()}
    return [
        *check_places({"the working folder": folder, **places}, n_nodes),
        *check_python(n_nodes, wants_gpu=any(job.gpus for job in jobs)),
        *check_weights(study, shared_weights(study, jobs)),
        *(Finding("note", f"data: {line}") for line in study.missing_data()),
    ]


def check_places(places: dict[str, Path], n_nodes: int | None) -> Findings:
    """Check that folders lie on file systems that the cluster's nodes share; each file system is named once."""
    by_mount: dict[tuple[str, str], list[str]] = {}
    for what, path in places.items():
        by_mount.setdefault(find_mount(path), []).append(what)
    for (point, kind), names in by_mount.items():
        text = f"{' and '.join(names)}: on {point} ({kind})"
        if SHARED.fullmatch(kind):
            yield Finding("OK", text)
        elif n_nodes == 1:
            yield Finding("OK", f"{text}, a local file system, which is enough for one node")
        else:
            remedy = f"the jobs' nodes may not see it: try srun ls '{places[names[0]]}'; else work on the shared one"
            yield Finding("note", f"{text}, not a kind that machines share", remedy)


def find_mount(path: Path) -> tuple[str, str]:
    """Return the mount point and the kind of the file system of a path; `?` where this system does not say."""
    command = ["df", "--output=target,fstype", str(path)]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, timeout=IMPORT_TIMEOUT_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return "?", "?"
    point, _, kind = lines.splitlines()[-1].strip().rpartition(" ")
    return point.strip(), kind


def check_python(n_nodes: int | None, *, wants_gpu: bool) -> Findings:
    """Check the Python next to the `snakemake` of the PATH: all jobs run with it."""
    snakemake = shutil.which("snakemake")
    if snakemake is None:
        yield Finding("PROBLEM", "no snakemake on the PATH", SETUP)
        return
    python = Path(snakemake).parent / "python"
    if any(character.isspace() for character in str(python)):
        text = f"{python} has a space in its path, and Snakemake's Slurm plugin starts jobs with it unquoted"
        remedy = "run make setup in a clone whose path has none, and link .venv here to the .venv there"
        yield Finding("PROBLEM", text, remedy)
    command = [str(python), "-W", "ignore", "-c", PROBE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=IMPORT_TIMEOUT_S, check=False)
        said = dict(json.loads(done.stdout.splitlines()[-1]))
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError) as error:
        yield Finding("PROBLEM", f"{python} does not run ({error})", SETUP)
        return
    yield from judge_python(python, said, wants_gpu=wants_gpu)
    yield from check_places({f"{python}": python.parent, "its base Python": Path(said["base"])}, n_nodes)


def judge_python(python: Path, said: dict[str, Any], *, wants_gpu: bool) -> Findings:
    """Say what a Python lacks."""
    if said["is_old"]:
        yield Finding("PROBLEM", f"{python} is Python {said['version']}, and 3.11 is the oldest", SETUP)
    if not said["plugin"]:
        yield Finding("PROBLEM", f"{python} has no snakemake-executor-plugin-slurm", SETUP)
    if "error" in said:
        yield Finding("PROBLEM", f"{python} cannot import torch and torchvision: {said['error']}", SETUP)
    elif wants_gpu and not said["cuda"]:
        text = f"torch {said['torch']} has no CUDA, and jobs ask for GPUs"
        yield Finding("PROBLEM", text, "install a torch that is built with CUDA (or ROCm, and then ignore this line)")
    else:
        cuda = f", CUDA {said['cuda']}" if said["cuda"] else ", CPU only"
        yield Finding("OK", f"{python}: Python {said['version']}, torch {said['torch']}{cuda}")


def shared_weights(study: Study, jobs: Sequence[Job]) -> list[Path]:
    """Return the files that jobs copy from the folder of weights, or fetch into it."""
    names = [Path(path).name for job in jobs if job.rule == "fetch_weights" for path in job.outputs]
    return [Path(study.settings.weights_root, name) for name in names]


def check_weights(study: Study, files: Sequence[Path]) -> Findings:
    """Check that the files of ImageNet weights exist that models start from."""
    absent = [path for path in files if not path.is_file()]
    if absent:
        remedy = (
            f"Snakemake fetches them from here at the start, over the internet; without it, copy them into"
            f" {absent[0].parent}/ from {study.settings.weights_url}/"
        )
        text = f"ImageNet weights that are still missing: {', '.join(path.name for path in absent)}"
        yield Finding("note", text, remedy)
    elif files:
        yield Finding("OK", f"ImageNet weights are in {files[0].parent}")
