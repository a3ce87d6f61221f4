"""What takes how much space, by kind; a size is what the disk has given. Frees nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from imagefs.store.db import Row
from imagefs.store.gc import live_trees
from imagefs.system.atomic import disk_usage

if TYPE_CHECKING:
    from imagefs.store.store import Store


class Usage(msgspec.Struct, frozen=True):
    """One line of `system df`: how many there are, how many of them are in use, bytes on disk.

    `reclaimable` is what `gc(content=True)` would free of it, once nothing is mounted.
    """

    type: str
    total: int
    active: int
    size: int
    reclaimable: int


def usage(store: Store) -> list[Usage]:
    """See `Store.df`."""
    return [*_layers(store), _blobs(store), _trees(store), _uppers(store), _containers(store)]


def _layers(store: Store) -> list[Usage]:
    rows = store.core.db.rows("SELECT DISTINCT layer FROM mount_layers")
    mounted = {str(layer) for (layer,) in rows}
    images = store.images.list()
    named = {key.id for image in images for key in image.layers}
    content = rest = loose = 0
    keys = store.layers.list()
    for key in keys:
        data, other = store.layers.usage(key)
        content += data
        rest += other
        if key.id not in named and key.id not in mounted:
            loose += other
    used = {
        str(one)
        for (one,) in store.core.db.rows(
            "SELECT manifest FROM mounts UNION SELECT manifest FROM containers"
        )
    }
    active = sum(str(image.manifest) in used for image in images)
    busy = sum(key.id in mounted for key in keys)
    return [
        Usage("Images", len(images), active, content + rest, content + loose),
        Usage("Layer content", len(keys), busy, content, content),
        Usage("Layer indexes", len(keys), busy, rest, loose),
    ]


def _blobs(store: Store) -> Usage:
    total = store.core.db.row("SELECT count(*) FROM blobs")
    active = store.core.db.row(
        "SELECT count(*) FROM blobs WHERE digest IN (SELECT blob FROM image_blobs)"
        " OR digest IN (SELECT blob FROM layers)"
    )
    loose = store.core.db.row(
        "SELECT coalesce(sum(size), 0) FROM blobs WHERE digest NOT IN "
        "(SELECT blob FROM image_blobs) AND digest NOT IN (SELECT blob FROM layers)"
    )
    size = disk_usage(store.root / "blobs")
    return Usage("Blobs", _number(total), _number(active), size, _number(loose))


def _trees(store: Store) -> Usage:
    folder = store.root / "trees"
    files = list(folder.iterdir())
    live = live_trees(store)
    loose = sum(disk_usage(path) for path in files if path.name not in live)
    size = sum(disk_usage(path) for path in files)
    return Usage("Trees", len(files), sum(path.name in live for path in files), size, loose)


def _uppers(store: Store) -> Usage:
    uppers = [record for record in store.mounts.list() if record.upper is not None]
    size = sum(disk_usage(store.mounts.directory(record.id)) for record in uppers)
    return Usage("Uppers", len(uppers), len(uppers), size, 0)


def _containers(store: Store) -> Usage:
    records = store.containers.list()
    size = sum(disk_usage(store.containers.directory(record.id)) for record in records)
    return Usage("Containers", len(records), len(records), size, 0)


def _number(row: Row | None) -> int:
    assert row is not None
    return int(row[0])
