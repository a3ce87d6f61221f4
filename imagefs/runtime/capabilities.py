"""Which capabilities a container gets: defaults, added, dropped, and what the host has. Sets none.

capabilities(7); podman-run(1) for `--cap-add` and `--cap-drop`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from imagefs.runtime.errors import OptionError

#: By number (linux/capability.h).
NAMES = tuple(
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP "
        "LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER "
        "SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE "
        "SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP "
        "MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF "
        "CHECKPOINT_RESTORE"
    ).split()
)

#: podman 4.3's, for when containers.conf names none.
DEFAULT = (
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)


def from_mask(mask: int) -> frozenset[str]:
    """The capabilities in a mask of /proc/PID/status; numbers without a name are left out."""
    return frozenset(name for number, name in enumerate(NAMES) if mask >> number & 1)


def canonical(name: str) -> str:
    """`name` as the kernel calls it; raises OptionError for what is none ("all" is not one)."""
    full = name.strip().upper()
    full = full if full.startswith("CAP_") else f"CAP_{full}"
    if full not in NAMES:
        raise OptionError(f'"{full}": unknown capability: see capabilities(7)')
    return full


def merge(
    default: Iterable[str], add: Sequence[str], drop: Sequence[str], available: frozenset[str]
) -> list[str]:
    """The bounding set of a container, sorted: nothing outside `available` is in it.

    `ALL` may stand in `add` or in `drop`, not in both. Raises OptionError.
    """
    add_all, added = _split(add)
    drop_all, dropped = _split(drop)
    if add_all and drop_all:
        raise OptionError("--cap-add and --cap-drop cannot both be ALL")
    if both := sorted(added & dropped):
        raise OptionError(f'capability "{both[0]}" cannot be dropped and added: choose one')
    if add_all:
        chosen = set(available) - dropped
    elif drop_all:
        chosen = added
    else:
        chosen = ({canonical(name) for name in default} | added) - dropped
    return sorted(chosen & available)


def named(names: Sequence[str]) -> set[str]:
    """The single capabilities that a list names, without ALL."""
    return _split(names)[1]


def _split(names: Sequence[str]) -> tuple[bool, set[str]]:
    wanted = [name for entry in names for name in entry.split(",")]
    singles = [name for name in wanted if name.strip().upper() != "ALL"]
    return len(singles) != len(wanted), {canonical(name) for name in singles}
