"""Images: manifest, config, the layer entries they are read through, names. Fetches nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from imagefs.oci.digest import Digest, DigestError
from imagefs.store.blobs import Blobs
from imagefs.store.core import Core
from imagefs.store.db import Row
from imagefs.store.errors import (
    AmbiguousNameError,
    DiffIDConflictError,
    ImageMismatchError,
    NoSuchImageError,
)
from imagefs.store.keys import LayerKey
from imagefs.store.names import (
    answers_to,
    canonical,
    has_registry,
    is_id,
    is_text,
    repository_of,
    with_tag,
)

if TYPE_CHECKING:
    from imagefs.store.documents import Documents

_COLUMNS = "manifest, media_type, config, created_ns, os, architecture, variant, added_ns"


class Image(msgspec.Struct, frozen=True):
    """An image as the store has it; `manifest` identifies it, several may share one `id`.

    `id`: hex digits of the config's digest. `size`: bytes of its uncompressed layers.
    """

    manifest: Digest
    media_type: str
    id: str
    config: Digest
    names: tuple[str, ...]
    layers: tuple[LayerKey, ...]
    created_ns: int
    size: int
    os: str
    architecture: str
    variant: str
    added_ns: int

    @property
    def dangling(self) -> bool:
        """Whether it has no name."""
        return not self.names


class Images:
    """The images of a store. Absent is None."""

    def __init__(self, core: Core, blobs: Blobs) -> None:
        self._core = core
        self._blobs = blobs

    def add(
        self,
        manifest_raw: bytes,
        media_type: str,
        config_raw: bytes,
        layer_keys: Sequence[LayerKey],
        *,
        name: str | None = None,
        keep: Sequence[Digest] = (),
    ) -> Image:
        """Add an image whose layers are here, and give it `name`. Atomic, idempotent.

        `keep` names blobs that live as long as it does, such as the index that chose it. An image
        that is here already gets these layer keys for mounts made from now on. Raises
        ImageMismatchError where the parts do not belong together, DiffIDConflictError where the
        config claims a diffID that is not the layer's.
        """
        # Here, since only what adds images should pay for it.
        from imagefs.store.documents import read_documents

        documents = read_documents(manifest_raw, config_raw)
        with self._core.publishing():
            manifest = self._blobs.put(manifest_raw)
            self._blobs.put(config_raw, documents.config.algorithm)
            with self._core.db.transaction():
                self._check_layers(manifest, documents, layer_keys)
                self._insert(manifest, media_type, documents)
                self._refer(str(manifest), layer_keys, (manifest, documents.config, *keep))
                self._core.leases.hold("image", str(manifest))
                if name is not None:
                    self.tag(name, manifest)
                image = self.get(manifest)
        assert image is not None
        return image

    def get(self, manifest: Digest) -> Image | None:
        """The image with this manifest."""
        with self._core.leases.seeing():
            row = self._core.db.row(
                f"SELECT {_COLUMNS} FROM images WHERE manifest = ?", (str(manifest),)
            )
            if row is not None:
                self._core.leases.hold("image", str(manifest))
            return self._image(row) if row else None

    def list(self) -> list[Image]:
        """All images, dangling ones too, newest first."""
        rows = self._core.db.rows(
            f"SELECT {_COLUMNS} FROM images ORDER BY created_ns DESC, added_ns DESC, manifest"
        )
        return [self._image(row) for row in rows]

    def tag(self, name: str, manifest: Digest) -> str:
        """Give the image a name, taking it from another that had it; the full name. Idempotent."""
        full = canonical(name)
        with self._core.db.transaction():
            if not self._core.db.row("SELECT 1 FROM images WHERE manifest = ?", (str(manifest),)):
                raise NoSuchImageError(f"{manifest}: no image in the store has this manifest")
            self._core.db.run(
                "INSERT INTO names VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE "
                "SET manifest = ?2, tagged_ns = ?3",
                (full, str(manifest), time.time_ns()),
            )
        return full

    def untag(self, name: str) -> bool:
        """Take a name away, the image stays; whether there was such a name. Idempotent."""
        return self._core.db.run("DELETE FROM names WHERE name = ?", (canonical(name),)) > 0

    def resolve(self, text: str) -> Image | None:
        """The image that `text` means: a full name, a short name, an id or its beginning, a digest.

        A name goes before an id. A short name means localhost/NAME, else the one name that ends in
        /NAME. None if there is none; AmbiguousNameError if there are several.
        """
        if not is_text(text):
            return None
        with self._core.leases.seeing():
            found = self._by_name(text) or self._by_digest(text) or self._by_id(text)
            return self.get(Digest.parse(found)) if found else None

    def require(self, text: str) -> Image:
        """As `resolve`, but NoSuchImageError if there is none."""
        image = self.resolve(text)
        if image is None:
            raise NoSuchImageError(f"{text}: image not known: see `imagefs images`, or pull it")
        return image

    def name_of(self, text: str) -> str | None:
        """The kept name by which `resolve` finds `text`, or None if it goes by id or digest."""
        full = canonical(text)
        if self._core.db.row("SELECT 1 FROM names WHERE name = ?", (full,)):
            return full
        if has_registry(text.removeprefix("docker://")):
            return None
        matching = self._short(text)
        return matching[0][0] if matching else None

    def _by_name(self, text: str) -> str | None:
        row = self._core.db.row("SELECT manifest FROM names WHERE name = ?", (canonical(text),))
        if row is not None:
            return str(row[0])
        repository, at, digest = text.partition("@")
        if at:
            return self._by_repository(repository, digest)
        if has_registry(text.removeprefix("docker://")):
            return None
        matching = self._short(text)
        if len({manifest for _, manifest in matching}) > 1:
            names = ", ".join(name for name, _ in matching)
            raise AmbiguousNameError(f"{text}: could be any of {names}: say which")
        return matching[0][1] if matching else None

    def _by_repository(self, repository: str, digest: str) -> str | None:
        """`repository@digest`, where a name of that repository leads to the image."""
        wanted = repository_of(canonical(repository))
        short = repository_of(repository)
        rows = self._core.db.rows("SELECT name, manifest FROM names WHERE manifest = ?", (digest,))
        for name, manifest in rows:
            found = repository_of(str(name))
            if found == wanted or (not has_registry(repository) and answers_to(found, short)):
                return str(manifest)
        return None

    def _short(self, text: str) -> Sequence[tuple[str, str]]:
        wanted = with_tag(text)
        rows = self._core.db.rows("SELECT name, manifest FROM names ORDER BY name")
        return [(str(name), str(m)) for name, m in rows if answers_to(str(name), wanted)]

    def _by_digest(self, text: str) -> str | None:
        try:
            digest = str(Digest.parse(text))
        except DigestError:
            return None
        row = self._core.db.row(
            "SELECT manifest FROM images WHERE config = ?1 OR manifest = ?1 "
            "ORDER BY manifest = ?1 DESC, added_ns DESC",
            (digest,),
        )
        return str(row[0]) if row else None

    def _by_id(self, text: str) -> str | None:
        prefix = text.removeprefix("sha256:")
        if not is_id(prefix):
            return None
        rows = self._core.db.rows(
            "SELECT config, manifest FROM images WHERE config GLOB ? ORDER BY added_ns DESC",
            (f"sha256:{prefix}*",),
        )
        ids = sorted({str(config).partition(":")[2] for config, _ in rows})
        if len(ids) > 1:
            shown = ", ".join(one[:12] for one in ids)
            raise AmbiguousNameError(
                f"{text}: several image ids begin so: {shown}: give more digits"
            )
        return str(rows[0][1]) if rows else None

    def _check_layers(
        self, manifest: Digest, documents: Documents, keys: Sequence[LayerKey]
    ) -> None:
        if tuple(key.blob for key in keys) != documents.layers:
            raise ImageMismatchError(f"image {manifest}: these are not the layers of its manifest")
        for key, claimed in zip(keys, documents.diff_ids, strict=True):
            row = self._core.db.row("SELECT diff_id FROM layers WHERE id = ?", (key.id,))
            if row is None:
                raise ImageMismatchError(f"image {manifest}: layer {key.blob} is not in the store")
            if row[0] is not None and row[0] != str(claimed):
                raise DiffIDConflictError(
                    f"image {manifest}: its config claims diffID {claimed} for layer {key.blob}, "
                    f"whose diffID is {row[0]}: the image is wrong, nothing was added"
                )

    def _insert(self, manifest: Digest, media_type: str, documents: Documents) -> None:
        self._core.db.run(
            f"INSERT INTO images ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (manifest) DO NOTHING",
            (
                str(manifest),
                media_type,
                str(documents.config),
                documents.created_ns,
                documents.os,
                documents.architecture,
                documents.variant,
                time.time_ns(),
            ),
        )

    def _refer(self, manifest: str, keys: Sequence[LayerKey], blobs: Sequence[Digest]) -> None:
        self._core.db.run("DELETE FROM image_layers WHERE manifest = ?", (manifest,))
        for position, key in enumerate(keys):
            self._core.db.run(
                "INSERT INTO image_layers VALUES (?, ?, ?)", (manifest, position, key.id)
            )
        for blob in blobs:
            if not self._core.db.row("SELECT 1 FROM blobs WHERE digest = ?", (str(blob),)):
                raise ImageMismatchError(f"image {manifest}: blob {blob} is not in the store")
            self._core.db.run(
                "INSERT OR IGNORE INTO image_blobs VALUES (?, ?)", (manifest, str(blob))
            )

    def _image(self, row: Row) -> Image:
        manifest, media_type, config, created_ns, os, architecture, variant, added_ns = row
        layers = self._core.db.rows(
            "SELECT l.blob, l.index_digest, l.stream_size FROM image_layers AS i "
            "JOIN layers AS l ON l.id = i.layer WHERE i.manifest = ? ORDER BY i.position",
            (manifest,),
        )
        names = self._core.db.rows(
            "SELECT name FROM names WHERE manifest = ? ORDER BY name", (manifest,)
        )
        digest = Digest.parse(str(config))
        return Image(
            manifest=Digest.parse(str(manifest)),
            media_type=str(media_type),
            id=digest.hex,
            config=digest,
            names=tuple(str(name) for (name,) in names),
            layers=tuple(
                LayerKey(Digest.parse(str(b)), Digest.parse(str(i))) for b, i, _ in layers
            ),
            created_ns=_int(created_ns),
            size=sum(_int(size) for _, _, size in layers),
            os=str(os),
            architecture=str(architecture),
            variant=str(variant),
            added_ns=_int(added_ns),
        )


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value
