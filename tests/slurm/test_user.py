"""A study of a user without rights: a clone in a path with a space, home elsewhere, somebody else's environment."""

import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cxrflow.report.manifest import SUMMARY_FILES
from tests.slurm.cluster import ACCOUNT, Cluster
from tests.slurm.conftest import EAGER, ON_CLUSTER, STUDY, Login
from tests.workflow.conftest import ROOT, copy_workflow

pytestmark = pytest.mark.slow

USER = "nobody"  # on every system, with a home that does not exist
SHORT = STUDY.replace("epochs: 24", "epochs: 1").partition("variants:")[0]
# Fewer jobs, each of which costs seconds of start: what follows from each other shares one.
IN_ONE_JOB = ("phantom=first", "index=first", "copies=first", "summarize=last", "report=last")
FOR_EVERYBODY = (Path(tempfile.gettempdir()), Path("/var/tmp"), Path("/dev/shm"))


@dataclass
class User:
    """Somebody at the login node.

    Attributes:
        login: where they type.
        uid: of the account.
        home: a file system of its own.
        clone: of the repository; all that the account owns, beside home.
    """

    login: Login
    uid: int
    home: Path
    clone: Path

    def make(self, target: str) -> str:
        """Type a make command in the clone; return what it prints."""
        given = {"cwd": self.clone, "env": self.login.environment, **self.login.user}
        done = subprocess.run(["make", target], capture_output=True, text=True, timeout=200, **given)
        assert done.returncode == 0, done.stdout + done.stderr
        return str(done.stdout)

    def list_own(self) -> set[Path]:
        """Return what the account owns where everybody may write, but for an empty folder that PyTorch leaves."""
        found = {path for folder in FOR_EVERYBODY if folder.is_dir() for path in folder.iterdir()}
        is_own = {path for path in found if path.lstat().st_uid == self.uid}
        return {path for path in is_own if path.name != f"torchinductor_{USER}" or any(path.iterdir())}


def is_open(path: Path) -> bool:
    """Say whether every user may read a file or folder."""
    path = path.resolve()
    return bool(path.stat().st_mode & 0o004) and all(each.stat().st_mode & 0o001 for each in path.parents)


def share_environment(folder: Path) -> None:
    """Make what somebody else has installed on a project's disk: for everybody to run, and for nobody to change.

    This Python's packages, and this Python or, where it lies in somebody's home, the system's of the same version.
    """
    version, packages = sysconfig.get_python_version(), Path(sysconfig.get_path("purelib"))
    places = (Path(sys.executable), *(Path(f"{place}/bin/python{version}") for place in ("/usr/local", "/usr")))
    python = next((each for each in places if each.exists() and is_open(each)), None)
    if python is None or not is_open(packages):
        pytest.skip(f"other users may not read {packages}, or there is no Python {version} that they may run")
    subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
    (folder / f"lib/python{version}/site-packages/shared.pth").write_text(f"{packages}\n")
    snakemake = folder / "bin/snakemake"
    snakemake.write_text(f"#!{folder}/bin/python\n{EAGER}")
    snakemake.chmod(0o755)
    lock = subprocess.run(
        ["cksum"], input=(ROOT / "envs/requirements.txt").read_bytes(), capture_output=True, check=True
    )
    (folder / f".installed-{lock.stdout.split()[0].decode()}").touch()  # what `make setup` leaves there


@pytest.fixture
def user(cluster: Cluster) -> Iterator[User]:
    """Give the account a clone, a home and a link to somebody else's environment, and take all of it away again."""
    place = Path(tempfile.mkdtemp(prefix="cxu"))
    place.chmod(0o755)
    account = pwd.getpwnam(USER)
    made = User(Login(cluster), account.pw_uid, place / "home", place / "my clones/it's a clone")
    made.home.mkdir()
    owner = f"uid={account.pw_uid},gid={account.pw_gid}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=64m,mode=700,{owner}", "tmpfs", made.home], check=True)
    try:
        share_environment(place / "project/venv")
        copy_workflow(made.clone)
        shutil.copy(ROOT / "Makefile", made.clone)
        (made.clone / "config/proof.yaml").write_text(SHORT)
        (made.clone / ".venv").symlink_to(place / "project/venv")
        subprocess.run(["chown", "-R", "--no-dereference", f"{USER}:", made.clone], check=True)
        cluster.ask("sacctmgr", "-i", "add", "user", USER, f"Account={ACCOUNT}", f"DefaultAccount={ACCOUNT}")
        made.login.python = place / "project/venv/bin/python"
        made.login.user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        path = f"{made.login.python.parent}:/usr/bin:/bin"
        names = {"PATH": path, "HOME": str(made.home), "USER": USER, "LOGNAME": USER}
        made.login.environment = {**names, **cluster.environment}
        yield made
    finally:
        made.login.close()
        cluster.ask("scancel", f"--user={USER}", check=False)
        subprocess.run(["umount", "--lazy", made.home], check=False)
        shutil.rmtree(place)
        shutil.rmtree(FOR_EVERYBODY[0] / f"torchinductor_{USER}", ignore_errors=True)


def test_a_user_without_rights_comes_from_synthetic_xrays_to_the_report_and_writes_nowhere_else(user: User) -> None:
    """`make site`, `make slurm-check` and the study, in the account's own name."""
    before = user.list_own()
    user.make("site")
    assert "PROBLEM" not in user.make("slurm-check")
    assert f"account: {ACCOUNT}" in (user.clone / "profiles/slurm/site.yaml").read_text()
    shared = ("--config", "compute={trainings_per_job: 2}", "--groups", *IN_ONE_JOB)
    head = user.login.snakemake(user.clone, *ON_CLUSTER, *shared)
    assert head.wait() == 0, head.said[-3000:]
    summary = user.clone / "results/proof/summary"
    assert all((summary / name).stat().st_uid == user.uid for name in SUMMARY_FILES)
    assert (user.clone / "results/proof/report.html").stat().st_size > 100_000
    assert os.readlink(user.clone / ".venv") == str(user.login.python.parents[1])
    assert user.list_own() == before
