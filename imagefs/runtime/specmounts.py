"""The mounts of a container's spec: podman's defaults, its files, volumes and tmpfs. Mounts none.

runtime-spec, config.md, "Mounts"; they are mounted in the order of the list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from imagefs.runtime.host import CgroupMode
from imagefs.runtime.options import RunOptions
from imagefs.runtime.volumes import Tmpfs, Volume, check_destinations

Mount = dict[str, Any]

MASKED_PATHS = (
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/fs/selinux",
    "/sys/dev/block",
)
READONLY_PATHS = (
    "/proc/asound",
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)
#: What --read-only-tmpfs keeps writable.
WRITABLE = ("/run", "/tmp", "/var/tmp")


def mounts(
    options: RunOptions,
    *,
    files: Mapping[str, str],
    volumes: Iterable[tuple[Volume, str]],
    shm_size: int,
    cgroup_mode: CgroupMode,
) -> list[Mount]:
    """All mounts of the spec. `files`: place in the container to a file on the host; `volumes`:
    each with the directory or file on the host that is its source.

    What the user mounts takes the place of a default. OptionError if two of them share a place.
    """
    wanted = [_volume(volume, source) for volume, source in volumes]
    wanted += [_tmpfs(tmpfs) for tmpfs in options.tmpfs]
    check_destinations(mount["destination"] for mount in wanted)
    taken = {mount["destination"] for mount in wanted}
    defaults = [
        *system_mounts(options, shm_size, cgroup_mode),
        *(_file(place, source, options.read_only) for place, source in files.items()),
    ]
    if options.read_only and options.read_only_tmpfs:
        defaults += [_tmpfs(Tmpfs(place)) for place in WRITABLE]
    kept = [mount for mount in defaults if mount["destination"] not in taken]
    # sorted() is stable: what is mounted below something else comes after it.
    return sorted([*kept, *wanted], key=lambda mount: mount["destination"].count("/"))


def system_mounts(options: RunOptions, shm_size: int, cgroup_mode: CgroupMode) -> list[Mount]:
    """/proc, /dev, /sys and what is in them."""
    privileged = options.privileged
    read_only = [] if privileged else ["ro"]
    proc_options = ["nosuid", "noexec", "nodev", *options.security.proc_options]
    found = [
        _mount("/proc", "proc", "proc", proc_options),
        _mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            ["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"],
        ),
        _mount("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", *read_only]),
        _mount(
            "/dev/pts",
            "devpts",
            "devpts",
            ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        _mount("/dev/mqueue", "mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
        _mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            ["nosuid", "noexec", "nodev", "mode=1777", f"size={shm_size}"],
        ),
    ]
    if cgroup_mode != "none":
        cgroup = ["rprivate", "nosuid", "noexec", "nodev", "relatime"]
        found.append(
            _mount("/sys/fs/cgroup", "cgroup", "cgroup", [*cgroup, "rw" if privileged else "ro"])
        )
    return found


def propagation(mounts_: Iterable[Mount]) -> str | None:
    """What the propagation of the container's root must be so that the mounts can have theirs."""
    asked = {option for mount in mounts_ for option in mount.get("options", ())}
    if asked & {"shared", "rshared"}:
        return "shared"
    return "rslave" if asked & {"slave", "rslave"} else None


def masked_paths(options: RunOptions) -> list[str]:
    """The paths that the container cannot see."""
    if options.privileged:
        return []
    security = options.security
    return [*_kept(MASKED_PATHS, security.unmask, security.unmask_all), *security.mask]


def readonly_paths(options: RunOptions) -> list[str]:
    """The paths that the container cannot write."""
    if options.privileged:
        return []
    security = options.security
    return _kept(READONLY_PATHS, security.unmask, security.unmask_all)


def _kept(paths: Sequence[str], unmask: Sequence[str], everything: bool) -> list[str]:
    if everything:
        return []
    return [path for path in paths if not any(fnmatchcase(path, u) for u in unmask)]


def _mount(destination: str, kind: str, source: str, options: list[str]) -> Mount:
    return {"destination": destination, "type": kind, "source": source, "options": options}


def _file(place: str, source: str, read_only: bool) -> Mount:
    options = ["bind", "rprivate"]
    if read_only:
        options += ["ro", "nosuid", "noexec", "nodev"]
    return _mount(place, "bind", source, options)


def _volume(volume: Volume, source: str) -> Mount:
    return _mount(volume.destination, "bind", source, volume.mount_options)


def _tmpfs(tmpfs: Tmpfs) -> Mount:
    return _mount(tmpfs.destination, "tmpfs", "tmpfs", tmpfs.mount_options)
