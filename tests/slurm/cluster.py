"""A real Slurm on this one machine, thrown away afterwards: munge, MariaDB, slurmdbd, slurmctld and slurmd.

Everything lies below one folder and listens on its own ports, so that it stands beside another cluster and leaves
nothing behind. Needs root and Debian's packages `slurm-wlm slurmdbd mariadb-server munge`; no systemd.

    python tests/slurm/cluster.py up /tmp/cxrflow-slurm       # prints the environment variable to set
    python tests/slurm/cluster.py down /tmp/cxrflow-slurm

One node, two partitions: `cpu` and `gpu`, the latter with two GPUs that are only names (no device behind them: jobs
queue for them, and see CUDA_VISIBLE_DEVICES).
"""

import argparse
import contextlib
import fcntl
import os
import platform
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PROGRAMS = ("munged", "mariadbd", "mariadb-install-db", "slurmdbd", "slurmctld", "slurmd", "sacctmgr", "sbatch")
PACKAGES = "slurm-wlm slurmdbd mariadb-server munge"
ATTEMPTS = 3  # a port may be taken between the look at it and its use
START_LOCK = Path(tempfile.gettempdir(), "cxrflow-slurm-start.lock")  # several starts at once starve each other
START_S = 60.0  # a daemon that has not answered by then will not
ACCOUNT = "lungs"
MARK = "throwaway"  # a folder in the cluster's, by which it is known
CPUS, MEMORY_MB, GPUS = 8, 32000, 2  # said to Slurm, whatever the machine has


class ClusterError(Exception):
    """A daemon did not start; the message holds the end of its log."""


