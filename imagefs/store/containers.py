"""Container records: what was asked for, and the state that lasts. Starts and stops nothing."""

from __future__ import annotations

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
from imagefs.store.names import is_text
from imagefs.system.atomic import remove_tree

_COLUMNS = "id, name, manifest, image_name, mount, config, created_ns, state"


class ContainerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A container. It pins its image until it is removed, running or not.

    `config` is written once; `state` holds what must outlive a reboot (exit code, times).
    """

    id: str
    name: str
    manifest: Digest
    image_name: str
    created_ns: int
    mount: str | None = None
    config: dict[str, Any] = {}
    state: dict[str, Any] = {}


class Containers:
    """The containers of a store. Absent is None."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def new_id(self) -> str:
        """An id that no container has: 64 hex digits, as podman's."""
        return urandom(32).hex()

    def directory(self, container_id: str) -> Path:
        """Where the container's bundle lies."""
        return self._core.root / "containers" / container_id

    def run_directory(self, container_id: str) -> Path:
        """Where the container's run-time files lie; made by who runs it."""
        return self._core.runroot / "containers" / container_id

    def add(self, record: ContainerRecord) -> ContainerRecord:
        """Add a record and its directory. Atomic.

        ConflictError if the name or id is taken, NoSuchImageError if its image is gone.
        """
        directory = self.directory(record.id)
        with self._core.publishing(), ExitStack() as undo:
            with self._core.db.transaction():
                self._check_new(record)
                directory.mkdir(mode=0o700, exist_ok=True)
                undo.callback(remove_tree, directory)
                self._insert(record)
            undo.pop_all()
        return record

    def _check_new(self, record: ContainerRecord) -> None:
        taken = self._core.db.row(
            "SELECT id FROM containers WHERE name = ? OR id = ?", (record.name, record.id)
        )
        if taken is not None:
            raise ConflictError(
                f"the container name {record.name!r} is in use by {str(taken[0])[:12]}: "
                "remove that container or choose another name"
            )
        manifest = str(record.manifest)
        if not self._core.db.row("SELECT 1 FROM images WHERE manifest = ?", (manifest,)):
            raise NoSuchImageError(f"{record.image_name}: its image was removed: pull it again")

    def _insert(self, record: ContainerRecord) -> None:
        self._core.db.run(
            f"INSERT INTO containers ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                record.id,
                record.name,
                str(record.manifest),
                record.image_name,
                record.mount,
                _json(record.config),
                record.created_ns,
                _json(record.state),
            ),
        )

    def get(self, text: str) -> ContainerRecord | None:
        """The container of that name, of that id, or of the one id that begins so.

        AmbiguousNameError if several ids do.
        """
        if not is_text(text):
            return None
        rows = self._core.db.rows(
            f"SELECT {_COLUMNS} FROM containers WHERE name = ?1 OR substr(id, 1, ?2) = ?1",
            (text, len(text)),
        )
        exact = [row for row in rows if text in row[:2]] or rows
        if not text or not exact:
            return None
        if len(exact) > 1:
            ids = ", ".join(str(row[0])[:12] for row in exact)
            raise AmbiguousNameError(f"{text}: could be any of the containers {ids}: say which")
        return _record(exact[0])

    def list(self) -> list[ContainerRecord]:
        """All containers, oldest first."""
        rows = self._core.db.rows(f"SELECT {_COLUMNS} FROM containers ORDER BY created_ns, id")
        return [_record(row) for row in rows]

    def update(self, record: ContainerRecord) -> None:
        """Replace name, mount and state of the record of the same id. Atomic.

        NotFoundError if absent, ConflictError if the new name is taken.
        """
        with self._core.db.transaction():
            taken = self._core.db.row(
                "SELECT id FROM containers WHERE name = ? AND id <> ?", (record.name, record.id)
            )
            if taken is not None:
                raise ConflictError(
                    f"the container name {record.name!r} is in use by {str(taken[0])[:12]}"
                )
            changed = self._core.db.run(
                "UPDATE containers SET name = ?, mount = ?, state = ? WHERE id = ?",
                (record.name, record.mount, _json(record.state), record.id),
            )
        if not changed:
            raise NotFoundError(f"container {record.id[:12]}: no such container")

    def remove(self, container_id: str) -> bool:
        """Drop the record and its directory; whether there was one. Idempotent.

        Precondition: it is not running. A crash in between leaves a directory for gc.
        """
        with self._core.publishing():
            changed = self._core.db.run("DELETE FROM containers WHERE id = ?", (container_id,))
            if changed:
                remove_tree(self.directory(container_id))
        return bool(changed)


def _json(value: dict[str, Any]) -> str:
    return msgspec.json.encode(value).decode()


def _record(row: Row) -> ContainerRecord:
    container_id, name, manifest, image_name, mount, config, created_ns, state = row
    assert isinstance(created_ns, int)
    return ContainerRecord(
        id=str(container_id),
        name=str(name),
        manifest=Digest.parse(str(manifest)),
        image_name=str(image_name),
        mount=None if mount is None else str(mount),
        config=msgspec.json.decode(str(config)),
        created_ns=created_ns,
        state=msgspec.json.decode(str(state)),
    )
