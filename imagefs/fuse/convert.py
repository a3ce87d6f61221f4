"""The engine's values as pyfuse3's and back. Never calls either.

Timeouts are infinite everywhere: the tree is immutable, and the upper changes through this mount
alone, where the kernel updates its caches itself. (An upper is mounted once at a time:
mount/api.py.)
"""

from __future__ import annotations

import os
import stat

import pyfuse3

from imagefs.upper import Caller, SetAttr, Stat

FOREVER = 1e9  # seconds; the kernel stops counting long before


def entry(found: Stat) -> pyfuse3.EntryAttributes:
    """What a Stat is for the kernel."""
    e = pyfuse3.EntryAttributes()
    e.st_ino = found.ino
    e.st_mode = found.mode
    e.st_nlink = found.nlink
    e.st_uid = found.uid
    e.st_gid = found.gid
    e.st_rdev = found.rdev
    e.st_size = found.size
    e.st_blksize = found.blksize
    e.st_blocks = found.blocks
    e.st_atime_ns = found.atime_ns
    e.st_mtime_ns = found.mtime_ns
    e.st_ctime_ns = found.ctime_ns
    e.entry_timeout = e.attr_timeout = FOREVER
    return e


def absent() -> pyfuse3.EntryAttributes:
    """A name that does not exist, for the kernel to remember."""
    e = pyfuse3.EntryAttributes()
    e.st_ino = 0
    e.entry_timeout = FOREVER
    return e


def caller(ctx: pyfuse3.RequestContext) -> Caller:
    """Who asks."""
    return Caller(ctx.pid, ctx.uid, ctx.gid, ctx.umask)


def change(attr: pyfuse3.EntryAttributes, fields: pyfuse3.SetattrFields) -> SetAttr:
    """What a SETATTR request wants changed."""
    return SetAttr(
        mode=stat.S_IMODE(attr.st_mode) if fields.update_mode else None,
        uid=attr.st_uid if fields.update_uid else None,
        gid=attr.st_gid if fields.update_gid else None,
        size=attr.st_size if fields.update_size else None,
        atime_ns=attr.st_atime_ns if fields.update_atime else None,
        mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
    )


_STATVFS = (
    "f_bsize",
    "f_frsize",
    "f_blocks",
    "f_bfree",
    "f_bavail",
    "f_files",
    "f_ffree",
    "f_favail",
    "f_namemax",
)


def statvfs(found: os.statvfs_result) -> pyfuse3.StatvfsData:
    """What statfs(2) answers."""
    data = pyfuse3.StatvfsData()
    for name in _STATVFS:
        setattr(data, name, getattr(found, name))
    return data
