"""The name an image is kept under in the store. Looks nothing up."""

from __future__ import annotations

import re

from imagefs.errors import ImagefsError
from imagefs.oci.reference import Reference
from imagefs.transport.names import ImageName

_NOT_ALLOWED = re.compile(r"[^a-z0-9/._-]+")


def kept_name(name: ImageName, source_name: str) -> str | None:
    """What the store calls the image that was pulled as `name` from `source_name`.

    A registry's image has its reference; a layout's is `localhost/DIR:REF`, as podman has it. None
    where that is no name: the image then has its id only.
    """
    if name.layout is None:
        return source_name.removeprefix("docker://")
    path = _NOT_ALLOWED.sub("-", name.layout.directory.lower()).strip("/-._")
    try:
        return str(Reference.parse(f"localhost/{path}:{name.layout.ref or 'latest'}"))
    except ImagefsError:
        return None
