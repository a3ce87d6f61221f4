"""Containers and mounts as `inspect` shows them. Reads the store and /proc, changes nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imagefs.mount.table import MountStatus
    from imagefs.oci.digest import Digest
    from imagefs.store import ContainerRecord, Store


def inspect_mount(store: Store, text: str) -> dict[str, Any] | None:
    """The mount that `text` names by its directory or its id; None if there is none."""
    from imagefs.mount.table import named_mount

    found = named_mount(store, text)
    return _mount(store, found) if found is not None else None


def _mount(store: Store, found: MountStatus) -> dict[str, Any]:
    record, running = found.record, found.running
    return {
        "Id": record.id,
        "Image": _image_id(store, record.manifest),
        "ImageName": record.name,
        "ImageDigest": str(record.manifest),
        "Mountpoint": record.mountpoint,
        "State": found.state,
        "Driver": record.driver,
        "ReadOnly": record.read_only,
        "Created": _time(record.created_ns),
        "Container": record.container or "",
        "UpperDir": record.upper or "",
        "WorkDir": str(Path(record.upper).with_name("work")) if record.upper else "",
        "Layers": [str(key.blob) for key in record.layers],
        "Options": record.options,
        "Access": record.access,
        "KeeperPid": running.keeper_pid if running else 0,
        "ServerPid": running.server_pid if running else 0,
        "Restarts": running.restarts if running else 0,
    }


def inspect_container(store: Store, record: ContainerRecord) -> dict[str, Any]:
    """The container under podman's names, as far as we have what they name."""
    mount = store.mounts.get(record.mount) if record.mount else None
    config = {key: value for key, value in record.config.items() if key != "Imagefs"}
    own = record.config.get("Imagefs", {})
    command = config.get("Cmd") or [""]
    directory = store.containers.directory(record.id)
    return {
        "Id": record.id,
        "Created": _time(record.created_ns),
        "Path": command[0],
        "Args": command[1:],
        "State": _state(store, record),
        "Image": _image_id(store, record.manifest),
        "ImageDigest": str(record.manifest),
        "ImageName": record.image_name,
        "StaticDir": str(directory),
        "OCIConfigPath": str(store.containers.run_directory(record.id) / "config.json"),
        "OCIRuntime": Path(own.get("Runtime", "")).name,
        "Name": record.name,
        "Driver": "imagefs",
        "GraphDriver": {
            "Name": "imagefs",
            "Data": {
                "Driver": mount.driver if mount else "",
                "MergedDir": mount.mountpoint if mount else "",
                "Mount": record.mount or "",
                "UpperDir": (mount.upper or "") if mount else "",
            },
        },
        "Config": config,
        "HostConfig": {"AutoRemove": bool(own.get("AutoRemove"))},
    }


def _state(store: Store, record: ContainerRecord) -> dict[str, Any]:
    """Podman's State, as it is now."""
    from imagefs.runtime.engine import existing

    now = existing(store, os.environ).status(record)
    shown = {key: value for key, value in now.to_record().items() if not key.endswith("Ns")}
    return {**shown, "Pid": _pid(store, record) if shown["Running"] else 0}


def _pid(store: Store, record: ContainerRecord) -> int:
    """The container's first process, as the runtime wrote it down."""
    try:
        return int((store.containers.run_directory(record.id) / "pid").read_text())
    except (FileNotFoundError, ValueError):
        return 0


def _image_id(store: Store, manifest: Digest) -> str:
    image = store.images.get(manifest)
    return image.id if image is not None else ""


def _time(nanoseconds: int) -> str:
    """RFC 3339 with nanoseconds, in UTC."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"
