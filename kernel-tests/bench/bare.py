"""A file system that does next to nothing in Python: what pyfuse3 itself costs. Read-only.

`python bare.py TREE MOUNTPOINT` shows the tree with all answers made beforehand; `umount` ends it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pyfuse3
import trio
from pyfuse3 import EntryAttributes, FileInfo, ReaddirToken, RequestContext

_FOREVER = 1e9
_FIELDS = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_mtime_ns")


class Bare(pyfuse3.Operations):
    """Inode numbers count from 1, in the order of the walk."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.paths = [b"", os.fsencode(root)]
        self.attributes = [EntryAttributes(), _attributes(1, os.fsencode(root))]
        self.rows: dict[int, list[tuple[bytes, EntryAttributes]]] = {}
        for parent, _ in enumerate(self.paths):  # grows meanwhile
            path = self.paths[parent]
            if parent and os.path.isdir(path):  # noqa: PTH112 - bytes
                self.rows[parent] = [self._add(parent, name) for name in os.listdir(path)]  # noqa: PTH208 - bytes
        self.names = {(i, name): row for i, rows in self.rows.items() for name, row in rows}
        self.files: dict[int, int] = {}

    def _add(self, parent: int, name: bytes) -> tuple[bytes, EntryAttributes]:
        path = self.paths[parent] + b"/" + name
        made = _attributes(len(self.paths), path)
        self.paths.append(b"" if os.path.islink(path) else path)  # noqa: PTH114 - bytes
        self.attributes.append(made)
        return name, made

    async def lookup(self, parent_inode: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        return self.names[parent_inode, name]

    async def getattr(self, inode: int, ctx: RequestContext) -> EntryAttributes:
        return self.attributes[inode]

    async def opendir(self, inode: int, ctx: RequestContext) -> int:
        return inode

    async def readdir(self, fh: int, start_id: int, token: ReaddirToken) -> None:
        rows = self.rows[fh]
        for i in range(start_id, len(rows)):
            if not pyfuse3.readdir_reply(token, *rows[i], i + 1):
                return

    async def releasedir(self, fh: int) -> None:
        pass

    async def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        return FileInfo(fh=inode)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        if fh not in self.files:
            self.files[fh] = os.open(self.paths[fh], os.O_RDONLY)
        return os.pread(self.files[fh], size, off)

    async def release(self, fh: int) -> None:
        pass


def _attributes(ino: int, path: bytes) -> EntryAttributes:
    found = os.lstat(path)
    made = EntryAttributes()
    made.st_ino = ino
    made.entry_timeout = made.attr_timeout = _FOREVER
    for field in _FIELDS:
        setattr(made, field, getattr(found, field))
    return made


def main(tree: str, mountpoint: str) -> None:
    """Say so on stdout once it is mounted, and serve."""
    pyfuse3.init(Bare(Path(tree)), mountpoint, {"default_permissions", "allow_other"})
    print("mounted", flush=True)
    trio.run(pyfuse3.main)
    pyfuse3.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
