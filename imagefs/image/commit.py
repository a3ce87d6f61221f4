"""From an upper to an image in the store. Fetches only what a changed name needs of the image."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from imagefs.errors import InvalidInputError
from imagefs.image.documents import Documents, read_image, retyped
from imagefs.image.layer import ReadLower, lower_contents, write_layer
from imagefs.oci import media_types
from imagefs.oci.change import apply_change
from imagefs.oci.config import History, ImageConfig
from imagefs.oci.descriptor import Descriptor
from imagefs.oci.manifest import Manifest
from imagefs.store import Image, LayerKey, MountRecord, Store, StoredLayer
from imagefs.tree import Content
from imagefs.upper import Engine
from imagefs.upper.changes import LayerDiff
from imagefs.upper.dialects import dialect_named
from imagefs.upper.upperdir import UpperDir

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
    """The image of what a mount changed, and what could not be in it, a line each.

    The upper stays as it is. The new layer is local and uncompressed; those below are referred to.
    Raises ChangeError, NothingToCommit, OSError when the disk is full; nothing is kept then.
    """
    base = read_image(store, record.manifest)
    with store.lease("commit", record.id), open_diff(store, record, options.squash) as diff:
        return _commit(store, base, record.layers, diff, name, options, fetch), diff.warnings


def commit_image(
    store: Store, image: Image, name: str | None, options: CommitOptions, fetch: Fetch
) -> tuple[Image, list[str]]:
    """An image with another config, or as one layer, made of an image that nobody changed.

    Raises what `commit` raises.
    """
    base = read_image(store, image.manifest)
    with store.lease("commit", image.id), _untouched(store, image.layers) as diff:
        if options.squash:
            return _commit(store, base, image.layers, diff, name, options, fetch), diff.warnings
        config = _changed(base.config, options)
        nothing = replace(_history(config, options), empty_layer=True)
        config = config.with_layers(config.rootfs.diff_ids, (*config.history, nothing))
        return _add(store, base.manifest.layers, image.layers, config, name, options), []


def _commit(
    store: Store,
    base: Documents,
    keys: Sequence[LayerKey],
    diff: LayerDiff,
    name: str | None,
    options: CommitOptions,
    fetch: Fetch,
) -> Image:
    config = _changed(base.config, options)
    rows = diff.entries()
    with _reader(store, keys, lower_contents(diff, rows), fetch) as read:
        key = write_layer(store, diff, rows, read)
    with store.layers.open(key) as layer:
        added = Descriptor(media_types.OCI_LAYER, key.blob, layer.index.blob_size)
    history = _history(config, options)
    if options.squash:
        config = config.with_layers((key.blob,), (history,))
        return _add(store, (added,), (key,), config, name, options)
    config = config.with_layer(key.blob, history)
    return _add(store, (*base.manifest.layers, added), (*keys, key), config, name, options)


def _add(
    store: Store,
    layers: Sequence[Descriptor],
    keys: Sequence[LayerKey],
    config: ImageConfig,
    name: str | None,
    options: CommitOptions,
) -> Image:
    media = _manifest_type(options.format)
    manifest = Manifest.build(
        _config_descriptor(config, media),
        [retyped(layer, media) for layer in layers],
        media_type=media,
    )
    return store.images.add(manifest.raw, media, config.raw, keys, name=name)


@contextmanager
def _untouched(store: Store, keys: Sequence[LayerKey]) -> Iterator[LayerDiff]:
    """The whole tree of some layers as added, through an upper that is empty."""
    dialect = dialect_named("overlay" if os.geteuid() == 0 else "user")
    tree = store.tree(keys)
    with store.scratch() as path:
        upper = UpperDir(path / "upper", path / "work")
        engine = Engine(tree, upper, dialect=dialect)
        engine.begin()  # gives the root of the upper the attributes of the lower's
        engine.close()
        upper = UpperDir(path / "upper", path / "work")
        with LayerDiff(tree, upper, dialect, whole=True) as diff:
            yield diff


@contextmanager
def open_diff(store: Store, record: MountRecord, whole: bool = False) -> Iterator[LayerDiff]:
    """What a mount changed; with `whole` its entire tree as added."""
    if record.upper is None:
        raise NothingToCommit(f"{record.mountpoint}: mounted read-only: there is nothing to commit")
    upper = Path(record.upper)
    tree = store.tree(record.layers)
    directory = UpperDir(upper, upper.parent / "work")
    with LayerDiff(
        tree, directory, dialect_named(record.options.get("dialect", "overlay")), whole=whole
    ) as diff:
        yield diff


@contextmanager
def _reader(
    store: Store, keys: Sequence[LayerKey], needed: Sequence[Content], fetch: Fetch
) -> Iterator[ReadLower]:
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


def _history(config: ImageConfig, options: CommitOptions) -> History:
    return History(
        created=config.created,
        created_by=options.created_by,
        author=options.author,
        comment=options.message,
    )


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
