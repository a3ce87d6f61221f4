"""policy.json (containers-policy.json(5)): which images may be used at all. Verifies no signature.

Accept and reject by scope are honoured. Any other requirement (signatures) is refused by name: what
cannot be checked is not accepted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imagefs.oci.reference import Reference
from imagefs.registry.access import Access
from imagefs.registry.conffiles import read_config, user_directory
from imagefs.registry.errors import Blocked, ConfigError
from imagefs.transport.layout import LayoutName

_ACCEPT, _REJECT = "insecureAcceptAnything", "reject"
Requirements = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Policy:
    """Requirements by transport and scope; the default is what no file means: accept."""

    where: str = "no policy.json"
    default: Requirements = field(default_factory=lambda: [{"type": _ACCEPT}])
    transports: dict[str, dict[str, Requirements]] = field(default_factory=dict)

    @classmethod
    def parse(cls, raw: bytes, where: str) -> Policy:
        """The policy in `raw`; raises ConfigError naming `where`."""
        try:
            document = json.loads(raw)
        except (ValueError, RecursionError):
            raise ConfigError(f"{where}: not valid JSON") from None
        if not isinstance(document, dict) or "default" not in document:
            raise ConfigError(f'{where}: a policy needs "default"')
        unknown = set(document) - {"default", "transports"}
        if unknown:
            raise ConfigError(f"{where}: unknown key {sorted(unknown)[0][:80]!r}")
        transports = document.get("transports", {})
        if not isinstance(transports, dict):
            raise ConfigError(f'{where}: "transports" must be an object')
        return cls(
            where,
            _requirements(document["default"], f"{where}: default"),
            {name: _scopes(scopes, f"{where}: {name}") for name, scopes in transports.items()},
        )

    def check_reference(self, reference: Reference) -> None:
        """Raise Blocked unless the image may be used."""
        self._check("docker", reference_scopes(reference), str(reference))

    def check_layout(self, name: LayoutName) -> None:
        """Raise Blocked unless the image of a layout may be used."""
        self._check("oci", layout_scopes(name), str(name))

    def _check(self, transport: str, scopes: Iterator[str], image: str) -> None:
        table = self.transports.get(transport, {})
        chosen = next((table[scope] for scope in scopes if scope in table), self.default)
        for requirement in chosen:
            kind = requirement["type"]
            if kind == _REJECT:
                raise Blocked(f"{image}: rejected by {self.where}")
            if kind != _ACCEPT:
                raise Blocked(
                    f"{image}: {self.where} requires {kind!r}, which is not supported yet; "
                    "refused, not ignored"
                )


def reference_scopes(reference: Reference) -> Iterator[str]:
    """The scopes of a docker:// image, most specific first, the transport's default ("") last."""
    yield str(reference)
    parts = reference.name.split("/")
    for count in range(len(parts), 0, -1):
        yield "/".join(parts[:count])
    host = reference.domain.partition(":")[0]
    labels = host.split(".")
    for count in range(1, len(labels)):
        yield "*." + ".".join(labels[count:])
    yield ""


def layout_scopes(name: LayoutName) -> Iterator[str]:
    """The scopes of an oci: image: its path with and without the name, then what it lies in."""
    path = Path(os.path.realpath(name.directory))
    if name.ref:
        yield f"{path}:{name.ref}"
    yield str(path)
    for parent in path.parents:
        if parent != parent.parent:
            yield str(parent)
    yield ""


def load_policy(access: Access, env: Mapping[str, str]) -> Policy:
    """The named policy, the user's, the system's, or accept all; raises ConfigError."""
    if access.policy is not None:
        named = read_config(access.policy, "policy file") or b""
        return Policy.parse(named, str(access.policy))
    user = user_directory(env)
    for directory in ([user] if user else []) + [Path("/etc/containers")]:
        path = directory / "policy.json"
        raw = read_config(path)
        if raw is not None:
            return Policy.parse(raw, str(path))
    return Policy()


def _scopes(value: Any, where: str) -> dict[str, Requirements]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: must map scopes to requirements")
    return {scope: _requirements(item, f"{where}: {scope!r}") for scope, item in value.items()}


def _requirements(value: Any, where: str) -> Requirements:
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{where}: must be a list of at least one requirement")
    for item in value:
        if not isinstance(item, dict) or not isinstance(item.get("type"), str):
            raise ConfigError(f'{where}: each requirement needs a "type"')
    return value
