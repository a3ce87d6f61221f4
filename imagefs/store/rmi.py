"""Removing an image as podman does: names first, it with the last of them. Unmounts nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from imagefs.store.errors import InUseError
from imagefs.store.gc import Freed, collect
from imagefs.store.images import Image

if TYPE_CHECKING:
    from imagefs.store.store import Store


class RmiReport(msgspec.Struct, frozen=True):
    """What `rmi` did. `removed` is the image's id, or None if only names went.

    `pinned_by` names, in words, what still uses an image whose names were removed by force: it is
    kept without a name until they are gone.
    """

    untagged: tuple[str, ...]
    removed: str | None
    freed: tuple[Freed, ...] = ()
    pinned_by: tuple[str, ...] = ()


def remove_image(store: Store, text: str, *, force: bool = False) -> RmiReport:
    """Remove the name `text`; with the last name, or by id, the image and what only it used.

    NoSuchImageError; AmbiguousNameError; InUseError, naming them, where mounts (kept uppers too) or
    containers use the image that would go, or where an id has several names. With `force` names go
    anyway, and an image in use stays without a name. Other images without a name are left alone.
    """
    db = store.core.db
    with db.transaction():
        image = store.images.require(text)
        name = store.images.name_of(text)
        if name is not None and len(image.names) > 1:
            store.images.untag(name)
            return RmiReport((name,), None)
        if len(image.names) > 1 and not force:
            raise InUseError(
                f"image {image.id[:12]} has several names ({', '.join(image.names)}): "
                "remove them by name, or use --force"
            )
        pins = pinned_by(store, image)
        if pins and not force:
            raise InUseError(
                f"image {text} is in use by {', '.join(pins)}: remove them first, or use --force"
            )
        manifest = str(image.manifest)
        db.run("DELETE FROM names WHERE manifest = ?", (manifest,))
        if not pins:
            db.run("DELETE FROM image_layers WHERE manifest = ?", (manifest,))
            db.run("DELETE FROM image_blobs WHERE manifest = ?", (manifest,))
            db.run("DELETE FROM images WHERE manifest = ?", (manifest,))
    if pins:
        return RmiReport(image.names, None, pinned_by=tuple(pins))
    report = collect(store, dangling=False)
    return RmiReport(image.names, image.id, report.freed)


def pinned_by(store: Store, image: Image) -> list[str]:
    """What uses the image, in words: its containers, then its mounts and kept uppers."""
    manifest = (str(image.manifest),)
    db = store.core.db
    containers = db.rows(
        "SELECT name, id FROM containers WHERE manifest = ? ORDER BY name", manifest
    )
    mounts = db.rows(
        "SELECT id, mountpoint, upper FROM mounts WHERE manifest = ? AND "
        "(container IS NULL OR container NOT IN (SELECT id FROM containers)) ORDER BY id",
        manifest,
    )
    pins = [f"container {name} ({str(one)[:12]})" for name, one in containers]
    for one, where, upper in mounts:
        what = "mount" if upper is None else "mount and upper"
        pins.append(f"{what} {one} ({os.fsdecode(where)})")
    return pins
