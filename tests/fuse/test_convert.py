"""The engine's values come out of pyfuse3's as they went in."""

from __future__ import annotations

from imagefs.fuse import convert
from imagefs.upper import Stat

FOUND = Stat(7, 0o100644, 2, 10, 20, 0, 4096, 1_000_000_001, -5, 3, 4096, 8)


def test_all_attributes_reach_the_kernel() -> None:
    made = convert.entry(FOUND)
    assert (made.st_ino, made.st_mode, made.st_nlink) == (7, 0o100644, 2)
    assert (made.st_uid, made.st_gid, made.st_size, made.st_blocks) == (10, 20, 4096, 8)
    assert (made.st_atime_ns, made.st_mtime_ns, made.st_ctime_ns) == (1_000_000_001, -5, 3)


def test_nothing_ever_times_out() -> None:
    assert convert.entry(FOUND).attr_timeout == convert.FOREVER
    assert convert.entry(FOUND).entry_timeout == convert.FOREVER
    assert convert.absent().entry_timeout == convert.FOREVER
    assert convert.absent().st_ino == 0
