"""Finds and removes what a store leaves running: processes, FUSE connections, mounts. As root.

`python -m imagefs.testing.leftovers` does it for all stores of this machine; `make clean-mounts`
runs it with any Python, so it imports nothing outside the standard library. Whoever else tests on
this machine loses their mounts by that: prefer `clean_store`. It touches no path of
a mount before the connection is aborted: a dead FUSE mount hangs whoever looks at it.
"""

from __future__ import annotations

import hashlib
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_FUSE_TYPE = "fuse.imagefs"
_PROGRAM = re.compile(rb"(^|\0)([^\0]*/)?imagefs[./]mount[./](keeper|server|stored)(\.py)?(\0|$)")


@dataclass(frozen=True)
class Mount:
    """A line of mountinfo(5)."""

    device_minor: int
    mountpoint: str
    type: str
    source: str


@dataclass(frozen=True)
class Process:
    """A process as /proc shows it; its environment as it was when it began."""

    pid: int
    parent: int
    arguments: bytes
    environment: frozenset[bytes]

    def belongs_to(self, root: Path) -> bool:
        """Tell whether it works for the store at `root`: by environment, or by an argument."""
        name = os.fsencode(root)
        return b"IMAGEFS_ROOT=" + name in self.environment or name in self.arguments


def mounts() -> list[Mount]:
    """List this namespace's mounts, in the order in which they were made."""
    found = []
    for line in (_PROC / "self/mountinfo").read_text(errors="surrogateescape").splitlines():
        left, _, right = line.partition(" - ")
        fields, (fs_type, source, *_) = left.split(" "), right.split(" ")
        minor = int(fields[2].split(":")[1])
        found.append(Mount(minor, _unescaped(fields[4]), fs_type, _unescaped(source)))
    return found


def processes() -> list[Process]:
    """List the processes that can be looked into, without this one."""
    found = []
    for entry in _PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            parent = int((entry / "stat").read_bytes().rpartition(b")")[2].split()[1])
            arguments = (entry / "cmdline").read_bytes()
            environment = frozenset((entry / "environ").read_bytes().split(b"\0"))
        except OSError:
            continue  # gone, or not ours to read
        found.append(Process(int(entry.name), parent, arguments, environment))
    return found


def kill(chosen: Callable[[Process], bool], protected: frozenset[int] = frozenset()) -> list[int]:
    """Kill the chosen processes and all that descend from them; return their ids.

    Looks again until none is left, since a keeper and its server start one another.
    """
    killed: list[int] = []
    for _ in range(50):
        alive = processes()
        doomed = {process.pid for process in alive if chosen(process)} - protected
        while more := {p.pid for p in alive if p.parent in doomed} - doomed - protected:
            doomed |= more
        doomed -= set(_zombies(doomed))
        if not doomed:
            break
        for pid in doomed:
            _kill(pid)
        killed += sorted(doomed)
    return killed


def detach(chosen: Callable[[Mount], bool]) -> list[str]:
    """Abort and detach the chosen mounts, newest first; return their mount points."""
    doomed = [mount for mount in reversed(mounts()) if chosen(mount)]
    for mount in doomed:
        if mount.type == _FUSE_TYPE:
            _abort(mount)
        # --no-canonicalize: nothing may look at the mount point.
        subprocess.run(["umount", "--no-canonicalize", "-l", mount.mountpoint], check=False)
    return [mount.mountpoint for mount in doomed]


def clean_store(root: Path, below: Path) -> list[str]:
    """Kill what works for the store at `root`, detach its mounts and all below `below`, and
    remove its run directory.

    Returns the mount points that were still there: after a good run, none.
    """
    ancestors = _ancestors(os.getpid())
    kill(lambda process: process.belongs_to(root), ancestors)
    run = run_directory(root)
    inside = (f"{below}/", f"{run}/")
    found = detach(
        lambda mount: mount.mountpoint.startswith(inside) or mount.source.startswith(inside)
    )
    shutil.rmtree(run, ignore_errors=True)
    return found


def run_directory(root: Path) -> Path:
    """Return where root's run-time state lies, as imagefs.store.roots has it.

    Spelt out again, since clean-up must not depend on what it cleans up after.
    """
    name = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:16]
    return Path("/run/imagefs", name)


def clean_all() -> list[str]:
    """Kill every keeper and server, detach every mount of type fuse.imagefs; return what it did."""
    killed = kill(serves)
    detached = detach(lambda mount: mount.type == _FUSE_TYPE)
    return [f"killed {pid}" for pid in killed] + [f"detached {path}" for path in detached]


def serves(process: Process) -> bool:
    """Tell whether it is a keeper or a server, and not an editor or a linter of their source."""
    if _PROGRAM.search(process.arguments) is None:
        return False
    try:
        descriptors = (_PROC / str(process.pid) / "fd").iterdir()
        return any(descriptor.readlink() == Path("/dev/fuse") for descriptor in descriptors)
    except OSError:
        return False


def _ancestors(pid: int) -> frozenset[int]:
    parents = {process.pid: process.parent for process in processes()}
    parents[pid] = os.getppid()
    found = {pid}
    while (pid := parents.get(pid, 0)) > 0:
        found.add(pid)
    return frozenset(found)


def _zombies(pids: set[int]) -> list[int]:
    """Return those that are dead already and only wait to be reaped by somebody else."""
    dead = []
    for pid in pids:
        try:
            stat = (_PROC / str(pid) / "stat").read_bytes()
        except OSError:
            dead.append(pid)
        else:
            if stat.rpartition(b")")[2].split()[0] == b"Z":
                dead.append(pid)
    return dead


def _kill(pid: int) -> None:
    """Kill one process and wait until it is gone."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        # Not waited for long: one in uninterruptible sleep dies when its connection is aborted.
        _wait(handle, seconds=1.0)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)


def _wait(handle: int, seconds: float) -> None:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.poll(seconds * 1000)


def _abort(mount: Mount) -> None:
    connections = Path("/sys/fs/fuse/connections")
    if not any(connections.iterdir()):
        # Nothing but systemd mounts it, and containers have no systemd.
        subprocess.run(["mount", "-t", "fusectl", "fusectl", connections], check=False)
    try:
        (connections / str(mount.device_minor) / "abort").write_text("1")
    except OSError:
        pass  # the connection is gone already, or there is no fusectl here: the detach must do


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


if __name__ == "__main__":
    for line in clean_all():
        sys.stdout.write(f"{line}\n")
