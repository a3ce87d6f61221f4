"""Finding the image that a verb was given, with progress. Mounts and runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from imagefs.image.find import Wanted, find_image
from imagefs_cli.context import platform_of
from imagefs_cli.progress import progress

if TYPE_CHECKING:
    from imagefs.store import Image, Store
    from imagefs.transport import Access


def find(store: Store, name: str, access: Access, options: Mapping[str, Any]) -> Image:
    """The image, pulled if the options of `image_options` say so. Raises ImagefsError."""
    with progress(options["quiet"]) as shown:
        wanted = Wanted(options["pull_policy"], platform_of(options["platform"]), access, shown)
        return find_image(store, name, wanted)
