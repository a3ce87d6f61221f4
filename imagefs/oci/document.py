"""JSON documents from bytes of anybody: bounded, typed decoding. Knows no document in particular.

msgspec gives the types and the place of a mismatch (`$.layers[2].size`); here its ways to fail, and
those it shares with the interpreter (deep nesting, bad UTF-8), become one error.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, TypeVar

import msgspec

from imagefs.errors import ImagefsError

#: Larger manifests, indexes and configs are refused, as registries do (distribution-spec: 4 MiB).
MAX_SIZE = 4 << 20
_MAX_MESSAGE = 300

#: Sizes and counts as Go's int64 holds them, never negative.
Size = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
#: A JSON object whose values stay bytes.
RawObject = dict[str, msgspec.Raw]

T = TypeVar("T")
NO_STRINGS: Mapping[str, str] = MappingProxyType({})


def decode(raw: bytes | msgspec.Raw, kind: type[T], what: str, error: type[ImagefsError]) -> T:
    """`raw` as a `kind` (a msgspec type); raises `error` in one line that starts with `what`."""
    view = memoryview(raw)
    if view.nbytes > MAX_SIZE:
        raise error(f"{what}: {view.nbytes} bytes, more than the limit of {MAX_SIZE}")
    try:
        str(view, "utf-8")
        return msgspec.json.decode(view, type=kind)
    except RecursionError:
        raise error(f"{what}: nested too deeply") from None
    except (msgspec.MsgspecError, ValueError) as cause:
        reason = " ".join(str(cause).split())[:_MAX_MESSAGE]
        raise error(f"{what}: not valid: {reason}") from None


def frozen(strings: Mapping[str, str] | None) -> Mapping[str, str]:
    """A read-only copy."""
    return MappingProxyType(dict(strings)) if strings else NO_STRINGS
