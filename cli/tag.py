"""`imagefs tag`: another name for an image of the store."""

from __future__ import annotations

import re

import click

from imagefs_cli.context import Settings, pass_settings

#: What would be taken for an id and so never be found by name.
_ID = re.compile(r"[0-9a-f]{64}")


@click.command(short_help="Give an image another name")
@click.argument("image")
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
@pass_settings
def tag(settings: Settings, image: str, names: tuple[str, ...]) -> None:
    """Give IMAGE each NAME too, taking it from an image that had it.

    A NAME without a registry is one of localhost, one without a tag has the tag latest.
    """
    from imagefs.oci.reference import Reference

    for name in names:
        reference = Reference.parse(name.removeprefix("docker://"))
        if reference.digest is not None:
            raise click.UsageError(f"{name}: a name to give has no digest: write NAME:TAG")
        if _ID.fullmatch(reference.path):
            raise click.UsageError(f"{name}: that is an image's id: write NAME:TAG")
    store = settings.store
    found = store.images.require(image)
    for name in names:
        store.images.tag(name, found.manifest)
