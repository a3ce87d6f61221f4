"""Small stores and images, for tests. Never for production."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from imagefs.formats.scan import LayerScanner
from imagefs.oci.digest import Digest
from imagefs.store import Image, LayerKey, MountRecord, Store
from imagefs.system.atomic import Disk

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
BOOT = bytes(range(16))


def small_store(base: Path, *, disk: Disk | None = None, boot: bytes = BOOT) -> Store:
    """The store under `base`, not synced to disk."""
    return Store.open(base / "root", base / "run", disk=disk or Disk(durable=False), boot=boot)


def small_tar(files: Mapping[str, bytes]) -> bytes:
    """An uncompressed layer that holds `files`."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def add_layer(store: Store, blob: bytes) -> LayerKey:
    """Stream `blob` into the store, as if from a registry."""
    store.locations.add(Digest.of(blob), "docker://registry.example/some:1")
    with store.layers.create() as writer:
        scanner = LayerScanner("auto", writer)
        scanner.feed(blob)
        return writer.commit(scanner.finish())


def image_documents(
    layers: Sequence[LayerKey], diff_ids: Sequence[Digest], note: str = ""
) -> tuple[bytes, bytes]:
    """(manifest, config) of an image of `layers`; another `note` makes another image."""
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "2024-01-02T03:04:05.123456789Z",
            "author": note,
            "rootfs": {"type": "layers", "diff_ids": [str(one) for one in diff_ids]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"digest": str(Digest.of(config)), "size": len(config)},
            "layers": [{"digest": str(key.blob)} for key in layers],
        }
    ).encode()
    return manifest, config


def add_image(
    store: Store, layers: Sequence[LayerKey], name: str | None = None, note: str = ""
) -> Image:
    """An honest image of `layers`."""
    diff_ids = []
    for key in layers:
        with store.layers.open(key) as layer:
            assert layer.index.diff_id is not None
            diff_ids.append(layer.index.diff_id)
    manifest, config = image_documents(layers, diff_ids, note)
    return store.images.add(manifest, MANIFEST_TYPE, config, layers, name=name)


def add_mount(store: Store, image: Image, **changes: object) -> MountRecord:
    """A writable mount record of `image`."""
    fields: dict[str, object] = {
        "id": store.mounts.new_id(),
        "manifest": image.manifest,
        "name": "some name",
        "mountpoint": "/mnt/x",
        "driver": "fuse",
        "read_only": False,
        "created_ns": 1,
        "boot_id": "boot",
    }
    return store.mounts.add(MountRecord(**{**fields, **changes}))  # type: ignore[arg-type]  # test data
