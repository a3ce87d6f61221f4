"""registries.conf, version 2 (containers-registries.conf(5)): parse, merge, resolve. Opens no file.

A reference becomes a list of Endpoints: mirrors in order, then the registry itself.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from imagefs.oci.reference import Reference, ReferenceError  # noqa: A004 - see reference.py
from imagefs.registry.errors import Blocked, ConfigError, ShortNameError

PullMode = Literal["all", "digest-only", "tag-only"]
_PULL_MODES: dict[str, PullMode] = {
    "all": "all",
    "digest-only": "digest-only",
    "tag-only": "tag-only",
}
_SHORT_NAME_MODES = ("enforcing", "permissive", "disabled")


@dataclass(frozen=True, slots=True)
class Mirror:
    """A place that may have what a registry has."""

    location: str
    insecure: bool = False
    pull: PullMode = "all"


@dataclass(frozen=True, slots=True)
class Registry:
    """One [[registry]] table; `location` "" means unchanged."""

    prefix: str
    location: str = ""
    insecure: bool = False
    blocked: bool = False
    mirrors: tuple[Mirror, ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to ask for a reference: `reference` is complete and already rewritten."""

    reference: Reference
    insecure: bool = False
    is_mirror: bool = False


@dataclass(frozen=True, slots=True)
class RegistriesConf:
    """The merged configuration; the default is what no file at all means."""

    search: tuple[str, ...] = ()
    registries: dict[str, Registry] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    short_name_mode: str = "permissive"
    #: Which file said what to search, for messages.
    where: str = "/etc/containers/registries.conf"

    def merged(self, raw: bytes, where: str) -> RegistriesConf:
        """With a further file on top (drop-ins override by table); raises ConfigError."""
        document = _load(raw, where)
        search = document.get("unqualified-search-registries")
        mode = document.get("short-name-mode")
        if mode is not None and mode not in _SHORT_NAME_MODES:
            known = ", ".join(_SHORT_NAME_MODES)
            raise ConfigError(f"{where}: short-name-mode must be one of {known}")
        aliases = _table(document, "aliases", where)
        kept = {key: value for key, value in self.aliases.items() if key not in aliases}
        # An empty value takes an alias of an earlier file away.
        added = {key: value for key, value in aliases.items() if value}
        return RegistriesConf(
            search=self.search if search is None else _hosts(search, where),
            registries={**self.registries, **_registries(document, where)},
            aliases={**kept, **added},
            short_name_mode=mode or self.short_name_mode,
            where=where if search is not None else self.where,
        )

    def find(self, reference: Reference) -> Registry | None:
        """The table whose prefix fits longest."""
        fits = [entry for entry in self.registries.values() if _matched(entry.prefix, reference)]
        return max(fits, key=lambda entry: len(_matched(entry.prefix, reference)), default=None)

    def endpoints(self, reference: Reference, mirrors: bool = True) -> list[Endpoint]:
        """Where to get (mirrors first) or to put `reference`; raises Blocked, ConfigError."""
        entry = self.find(reference)
        if entry is None:
            return [Endpoint(reference)]
        if entry.blocked:
            raise Blocked(f"{reference}: registry {entry.prefix} is blocked in registries.conf")
        own = Endpoint(_rewrite(reference, entry, entry.location), entry.insecure)
        if not mirrors:
            return [own]
        chosen = [mirror for mirror in entry.mirrors if _pulls(mirror.pull, reference)]
        found = [
            Endpoint(_rewrite(reference, entry, mirror.location), mirror.insecure, is_mirror=True)
            for mirror in chosen
        ]
        return [*found, own]

    def candidates(self, reference: Reference) -> list[Reference]:
        """The complete references a short name may mean, in order; a complete one means itself.

        Not interactive: several search registries under "enforcing" are an error, as podman's
        without a terminal. Raises ShortNameError.
        """
        if not reference.is_short:
            return [reference.normalized()]
        alias = self.aliases.get(reference.path)
        if alias is not None:
            base = _alias(alias, reference.path)
            return [replace(base, tag=reference.tag, digest=reference.digest)]
        if not self.search:
            raise ShortNameError(
                f"{reference}: the name has no registry, and there is neither an alias for it nor "
                f"unqualified-search-registries in {self.where}; write HOST/{reference.path}, "
                f"docker.io/… for Docker Hub"
            )
        if self.short_name_mode == "enforcing" and len(self.search) > 1:
            raise ShortNameError(
                f"{reference}: the name could be of {', '.join(self.search)} and "
                "short-name-mode is enforcing; write the registry"
            )
        return [reference.at(host) for host in self.search]


