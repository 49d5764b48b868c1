"""On which kind of file system a path lies, and whether other machines see it."""

import re
from dataclasses import dataclass
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
SHARED = re.compile(
    r"(fuse\.)?(nfs4?|lustre|gpfs|mmfs|beegfs|fhgfs|ceph(-fuse)?|glusterfs|panfs|pvfs2|orangefs|afs|cifs|smb3|wekafs|"
    r"quobyte\S*|vastfs|juicefs\S*|gfs2|ocfs2|sshfs|moosefs|mfs|lizardfs|saunafs|9p|virtiofs)(_\w+)?"
)


@dataclass(frozen=True)
class Mount:
    """A file system in the tree: where it begins, and its kind as the kernel names it."""

    point: Path
    kind: str

    @property
    def is_shared(self) -> bool:
        """Whether its kind is one that several machines mount; an exported local disk is not known as such."""
        return SHARED.fullmatch(self.kind) is not None


def find_mount(path: Path, mountinfo: str | None = None) -> Mount | None:
    """Return the file system of a path that exists, or of its nearest parent; None: this system does not say.

    Args:
        path: links are followed.
        mountinfo: the text of /proc/self/mountinfo, of this machine by default.
    """
    if mountinfo is None:
        if not MOUNTS.exists():
            return None
        mountinfo = MOUNTS.read_text(encoding="utf-8", errors="replace")
    real = path.resolve()
    around = [mount for mount in parse_mounts(mountinfo) if real.is_relative_to(mount.point)]
    # the longest is the innermost; of two at one point the later hides the earlier
    return max(reversed(around), key=lambda mount: len(mount.point.parts), default=None)


def parse_mounts(mountinfo: str) -> list[Mount]:
    """Read the text of /proc/self/mountinfo (man 5 proc): the point is field 5, the kind follows ` - `."""
    halves = [line.split(" - ", 1) for line in mountinfo.splitlines() if " - " in line]
    return [Mount(Path(_unescape(left.split()[4])), right.split()[0]) for left, right in halves]


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