def missing_programs() -> list[str]:
    """Return what is not installed, or `root` where another user asks."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [program for program in PROGRAMS if not shutil.which(program, path=path)]
    return missing + ["root"] * (os.geteuid() != 0)


class Cluster:
    """The daemons of one throwaway cluster.

    Attributes:
        folder: of everything they write.
    """

    def __init__(self, folder: Path) -> None:
        """Take the folder, which is deleted at the start and at the end; nothing is started yet.

        Raises:
            ClusterError: it is there, and no cluster of this kind made it.
        """
        self.folder = folder.resolve()
        if self.folder.exists() and not (self.folder / MARK).exists():
            raise ClusterError(
                f"{folder} is no throwaway cluster, so it is left alone: name a folder that does not exist"
            )
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def environment(self) -> dict[str, str]:
        """Variables that a client of this cluster needs."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def up(self) -> None:
        """Start all daemons and wait until the node takes jobs.

        Raises:
            ClusterError: one of them did not start.
        """
        if self._alive():
            raise ClusterError(f"a cluster runs in {self.folder} already: `make slurm-down` ends it")
        with one_at_a_time(START_LOCK):
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    self._start_all()
                    return
                except (ClusterError, subprocess.TimeoutExpired) as error:
                    self.down()
                    if attempt == ATTEMPTS:
                        raise
                    print(f"start {attempt} of {ATTEMPTS} failed: {error}", flush=True)
                except BaseException:
                    self.down()
                    raise

    def _start_all(self) -> None:
        """Make the folder anew and start one daemon after the other."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in (MARK, "bin", "log", "run", "spool", "state", "mysql"):
            (self.folder / name).mkdir(parents=True)
        self.folder.chmod(0o755)
        self._write_configs(*free_ports(3))
        self._start_munge()
        self.start_database()
        self.start_slurmdbd()
        self._add_account()
        self.start_controller()
        self._start("slurmd", "slurmd", "-D", "-f", str(self.folder / "slurm.conf"))
        self._wait("slurmd", lambda: "idle" in self.ask("sinfo", "-h", "-o", "%T"))

    def down(self) -> None:
        """End every daemon and job and remove the folder."""
        if (self.folder / "run/slurmctld.pid").exists():
            self.ask("scancel", "--full", "--signal=KILL", "--state=RUNNING", check=False)
            self.ask("scancel", "--user=root", check=False)
            self._wait_quietly(lambda: not self.ask("squeue", "-h", "-t", "R,CG", check=False).strip(), 10)
        for name in ("slurmd", "slurmctld", "slurmdbd", "mariadbd", "munged"):
            self.stop(name)
        for pid in self._find_job_processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _find_job_processes(self) -> Iterator[int]:
        """Yield what is left of jobs: without cgroups Slurm loses sight of a process whose parent was killed."""
        mark = f"SLURM_CONF={self.folder}/slurm.conf".encode()
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                words = path.read_bytes().split(b"\0")
                if mark in words and any(word.startswith(b"SLURM_JOB_ID=") for word in words):
                    yield int(path.parent.name)

    def ask(self, *command: str, check: bool = True) -> str:
        """Run a Slurm command against this cluster; return what it prints."""
        done = subprocess.run(
            command, env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=60, check=False
        )
        if check and done.returncode:
            raise ClusterError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def stop(self, name: str) -> None:
        """End one daemon, and wait until it is gone."""
        pid = self._pid(name)
        for number in (signal.SIGTERM, signal.SIGKILL):
            if pid and _is_alive(pid):
                os.kill(pid, number)
                self._wait_quietly(lambda: not _is_alive(pid), 10)
        if name in self._started:
            self._started.pop(name).wait()
        (self.folder / f"run/{name}.pid").unlink(missing_ok=True)

    def start_database(self) -> None:
        """Start MariaDB on a socket of its own; the first time, make its tables."""
        data, sock = self.folder / "mysql/data", self.folder / "run/mysql.sock"
        if not data.exists():
            # --force: also where the machine's name cannot be looked up; nothing here goes by names
            where = ("--user=root", f"--datadir={data}", "--skip-test-db", "--force")
            self._run("mariadb-install-db", "--no-defaults", *where)
        options = (
            "--user=root",
            f"--datadir={data}",
            f"--tmpdir={data.parent}",
            f"--socket={sock}",
            "--skip-networking",
        )
        self._start("mariadbd", "mariadbd", "--no-defaults", *options, f"--pid-file={self.folder}/mysql/pid")
        self._wait("mariadbd", sock.exists)

    def start_slurmdbd(self) -> None:
        """Start the accounting daemon."""
        self._start("slurmdbd", "slurmdbd", "-D")
        self._wait("slurmdbd", lambda: "Cluster" in self.ask("sacctmgr", "show", "cluster", check=False))

    def start_controller(self) -> None:
        """Start the controller; it finds its jobs again if it ran before."""
        self._start("slurmctld", "slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))
        self._wait("slurmctld", lambda: "UP" in self.ask("scontrol", "ping", check=False))

    def _add_account(self) -> None:
        self.ask("sacctmgr", "-i", "add", "cluster", "cxrflow")
        self.ask("sacctmgr", "-i", "add", "account", ACCOUNT, "Description=tests", "Organization=tests")
        accounts = (f"Account={ACCOUNT}", f"DefaultAccount={ACCOUNT}")
        self.ask("sacctmgr", "-i", "add", "user", "root", *accounts, check=False)

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        run, log = self.folder / "run", self.folder / "log"
        files = (f"--key-file={key}", f"--socket={run}/munge.sock", f"--pid-file={run}/munge.pid")
        self._start("munged", "munged", "-F", "--force", *files, f"--log-file={log}/munge", f"--seed-file={run}/seed")
        self._wait("munged", (run / "munge.sock").exists)

    def _write_configs(self, controller_port: int, node_port: int, database_port: int) -> None:
        for number in range(GPUS):
            (self.folder / f"gpu{number}").touch()
        # The Slurm plugin takes SLURM_CONF out of a job's environment; a cluster with its files in /etc needs none.
        # The node puts it back for every task, and a wrapper for the srun in between.
        exports = f"SLURM_CONF={self.folder}/slurm.conf"
        _write_script(self.folder / "prolog", f'echo export {exports}; echo export PATH="{self.folder}/bin:$PATH"')
        _write_script(self.folder / "bin/srun", f'{exports} exec {shutil.which("srun")} "$@"')
        node = platform.node().split(".")[0]
        (self.folder / "gres.conf").write_text(f"Name=gpu Count={GPUS} File={self.folder}/gpu[0-{GPUS - 1}]\n")
        (self.folder / "slurm.conf").write_text(f"""\
