"""What a user means by a name: a container, then a mount, then an image, as `--type` decides."""

from __future__ import annotations

from imagefs.errors import NotFoundError
from imagefs.store import ContainerRecord, Image, MountRecord, Store

Target = MountRecord | Image


def container_of(store: Store, target: Target) -> ContainerRecord | None:
    """The container whose root `target` is, if it is one."""
    if isinstance(target, Image) or target.container is None:
        return None
    return store.containers.get(target.container)


def find_any(store: Store, text: str, kind: str = "all") -> Target:
    """What `text` names, of a kind: `container`, `mount`, `image` or `all`.

    A container is given as the mount of its root. NotFoundError if there is none.
    """
    for one, find in (("container", _root_of), ("mount", _mount), ("image", _image)):
        if kind in (one, "all"):
            found = find(store, text)
            if found is not None:
                return found
    kinds = "container, mount or image" if kind == "all" else kind
    raise NotFoundError(f"{text}: no {kinds} is so called")


def _root_of(store: Store, text: str) -> Target | None:
    container = store.containers.get(text)
    if container is None or container.mount is None:
        return None
    return store.mounts.get(container.mount)


def _mount(store: Store, text: str) -> Target | None:
    from imagefs.mount.table import named_mount

    found = named_mount(store, text)
    return found.record if found is not None else None


def _image(store: Store, text: str) -> Target | None:
    return store.images.resolve(text)
