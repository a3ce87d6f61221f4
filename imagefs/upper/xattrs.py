"""Extended attributes of the objects of a merged tree. Never shows the overlay's own marks."""

from __future__ import annotations

import errno
import os

from imagefs.upper.copyup import Lifter
from imagefs.upper.names import Args, Names, fail
from imagefs.upper.types import Caller
from imagefs.upper.view import Node


class Xattrs:
    """Of the upper's objects, and of lower ones that are about to become such."""

    def __init__(self, names: Names, lifter: Lifter) -> None:
        self.names = names
        self.lifter = lifter
        self.backing = lifter.backing
        self.dialect = lifter.dialect

    def get(self, node: Node, name: bytes) -> bytes:
        """ENODATA where there is none."""
        stored = self.dialect.stored_xattr(name)
        return os.getxattr(self.backing.path(node), stored, follow_symlinks=False)

    def list(self, node: Node) -> list[bytes]:
        """Names as users know them."""
        stored = os.listxattr(self.backing.path(node), follow_symlinks=False)
        shown = (self.dialect.shown_xattr(os.fsencode(name)) for name in stored)
        return [name for name in shown if name is not None]

    def resent_create(self, ino: int, name: bytes, caller: Caller) -> bool:
        """Whether this caller asks only because its XATTR_CREATE was sent again."""
        journal = self.names.journal
        return any(
            intent.thread == caller.pid
            and intent.operation == "setxattr"
            and intent.args[:2] == (ino, name)
            and bool(intent.note["absent"])
            for intent in (journal.old if journal else ())
        )

    def set(self, ino: int, name: bytes, value: bytes, caller: Caller) -> None:
        """Set, whether it is there or not."""
        node = self.lifter.up(ino)
        args: Args = (ino, name, value)
        if self.names.redo(caller, "setxattr", args) is None:
            absent = int(name not in self.list(node))
            self.names.intend(caller, "setxattr", args, {"absent": absent})
        stored = self.dialect.stored_xattr(name)
        os.setxattr(self.backing.path(node), stored, value, follow_symlinks=False)

    def remove(self, ino: int, name: bytes, caller: Caller) -> None:
        """ENODATA where there is none; a lower object is not copied up for that."""
        again = self.names.redo(caller, "removexattr", (ino, name)) is not None
        if not again:
            # A failure must leave no intent: sent again, it would pass for done.
            here = self.lifter.view.nodes.get(ino)
            if here is not None:
                self.get(here, name)
            elif name not in self.lifter.tree.xattrs(ino):
                raise fail(errno.ENODATA)
            self.names.intend(caller, "removexattr", (ino, name), {})
        node = self.lifter.up(ino)
        stored = self.dialect.stored_xattr(name)
        try:
            os.removexattr(self.backing.path(node), stored, follow_symlinks=False)
        except OSError as error:
            if not again or error.errno != errno.ENODATA:
                raise
