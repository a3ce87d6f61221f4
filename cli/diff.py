"""`imagefs diff`: what changed in a mount or a container, or between an image and its base."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

from imagefs_cli.context import Settings, pass_settings, type_option
from imagefs_cli.target import find_any

if TYPE_CHECKING:
    from imagefs.store import Image, Store
    from imagefs.upper.changes import Change

_WORDS = {"A": "added", "C": "changed", "D": "deleted"}


@click.command(short_help="Show what changed in a mount, a container or an image")
@click.argument("name")
@click.option("--format", "template", metavar="json", help="'json' for a JSON object.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@type_option("What NAME is.")
@pass_settings
def diff(settings: Settings, name: str, template: str | None, as_json: bool, kind: str) -> None:
    """List the changes of NAME: A added, C changed, D deleted.

    NAME is a container, a mount (its id or directory), or an image: then the changes are those of
    its top layer.
    """
    from imagefs.store import Image

    if template not in (None, "json"):
        raise click.UsageError("--format: only 'json' is supported")
    target = find_any(settings.store, name, kind)
    if isinstance(target, Image):
        changes = _of_image(settings.store, target)
    else:
        from imagefs.image.commit import open_diff

        with open_diff(settings.store, target) as found:
            changes = list(found.changes())
        if target.container is not None:
            from imagefs.runtime.committing import PLUMBING

            changes = [change for change in changes if change.path not in PLUMBING]
    if as_json or template == "json":
        lists: dict[str, list[str]] = {}
        for change in changes:
            lists.setdefault(_WORDS[change.kind], []).append("/" + os.fsdecode(change.path))
        click.echo(json.dumps(lists))
        return
    for change in changes:
        click.echo(f"{change.kind} /".encode() + change.path)


def _of_image(store: Store, image: Image) -> list[Change]:
    from imagefs.image.diff import changes_between

    below = store.tree(image.layers[:-1])
    return list(changes_between(below, store.tree(image.layers)))
