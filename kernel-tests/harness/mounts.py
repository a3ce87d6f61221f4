"""A store with one small image, and library calls that mount it. For tests of mounts themselves."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import trio

from imagefs.image.pull import pull_image
from imagefs.mount.api import MountOptions, list_mounts, mount, umount
from imagefs.store import Image, MountRecord, Store
from imagefs.testing.oci_layout import LayoutWriter
from imagefs.transport import Access, open_source, parse_image_name

BIG = bytes(range(256)) * (3 << 12)  # 3 MiB
MANY = 3000


def fill(tar: tarfile.TarFile) -> None:
    """The layer: a few files of each kind, one large file, a directory of many."""

    def add(name: str, kind: bytes, mode: int, data: bytes = b"", link: str = "") -> None:
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.size, info.linkname = kind, mode, len(data), link
        info.mtime = 1_600_000_000
        tar.addfile(info, io.BytesIO(data))

    add("etc", tarfile.DIRTYPE, 0o755)
    add("etc/hello", tarfile.REGTYPE, 0o644, b"hello\n")
    add("etc/link", tarfile.SYMTYPE, 0o777, link="hello")
    add("etc/second", tarfile.LNKTYPE, 0o644, link="etc/hello")
    add("etc/empty", tarfile.REGTYPE, 0o600)
    add("big", tarfile.REGTYPE, 0o644, BIG)
    add("work", tarfile.DIRTYPE, 0o777)
    add("many", tarfile.DIRTYPE, 0o755)
    for i in range(MANY):
        add(f"many/f{i:05}", tarfile.REGTYPE, 0o644, b"%d\n" % i)


class Mounter:
    """`directory` holds the store and the mount points."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = Store.open(directory / "store", directory / "run")
        writer = LayoutWriter(directory / "layout")
        layer = writer.layer(fill)
        self.layout = writer.image("latest", [layer], {"Cmd": ["sh"]})
        self.image = self.pull(str(self.layout), Access(), "test:latest")
        self.records: list[MountRecord] = []

    def pull(self, name: str, access: Access, kept_as: str) -> Image:
        """An image from elsewhere, in the store."""

        async def pull() -> Image:
            source = open_source(parse_image_name(name), access)
            try:
                return await pull_image(self.store, source, lambda: kept_as)
            finally:
                await source.aclose()

        return trio.run(pull)

    def mount(self, name: str = "mnt", options: MountOptions | None = None) -> Path:
        """Mount the image on a new directory and return it."""
        place = self.directory / name
        place.mkdir(exist_ok=True)
        self.records.append(mount(self.store, self.image, place, options))
        return place

    def close(self) -> None:
        """End every mount, held or not."""
        for found in list_mounts(self.store):
            if found.mounted is not None or found.served:
                umount(self.store, found.record.id, force=True)
        self.store.close()
        shutil.rmtree(self.directory / "store", ignore_errors=True)
