"""renameat2(2), which the standard library lacks. Never interprets a failure: it is passed on."""

from __future__ import annotations

import ctypes
import os

NOREPLACE = 1
EXCHANGE = 2
WHITEOUT = 4

_libc = ctypes.CDLL(None, use_errno=True)
_renameat2 = _libc.renameat2
_renameat2.argtypes = (
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_uint,
)


def renameat2(old_dir: int, old: bytes, new_dir: int, new: bytes, flags: int = 0) -> None:
    """Rename `old` in the directory `old_dir` to `new` in `new_dir` (descriptors), in one step."""
    if _renameat2(old_dir, old, new_dir, new, flags):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
