"""Image configs: parse, change, raw bytes kept. Image-spec, config.md; Docker's are the same model.

Fields that are unknown here survive every change. Runs and fetches nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import msgspec

from imagefs.oci.canonical import DocumentError, RawObject, decode, encode
from imagefs.oci.digest import Digest, DigestError
from imagefs.oci.platform import Platform

T = TypeVar("T")


class Healthcheck(msgspec.Struct, frozen=True, rename="pascal"):
    """Docker's health check; times in nanoseconds."""

    test: tuple[str, ...] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    retries: int = 0


class RuntimeConfig(msgspec.Struct, frozen=True, rename="pascal"):
    """How a container of the image runs (config.md, "config"); None where nothing is said."""

    user: str = ""
    exposed_ports: dict[str, Any] | None = None
    env: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: dict[str, Any] | None = None
    working_dir: str = ""
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    healthcheck: Healthcheck | None = None
    shell: tuple[str, ...] | None = None
    on_build: tuple[str, ...] | None = None
    args_escaped: bool = False


class History(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a layer, or an `empty_layer` change of the config, came to be."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class _RootFS(msgspec.Struct, frozen=True):
    type: str = ""
    diff_ids: tuple[str, ...] | None = None


class _Config(msgspec.Struct, frozen=True):
    architecture: str = ""
    os: str = ""
    variant: str = ""
    os_version: str = msgspec.field(name="os.version", default="")
    os_features: tuple[str, ...] = msgspec.field(name="os.features", default=())
    created: str | None = None
    author: str = ""
    config: RuntimeConfig | None = None
    rootfs: _RootFS | None = None
    history: tuple[History, ...] | None = None


@dataclass(frozen=True)
class RootFS:
    """The diffIDs that the config claims, lowest layer first; a claim until a stream proves it."""

    diff_ids: tuple[Digest, ...]


@dataclass(frozen=True)
class ImageConfig:
    """The config of an image; `raw` is what its digest, the image's id, is over."""

    raw: bytes
    platform: Platform
    created: str
    author: str
    config: RuntimeConfig
    rootfs: RootFS
    history: tuple[History, ...]

    @classmethod
    def parse(cls, raw: bytes) -> ImageConfig:
        """The config in `raw`; raises DocumentError."""
        parsed = decode(raw, _Config, "image config", nulls=True)
        if not parsed.os or not parsed.architecture:
            raise DocumentError("image config: it names no os and architecture")
        if parsed.rootfs is None or parsed.rootfs.diff_ids is None:
            raise DocumentError("image config: it has no rootfs with diff_ids")
        if parsed.rootfs.type != "layers":
            raise DocumentError(f"image config: rootfs type {parsed.rootfs.type!r}, not 'layers'")
        try:
            diff_ids = tuple(Digest.parse(text) for text in parsed.rootfs.diff_ids)
        except DigestError as error:
            raise DocumentError(f"image config: {error}") from None
        return cls(
            raw,
            Platform(
                parsed.os,
                parsed.architecture,
                parsed.variant,
                parsed.os_version,
                parsed.os_features,
            ),
            parsed.created or "",
            parsed.author,
            parsed.config or RuntimeConfig(),
            RootFS(diff_ids),
            parsed.history or (),
        )

    @classmethod
    def scratch(cls, platform: Platform) -> ImageConfig:
        """The config of an image without layers."""
        document = {"architecture": platform.architecture, "os": platform.os}
        if platform.variant:
            document["variant"] = platform.variant
        return cls.parse(encode({**document, "rootfs": {"type": "layers", "diff_ids": []}}))

    @cached_property
    def digest(self) -> Digest:
        """The digest of the raw bytes: the image's id."""
        return Digest.of(self.raw)

    @cached_property
    def document(self) -> dict[str, Any]:
        """The config as a JSON object, unknown fields included."""
        return decode(self.raw, dict[str, Any], "image config")

    def replace(self, changes: Mapping[str, Any]) -> ImageConfig:
        """A config with other top-level fields (None removes one); all else stays as it was."""
        return self.parse(encode(_changed(self._fields, changes)))

    def with_config(self, changes: Mapping[str, Any]) -> ImageConfig:
        """A config whose `config` object has other fields (None removes one)."""
        config = self._member("config", RawObject) or {}
        return self.replace({"config": _changed(config, changes)})

    def with_layer(self, diff_id: Digest, history: History) -> ImageConfig:
        """The config of the image with one more layer on top."""
        return self.with_layers(
            (*self.rootfs.diff_ids, diff_id),
            (*self.history, history),
        )

    def with_layers(
        self, diff_ids: tuple[Digest, ...], history: tuple[History, ...]
    ) -> ImageConfig:
        """The config of the image with these layers instead."""
        written = self._member("history", list[msgspec.Raw]) or []
        rootfs = {"type": "layers", "diff_ids": [str(d) for d in diff_ids]}
        return self.replace(
            {
                "rootfs": _changed(self._member("rootfs", RawObject) or {}, rootfs),
                "history": [_written(h, self.history, written) for h in history] or None,
            }
        )

    @cached_property
    def _fields(self) -> RawObject:
        return decode(self.raw, RawObject, "image config")

    def _member(self, name: str, kind: type[T]) -> T | None:
        raw = self._fields.get(name)
        if raw is None or bytes(raw) == b"null":
            return None
        return decode(raw, kind, f"image config: {name}")


def _changed(fields: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**fields, **changes}
    return {k: v for k, v in merged.items() if v is not None}


def _written(entry: History, known: tuple[History, ...], written: list[msgspec.Raw]) -> object:
    """An entry of the original with its unknown fields, or a new one."""
    for old, raw in zip(known, written, strict=True):
        if old is entry:
            return raw
    return msgspec.to_builtins(entry)
