"""The directories behind volumes: host paths, named volumes of the store, anonymous ones.

Mounts nothing. A named volume lies in `volumes/NAME/_data` of the store's root and outlives its
containers; an anonymous one lies in its container's directory and goes with it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from imagefs.runtime.copyup import chown_tree, copy_directory
from imagefs.runtime.errors import OptionError
from imagefs.runtime.inroot import open_in
from imagefs.runtime.users import User
from imagefs.runtime.volumes import Volume, destination
from imagefs.system.atomic import remove_tree
from imagefs.system.locks import lock_path


def with_image_volumes(
    asked: Iterable[Volume], declared: Iterable[str], taken: Iterable[str]
) -> list[Volume]:
    """The volumes asked for, then an anonymous one for each that the image declares and nothing
    takes the place of.
    """
    found = list(asked)
    places = {volume.destination for volume in found} | set(taken)
    for path in sorted(declared):
        place = destination("the image's volume " + path, path)
        if place not in places:
            found.append(Volume("anonymous", "", place))
            places.add(place)
    return found


def prepare(
    volumes: Iterable[Volume], *, store_root: Path, lasting: Path, rootfs: Path, user: User
) -> list[tuple[Volume, str]]:
    """Each volume with its source on the host, made and filled from the image where it is new.

    OptionError where a host path is not there.
    """
    found = []
    for number, volume in enumerate(volumes):
        if volume.kind == "bind":
            source = _host_path(volume)
        elif volume.kind == "named":
            source = named_volume(store_root, volume.source, volume, rootfs)
        else:
            source = lasting / "volumes" / str(number)
            if not source.exists():
                _fill(source, volume, rootfs)
        if volume.chown:
            chown_tree(source, user.uid, user.gid)
        found.append((volume, str(source)))
    return found


def named_volume(store_root: Path, name: str, volume: Volume, rootfs: Path) -> Path:
    """The data directory of the volume `name`, made whole or not at all by whoever is first."""
    base = store_root / "volumes"
    base.mkdir(mode=0o700, exist_ok=True)
    directory = base / name
    directory.mkdir(mode=0o755, exist_ok=True)
    data = directory / "_data"
    lock = lock_path(directory)
    assert lock is not None
    with lock:
        if not data.exists():
            half = directory / "_half"
            remove_tree(half)
            _fill(half, volume, rootfs)
            half.rename(data)
    return data


def _host_path(volume: Volume) -> Path:
    path = Path(volume.source)
    try:
        path.stat()
    except OSError as error:
        raise OptionError(f"-v {volume.source}: {error.strerror}: make it first") from None
    return path


def _fill(target: Path, volume: Volume, rootfs: Path) -> None:
    target.mkdir(mode=0o755, parents=True)
    target.chmod(0o755)
    if not volume.copies:
        return
    try:
        source = open_in(rootfs, volume.destination, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return
        raise
    try:
        copy_directory(source, target)
    finally:
        os.close(source)
