"""What a kernel asks of the engine and a plain directory does not show."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imagefs.formats.index import Entry
from imagefs.testing.overlayfs import engine_on
from imagefs.testing.upper_ops import small_tree
from imagefs.testing.uppers import OLD, EngineDir, data_of, dump, lower_tree, walk
from imagefs.tree import ROOT, Tree
from imagefs.upper import BORN, EXCHANGE, Caller, Engine, SetAttr, Squash, UpperDir
from imagefs.upper.journal import OPERATIONS, SLOTS
from imagefs.upper.load import UpperError
from imagefs.upper.userdialect import DialectError, UserDialect

ME = Caller(4711, os.getuid(), os.getgid(), 0o022)
SETXATTR = {name: code for code, name in OPERATIONS.items()}["setxattr"]


def tree() -> Tree:
    return small_tree(os.getuid(), os.getgid())


@contextmanager
def engine(where: Path, resent: dict[int, int] | None = None) -> Iterator[EngineDir]:
    with engine_on(tree(), where, UserDialect(), resent=resent) as made:
        yield made


def fails(code: int) -> pytest.RaisesExc[OSError]:
    return pytest.raises(OSError, check=lambda error: error.errno == code)


# -- files without a name


@pytest.mark.parametrize("path", [b"t", b"n"], ids=["lower", "born"])
def test_an_unlinked_file_lives_until_it_is_forgotten(path: bytes, tmp_path: Path) -> None:
    with engine(tmp_path) as fs:
        if path == b"n":
            fs.create(path, 0o600)
            fs.write(path, 0, b"hello")
        ino, data = fs.ino(path), fs.read(path)
        fs.unlink(path)
        assert fs.engine.getattr(ino).nlink == 0
        fs.lift(ino)
        assert fs.read_ino(ino) == data
        os.pwrite(fs.engine.data_fd(ino) or -1, b"J", 0)
        fs.engine.setattr(ino, SetAttr(mode=0o640), ME)
        with fails(errno.ENOENT):
            fs.engine.link(ino, ROOT, b"again", ME)
        with engine(tmp_path) as after:
            assert after.read_ino(ino) == b"J" + data[1:]
            assert after.engine.getattr(ino).mode == stat.S_IFREG | 0o640
            assert after.engine.getattr(ino).nlink == 0
            after.engine.forget([(ino, 1)])
        assert not list((tmp_path / "work" / "orphans").iterdir())


def test_a_replaced_file_lives_until_it_is_forgotten(tmp_path: Path) -> None:
    with engine(tmp_path) as fs:
        fs.create(b"n", 0o600)
        fs.write(b"n", 0, b"old")
        ino = fs.ino(b"n")
        fs.rename(b"t", b"n")
        assert fs.read_ino(ino) == b"old"
        assert fs.engine.getattr(ino).nlink == 0
        fs.engine.forget([(ino, 1)])
        with fails(errno.ESTALE):
            fs.engine.getattr(ino)


@pytest.mark.parametrize("path", [b"n", b"e/empty"], ids=["born", "lower"])
def test_a_replaced_directory_lives_until_it_is_forgotten(path: bytes, tmp_path: Path) -> None:
    with engine(tmp_path) as fs:
        if path == b"n":
            fs.mkdir(path, 0o755)
        ino = fs.ino(path)
        fs.mkdir(b"new", 0o700)
        fs.rename(b"new", path)
        for again in (fs, None):
            with engine(tmp_path) as other:
                now = (again or other).engine
                assert now.getattr(ino).nlink == 0
                assert list(now.readdir(ino)) == []
                with fails(errno.ENOENT):
                    now.mkdir(ino, b"x", 0o755, ME)
        fs.engine.setattr(ino, SetAttr(mode=0o711), ME)
        assert fs.engine.getattr(ino).mode == stat.S_IFDIR | 0o711
        fs.engine.forget([(ino, 1)])
        assert not list((tmp_path / "work" / "orphans").iterdir())


def test_no_new_directory_gets_the_number_of_a_replaced_one(tmp_path: Path) -> None:
    with engine(tmp_path) as fs:
        fs.mkdir(b"old", 0o755)
        ino = fs.ino(b"old")
        fs.mkdir(b"new", 0o755)
        fs.rename(b"new", b"old")
        for i in range(30):
            fs.mkdir(b"%d" % i, 0o755)
            assert fs.ino(b"%d" % i) != ino


def test_a_late_forget_leaves_what_was_looked_up_since(tmp_path: Path) -> None:
    with engine(tmp_path) as fs:
        fs.create(b"n", 0o600)
        ino = fs.ino(b"n")
        fs.engine.known(ino)
        fs.engine.known(ino)
        fs.unlink(b"n")
        fs.engine.forget([(ino, 1)])
        assert fs.engine.getattr(ino).nlink == 0
        fs.engine.forget([(ino, 1)])
        with fails(errno.ESTALE):
            fs.engine.getattr(ino)


def test_a_removed_directory_is_empty_and_takes_nothing(tmp_path: Path) -> None:
    with engine(tmp_path) as fs:
        for path in (b"n", b"e/empty"):
            if path == b"n":
                fs.mkdir(path, 0o755)
            ino = fs.ino(path)
            fs.rmdir(path)
            assert fs.engine.getattr(ino).nlink == 0
            assert list(fs.engine.readdir(ino)) == []
            with fails(errno.ENOENT):
                fs.engine.mkdir(ino, b"x", 0o755, ME)


def test_a_fresh_mount_deletes_orphans_and_what_was_never_put_in_place(tmp_path: Path) -> None:
    with engine(tmp_path) as fs:
        fs.create(b"n", 0o600)
        fs.unlink(b"n")
        (tmp_path / "work" / "made" / "left").mkdir()
        upper = UpperDir(tmp_path / "upper", tmp_path / "work")
        Engine(tree(), upper, dialect=UserDialect()).begin()
        assert upper.listing("orphans") == upper.listing("made") == []
        upper.close()


# -- inode numbers and listings


def test_lower_objects_keep_their_numbers_and_born_ones_are_above(tmp_path: Path) -> None:
    with engine(tmp_path) as fs:
        before = {path: st.ino for path, st in walk(fs)}
        for path in before:
            if path and not stat.S_ISLNK(fs.lstat(path).mode):
                fs.chmod(path, 0o700)
        fs.write(b"d/f", 0, b"x")
        fs.rename(b"d", b"moved")
        fs.create(b"n", 0o600)
        for again in (fs, None):
            with engine(tmp_path) as other:
                seen = {path: st.ino for path, st in walk(again or other)}
            born = seen.pop(b"n")
            assert born >= BORN
            assert {p.replace(b"moved", b"d", 1): i for p, i in seen.items()} == before


def test_a_listing_continues_after_any_cookie_while_names_come_and_go(tmp_path: Path) -> None:
    with engine(tmp_path) as fs:
        names = {b"f%d" % i for i in range(200)}
        fs.mkdir(b"n", 0o755)
        for name in names:
            fs.create(b"n/" + name, 0o600)
            fs.reply()
        ino, seen, cookie = fs.ino(b"n"), set[bytes](), 0
        while rows := list(fs.engine.readdir(ino, cookie))[:7]:
            assert not seen & {row.name for row in rows}
            seen |= {row.name for row in rows}
            cookie = rows[-1].cookie
            fs.create(b"n/x%d" % len(seen), 0o600)
            fs.unlink(b"n/" + rows[0].name)
            fs.reply()
        assert names <= seen


# -- copying data up


def test_readers_see_lower_data_until_a_copy_is_committed(tmp_path: Path) -> None:
    with engine(tmp_path) as fs:
        before, ino = dump(fs), fs.ino(b"d/f")
        job = fs.engine.copy_up(ino)
        assert job is not None
        job.write(0, b"#" * 5000)
        assert dump(fs) == before
        with engine(tmp_path) as crashed:
            assert dump(crashed) == before
        job.write(0, data_of(job.content))
        job.commit()
        assert dump(fs) == before
        assert fs.engine.copy_up(ino) is None


def test_the_slower_of_two_copies_changes_nothing(tmp_path: Path) -> None:
    with engine(tmp_path) as fs:
        ino = fs.ino(b"t")
        fast, slow = fs.engine.copy_up(ino), fs.engine.copy_up(ino)
        assert fast is not None
        assert slow is not None
        fast.write(0, data_of(fast.content))
        fast.commit()
        fs.write(b"t", 0, b"written by a user")
        slow.write(0, data_of(slow.content))
        slow.commit()
        slow.abort()
        assert fs.read(b"t").startswith(b"written by a user")


def test_an_aborted_copy_leaves_the_file_lower(tmp_path: Path) -> None:
    with engine(tmp_path) as fs:
        before, ino = dump(fs), fs.ino(b"t")
        job = fs.engine.copy_up(ino)
        assert job is not None
        job.write(0, b"#" * 10)
        job.abort()
        job.commit()
        assert fs.engine.data_fd(ino) is None
        assert dump(fs) == before
        with engine(tmp_path) as after:
            assert dump(after) == before


def test_times_set_while_data_is_copied_stay(tmp_path: Path) -> None:
    with engine(tmp_path) as fs:
        job = fs.engine.copy_up(fs.ino(b"t"))
        assert job is not None
        fs.utime(b"t", OLD + 99)
        job.write(0, data_of(job.content))
        job.commit()
        assert fs.lstat(b"t").mtime_ns == OLD + 99


def test_a_size_needs_the_data_first(tmp_path: Path) -> None:
    with engine(tmp_path) as fs, fails(errno.EINVAL):
        fs.engine.setattr(fs.ino(b"t"), SetAttr(size=10), ME)


# -- requests that come twice


def test_a_resent_xattr_create_is_told_that_there_is_none(tmp_path: Path) -> None:
    with engine(tmp_path) as fs:
        ino = fs.ino(b"z")
        fs.engine.setxattr(ino, b"user.k", b"1", ME)  # done, but the reply was lost
        other = replace_pid(4712)
        with engine(tmp_path, resent={ME.pid: SETXATTR}) as after:
            assert after.engine.getxattr(ino, b"user.k", other) == b"1"
            with fails(errno.ENODATA):
                after.engine.getxattr(ino, b"user.k", ME)
            after.engine.setxattr(ino, b"user.k", b"1", ME)
            after.reply()
            assert after.engine.getxattr(ino, b"user.k", ME) == b"1"
        with engine(tmp_path, resent={ME.pid: SETXATTR}) as later:
            assert later.engine.getxattr(ino, b"user.k", ME) == b"1"


def replace_pid(pid: int) -> Caller:
    return ME._replace(pid=pid)


def test_an_answered_request_is_not_taken_for_a_resent_one(tmp_path: Path) -> None:
    with engine(tmp_path) as fs:
        fs.engine.mkdir(ROOT, b"n", 0o755, ME)
        fs.reply()
        with engine(tmp_path, resent={ME.pid: 9}) as after, fails(errno.EEXIST):
            after.engine.mkdir(ROOT, b"n", 0o755, ME)


def test_without_the_journal_a_resent_request_fails(tmp_path: Path) -> None:
    with engine_on(tree(), tmp_path, UserDialect(), journal=False) as fs:
        fs.engine.mkdir(ROOT, b"n", 0o755, ME)
    with (
        engine_on(tree(), tmp_path, UserDialect(), journal=False, resent={ME.pid: 9}) as after,
        fails(errno.EEXIST),
    ):
        after.engine.mkdir(ROOT, b"n", 0o755, ME)


@pytest.mark.parametrize("size", [0, 1, 65536])
def test_a_long_request_fits_the_journal(size: int, tmp_path: Path) -> None:
    value = b"v" * size
    with engine(tmp_path) as fs:
        assert fs.journal is not None
        args = (5, b"user." + b"k" * 250, value)
        slot = fs.journal.intend(1, "setxattr", args, {"absent": 1})
        assert slot is not None
        with engine(tmp_path, resent={1: SETXATTR}) as after:
            assert after.journal is not None
            assert after.journal.redo(1, "setxattr", args) == {"absent": 1}


def test_intents_of_threads_that_can_not_be_told_apart_do_not_fill_the_journal(
    tmp_path: Path,
) -> None:
    outside = replace_pid(0)
    with engine(tmp_path) as fs:
        for i in range(SLOTS - 1):
            fs.engine.mkdir(ROOT, b"n%d" % i, 0o755, outside)
    with engine(tmp_path) as fs:
        for i in range(5):
            fs.engine.mkdir(ROOT, b"m%d" % i, 0o755, ME)
        fs.engine.mkdir(ROOT, b"n%d" % (SLOTS - 2), 0o755, outside)  # sent again


# -- refusals


def test_names_longer_than_a_directory_can_hold_are_refused(tmp_path: Path) -> None:
    long = b"x" * 256
    with engine(tmp_path) as fs:
        for attempt in (
            lambda: fs.engine.lookup(ROOT, long),
            lambda: fs.mkdir(long, 0o755),
            lambda: fs.rename(b"t", long),
            lambda: fs.link(b"t", long),
        ):
            with fails(errno.ENAMETOOLONG):
                attempt()


def test_a_directory_does_not_move_into_itself(tmp_path: Path) -> None:
    with engine(tmp_path) as fs:
        with fails(errno.EINVAL):
            fs.rename(b"d", b"d/sub/n")
        with fails(errno.EINVAL):
            fs.rename(b"d", b"d/sub", EXCHANGE)
        with fails(errno.EINVAL):
            fs.rename(b"d/sub", b"d", EXCHANGE)


def test_a_read_only_engine_answers_and_refuses_changes() -> None:
    engine = Engine(tree())
    engine.begin()
    fs = EngineDir(engine, ME)
    assert fs.lstat(b"").ino == ROOT
    assert fs.lstat(b"d/f").nlink == 3
    assert engine.statvfs().f_bavail == 0
    attempts: list[Callable[[], object]] = [
        lambda: fs.mkdir(b"n", 0o755),
        lambda: fs.unlink(b"t"),
        lambda: fs.chmod(b"t", 0o600),
        lambda: fs.rename(b"t", b"n"),
        lambda: fs.setxattr(b"t", b"user.k", b""),
        lambda: fs.truncate(b"t", 0),
        lambda: engine.copy_up(fs.ino(b"t")),
    ]
    for attempt in attempts:
        with fails(errno.EROFS):
            attempt()


def test_a_squash_shows_one_owner_and_keeps_the_image_s(tmp_path: Path) -> None:
    upper = UpperDir(tmp_path / "upper", tmp_path / "work")
    engine = Engine(tree(), upper, squash=Squash(1234, 5678), dialect=UserDialect())
    engine.begin()
    fs = EngineDir(engine, Caller(1, 1234, 5678, 0o022))
    fs.create(b"n", 0o644)
    assert (fs.lstat(b"n").uid, fs.lstat(b"t").gid) == (1234, 5678)
    fs.chown(b"t", 1234, 5678)
    with fails(errno.EPERM):
        fs.chown(b"t", 1, 1)
    engine.close()
    upper.close()
    with engine_on(tree(), tmp_path, UserDialect()) as plain:
        assert (plain.lstat(b"n").uid, plain.lstat(b"n").gid) == (0, 0)
        assert plain.lstat(b"t").uid == os.getuid()


def test_an_upper_of_an_unknown_version_is_refused(tmp_path: Path) -> None:
    with engine(tmp_path) as fs:
        fs.create(b"n", 0o644)
    os.setxattr(tmp_path / "upper" / "n", "user.imagefs.override", b"9:?")
    with pytest.raises(DialectError, match="use the version of imagefs that wrote it"):
        engine(tmp_path).__enter__()


def test_an_upper_that_shows_a_directory_twice_is_refused(tmp_path: Path) -> None:
    with engine(tmp_path) as fs:
        fs.mkdir(b"n", 0o755)
        fs.chmod(b"d", 0o700)
    os.setxattr(tmp_path / "upper" / "n", "user.imagefs.redirect", b"/d")
    with pytest.raises(UpperError, match="at two places"):
        engine(tmp_path).__enter__()


# -- sizes


def test_paths_longer_than_the_system_allows_work(tmp_path: Path) -> None:
    deep = [b"%03d" % i + b"x" * 200 for i in range(40)]
    entries = [Entry(b"/".join(deep[: i + 1]), stat.S_IFDIR, 0o755) for i in range(len(deep))]
    entries.append(Entry(b"/".join(deep) + b"/f", stat.S_IFREG, 0o644, size=10))
    lower = lower_tree([replace_owner(entry) for entry in entries])
    path = b"/".join(deep) + b"/f"
    with engine_on(lower, tmp_path, UserDialect()) as fs:
        fs.chmod(path, 0o600)
        fs.rename(deep[0], b"other")
        expected = dump(fs)
    with engine_on(lower, tmp_path, UserDialect()) as fs:
        assert dump(fs) == expected


def replace_owner(entry: Entry) -> Entry:
    fields = {name: getattr(entry, name) for name in entry.__struct_fields__}
    return Entry(**{**fields, "uid": os.getuid(), "gid": os.getgid()})
