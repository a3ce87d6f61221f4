"""JSON as Go's tools write it, and bounded reading of JSON from elsewhere. Opens nothing."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from imagefs.errors import InvalidInputError

T = TypeVar("T")

#: Largest document that is read: a manifest or config above 4 MiB is an attack (CVE-2020-1702).
DOCUMENT_MAX = 4 << 20


class DocumentError(InvalidInputError):
    """A manifest, index, config or descriptor that is not what its specification says."""


def encode(document: Any) -> bytes:
    """Compact JSON, keys in the order they are given: the same document gives the same bytes."""
    return msgspec.json.encode(document)


def decode(raw: bytes, kind: type[T], what: str) -> T:
    """`raw` as a `kind`; raises DocumentError, which names `what`, for anything else."""
    if len(raw) > DOCUMENT_MAX:
        raise DocumentError(f"{what}: {len(raw)} bytes, more than the {DOCUMENT_MAX} allowed")
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DocumentError(f"{what}: {error}") from None
