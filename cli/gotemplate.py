"""Go's text/template for `--format`: parse and render values that JSON has. Runs nothing else.

Theory of operation. A template is cut into text and actions (`{{…}}`, with `-` to trim), of which
a tree of nodes is built (goactions.py has the inside of actions); `render` walks it with the value
that `.` means and the variables in scope.
Values are what JSON has; they print as Go prints them: `[a b]`, `map[k:v]`, `true`, `<no value>`.

Done: fields, variables, pipelines, parentheses, if / else if / else, range, with, comments, and the
functions of gofunctions.py. Not done: define, template, block, break, continue; they are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from imagefs_cli.goactions import Assign, Block, Node, Scope, TemplateError, Words
from imagefs_cli.gofunctions import go_text

__all__ = ["Template", "TemplateError"]

_ACTION = re.compile(
    r"(\s*)\{\{(- )?\s*(/\*.*?\*/|(?:\"(?:\\.|[^\"\\])*\"|`[^`]*`|[^\"`])*?)\s*( -)?\}\}", re.S
)


class Template:
    """A parsed template; raises TemplateError."""

    def __init__(self, text: str) -> None:
        tree = _Tree()
        try:
            for piece in _pieces(text):
                tree.add(piece)
        except RecursionError:
            raise TemplateError("nested too deeply") from None
        self._nodes = tree.finish()

    def render(self, value: Any) -> str:
        """The text for `value`; raises TemplateError where it has no such field."""
        try:
            return "".join(_render(self._nodes, value, {"$": value}))
        except RecursionError:
            raise TemplateError("nested too deeply") from None


class _Tree:
    """Nodes in blocks, as they come."""

    def __init__(self) -> None:
        self._root: list[Node] = []
        self._current = self._root
        #: Each with the list it stands in, and whether its `end` is that of the block outside too.
        self._open: list[tuple[Block, list[Node], bool]] = []

    def add(self, piece: str | Words) -> None:
        """Text, or an action."""
        if isinstance(piece, str):
            self._current.append(piece)
            return
        head = piece.head()
        if head in ("if", "range", "with"):
            self._begin(piece.block(), chained=False)
        elif head == "else":
            self._else(piece)
        elif head == "end":
            self._end()
        elif head in ("define", "template", "block", "break", "continue"):
            raise TemplateError(f"{{{{{head}}}}} is not supported")
        else:
            self._current.append(piece.statement())

    def finish(self) -> list[Node]:
        """All nodes; TemplateError for a block without its end."""
        if self._open:
            raise TemplateError(f"{{{{{self._open[-1][0].kind}}}}} without {{{{end}}}}")
        return self._root

    def _begin(self, block: Block, chained: bool) -> None:
        self._current.append(block)
        self._open.append((block, self._current, chained))
        self._current = block.body

    def _else(self, words: Words) -> None:
        if not self._open or self._open[-1][0].other is self._current:
            raise TemplateError("{{else}} without {{if}}")
        self._current = self._open[-1][0].other
        words.take()
        if not words.done:
            self._begin(words.block(), chained=True)

    def _end(self) -> None:
        chained = True
        while chained:
            if not self._open:
                raise TemplateError("{{end}} without {{if}}, {{range}} or {{with}}")
            _, self._current, chained = self._open.pop()


def _pieces(text: str) -> Iterator[str | Words]:
    """Text and actions in turn."""
    position, trim = 0, False
    for found in _ACTION.finditer(text):
        before = text[position : found.start()]
        if not found[2]:
            before += found[1]
        yield before.lstrip() if trim else before
        if not found[3].startswith("/*"):
            yield Words(found[3])
        position, trim = found.end(), bool(found[4])
    rest = text[position:]
    if "{{" in rest:
        raise TemplateError(f"{rest[rest.index('{{') :][:40]!r}: an action without its end")
    yield rest.lstrip() if trim else rest


def _render(nodes: Sequence[Node], dot: Any, outer: Scope) -> Iterator[str]:
    scope = dict(outer)
    for node in nodes:
        if isinstance(node, str):
            yield node
        elif isinstance(node, Assign):
            scope[node.name] = node.value(dot, scope)
        elif isinstance(node, Block):
            yield from _render_block(node, dot, scope)
        else:
            yield go_text(node(dot, scope))


def _render_block(block: Block, dot: Any, scope: Scope) -> Iterator[str]:
    value = block.subject(dot, scope)
    if not value:
        yield from _render(block.other, dot, scope)
    elif block.kind == "range":
        for key, item in _items(value):
            pair = (key, item)[-len(block.names) :] if block.names else ()
            yield from _render(
                block.body, item, {**scope, **dict(zip(block.names, pair, strict=False))}
            )
    else:
        named = {**scope, **dict.fromkeys(block.names, value)}
        yield from _render(block.body, value if block.kind == "with" else dot, named)


def _items(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return sorted(value.items())
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    raise TemplateError(f"range can't go over {go_text(value)[:40]!r}")
