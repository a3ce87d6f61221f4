"""Seccomp profiles: conditions decided, errors named; our own profile by its own conditions."""

from __future__ import annotations

import errno
import json
from typing import Any

import pytest

from imagefs.runtime.errors import OptionError
from imagefs.runtime.seccomp import convert
from imagefs.runtime.seccompdefault import profile

ALLOW = "SCMP_ACT_ALLOW"


def converted(
    rules: list[dict[str, Any]],
    caps: tuple[str, ...] = (),
    kernel: tuple[int, int] = (6, 1),
    **top: Any,
) -> dict[str, Any]:
    document = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules, **top}
    return convert(json.dumps(document).encode(), "p.json", caps, "amd64", kernel)


def names(found: dict[str, Any]) -> list[str]:
    return [name for rule in found["syscalls"] for name in rule["names"]]


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ({}, True),
        ({"includes": {"caps": ["CAP_A"]}}, True),
        ({"includes": {"caps": ["CAP_A", "CAP_B"]}}, False),
        ({"excludes": {"caps": ["CAP_A"]}}, False),
        ({"excludes": {"caps": ["CAP_B"]}}, True),
        ({"includes": {"arches": ["arm64"]}}, False),
        ({"includes": {"arches": ["amd64", "x32"]}}, True),
        ({"excludes": {"arches": ["amd64"]}}, False),
        ({"includes": {"minKernel": "6.1"}}, True),
        ({"includes": {"minKernel": "6.2"}}, False),
        ({"excludes": {"minKernel": "4.8"}}, False),
    ],
)
def test_rules_are_kept_where_their_conditions_hold(condition: dict[str, Any], kept: bool) -> None:
    found = converted([{"names": ["x"], "action": ALLOW, **condition}], ("CAP_A",))
    assert names(found) == (["x"] if kept else [])


def test_errors_by_name_become_numbers() -> None:
    rule = {"names": ["x"], "action": "SCMP_ACT_ERRNO", "errno": "EINVAL", "errnoRet": 1}
    found = converted([rule], defaultErrno="ENOSYS")
    assert found["defaultErrnoRet"] == errno.ENOSYS
    assert found["syscalls"][0]["errnoRet"] == errno.EINVAL


def test_the_hosts_architecture_brings_its_relatives() -> None:
    arch = {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}
    assert converted([], archMap=[arch])["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"defaultAction": 1}',
        b'{"defaultAction": "A", "defaultErrno": "ENOTHING"}',
        b'{"defaultAction": "A", "syscalls": [{"action": "A", "includes": {"minKernel": "x"}}]}',
    ],
)
def test_what_is_no_profile_is_refused_by_name(raw: bytes) -> None:
    with pytest.raises(OptionError, match=r"p\.json"):
        convert(raw, "p.json", (), "amd64", (6, 1))


def test_our_profile_gives_mounting_to_the_administrator_alone() -> None:
    plain = convert(profile(), "own", (), "amd64", (6, 1))
    admin = convert(profile(), "own", ("CAP_SYS_ADMIN",), "amd64", (6, 1))

    def action(found: dict[str, Any], name: str) -> str:
        return next(str(rule["action"]) for rule in found["syscalls"] if name in rule["names"])

    assert action(plain, "mount") == "SCMP_ACT_ERRNO"
    assert action(admin, "mount") == ALLOW
    assert action(plain, "openat") == action(plain, "execve") == ALLOW
    assert "clone3" not in names(plain)
    assert plain["defaultErrnoRet"] == errno.ENOSYS
