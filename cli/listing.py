"""Lists as podman prints them: columns, JSON, or by a Go template. Knows no verb."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from imagefs_cli.gotemplate import Template

F = TypeVar("F", bound=Callable[..., Any])
Row = Mapping[str, Any]

_FIELD = re.compile(r"\{\{\s*(json\s+)?\.(\w*)\s*\}\}")
#: As podman's columns.
_NARROWEST = 10


def listing_options(function: F) -> F:
    """`--format` and `--json`, which every listing takes."""
    function = click.option("--json", "as_json", is_flag=True, help="The same as --format json.")(
        function
    )
    return click.option(
        "--format",
        "template",
        metavar="FORMAT",
        help="'json', or a template such as '{{.ID}} {{.Names}}' ('table …' for a heading).",
    )(function)


def show(
    rows: Sequence[Row],
    columns: Mapping[str, str],
    *,
    template: str | None = None,
    as_json: bool = False,
    records: Sequence[Row] | None = None,
    heading: bool = True,
) -> None:
    """Print `rows`, whose fields `columns` gives headings for; `records` is what JSON shows
    instead.
    """
    if as_json or template == "json":
        click.echo(json.dumps(list(rows if records is None else records), indent=4, default=str))
    elif template is None:
        _columns(
            [[str(row[field]) for field in columns] for row in rows], columns.values(), heading
        )
    else:
        _templated(rows, columns, template.replace("\\t", "\t").replace("\\n", "\n"), heading)


def _templated(
    rows: Sequence[Row], columns: Mapping[str, str], template: str, heading: bool
) -> None:
    table = template.startswith("table ")
    if table:
        template = _tabbed(template.removeprefix("table ").strip())
    parsed = Template(template)
    lines = [parsed.render(row) for row in rows]
    if not table:
        for line in lines:
            click.echo(line)
        return
    titles = _FIELD.sub(lambda found: columns.get(found[2], found[2].upper()), template)
    _columns([line.split("\t") for line in lines], titles.split("\t"), heading)


def _tabbed(template: str) -> str:
    """With a tab for each blank between actions: `table {{.ID}} {{.Tag}}` has two columns."""
    pieces = re.split(r"(\{\{.*?\}\})", template)
    return "".join(p if p.startswith("{{") else p.replace(" ", "\t") for p in pieces)


def _columns(rows: Sequence[Sequence[str]], titles: Any, heading: bool) -> None:
    lines = [list(titles), *rows] if heading else list(rows)
    widths = [max(_NARROWEST, *map(len, column)) for column in zip(*lines, strict=False)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        click.echo("  ".join(cells).rstrip())
