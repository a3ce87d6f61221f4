"""What running a container raises, with podman's exit codes. Carries no state beyond the message.

125: the tool failed; 126: the command cannot be invoked; 127: it cannot be found (podman-run(1)).
"""

from __future__ import annotations

import errno

from imagefs.errors import ConflictError, ImagefsError, InvalidInputError, NotFoundError


class OptionError(InvalidInputError):
    """An option of `run`, or a setting of containers.conf, that makes no sense."""


class RuntimeFailed(ImagefsError):
    """runc, crun or conmon could not do what it was asked to; the message is theirs."""


class RuntimeMissing(NotFoundError):
    """runc, crun or conmon is not installed where it was looked for."""


class CannotInvoke(ImagefsError):
    """The command, its user or its working directory cannot be used."""

    exit_code = 126
    errno = errno.EACCES


class CommandNotFound(NotFoundError):
    """The command is not in the container."""

    exit_code = 127


class NoSuchContainerError(NotFoundError):
    """No container of that name or id."""

    exit_code = 1


class ContainerStateError(ConflictError):
    """The container is in a state in which this cannot be done."""

    exit_code = 2
