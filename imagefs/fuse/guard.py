"""The one place where what a handler raises becomes an errno. Never lets anything else out.

An exception other than FUSEError in a handler ends pyfuse3's main loop and with it the mount.
"""

from __future__ import annotations

import errno
import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pyfuse3
from pyfuse3 import FUSEError

from imagefs.errors import ImagefsError

log = logging.getLogger(__name__)

Handler = Callable[..., Awaitable[Any]]


def guarded(handler: Handler) -> Handler:
    """`handler`, raising nothing but FUSEError: OSError keeps its errno, the rest is logged."""

    @functools.wraps(handler)
    async def guard(self: Guarded, *args: Any) -> Any:
        try:
            return await handler(self, *args)
        except OSError as error:
            raise FUSEError(error.errno or errno.EIO) from None
        except FUSEError:
            raise
        except ImagefsError as error:
            log.error("%s: %s", handler.__name__, error)
            raise FUSEError(error.errno) from None
        except Exception:
            log.exception("%s%r failed: answered EIO", handler.__name__, args)
            raise FUSEError(errno.EIO) from None
        finally:
            self.settle()

    return guard


def silent(handler: Handler) -> Handler:
    """`handler` for a request without reply (FORGET), where a FUSEError too would end the mount."""

    @functools.wraps(handler)
    async def guard(self: object, *args: Any) -> None:
        try:
            await handler(self, *args)
        except Exception:
            log.exception("%s%r failed", handler.__name__, args)

    return guard


NAMES = ("lookup", "mknod", "mkdir", "unlink", "symlink", "rename", "link", "rmdir", "create")
ATTRIBUTES = ("getattr", "setattr", "readlink", "statfs", "access")
XATTRS = ("getxattr", "setxattr", "listxattr", "removexattr")
FILES = ("open", "read", "write", "release", "fsync")
DIRECTORIES = ("opendir", "readdir", "releasedir", "fsyncdir")
HANDLERS = frozenset((*NAMES, *ATTRIBUTES, *XATTRS, *FILES, *DIRECTORIES))


class Guarded(pyfuse3.Operations):
    """Operations whose handlers are guarded when a class is made."""

    def settle(self) -> None:
        """Called after each handler, before its answer. Must not fail."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        for name, member in list(vars(cls).items()):
            if name in HANDLERS:
                setattr(cls, name, guarded(member))
            elif name == "forget":
                setattr(cls, name, silent(member))
