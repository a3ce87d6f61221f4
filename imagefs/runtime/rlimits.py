"""Resource limits: `--ulimit`'s forms, podman's defaults, and what the host allows. Sets none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from imagefs.runtime.errors import OptionError

UNLIMITED = (1 << 64) - 1

#: setrlimit(2), as --ulimit spells them.
NAMES = (
    "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime "
    "sigpending stack"
).split()

#: podman's, where nothing is said.
DEFAULTS = {"nofile": 1 << 20, "nproc": 1 << 22}


class Limit(NamedTuple):
    """A soft and a hard limit; UNLIMITED for none."""

    soft: int
    hard: int


def parse_ulimit(text: str) -> tuple[str, Limit]:
    """`name=SOFT[:HARD]`; -1 or `unlimited` for none. Raises OptionError."""
    name, equals, value = text.partition("=")
    name = name.strip().lower().removeprefix("rlimit_")
    soft, colon, hard = value.partition(":")
    if name not in NAMES or not equals:
        raise OptionError(
            f'ulimit option "{text}" requires name=SOFT:HARD with one of the names '
            + ", ".join(NAMES)
        )
    limit = Limit(_number(text, soft), _number(text, hard if colon else soft))
    if limit.soft > limit.hard:
        raise OptionError(f'ulimit option "{text}": the soft limit is above the hard one')
    return name, limit


def _number(text: str, value: str) -> int:
    if value.strip() in ("-1", "unlimited"):
        return UNLIMITED
    if not value.strip().isdecimal():
        raise OptionError(f'ulimit option "{text}": {value!r} is neither a number nor "unlimited"')
    return min(int(value), UNLIMITED)


def choose(
    asked: Iterable[str],
    configured: Iterable[str],
    host: Mapping[str, Limit],
    *,
    may_raise: bool,
    nr_open: int,
) -> tuple[list[dict[str, Any]], list[str]]:
    """The spec's rlimits, and a warning for each that was asked for and cannot be had.

    `asked` goes before `configured` (both as --ulimit), and these before podman's defaults; the
    one word `host` among `asked` means the host's own. Without `may_raise` (CAP_SYS_RESOURCE)
    nothing goes above the host's hard limits; nofile never goes above `nr_open`.
    """
    wanted = {name: Limit(value, value) for name, value in DEFAULTS.items()}
    wanted.update(map(parse_ulimit, configured))
    explicit: dict[str, Limit] = {}
    for text in asked:
        if text == "host":
            wanted.update(host)
        else:
            name, limit = parse_ulimit(text)
            explicit[name] = limit
    wanted.update(explicit)
    warnings = []
    spec = []
    for name, limit in sorted(wanted.items()):
        top = UNLIMITED if may_raise or name not in host else host[name].hard
        top = min(top, nr_open) if name == "nofile" else top
        clamped = Limit(min(limit.soft, top), min(limit.hard, top))
        if clamped != limit and name in explicit:
            warnings.append(f"ulimit {name}: this host allows no more than {top}: using that")
        spec.append({"type": f"RLIMIT_{name.upper()}", "soft": clamped.soft, "hard": clamped.hard})
    return spec, warnings
