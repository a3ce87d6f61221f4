"""The name an image is kept under in the store. Looks nothing up."""

from __future__ import annotations

import re

from imagefs.errors import ImagefsError
from imagefs.oci.reference import Reference
from imagefs.transport.names import ImageName

_BETWEEN = re.compile(r"[^a-z0-9]+")
_SEPARATOR = re.compile(r"\.|__?|-+")


def kept_name(name: ImageName, source_name: str) -> str | None:
    """What the store calls the image that was pulled as `name` from `source_name`.

    A registry's image has its reference; a layout's is `localhost/DIR:REF`, as podman has it. None
    where that is no name: the image then has its id only.
    """
    if name.layout is None:
        return source_name.removeprefix("docker://")
    path = "/".join(filter(None, map(_component, name.layout.directory.split("/"))))
    try:
        return str(Reference.parse(f"localhost/{path}:{name.layout.ref or 'latest'}"))
    except ImagefsError:
        return None


def _component(part: str) -> str:
    """A directory's name as the grammar of references has a component; "" where nothing is left."""

    def allowed(between: re.Match[str]) -> str:
        return between[0] if _SEPARATOR.fullmatch(between[0]) else "-"

    return _BETWEEN.sub(allowed, part.lower()).strip("-._")
