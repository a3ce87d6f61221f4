"""`imagefs umount`: takes a mount away; what was written is kept unless told otherwise."""

from __future__ import annotations

import click

from imagefs.errors import ImagefsError
from imagefs_cli.context import Settings, pass_settings
from imagefs_cli.errors import complain


@click.command(short_help="Unmount a directory that an image is mounted on")
@click.argument("targets", nargs=-1, metavar="DIRECTORY|ID…")
@click.option("--all", "-a", "every", is_flag=True, help="Unmount all mounts of the store.")
@click.option("--force", "-f", is_flag=True, help="Detach even if somebody still uses it.")
@click.option("--discard", is_flag=True, help="Drop what was written.")
@pass_settings
def umount(
    settings: Settings, targets: tuple[str, ...], every: bool, force: bool, discard: bool
) -> int:
    """Unmount each DIRECTORY (or mount ID) and print the mount's id.

    What was written is flushed and kept: `imagefs mounts --all` lists it and `imagefs mount
    --resume` brings it back.
    """
    from imagefs.mount import api

    if every and targets:
        raise click.UsageError("--all takes no directory or id")
    if not every and not targets:
        raise click.UsageError("name a directory or an id, or use --all")
    store = settings.store
    if every:
        targets = tuple(s.record.id for s in api.list_mounts(store) if s.mounted is not None)
    status = 0
    for target in targets:
        try:
            click.echo(api.umount(store, target, force=force, discard=discard).id)
        except ImagefsError as error:
            complain(error)
            status = max(status, error.exit_code)
    return status
