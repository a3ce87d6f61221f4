"""Mount, unmount and resume images of a store. Synchronous; fetches and serves nothing itself."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from imagefs.errors import ConflictError, InvalidInputError, NotFoundError, UnsupportedError
from imagefs.mount.config import Config
from imagefs.mount.starting import MountFailed, Start, reap
from imagefs.mount.table import (
    MountStatus,
    Running,
    find_mount,
    list_mounts,
    source_of,
    status,
)
from imagefs.registry.access import Access
from imagefs.store import Image, MountRecord, Store
from imagefs.system.mounts import MountInfo, mount_at, resolve, syncfs
from imagefs.system.mounts import umount as kernel_umount
from imagefs.system.processes import boot_id, can_resend, holders, wait_gone
from imagefs.upper import Squash

__all__ = [
    "MountFailed",
    "MountOptions",
    "MountStatus",
    "Running",
    "Start",
    "find_mount",
    "list_mounts",
    "mount",
    "resume",
    "start_early",
    "status",
    "umount",
]

_END_WITHIN = 30.0


class BadMountpoint(InvalidInputError):
    """A directory that can't be mounted on; the message says why."""


class NotMounted(NotFoundError):
    """A directory or an image that nothing is mounted on or of, though something is kept for it."""


class MountBusy(ConflictError):
    """A mount that somebody holds; the message names who."""


@dataclass(frozen=True)
class MountOptions:
    """How to mount. `squash` shows all files as one owner's; `nonempty` allows a full directory.

    `allow_other` is root's default; `journal=False` is for the test that shows what it is for.
    """

    read_only: bool = False
    squash: Squash | None = None
    nonempty: bool = False
    allow_other: bool | None = None
    container: str | None = None
    journal: bool = True


def start_early(store: Store) -> Start:
    """Begin to start keeper and server while what to mount is still being found out.

    Use it as a context manager and hand it to `mount` inside.
    """
    return Start(store.mounts.run_directory(store.mounts.new_id()))


def mount(
    store: Store,
    image: Image,
    mountpoint: Path | str,
    options: MountOptions | None = None,
    *,
    name: str | None = None,
    access: Access | None = None,
    start: Start | None = None,
) -> MountRecord:
    """Mount `image` on the directory `mountpoint`; when it returns the files are there.

    `name` is what the user called it. Raises BadMountpoint, MountFailed, ConflictError,
    UnsupportedError; whatever is raised, nothing of the mount is left.
    """
    options = options or MountOptions()
    place = check_mountpoint(Path(mountpoint), options.nonempty)
    check_host()
    with start or start_early(store) as begun:
        record = store.mounts.add(
            MountRecord(
                id=begun.run.name,
                manifest=image.manifest,
                name=name or next(iter(image.names), image.id[:12]),
                mountpoint=str(place),
                driver="fuse",
                read_only=options.read_only,
                created_ns=time.time_ns(),
                boot_id=boot_id(),
                options=_kept(options),
                access=(access or Access()).to_record(),
                container=options.container,
            )
        )
        try:
            begun.mount(_config(store, record, place, options), _secret(access))
        except BaseException:
            begun.close()  # the keeper ends before its upper goes
            store.mounts.remove(record.id)
            raise
    return record


def resume(
    store: Store,
    mount_id: str,
    mountpoint: Path | str,
    options: MountOptions | None = None,
    *,
    access: Access | None = None,
) -> MountRecord:
    """Mount a kept upper again, on any directory. ConflictError while it is still in use.

    Of `access` only the credentials count, which no record has; where others are is recorded.
    """
    options = options or MountOptions()
    found = find_mount(store, mount_id)
    if found.mounted is not None or found.served:
        raise ConflictError(f"mount {found.record.id}: still in use at {found.record.mountpoint}")
    place = check_mountpoint(Path(mountpoint), options.nonempty)
    check_host()
    run = store.mounts.run_directory(found.record.id)
    shutil.rmtree(run, ignore_errors=True)
    record = msgspec.structs.replace(found.record, mountpoint=str(place), boot_id=boot_id())
    with Start(run) as begun:
        store.mounts.update(record)
        try:
            begun.mount(_config(store, record, place, options), _secret(access))
        except BaseException:
            store.mounts.update(found.record)
            raise
    return record


