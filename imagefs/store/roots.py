"""Where a store lies: its root, and its run directory for what a reboot forgets. Makes none."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path


def default_roots(env: Mapping[str, str], uid: int | None = None) -> tuple[Path, Path]:
    """(root, runroot) for the user `uid` (default: the effective one) with the environment `env`.

    Root: IMAGEFS_ROOT, else /var/lib/imagefs, else $XDG_DATA_HOME/imagefs (~/.local/share) without
    privileges. Runroot: see `runroot_of`.
    """
    uid = os.geteuid() if uid is None else uid
    if chosen := env.get("IMAGEFS_ROOT"):
        root = Path(chosen).absolute()
    elif uid == 0:
        root = Path("/var/lib/imagefs")
    else:
        home = Path(env["HOME"]) if env.get("HOME") else Path.home()
        root = Path(env.get("XDG_DATA_HOME") or home / ".local/share") / "imagefs"
    return root, runroot_of(root, env, uid)


def runroot_of(root: Path, env: Mapping[str, str], uid: int | None = None) -> Path:
    """The run directory of the store at `root`: a function of its real path."""
    uid = os.geteuid() if uid is None else uid
    name = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:16]
    if uid == 0:
        return Path("/run/imagefs") / name
    if runtime := env.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / "imagefs" / name
    return Path(f"/tmp/imagefs-{uid}") / name
