"""Header fields and error bodies of the distribution API: ranges, links, messages. Pure parsing."""

from __future__ import annotations

import json
import re
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from imagefs.registry.errors import BadResponse

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_UPLOAD_RANGE = re.compile(r"(?:bytes=)?(\d{1,18})-(\d{1,18})")
_LINK = re.compile(r"<([^<>]*)>((?:\s*;[^,<]*)*)")
_NEXT = re.compile(r";\s*rel\s*=\s*\"?next\"?", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_MESSAGE_LIMIT = 200


class ContentRange(NamedTuple):
    """First byte, number of bytes, and size of the whole if it was given."""

    start: int
    length: int
    total: int | None


def range_header(offset: int, length: int | None = None) -> str:
    """The Range field for `length` bytes (None: to the end) at `offset`."""
    return f"bytes={offset}-" if length is None else f"bytes={offset}-{offset + length - 1}"


def parse_content_range(value: str | None) -> ContentRange:
    """A 206's Content-Range; raises BadResponse."""
    match = _CONTENT_RANGE.fullmatch(value or "")
    if match is None:
        raise BadResponse(f"the registry's Content-Range {(value or '')[:60]!r} is invalid")
    first, last = int(match[1]), int(match[2])
    total = None if match[3] == "*" else int(match[3])
    if last < first or (total is not None and last >= total):
        raise BadResponse(f"the registry's Content-Range {(value or '')[:60]!r} is invalid")
    return ContentRange(first, last - first + 1, total)


def uploaded(value: str | None) -> int:
    """How many bytes an upload has, by its Range field (`0-LAST`; absent or `0-0`: see below).

    distribution answers `0-0` for an upload without bytes as well as for one byte; a caller never
    sends a first chunk of one byte alone without finishing, so that 0-0 means none.
    """
    match = _UPLOAD_RANGE.fullmatch(value or "")
    if match is None or int(match[1]) != 0 or int(match[2]) == 0:
        return 0
    return int(match[2]) + 1


def next_link(values: list[str], base: str) -> str | None:
    """The URL of `Link: <…>; rel="next"` (RFC 8288), resolved; it must stay on the same origin."""
    for value in values:
        for match in _LINK.finditer(value):
            if _NEXT.search(match[2]):
                try:
                    url = str(urljoin(base, match[1]))
                    same = origin(url) == origin(base)
                except ValueError:
                    same = False
                if not same:
                    raise BadResponse("the registry's Link leads to another server")
                return url
    return None


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port; raises ValueError for what is no http(s) URL."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an http(s) URL")
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def one_line(text: str) -> str:
    """`text` without control characters, shortened: servers' words aren't printed raw."""
    text = _CONTROL.sub(" ", text).strip()
    return text if len(text) <= _MESSAGE_LIMIT else text[: _MESSAGE_LIMIT - 1] + "…"


def error_message(body: bytes) -> tuple[str, str]:
    """Code and message of an error body (distribution-spec, "Error Codes"); ("", "") if none."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    errors = document.get("errors") if isinstance(document, dict) else None
    first = errors[0] if isinstance(errors, list) and errors else None
    if not isinstance(first, dict):
        return "", ""
    code, message = first.get("code"), first.get("message")
    return (
        one_line(code) if isinstance(code, str) else "",
        one_line(message) if isinstance(message, str) else "",
    )
