"""Where images come from and go to: `docker://` and `oci:` behind one source and one destination.

Opening an `oci:` name imports no HTTP library.
"""

from __future__ import annotations

from imagefs.transport.names import Access, ImageName, parse_image_name
from imagefs.transport.ocidestination import OciLayoutDestination
from imagefs.transport.ocisource import OciLayoutSource
from imagefs.transport.protocols import ImageDestination, ImageSource

__all__ = [
    "Access",
    "ImageDestination",
    "ImageName",
    "ImageSource",
    "open_destination",
    "open_source",
    "parse_image_name",
]


def open_source(name: ImageName, access: Access) -> ImageSource:
    """The source that `name` means. Nothing is read or connected before its first method."""
    if name.layout is not None:
        return OciLayoutSource(name.layout)
    raise NotImplementedError


def open_destination(name: ImageName, access: Access) -> ImageDestination:
    """The destination that `name` means; for `oci:` the layout is made if it is missing."""
    if name.layout is not None:
        return OciLayoutDestination(name.layout)
    raise NotImplementedError
