"""What `imagefs cp` was given: the things that `NAME:PATH` can mean, opened. Copies nothing."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from imagefs.errors import ConflictError, NotFoundError
from imagefs.image.copyfrom import CopyError, FileSource, Source, TreeSource, contents, look_up
from imagefs.runtime.inroot import open_in, read_in
from imagefs.store import MountRecord, Store

if TYPE_CHECKING:
    from imagefs.image.find import Wanted

_TRANSPORTS = ("docker", "oci")


class OnHost(NamedTuple):
    """A path of the host; `-` is a stream."""

    path: str


class InMount(NamedTuple):
    """A path in a mount, which may be a container's; `name` is what the user called it."""

    record: MountRecord
    name: str
    path: str


class InImage(NamedTuple):
    """A path in an image, which need not be in the store."""

    name: str
    path: str


Place = OnHost | InMount | InImage


def place_of(store: Store, text: str) -> Place:
    """What `text` means: a container's, then a mount's, then an image's path, or the host's.

    A text with a colon that begins with `/` or `.` is the host's, as with podman. The names of
    images have colons themselves, so the path in one begins at the last `:/`.
    """
    if text.startswith(("/", ".", "-")) or ":" not in text:
        return OnHost(text)
    head, _, rest = text.partition(":")
    record = _mount_called(store, head)
    if record is not None:
        return InMount(record, head, rest)
    name, colon, path = text.rpartition(":/")
    if not colon or name in _TRANSPORTS:
        raise NotFoundError(
            f"{text}: no container or mount is called {head}; the path in an image begins with ':/'"
        )
    return InImage(name, f"/{path}")


def _mount_called(store: Store, name: str) -> MountRecord | None:
    container = store.containers.get(name)
    if container is None:
        return store.mounts.get(name)
    record = store.mounts.get(container.mount) if container.mount else None
    if record is None:
        raise NotFoundError(f"container {name}: its files are gone")
    return record


@contextmanager
def open_source(store: Store, place: Place, wanted: Wanted) -> Iterator[Source]:
    """What lies at `place`, links followed; the bytes of an image's files are fetched first."""
    with ExitStack() as stack:
        if isinstance(place, InImage):
            yield _in_image(store, place, wanted, stack)
            return
        if isinstance(place, OnHost):
            found = os.open(place.path, os.O_PATH)
        else:
            found = open_in(
                stack.enter_context(root_of(store, place.record)), place.path, os.O_PATH
            )
        try:
            source = FileSource(_readable(found))
        finally:
            os.close(found)
        stack.callback(source.close)
        yield source


def _readable(found: int) -> int:
    """A descriptor to read with; of what is no file or directory another O_PATH one."""
    kind = os.fstat(found).st_mode
    if stat.S_ISREG(kind) or stat.S_ISDIR(kind):
        return os.open(f"/proc/self/fd/{found}", os.O_RDONLY)
    return os.dup(found)


def _in_image(store: Store, place: InImage, wanted: Wanted, stack: ExitStack) -> Source:
    from imagefs.image.find import find_image

    image = find_image(store, place.name, wanted)
    tree = store.tree(image.layers)
    found = look_up(tree, os.fsencode(place.path))
    if found is None:
        raise NotFoundError(f"{place.path}: not in {place.name}")
    layers = [stack.enter_context(store.layers.open(key)) for key in image.layers]
    needed = contents(tree, found[0])
    missing = [c for c in needed if layers[c.layer].missing(c.offset, c.size)]
    if missing:
        from imagefs.image.fetch import fetch

        fetch(store, layers, missing, wanted.access, next(iter(image.names), place.name))
    return TreeSource(
        tree, *found, lambda c, at, length: layers[c.layer].read(c.offset + at, length)
    )


@contextmanager
def root_of(store: Store, record: MountRecord) -> Iterator[Path]:
    """The directory where a mount is; one that is not mounted is while the block lasts."""
    from imagefs.mount import api

    now = api.status(store, record)
    if now.state == "dead":
        raise ConflictError(f"{record.id}: nobody serves it any more: umount it")
    if now.mounted is not None:
        yield Path(record.mountpoint)
        return
    with tempfile.TemporaryDirectory(prefix="cp-", dir=store.runroot) as directory:
        api.resume(store, record.id, directory)
        try:
            yield Path(directory)
        finally:
            api.umount(store, record.id)
            store.mounts.update(record)


class Target:
    """Where to copy to: a place of the host or of a mount, by calls that never leave it."""

    def __init__(self, place: OnHost | InMount, root: Path | None) -> None:
        self.path = place.path
        self.shown = place.path if isinstance(place, OnHost) else f"{place.name}:{place.path}"
        self.root = root

    def kind(self) -> int | None:
        """The S_IFMT bits of what is there, links followed; None for nothing."""
        try:
            fd = self._find(self.path)
        except FileNotFoundError:
            return None
        try:
            return stat.S_IFMT(os.fstat(fd).st_mode)
        finally:
            os.close(fd)

    def resolved(self) -> str:
        """The path of what is there without links, from the root that it lies in."""
        path = self.real()
        return path if self.root is None else f"/{os.path.relpath(path, self.root.resolve())}"

    def real(self) -> str:
        """The same from the host's root."""
        fd = self._find(self.path)
        try:
            return str(Path(f"/proc/self/fd/{fd}").readlink())
        finally:
            os.close(fd)

    def inside(self, directory: str) -> Callable[[bytes], int]:
        """Opens directories at and below `directory`; links lead nowhere outside."""
        flags = os.O_RDONLY | os.O_DIRECTORY

        def on_host(path: bytes) -> int:
            return open_in(Path(directory), os.fsdecode(path) or ".", flags)

        def in_mount(path: bytes) -> int:
            assert self.root is not None
            return open_in(self.root, f"{directory}/{os.fsdecode(path)}", flags)

        return on_host if self.root is None else in_mount

    def _find(self, path: str) -> int:
        return (
            os.open(path, os.O_PATH) if self.root is None else open_in(self.root, path, os.O_PATH)
        )


def user_of(store: Store, record: MountRecord, root: Path) -> tuple[int, int]:
    """The ids of the container's or else the image's user, by the mount's own passwd."""
    from imagefs.image.documents import read_image
    from imagefs.runtime.users import resolve

    container = store.containers.get(record.container) if record.container else None
    if container is not None:
        name = str(container.config.get("User") or "")
    else:
        name = read_image(store, record.manifest).config.config.user
    user = resolve(name, read_in(root, "/etc/passwd"), read_in(root, "/etc/group"))
    return user.uid, user.gid


def refuse_image(place: Place) -> OnHost | InMount:
    """The place, if it can be copied to."""
    if isinstance(place, InImage):
        raise CopyError(
            f"{place.name}: an image does not change: mount it, copy into the mount, commit"
        )
    return place
