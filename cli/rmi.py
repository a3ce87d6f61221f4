"""`imagefs rmi`: names of images, and with the last of them the image, out of the store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from imagefs_cli.context import Settings, pass_settings
from imagefs_cli.errors import complain

if TYPE_CHECKING:
    from imagefs.store import Store

_NOT_FOUND, _IN_USE, _OTHER = 1, 2, 125


@click.command(short_help="Remove images from the store")
@click.argument("images", nargs=-1, metavar="IMAGE…")
@click.option("--all", "-a", "every", is_flag=True, help="All images.")
@click.option(
    "--force",
    "-f",
    is_flag=True,
    help="Take all its names from an image given by id, and the names of one in use: it is "
    "kept without a name until its mounts and containers are removed.",
)
@click.option("--ignore", "-i", is_flag=True, help="Images that do not exist are no error.")
@pass_settings
def rmi(settings: Settings, images: tuple[str, ...], every: bool, force: bool, ignore: bool) -> int:
    """Remove each IMAGE: a name is taken away, and with its last name the image goes.

    Exits with 1 if an image was not found, 2 if one is in use, 125 if anything else failed.
    """
    if every and images:
        raise click.UsageError("--all takes no image names")
    if not every and not images:
        raise click.UsageError("name an image, or use --all")
    store = settings.store
    failures: set[int] = set()
    for image in _all(store) if every else images:
        code = _remove(store, image, force, ignore or every)
        failures.add(code)
    if _IN_USE in failures:
        return _IN_USE
    return _OTHER if _OTHER in failures else max(failures, default=0)


def _all(store: Store) -> Iterator[str]:
    """Every name, and the digest of every image without one."""
    for image in store.images.list():
        yield from image.names or (str(image.manifest),)


def _remove(store: Store, image: str, force: bool, ignore: bool) -> int:
    """Remove one and say so; 0, or the code of what was in the way."""
    from imagefs.errors import ImagefsError
    from imagefs.store import InUseError, NoSuchImageError

    try:
        report = store.rmi(image, force=force)
    except NoSuchImageError as error:
        return 0 if ignore else _failed(error, _NOT_FOUND)
    except InUseError as error:
        return _failed(error, _OTHER if _has_names_only(store, image) else _IN_USE)
    except ImagefsError as error:
        return _failed(error, _OTHER)
    for name in report.untagged:
        click.echo(f"Untagged: {name}")
    if report.removed is not None:
        click.echo(f"Deleted: {report.removed}")
    if report.pinned_by:
        users = ", ".join(report.pinned_by)
        click.echo(f"Warning: {image}: kept without a name: in use by {users}", err=True)
    return 0


def _has_names_only(store: Store, text: str) -> bool:
    """Whether what is in the way is that an id has several names: to podman that is no use."""
    image = store.images.resolve(text)
    return image is not None and len(image.names) > 1 and store.images.name_of(text) is None


def _failed(error: Exception, code: int) -> int:
    complain(error)
    return code
