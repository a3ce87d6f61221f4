"""A small image in a memory registry, pulled into a store, and an upper to change it in."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from imagefs.content.opening import Places
from imagefs.image.pull import pull_image
from imagefs.oci import media_types
from imagefs.oci.config import ImageConfig
from imagefs.oci.descriptor import Descriptor
from imagefs.oci.digest import Digest
from imagefs.oci.manifest import Manifest
from imagefs.oci.platform import Platform, host
from imagefs.store import Image, MountRecord, Store
from imagefs.testing.transports import MemoryRegistry
from imagefs.testing.uppers import EngineDir
from imagefs.transport import Access
from imagefs.upper import Caller, Engine, UpperDir
from imagefs.upper.userdialect import UserDialect

BASE = "docker://reg.example/base:1"


def make_tar(files: dict[str, bytes]) -> bytes:
    """A tar of some files, the same each time."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


@dataclass
class Bench:
    """All that a test of images needs."""

    store: Store
    registry: MemoryRegistry = field(default_factory=MemoryRegistry)

    def publish(
        self,
        name: str,
        *layers: bytes,
        claim: list[Digest] | None = None,
        platform: Platform | None = None,
        algorithm: str = "sha256",
    ) -> Manifest:
        """Put an image of these tars, gzipped, into the registry; `algorithm` names the blobs."""
        blobs = [gzip.compress(tar, 6, mtime=0) for tar in layers]
        config = ImageConfig.scratch(platform or host()).with_layers(
            tuple(claim or [Digest.of(tar) for tar in layers]), ()
        )
        descriptors = []
        for blob in blobs:
            digest = Digest.of(blob, algorithm)
            self.registry.blobs[digest] = blob
            descriptors.append(Descriptor(media_types.OCI_LAYER_GZIP, digest, len(blob)))
        self.registry.blobs[config.digest] = config.raw
        manifest = Manifest.build(
            Descriptor(media_types.OCI_CONFIG, config.digest, len(config.raw)), descriptors
        )
        self.registry.manifests[manifest.digest] = (manifest.raw, manifest.media_type)
        self.registry.names[name] = manifest.digest
        return manifest

    async def pull(self, name: str) -> Image:
        """The image of that name, in the store."""
        short = name.removeprefix("docker://")
        return await pull_image(self.store, self.registry.source(name), lambda: short)

    def record(self, image: Image, mount_id: str = "abcdef012345") -> MountRecord:
        """A mount of the image that nobody serves."""
        return self.store.mounts.add(
            MountRecord(
                id=mount_id,
                manifest=image.manifest,
                name=image.names[0],
                mountpoint=f"/mnt/{mount_id}",
                driver="fuse",
                read_only=False,
                created_ns=1,
                boot_id="boot",
                options={"dialect": "user"},
            )
        )

    def change(self, record: MountRecord, work: Callable[[EngineDir], None]) -> None:
        """Do `work` in the mount."""
        assert record.upper is not None
        upper = UpperDir(record.upper, Path(record.upper).with_name("work"))
        engine = Engine(self.store.tree(record.layers), upper, dialect=UserDialect())
        engine.begin()
        work(EngineDir(engine, Caller(1, 0, 0, 0o022)))
        engine.close()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(Store.open(tmp_path / "root", tmp_path / "run"))

    class MemoryPlaces(Places):
        def __init__(self, store: Store, access: Access, home: str) -> None:
            super().__init__(store, access, home)
            self._opener = made.registry.source  # type: ignore[method-assign]  # no network here

    monkeypatch.setattr("imagefs.content.opening.Places", MemoryPlaces)
    return made
