"""The content store: blobs, layers, images, mounts, containers. Fetches nothing, never awaits.

docs/formats/store.md describes what lies on disk.
"""

from imagefs.store.containers import ContainerRecord
from imagefs.store.errors import (
    AmbiguousNameError,
    DiffIDConflictError,
    ImageMismatchError,
    InUseError,
    MissingContentError,
    NoSuchImageError,
    StoreBusyError,
    StoreError,
    StoreVersionError,
    VerifyError,
)
from imagefs.store.images import Image
from imagefs.store.keys import LayerKey
from imagefs.store.layerwriter import LayerWriter
from imagefs.store.mounts import MountRecord
from imagefs.store.names import canonical
from imagefs.store.roots import default_roots, runroot_of
from imagefs.store.store import Store
from imagefs.store.storedlayer import Claim, StoredLayer

__all__ = [
    "AmbiguousNameError",
    "Claim",
    "ContainerRecord",
    "DiffIDConflictError",
    "Image",
    "ImageMismatchError",
    "InUseError",
    "LayerKey",
    "LayerWriter",
    "MissingContentError",
    "MountRecord",
    "NoSuchImageError",
    "Store",
    "StoreBusyError",
    "StoreError",
    "StoreVersionError",
    "StoredLayer",
    "VerifyError",
    "canonical",
    "default_roots",
    "runroot_of",
]
