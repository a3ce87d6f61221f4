"""Image references (`docker.io/library/python:3@sha256:…`): parse and print. Resolves nothing.

The grammar is distribution's (reference.go): a first component with a dot, a colon or that is
`localhost` is a registry; without one the reference is a short name, whose registry is decided by
registries.conf, or is docker.io where a rule says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Self

from imagefs.errors import InvalidInputError
from imagefs.oci.digest import Digest, DigestError

DEFAULT_TAG = "latest"
DOCKER_HUB = "docker.io"
_NAME_LIMIT = 255
_SHOWN = 120
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]{{1,5}})?")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class ReferenceError(InvalidInputError):  # noqa: A001 - the grammar's own word; weakrefs don't meet it
    """Text that is no image reference; the message says why."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A repository and a tag, a digest, both or neither. `domain` is "" for a short name."""

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """The reference in `text`, exactly as written; raises ReferenceError."""
        name, at, digest_text = text.partition("@")
        try:
            digest = Digest.parse(digest_text) if at else None
        except DigestError as error:
            raise _bad(text, str(error)) from None
        head, slash, last = name.rpartition("/")
        last, colon, tag = last.partition(":")
        if colon and not _TAG.fullmatch(tag):
            raise _bad(text, "a tag has 1 to 128 letters, digits, '_', '.', '-'")
        domain, path = _split_domain(head + slash + last)
        if domain and not _DOMAIN.fullmatch(domain):
            raise _bad(text, f"{domain[:_SHOWN]!r} is no registry's HOST[:PORT]")
        if not _PATH.fullmatch(path):
            lower = path.lower()
            hint = (
                "must be lower case" if lower != path and _PATH.fullmatch(lower) else "is invalid"
            )
            raise _bad(text, f"the repository name {hint}")
        if len(head + slash + last) > _NAME_LIMIT:
            raise _bad(text, f"the name has more than {_NAME_LIMIT} characters")
        return cls(domain, path, tag if colon else None, digest)

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.domain}/{self.path}" if self.domain else self.path

    @property
    def is_short(self) -> bool:
        """Whether no registry is named."""
        return not self.domain

    def at(self, domain: str) -> Reference:
        """The same at a registry; docker.io's one-component names live below `library/`."""
        path = self.path
        if domain in (DOCKER_HUB, "index.docker.io"):
            domain = DOCKER_HUB
            path = path if "/" in path else f"library/{path}"
        return replace(self, domain=domain, path=path)

    def normalized(self) -> Reference:
        """With docker.io where no registry is named, as `docker://` and Dockerfiles mean it."""
        return self.at(self.domain or DOCKER_HUB)

    def with_default_tag(self) -> Reference:
        """With `latest` where neither a tag nor a digest is given."""
        if self.tag is None and self.digest is None:
            return replace(self, tag=DEFAULT_TAG)
        return self

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag is not None else ""
        digest = f"@{self.digest}" if self.digest is not None else ""
        return f"{self.name}{tag}{digest}"


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first.lower() != first):
        return first, rest
    return "", name


def _bad(text: str, why: str) -> ReferenceError:
    return ReferenceError(f"invalid image reference {text[:_SHOWN]!r}: {why}")
