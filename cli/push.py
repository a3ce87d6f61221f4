"""`imagefs push`: an image of the store to a registry or a layout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imagefs_cli.context import Settings, access_of, access_options, pass_settings, quiet_option

if TYPE_CHECKING:
    from imagefs.image.push import PushOptions
    from imagefs.oci.manifest import Manifest
    from imagefs.store import Image, Store
    from imagefs.transport import Access


@click.command(short_help="Push an image to a registry or a layout")
@click.argument("image")
@click.argument("destination", required=False)
@click.option(
    "--compression-format",
    type=click.Choice(["gzip", "zstd", "none"]),
    default="gzip",
    show_default=True,
    help="For layers that were made here.",
)
@click.option("--compression-level", type=int, help="Of gzip or zstd.")
@click.option("--digestfile", type=click.Path(path_type=Path), help="Write the manifest's digest.")
@click.option(
    "--format", "-f", "form", type=click.Choice(["oci", "v2s2"]), help="Format of the manifest."
)
@click.option("--remove-signatures", is_flag=True, help="Accepted: none are sent.")
@quiet_option
@access_options
@pass_settings
def push(settings: Settings, /, image: str, destination: str | None, **options: Any) -> None:
    """Push IMAGE to DESTINATION (by default to where its name says).

    DESTINATION is docker://NAME, a name with a registry, or oci:DIR:TAG. Layers that the registry
    has in another repository are mounted from there, and never downloaded.
    """
    from imagefs.image.push import PushOptions
    from imagefs_cli.progress import progress

    access = access_of(options)
    with progress(options["quiet"]) as shown:
        how = PushOptions(
            options["compression_format"],
            options["compression_level"],
            options["form"],
            access,
            shown,
        )
        store = settings.store
        found = store.images.require(image)
        target = destination or _own_name(store, image, found)
        manifest = _push(store, found, target, how, access)
    if options["digestfile"] is not None:
        options["digestfile"].write_text(str(manifest.digest))


def _own_name(store: Store, text: str, image: Image) -> str:
    name = store.images.name_of(text) or next(iter(image.names), None)
    if name is None:
        raise click.UsageError(f"{text}: it has no name: say where to push it to")
    return name


def _push(store: Store, image: Image, target: str, how: PushOptions, access: Access) -> Manifest:
    import trio

    from imagefs.image.push import push as send
    from imagefs.transport import open_destination, parse_image_name

    async def run() -> Manifest:
        destination = open_destination(parse_image_name(target), access)
        try:
            return await send(store, image, destination, how)
        finally:
            await destination.aclose()

    return trio.run(run, restrict_keyboard_interrupt_to_checkpoints=True)
