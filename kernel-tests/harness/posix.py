"""What a file system must do, as functions of a directory on it; they raise where it does not.

The list runs on ext4 first, which proves the list; then on overlayfs and on imagefs.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from imagefs.system.renames import EXCHANGE, NOREPLACE, renameat2

Case = Callable[[Path], None]
CASES: list[Case] = []
AT_FDCWD = -100


def case(function: Case) -> Case:
    """Add a function to the list."""
    CASES.append(function)
    return function


def rename(old: Path, new: Path, flags: int) -> None:
    renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags)


def code(function: Callable[..., object], *args: object) -> int:
    """The errno with which a call fails."""
    try:
        function(*args)
    except OSError as error:
        return error.errno or 0
    return 0


@case
def create_write_read(d: Path) -> None:
    (d / "f").write_bytes(b"one")
    with (d / "f").open("r+b") as file:
        file.seek(10)
        file.write(b"two")
    assert (d / "f").read_bytes() == b"one" + bytes(7) + b"two"
    assert code(os.open, d / "f", os.O_CREAT | os.O_EXCL) == errno.EEXIST


@case
def open_truncates(d: Path) -> None:
    (d / "f").write_bytes(b"hello")
    (d / "f").write_bytes(b"a")
    assert (d / "f").read_bytes() == b"a"


@case
def truncate_shorter_and_longer(d: Path) -> None:
    (d / "f").write_bytes(b"0123456789" * 1000)
    os.truncate(d / "f", 5)
    os.truncate(d / "f", 9000)
    assert (d / "f").read_bytes() == b"01234" + bytes(8995)


@case
def append_goes_to_the_end(d: Path) -> None:
    a = os.open(d / "f", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    b = os.open(d / "f", os.O_WRONLY | os.O_APPEND)
    for i in range(50):
        os.write(a if i % 2 else b, b"%02d" % i)
    os.close(a)
    os.close(b)
    assert (d / "f").read_bytes() == b"".join(b"%02d" % i for i in range(50))


@case
def unlinked_file_lives_while_open(d: Path) -> None:
    fd = os.open(d / "f", os.O_CREAT | os.O_RDWR)
    (d / "f").unlink()
    os.write(fd, b"still here")
    assert os.pread(fd, 100, 0) == b"still here"
    assert os.fstat(fd).st_nlink == 0
    assert list(d.iterdir()) == []
    os.close(fd)


@case
def replaced_file_lives_while_open(d: Path) -> None:
    (d / "old").write_bytes(b"old")
    (d / "new").write_bytes(b"new")
    with (d / "old").open("rb") as file:
        (d / "new").rename(d / "old")
        assert file.read() == b"old"
    assert (d / "old").read_bytes() == b"new"


@case
def hard_links_share(d: Path) -> None:
    (d / "a").write_bytes(b"x")
    os.link(d / "a", d / "b")
    (d / "b").write_bytes(b"changed")
    assert (d / "a").read_bytes() == b"changed"
    assert (d / "a").stat().st_ino == (d / "b").stat().st_ino
    assert (d / "a").stat().st_nlink == 2
    (d / "a").unlink()
    assert (d / "b").stat().st_nlink == 1


@case
def rename_flags(d: Path) -> None:
    (d / "a").write_bytes(b"a")
    (d / "b").write_bytes(b"b")
    assert code(rename, d / "a", d / "b", NOREPLACE) == errno.EEXIST
    rename(d / "a", d / "b", EXCHANGE)
    assert ((d / "a").read_bytes(), (d / "b").read_bytes()) == (b"b", b"a")
    rename(d / "a", d / "c", NOREPLACE)
    assert sorted(p.name for p in d.iterdir()) == ["b", "c"]
    assert code(rename, d / "b", d / "missing", EXCHANGE) == errno.ENOENT


@case
def rename_directories(d: Path) -> None:
    (d / "a/x").mkdir(parents=True)
    (d / "b/full").mkdir(parents=True)
    assert code(os.rename, d / "a", d / "b") == errno.ENOTEMPTY
    assert code(os.rename, d / "a", d / "a/x/y") == errno.EINVAL
    (d / "a").rename(d / "c")
    assert (d / "c/x").is_dir()
    assert d.stat().st_nlink == 4


@case
def directories(d: Path) -> None:
    (d / "x").mkdir(0o750)
    assert stat.S_IMODE((d / "x").stat().st_mode) == 0o750
    assert code(os.mkdir, d / "x") == errno.EEXIST
    (d / "x/f").touch()
    assert code(os.rmdir, d / "x") == errno.ENOTEMPTY
    assert code(os.rmdir, d / "x/f") == errno.ENOTDIR
    assert code(os.unlink, d / "x") in (errno.EISDIR, errno.EPERM)
    assert code(os.mkdir, d / ("n" * 256)) == errno.ENAMETOOLONG


@case
def replaced_directory_lives_while_open(d: Path) -> None:
    (d / "old").mkdir()
    (d / "new").mkdir()
    fd = os.open(d / "old", os.O_RDONLY | os.O_DIRECTORY)
    (d / "new").rename(d / "old")
    number = os.fstat(fd).st_ino
    for i in range(30):
        (d / f"{i}").mkdir()
        assert (d / f"{i}").stat().st_ino != number
    assert (os.fstat(fd).st_nlink, os.listdir(fd)) == (0, [])  # noqa: PTH208 - of a descriptor
    assert code(lambda: os.mkdir("x", dir_fd=fd)) == errno.ENOENT
    os.fchmod(fd, 0o700)
    os.close(fd)


@case
def locks_are_between_processes(d: Path) -> None:
    with (d / "f").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert subprocess.run(["flock", "-n", str(d / "f"), "true"], check=False).returncode == 1
        fcntl.flock(file, fcntl.LOCK_UN)
        subprocess.run(["flock", "-n", str(d / "f"), "true"], check=True)
        fcntl.lockf(file, fcntl.LOCK_EX, 10, 5)
        script = (
            "import fcntl, sys\n"
            "file = open(sys.argv[1], 'r+')\n"
            "fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 0)\n"
            "try: fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 14)\n"
            "except OSError: sys.exit(3)"
        )
        command = [sys.executable, "-c", script, str(d / "f")]
        assert subprocess.run(command, check=False).returncode == 3


@case
def truncation_shows_in_mappings(d: Path) -> None:
    (d / "f").write_bytes(b"x" * 8192)
    fd = os.open(d / "f", os.O_RDWR)
    with mmap.mmap(fd, 8192) as view:
        view[0:1] = b"y"
        os.close(os.open(d / "f", os.O_WRONLY | os.O_TRUNC))
        os.ftruncate(fd, 100)
        assert view[0:100] == bytes(100)
    os.close(fd)


@case
def long_names_and_deep_trees(d: Path) -> None:
    n, m = "n" * 255, "m" * 255
    (d / n).touch()
    (d / n).rename(d / m)
    os.link(d / m, d / n)
    assert sorted(p.name for p in d.iterdir()) == [m, n]
    assert code(os.rename, d / n, d / (n + "n")) == errno.ENAMETOOLONG
    fds = [os.open(d, os.O_RDONLY)]
    for _ in range(25):  # 5,000 bytes: more than PATH_MAX
        os.mkdir("d" * 200, dir_fd=fds[-1])
        fds.append(os.open("d" * 200, os.O_RDONLY, dir_fd=fds[-1]))
    os.close(os.open("f", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=fds[-1]))
    os.rename("f", "g", src_dir_fd=fds[-1], dst_dir_fd=fds[-2])
    assert os.listdir(fds[-1]) == []  # noqa: PTH208 - of a descriptor
    for fd in fds:
        os.close(fd)
    subprocess.run(["rm", "-r", str(d / ("d" * 200))], check=True)


@case
def listing_is_complete_while_it_changes(d: Path) -> None:
    stay = {f"stay{i}" for i in range(1000)}
    for i in range(1000):
        (d / f"stay{i}").touch()
        (d / f"go{i}").touch()
    seen = []
    with os.scandir(d) as rows:
        for i, row in enumerate(rows):
            seen.append(row.name)
            if i < 500:
                (d / f"new{i}").touch()
                (d / f"go{i}").rename(d / f"gone{i}")
    assert stay <= set(seen)
    assert len(seen) == len(set(seen))


@case
def moved_directories_keep_link_counts(d: Path) -> None:
    for name in ("a/x", "b"):
        (d / name).mkdir(parents=True)
    (d / "a/x").rename(d / "b/x")
    assert [(d / p).stat().st_nlink for p in (".", "a", "b")] == [4, 2, 3]
    (d / "a").rename(d / "b/x")
    assert [(d / p).stat().st_nlink for p in (".", "b", "b/x")] == [3, 3, 2]


@case
def old_and_late_times(d: Path) -> None:
    f = d / "f"
    f.touch()
    for seconds in (-1, -(2**31), 2**31, 2**32, 2**33):
        os.utime(f, (seconds, seconds))
        assert f.stat().st_mtime == seconds
    os.utime(f, ns=(-1, -1))
    assert f.stat().st_mtime_ns == -1


@case
def chown_of_nothing_moves_ctime(d: Path) -> None:
    (d / "f").touch()
    before = (d / "f").stat().st_ctime_ns
    for _ in range(10_000):  # the clock of file systems is coarse
        os.chown(d / "f", -1, -1)
        if (d / "f").stat().st_ctime_ns > before:
            return
    raise AssertionError(before)


@case
def modes_owners_and_times(d: Path) -> None:
    f = d / "f"
    f.touch()
    f.chmod(0o4751)
    assert stat.S_IMODE(f.stat().st_mode) == 0o4751
    os.chown(f, 12, 34)
    assert (f.stat().st_uid, f.stat().st_gid) == (12, 34)
    assert not f.stat().st_mode & stat.S_ISUID  # chown takes it away
    os.utime(f, ns=(1_234_567_890_123_456_789, 987_654_321_987_654_321))
    assert f.stat().st_mtime_ns == 987_654_321_987_654_321
    assert f.stat().st_atime_ns == 1_234_567_890_123_456_789
    before = f.stat().st_ctime_ns
    f.chmod(0o600)
    assert f.stat().st_ctime_ns >= before


@case
def writing_changes_times(d: Path) -> None:
    f = d / "f"
    f.touch()
    os.utime(f, ns=(1, 1))
    f.write_bytes(b"x")
    assert f.stat().st_mtime_ns > 1
    os.utime(d, ns=(1, 1))
    (d / "g").touch()
    assert d.stat().st_mtime_ns > 1


@case
def symlinks(d: Path) -> None:
    (d / "l").symlink_to("a" * 4000)
    assert (d / "l").readlink() == Path("a" * 4000)
    (d / "m").symlink_to("l2")
    (d / "l2").write_text("through")
    assert (d / "m").read_text() == "through"
    os.chown(d / "m", 5, 6, follow_symlinks=False)
    assert (d / "m").lstat().st_uid == 5


@case
def special_files(d: Path) -> None:
    os.mkfifo(d / "fifo")
    os.mknod(d / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    assert stat.S_ISFIFO((d / "fifo").stat().st_mode)
    assert (d / "null").stat().st_rdev == os.makedev(1, 3)


@case
def names_are_bytes(d: Path) -> None:
    name = b"caf\xe9\n\\ \xff"
    os.close(os.open(os.fsencode(d) + b"/" + name, os.O_CREAT))
    with os.scandir(os.fsencode(d)) as rows:
        assert [row.name for row in rows] == [name]


@case
def user_xattrs(d: Path) -> None:
    f = d / "f"
    f.touch()
    os.setxattr(f, "user.a", b"1", os.XATTR_CREATE)
    assert code(os.setxattr, f, "user.a", b"2", os.XATTR_CREATE) == errno.EEXIST
    assert code(os.setxattr, f, "user.b", b"2", os.XATTR_REPLACE) == errno.ENODATA
    os.setxattr(f, "user.empty", b"")
    assert os.getxattr(f, "user.a") == b"1"
    assert sorted(os.listxattr(f)) == ["user.a", "user.empty"]
    os.removexattr(f, "user.a")
    assert code(os.getxattr, f, "user.a") == errno.ENODATA


@case
def acls_are_enforced(d: Path) -> None:
    f = d / "secret"
    f.write_text("x")
    f.chmod(0o600)
    reader = ["setpriv", "--reuid", "1234", "--regid", "1234", "--clear-groups", "cat", str(f)]
    assert subprocess.run(reader, capture_output=True, check=False).returncode != 0
    subprocess.run(["setfacl", "-m", "u:1234:r", str(f)], check=True)
    assert subprocess.run(reader, capture_output=True, check=False).returncode == 0
    assert stat.S_IMODE(f.stat().st_mode) == 0o640  # the mask shows as the group's bits
    f.chmod(0o600)
    assert subprocess.run(reader, capture_output=True, check=False).returncode != 0


@case
def default_acls_are_inherited(d: Path) -> None:
    subprocess.run(["setfacl", "-d", "-m", "u:1234:rw", str(d)], check=True)
    (d / "f").touch()
    shown = subprocess.run(
        ["getfacl", "-cpE", str(d / "f")], check=True, capture_output=True, text=True
    ).stdout
    assert "user:1234:rw" in shown


@case
def mode_bits_are_enforced(d: Path) -> None:
    (d / "f").write_text("x")
    (d / "f").chmod(0o600)
    command = ["setpriv", "--reuid", "99", "--regid", "99", "--clear-groups", "cat", str(d / "f")]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


@case
def writing_takes_set_user_id_away(d: Path) -> None:
    f = d / "f"
    f.write_text("x")
    f.chmod(0o4777)
    script = f"echo y >> {f}"
    subprocess.run(
        ["setpriv", "--reuid", "99", "--regid", "99", "--clear-groups", "sh", "-c", script],
        check=True,
    )
    assert not f.stat().st_mode & stat.S_ISUID


@case
def shared_mappings(d: Path) -> None:
    (d / "f").write_bytes(bytes(20000))
    fd = os.open(d / "f", os.O_RDWR)
    with mmap.mmap(fd, 20000) as one, mmap.mmap(fd, 20000) as two:
        one[5000:5005] = b"hello"
        assert two[5000:5005] == b"hello"
        one.flush()
    assert os.pread(fd, 5, 5000) == b"hello"
    os.close(fd)
    assert (d / "f").read_bytes()[5000:5005] == b"hello"


@case
def writes_show_in_mappings(d: Path) -> None:
    (d / "f").write_bytes(bytes(8192))
    fd = os.open(d / "f", os.O_RDWR)
    with mmap.mmap(fd, 8192, prot=mmap.PROT_READ) as view:
        assert view[0] == 0
        os.pwrite(fd, b"Z", 0)
        assert view[0] == ord("Z")
    os.close(fd)


@case
def locks(d: Path) -> None:
    with (d / "f").open("w") as a, (d / "f").open("w") as b:
        fcntl.flock(a, fcntl.LOCK_EX)
        assert code(fcntl.flock, b, fcntl.LOCK_EX | fcntl.LOCK_NB) == errno.EWOULDBLOCK
        fcntl.flock(a, fcntl.LOCK_UN)
        fcntl.lockf(a, fcntl.LOCK_EX)


@case
def listing_is_complete_while_it_shrinks(d: Path) -> None:
    names = [f"n{i:05}" for i in range(10_000)]
    for name in names:
        (d / name).touch()
    with os.scandir(d) as rows:
        seen = []
        for row in rows:
            seen.append(row.name)
            Path(row.path).unlink()
    assert sorted(seen) == names
    assert list(d.iterdir()) == []


@case
def dot_and_dotdot_are_listed(d: Path) -> None:
    shown = subprocess.run(["ls", "-ai", str(d)], check=True, capture_output=True, text=True)
    here, above = (int(line.split()[0]) for line in shown.stdout.splitlines())
    assert (here, above) == (d.stat().st_ino, d.parent.stat().st_ino)


@case
def holes_read_as_zeros(d: Path) -> None:
    with (d / "f").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"end")
    fd = os.open(d / "f", os.O_RDONLY)
    assert os.pread(fd, 4, 1000) == bytes(4)
    assert os.lseek(fd, 1 << 20, os.SEEK_DATA) == 1 << 20
    assert os.lseek(fd, 1 << 20, os.SEEK_HOLE) == (1 << 20) + 3
    os.close(fd)


@case
def statfs_tells(d: Path) -> None:
    found = os.statvfs(d)
    assert found.f_namemax == 255
    assert 0 < found.f_bavail <= found.f_bfree <= found.f_blocks
    assert found.f_bsize >= 512


@case
def fsync_works(d: Path) -> None:
    fd = os.open(d / "f", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"x")
    os.fsync(fd)
    os.fdatasync(fd)
    os.close(fd)
    fd = os.open(d, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)


@case
def programs_work(d: Path) -> None:
    def run(*command: str) -> None:
        subprocess.run(command, cwd=d, check=True, capture_output=True)

    run("dd", "if=/dev/urandom", "of=a", "bs=64k", "count=20", "conv=fsync")
    run("cp", "--sparse=always", "a", "b")
    run("cp", "--reflink=auto", "-a", "a", "c")
    run("cmp", "a", "b")
    run("cmp", "a", "c")
    run("truncate", "-s", "10M", "a")
    run("tar", "-cf", "t.tar", "a", "b")
    run("mkdir", "out")
    run("tar", "-C", "out", "-xf", "t.tar")
    run("cmp", "a", "out/a")
    run("rm", "-r", "out")
    run("sed", "-i", "1d", "b")


@case
def sqlite_works(d: Path) -> None:
    for mode in ("delete", "wal"):
        db = sqlite3.connect(d / f"{mode}.db")
        assert db.execute(f"pragma journal_mode={mode}").fetchone() == (mode,)
        db.execute("create table t(i)")
        for i in range(20):
            db.execute("insert into t values(?)", (i,))
            db.commit()
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)
        db.close()


def fallocate(fd: int, length: int) -> int:
    """The errno of the bare system call, without glibc's emulation; 0 if it worked."""
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.fallocate(fd, 0, ctypes.c_long(0), ctypes.c_long(length))
    return ctypes.get_errno() if done else 0
