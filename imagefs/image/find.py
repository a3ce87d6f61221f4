"""Which image a user means: one in the store, or one that has to be pulled. Mounts nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from imagefs.errors import ImagefsError
from imagefs.image.progress import Progress, Silent
from imagefs.oci.platform import Platform, fallbacks
from imagefs.store import Image, NoSuchImageError, Store
from imagefs.transport.names import Access, ImageName, parse_image_name

if TYPE_CHECKING:
    from imagefs.transport import ImageSource

PullPolicy = Literal["missing", "newer", "always", "never"]


@dataclass(frozen=True)
class Wanted:
    """How an image is looked for: podman's `--pull`, `--platform` and registry options."""

    policy: PullPolicy = "missing"
    platform: Platform | None = None
    access: Access = field(default_factory=Access)
    progress: Progress = field(default_factory=Silent)


def find_image(store: Store, text: str, wanted: Wanted) -> Image:
    """The image that `text` names: a bare name means the store first, then a registry.

    With a transport (`docker://`, `oci:`) the source is asked unless the policy is `never`. Imports
    the asynchronous parts only where they are needed. Raises ImagefsError.
    """
    local = find_local(store, text, wanted.platform)
    if wanted.policy == "never" or (wanted.policy == "missing" and local and _is_bare(text)):
        if local is None:
            raise NoSuchImageError(f"{text}: no such image in the store, and --pull=never")
        return local
    import trio

    return trio.run(
        _pull, store, text, local, wanted, restrict_keyboard_interrupt_to_checkpoints=True
    )


def find_local(store: Store, text: str, platform: Platform | None = None) -> Image | None:
    """The image in the store that `text` means, if it is for `platform`."""
    name = text.removeprefix("docker://")
    if text.startswith("oci:"):
        from imagefs.image.names import kept_name

        name = kept_name(parse_image_name(text), text) or text
    image = store.images.resolve(name)
    if image is None or platform is None:
        return image
    have = Platform(image.os, image.architecture, image.variant).normal()
    return image if have in fallbacks(platform) else None


def _is_bare(text: str) -> bool:
    return not text.startswith(("docker://", "oci:"))


async def _pull(store: Store, text: str, local: Image | None, wanted: Wanted) -> Image:
    from imagefs.transport import open_source

    name = parse_image_name(text)
    source = open_source(name, wanted.access)
    try:
        return await _pull_from(store, source, name, wanted)
    except ImagefsError:
        if wanted.policy == "newer" and local is not None:
            return local
        raise
    finally:
        await source.aclose()


async def _pull_from(store: Store, source: ImageSource, name: ImageName, wanted: Wanted) -> Image:
    from imagefs.image.names import kept_name
    from imagefs.image.pull import pull_image

    return await pull_image(
        store,
        source,
        lambda: kept_name(name, source.name),
        wanted.platform,
        wanted.progress,
    )
