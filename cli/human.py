"""Sizes and ages as podman shows them (docker/go-units). Measures nothing."""

from __future__ import annotations

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_MINUTE, _HOUR = 60, 3600


def size(count: int, digits: int = 4, space: str = "") -> str:
    """`count` bytes with `digits` significant digits: 125.5kB."""
    value = float(count)
    for unit in _UNITS:
        if value < 1000 or unit == _UNITS[-1]:
            break
        value /= 1000
    return f"{value:.{digits}g}{space}{unit}"


def age(nanoseconds: int) -> str:
    """How long something has been so, in words: `3 weeks`."""
    seconds = max(0, nanoseconds // 1_000_000_000)
    hours = int(seconds / _HOUR + 0.5)
    if seconds < 1:
        return "Less than a second"
    if seconds < _MINUTE:
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    if seconds < _HOUR:
        minutes = seconds // _MINUTE
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    days = hours // 24
    if days < 14:
        return f"{days} days"
    if days < 60:
        return f"{days // 7} weeks"
    if days < 730:
        return f"{days // 30} months"
    return f"{days // 365} years"
