"""WWW-Authenticate challenges (RFC 9110, section 11.6.1): parse. Answers none, knows no network.

A field is a list of challenges, each `scheme [token68 | name=value, …]`; commas separate both the
parameters and the challenges, so that what follows a comma tells which of the two it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from imagefs.registry.errors import BadResponse

_LIMIT = 16 << 10
_SKIP = re.compile(r"[ \t,]*")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*(?=[ \t]*(?:,|$))")
_PARAM = re.compile(
    r"(?P<name>[!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]*=[ \t]*"
    r"(?:\"(?P<quoted>(?:[^\"\\]|\\.)*)\"|(?P<token>[!#$%&'*+\-.^_`|~0-9A-Za-z]+))"
    r"(?=[ \t]*(?:,|$))"
)
_ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge: scheme and parameter names in lower case."""

    scheme: str
    params: dict[str, str] = field(default_factory=dict)
    token68: str | None = None


def parse_challenges(values: Iterable[str]) -> list[Challenge]:
    """The challenges of all WWW-Authenticate fields, in order; raises BadResponse for garbage."""
    found: list[Challenge] = []
    for value in values:
        if len(value) > _LIMIT:
            raise BadResponse(f"WWW-Authenticate has more than {_LIMIT} characters")
        found += _parse_field(value)
    return found


def _parse_field(value: str) -> list[Challenge]:
    found: list[Challenge] = []
    at = _end(_SKIP.match(value))
    while at < len(value):
        scheme = _TOKEN.match(value, at)
        if scheme is None:
            raise BadResponse(f"WWW-Authenticate cannot be understood at {value[at : at + 40]!r}")
        at = scheme.end()
        params: dict[str, str] = {}
        token68 = None
        if at < len(value) and value[at] in " \t":
            at += len(value[at:]) - len(value[at:].lstrip(" \t"))
            param = _PARAM.match(value, at)
            alone = _TOKEN68.match(value, at) if param is None else None
            if alone is not None:
                token68 = alone[0]
                at = alone.end()
            while param is not None:
                name, text = _param(param)
                if name in params:
                    raise BadResponse(f"WWW-Authenticate repeats the parameter {name[:40]!r}")
                params[name] = text
                at = param.end()
                after = _end(_SKIP.match(value, at))
                param = _PARAM.match(value, after) if "," in value[at:after] else None
        found.append(Challenge(scheme[0].lower(), params, token68))
        after = _end(_SKIP.match(value, at))
        if after < len(value) and "," not in value[at:after]:
            raise BadResponse(f"WWW-Authenticate cannot be understood at {value[at : at + 40]!r}")
        at = after
    return found


def _param(match: re.Match[str]) -> tuple[str, str]:
    quoted = match["quoted"]
    text = match["token"] if quoted is None else _ESCAPE.sub(r"\1", quoted)
    return match["name"].lower(), text


def _end(match: re.Match[str] | None) -> int:
    assert match is not None  # the pattern matches the empty string
    return match.end()
