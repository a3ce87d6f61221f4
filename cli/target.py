"""What a user means by a name: a container, then a mount, then an image, as `--type` decides."""

from __future__ import annotations

from imagefs.errors import NotFoundError
from imagefs.store import ContainerRecord, Image, MountRecord, Store

Target = MountRecord | Image


def find_mounted(store: Store, text: str) -> MountRecord:
    """The mount of the container, or the mount, that `text` names; NotFoundError for neither."""
    container = store.containers.get(text)
    if container is not None and container.mount is not None:
        record = store.mounts.get(container.mount)
        if record is not None:
            return record
    from imagefs.mount.table import find_mount

    try:
        return find_mount(store, text).record
    except NotFoundError:
        raise NotFoundError(f"{text}: no container, mount is so called") from None


def container_of(store: Store, target: Target) -> ContainerRecord | None:
    """The container whose root `target` is, if it is one."""
    if isinstance(target, Image) or target.container is None:
        return None
    return store.containers.get(target.container)


def find_any(store: Store, text: str, kind: str = "all") -> Target:
    """What `text` names, of a kind: `container`, `mount`, `image` or `all`."""
    if kind != "image":
        try:
            return find_mounted(store, text)
        except NotFoundError:
            if kind != "all":
                raise
    image = store.images.resolve(text)
    if image is None:
        raise NotFoundError(f"{text}: no container, mount or image is so called")
    return image
