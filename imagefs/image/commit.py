"""From an upper to an image in the store. Fetches only what a changed name needs of the image."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from imagefs.errors import InvalidInputError
from imagefs.image.documents import read_image
from imagefs.image.layer import lower_contents, write_layer
from imagefs.oci import media_types
from imagefs.oci.change import apply_change
from imagefs.oci.config import History, ImageConfig
from imagefs.oci.descriptor import Descriptor
from imagefs.oci.digest import Digest
from imagefs.oci.manifest import Manifest
from imagefs.store import Image, LayerKey, MountRecord, Store, StoredLayer
from imagefs.tree import Content
from imagefs.upper.changes import LayerDiff
from imagefs.upper.dialect import Dialect
from imagefs.upper.upperdir import UpperDir
from imagefs.upper.userdialect import UserDialect

_FORMATS = {"oci": media_types.OCI_MANIFEST, "docker": media_types.DOCKER_MANIFEST}


class NothingToCommit(InvalidInputError):
    """A mount without an upper: it was read-only."""


@dataclass(frozen=True)
class CommitOptions:
    """podman-commit(1)'s options. `config` holds what a container's own settings change first."""

    author: str = ""
    message: str = ""
    changes: Sequence[str] = ()
    config: Mapping[str, object] | None = None
    squash: bool = False
    format: str = "oci"
    created_by: str = "/bin/sh"


#: Brings content into the store: the layers and what of them is needed.
Fetch = Callable[[Sequence[StoredLayer], Sequence[Content]], None]


def commit(
    store: Store, record: MountRecord, name: str | None, options: CommitOptions, fetch: Fetch
) -> tuple[Image, list[str]]:
    """The new image, and what could not be in it, a line each.

    The upper stays as it is. The new layer is local and uncompressed; those below are referred to.
    Raises ChangeError, NothingToCommit, OSError when the disk is full; nothing is kept then.
    """
    base = read_image(store, record.manifest)
    config = _changed(base.config, options)
    with store.lease("commit", record.id), open_diff(store, record, options.squash) as diff:
        with _reader(store, record.layers, diff, fetch) as read:
            key = write_layer(store, diff, read)
        warnings = diff.warnings
        with store.layers.open(key) as layer:
            size = layer.index.blob_size
        media = _manifest_type(options.format)
        added = Descriptor(media_types.layer_media_type("none", media), key.blob, size)
        config = _with_layer(config, key.blob, options)
        layers = (added,) if options.squash else (*base.manifest.layers, added)
        keys = (key,) if options.squash else (*record.layers, key)
        manifest = Manifest.build(_config_descriptor(config, media), layers, media_type=media)
        image = store.images.add(manifest.raw, media, config.raw, keys, name=name)
    return image, warnings


@contextmanager
def open_diff(store: Store, record: MountRecord, whole: bool = False) -> Iterator[LayerDiff]:
    """What a mount changed; with `whole` its entire tree as added."""
    if record.upper is None:
        raise NothingToCommit(f"{record.mountpoint}: mounted read-only: there is nothing to commit")
    upper = Path(record.upper)
    tree = store.tree(record.layers)
    directory = UpperDir(upper, upper.parent / "work")
    with LayerDiff(tree, directory, dialect_of(record), whole=whole) as diff:
        yield diff


def dialect_of(record: MountRecord) -> Dialect | None:
    """The dialect that the upper of a mount is written in; None for overlayfs's."""
    return UserDialect() if record.options.get("dialect") == "user" else None


@contextmanager
def _reader(
    store: Store, keys: Sequence[LayerKey], diff: LayerDiff, fetch: Fetch
) -> Iterator[Callable[[Content, int, int], bytes]]:
    needed = list(lower_contents(diff))
    with ExitStack() as stack:
        layers = [stack.enter_context(store.layers.open(key)) for key in keys]
        missing = [c for c in needed if layers[c.layer].missing(c.offset, c.size)]
        if missing:
            fetch(layers, missing)
        yield lambda content, at, length: layers[content.layer].read(content.offset + at, length)


def _changed(config: ImageConfig, options: CommitOptions) -> ImageConfig:
    if options.config:
        config = config.with_config(options.config)
    for change in options.changes:
        config = apply_change(config, change)
    created = _now()
    changes: dict[str, object] = {"created": created}
    if options.author:
        changes["author"] = options.author
    return config.replace(changes)


def _with_layer(config: ImageConfig, diff_id: Digest, options: CommitOptions) -> ImageConfig:
    history = History(
        created=config.created,
        created_by=options.created_by,
        author=options.author,
        comment=options.message,
    )
    if options.squash:
        return config.with_layers((diff_id,), (history,))
    return config.with_layer(diff_id, history)


def _now() -> str:
    """SOURCE_DATE_EPOCH, or the time, as RFC 3339 with nanoseconds."""
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if text is None:
        now = time.time_ns()
    elif text.isdecimal():
        now = int(text) * 1_000_000_000
    else:
        raise InvalidInputError(f"SOURCE_DATE_EPOCH={text!r}: expected seconds since 1970")
    seconds, nanoseconds = divmod(now, 1_000_000_000)
    base = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{base}.{nanoseconds:09d}Z" if nanoseconds else f"{base}Z"


def _manifest_type(wanted: str) -> str:
    if wanted not in _FORMATS:
        raise InvalidInputError(f"--format {wanted!r}: expected oci or docker")
    return _FORMATS[wanted]


def _config_descriptor(config: ImageConfig, manifest_type: str) -> Descriptor:
    kind = (
        media_types.DOCKER_CONFIG
        if manifest_type == media_types.DOCKER_MANIFEST
        else media_types.OCI_CONFIG
    )
    return Descriptor(kind, config.digest, len(config.raw))
