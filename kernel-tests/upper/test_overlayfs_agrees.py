"""The kernel's overlayfs and the engine show the same upper the same way, whoever wrote it."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings

from imagefs.formats.index import Entry
from imagefs.testing.overlayfs import engine_on, overlayfs
from imagefs.testing.upper_ops import Operation, apply, operation_lists, small_tree
from imagefs.testing.uppers import OLD, dump, extract, lower_tree

slow = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@given(operation_lists)
@example([("rename", b"d", b"n"), ("mkdir", b"d", 0o755), ("rename", b"n", b"d/n")])
@example([("link", b"t", b"n"), ("chmod", b"n", 0o600), ("rename", b"n", b"d/n")])
@example([("unlink", b"d/sub/x"), ("rename", b"e/empty", b"d/sub"), ("mkdir", b"e/empty", 0o755)])
@slow
def test_the_kernel_shows_what_the_engine_wrote(operations: list[Operation]) -> None:
    with tempfile.TemporaryDirectory() as text:
        where, tree = Path(text), small_tree(0, 0)
        extract(tree, where / "lower", owners=True)
        with engine_on(tree, where) as engine:
            for operation in operations:
                apply(operation, engine)
            # overlayfs counts the links of untouched lower files in the lower
            expected = dump(engine, nlinks=False)
        with overlayfs(where / "lower", where) as kernel:
            assert dump(kernel, nlinks=False) == expected


@given(operation_lists)
@example([("rename", b"d", b"n"), ("chmod", b"n/sub/x", 0o600), ("rename", b"n/sub/x", b"t")])
@slow
def test_the_engine_shows_what_the_kernel_wrote(operations: list[Operation]) -> None:
    with tempfile.TemporaryDirectory() as text:
        where, tree = Path(text), small_tree(0, 0)
        extract(tree, where / "lower", owners=True)
        with engine_on(tree, where):
            pass  # gives the upper's root the lower's attributes
        with overlayfs(where / "lower", where) as kernel:
            for operation in operations:
                apply(operation, kernel)
            expected = dump(kernel, nlinks=False)
        for _ in range(2):  # what the first writes down, the second reads
            with engine_on(tree, where) as engine:
                assert dump(engine, nlinks=False) == expected


@given(operation_lists, operation_lists)
@settings(slow, max_examples=60)
def test_a_container_changes_driver_and_back(
    first: list[Operation], second: list[Operation]
) -> None:
    with tempfile.TemporaryDirectory() as text:
        where, tree = Path(text), small_tree(0, 0)
        extract(tree, where / "lower", owners=True)
        with engine_on(tree, where) as engine:
            for operation in first:
                apply(operation, engine)
        with overlayfs(where / "lower", where) as kernel:
            for operation in second:
                apply(operation, kernel)
            expected = dump(kernel, nlinks=False)
        with engine_on(tree, where) as engine:
            assert dump(engine, nlinks=False) == expected
            for operation in first:
                apply(operation, engine)
            expected = dump(engine, nlinks=False)
        with overlayfs(where / "lower", where) as kernel:
            assert dump(kernel, nlinks=False) == expected


def devices_and_owners() -> list[Entry]:
    acl = bytes.fromhex("0200000001000700ffffffff02000700e803000004000500ffffffff10000700ffffffff")
    acl += bytes.fromhex("20000000ffffffff")
    return [
        Entry(b"", stat.S_IFDIR, 0o755, mtime_ns=OLD),
        Entry(b"dev", stat.S_IFDIR, 0o755, 7, 8, mtime_ns=OLD),
        Entry(b"dev/null", stat.S_IFCHR, 0o666, 1, 2, major=1, minor=3, mtime_ns=OLD),
        Entry(b"dev/sda", stat.S_IFBLK, 0o660, 1, 2, major=8, minor=1, mtime_ns=OLD),
        Entry(b"su", stat.S_IFREG, 0o4755, 3, 4, 6000, mtime_ns=OLD),
        Entry(b"link", stat.S_IFLNK, 0o777, 5, 6, link=b"su", mtime_ns=OLD),
        Entry(
            b"shared",
            stat.S_IFDIR,
            0o2775,
            9,
            10,
            mtime_ns=OLD,
            xattrs=((b"system.posix_acl_default", acl), (b"trusted.own", b"1")),
        ),
    ]


STEPS: dict[str, list[Operation]] = {
    "chown of a set-uid file": [("chown", b"su", 11, 12), ("chmod", b"su", 0o4711)],
    "chown of devices and symlinks": [
        ("chown", b"dev/null", 1, 1),
        ("chown", b"dev/sda", 1, 1),
        ("chown", b"link", 1, 1),
    ],
    "renamed device": [("rename", b"dev/null", b"null"), ("rename", b"dev", b"dev2")],
    "new devices": [
        ("mknod", b"dev/c", stat.S_IFCHR | 0o600, os.makedev(5, 1)),
        ("mknod", b"dev/b", stat.S_IFBLK | 0o600, os.makedev(7, 300)),
        ("mknod", b"dev/s", stat.S_IFSOCK | 0o600),
    ],
    "no whiteouts by mknod": [("mknod", b"dev/w", stat.S_IFCHR, 0)],
    "set-group-id and default ACLs are inherited": [
        ("mkdir", b"shared/d", 0o777),
        ("create", b"shared/f", 0o666),
        ("mknod", b"shared/p", stat.S_IFIFO | 0o622),
        ("mkdir", b"shared/d/e", 0o700),
    ],
    "xattrs of every namespace": [
        ("setxattr", b"shared", b"trusted.own", b"2"),
        ("setxattr", b"link", b"trusted.l", b"2"),
        ("setxattr", b"su", b"security.capability", bytes.fromhex("0100000200040000" + 24 * "0")),
        ("setxattr", b"su", b"trusted.overlay.redirect", b"/etc"),
        ("removexattr", b"shared", b"system.posix_acl_default"),
    ],
}


@pytest.mark.parametrize("name", STEPS)
def test_engine_kernel_and_plain_directory_agree_on(name: str, tmp_path: Path) -> None:
    tree = lower_tree(devices_and_owners())
    results = []
    dumps = []
    for writer in ("engine", "kernel"):
        where = tmp_path / writer
        extract(tree, where / "lower", owners=True)
        with engine_on(tree, where) as engine:
            if writer == "engine":
                results.append([apply(step, engine) for step in STEPS[name]])
        with overlayfs(where / "lower", where) as kernel:
            if writer == "kernel":
                results.append([apply(step, kernel) for step in STEPS[name]])
            dumps.append(dump(kernel))
        with engine_on(tree, where) as engine:
            dumps.append(dump(engine))
    assert results[0] == results[1]
    assert all(each == dumps[0] for each in dumps)


@pytest.fixture(autouse=True)
def _usual_umask() -> object:
    old = os.umask(0o022)
    yield
    os.umask(old)
