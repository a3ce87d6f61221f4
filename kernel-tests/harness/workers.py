"""Twelve kinds of programs with exact expectations, for a file system whose server is killed.

Each works in a directory of its own until a file appears, then checks what must be there. Run as
`python workers.py NAME DIRECTORY STOP`; exit status 0 and a count of rounds, or a traceback.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

Worker = Callable[[Path, Iterator[int]], None]
WORKERS: dict[str, Worker] = {}
EXCHANGE = 2
_libc = ctypes.CDLL(None, use_errno=True)


def worker(function: Worker) -> Worker:
    """Name a worker."""
    WORKERS[function.__name__] = function
    return function


def must_fail(code: int, function: Callable[..., object], *args: object) -> None:
    """The call must fail with just this errno."""
    got = 0
    try:
        function(*args)
    except OSError as error:
        got = error.errno or 0
    assert got == code, f"{function.__name__}{args}: errno {got}, not {code}"


@worker
def append(d: Path, rounds: Iterator[int]) -> None:
    fd = os.open(d / "log", os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND)
    done = 0
    for n in rounds:
        os.write(fd, b"%09d\n" % n)
        done = n + 1
    assert (d / "log").read_text().split() == [f"{i:09}" for i in range(done)]


@worker
def names(d: Path, rounds: Iterator[int]) -> None:
    for n in rounds:
        a, b = d / f"a{n}", d / f"b{n}"
        os.close(os.open(a, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640))
        a.rename(b)
        os.link(b, a)
        assert a.stat().st_nlink == 2
        a.unlink()
        b.unlink()
        must_fail(errno.ENOENT, b.unlink)
    assert list(d.iterdir()) == []


@worker
def dirs(d: Path, rounds: Iterator[int]) -> None:
    for n in rounds:
        p = d / f"d{n % 7}"
        p.mkdir(0o750)
        target = "x" * (n % 50 + 1)
        (p / "l").symlink_to(target)
        assert str((p / "l").readlink()) == target
        must_fail(errno.ENOTEMPTY, p.rmdir)
        os.mkfifo(p / "f")
        (p / "f").unlink()
        (p / "l").unlink()
        moved = p.rename(d / f"{p.name}x")
        moved.rmdir()
        must_fail(errno.EEXIST, d.mkdir)
    assert list(d.iterdir()) == []


@worker
def exchange(d: Path, rounds: Iterator[int]) -> None:
    for name in "ab":
        (d / name).write_text(name)
    for n in rounds:
        if _libc.renameat2(-100, os.fsencode(d / "a"), -100, os.fsencode(d / "b"), EXCHANGE):
            raise OSError(ctypes.get_errno(), "exchange")
        assert (d / "a").read_text() == "ab"[(n + 1) % 2]


@worker
def replace(d: Path, rounds: Iterator[int]) -> None:
    for n in rounds:
        (d / "t").write_text(str(n))
        (d / "t").rename(d / "f")
        assert (d / "f").read_text() == str(n)
    assert [p.name for p in d.iterdir()] == ["f"]


def _sqlite(d: Path, rounds: Iterator[int], mode: str) -> None:
    db = sqlite3.connect(d / "t.db", timeout=60)
    db.execute(f"pragma journal_mode={mode}")
    db.execute("create table t(i)")
    last = -1
    for n in rounds:
        db.execute("insert into t values(?)", (n,))
        db.commit()
        last = n
    assert db.execute("select count(*), max(i) from t").fetchone() == (last + 1, last)
    assert db.execute("pragma integrity_check").fetchone() == ("ok",)


@worker
def sqlite_delete(d: Path, rounds: Iterator[int]) -> None:
    _sqlite(d, rounds, "delete")


@worker
def sqlite_truncate(d: Path, rounds: Iterator[int]) -> None:
    _sqlite(d, rounds, "truncate")


@worker
def xattr(d: Path, rounds: Iterator[int]) -> None:
    p = d / "f"
    p.touch()
    for n in rounds:
        os.setxattr(p, "user.k", b"%d" % n, os.XATTR_CREATE)
        must_fail(errno.EEXIST, os.setxattr, p, "user.k", b"no", os.XATTR_CREATE)
        assert os.getxattr(p, "user.k") == b"%d" % n
        os.removexattr(p, "user.k")
        must_fail(errno.ENODATA, os.removexattr, p, "user.k")


@worker
def unlinked(d: Path, rounds: Iterator[int]) -> None:
    for _ in rounds:
        fd = os.open(d / "tmp", os.O_CREAT | os.O_EXCL | os.O_RDWR)
        (d / "tmp").unlink()
        data = os.urandom(20000)
        os.write(fd, data)
        for _ in range(5):
            time.sleep(0.01)  # so that a kill falls between the calls too
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            assert os.pread(fd, 20000, 0) == data
        os.ftruncate(fd, 100)
        assert os.fstat(fd).st_size == 100
        os.close(fd)


@worker
def read(d: Path, rounds: Iterator[int]) -> None:
    data = random.randbytes(3 << 20)
    (d / "big").write_bytes(data)
    for _ in rounds:
        with (d / "big").open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert hashlib.file_digest(file, "sha256").digest() == hashlib.sha256(data).digest()


@worker
def listing(d: Path, rounds: Iterator[int]) -> None:
    wanted = sorted(f"n{i}" for i in range(300))
    for name in wanted:
        (d / name).touch()
    for _ in rounds:
        assert sorted(p.name for p in d.iterdir()) == wanted


@worker
def git(d: Path, rounds: Iterator[int]) -> None:
    who = {
        f"GIT_{role}_{what}": "a" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    env = {**os.environ, **who, "HOME": str(d)}

    def run(*args: str) -> bytes:
        return subprocess.run(
            ["git", "-C", d, *args], env=env, check=True, capture_output=True
        ).stdout

    run("init", "-q")
    done = 0
    for n in rounds:
        with (d / "f").open("a") as file:
            file.write(f"{n}\n")
        run("add", "f")
        run("commit", "-qm", "x")
        done = n + 1
    run("fsck", "--strict")
    assert len(run("log", "--oneline").splitlines()) == done


def main(name: str, directory: str, stop: str) -> None:
    """Run one worker until `stop` exists."""
    d = Path(directory) / name
    d.mkdir()
    done = 0

    def rounds() -> Iterator[int]:
        nonlocal done
        for n in count():
            if Path(stop).exists():
                return
            yield n
            done = n + 1

    WORKERS[name](d, rounds())
    sys.stdout.write(f"{name} {done}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
