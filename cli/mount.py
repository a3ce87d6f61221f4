"""`imagefs mount`: an image on a directory, ready when its table of contents is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from imagefs_cli.context import (
    Settings,
    access_of,
    access_options,
    image_options,
    pass_settings,
)

#: The last one means "no change" to chown(2).
_ID = click.IntRange(0, (1 << 32) - 2)


@click.command(short_help="Mount an image on a directory")
@click.argument("what", nargs=-1, metavar="IMAGE DIRECTORY")
@click.option("--read-only", is_flag=True, help="Refuse every change.")
@click.option("--uid", type=_ID, help="Show all files as owned by this user.")
@click.option("--gid", type=_ID, help="Show all files as of this group.")
@click.option(
    "--allow-other/--no-allow-other", default=None, help="Let other users in (default: as root)."
)
@click.option("--non-empty", is_flag=True, help="Allow a directory that has files in it.")
@click.option(
    "--driver",
    type=click.Choice(["auto", "fuse", "composed"]),
    default="auto",
    show_default=True,
    help="How to mount.",
)
@click.option("--resume", metavar="ID", help="Mount what `mounts --all` lists as kept, again.")
@image_options
@access_options
@pass_settings
def mount(settings: Settings, /, what: tuple[str, ...], **options: Any) -> None:
    """Mount IMAGE on DIRECTORY and print the mount's id.

    IMAGE is a name as podman takes it (the store first, then a registry), docker://NAME or
    oci:DIR:TAG. What is written goes to an upper directory that `imagefs commit` makes an image of,
    and that is kept until `imagefs umount --discard` or `imagefs mounts rm`. With `--resume ID`
    there is no IMAGE.
    """
    from imagefs.errors import UnsupportedError
    from imagefs.mount import api
    from imagefs.upper import Squash

    expected = ("DIRECTORY",) if options["resume"] is not None else ("IMAGE", "DIRECTORY")
    if len(what) != len(expected):
        raise click.UsageError(f"expected {' and '.join(expected)}, got {len(what)} arguments")
    directory = Path(what[-1])
    if options["driver"] == "composed":
        raise UnsupportedError("--driver composed: not in this version: use fuse or auto")
    uid, gid = options["uid"], options["gid"]
    squash = None
    if uid is not None or gid is not None:
        squash = Squash(uid if uid is not None else 0, gid if gid is not None else 0)
    how = api.MountOptions(
        read_only=options["read_only"],
        squash=squash,
        nonempty=options["non_empty"],
        allow_other=options["allow_other"],
    )
    if options["resume"] is not None:
        click.echo(api.resume(settings.store, options["resume"], directory, how).id)
        return
    api.check_mountpoint(directory, how.nonempty)
    api.check_host()
    click.echo(_mount(settings, what[0], directory, how, options))


def _mount(settings: Settings, image: str, directory: Path, how: Any, options: Any) -> str:
    from imagefs.mount import api

    access = access_of(options)
    store = settings.store
    with api.start_early(store) as start:
        from imagefs_cli.finding import find  # while the server starts

        found = find(store, image, access, options)
        name = next(iter(found.names), image)
        return api.mount(store, found, directory, how, name=name, access=access, start=start).id
