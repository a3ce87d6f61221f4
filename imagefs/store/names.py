"""How users name local images, by podman's rules. Looks nothing up and knows no registries.conf."""

from __future__ import annotations

import re

_VERBATIM = ("oci:", "oci-archive:", "docker-archive:", "dir:")
_ID = re.compile(r"[0-9a-f]{3,64}")


def canonical(name: str) -> str:
    """The full name by which `name` is kept: localhost/ for want of a registry, :latest of a tag.

    Names with a transport other than docker:// stay as they are.
    """
    if name.startswith(_VERBATIM):
        return name
    name = with_tag(name.removeprefix("docker://"))
    return name if has_registry(name) else f"localhost/{name}"


def has_registry(name: str) -> bool:
    """Whether the first component is a host: it has a dot or a port, or is localhost."""
    first, slash, _ = name.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost")


def with_tag(name: str) -> str:
    """`name`, with :latest for want of tag and digest; a tag beside a digest is dropped."""
    repository, at, digest = name.partition("@")
    head, slash, last = repository.rpartition("/")
    base, colon, _ = last.partition(":")
    if at:
        return f"{head}{slash}{base}@{digest}"
    return repository if colon else f"{repository}:latest"


def repository_of(name: str) -> str:
    """`name` without tag and digest."""
    head, slash, last = name.partition("@")[0].rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def answers_to(full: str, short: str) -> bool:
    """Whether the kept name `full` is what `short`, a name without registry, may mean."""
    return full == short or full.endswith(f"/{short}")


def is_text(text: str) -> bool:
    """Whether anything can be so called: what a command line brings may be no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_id(text: str) -> bool:
    """Whether `text` may be the beginning of an image id."""
    return _ID.fullmatch(text) is not None
