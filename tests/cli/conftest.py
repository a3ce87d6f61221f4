"""The command in the test's own process: a store of its own, an environment that names nothing."""

from __future__ import annotations

import hashlib
import io
import json
import os
import queue
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from imagefs.oci.digest import Digest
from imagefs.store import Store, runroot_of
from imagefs.testing.fake_registry import FakeRegistry, serve
from imagefs.testing.oci_layout import Compression, LayoutWriter
from imagefs_cli.main import run

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


@dataclass(frozen=True)
class Cli:
    """Runs `imagefs --root ROOT …`."""

    home: Path
    capture: pytest.CaptureFixture[str]

    @property
    def root(self) -> Path:
        return self.home / "root"

    def store(self) -> Store:
        return Store.open(self.root, runroot_of(self.root, os.environ))

    def __call__(self, *arguments: str) -> Ran:
        self.capture.readouterr()
        code = run(["--root", str(self.root), *arguments])
        captured = self.capture.readouterr()
        return Ran(code, captured.out, captured.err)

    def ok(self, *arguments: str) -> Ran:
        ran = self(*arguments)
        assert ran.code == 0, ran.err
        return ran

    def fails(self, code: int, *arguments: str) -> Ran:
        """It must fail so, and say why in one line."""
        ran = self(*arguments)
        assert ran.code == code, (ran.out, ran.err)
        assert ran.err.startswith("Error: ")
        assert ran.err.count("\n") == 1
        return ran


@pytest.fixture
def cli(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cli]:
    for name in ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG", "IMAGEFS_ROOT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "registries.conf").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    (tmp_path / "auth.json").write_text("{}")
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries.conf"))
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF_DIR", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    made = Cli(tmp_path, capsys)
    yield made
    shutil.rmtree(runroot_of(made.root, os.environ), ignore_errors=True)


def files(**contents: bytes) -> Callable[[tarfile.TarFile], None]:
    """Fills a tar with files."""

    def fill(tar: tarfile.TarFile) -> None:
        for name, data in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))

    return fill


@pytest.fixture
def layout(tmp_path: Path) -> str:
    """`oci:DIR` with the images `one` (a layer of each compression) and `two`."""
    writer = LayoutWriter(tmp_path / "layout")
    kinds: tuple[Compression, ...] = ("gzip", "zstd", "none")
    layers = [
        writer.layer(files(**{kind: kind.encode() * 9999}), kind, f"ADD {kind}") for kind in kinds
    ]
    config = {"Cmd": ["/bin/sh"], "Env": ["A=b"], "Labels": {"k": "v", "l": "w"}, "User": "7"}
    writer.image("one", layers, config)
    writer.image("two", layers[:1], {"Entrypoint": ["/a"]})
    return f"oci:{tmp_path}/layout"


def config_id(layout: str, tag: str) -> str:
    """The image's id, from the layout's own documents."""
    directory = Path(layout.removeprefix("oci:"))
    raw = _manifest(directory, tag)
    digest: str = json.loads(raw)["config"]["digest"]
    return digest.removeprefix("sha256:")


def manifest_digest(layout: str, tag: str) -> str:
    raw = _manifest(Path(layout.removeprefix("oci:")), tag)
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def _manifest(directory: Path, tag: str) -> bytes:
    index = json.loads((directory / "index.json").read_bytes())
    (digest,) = [
        entry["digest"]
        for entry in index["manifests"]
        if entry["annotations"]["org.opencontainers.image.ref.name"] == tag
    ]
    return (directory / "blobs" / digest.replace(":", "/")).read_bytes()


def registry_of(layout: str, repository: str, *tags: str) -> FakeRegistry:
    """A registry that has the images `tags` of the layout."""
    directory = Path(layout.removeprefix("oci:"))
    registry = FakeRegistry()
    for path in (directory / "blobs/sha256").iterdir():
        registry.blobs[repository, Digest("sha256", path.name)] = path.read_bytes()
    for tag in tags:
        raw = _manifest(directory, tag)
        registry.manifests[repository, tag] = (raw, MANIFEST)
        registry.manifests[repository, str(Digest.of(raw))] = (raw, MANIFEST)
    return registry


@contextmanager
def served(registry: FakeRegistry) -> Iterator[str]:
    """Serve from a thread, as the command has a loop of its own; yields HOST:PORT."""
    started: queue.SimpleQueue[tuple[str, Callable[[], None]]] = queue.SimpleQueue()

    async def main() -> None:
        async with serve(registry) as host:
            stop = trio.Event()
            token = trio.lowlevel.current_trio_token()
            started.put((host, lambda: token.run_sync_soon(stop.set)))
            await stop.wait()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    host, stop = started.get(timeout=30)
    try:
        yield host
    finally:
        stop()
        thread.join()
