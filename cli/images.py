"""`imagefs images`: the images in the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from imagefs_cli.context import Settings, pass_settings
from imagefs_cli.human import age, size
from imagefs_cli.listing import listing_options, show

if TYPE_CHECKING:
    from imagefs.store import Image, Store

_HEADINGS = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "ID": "IMAGE ID",
    "Created": "CREATED",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "VirtualSize": "SIZE",
}
_COLUMNS = ("Repository", "Tag", "ID", "Created", "Size")
_SORTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "created": lambda row: -row["Image"].created_ns,
    "id": lambda row: row["Image"].id,
    "repository": lambda row: row["Repository"],
    "size": lambda row: row["Image"].size,
    "tag": lambda row: row["Tag"],
}
_SHORT_ID = 12


@click.command(short_help="List images in the store")
@click.argument("name", required=False, metavar="[IMAGE]")
@click.option("--all", "-a", "every", is_flag=True, help="Accepted: there are no hidden images.")
@click.option("--digests", is_flag=True, help="Show the manifests' digests too.")
@click.option(
    "--filter",
    "-f",
    "filters",
    multiple=True,
    metavar="KEY=VALUE",
    help="Show only those that fit: after, before, containers, dangling, id, label, reference, "
    "since, until.",
)
@click.option("--no-trunc", is_flag=True, help="Show ids whole.")
@click.option("--noheading", "-n", is_flag=True, help="Show no headings.")
@click.option("--quiet", "-q", is_flag=True, help="Show ids only.")
@click.option(
    "--sort", type=click.Choice(list(_SORTS)), default="created", show_default=True, help="By what."
)
@listing_options
@pass_settings
def images(
    settings: Settings,
    /,
    name: str | None,
    filters: tuple[str, ...],
    template: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """List the images in the store, or those that IMAGE, a name or an id, means."""
    store = settings.store
    found = _select(store, [*filters, *([f"reference={name}"] if name is not None else [])])
    if options["quiet"]:
        ids = dict.fromkeys(_id(image, options["no_trunc"]) for image in found)
        click.echo("".join(f"{one}\n" for one in ids), nl=False)
        return
    rows = [row for image in found for row in _rows(image, options["no_trunc"])]
    rows.sort(key=_SORTS[options["sort"]])
    columns = [*_COLUMNS[:2], *(["Digest"] if options["digests"] else []), *_COLUMNS[2:]]
    records = None
    if as_json or template == "json":
        ordered = dict.fromkeys(row["Image"].manifest for row in rows)
        by_manifest = {image.manifest: image for image in found}
        records = [_record(store, by_manifest[manifest]) for manifest in ordered]
    if template is not None:
        _complete(store, rows)
        columns = [*_HEADINGS]
    for row in rows:
        del row["Image"]
    show(
        rows,
        {field: _HEADINGS[field] for field in columns},
        template=template,
        as_json=as_json,
        records=records,
        heading=not options["noheading"],
    )


def _select(store: Store, filters: list[str]) -> list[Image]:
    if not filters:
        return store.images.list()
    from imagefs.image.filters import select

    return select(store, filters)


def _rows(image: Image, whole: bool) -> Iterator[dict[str, Any]]:
    """A row for each name, under podman's names of the fields."""
    for name in image.names or ("<none>:<none>",):
        repository, tag = _split(name)
        since = f"{age(time.time_ns() - image.created_ns)} ago"
        yield {
            "Image": image,
            "Repository": repository,
            "Tag": tag,
            "ID": _id(image, whole),
            "Id": image.id,
            "Digest": str(image.manifest),
            "Created": since,
            "CreatedSince": since,
            "CreatedAt": _date(image.created_ns, "%Y-%m-%d %H:%M:%S +0000 UTC"),
            "CreatedTime": _date(image.created_ns, "%Y-%m-%d %H:%M:%S +0000 UTC"),
            "Size": size(image.size, 3, " "),
            "VirtualSize": size(image.size, 3, " "),
            "Names": list(image.names),
            "RepoTags": list(image.names),
            "Dangling": image.dangling,
            "ReadOnly": False,
        }


def _complete(store: Store, rows: list[dict[str, Any]]) -> None:
    """What only templates can ask for and costs a look at the config."""
    for row in rows:
        record = _record(store, row["Image"])
        row.update({key: record[key] for key in ("Labels", "Containers", "RepoDigests", "History")})


def _record(store: Store, image: Image) -> dict[str, Any]:
    """What podman's JSON says of an image."""
    from imagefs.image.documents import read_image
    from imagefs.image.inspect import repo_digests

    used = [record for record in store.containers.list() if record.manifest == image.manifest]
    record: dict[str, Any] = {
        "Id": image.id,
        "ParentId": "",
        "RepoTags": list(image.names) or None,
        "RepoDigests": repo_digests(image),
        "Size": image.size,
        "SharedSize": 0,
        "VirtualSize": image.size,
        "Labels": read_image(store, image.manifest).config.config.labels,
        "Containers": len(used),
        "Digest": str(image.manifest),
        "History": list(image.names),
        "Created": image.created_ns // 1_000_000_000,
        "CreatedAt": _date(image.created_ns, "%Y-%m-%dT%H:%M:%SZ"),
    }
    return {**record, "Dangling": True} if image.dangling else {**record, "Names": [*image.names]}


def _split(name: str) -> tuple[str, str]:
    """Repository and tag; a name by digest has no tag."""
    repository, at, _ = name.partition("@")
    if at:
        return repository, "<none>"
    head, _, tag = name.rpartition(":")
    return head, tag


def _id(image: Image, whole: bool) -> str:
    return str(image.config) if whole else image.id[:_SHORT_ID]


def _date(nanoseconds: int, form: str) -> str:
    return time.strftime(form, time.gmtime(nanoseconds // 1_000_000_000))
