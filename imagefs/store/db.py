"""The store's SQLite database: a connection per thread, errors in our words. Knows no table.

Readers never wait for writers (WAL). A write transaction takes the write lock at its start, so it
never fails half-way because another process was faster.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from imagefs.store.errors import StoreBusyError, StoreError, StoreVersionError
from imagefs.store.schema import SCHEMA, VERSION

BUSY_TIMEOUT_MS = 30_000

Value = int | str | bytes | None
#: What a SELECT gives; the schema is STRICT, so a column's type is the one written there.
Row = tuple[Any, ...]


class Database:
    """meta.db at `path`, opened when first asked; not to be used across a fork."""

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self.path = path
        self._durable = durable
        self._local = threading.local()

    def rows(self, sql: str, args: tuple[Value, ...] = ()) -> list[Row]:
        """All rows that `sql` gives."""
        with self._translated():
            return list(self._connection().execute(sql, args))

    def row(self, sql: str, args: tuple[Value, ...] = ()) -> Row | None:
        """The first row that `sql` gives, or None."""
        found = self.rows(sql, args)
        return found[0] if found else None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All statements inside, or none of them; a transaction inside another joins it."""
        with self._translated():
            connection = self._connection()
            if _in_transaction(connection):
                yield
                return
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                connection.execute("COMMIT")
            finally:
                # After an error only; on a full disk SQLite may have rolled back by itself.
                if _in_transaction(connection):
                    connection.execute("ROLLBACK")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All reads inside see one state; it must not write. Inside a transaction it joins that."""
        with self._translated():
            connection = self._connection()
            if _in_transaction(connection):
                yield
                return
            connection.execute("BEGIN")
            try:
                yield
            finally:
                connection.execute("ROLLBACK")

    def run(self, sql: str, args: tuple[Value, ...] = ()) -> int:
        """Do one statement, in the open transaction or its own; the number of rows changed."""
        with self.transaction():
            self._connection().execute(sql, args)
            return self._connection().changes()

    def close(self) -> None:
        """Close this thread's connection."""
        connection = self._local.__dict__.pop("connection", None)
        if connection is not None:
            connection.close()

    def _connection(self) -> apsw.Connection:
        found: apsw.Connection | None = self._local.__dict__.get("connection")
        if found is None:
            found = self._local.connection = self._open()
        return found

    def _open(self) -> apsw.Connection:
        connection = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READWRITE)
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        _check_version(connection, self.path)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'OFF'}")
        return connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except apsw.FullError:
            raise OSError(errno.ENOSPC, "No space left on device", str(self.path)) from None
        except apsw.BusyError:
            raise StoreBusyError(
                f"{self.path}: another process has kept the store locked for "
                f"{BUSY_TIMEOUT_MS // 1000} s: try again"
            ) from None
        except (apsw.CorruptError, apsw.NotADBError) as error:
            raise StoreError(f"{self.path}: the store's database is damaged: {error}") from None
        except (apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError) as error:
            raise StoreError(f"{self.path}: cannot use the store's database: {error}") from None


def create_database(path: Path) -> None:
    """Make the tables where there are none; idempotent. The caller locked other creators out."""
    connection = apsw.Connection(str(path))
    try:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        if _version(connection) == 0:
            connection.execute(SCHEMA)
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    finally:
        connection.close()


def _in_transaction(connection: apsw.Connection) -> bool:
    return connection.in_transaction


def _version(connection: apsw.Connection) -> int:
    version: int = connection.pragma("user_version")
    return version


def _check_version(connection: apsw.Connection, path: Path) -> None:
    version = _version(connection)
    if version != VERSION:
        connection.close()
        raise StoreVersionError(
            f"{path}: store version {version}, this imagefs knows {VERSION}: "
            "use a newer imagefs, or another --root"
        )
