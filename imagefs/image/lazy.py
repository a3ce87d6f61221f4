"""Says how lazily each layer of an image can be read, and why. Fetches nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imagefs.formats.index import LayerIndex
from imagefs.oci.descriptor import Descriptor
from imagefs.oci.media_types import layer_compression
from imagefs.store import LayerKey, Store


@dataclass(frozen=True)
class Laziness:
    """One layer: `lazy` is None while nobody has indexed it; `here` of `total` bytes are stored."""

    layer: Descriptor
    lazy: bool | None
    why: str
    here: int = 0
    total: int = 0


def why_lazy(
    store: Store, layers: Sequence[Descriptor], keys: Sequence[LayerKey] | None = None
) -> list[Laziness]:
    """A finding for each layer, lowest first; `keys` are the entries that the image reads through.

    Without `keys` the entry that a pull would use is looked at, where the store has one.
    """
    entries: Sequence[LayerKey | None] = keys or [store.layers.find(one.digest) for one in layers]
    return [_finding(store, layer, key) for layer, key in zip(layers, entries, strict=True)]


def _finding(store: Store, layer: Descriptor, key: LayerKey | None) -> Laziness:
    if key is None:
        form = layer_compression(layer.media_type)
        if form is None:
            return Laziness(layer, False, f"{layer.media_type}: not a layer that can be read")
        what = {"none": "plain tar", "gzip": "gzip", "zstd": "zstd"}[form]
        return Laziness(layer, None, f"{what} without an index here: the first use streams it once")
    with store.layers.open(key) as entry:
        lazy, why = _reason(entry.index)
        here, total = entry.progress()
    return Laziness(layer, lazy, why, here, total)


def _reason(index: LayerIndex) -> tuple[bool, str]:
    spans = len(index.spans)
    if index.codec == "raw":
        return True, "plain tar: every file by its own range"
    if index.codec == "gzip":
        count = "one checkpoint" if spans == 1 else f"{spans} checkpoints"
        return True, f"gzip with {count}: by range, from the checkpoint before"
    if index.codec == "zstd":
        return True, f"zstd in {spans} frames: by range, whole frames"
    return (
        False,
        "zstd in one frame: content streams at first read; converting is the cure",
    )
