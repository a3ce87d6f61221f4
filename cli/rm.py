"""`imagefs rm`: containers, with what they wrote."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from imagefs_cli.context import Settings, pass_settings

if TYPE_CHECKING:
    from imagefs.runtime.engine import Engine

_NOT_FOUND, _IN_USE, _OTHER = 1, 2, 125


@click.command(short_help="Remove containers")
@click.argument("containers", nargs=-1, metavar="CONTAINER…")
@click.option("--all", "-a", "every", is_flag=True, help="All containers.")
@click.option("--force", "-f", is_flag=True, help="Running ones too: they are killed.")
@click.option("--ignore", "-i", is_flag=True, help="Containers that do not exist are no error.")
@click.option(
    "--cidfile",
    "cidfiles",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Read an id from a file.",
)
@click.option(
    "--volumes", "-v", is_flag=True, help="Accepted: anonymous volumes go with their container."
)
@pass_settings
def rm(
    settings: Settings,
    containers: tuple[str, ...],
    every: bool,
    force: bool,
    ignore: bool,
    cidfiles: tuple[Path, ...],
    volumes: bool,
) -> int:
    """Remove each CONTAINER, by name or id, and all that it wrote.

    Exits with 1 if a container was not found, 2 if one is running, 125 if anything else failed.
    """
    from imagefs.runtime.engine import existing

    named = [*containers, *(path.read_text().strip() for path in cidfiles)]
    if every and named:
        raise click.UsageError("--all takes no container names")
    if not every and not named:
        raise click.UsageError("name a container, or use --all")
    engine = existing(settings.store, os.environ)
    if every:
        named = [record.id for record in settings.store.containers.list()]
    codes = {_remove(engine, name, force, ignore or every or force) for name in named}
    return next((code for code in (_IN_USE, _OTHER, _NOT_FOUND) if code in codes), 0)


def _remove(engine: Engine, name: str, force: bool, ignore: bool) -> int:
    """Remove one and print what was asked for; 0, or the code of what was in the way."""
    from imagefs.errors import ImagefsError
    from imagefs.runtime.errors import NoSuchContainerError

    try:
        record = engine.find(name)
        engine.remove(record, force=force)
    except NoSuchContainerError as error:
        if ignore:
            return 0
        click.echo(f"Error: {error}", err=True)
        return _NOT_FOUND
    except ImagefsError as error:
        click.echo(f"Error: {error}", err=True)
        return error.exit_code
    click.echo(name)
    return 0
