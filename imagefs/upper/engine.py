"""The copy-on-write engine: one mounted tree with its changes. Never waits, fetches or logs.

Lower objects are answered from the tree, those of the upper from their backing files; which is
which is in the `View`, rebuilt by walking the upper at each start, so that an engine has no state
to lose. All methods are synchronous, and each change shows in one atomic step (see `names`).
Failures are plain `OSError`s, as a local file system gives them; ESTALE for an inode that is gone.

Access rights are the kernel's affair (`default_permissions`).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Mapping

from imagefs.tree import ROOT, Content, Tree
from imagefs.upper.backing import Backing
from imagefs.upper.copyup import FileCopyUp, Lifter
from imagefs.upper.dialect import Dialect, Meta, OverlayDialect
from imagefs.upper.journal import Journal
from imagefs.upper.load import Loader
from imagefs.upper.moves import Moves
from imagefs.upper.names import NAME_MAX, Names, check_name, fail
from imagefs.upper.stats import BLOCK, Stats
from imagefs.upper.types import Caller, CopyUp, DirEntry, SetAttr, Squash, Stat
from imagefs.upper.upperdir import UpperDir
from imagefs.upper.view import Node, View
from imagefs.upper.xattrs import Xattrs


class Engine:
    """One mounted tree: lower objects from `tree`, changes in `upper` (None: read-only, EROFS).

    Call `begin`, `resume` or `look` once before anything else. The engine closes neither tree nor
    journal.
    """

    def __init__(
        self,
        tree: Tree,
        upper: UpperDir | None = None,
        journal: Journal | None = None,
        squash: Squash | None = None,
        dialect: Dialect | None = None,
    ) -> None:
        self.tree = tree
        self.view = View(tree)
        self._upper = upper
        self._journal = journal
        self._squash = squash
        self._dialect: Dialect = dialect or OverlayDialect()
        self._statvfs: os.statvfs_result | None = None
        self._writable = upper is not None
        if upper is not None:
            self._backing = Backing(upper, self._dialect, self.view, journal)
            self._lifter = Lifter(self._backing)
            self._names = Names(self._backing, self._lifter, journal)
            self._moves = Moves(self._names)
            self._xattrs = Xattrs(self._names, self._lifter)
        self._stats = Stats(self.view, self._backing if upper is not None else None, squash)

    # -- life

    def begin(self) -> None:
        """Start a fresh mount: orphans and intents of an earlier one are dropped."""
        if self._upper is None:
            return
        if self._journal:
            self._journal.drop_old()
        for name in self._upper.listing("orphans"):
            self._backing.drop((self._upper.orphans, name))
        self._load(kept=set())

    def resume(self, resent: Mapping[int, int], forgets: Iterable[tuple[int, int]]) -> None:
        """Take over from a dead server. `resent` maps thread id to the FUSE opcode it waits for
        again; `forgets` are the (ino, count) read while draining."""
        if self._upper is None:
            return
        old = list(self._journal.old) if self._journal else []
        if self._journal:
            self._journal.keep_only(resent)
        waiting = self._journal.old if self._journal else []
        self._load(kept={n for i in waiting if isinstance(n := i.note.get("name"), bytes)})
        for intent in old:
            node = self.view.nodes.get(int(intent.args[0])) if intent.operation == "times" else None
            if node is not None:
                atime, mtime = int(intent.note["atime"]), int(intent.note["mtime"])
                self._backing.set_times(node, atime, mtime)
        self.forget(forgets)

    def look(self) -> None:
        """Only read an upper, which another process may be serving: nothing is repaired, and every
        change is refused with EROFS."""
        self._writable = False
        if self._upper is not None:
            Loader(self._backing, repair=False).load()

    def _load(self, kept: set[bytes]) -> None:
        assert self._upper is not None
        for name in self._upper.listing("made"):
            if name not in kept:
                self._backing.drop((self._upper.made, name))
        Loader(self._backing).load()
        self._lifter.root_up()
        self._lifter.complete()

    def close(self) -> None:
        """Close cached descriptors. Idempotent; nothing has to be flushed."""
        if self._upper is not None:
            self._backing.close()

    def known(self, ino: int) -> None:
        """The kernel is told of this inode by a reply that counts as a lookup.

        So that a FORGET that was under way when it looked again deletes nothing. What an earlier
        server told counts for nothing here: a FORGET of that may come out below 0.
        """
        node = self.view.nodes.get(ino)
        if node is not None:
            node.lookups += 1

    def forget(self, items: Iterable[tuple[int, int]]) -> None:
        """The kernel drops (inode, lookups): delete orphans it knows no more. Unknown ones are
        fine."""
        for ino, count in items:
            node = self.view.nodes.get(ino)
            if node is None or self._upper is None:
                continue
            node.lookups = max(0, node.lookups - count)
            if node.orphan and not node.lookups:
                self._backing.forget(ino)
                self._backing.orphan_place(ino)
                del self.view.nodes[ino]

    # -- looking

    def lookup(self, parent: int, name: bytes) -> Stat:
        """The object at a name. ENOENT, ENOTDIR, ENAMETOOLONG."""
        self._directory(parent)
        ino = self.view.entry(parent, name)
        if not ino:
            check_name(name)
            raise fail(errno.ENOENT)
        return self._stats.stat(ino, named=True)

    def parent(self, ino: int) -> int:
        """The directory that holds the directory `ino` (the root's is itself)."""
        self._directory(ino)
        return self.view.parent(ino)

    def getattr(self, ino: int) -> Stat:
        """ESTALE for an object that is gone. `nlink` 0: it has no name any more."""
        self._known(ino)
        return self._stats.stat(ino)

    def readlink(self, ino: int) -> bytes:
        """The target of a symlink. EINVAL for anything else."""
        node = self._known(ino)
        if self.view.kind(ino) != stat.S_IFLNK:
            raise fail(errno.EINVAL)
        if node is None:
            return self.tree.readlink(ino)
        return self._dialect.readlink(*self._backing.place(node))

    def readdir(self, ino: int, after: int = 0) -> Iterator[DirEntry]:
        """Names after cookie `after`, without "." and "..", in order of their cookies."""
        self._directory(ino)
        rows = self.view.listing(ino)
        low, high = 0, len(rows)
        while low < high:  # the first row with a cookie above
            middle = (low + high) // 2
            if rows[middle][0] > after:
                high = middle
            else:
                low = middle + 1
        return self._rows(rows[low:])

    def _rows(self, rows: list[tuple[int, bytes, int]]) -> Iterator[DirEntry]:
        for cookie, name, ino in rows:
            yield DirEntry(name, self._stats.stat(ino, named=True), cookie)

    def restamped(self) -> set[int]:
        """Directories whose ctime moved since the last call though nobody changed them."""
        if self._upper is None or not self._backing.restamped:
            return set()
        moved, self._backing.restamped = self._backing.restamped, set()
        return moved

    def statvfs(self) -> os.statvfs_result:
        """The upper's file system; read-only: the image's own size, and nothing free."""
        if self._upper is not None:
            return os.fstatvfs(self._upper.root)
        if self._statvfs is None:
            used = -(-self.tree.size // BLOCK)
            read_only = 1
            row = (BLOCK, BLOCK, used, 0, 0, self.tree.count, 0, 0, read_only, NAME_MAX)
            self._statvfs = os.statvfs_result(row)
        return self._statvfs

    def _known(self, ino: int) -> Node | None:
        """The object's node; None if it is lower."""
        node = self.view.nodes.get(ino)
        if node is None and not ROOT <= ino <= self.tree.count:
            raise fail(errno.ESTALE)
        return node if self._upper is not None else None

    def _directory(self, ino: int) -> None:
        self._known(ino)
        if not self.view.is_dir(ino):
            raise fail(errno.ENOTDIR)

    # -- attributes

    def _write(self) -> None:
        if not self._writable:
            raise fail(errno.EROFS)

    def setattr(self, ino: int, change: SetAttr, caller: Caller) -> Stat:
        """Change attributes and tell the result. Idempotent.

        A `size` other than 0 needs the data in the upper first (see `copy_up`): EINVAL else.
        Under a squash the owner can't be changed: EPERM.
        """
        self._write()
        self._known(ino)
        if change.size is not None:
            self._truncate(ino, change.size)
        node = self._lifter.up(ino)
        if change == SetAttr():  # chown(-1, -1): moves ctime
            self._dialect.chown(*self._backing.place(node), -1, -1)
        if change.uid is not None or change.gid is not None:
            self._chown(node, change)
        if change.mode is not None and node.kind != stat.S_IFLNK:
            self._dialect.chmod(*self._backing.place(node), change.mode)
        if change.atime_ns is not None or change.mtime_ns is not None:
            self._set_times(node, change)
        return self._stats.stat(ino)

    def _truncate(self, ino: int, size: int) -> None:
        if self.view.kind(ino) != stat.S_IFREG:
            raise fail(errno.EISDIR if self.view.is_dir(ino) else errno.EINVAL)
        if size == 0:
            self._lifter.truncate(ino)
            return
        fd = self.data_fd(ino)
        if fd is None:
            raise fail(errno.EINVAL)
        os.ftruncate(fd, size)

    def _chown(self, node: Node, change: SetAttr) -> None:
        if self._squash is not None:
            same = (None, self._squash.uid), (None, self._squash.gid)
            if change.uid in same[0] and change.gid in same[1]:
                return
            raise fail(errno.EPERM)
        uid = -1 if change.uid is None else change.uid
        gid = -1 if change.gid is None else change.gid
        self._dialect.chown(*self._backing.place(node), uid, gid)

    def _set_times(self, node: Node, change: SetAttr) -> None:
        now = self._backing.stat(node)
        atime = now.atime_ns if change.atime_ns is None else change.atime_ns
        mtime = now.mtime_ns if change.mtime_ns is None else change.mtime_ns
        if node.filling is not None and change.mtime_ns is not None:
            self._backing.mark(node, "filling", b"%d" % mtime)
            node.filling = mtime
        self._backing.set_times(node, atime, mtime)

    # -- xattrs

    def getxattr(self, ino: int, name: bytes, caller: Caller) -> bytes:
        """The value; ENODATA where there is none.

        A resent XATTR_CREATE is told ENODATA: pyfuse3 asks before it sets.
        """
        node = self._known(ino)
        if node is not None and self._xattrs.resent_create(ino, name, caller):
            raise fail(errno.ENODATA)
        if node is not None:
            return self._xattrs.get(node, name)
        value = self.tree.xattrs(ino).get(name)
        if value is None:
            raise fail(errno.ENODATA)
        return value

    def setxattr(self, ino: int, name: bytes, value: bytes, caller: Caller) -> None:
        """Set, whether it is there or not."""
        self._write()
        self._known(ino)
        self._xattrs.set(ino, name, value, caller)

    def removexattr(self, ino: int, name: bytes, caller: Caller) -> None:
        """ENODATA where there is none."""
        self._write()
        self._known(ino)
        self._xattrs.remove(ino, name, caller)

    def listxattr(self, ino: int) -> list[bytes]:
        """Names, sorted; the overlay's own are not shown."""
        node = self._known(ino)
        return sorted(self.tree.xattrs(ino) if node is None else self._xattrs.list(node))

    # -- names

    def _owned(self, mode: int, caller: Caller, rdev: int = 0, target: bytes = b"") -> Meta:
        uid, gid = (0, 0) if self._squash is not None else (caller.uid, caller.gid)
        return Meta(mode, uid, gid, rdev, target)

    def _make(
        self,
        operation: str,
        parent: int,
        name: bytes,
        meta: Meta,
        caller: Caller,
        *more: int | bytes,
    ) -> Stat:
        self._write()
        self._known(parent)
        args = (parent, name, *more)
        return self._stats.stat(self._names.make(operation, args, parent, name, meta, caller))

    def mkdir(self, parent: int, name: bytes, mode: int, caller: Caller) -> Stat:
        """Make a directory; the umask, set-group-id and default ACLs are applied here."""
        meta = self._owned(stat.S_IFDIR | stat.S_IMODE(mode), caller)
        return self._make("mkdir", parent, name, meta, caller, mode)

    def mknod(self, parent: int, name: bytes, mode: int, rdev: int, caller: Caller) -> Stat:
        """Make a file, device, socket or FIFO. EPERM for a 0:0 character device, as overlayfs."""
        kind = stat.S_IFMT(mode) or stat.S_IFREG
        meta = self._owned(kind | stat.S_IMODE(mode), caller, rdev)
        return self._make("mknod", parent, name, meta, caller, mode, rdev)

    def symlink(self, parent: int, name: bytes, target: bytes, caller: Caller) -> Stat:
        """Make a symlink."""
        meta = self._owned(stat.S_IFLNK | 0o777, caller, target=target)
        return self._make("symlink", parent, name, meta, caller, target)

    def create(self, parent: int, name: bytes, mode: int, flags: int, caller: Caller) -> Stat:
        """open(2) with O_CREAT: an existing file is returned unless `flags` has O_EXCL (O_TRUNC
        is the caller's: `truncate_up`)."""
        self._known(parent)
        found = self.view.entry(parent, name)
        if found and not flags & os.O_EXCL:
            if self._journal:
                self._journal.redo(caller.pid, "create", (parent, name, mode, flags))
            return self._stats.stat(found)
        meta = self._owned(stat.S_IFREG | stat.S_IMODE(mode), caller)
        return self._make("create", parent, name, meta, caller, mode, flags)

    def link(self, ino: int, parent: int, name: bytes, caller: Caller) -> Stat:
        """A further name for a file."""
        self._write()
        self._known(ino)
        self._known(parent)
        self._names.link(ino, parent, name, caller)
        return self._stats.stat(ino)

    def unlink(self, parent: int, name: bytes, caller: Caller) -> None:
        """Take a name away; the object lives on until it is forgotten."""
        self._write()
        self._directory(parent)
        self._names.unlink(parent, name, caller)

    def rmdir(self, parent: int, name: bytes, caller: Caller) -> None:
        """Remove an empty directory. ENOTEMPTY, ENOTDIR."""
        self._write()
        self._directory(parent)
        self._names.rmdir(parent, name, caller)

    def rename(
        self,
        parent: int,
        name: bytes,
        new_parent: int,
        new_name: bytes,
        flags: int,
        caller: Caller,
    ) -> None:
        """renameat2(2); `flags` is 0, NOREPLACE or EXCHANGE."""
        self._write()
        self._directory(parent)
        self._directory(new_parent)
        self._moves.rename(parent, name, new_parent, new_name, flags, caller)

    # -- data

    def data_fd(self, ino: int) -> int | None:
        """A cached O_RDWR descriptor of the upper file that holds the data; None: data is lower
        (`lower_content`). Valid until the next call of the engine: dup it for a thread."""
        node = self._known(ino)
        if self.view.kind(ino) != stat.S_IFREG:
            raise fail(errno.EISDIR if self.view.is_dir(ino) else errno.EINVAL)
        if node is None or node.metacopy:
            return None
        return self._backing.data_fd(node)

    def open_data(self, ino: int) -> int:
        """A new read-only descriptor of the upper file that holds the data; the caller closes it.
        Precondition: it is the upper's, or the file is empty (then EINVAL if it is lower)."""
        node = self._known(ino)
        if node is None or node.metacopy:
            raise fail(errno.EINVAL)
        dir_fd, name = self._backing.place(node)
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)

    def lower_content(self, ino: int) -> Content | None:
        """Where the lower data lies; None: there is none (empty file, or `data_fd` has it)."""
        node = self._known(ino)
        if node is None:
            return self.tree.content(ino)
        return self.tree.content(node.lower) if node.metacopy else None

    def copy_up(self, ino: int) -> CopyUp | None:
        """Begin to bring the data up; None: it is there already. For a truncation to N bytes it is
        enough to write the first N."""
        self._write()
        if self.data_fd(ino) is not None:
            return None
        node = self._lifter.up(ino)
        content = self.tree.content(node.lower) if node.metacopy else None
        return None if content is None else FileCopyUp(self._lifter, node, content)

    def truncate_up(self, ino: int) -> None:
        """Make the file empty, with its data in the upper; nothing is copied. Idempotent."""
        self._write()
        self._known(ino)
        self._truncate(ino, 0)
