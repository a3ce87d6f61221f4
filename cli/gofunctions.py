"""The functions of templates, and how values print in Go. Knows no template.

text/template's functions, and those that podman adds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any


def go_text(value: Any) -> str:
    """A value as Go's %v prints it."""
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{k}:{go_text(v)}" for k, v in sorted(value.items())) + "]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(go_text(item) for item in value) + "]"
    return str(value)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else value[key]
    return value


def _and(*values: Any) -> Any:
    return next((value for value in values if not value), values[-1])


def _or(*values: Any) -> Any:
    return next((value for value in values if value), values[-1])


def _printf(form: str, *values: Any) -> str:
    shown = iter(values)

    def verb(found: re.Match[str]) -> str:
        if found[2] == "%":
            return "%"
        value = next(shown)
        if found[2] == "q":
            return json.dumps(go_text(value), ensure_ascii=False)
        if found[2] == "d":
            return str(f"%{found[1]}d" % value)
        return f"%{found[1]}s" % go_text(value)

    try:
        return re.sub(r"%([-0-9.]*)([%sdvq])", verb, form)
    except StopIteration:
        raise ValueError(f"{form!r} wants more values") from None


#: Each raises TypeError, ValueError, KeyError, IndexError or AttributeError for what it can't take.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "and": _and,
    "eq": lambda first, *others: any(first == other for other in others),
    "ge": lambda a, b: a >= b,
    "gt": lambda a, b: a > b,
    "index": _index,
    "join": lambda items, glue: glue.join(map(go_text, items)),
    "json": lambda value: json.dumps(value, separators=(",", ":"), default=str),
    "le": lambda a, b: a <= b,
    "len": lambda value: len(value or ()),
    "lower": lambda text: text.lower(),
    "lt": lambda a, b: a < b,
    "ne": lambda a, b: a != b,
    "not": lambda value: not value,
    "or": _or,
    "print": lambda *values: "".join(map(go_text, values)),
    "printf": _printf,
    "println": lambda *values: " ".join(map(go_text, values)) + "\n",
    "split": lambda text, glue: text.split(glue),
    "title": lambda text: text.title(),
    "upper": lambda text: text.upper(),
}
