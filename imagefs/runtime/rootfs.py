"""Where a container's root file system comes from: a mount of its image. Runs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from imagefs.errors import NotFoundError
from imagefs.store import ContainerRecord, Image, Store

if TYPE_CHECKING:
    from imagefs.mount.starting import Start
    from imagefs.transport import Access


class Rootfs(Protocol):
    """Makes root file systems, writable, and takes them away."""

    def mount(self, record: ContainerRecord, image: Image, place: Path) -> str | None:
        """Have the image's files at the directory `place`; the id of the mount, if it is one.

        On failure nothing is left.
        """

    def unmount(self, record: ContainerRecord, place: Path, *, discard: bool) -> None:
        """Take it away; with `discard` also what was written, else that is kept. Idempotent."""


@dataclass
class MountedRootfs:
    """A Rootfs by `imagefs.mount`. `start`: a server that is being started already."""

    store: Store
    access: Access | None = None
    start: Start | None = None

    def mount(self, record: ContainerRecord, image: Image, place: Path) -> str | None:
        """See Rootfs."""
        from imagefs.mount import api

        options = api.MountOptions(container=record.id)
        start, self.start = self.start, None
        return api.mount(
            self.store,
            image,
            place,
            options,
            name=record.image_name,
            access=self.access,
            start=start,
        ).id

    def unmount(self, record: ContainerRecord, place: Path, *, discard: bool) -> None:
        """See Rootfs."""
        from imagefs.mount import api

        if record.mount is None or self.store.mounts.get(record.mount) is None:
            return
        try:
            api.umount(self.store, record.mount, discard=discard)
        except NotFoundError:
            return  # somebody else was faster
