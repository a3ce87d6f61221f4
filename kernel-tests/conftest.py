"""Fixtures of the tests of real things: root, mounts, registries, containers; see harness/."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.command import Cli
from harness.mounts import Mounter
from harness.proxy import CountingProxy
from harness.registry import Registry, make_certificates, make_htpasswd

from imagefs.testing.debian_image import DebianImages
from imagefs.testing.oci_layout import Layout


def pytest_configure(config: pytest.Config) -> None:
    if os.geteuid() != 0 and not config.option.collectonly:
        raise pytest.UsageError("kernel-tests need root: sudo .venv/bin/pytest kernel-tests")


@pytest.fixture(scope="session")
def images() -> DebianImages:
    """Real images as OCI layouts, made once and kept in a cache."""
    return DebianImages()


@pytest.fixture(scope="session")
def python_image(images: DebianImages) -> Layout:
    """Debian with python, numpy and flask: three gzip layers, 12,000 files."""
    return images.python()


@pytest.fixture(scope="session")
def busybox_image(images: DebianImages) -> Layout:
    """One small gzip layer."""
    return images.busybox()


@pytest.fixture(scope="session")
def edge_image(images: DebianImages) -> Layout:
    """Three small gzip layers with what images rarely hold."""
    return images.edge()


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """An open registry over plain HTTP, the same one for all tests: don't stop it."""
    yield from _running(Registry(tmp_path_factory.mktemp("registry")))


@pytest.fixture
def own_registry(tmp_path: Path) -> Iterator[Registry]:
    """An open, empty registry over plain HTTP that the test may stop, start and spoil."""
    yield from _running(Registry(tmp_path / "registry"))


@pytest.fixture(scope="session")
def auth_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that wants `auth_registry.credentials`, by the basic scheme."""
    directory = tmp_path_factory.mktemp("auth-registry")
    yield from _running(Registry(directory, htpasswd=make_htpasswd(directory / "htpasswd")))


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """(authority, certificate, key) of `tls_registry`."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def tls_registry(
    certificates: tuple[Path, Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    """A registry over TLS, its certificate signed by an authority nobody knows."""
    _, certificate, key = certificates
    directory = tmp_path_factory.mktemp("tls-registry")
    yield from _running(Registry(directory, certificate=certificate, key=key))


@pytest.fixture
def counting_proxy(registry: Registry) -> Iterator[CountingProxy]:
    """A counting proxy in front of `registry`; name images by `counting_proxy.host`."""
    with CountingProxy(registry.port) as proxy:
        yield proxy


@pytest.fixture
def push_fixture(registry: Registry) -> Callable[[Layout, str], str]:
    """`push_fixture(layout, "name:tag")` copies an image to `registry`; returns its full name."""
    return registry.push


@pytest.fixture
def run_cli(tmp_path: Path) -> Iterator[Cli]:
    """`run_cli("mount", …)` on a store of its own; nothing of it survives the test."""
    cli = Cli(tmp_path)
    try:
        yield cli
    finally:
        cli.clean()


@pytest.fixture
def mounter(tmp_path: Path) -> Iterator[Mounter]:
    """A store of its own with one small image, and mounts of it that end with the test."""
    made = Mounter(tmp_path)
    try:
        yield made
    finally:
        made.close()


def _running(registry: Registry) -> Iterator[Registry]:
    registry.start()
    try:
        yield registry
    finally:
        registry.stop()
