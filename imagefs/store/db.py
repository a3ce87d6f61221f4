"""The store's SQLite database: a connection per thread, errors in our words. Knows no table.

Readers never wait for writers (WAL). A write transaction takes the write lock at its start, so it
never fails half-way because another process was faster.
"""

from __future__ import annotations

import ctypes
import errno
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
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
        with translated(self.path):
            return list(self._connection().execute(sql, args))

    def row(self, sql: str, args: tuple[Value, ...] = ()) -> Row | None:
        """The first row that `sql` gives, or None."""
        found = self.rows(sql, args)
        return found[0] if found else None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All statements inside, or none of them; a transaction inside another joins it."""
        with translated(self.path):
            connection = self._connection()
            if _in_transaction(connection):
                yield
                return
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                connection.execute("COMMIT")
            except (apsw.FullError, OSError):  # OSError: of a statement inside, translated
                _roll_back(connection)
                _rewind(connection)
                raise
            finally:
                _roll_back(connection)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All reads inside see one state; it must not write. Inside a transaction it joins that."""
        with translated(self.path):
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
        with translated(self.path):
            alone = not _in_transaction(self._connection())
        try:
            return self._run(sql, args)
        except OSError as error:
            if error.errno != errno.ENOSPC or not alone:
                raise
            return self._run(sql, args)  # with the room that `_rewind` made

    def _run(self, sql: str, args: tuple[Value, ...]) -> int:
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
        _keep_wal(connection)
        _check_version(connection, self.path)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'OFF'}")
        return connection


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Let what SQLite raises for the database at `path` be OSError (ENOSPC) or StoreError."""
    try:
        yield
    except apsw.FullError:
        raise _full(path) from None
    except apsw.BusyError:
        raise StoreBusyError(
            f"{path}: another process has kept the store locked for "
            f"{BUSY_TIMEOUT_MS // 1000} s: try again"
        ) from None
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise StoreError(f"{path}: the store's database is damaged: {error}") from None
    except (apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError) as error:
        if getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE:
            raise _full(path) from None  # there is no room for -shm
        raise StoreError(f"{path}: cannot use the store's database: {error}") from None


def _full(path: Path) -> OSError:
    return OSError(errno.ENOSPC, "No space left on device", str(path))


def create_database(path: Path) -> None:
    """Make the tables where there are none; idempotent. The caller locked other creators out."""
    with translated(path), closing(apsw.Connection(str(path))) as connection:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.execute("PRAGMA journal_mode = WAL")
        _keep_wal(connection)
        connection.execute("BEGIN IMMEDIATE")
        if _version(connection) == 0:
            connection.execute(SCHEMA)
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")


def _keep_wal(connection: apsw.Connection) -> None:
    """Keep -wal and -shm when the last connection closes.

    A full disk has no room to make them again, and freeing some takes a transaction.
    """
    on = ctypes.c_int(1)
    connection.file_control("main", apsw.SQLITE_FCNTL_PERSIST_WAL, ctypes.addressof(on))


def _roll_back(connection: apsw.Connection) -> None:
    """End what is left of a transaction; on a full disk SQLite may have done so by itself."""
    if _in_transaction(connection):
        connection.execute("ROLLBACK")


def _rewind(connection: apsw.Connection) -> None:
    """Let the next transaction write over what -wal has, as far as it can be done now."""
    try:
        connection.execute("PRAGMA wal_checkpoint(RESTART)")
    except apsw.Error:
        pass


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
