"""`imagefs commit`: what changed in a mount or a container becomes an image in the store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imagefs_cli.context import Settings, pass_settings, type_option
from imagefs_cli.target import Target, container_of, find_any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imagefs.store import Store, StoredLayer
    from imagefs.tree import Content


@click.command(short_help="Make an image of what changed in a mount or a container")
@click.argument("target", metavar="CONTAINER|MOUNT|IMAGE")
@click.argument("image", required=False)
@click.option("--author", "-a", default="", help="Who made the image.")
@click.option(
    "--change",
    "-c",
    "changes",
    multiple=True,
    metavar="INSTRUCTION",
    help="A Dockerfile instruction for the config: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, "
    "STOPSIGNAL, USER, VOLUME, WORKDIR.",
)
@click.option(
    "--format",
    "-f",
    "form",
    type=click.Choice(["oci", "docker"]),
    default="oci",
    show_default=True,
    help="Format of the manifest.",
)
@click.option("--iidfile", type=click.Path(path_type=Path), help="Write the image's id to a file.")
@click.option("--message", "-m", default="", help="A comment for the history.")
@click.option("--squash", "-s", is_flag=True, help="Make one layer of the whole tree.")
@click.option("--quiet", "-q", is_flag=True, help="Show no progress.")
@type_option("What the first argument is.")
@pass_settings
def commit(
    settings: Settings,
    target: str,
    image: str | None,
    author: str,
    changes: tuple[str, ...],
    form: str,
    iidfile: Path | None,
    message: str,
    squash: bool,
    quiet: bool,
    kind: str,
) -> None:
    """Make an image called IMAGE of what changed in a mount or container, and print its id.

    The changes become one layer above those of the image below, which are referred to and not
    touched. A mount is named by its id or directory, and stays as it is; of an image only the
    config changes. The image is in the store only until `imagefs push`.
    """
    from imagefs.image.commit import CommitOptions, commit_image
    from imagefs.image.commit import commit as commit_mount
    from imagefs.store import Image
    from imagefs.transport import Access

    store = settings.store
    found = find_any(store, target, kind)
    access = Access() if isinstance(found, Image) else Access.from_record(found.access)
    home = next(iter(found.names), "") if isinstance(found, Image) else found.name

    def bring(layers: Sequence[StoredLayer], contents: Sequence[Content]) -> None:
        from imagefs.image.fetch import fetch

        if not quiet:
            size = sum(content.size for content in contents)
            click.echo(f"fetching {size} bytes of files that only moved or changed mode", err=True)
        fetch(store, layers, contents, access, home)

    options = CommitOptions(
        author=author,
        message=message,
        changes=changes,
        config=_container_config(store, found),
        squash=squash,
        format=form,
    )
    name = _kept_name(image)
    if isinstance(found, Image):
        made, warnings = commit_image(store, found, name, options, bring)
    else:
        made, warnings = commit_mount(store, found, name, options, bring)
    for line in warnings:
        print(f"Warning: {line}", file=sys.stderr)
    if iidfile is not None:
        iidfile.write_text(f"sha256:{made.id}")
    click.echo(made.id)


def _container_config(store: Store, found: Target) -> dict[str, Any] | None:
    container = container_of(store, found)
    if container is None:
        return None
    from imagefs.image.documents import read_image
    from imagefs.runtime.committing import image_config

    return image_config(container, read_image(store, container.manifest).config.config)


def _kept_name(image: str | None) -> str | None:
    if image is None:
        return None
    from imagefs.transport import parse_image_name

    name = parse_image_name(image)
    if name.layout is not None:
        raise click.UsageError("commit makes images in the store: push it to a layout afterwards")
    return str(name.reference)
