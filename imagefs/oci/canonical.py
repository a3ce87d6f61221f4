"""JSON as Go's tools write it, and bounded reading of JSON from elsewhere. Opens nothing.

What is made here is encoded as Go's `json.Marshal` does, which the other tools use: compact, fields
in the order of image-spec's Go types (callers build their objects so), maps sorted (`sorted_map`),
and `<`, `>`, `&`, U+2028 and U+2029 escaped. Documents of others keep their raw bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from imagefs.errors import InvalidInputError

T = TypeVar("T")

#: Largest document that is read: a manifest or config above 4 MiB is an attack (CVE-2020-1702).
DOCUMENT_MAX = 4 << 20

#: A JSON object whose values stay the bytes they are.
RawObject = dict[str, msgspec.Raw]

_REASON_MAX = 300
# None of these occurs outside strings in JSON.
_ESCAPES = (
    (b"<", rb"\u003c"),
    (b">", rb"\u003e"),
    (b"&", rb"\u0026"),
    ("\u2028".encode(), rb"\u2028"),
    ("\u2029".encode(), rb"\u2029"),
)


class DocumentError(InvalidInputError):
    """A manifest, index, config or descriptor that is not what its specification says."""


def encode(document: Any) -> bytes:
    """Compact JSON, keys in the order they are given: the same document gives the same bytes."""
    raw = msgspec.json.encode(document)
    for plain, escaped in _ESCAPES:
        raw = raw.replace(plain, escaped)
    return raw


def sorted_map(mapping: Mapping[str, T]) -> dict[str, T]:
    """With keys in the order of their UTF-8 bytes, as Go writes maps."""
    return dict(sorted(mapping.items(), key=lambda item: item[0].encode()))


def decode(raw: bytes | msgspec.Raw, kind: type[T], what: str, nulls: bool = False) -> T:
    """`raw` as a `kind`; raises DocumentError, which names `what`, for anything else.

    With `nulls` a member that is null counts as absent, as it does for Go.
    """
    view = memoryview(raw)
    if view.nbytes > DOCUMENT_MAX:
        raise DocumentError(f"{what}: {view.nbytes} bytes, more than the {DOCUMENT_MAX} allowed")
    try:
        str(view, "utf-8")  # msgspec does not look at the strings it skips
        if not nulls:
            return msgspec.json.decode(view, type=kind)
        return msgspec.convert(_without_nulls(msgspec.json.decode(view)), kind)
    except RecursionError:
        raise DocumentError(f"{what}: nested too deeply") from None
    except (msgspec.MsgspecError, ValueError) as error:
        reason = " ".join(str(error).split())[:_REASON_MAX]
        raise DocumentError(f"{what}: {reason}") from None


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(v) for key, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value