ClusterName=cxrflow
SlurmctldHost={node}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={self.folder}/run/munge.sock
CredType=cred/munge
StateSaveLocation={self.folder}/state
SlurmdSpoolDir={self.folder}/spool
SlurmctldPidFile={self.folder}/run/ctld
SlurmdPidFile={self.folder}/run/d
SlurmctldLogFile={self.folder}/log/slurmctld
SlurmdLogFile={self.folder}/log/slurmd
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
TaskProlog={self.folder}/prolog
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=10
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={database_port}
AccountingStoragePass={self.folder}/run/munge.sock
AccountingStoreFlags=job_comment
GresTypes=gpu
ReturnToService=2
MinJobAge=3600
KillWait=5
MailProg=/bin/true
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
SlurmdParameters=config_overrides
NodeName={node} NodeAddr=127.0.0.1 CPUs={CPUS} RealMemory={MEMORY_MB} Gres=gpu:{GPUS} State=UNKNOWN
PartitionName=cpu Nodes={node} Default=YES MaxTime=1440 State=UP
PartitionName=gpu Nodes={node} Default=NO MaxTime=1440 State=UP
""")
        conf = self.folder / "slurmdbd.conf"
        conf.write_text(f"""\
AuthType=auth/munge
AuthInfo=socket={self.folder}/run/munge.sock
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={database_port}
SlurmUser=root
PidFile={self.folder}/run/dbd
LogFile={self.folder}/log/slurmdbd
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm
""")
        conf.chmod(0o600)

    def _start(self, name: str, *command: str) -> None:
        """Start a daemon in the foreground of a session of its own, with its output in log/."""
        environment = {
            **os.environ,
            **self.environment,
            "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin",
            "MYSQL_UNIX_PORT": str(self.folder / "run/mysql.sock"),
        }
        with (self.folder / f"log/{name}.out").open("a") as log:
            self._started[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        (self.folder / f"run/{name}.pid").write_text(str(self._started[name].pid))

    def _run(self, *command: str) -> None:
        # in a shared /tmp the temporary tables of two databases that are made at once get the same names
        own_tmp = {**os.environ, "TMPDIR": str(self.folder / "mysql")}
        done = subprocess.run(command, env=own_tmp, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise ClusterError(f"{command[0]} ended with {done.returncode}:\n{done.stdout[-1500:]}")

    def _wait(self, name: str, is_up: Callable[[], bool]) -> None:
        if not self._wait_quietly(is_up, START_S):
            logs = [path.read_text(errors="replace")[-1500:] for path in sorted((self.folder / "log").glob(f"{name}*"))]
            raise ClusterError(f"{name} did not start within {START_S:.0f} s:\n" + "\n".join(logs))

    def _wait_quietly(self, is_done: Callable[[], bool], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if is_done():
                return True
            time.sleep(0.3)
        return False

    def _pid(self, name: str) -> int:
        path = self.folder / f"run/{name}.pid"
        return int(path.read_text()) if path.exists() else 0

    def _alive(self) -> bool:
        return _is_alive(self._pid("slurmctld"))


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] if pid else "X"
    except OSError:
        return False
    return state not in "ZX"


def _write_script(path: Path, commands: str) -> None:
    path.write_text(f"#!/bin/sh\n{commands}\n")
    path.chmod(0o755)


@contextlib.contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Wait until no other process of this machine holds the lock, a file, and hold it."""
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def free_ports(count: int) -> list[int]:
    """Return port numbers that nobody listens on now, below those that systems give to outgoing connections."""
    free: list[int] = []
    while len(free) < count:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            free.append(port)
    return free


def main() -> None:
    """Start or stop a cluster from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("up", "down"))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    try:
        cluster = Cluster(arguments.folder)
    except ClusterError as error:
        raise SystemExit(str(error)) from None
    if arguments.action == "down":
        cluster.down()
        return
    if missing := missing_programs():
        raise SystemExit(f"missing: {', '.join(missing)}. As root on Debian: apt-get install {PACKAGES}")
    cluster.up()
    print(cluster.ask("sinfo"))
    print("In every shell that uses it:\n" + "\n".join(f"    export {k}={v}" for k, v in cluster.environment.items()))


if __name__ == "__main__":
    main()
