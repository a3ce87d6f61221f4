"""What can go wrong with a registry, each as one line that says what to do. Holds no secret."""

from __future__ import annotations

import errno

from imagefs.errors import (
    ImagefsError,
    InvalidInputError,
    NotFoundError,
    PermissionRefused,
    UnsupportedError,
)


class RegistryError(ImagefsError):
    """A registry answered with something that cannot be used; base of what a registry causes."""

    #: Seconds that the registry asked to wait.
    retry_after: float | None = None


class RegistryNotFound(NotFoundError, RegistryError):
    """404: the registry has no such repository, tag, manifest or blob (or hides it)."""


class AccessDenied(PermissionRefused, RegistryError):
    """401 or 403: no credentials, wrong ones, or ones that may not do this."""


class RegistryBusy(RegistryError):
    """429: too many requests, also after waiting."""

    errno = errno.EAGAIN
    retryable = True


class RegistryBroken(RegistryError):
    """5xx: the registry failed, also after trying again."""

    retryable = True


class Unreachable(RegistryError):
    """No connection: refused, unknown host, no route; the request was not sent."""

    errno = errno.EHOSTUNREACH
    retryable = True


class TlsFailed(RegistryError):
    """The registry's certificate is not trusted, or it does not speak TLS."""

    errno = errno.EPROTO


class ConnectionLost(RegistryError):
    """The connection broke, or the body ended early."""

    retryable = True


class RegistryTimeout(RegistryError):
    """The registry did not answer in time."""

    errno = errno.ETIMEDOUT
    retryable = True


class BadResponse(RegistryError):
    """The registry broke the protocol."""

    errno = errno.EPROTO


class Schema1Refused(UnsupportedError, RegistryError):
    """The image has only Docker's old schema 1 manifest."""


class Blocked(PermissionRefused, RegistryError):
    """registries.conf or policy.json forbids this image."""


class ConfigError(InvalidInputError):
    """A configuration file (registries.conf, auth.json, …) that cannot be used."""


class ShortNameError(NotFoundError):
    """A name without a registry that the configuration does not resolve."""


class HelperError(ImagefsError):
    """A credential helper is missing, failed or answered nonsense."""
