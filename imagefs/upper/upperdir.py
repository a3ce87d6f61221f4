"""The two directories of an upper and descriptors into them; never looks at what the files mean.

`upper` holds the changes. `work` (same file system) holds `made/`, where objects are prepared
before one atomic step puts them in place, and `orphans/INO`, objects whose last name is gone but
which may be open. overlayfs keeps its own `work/work` and `work/index` beside them.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_DIR = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_dir(name: bytes, dir_fd: int) -> int:
    """A descriptor (O_PATH) of a directory below `dir_fd`."""
    return os.open(name, _DIR, dir_fd=dir_fd)


def proc_path(dir_fd: int, name: bytes) -> bytes:
    """A short path of `name` in `dir_fd` for calls that take no descriptor (the l*xattr family)."""
    return b"/proc/self/fd/%d/%s" % (dir_fd, name)


def remove_tree(dir_fd: int, name: bytes) -> None:
    """Delete an object with all below it; absent is fine."""
    try:
        os.unlink(name, dir_fd=dir_fd)
        return
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        if not stat.S_ISDIR(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode):
            raise
    below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=dir_fd)
    try:
        with os.scandir(below) as rows:
            children = [os.fsencode(row.name) for row in rows]
        for child in children:
            remove_tree(below, child)
    finally:
        os.close(below)
    os.rmdir(name, dir_fd=dir_fd)


class UpperDir:
    """Makes what is absent. Holds three descriptors until `close`."""

    def __init__(self, upper: Path | str, work: Path | str) -> None:
        self.upper = Path(upper)
        self.work = Path(work)
        self.upper.mkdir(parents=True, exist_ok=True)
        for part in ("made", "orphans"):
            (self.work / part).mkdir(parents=True, exist_ok=True)
        self.root = os.open(self.upper, _DIR)
        self.made = os.open(self.work / "made", _DIR)
        self.orphans = os.open(self.work / "orphans", _DIR)

    def listing(self, part: str) -> list[bytes]:
        """Names in `made` or `orphans`."""
        return sorted(os.fsencode(path.name) for path in (self.work / part).iterdir())

    def close(self) -> None:
        """Idempotent."""
        for name in ("root", "made", "orphans"):
            fd = getattr(self, name)
            if fd >= 0:
                os.close(fd)
                setattr(self, name, -1)
