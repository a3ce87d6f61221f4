"""A registry in a thread that serves what a test made up, right or wrong. Talks to no real one."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import queue
import tarfile
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Self

import trio

from imagefs.oci.digest import Digest
from imagefs.oci.platform import host
from imagefs.testing.fake_registry import FakeRegistry, serve

OCI = "application/vnd.oci.image"
MANIFEST = f"{OCI}.manifest.v1+json"
INDEX = f"{OCI}.index.v1+json"
CONFIG = f"{OCI}.config.v1+json"
LAYER = f"{OCI}.layer.v1.tar+gzip"
REPOSITORY = "bad"

Document = dict[str, Any]


def tar(files: Mapping[str, bytes]) -> bytes:
    """A plain tar of regular files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


#: A good layer, as a tar and as a blob: 1 MiB that doesn't shrink much.
TAR = tar(
    {
        "hello": b"hello\n",
        "big": b"".join(hashlib.sha512(b"%d" % i).digest() for i in range(1 << 14)),
    }
)
BLOB = gzip.compress(TAR, mtime=0)


class HostileRegistry:
    """Use as a context manager; `registry` has the switches and faults, `host` its address."""

    def __init__(self) -> None:
        self.registry = FakeRegistry()
        self.host = ""
        self._ready: queue.Queue[tuple[str, trio.lowlevel.TrioToken]] = queue.Queue()
        self._thread = threading.Thread(target=trio.run, args=(self._serve,))
        self._scope = trio.CancelScope()

    async def _serve(self) -> None:
        with self._scope:
            async with serve(self.registry) as at:
                self._ready.put((at, trio.lowlevel.current_trio_token()))
                await trio.sleep_forever()

    def __enter__(self) -> Self:
        self._thread.start()
        self.host, self._token = self._ready.get(timeout=30)
        return self

    def __exit__(self, *_: object) -> None:
        self._token.run_sync_soon(self._scope.cancel)
        self._thread.join()

    def name(self, tag: str = "1") -> str:
        """What to call the image with that tag."""
        return f"{self.host}/{REPOSITORY}:{tag}"

    def blob(self, data: bytes, media_type: str = LAYER, **claims: Any) -> Document:
        """Keep a blob; its descriptor, which may claim something else."""
        self.registry.blobs[REPOSITORY, Digest.of(data)] = data
        return {"mediaType": media_type, "digest": digest_of(data), "size": len(data), **claims}

    def config(self, diff_ids: Sequence[str] | None, **fields: Any) -> Document:
        """Keep a config; its descriptor."""
        config: Document = {"architecture": host().architecture, "os": "linux", "config": {}}
        if diff_ids is not None:
            config["rootfs"] = {"type": "layers", "diff_ids": diff_ids}
        return self.blob(json.dumps({**config, **fields}).encode(), CONFIG)

    def document(self, value: Document, media_type: str = MANIFEST, tag: str = "1") -> Document:
        """Keep a manifest or an index under a tag; its descriptor."""
        raw = json.dumps({"schemaVersion": 2, **value}).encode()
        for key in (tag, digest_of(raw)):
            self.registry.manifests[REPOSITORY, key] = raw, media_type
        return {"mediaType": media_type, "digest": digest_of(raw), "size": len(raw)}

    def image(
        self,
        layers: Sequence[Document] | None = None,
        config: Document | None = None,
        tag: str = "1",
        **fields: Any,
    ) -> str:
        """Keep an image, good but for what is given; its name."""
        manifest = {
            "mediaType": MANIFEST,
            "config": config or self.config([digest_of(TAR)]),
            "layers": [self.blob(BLOB)] if layers is None else layers,
            **fields,
        }
        self.document(manifest, tag=tag)
        return self.name(tag)
