"""`imagefs cp`: files between an image, a mount or a container, and the host. Changes no image.

From an image nothing is mounted, and only what is copied is fetched.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from imagefs_cli.context import (
    Settings,
    access_of,
    access_options,
    image_options,
    pass_settings,
    platform_of,
)
from imagefs_cli.optional import OptionalValue

if TYPE_CHECKING:
    from imagefs.image.copyfrom import Item, Source
    from imagefs_cli.copying import Target


@click.command(short_help="Copy files between an image, mount or container and the host")
@click.argument("source", metavar="[IMAGE|MOUNT|CONTAINER:]PATH")
@click.argument("destination", metavar="[MOUNT|CONTAINER:]PATH")
@click.option(
    "--archive",
    cls=OptionalValue,
    metavar="[=BOOL]",
    is_flag=False,
    flag_value="true",
    type=bool,
    default=True,
    show_default=True,
    help="Give what is copied into a mount or container to its user; false: keep its owners.",
)
@click.option("-a", is_flag=True, expose_value=False, help="The same as --archive.")
@click.option(
    "--overwrite",
    is_flag=True,
    help="Let a directory take the place of a file, and a file that of a directory.",
)
@image_options
@access_options
@pass_settings
def cp(settings: Settings, /, source: str, destination: str, archive: bool, **options: Any) -> None:
    """Copy a file, or a directory and all in it, as podman-cp(1) does.

    IMAGE is a name as `imagefs mount` takes it; PATH begins after the last ':/'. A symlink that is
    named is followed, inside the image or mount. DIR/. means what is in DIR. A '-' in place of a
    path is a tar archive on stdin or stdout. An image does not change: mount it, copy into the
    mount, commit.
    """
    from imagefs.image.copyfrom import CopyError
    from imagefs.image.copyto import Directory
    from imagefs.image.find import Wanted
    from imagefs_cli import copying
    from imagefs_cli.progress import progress

    access = access_of(options)
    store = settings.store
    origin = copying.place_of(store, source)
    place = copying.refuse_image(copying.place_of(store, destination))
    if isinstance(origin, copying.OnHost) and isinstance(place, copying.OnHost):
        raise CopyError(f"{source}, {destination}: one of them must be NAME:PATH")
    with ExitStack() as stack:
        root, owner = None, (os.geteuid(), os.getegid())
        if isinstance(place, copying.InMount):
            root = stack.enter_context(copying.root_of(store, place.record))
            owner = copying.user_of(store, place.record, root)
        target = copying.Target(place, root)
        if source == "-":
            base, items = _from_stdin(target)
        else:
            shown = stack.enter_context(progress(options["quiet"]))
            wanted = Wanted(options["pull_policy"], platform_of(options["platform"]), access, shown)
            found = stack.enter_context(copying.open_source(store, origin, wanted))
            whole = not (origin.path.endswith("/.") or origin.path == ".") and found.name != b""
            if destination == "-":
                _to_stdout(found, whole)
                return
            if _into_device(found, target):
                return
            base, items = _placed(found, whole, target)
        keep = root is not None and not archive
        directory = Directory(
            target.inside(base),
            owner=None if keep else owner,
            overwrite=options["overwrite"],
            devices=root is not None,
        )
        with directory:
            for item in items:
                directory.put(item)
        for line in directory.warnings:
            click.echo(f"Warning: {line}", err=True)


def _from_stdin(target: Target) -> tuple[str, Iterator[Item]]:
    from imagefs.image.copyfrom import CopyError, tar_items

    if target.kind() != stat.S_IFDIR:
        raise CopyError(f"{target.shown}: a directory is needed to copy an archive from stdin to")
    return target.path, tar_items(sys.stdin.buffer)


def _to_stdout(source: Source, whole: bool) -> None:
    from imagefs.image.copyfrom import CopyError
    from imagefs.image.copyto import write_tar

    if sys.stdout.isatty():
        raise CopyError("-: a tar archive is no good on a terminal: redirect it")
    write_tar(_items(source, source.name if whole else b""), sys.stdout.buffer)


def _placed(source: Source, whole: bool, target: Target) -> tuple[str, Iterator[Item]]:
    """The directory that the items go into, and the items, as podman-cp(1) has the rules."""
    from imagefs.errors import NotFoundError
    from imagefs.image.copyfrom import CopyError

    kind = target.kind()
    if kind == stat.S_IFDIR:
        _check_outside(source, target)
        return target.path, _items(source, source.name if whole else b"")
    if kind is None:
        parent, _, name = target.path.rstrip("/").rpartition("/")
        if not source.is_directory and target.path.endswith("/"):
            raise NotFoundError(f"{target.shown}: no such directory")
        parent = parent or ("/" if target.path.startswith("/") or target.root else ".")
        return parent, source.items(os.fsencode(name))
    if source.is_directory:
        raise CopyError(f"{target.shown}: no directory: a directory can't be copied to it")
    parent, _, name = target.resolved().rpartition("/")
    return parent or "/", source.items(os.fsencode(name))


def _items(source: Source, name: bytes) -> Iterator[Item]:
    """The items below `name`; without one, what is in the directory and not itself."""
    for item in source.items(name):
        if item.entry.path:
            yield item


def _check_outside(source: Source, target: Target) -> None:
    from imagefs.image.copyfrom import CopyError, FileSource

    if isinstance(source, FileSource) and source.is_directory and source.holds(target.real()):
        raise CopyError(f"{target.shown}: a directory can't be copied into itself")


def _into_device(source: Source, target: Target) -> bool:
    """Write the bytes of a file to a device or pipe of the host, if that is the target."""
    from imagefs.image.copyto import write_all

    # What stdout was redirected to is not to be replaced.
    stdout = target.path == "/dev/stdout"
    plain = target.kind() in (None, stat.S_IFREG, stat.S_IFDIR) and not stdout
    if plain or source.is_directory or target.root is not None:
        return False
    fd = os.dup(1) if stdout else os.open(target.path, os.O_WRONLY)
    try:
        for item in source.items(b""):
            for piece in item.data:
                write_all(fd, piece)
    finally:
        os.close(fd)
    return True
