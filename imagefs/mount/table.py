"""The mounts of a store and how each of them is. Changes nothing; touches no mounted file."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from imagefs.errors import ConflictError, NotFoundError
from imagefs.store import MountRecord, Store
from imagefs.system.mounts import MountInfo, mounts, resolve
from imagefs.system.processes import alive, boot_id

_ID = re.compile(r"[0-9a-f]{3,}")
State = Literal["mounted", "detached", "gone", "dead"]
"""detached: not mounted, the upper is kept; gone: as of before a reboot; dead: nobody serves it."""


class Running(msgspec.Struct, frozen=True):
    """What the keeper says of itself (RUN/state.json)."""

    keeper_pid: int
    server_pid: int
    restarts: int
    resend: bool


class MountStatus(NamedTuple):
    """A record with what the kernel and the keeper know of it."""

    record: MountRecord
    state: State
    mounted: MountInfo | None
    running: Running | None

    @property
    def served(self) -> bool:
        """Whether a keeper or a server lives: then the upper must not be touched."""
        running = self.running
        return running is not None and (alive(running.keeper_pid) or alive(running.server_pid))


def source_of(mount_id: str) -> str:
    """What the mount table calls the file system of a mount."""
    return f"imagefs:{mount_id}"


def status(store: Store, record: MountRecord) -> MountStatus:
    """How the mount of `record` is now."""
    source = os.fsencode(source_of(record.id))
    mounted = next((mount for mount in mounts() if mount.source == source), None)
    running = _running(store.mounts.run_directory(record.id))
    found = MountStatus(record, "detached", mounted, running)
    if mounted is not None:
        return found._replace(state="mounted" if found.served else "dead")
    return found._replace(state="detached" if record.boot_id == boot_id() else "gone")


def list_mounts(store: Store) -> list[MountStatus]:
    """All records of the store, oldest first."""
    return [status(store, record) for record in store.mounts.list()]


def find_mount(store: Store, target: str | Path) -> MountStatus:
    """The mount that `target` names: its directory, its id or a beginning of it, or its image.

    NotFoundError for none; ConflictError for an image that is mounted more than once.
    """
    text = os.fspath(target)
    if (own := named_mount(store, text)) is not None:
        return own
    named = [found for found in list_mounts(store) if found.record.name == text]
    named = [found for found in named if found.mounted is not None] or named
    if not named:
        raise NotFoundError(f"{text}: no such mount; `imagefs mounts --all` lists them")
    if len(named) > 1:
        ids = ", ".join(found.record.id for found in named)
        raise ConflictError(f"{text}: mounted more than once: say which of {ids}")
    return named[0]


def named_mount(store: Store, text: str) -> MountStatus | None:
    """The mount of that directory, or of that id or beginning of one; None if there is none."""
    here = [status(store, record) for record in store.mounts.at(str(resolve(text)))]
    for found in here:
        if found.mounted is not None:
            return found
    if here:
        return here[0]
    record = store.mounts.get(text) if _ID.fullmatch(text) else None
    return status(store, record) if record is not None else None


def _running(run: Path) -> Running | None:
    try:
        return msgspec.json.decode((run / "state.json").read_bytes(), type=Running)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