def _load(raw: bytes, where: str) -> dict[str, Any]:
    try:
        document = tomllib.loads(raw.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{where}: not valid TOML: {error}") from None
    if isinstance(document.get("registries"), dict):
        raise ConfigError(
            f"{where}: version 1 of registries.conf ([registries.…]) is not supported; "
            "use unqualified-search-registries and [[registry]]"
        )
    return document


def _table(document: dict[str, Any], key: str, where: str) -> dict[str, str]:
    table = document.get(key, {})
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise ConfigError(f"{where}: [{key}] must map names to names")
    return table


def _hosts(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(host, str) and host for host in value):
        raise ConfigError(f"{where}: unqualified-search-registries must be a list of registries")
    return tuple(value)


def _registries(document: dict[str, Any], where: str) -> dict[str, Registry]:
    tables = document.get("registry", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{where}: registry must be written as [[registry]] tables")
    found: dict[str, Registry] = {}
    for table in tables:
        entry = _registry(table, where)
        if entry.prefix in found:
            raise ConfigError(f"{where}: several [[registry]] tables for {entry.prefix}")
        found[entry.prefix] = entry
    return found


def _registry(table: dict[str, Any], where: str) -> Registry:
    location = _text(table, "location", where)
    prefix = _text(table, "prefix", where) or location
    if not prefix:
        raise ConfigError(f"{where}: a [[registry]] has neither prefix nor location")
    if prefix.startswith("*.") and "/" in prefix:
        raise ConfigError(f"{where}: prefix {prefix}: a wildcard stands for a host alone")
    default = "digest-only" if _flag(table, "mirror-by-digest-only", where) else "all"
    mirrors = table.get("mirror", [])
    if not isinstance(mirrors, list) or not all(isinstance(mirror, dict) for mirror in mirrors):
        raise ConfigError(f"{where}: mirrors of {prefix} must be [[registry.mirror]] tables")
    return Registry(
        prefix=prefix,
        location=location,
        insecure=_flag(table, "insecure", where),
        blocked=_flag(table, "blocked", where),
        mirrors=tuple(_mirror(mirror, default, where, prefix) for mirror in mirrors),
    )


def _mirror(table: dict[str, Any], default: str, where: str, prefix: str) -> Mirror:
    location = _text(table, "location", where)
    if not location:
        raise ConfigError(f"{where}: a mirror of {prefix} has no location")
    mode = _text(table, "pull-from-mirror", where) or default
    pull = _PULL_MODES.get(mode)
    if pull is None:
        raise ConfigError(f"{where}: pull-from-mirror must be all, digest-only or tag-only")
    return Mirror(location, _flag(table, "insecure", where), pull)


def _text(table: dict[str, Any], key: str, where: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise ConfigError(f"{where}: {key} must be a string")
    if "://" in value:
        raise ConfigError(f"{where}: {key} = {value[:80]!r}: write it without a scheme")
    return value.rstrip("/")


def _flag(table: dict[str, Any], key: str, where: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise ConfigError(f"{where}: {key} must be true or false")
    return value


def _matched(prefix: str, reference: Reference) -> str:
    """The part of the reference that `prefix` stands for; "" if it does not fit."""
    if prefix.startswith("*."):
        return reference.domain if reference.domain.endswith(prefix[1:]) else ""
    text = str(reference)
    if text.startswith(prefix) and text[len(prefix) : len(prefix) + 1] in ("", "/", ":", "@"):
        # A host's prefix must not stop before the port: `host` isn't `host:5000`.
        if "/" not in prefix and prefix != reference.domain:
            return ""
        return prefix
    return ""


def _rewrite(reference: Reference, entry: Registry, location: str) -> Reference:
    if not location:
        return reference
    text = location + str(reference)[len(_matched(entry.prefix, reference)) :]
    try:
        return Reference.parse(text)
    except ReferenceError as error:
        raise ConfigError(f"registries.conf: location {location}: {error}") from None


def _alias(text: str, name: str) -> Reference:
    try:
        base = Reference.parse(text)
    except ReferenceError as error:
        raise ConfigError(f"registries.conf: alias of {name}: {error}") from None
    if base.is_short or base.tag is not None or base.digest is not None:
        raise ConfigError(f"registries.conf: alias of {name}: expected HOST/NAME, got {text}")
    return base.normalized()


def _pulls(mode: PullMode, reference: Reference) -> bool:
    if mode == "all":
        return True
    return (reference.digest is not None) == (mode == "digest-only")
