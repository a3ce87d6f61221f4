"""What layer entries and trees are keyed by: verified values only. Looks nothing up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from imagefs.oci.digest import Digest

_ID_LENGTH = 40
#: Raised when build_tree writes other bytes for the same layers.
TREE_VERSION = 1


@dataclass(frozen=True)
class LayerKey:
    """A blob and the index it is read through."""

    blob: Digest
    index: Digest

    @cached_property
    def id(self) -> str:
        """40 hex digits: names the entry's directory."""
        return hashlib.sha256(f"{self.blob} {self.index}".encode()).hexdigest()[:_ID_LENGTH]


def tree_id(layers: Iterable[str]) -> str:
    """The name of the tree merged from the layer ids, lowest first."""
    text = f"tree {TREE_VERSION} " + " ".join(layers)
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_LENGTH]
