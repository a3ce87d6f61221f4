"""Mount records and their upper directories, which outlive the mount. Mounts nothing."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import ExitStack
from os import urandom
from pathlib import Path
from typing import Any

import msgspec

from imagefs.errors import ConflictError, NotFoundError
from imagefs.oci.digest import Digest
from imagefs.store.core import Core
from imagefs.store.db import Row
from imagefs.store.errors import AmbiguousNameError, NoSuchImageError
from imagefs.store.keys import LayerKey
from imagefs.store.names import is_text
from imagefs.system.atomic import remove_tree

_COLUMNS = (
    "id, manifest, name, mountpoint, driver, read_only, options, access, created_ns, boot_id, "
    "upper, container"
)


class MountRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A mount as it was asked for. It pins its image until it is removed, mounted or not.

    `access` says where credentials are, never what they are. `upper` is None for a read-only mount,
    and filled in by `add` for others; the work directory lies beside it. `layers` are the entries
    it reads through: the image's when it was added, unless it brings its own.
    """

    id: str
    manifest: Digest
    name: str
    mountpoint: str
    driver: str
    read_only: bool
    created_ns: int
    boot_id: str
    options: dict[str, Any] = {}
    access: dict[str, Any] = {}
    upper: str | None = None
    container: str | None = None
    layers: tuple[LayerKey, ...] = ()


