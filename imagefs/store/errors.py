"""What the store raises. Carries no state beyond the message."""

from __future__ import annotations

from imagefs.errors import ConflictError, ImagefsError, InvalidInputError, NotFoundError


class StoreError(ImagefsError):
    """The store itself is damaged, or its disk refuses."""


class StoreVersionError(StoreError):
    """The store was made by a newer imagefs than this one."""


class NoStoreError(StoreError):
    """A directory with other things in it, which is not made a store."""


class StoreBusyError(StoreError):
    """Another process kept the database locked for longer than the busy timeout."""

    retryable = True


class VerifyError(StoreError):
    """Bytes that do not have the digest they are kept by; nothing of them was stored or served."""


class MissingContentError(StoreError):
    """Layer content was read that is not here; `missing` tells what to fetch first."""


class NoSuchImageError(NotFoundError):
    """No image of that name, id or digest."""


class AmbiguousNameError(InvalidInputError):
    """A short name or id that several images answer to; the message names them."""


class ImageMismatchError(InvalidInputError):
    """Manifest, config and layers do not belong together; nothing was added."""


class DiffIDConflictError(ConflictError):
    """The config claims a diffID that the layer's full stream has disproved; nothing was added."""


class InUseError(ConflictError):
    """Something else pins it; the message names what."""
