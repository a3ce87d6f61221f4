"""`imagefs mounts`: what is mounted, what is kept, and how to drop it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from imagefs_cli.context import Settings, pass_settings
from imagefs_cli.listing import listing_options, show

if TYPE_CHECKING:
    from imagefs.mount.table import MountStatus

_COLUMNS = {"id": "ID", "image": "IMAGE", "mountpoint": "MOUNTPOINT", "state": "STATE"}


@click.group(invoke_without_command=True, short_help="List mounts, or remove kept ones")
@click.option("--all", "-a", "every", is_flag=True, help="Also what is kept but not mounted.")
@listing_options
@click.pass_context
def mounts(ctx: click.Context, every: bool, template: str | None, as_json: bool) -> None:
    """List what is mounted.

    States: mounted; detached (not mounted, what was written is kept); gone (kept from before a
    reboot); dead (its server can't be started again: umount it).
    """
    if ctx.invoked_subcommand is not None:
        return
    from imagefs.mount.table import list_mounts

    settings: Settings = ctx.obj
    found = [s for s in list_mounts(settings.store) if every or s.mounted is not None]
    show([_row(status) for status in found], _COLUMNS, template=template, as_json=as_json)


@mounts.command("rm")
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
@pass_settings
def remove(settings: Settings, ids: tuple[str, ...]) -> None:
    """Drop what is kept of mounts that are not mounted any more, and print their ids."""
    from imagefs.errors import ConflictError
    from imagefs.mount.table import find_mount

    for text in ids:
        found = find_mount(settings.store, text)
        record = found.record
        if found.mounted is not None or found.served:
            raise ConflictError(f"{record.id}: mounted on {record.mountpoint}: umount it first")
        if record.container is not None:
            raise ConflictError(
                f"{record.id}: belongs to container {record.container[:12]}: use `imagefs rm`"
            )
        settings.store.mounts.remove(record.id)
        click.echo(record.id)


def _row(status: MountStatus) -> dict[str, Any]:
    record, running = status.record, status.running
    return {
        "id": record.id,
        "image": record.name,
        "digest": str(record.manifest),
        "mountpoint": record.mountpoint,
        "driver": record.driver,
        "read_only": record.read_only,
        "upper": record.upper,
        "container": record.container,
        "keeper_pid": running.keeper_pid if running else None,
        "server_pid": running.server_pid if running else None,
        "restarts": running.restarts if running else 0,
        "resend": running.resend if running else None,
        "state": status.state,
    }
