"""Recomputes every digest, follows every reference, names what is wrong. Repairs nothing.

Publishers may go on; gc waits. What dead processes left in tmp/ is no problem: gc removes it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from imagefs.errors import ImagefsError
from imagefs.formats.index import LayerIndex
from imagefs.formats.rebuild import rebuild_tar
from imagefs.oci.digest import Digest
from imagefs.store.documents import read_documents
from imagefs.store.gc import live_trees, strays
from imagefs.store.images import Image
from imagefs.store.keys import LayerKey
from imagefs.store.layers import skeleton_digest
from imagefs.store.storedlayer import StoredLayer
from imagefs.store.trees import tree_bytes

if TYPE_CHECKING:
    from imagefs.store.store import Store

_PIECE = 1 << 20


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong: its kind, what it is about, and the finding in a line.

    Kinds: database, blob, layer, image, mount, container, tree, stray.
    """

    kind: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.kind} {self.where}: {self.message}"


def check(store: Store) -> list[Problem]:
    """See `Store.fsck`."""
    with store.core.publishing():
        return [
            *_database(store),
            *_blobs(store),
            *_layers(store),
            *_images(store),
            *_trees(store),
            *_mounts(store),
            *_containers(store),
            *_strays(store),
        ]


def _database(store: Store) -> Iterator[Problem]:
    for (line,) in store.core.db.rows("PRAGMA integrity_check"):
        if line != "ok":
            yield Problem("database", "meta.db", str(line))
    for table, row, parent, _ in store.core.db.rows("PRAGMA foreign_key_check"):
        yield Problem("database", str(table), f"row {row} refers to what is not in {parent}")


def _blobs(store: Store) -> Iterator[Problem]:
    for text, size in store.core.db.rows("SELECT digest, size FROM blobs ORDER BY digest"):
        digest = Digest.parse(str(text))
        try:
            found, length = _file_digest(store, digest)
        except OSError as error:
            yield Problem("blob", str(text), f"cannot be read: {error.strerror}")
            continue
        if found != digest:
            yield Problem("blob", str(text), f"damaged: its bytes have the digest {found}")
        elif length != size:
            yield Problem("blob", str(text), f"its row says {size} bytes, it has {length}")


def _file_digest(store: Store, digest: Digest) -> tuple[Digest, int]:
    hasher, size = digest.hasher(), 0
    with open(store.blobs.file(digest), "rb") as file:
        while piece := file.read(_PIECE):
            hasher.update(piece)
            size += len(piece)
    return Digest(digest.algorithm, hasher.hexdigest()), size


def _layers(store: Store) -> Iterator[Problem]:
    rows = store.core.db.rows(
        "SELECT id, blob, index_digest, proved, diff_id, skeleton_digest FROM layers ORDER BY id"
    )
    for name, blob, index, proved, diff_id, skeleton in rows:
        key = LayerKey(Digest.parse(str(blob)), Digest.parse(str(index)))
        where = f"{name} ({blob})"
        if key.id != name:
            yield Problem("layer", where, "its id is not that of its blob and index")
            continue
        try:
            with store.layers.open(key) as layer:
                for message in _layer(layer, proved == 1, diff_id, str(skeleton)):
                    yield Problem("layer", where, message)
        except ImagefsError as error:
            yield Problem("layer", where, str(error))
        except OSError as error:
            yield Problem("layer", where, f"cannot be read: {error}")


def _layer(layer: StoredLayer, proved: bool, diff_id: object, skeleton: str) -> Iterator[str]:
    index = layer.index
    if index.blob_digest != layer.key.blob:
        yield f"its index is for the blob {index.blob_digest}"
    if (str(index.diff_id) if index.diff_id else None) != diff_id:
        yield f"its row says diffID {diff_id}, its index {index.diff_id}"
    if proved and index.diff_id is None:
        yield "said to be proved, but its index has no diffID"
    size = os.fstat(layer.fileno()).st_size
    if size != index.data_size:
        yield f"data: {size} bytes, must be {index.data_size}"
    damaged = layer.damaged()
    if damaged:
        yield f"data: {len(damaged)} chunks are damaged, the first is {damaged[0]}"
    found = skeleton_digest(layer)
    if str(found) != skeleton:
        yield f"skeleton: damaged: its bytes have the digest {found}, not {skeleton}"
    elif proved and not damaged and layer.complete:
        yield from _rebuilt(layer, index)