class Mounts:
    """The mount records of a store. Absent is None."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def new_id(self) -> str:
        """An id that no mount has."""
        return urandom(6).hex()

    def directory(self, mount_id: str) -> Path:
        """Where the upper and work directories of a mount lie."""
        return self._core.root / "mounts" / mount_id

    def run_directory(self, mount_id: str) -> Path:
        """Where a mount's run-time files lie; made by who mounts."""
        return self._core.runroot / "mounts" / mount_id

    def add(self, record: MountRecord) -> MountRecord:
        """Add a record, and make its upper unless it is read-only; the record as kept. Atomic.

        NoSuchImageError if its image is gone; ConflictError if the id is taken.
        """
        with self._core.publishing(), ExitStack() as undo:
            if not record.read_only and record.upper is None:
                record = msgspec.structs.replace(record, upper=self._make_upper(record.id, undo))
            with self._core.db.transaction():
                record = msgspec.structs.replace(record, layers=self._layers_for(record))
                if self._row(record.id) is not None:
                    raise _taken(record.id)
                self._insert(record)
            undo.pop_all()
        return record

    def get(self, mount_id: str) -> MountRecord | None:
        """The record of the id, or of the one id that begins so; AmbiguousNameError for several."""
        if not is_text(mount_id):
            return None
        rows = self._core.db.rows(
            f"SELECT {_COLUMNS} FROM mounts WHERE substr(id, 1, ?) = ? ORDER BY id",
            (len(mount_id), mount_id),
        )
        exact = [row for row in rows if row[0] == mount_id] or rows
        if not mount_id or not exact:
            return None
        if len(exact) > 1:
            ids = ", ".join(str(row[0]) for row in exact)
            raise AmbiguousNameError(f"{mount_id}: could be any of the mounts {ids}: say which")
        return self._record(exact[0])

    def list(self) -> list[MountRecord]:
        """All records, oldest first."""
        rows = self._core.db.rows(f"SELECT {_COLUMNS} FROM mounts ORDER BY created_ns, id")
        return [self._record(row) for row in rows]

    def at(self, mountpoint: str) -> Sequence[MountRecord]:
        """The records made for this directory, the latest first; only the first can be mounted."""
        return [record for record in reversed(self.list()) if record.mountpoint == mountpoint]

    def update(self, record: MountRecord) -> None:
        """Replace the record of that id, all but image and layers; NotFoundError if absent."""
        changed = self._core.db.run(
            "UPDATE mounts SET name = ?, mountpoint = ?, driver = ?, read_only = ?, options = ?, "
            "access = ?, boot_id = ?, upper = ?, container = ? WHERE id = ?",
            (
                record.name,
                os.fsencode(record.mountpoint),
                record.driver,
                int(record.read_only),
                _json(record.options),
                _json(record.access),
                record.boot_id,
                None if record.upper is None else os.fsencode(record.upper),
                record.container,
                record.id,
            ),
        )
        if not changed:
            raise NotFoundError(f"mount {record.id}: no such mount: see `imagefs mounts --all`")

    def remove(self, mount_id: str) -> bool:
        """Drop the record and its upper; whether there was one. Idempotent.

        Precondition: it is not mounted. A crash in between leaves a directory for gc; on a disk
        that is full, where the upper must go first, it leaves a record without one.
        """
        with self._core.publishing():
            try:
                changed = self._delete(mount_id)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                remove_tree(self.directory(mount_id))
                changed = self._delete(mount_id)
            if changed:
                remove_tree(self.directory(mount_id))
        return bool(changed)

    def _delete(self, mount_id: str) -> int:
        return self._core.db.run("DELETE FROM mounts WHERE id = ?", (mount_id,))

    def _make_upper(self, mount_id: str, undo: ExitStack) -> str:
        base = self.directory(mount_id)
        try:
            base.mkdir(mode=0o700)
        except FileExistsError:
            raise _taken(mount_id) from None
        undo.callback(remove_tree, base)
        for path in (base / "upper", base / "work"):
            path.mkdir(mode=0o700)
        self._core.disk.sync_directory(base)
        self._core.disk.sync_directory(base.parent)
        return str(base / "upper")

    def _layers_for(self, record: MountRecord) -> tuple[LayerKey, ...]:
        manifest = str(record.manifest)
        if not self._core.db.row("SELECT 1 FROM images WHERE manifest = ?", (manifest,)):
            raise NoSuchImageError(f"{record.name}: its image was removed meanwhile: pull it again")
        if record.layers:
            return record.layers
        rows = self._core.db.rows(
            "SELECT l.blob, l.index_digest FROM image_layers AS i JOIN layers AS l "
            "ON l.id = i.layer WHERE i.manifest = ? ORDER BY i.position",
            (manifest,),
        )
        return _keys(rows)

    def _insert(self, record: MountRecord) -> None:
        self._core.db.run(
            f"INSERT INTO mounts ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                record.id,
                str(record.manifest),
                record.name,
                os.fsencode(record.mountpoint),
                record.driver,
                int(record.read_only),
                _json(record.options),
                _json(record.access),
                record.created_ns,
                record.boot_id,
                None if record.upper is None else os.fsencode(record.upper),
                record.container,
            ),
        )
        for position, key in enumerate(record.layers):
            self._core.db.run(
                "INSERT INTO mount_layers VALUES (?, ?, ?)", (record.id, position, key.id)
            )

    def _row(self, mount_id: str) -> Row | None:
        return self._core.db.row("SELECT 1 FROM mounts WHERE id = ?", (mount_id,))

    def _record(self, row: Row) -> MountRecord:
        (mount_id, manifest, name, mountpoint, driver, read_only) = row[:6]
        (options, access, created_ns, boot_id, upper, container) = row[6:]
        layers = self._core.db.rows(
            "SELECT l.blob, l.index_digest FROM mount_layers AS m JOIN layers AS l "
            "ON l.id = m.layer WHERE m.mount = ? ORDER BY m.position",
            (mount_id,),
        )
        return MountRecord(
            id=str(mount_id),
            manifest=Digest.parse(str(manifest)),
            name=str(name),
            mountpoint=os.fsdecode(mountpoint),
            driver=str(driver),
            read_only=bool(read_only),
            options=msgspec.json.decode(str(options)),
            access=msgspec.json.decode(str(access)),
            created_ns=created_ns,
            boot_id=str(boot_id),
            upper=None if upper is None else os.fsdecode(upper),
            container=None if container is None else str(container),
            layers=_keys(layers),
        )


def _taken(mount_id: str) -> ConflictError:
    return ConflictError(f"mount {mount_id}: there is one of this id already")


def _json(value: dict[str, Any]) -> str:
    return msgspec.json.encode(value).decode()


def _keys(rows: list[Row]) -> tuple[LayerKey, ...]:
    return tuple(LayerKey(Digest.parse(str(b)), Digest.parse(str(i))) for b, i in rows)