def _kept(options: MountOptions) -> dict[str, Any]:
    kept: dict[str, Any] = {"dialect": "overlay" if _is_root() else "user"}
    squash = options.squash or (None if _is_root() else Squash(os.getuid(), os.getgid()))
    if squash is not None:
        kept["squash"] = list(squash)
    return kept


def _config(store: Store, record: MountRecord, place: Path, options: MountOptions) -> Config:
    names = ["default_permissions"]
    if _is_root() if options.allow_other is None else options.allow_other:
        names.append("allow_other")
    if record.read_only:
        names.append("ro")
    told = {
        "root": str(store.root),
        "runroot": str(store.runroot),
        "mount": record.id,
        "journal": options.journal,
    }
    return Config(
        mountpoint=place,
        source=source_of(record.id),
        options=tuple(names),
        privileged=_is_root(),
        resend=can_resend(),
        told=msgspec.json.encode(told).decode(),
    )


def _secret(access: Access | None) -> bytes | None:
    if access is None or access.creds is None:
        return None
    return msgspec.json.encode(access.creds)


def _is_root() -> bool:
    return os.geteuid() == 0


def check_mountpoint(path: Path, nonempty: bool = False) -> Path:
    """`path` absolute, without symlinks, if it can be mounted on; BadMountpoint else."""
    place = resolve(path)
    if there := mount_at(place):
        raise BadMountpoint(f"{path}: already a mount ({os.fsdecode(there.source)}): umount it")
    try:
        place = place.resolve(strict=True)
        mode = place.stat().st_mode
    except OSError as error:
        raise BadMountpoint(f"{path}: {error.strerror}: make the directory first") from None
    if not stat.S_ISDIR(mode):
        raise BadMountpoint(f"{path}: not a directory: name a directory to mount on")
    if mount_at(place):
        raise BadMountpoint(f"{path}: {place} is already a mount: umount it first")
    if not nonempty and any(place.iterdir()):
        raise BadMountpoint(f"{path}: not empty: name an empty directory, or use --non-empty")
    return place


def check_host() -> None:
    """UnsupportedError where this host cannot make a FUSE mount."""
    if not Path("/dev/fuse").exists():
        raise UnsupportedError("/dev/fuse: missing: load the kernel's module (modprobe fuse)")
    if not _is_root() and shutil.which("fusermount3") is None:
        raise UnsupportedError("fusermount3: not found: install Debian's fuse3, or be root")


def umount(
    store: Store, target: str | Path, *, force: bool = False, discard: bool = False
) -> MountRecord:
    """Unmount; what was written is on disk then. The upper is kept and listed unless `discard`.

    MountBusy names who holds it; with `force` it is detached at once instead, and ends when the
    last holder lets go. A read-only mount leaves no record. What is kept but not mounted is meant
    only by its id: NotMounted for a directory or an image, since several may be kept for one.
    """
    found = find_mount(store, target)
    record = found.record
    if found.mounted is None and not found.served and not record.id.startswith(os.fspath(target)):
        raise NotMounted(
            f"{target}: not mounted; {record.id} is kept for it: "
            "bring it back with `imagefs mount --resume`, or drop it with `imagefs mounts rm`"
        )
    if found.mounted is not None:
        _detach(found.mounted, force or found.state == "dead")
    running = found.running
    if running is not None and not wait_gone(running.keeper_pid, 0 if force else _END_WITHIN):
        if discard:
            raise MountBusy(f"{record.mountpoint}: detached, but still held: {record.id} is kept")
        return record
    if running is not None:
        reap(running.keeper_pid)
    if record.upper is not None and not discard:
        syncfs(Path(record.upper))
    shutil.rmtree(store.mounts.run_directory(record.id), ignore_errors=True)
    if record.read_only or discard:
        store.mounts.remove(record.id)
    return record


def _detach(mounted: MountInfo, force: bool) -> None:
    place = Path(os.fsdecode(mounted.mountpoint))
    try:
        _unmount(place, force)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise MountFailed(f"{place}: umount: {error.strerror}") from None
        who = ", ".join(map(str, holders(mounted))) or "something"
        raise MountBusy(f"{place}: busy, held by {who}; end it, or umount --force") from None


def _unmount(place: Path, force: bool) -> None:
    if _is_root():
        kernel_umount(place, detach=force)
        return
    import subprocess

    command = ["fusermount3", "-u", *(["-z"] if force else []), "--", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        busy = "busy" in done.stderr.lower()
        raise OSError(errno.EBUSY if busy else errno.EPERM, done.stderr.strip())