def _rebuilt(layer: StoredLayer, index: LayerIndex) -> Iterator[str]:
    hasher = hashlib.sha256()
    for piece in rebuild_tar(index, layer.skeleton(), layer.read):
        hasher.update(piece)
    if index.diff_id is not None and hasher.hexdigest() != index.diff_id.hex:
        found = f"sha256:{hasher.hexdigest()}"
        yield f"content and skeleton make the diffID {found}, not {index.diff_id}"


def _images(store: Store) -> Iterator[Problem]:
    for image in store.images.list():
        where = ", ".join(image.names) or str(image.manifest)
        try:
            for message in _image(store, image):
                yield Problem("image", where, message)
        except ImagefsError as error:
            yield Problem("image", where, str(error))


def _image(store: Store, image: Image) -> Iterator[str]:
    manifest, config = store.blobs.get(image.manifest), store.blobs.get(image.config)
    if manifest is None:
        yield f"its manifest {image.manifest} is missing"
    if config is None:
        yield f"its config {image.config} is missing"
    if manifest is None or config is None:
        return
    documents = read_documents(manifest, config)
    if documents.config != image.config:
        yield f"its row says config {image.config}, its manifest {documents.config}"
    if tuple(key.blob for key in image.layers) != documents.layers:
        yield "its layer entries are not those of its manifest"
        return
    for key, claimed in zip(image.layers, documents.diff_ids, strict=True):
        row = store.core.db.row("SELECT diff_id FROM layers WHERE id = ?", (key.id,))
        if row is not None and row[0] is not None and row[0] != str(claimed):
            yield f"its config claims diffID {claimed} for layer {key.blob}, which has {row[0]}"


def _trees(store: Store) -> Iterator[Problem]:
    for name, stack in live_trees(store).items():
        path = store.root / "trees" / name
        if not path.exists():
            continue
        try:
            expected = tree_bytes(store.layers, [_key(store, layer) for layer in stack])
        except (ImagefsError, OSError) as error:
            yield Problem("tree", name, f"cannot be checked: {error}")
            continue
        if path.read_bytes() != expected:
            yield Problem("tree", name, "is not the tree of its layers")


def _key(store: Store, layer: str) -> LayerKey:
    row = store.core.db.row("SELECT blob, index_digest FROM layers WHERE id = ?", (layer,))
    assert row is not None
    return LayerKey(Digest.parse(str(row[0])), Digest.parse(str(row[1])))


def _mounts(store: Store) -> Iterator[Problem]:
    for record in store.mounts.list():
        where = f"{record.id} ({record.mountpoint})"
        if record.upper is not None and not Path(record.upper).is_dir():
            yield Problem("mount", where, f"its upper {record.upper} is missing")
        if store.images.get(record.manifest) is None:
            yield Problem("mount", where, f"its image {record.manifest} is not in the store")


def _containers(store: Store) -> Iterator[Problem]:
    for record in store.containers.list():
        where = f"{record.name} ({record.id[:12]})"
        if store.images.get(record.manifest) is None:
            yield Problem("container", where, f"its image {record.manifest} is not in the store")
        if record.mount is not None and store.mounts.get(record.mount) is None:
            yield Problem("container", where, f"its mount {record.mount} is not in the store")
        if not store.containers.directory(record.id).is_dir():
            yield Problem("container", where, "its directory is missing")


def _strays(store: Store) -> Iterator[Problem]:
    for kind, path in strays(store):
        what = "belongs to nothing" if kind == "unknown" else f"{kind} that nothing refers to"
        advice = "remove it" if kind == "unknown" else "`imagefs system gc` removes it"
        yield Problem("stray", str(path.relative_to(store.root)), f"{what}: {advice}")
