"""Seccomp profiles: containers-common's JSON to the spec's `linux.seccomp`. Opens nothing.

The profile format is Docker's: rules with conditions on capabilities, architectures and the kernel.
The spec's (runtime-spec, config-linux.md, "Seccomp") has none, so they are decided here.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Collection
from typing import Any

import msgspec

from imagefs.runtime.errors import OptionError

#: OCI architecture -> libseccomp's token.
NATIVE = {
    "amd64": "SCMP_ARCH_X86_64",
    "386": "SCMP_ARCH_X86",
    "arm64": "SCMP_ARCH_AARCH64",
    "arm": "SCMP_ARCH_ARM",
    "ppc64le": "SCMP_ARCH_PPC64LE",
    "s390x": "SCMP_ARCH_S390X",
    "riscv64": "SCMP_ARCH_RISCV64",
    "mips64le": "SCMP_ARCH_MIPSEL64",
}


class _When(msgspec.Struct, frozen=True):
    caps: tuple[str, ...] | None = None
    arches: tuple[str, ...] | None = None
    min_kernel: str | None = msgspec.field(name="minKernel", default=None)


class _Argument(msgspec.Struct, frozen=True):
    index: int
    value: int
    op: str
    value_two: int = msgspec.field(name="valueTwo", default=0)


class _Rule(msgspec.Struct, frozen=True):
    action: str
    names: tuple[str, ...] | None = None
    name: str = ""
    args: tuple[_Argument, ...] | None = None
    errno: str = ""
    errno_ret: int | None = msgspec.field(name="errnoRet", default=None)
    includes: _When | None = None
    excludes: _When | None = None


class _Architecture(msgspec.Struct, frozen=True):
    architecture: str
    others: tuple[str, ...] | None = msgspec.field(name="subArchitectures", default=None)


class _Profile(msgspec.Struct, frozen=True):
    default_action: str = msgspec.field(name="defaultAction")
    default_errno: str = msgspec.field(name="defaultErrno", default="")
    default_errno_ret: int | None = msgspec.field(name="defaultErrnoRet", default=None)
    architectures: tuple[str, ...] | None = None
    arch_map: tuple[_Architecture, ...] | None = msgspec.field(name="archMap", default=None)
    syscalls: tuple[_Rule, ...] | None = None
    flags: tuple[str, ...] | None = None


def convert(
    raw: bytes, where: str, capabilities: Collection[str], arch: str, kernel: tuple[int, int]
) -> dict[str, Any]:
    """The spec's `linux.seccomp` for a container with this bounding set; raises OptionError.

    `where` names the profile in errors; `arch` is OCI's name of the architecture.
    """
    try:
        profile = msgspec.json.decode(raw, type=_Profile)
    except msgspec.MsgspecError as error:
        raise OptionError(f"{where}: not a seccomp profile: {error}") from None
    spec: dict[str, Any] = {"defaultAction": profile.default_action}
    _put_errno(spec, "defaultErrnoRet", profile.default_errno, profile.default_errno_ret, where)
    if architectures := _architectures(profile, arch):
        spec["architectures"] = architectures
    if profile.flags:
        spec["flags"] = list(profile.flags)
    spec["syscalls"] = [
        _syscall(rule, where)
        for rule in profile.syscalls or ()
        if _applies(rule, capabilities, arch, kernel, where)
    ]
    return spec


def _architectures(profile: _Profile, arch: str) -> list[str]:
    for entry in profile.arch_map or ():
        if entry.architecture == NATIVE.get(arch):
            return [entry.architecture, *(entry.others or ())]
    return list(profile.architectures or ())


def _applies(
    rule: _Rule, capabilities: Collection[str], arch: str, kernel: tuple[int, int], where: str
) -> bool:
    includes, excludes = rule.includes or _When(), rule.excludes or _When()
    if arch in (excludes.arches or ()) or set(excludes.caps or ()) & set(capabilities):
        return False
    if excludes.min_kernel and kernel >= _kernel(excludes.min_kernel, where):
        return False
    if includes.arches and arch not in includes.arches:
        return False
    if includes.min_kernel and kernel < _kernel(includes.min_kernel, where):
        return False
    return set(includes.caps or ()) <= set(capabilities)


def _kernel(text: str, where: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", text)
    if not found:
        raise OptionError(f"{where}: {text!r} is not a kernel version")
    return int(found[1]), int(found[2])


def _syscall(rule: _Rule, where: str) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "names": list(rule.names or (rule.name,)),
        "action": rule.action,
    }
    _put_errno(spec, "errnoRet", rule.errno, rule.errno_ret, where)
    if rule.args:
        spec["args"] = [
            {"index": a.index, "value": a.value, "valueTwo": a.value_two, "op": a.op}
            for a in rule.args
        ]
    return spec


def _put_errno(spec: dict[str, Any], key: str, name: str, number: int | None, where: str) -> None:
    """The name goes before the number, as with podman; other actions than ERRNO have neither."""
    if name and not hasattr(errno, name):
        raise OptionError(f"{where}: {name!r} is not the name of an error")
    value = getattr(errno, name) if name else number
    if value is not None:
        spec[key] = value
