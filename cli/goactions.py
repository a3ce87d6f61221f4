"""What stands between the braces of a Go template: its words, and what they mean. Renders nothing.

An action becomes a getter, a function of `.` and the variables in scope; or a node that holds some.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from imagefs_cli.gofunctions import FUNCTIONS, go_text

Scope = Mapping[str, Any]
Getter = Callable[[Any, Scope], Any]

_TOKEN = re.compile(
    r"\s*(?:(?P<text>\"(?:\\.|[^\"\\])*\"|`[^`]*`)|(?P<number>-?\d+(?:\.\d+)?)"
    r"|(?P<field>(?:\.[A-Za-z_]\w*)+)|(?P<variable>\$\w*)|(?P<word>[A-Za-z_]\w*)"
    r"|(?P<sign>:=|[.|(),]))"
)
_CONSTANTS = {"true": True, "false": False, "nil": None}
_NOTHING = object()


class TemplateError(click.UsageError):
    """A template that is not well formed or does not suit its value."""

    def __init__(self, why: str) -> None:
        super().__init__(f"--format: {why}")


@dataclass
class Block:
    """An `if`, `range` or `with`: what it is about, and what it shows."""

    kind: str
    subject: Getter
    names: Sequence[str]
    body: list[Node] = field(default_factory=list)
    other: list[Node] = field(default_factory=list)


@dataclass
class Assign:
    """`$name := value`."""

    name: str
    value: Getter


Node = str | Block | Assign | Getter


class Words:
    """The tokens of one action, read from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str]] = []
        position = 0
        while text[position:].strip():
            found = _TOKEN.match(text, position)
            if found is None:
                raise self._error(text[position:].strip()[:20])
            assert found.lastgroup is not None
            self._tokens.append((found.lastgroup, found[found.lastgroup]))
            position = found.end()
        self._next = 0

    @property
    def done(self) -> bool:
        """Whether no token is left."""
        return self._next >= len(self._tokens)

    def head(self) -> str:
        """The next token's text, "" at the end."""
        return "" if self.done else self._tokens[self._next][1]

    def take(self) -> tuple[str, str]:
        """The next token, kind and text; TemplateError at the end."""
        if self.done:
            raise self._error("its end")
        self._next += 1
        return self._tokens[self._next - 1]

    def block(self) -> Block:
        """An `if`, `range` or `with`."""
        kind = self.take()[1]
        if kind not in ("if", "range", "with"):
            raise self._error(kind)
        names = self._assigned()
        return Block(kind, self._whole(), names)

    def statement(self) -> Node:
        """An assignment, or a value to print."""
        names = self._assigned()
        value = self._whole()
        return Assign(names[0], value) if names else value

    def _assigned(self) -> list[str]:
        """The variables before `:=`, if it is there."""
        ahead = [text for _, text in self._tokens[self._next :]]
        if ":=" not in ahead:
            return []
        names: list[str] = []
        while not names or self.head() == ",":
            if names:
                self.take()
            kind, text = self.take()
            if kind != "variable":
                raise self._error(text)
            names.append(text)
        if self.take()[1] != ":=":
            raise self._error("variable")
        return names

    def _whole(self) -> Getter:
        value = self._pipeline()
        if not self.done:
            raise self._error(self.head())
        return value

    def _pipeline(self) -> Getter:
        value = self._command(None)
        while self.head() == "|":
            self.take()
            value = self._command(value)
        return value

    def _command(self, last: Getter | None) -> Getter:
        """A function with its arguments, or one operand; `last` is what a pipe brings."""
        kind, text = self._tokens[self._next] if not self.done else ("", "")
        if kind == "word" and text not in _CONSTANTS:
            self.take()
            if text not in FUNCTIONS:
                known = ", ".join(sorted(FUNCTIONS))
                raise TemplateError(f"no function {text!r} (there are: {known})")
            arguments = [*self._operands(), *([last] if last is not None else [])]
            return lambda dot, scope: _call(text, [get(dot, scope) for get in arguments])
        operands = self._operands()
        if len(operands) != 1 or last is not None:
            raise self._error(text or "its end")
        return operands[0]

    def _operands(self) -> list[Getter]:
        operands = []
        while not self.done and self.head() not in ("|", ")"):
            operands.append(self._operand())
        return operands

    def _operand(self) -> Getter:
        kind, text = self.take()
        if kind == "text":
            return _constant(text[1:-1] if text[0] == "`" else _unquoted(text))
        if kind == "number":
            return _constant(float(text) if "." in text else int(text))
        if kind == "word" and text in _CONSTANTS:
            return _constant(_CONSTANTS[text])
        if kind == "word":
            self._next -= 1
            return self._command(None)
        if kind == "field":
            return _path(lambda dot, _: dot, text)
        if text == ".":
            return lambda dot, _: dot
        if kind == "variable":
            return self._with_field(lambda _, scope: _variable(scope, text))
        if text == "(":
            inner = self._pipeline()
            if self.take()[1] != ")":
                raise self._error("its end")
            return self._with_field(inner)
        raise self._error(text)

    def _with_field(self, base: Getter) -> Getter:
        if not self.done and self._tokens[self._next][0] == "field":
            return _path(base, self.take()[1])
        return base

    def _error(self, what: str) -> TemplateError:
        return TemplateError(f"{{{{{self._text[:60]}}}}}: unexpected {what}")


def _constant(value: Any) -> Getter:
    return lambda _dot, _scope: value


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(text, strict=False))
    except ValueError:
        raise TemplateError(f"{text}: not a string") from None


def _variable(scope: Scope, name: str) -> Any:
    if name not in scope:
        raise TemplateError(f"no variable {name}")
    return scope[name]


def _path(base: Getter, dotted: str) -> Getter:
    names = dotted[1:].split(".")

    def get(dot: Any, scope: Scope) -> Any:
        value = base(dot, scope)
        for name in names:
            value = _member(value, name, value is scope["$"])
        return value

    return get


def _member(value: Any, name: str, is_root: bool) -> Any:
    """A field; what the root does not have is an error, deeper it has no value."""
    if isinstance(value, Mapping):
        found = value.get(name, _NOTHING)
        if found is _NOTHING and is_root:
            raise TemplateError(f"no field {name!r} (there are: {', '.join(value)})")
        return None if found is _NOTHING else found
    if value is None:
        return None
    raise TemplateError(f"no field {name!r} in {go_text(value)[:40]!r}")


def _call(name: str, arguments: Sequence[Any]) -> Any:
    try:
        return FUNCTIONS[name](*arguments)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise TemplateError(f"{name}: {error}") from None
