"""Content digests (`sha256:…`): parse, compute, verify. Never reads a file.

Image-spec, descriptor.md, "Digests". Only registered algorithms are accepted, since a digest that
cannot be verified must not name anything.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Protocol, Self

from imagefs.errors import InvalidInputError

#: Hex digits of each known algorithm's digest.
HEX_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}
_HEX = re.compile(r"[0-9a-f]+")
_SHOWN = 80


class DigestError(InvalidInputError):
    """A digest that is malformed, of an unknown algorithm, or not that of the bytes at hand."""


class Hasher(Protocol):
    """The part of a hashlib object that callers need."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Append `data` to what is hashed."""

    def digest(self) -> bytes:
        """The digest of all data so far."""

    def hexdigest(self) -> str:
        """The same in lower-case hex digits."""


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """An algorithm and lower-case hex digits of its length; anything else is a DigestError."""

    algorithm: str
    hex: str

    def __post_init__(self) -> None:
        length = HEX_LENGTHS.get(self.algorithm)
        if length is None:
            known = ", ".join(HEX_LENGTHS)
            shown = self.algorithm[:_SHOWN]
            raise DigestError(f"unknown digest algorithm {shown!r} (known: {known})")
        if len(self.hex) != length or not _HEX.fullmatch(self.hex):
            shown = self.hex[:_SHOWN]
            raise DigestError(
                f"invalid {self.algorithm} digest {shown!r}: {length} lower-case hex digits wanted"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """`algorithm:hex` as a Digest; raises DigestError."""
        algorithm, colon, digits = text.partition(":")
        if not colon:
            raise DigestError(f"invalid digest {text[:_SHOWN]!r}: expected ALGORITHM:HEX")
        return cls(algorithm, digits)

    @classmethod
    def of(cls, data: bytes | bytearray | memoryview, algorithm: str = "sha256") -> Self:
        """The digest of `data`; raises DigestError for an unknown algorithm."""
        if algorithm not in HEX_LENGTHS:
            raise DigestError(f"unknown digest algorithm {algorithm[:_SHOWN]!r}")
        return cls(algorithm, hashlib.new(algorithm, data).hexdigest())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    @property
    def raw(self) -> bytes:
        """The digest itself: 32, 48 or 64 bytes."""
        return bytes.fromhex(self.hex)

    def hasher(self) -> Hasher:
        """A fresh hash object of this digest's algorithm, for bytes that come in pieces."""
        return hashlib.new(self.algorithm)

    def verify(self, data: bytes | bytearray | memoryview, what: str) -> None:
        """Raise DigestError, naming `what`, unless `data` has this digest."""
        self.check_equal(Digest.of(data, self.algorithm), what)

    def check_equal(self, found: Digest, what: str) -> None:
        """Raise DigestError, naming `what`, unless `found`, which was computed, is this digest."""
        if found != self:
            raise DigestError(f"{what}: wrong content: expected {self}, got {found}")
