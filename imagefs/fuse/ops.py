"""pyfuse3's handlers, each one call of the engine or of `FileData`. Never decides anything.

Handles are inode numbers and directory cookies are the engine's, so a server that takes over knows
them all. `flush` is left out: every write is the upper's when write(2) returns, and after one
ENOSYS the kernel stops asking. Every handler is guarded (guard.py). Between the effect of a request
that is journalled and the return of its handler there is no checkpoint: the journal leans on that
(session.py).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pyfuse3
from pyfuse3 import EntryAttributes, FileInfo, ReaddirToken, RequestContext, SetattrFields

from imagefs.fuse import convert
from imagefs.fuse.data import FileData
from imagefs.fuse.guard import Guarded
from imagefs.fuse.reader import ContentReader
from imagefs.upper import Engine, Stat

_DOT, _DOTDOT = 1, 2  # cookies; the engine's are larger


class ImageOps(Guarded):
    """One mounted image. `attach` is called in pyfuse3's `init`, just before INIT is answered."""

    enable_writeback_cache = False  # a write must be the server's when write(2) returns
    enable_acl = True

    def __init__(
        self,
        engine: Engine,
        reader: ContentReader,
        upper: Path | None = None,
        attach: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._engine = engine
        self._data = FileData(engine, reader, upper)
        self._attach = attach

    def init(self) -> None:
        """The session starts."""
        self._attach()

    def settle(self) -> None:
        """Have the kernel ask again for the times of directories that copy-up touched.

        Their ctime moved though nobody changed them: kept attributes would differ from fresh ones,
        and programs that compare (tar) would take that for a change.
        """
        for inode in self._engine.restamped():
            with suppress(OSError):  # not known to the kernel: nothing is kept
                pyfuse3.invalidate_inode(inode, attr_only=True)

    def _told(self, found: Stat) -> EntryAttributes:
        """The answer of a request that the kernel counts as a lookup."""
        self._engine.known(found.ino)
        return convert.entry(found)

    # -- looking

    async def lookup(self, parent_inode: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        """The object at a name; "no such name" is an answer too, which the kernel keeps."""
        if name == b".":
            return self._told(self._engine.getattr(parent_inode))
        if name == b"..":
            return self._told(self._engine.getattr(self._engine.parent(parent_inode)))
        try:
            return self._told(self._engine.lookup(parent_inode, name))
        except FileNotFoundError:
            return convert.absent()

    async def getattr(self, inode: int, ctx: RequestContext) -> EntryAttributes:
        """All attributes."""
        return convert.entry(self._engine.getattr(inode))

    async def readlink(self, inode: int, ctx: RequestContext) -> bytes:
        """The target of a symlink."""
        return self._engine.readlink(inode)

    async def opendir(self, inode: int, ctx: RequestContext) -> int:
        """The handle is the inode."""
        return inode

    async def readdir(self, fh: int, start_id: int, token: ReaddirToken) -> None:
        """Names with attributes after cookie `start_id`, as many as fit."""
        engine = self._engine
        for cookie, name in ((_DOT, b"."), (_DOTDOT, b"..")):
            if start_id < cookie:
                ino = fh if cookie == _DOT else engine.parent(fh)
                attributes = convert.entry(engine.getattr(ino))
                if not pyfuse3.readdir_reply(token, name, attributes, cookie):
                    return
        after = 0 if start_id <= _DOTDOT else start_id
        for name, found, cookie in engine.readdir(fh, after):
            if not pyfuse3.readdir_reply(token, name, convert.entry(found), cookie):
                return
            engine.known(found.ino)

    async def releasedir(self, fh: int) -> None:
        """Nothing was kept."""

    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        """The space of the file system that holds the upper."""
        return convert.statvfs(self._engine.statvfs())

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """The kernel dropped these inodes: deleted files that were open end here."""
        self._engine.forget(inode_list)

    # -- attributes

    async def setattr(
        self,
        inode: int,
        attr: EntryAttributes,
        fields: SetattrFields,
        fh: int | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        """chmod, chown, truncate, utimens."""
        change = convert.change(attr, fields)
        if change.size is not None:
            await self._data.truncate(inode, change.size)
        return convert.entry(self._engine.setattr(inode, change, convert.caller(ctx)))

    async def getxattr(self, inode: int, name: bytes, ctx: RequestContext) -> bytes:
        """One extended attribute; pyfuse3 also asks before it sets one with flags."""
        return self._engine.getxattr(inode, name, convert.caller(ctx))

    async def setxattr(self, inode: int, name: bytes, value: bytes, ctx: RequestContext) -> None:
        """Set an extended attribute; pyfuse3 has dealt with the flags."""
        self._engine.setxattr(inode, name, value, convert.caller(ctx))

    async def listxattr(self, inode: int, ctx: RequestContext) -> list[bytes]:
        """The names of the extended attributes."""
        return self._engine.listxattr(inode)

    async def removexattr(self, inode: int, name: bytes, ctx: RequestContext) -> None:
        """Remove an extended attribute."""
        self._engine.removexattr(inode, name, convert.caller(ctx))

    # -- names

    async def mkdir(
        self, parent_inode: int, name: bytes, mode: int, ctx: RequestContext
    ) -> EntryAttributes:
        """Make a directory."""
        made = self._engine.mkdir(parent_inode, name, mode, convert.caller(ctx))
        return self._told(made)

    async def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: RequestContext
    ) -> EntryAttributes:
        """Make a device, FIFO, socket or file."""
        made = self._engine.mknod(parent_inode, name, mode, rdev, convert.caller(ctx))
        return self._told(made)

    async def symlink(
        self, parent_inode: int, name: bytes, target: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        """Make a symlink."""
        made = self._engine.symlink(parent_inode, name, target, convert.caller(ctx))
        return self._told(made)

    async def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        """Make another name of a file."""
        made = self._engine.link(inode, new_parent_inode, new_name, convert.caller(ctx))
        return self._told(made)

    async def unlink(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        """Remove a name."""
        self._engine.unlink(parent_inode, name, convert.caller(ctx))

    async def rmdir(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        """Remove an empty directory."""
        self._engine.rmdir(parent_inode, name, convert.caller(ctx))

    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: RequestContext,
    ) -> None:
        """Rename, exchange, or rename where nothing is."""
        self._engine.rename(
            parent_inode_old, name_old, parent_inode_new, name_new, flags, convert.caller(ctx)
        )

    # -- data

    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        """Open with O_CREAT where the kernel knew of no such name."""
        made = self._engine.create(parent_inode, name, mode, flags, convert.caller(ctx))
        if made.size and stat.S_ISREG(made.mode):  # it was there: made by another thread just now
            await self._prepare(made.ino, flags)
            made = self._engine.getattr(made.ino)
        return FileInfo(fh=made.ino), self._told(made)

    async def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        """Data that will be written is in the upper when it returns."""
        await self._prepare(inode, flags)
        return FileInfo(fh=inode)

    async def _prepare(self, inode: int, flags: int) -> None:
        if flags & os.O_TRUNC:
            await self._data.truncate(inode, 0)
        elif flags & os.O_ACCMODE != os.O_RDONLY:
            await self._data.bring_up(inode)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        """Bytes of a file."""
        return await self._data.read(fh, off, size)

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """Write all of `buf`."""
        return await self._data.write(fh, off, buf)

    async def release(self, fh: int) -> None:
        """Nothing was kept."""

    async def fsync(self, fh: int, datasync: bool) -> None:
        """Have the data on disk."""
        await self._data.sync(fh, datasync)

    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        """Have the names on disk."""
        await self._data.sync_names()
