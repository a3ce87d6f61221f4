"""Where images come from and go to: `docker://` and `oci:` behind one source and one destination.

Importing this costs little: trio comes with the first source, the HTTP library with a registry's.
"""

from __future__ import annotations

import os

from imagefs.transport.names import Access, ImageName, parse_image_name
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
    """The source that `name` means; a short name is resolved by registries.conf.

    Nothing is connected before its first method. Raises what the name, the configuration or
    policy.json forbids.
    """
    from imagefs.transport.policy import load_policy

    policy = load_policy(access, os.environ)
    if name.layout is not None:
        from imagefs.transport.ocisource import OciLayoutSource

        policy.check_layout(name.layout)
        return OciLayoutSource(name.layout)
    from imagefs.registry.opening import open_registry_source

    assert name.reference is not None
    return open_registry_source(name.reference, access, allowed=policy.check_reference)


def open_destination(name: ImageName, access: Access) -> ImageDestination:
    """The destination that `name` means; for `oci:` the layout is made if it is missing."""
    if name.layout is not None:
        from imagefs.transport.ocidestination import OciLayoutDestination

        return OciLayoutDestination(name.layout)
    from imagefs.registry.opening import open_registry_destination

    assert name.reference is not None
    return open_registry_destination(name.reference, access)
