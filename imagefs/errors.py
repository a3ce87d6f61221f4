"""The errors users read: base classes that carry what the edges need. Never prints or exits.

Each package defines its own subclasses next to the code that raises them. An edge translates in one
place: the command line prints `str(error)` as one line and exits with `exit_code`, a file system
answers with `errno`, and a caller that can wait tries again where `retryable` says so.
"""

from __future__ import annotations

import errno as _errno


class ImagefsError(Exception):
    """What went wrong, where, and what to do, in one line; `str(error)` is that line.

    `exit_code` is podman's 125 ("the tool itself failed") unless a subclass knows better, `errno`
    is what a file operation that fails for this reason returns, and `retryable` tells whether the
    same call may succeed later with nothing changed by the user.
    """

    exit_code: int = 125
    errno: int = _errno.EIO
    retryable: bool = False


class NotFoundError(ImagefsError):
    """The thing that was named does not exist."""

    errno = _errno.ENOENT


class InvalidInputError(ImagefsError):
    """Something given by a user or read from elsewhere is not well formed."""

    errno = _errno.EINVAL


class ConflictError(ImagefsError):
    """The thing is in use or in a state that forbids the operation."""

    errno = _errno.EBUSY


class UnsupportedError(ImagefsError):
    """Well formed, but of a kind this program, this kernel or this host does not handle."""

    errno = _errno.EOPNOTSUPP


class PermissionRefused(ImagefsError):
    """A policy, a registry or the kernel refused; trying again as the same user will not help."""

    errno = _errno.EACCES
