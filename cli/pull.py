"""`imagefs pull`: an image from a registry or a layout, whole, into the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from imagefs_cli.context import Settings, access_of, access_options, pass_settings, quiet_option

if TYPE_CHECKING:
    from imagefs.image.find import Wanted
    from imagefs.oci.platform import Platform
    from imagefs.store import Image, Store
    from imagefs.transport import Access


@click.command(short_help="Fetch an image whole")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE…")
@click.option("--all-tags", "-a", is_flag=True, help="Pull all tags of the repository.")
@click.option("--arch", metavar="ARCH", help="The architecture to choose (default: the host's).")
@click.option("--os", "system", metavar="OS", help="The system to choose (default: linux).")
@click.option("--variant", metavar="VARIANT", help="The architecture's variant to choose.")
@click.option(
    "--platform", metavar="OS/ARCH[/VARIANT]", help="The same in one (default: the host's)."
)
@click.option(
    "--policy",
    type=click.Choice(["always", "missing", "newer", "never"]),
    default="always",
    show_default=True,
    help="When to ask the registry for the image.",
)
@quiet_option
@access_options
@pass_settings
def pull(settings: Settings, /, images: tuple[str, ...], **options: Any) -> None:
    """Fetch each IMAGE with all its content, and print its id.

    IMAGE is docker://NAME, oci:DIR:TAG, or a name, whose registry is found by registries.conf if
    it has none. What the store has already is not fetched again.
    """
    from imagefs.image.find import Wanted
    from imagefs_cli.progress import progress

    access = access_of(options)
    platform = _platform(
        options["platform"], options["arch"], options["system"], options["variant"]
    )
    with progress(options["quiet"]) as shown:
        wanted = Wanted(options["policy"], platform, access, shown)
        if options["all_tags"]:
            images = tuple(tag for image in images for tag in _all_tags(image, access))
        pulled = [_pull(settings.store, image, wanted) for image in images]
    for image in dict.fromkeys(found.id for found in pulled):
        click.echo(image)


def _platform(
    platform: str | None, arch: str | None, system: str | None, variant: str | None
) -> Platform | None:
    from imagefs.oci.platform import Platform, host

    if platform is None and not (arch or system or variant):
        return None
    if platform is not None:
        if arch or system or variant:
            raise click.UsageError("--platform takes the place of --arch, --os and --variant")
        return Platform.parse(platform)
    own = host()
    parts = (system or own.os, arch or own.architecture, variant or (not arch and own.variant))
    return Platform.parse("/".join(part for part in parts if part))


def _pull(store: Store, name: str, wanted: Wanted) -> Image:
    import trio

    from imagefs.image.complete import complete_layers
    from imagefs.image.find import find_image

    with store.lease("pull", name):
        image = find_image(store, name, wanted)
        trio.run(
            complete_layers,
            store,
            image.layers,
            wanted.access,
            name,
            wanted.progress,
            restrict_keyboard_interrupt_to_checkpoints=True,
        )
    return image


def _all_tags(text: str, access: Access) -> list[str]:
    """The names of all images in the repository that `text` names."""
    import trio

    from imagefs.image.remote import repository_tags
    from imagefs.transport import parse_image_name

    return trio.run(repository_tags, parse_image_name(text), access)
