"""Which images of a store fit podman's `--filter` conditions. Changes nothing.

podman-images(1). Conditions with the same key are alternatives, those with other keys must hold
too.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from imagefs.errors import InvalidInputError
from imagefs.image.documents import read_image
from imagefs.store import Image, Store

Condition = Callable[[Image], bool]

_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|ms|s|m|h))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)")
_NANOSECONDS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


class FilterError(InvalidInputError):
    """A condition that is not well formed, or of a kind that is not known."""


def select(store: Store, filters: Iterable[str]) -> list[Image]:
    """The images that fit all `filters` (`KEY=VALUE` or `KEY!=VALUE`), newest first.

    Raises FilterError, and NoSuchImageError for an image that a condition names.
    """
    conditions: dict[str, list[Condition]] = {}
    for text in filters:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise FilterError(f"--filter {text!r}: expected KEY=VALUE")
        conditions.setdefault(key, []).append(_condition(store, key, value))
    return [
        image
        for image in store.images.list()
        if all(any(one(image) for one in anyone) for anyone in conditions.values())
    ]


def _condition(store: Store, key: str, value: str) -> Condition:
    if key not in _KINDS:
        known = ", ".join(sorted(_KINDS))
        raise FilterError(f"--filter {key}: unknown (known: {known})")
    return _KINDS[key](store, value)


def _before(store: Store, value: str) -> Condition:
    limit = store.images.require(value).created_ns
    return lambda image: image.created_ns < limit


def _since(store: Store, value: str) -> Condition:
    limit = store.images.require(value).created_ns
    return lambda image: image.created_ns > limit


def _containers(store: Store, value: str) -> Condition:
    wanted = _truth("containers", value)
    used = {record.manifest for record in store.containers.list()}
    return lambda image: (image.manifest in used) == wanted


def _dangling(store: Store, value: str) -> Condition:
    wanted = _truth("dangling", value)
    return lambda image: image.dangling == wanted


def _id(store: Store, value: str) -> Condition:
    start = value.removeprefix("sha256:")
    return lambda image: image.id.startswith(start)


def _label(store: Store, value: str) -> Condition:
    key, equals, wanted = value.partition("=")

    def fits(image: Image) -> bool:
        labels = read_image(store, image.manifest).config.config.labels or {}
        return key in labels and (not equals or labels[key] == wanted)

    return fits


def _no_label(store: Store, value: str) -> Condition:
    fits = _label(store, value)
    return lambda image: not fits(image)


def _reference(store: Store, value: str) -> Condition:
    pattern = _glob(value)
    named = None if set(value) & set("*?[") else store.images.resolve(value)

    def fits(image: Image) -> bool:
        if named is not None and named.manifest == image.manifest:
            return True
        return any(pattern.fullmatch(form) for name in image.names for form in _forms(name))

    return fits


def _until(store: Store, value: str) -> Condition:
    limit = _moment(value)
    return lambda image: image.created_ns < limit


_KINDS: dict[str, Callable[[Store, str], Condition]] = {
    "after": _since,
    "before": _before,
    "containers": _containers,
    "dangling": _dangling,
    "id": _id,
    "label": _label,
    "label!": _no_label,
    "reference": _reference,
    "since": _since,
    "until": _until,
}


def _truth(key: str, value: str) -> bool:
    if value.lower() not in ("true", "false", "1", "0", "t", "f"):
        raise FilterError(f"--filter {key}={value}: expected true or false")
    return value.lower() in ("true", "1", "t")


def _forms(name: str) -> Iterable[str]:
    """A name in each length that a pattern may mean: with and without registry, path and tag."""
    repository = name.partition("@")[0]
    head, slash, last = repository.rpartition("/")
    bare = f"{head}{slash}{last.partition(':')[0]}"
    for form in (name, bare):
        yield form
        yield form.partition("/")[2]
        yield form.rpartition("/")[2]


def _glob(pattern: str) -> re.Pattern[str]:
    """Go's path.Match: a star and a question mark stop at a slash."""
    parts = re.split(r"(\*|\?|\[[^]]*\])", pattern)
    wild = {"*": "[^/]*", "?": "[^/]"}
    text = "".join(
        wild.get(part) or (part if part.startswith("[") else re.escape(part)) for part in parts
    )
    try:
        return re.compile(text)
    except re.error:
        raise FilterError(f"--filter reference={pattern}: not a pattern") from None


def _moment(text: str) -> int:
    """Nanoseconds since 1970 of a time, a UNIX time, or a duration before now."""
    if text.isdecimal():
        return int(text) * _NANOSECONDS["s"]
    if _DURATION.fullmatch(text):
        parts = _DURATION_PART.findall(text)
        return time.time_ns() - int(sum(float(n) * _NANOSECONDS[unit] for n, unit in parts))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise FilterError(
            f"--filter until={text}: expected a time (RFC 3339 or UNIX) or a duration such as 10m"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * _NANOSECONDS["s"]
