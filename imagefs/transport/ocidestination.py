"""`oci:` as a destination: writes one image into an OCI image layout. Never reads a layer back.

Each file is written aside, synced and renamed in place. Writers hold an flock on the `oci-layout`
file while they replace index.json.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import tempfile
from collections.abc import AsyncIterable
from pathlib import Path
from typing import Any

import trio

from imagefs.errors import InvalidInputError
from imagefs.oci.digest import Digest
from imagefs.oci.media_types import OCI_INDEX
from imagefs.registry.blobs import BlobInfo, BlobRef, Verifier, verify_bytes
from imagefs.transport.layout import (
    REF_NAME,
    LayoutError,
    LayoutIOError,
    LayoutName,
    check_layout,
    parse_index,
    ref_name,
)

_LOCK_POLL = 0.05


class OciLayoutDestination:
    """Writes one image into a layout, which is made where there is none; an ImageDestination."""

    def __init__(self, name: LayoutName) -> None:
        if name.digest is not None or name.position is not None:
            raise InvalidInputError(f"{name}: an image is written as oci:DIR or oci:DIR:NAME")
        self._name = name.absolute()
        self._directory = Path(self._name.directory)
        self._entry: dict[str, Any] | None = None
        try:
            self._prepare()
        except OSError as error:
            raise LayoutIOError(self.name, error) from None

    @property
    def name(self) -> str:
        """`oci:DIR[:REF]`, DIR absolute."""
        return str(self._name)

    async def has_blob(self, ref: BlobRef) -> bool:
        """Whether a blob of this digest and size is there (its bytes are not read)."""
        await trio.lowlevel.checkpoint()
        try:
            found = self._blob_path(ref.digest).stat()
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size == ref.size

    async def mount_blob(self, ref: BlobRef, source_name: str) -> bool:
        """True only if the blob is in this layout already: layouts share nothing."""
        return await self.has_blob(ref)

    async def put_blob(self, chunks: AsyncIterable[bytes], ref: BlobRef | None) -> BlobInfo:
        """Write the blob aside, prove it, sync it, rename it in place."""
        verifier = Verifier(ref, self.name) if ref is not None else None
        hasher = Digest.of(b"").hasher()
        size = 0
        with self._aside() as (file, path):
            async for chunk in chunks:
                if verifier is not None:
                    verifier.feed(chunk)
                else:
                    hasher.update(chunk)
                size += len(chunk)
                self._write(file, chunk)
                await trio.lowlevel.checkpoint()
            if verifier is not None:
                verifier.finish()
            digest = ref.digest if ref is not None else Digest("sha256", hasher.hexdigest())
            self._place(file, path, digest)
        return BlobInfo(digest, size)

    async def put_manifest(self, raw: bytes, media_type: str, digest: Digest | None = None) -> None:
        """Store the manifest as a blob; without `digest` commit() will list it."""
        await trio.lowlevel.checkpoint()
        own = digest if digest is not None else Digest.of(raw)
        verify_bytes(raw, own, self.name, "manifest")
        with self._aside() as (file, path):
            self._write(file, raw)
            self._place(file, path, own)
        if digest is None:
            self._entry = {"mediaType": media_type, "digest": str(own), "size": len(raw)}
            if self._name.ref:
                self._entry["annotations"] = {REF_NAME: self._name.ref}

    async def commit(self) -> None:
        """List the image in index.json; what had its ref name is no longer listed. Idempotent."""
        if self._entry is None:
            raise ValueError("commit() before put_manifest()")
        with (self._directory / "oci-layout").open("rb") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await trio.sleep(_LOCK_POLL)
            try:
                self._list(self._entry)
            except OSError as error:
                raise LayoutIOError(f"{self.name}: index.json", error) from None
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Nothing is held open between calls."""
        await trio.lowlevel.checkpoint()

    def _prepare(self) -> None:
        (self._directory / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        layout = self._directory / "oci-layout"
        if not layout.exists():
            if (self._directory / "index.json").exists():
                raise LayoutError(f"{self.name}: index.json without oci-layout: no OCI layout")
            self._replace(layout, b'{"imageLayoutVersion":"1.0.0"}')
        check_layout(self._directory, self.name)

    def _list(self, entry: dict[str, Any]) -> None:
        path = self._directory / "index.json"
        index: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
        if path.exists():
            index = parse_index(path.read_bytes(), self.name)
        kept = [other for other in index["manifests"] if not _replaces(entry, other)]
        index["manifests"] = [*kept, entry]
        self._replace(path, json.dumps(index, separators=(",", ":")).encode())

    def _replace(self, path: Path, data: bytes) -> None:
        with _Aside(self._directory) as (file, temporary):
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            temporary.rename(path)
        _sync_directory(self._directory)

    def _aside(self) -> _Aside:
        try:
            return _Aside(self._directory)
        except OSError as error:
            raise LayoutIOError(self.name, error) from None

    def _write(self, file: Any, data: bytes) -> None:
        try:
            file.write(data)
        except OSError as error:
            raise LayoutIOError(f"{self.name}: write", error) from None

    def _place(self, file: Any, temporary: Path, digest: Digest) -> None:
        final = self._blob_path(digest)
        try:
            file.flush()
            os.fsync(file.fileno())
            final.parent.mkdir(parents=True, exist_ok=True)
            temporary.rename(final)
            _sync_directory(final.parent)
        except OSError as error:
            raise LayoutIOError(f"{self.name}: blob {digest}", error) from None

    def _blob_path(self, digest: Digest) -> Path:
        return self._directory / "blobs" / digest.algorithm / digest.hex


class _Aside:
    """A new file beside the layout's own, gone at exit unless it was renamed."""

    def __init__(self, directory: Path) -> None:
        fd, path = tempfile.mkstemp(prefix=".imagefs-", dir=directory)
        self._path = Path(path)
        os.fchmod(fd, 0o644)
        self._file = os.fdopen(fd, "wb")

    def __enter__(self) -> tuple[Any, Path]:
        return self._file, self._path

    def __exit__(self, *_: object) -> None:
        self._path.unlink(missing_ok=True)
        try:
            self._file.close()
        except OSError:
            pass  # what could not be flushed was reported by the write that matters


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _replaces(entry: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether listing `entry` takes `other` off the list: same ref name, or same unnamed image."""
    if ref_name(entry) or ref_name(other):
        return ref_name(entry) == ref_name(other)
    return bool(entry["digest"] == other["digest"])
