"""File systems, Pythons and weights: what is fit for a cluster's jobs."""

from pathlib import Path

import pytest

from cxrflow.operate import check_folder
from cxrflow.operate.check_folder import check_places, check_python, check_weights, exit_status, judge_python
from cxrflow.operate.checking import Finding
from cxrflow.operate.choosing import read_study
from cxrflow.operate.mounts import Mount, find_mount
from tests.workflow.conftest import ROOT

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /home rw,relatime shared:2 - nfs4 server:/home rw
31 22 0:41 / /scratch\\040two rw - lustre mds@tcp:/s rw
32 30 0:42 / /home/x/tmp rw master:3 - tmpfs tmpfs rw
33 22 0:43 / /over rw - ext4 /dev/sdb rw
34 22 0:44 / /over rw - beegfs beegfs_nodev rw
"""
SAID = {"version": [3, 12, 1], "base": "/usr", "torch": "2.14", "cuda": "13.0", "plugin": True}


@pytest.mark.parametrize(
    ("path", "kind", "shared"),
    [
        ("/home/x/study", "nfs4", True),
        ("/home/x/tmp/study", "tmpfs", False),
        ("/homely", "ext4", False),
        ("/scratch two/me", "lustre", True),
        ("/over/there", "beegfs", True),
    ],
)
def test_the_innermost_mount_counts(path: str, kind: str, shared: bool) -> None:
    mount = find_mount(Path(path), MOUNTS)
    assert mount is not None
    assert (mount.kind, mount.is_shared) == (kind, shared)


@pytest.mark.parametrize("kind", ["gpfs", "ceph", "fuse.ceph-fuse", "beegfs_nodev", "nfs", "fuse.glusterfs"])
def test_shared_kinds(kind: str) -> None:
    assert Mount(Path("/x"), kind).is_shared


@pytest.mark.parametrize("kind", ["ext4", "xfs", "tmpfs", "overlay", "btrfs", "nfsd"])
def test_local_kinds(kind: str) -> None:
    assert not Mount(Path("/x"), kind).is_shared


@pytest.mark.parametrize(("n_nodes", "level"), [(1, "OK"), (2, "note"), (None, "note")])
def test_a_local_disk_is_enough_for_one_node(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, n_nodes: int | None, level: str
) -> None:
    monkeypatch.setattr(check_folder, "find_mount", lambda _path: Mount(Path("/"), "ext4"))
    assert [finding.level for finding in check_places({"it": tmp_path}, n_nodes)] == [level]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": [3, 10, 2]}, "3.11 is the oldest"),
        ({"plugin": False}, "no snakemake-executor-plugin-slurm"),
        ({"error": "ImportError: libcudart.so"}, "cannot import torch and torchvision: ImportError: libcudart.so"),
        ({"cuda": ""}, "has no CUDA"),
    ],
)
def test_what_a_python_lacks(change: dict[str, object], words: str) -> None:
    findings = list(judge_python(Path("python"), SAID | change, wants_gpu=True))
    assert any(finding.level == "PROBLEM" and words in finding.text for finding in findings)
    assert [finding.level for finding in judge_python(Path("python"), SAID, wants_gpu=True)] == ["OK"]


def test_a_torch_without_cuda_is_enough_where_no_job_asks_for_a_gpu() -> None:
    assert [finding.level for finding in judge_python(Path("p"), SAID | {"cuda": ""}, wants_gpu=False)] == ["OK"]


def test_a_python_that_does_not_run_is_a_problem(bare_path: Path) -> None:
    for name in ("snakemake", "python"):
        (bare_path / name).write_text("#!/bin/sh\nexit 1\n")
        (bare_path / name).chmod(0o755)
    (finding,) = check_python(1, wants_gpu=False)
    assert "does not run" in finding.text


def test_a_python_whose_path_has_a_space_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "my env"
    home.mkdir()
    for name in ("snakemake", "python"):
        (home / name).write_text("#!/bin/sh\nexit 1\n")
        (home / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(home))
    assert "has a space in its path" in next(iter(check_python(1, wants_gpu=False))).text


def test_weights_that_are_not_there_are_a_note_with_their_name(folder: Path) -> None:
    study = read_study(ROOT / "config/lungs.yaml")
    (absent,) = check_weights(study, folder)
    assert (absent.level, "resnet34-b627a593.pth" in absent.text) == ("note", True)
    weights = folder / "data/weights/resnet34-b627a593.pth"
    weights.parent.mkdir(parents=True)
    weights.touch()
    assert [finding.level for finding in check_weights(study, folder)] == ["OK"]
    assert list(check_weights(read_study(ROOT / "config/demo.yaml"), folder)) == []


def test_only_a_problem_is_a_failure() -> None:
    assert exit_status([Finding("OK", "a"), Finding("note", "b")]) == 0
    assert exit_status([Finding("OK", "a"), Finding("PROBLEM", "b")]) == 1
