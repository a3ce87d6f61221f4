"""`imagefs system`: what the store takes, freeing what nobody needs, and finding what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from imagefs_cli.context import Settings, pass_settings
from imagefs_cli.human import size
from imagefs_cli.listing import listing_options, show

if TYPE_CHECKING:
    from imagefs.store.df import Usage

_USAGE = {
    "Type": "TYPE",
    "Total": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}
_FREED = {"Kind": "KIND", "Name": "NAME", "Size": "SIZE"}
_PROBLEM = {"Kind": "KIND", "Where": "WHERE", "Message": "MESSAGE"}


@click.group(short_help="Look after the store: df, gc, fsck")
def system() -> None:
    """Look after the store."""


@system.command(short_help="Show what takes how much space")
@listing_options
@pass_settings
def df(settings: Settings, /, template: str | None, as_json: bool) -> None:
    """Show what takes how much space on disk.

    'Images' sums up the next two lines: 'Layer content' is files' bytes, which `gc --content` frees
    and which are fetched again when they are read; 'Layer indexes' is what makes that possible.
    ACTIVE counts what mounts and containers use.
    """
    rows = [_usage(usage) for usage in settings.store.df()]
    show(rows, _USAGE, template=template, as_json=as_json)


@system.command(short_help="Free what nothing refers to")
@click.option(
    "--content",
    is_flag=True,
    help="Free also the content of layers that are not mounted; their indexes stay, and reads "
    "fetch it again.",
)
@listing_options
@pass_settings
def gc(settings: Settings, /, content: bool, template: str | None, as_json: bool) -> None:
    """Free what no name, mount, container or running command refers to; images without name too.

    Prints what was freed, and on stderr what was left because it is in use.
    """
    report = settings.store.gc(content=content)
    rows = [{"Kind": one.kind, "Name": one.name, "Size": size(one.size)} for one in report.freed]
    records = [{"Kind": one.kind, "Name": one.name, "Size": one.size} for one in report.freed]
    if template or as_json:
        show(rows, _FREED, template=template, as_json=as_json, records=records)
    else:
        for row in rows:
            click.echo(f"{row['Kind']} {row['Name']} {row['Size']}")
        click.echo(f"Total reclaimed space: {size(report.size)}")
    for line in report.kept:
        click.echo(f"Kept: {line}", err=True)


@system.command(short_help="Find what is wrong with the store")
@listing_options
@pass_settings
def fsck(settings: Settings, /, template: str | None, as_json: bool) -> int:
    """Recompute every digest and follow every reference; print a line for all that is wrong.

    Repairs nothing. Exits with 1 if anything is wrong.
    """
    problems = settings.store.fsck()
    if template or as_json:
        rows: list[dict[str, Any]] = [
            {"Kind": problem.kind, "Where": problem.where, "Message": problem.message}
            for problem in problems
        ]
        show(rows, _PROBLEM, template=template, as_json=as_json)
    else:
        for problem in problems:
            click.echo(str(problem))
    return 1 if problems else 0


def _usage(usage: Usage) -> dict[str, Any]:
    """A line under podman's names of the fields."""
    share = round(100 * usage.reclaimable / usage.size) if usage.size else 0
    return {
        "Type": usage.type,
        "Total": usage.total,
        "Active": usage.active,
        "RawSize": usage.size,
        "RawReclaimable": usage.reclaimable,
        "TotalCount": usage.total,
        "Size": size(usage.size),
        "Reclaimable": f"{size(usage.reclaimable)} ({share}%)",
    }
