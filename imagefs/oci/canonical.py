"""The one JSON encoding of documents made here, so that equal values have equal digests.

The bytes are those that Go's `json.Marshal` gives, which the other tools use: compact, struct fields
in their order in image-spec's Go types (callers build their objects so), the keys of maps sorted
(`sorted_map`), and `<`, `>`, `&`, U+2028, U+2029 escaped. Never used on a document of somebody else:
those keep their raw bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

V = TypeVar("V")
# None of these occurs outside strings in JSON.
_ESCAPES = (
    (b"<", rb"\u003c"),
    (b">", rb"\u003e"),
    (b"&", rb"\u0026"),
    ("\u2028".encode(), rb"\u2028"),
    ("\u2029".encode(), rb"\u2029"),
)


def encode(value: object) -> bytes:
    """`value` (dicts in the order wanted, lists, strings, numbers, msgspec.Raw) as JSON."""
    raw = msgspec.json.encode(value)
    for plain, escaped in _ESCAPES:
        raw = raw.replace(plain, escaped)
    return raw


def sorted_map(mapping: Mapping[str, V]) -> dict[str, V]:
    """With keys in the order of their UTF-8 bytes, as Go writes maps."""
    return dict(sorted(mapping.items(), key=lambda item: item[0].encode()))
