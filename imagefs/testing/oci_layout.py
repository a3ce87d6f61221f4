"""Writes OCI image layouts with nothing but the standard library; it never reads or checks one.

It shares no code with what it is there to test: digests, JSON and tars are made here anew.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Compression = Literal["none", "gzip", "zstd"]

_MEDIA = "application/vnd.oci.image"
_SUFFIX: dict[Compression, str] = {"none": "", "gzip": "+gzip", "zstd": "+zstd"}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


@dataclass(frozen=True)
class Layout:
    """A finished image: the layout's directory and the image's tag in it."""

    path: Path
    tag: str

    def __str__(self) -> str:
        """Spell it as podman, skopeo and imagefs take it."""
        return f"oci:{self.path}:{self.tag}"


@dataclass(frozen=True)
class Layer:
    """A layer blob that lies in the layout: its descriptor, and the digest of its tar."""

    descriptor: dict[str, Any]
    diff_id: str
    created_by: str


class LayoutWriter:
    """Fills a new directory with blobs, then images; an image is there once `image` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._blobs = path / "blobs" / "sha256"
        self._blobs.mkdir(parents=True)
        self._manifests: list[dict[str, Any]] = []
        (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def layer(
        self,
        fill: Callable[[tarfile.TarFile], None],
        compression: Compression = "gzip",
        created_by: str = "",
        tar_format: int = tarfile.PAX_FORMAT,
    ) -> Layer:
        """Store the tar that `fill` writes, in one pass; the same entries give the same digest."""
        with tempfile.NamedTemporaryFile(dir=self._blobs, delete=False) as blob:
            packed = _Hashing(blob)
            with _compressor(packed, compression) as out:
                plain = _Hashing(out)
                with tarfile.open(
                    fileobj=cast(IO[bytes], plain), mode="w|", format=tar_format
                ) as tar:
                    fill(tar)
        Path(blob.name).chmod(0o644)
        Path(blob.name).rename(self._blobs / packed.hex)
        return Layer(
            {
                "mediaType": f"{_MEDIA}.layer.v1.tar{_SUFFIX[compression]}",
                "digest": packed.digest,
                "size": packed.size,
            },
            plain.digest,
            created_by,
        )

    def image(self, tag: str, layers: Sequence[Layer], config: dict[str, Any]) -> Layout:
        """Store config, manifest and index entry of an image; `config` is its "config" object."""
        created = "1970-01-01T00:00:00Z"
        config_descriptor = self._document(
            f"{_MEDIA}.config.v1+json",
            {
                "created": created,
                "architecture": _ARCHITECTURES.get(os.uname().machine, os.uname().machine),
                "os": "linux",
                "config": config,
                "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
                "history": [
                    {"created": created, "created_by": layer.created_by} for layer in layers
                ],
            },
        )
        manifest = self._document(
            f"{_MEDIA}.manifest.v1+json",
            {
                "schemaVersion": 2,
                "mediaType": f"{_MEDIA}.manifest.v1+json",
                "config": config_descriptor,
                "layers": [layer.descriptor for layer in layers],
            },
        )
        manifest["annotations"] = {"org.opencontainers.image.ref.name": tag}
        self._manifests.append(manifest)
        index = {"schemaVersion": 2, "manifests": self._manifests}
        (self.path / "index.json").write_text(json.dumps(index))
        return Layout(self.path, tag)

    def _document(self, media_type: str, value: dict[str, Any]) -> dict[str, Any]:
        raw = json.dumps(value, separators=(",", ":")).encode()
        digest = hashlib.sha256(raw).hexdigest()
        (self._blobs / digest).write_bytes(raw)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(raw)}


class _Hashing:
    """A file to write to that knows the digest and the size of what went through."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.size += len(data)
        self._out.write(data)
        return len(data)

    def flush(self) -> None:
        self._out.flush()

    @property
    def hex(self) -> str:
        return self._hash.hexdigest()

    @property
    def digest(self) -> str:
        return f"sha256:{self.hex}"


class _Uncompressed:
    """What the compressors have in common, without compression."""

    def __init__(self, out: _Hashing) -> None:
        self._out = out

    def __enter__(self) -> _Hashing:
        return self._out

    def __exit__(self, *_: object) -> None:
        return None


def _compressor(out: _Hashing, compression: Compression) -> Any:
    file = cast(IO[bytes], out)
    match compression:
        case "none":
            return _Uncompressed(out)
        case "gzip":
            return gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0)
        case "zstd":
            return zstd.ZstdFile(file, mode="wb", level=3)
