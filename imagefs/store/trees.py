"""The bytes of the tree merged from layer entries. Writes no file."""

from __future__ import annotations

from collections.abc import Sequence

from imagefs.store.keys import LayerKey
from imagefs.store.layers import Layers
from imagefs.tree import build_tree


def tree_bytes(layers: Layers, keys: Sequence[LayerKey]) -> bytes:
    """The tree of `keys`, lowest first; NotFoundError if an entry is absent."""
    indexes = []
    for key in keys:
        with layers.open(key) as layer:
            indexes.append(layer.index)
    return build_tree(indexes)
