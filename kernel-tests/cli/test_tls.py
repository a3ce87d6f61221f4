"""The registry options of verbs reach the registry: certificates, and doing without."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from harness.command import Cli
from harness.registry import Registry

from imagefs.testing.oci_layout import Layout


@pytest.fixture
def name(tls_registry: Registry, busybox_image: Layout) -> str:
    return tls_registry.push(busybox_image, "tls/app:1")


@pytest.fixture
def cert_dir(tmp_path: Path, certificates: tuple[Path, Path, Path]) -> str:
    directory = tmp_path / "certs"
    directory.mkdir()
    shutil.copy(certificates[0], directory / "ca.crt")
    return f"--cert-dir={directory}"


@pytest.mark.parametrize("verb", ["pull -q", "inspect", "login -u a -p b"])
def test_a_certificate_must_be_known_or_not_asked_for(
    run_cli: Cli, name: str, cert_dir: str, tls_registry: Registry, tmp_path: Path, verb: str
) -> None:
    place = tls_registry.host if verb.startswith("login") else f"docker://{name}"
    environment = {"REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}
    (tmp_path / "auth.json").write_text("{}")
    refused = run_cli(*verb.split(), place, status=125, environment=environment)
    assert "certificate" in refused.stderr
    refused = run_cli(*verb.split(), "--tls-verify", place, status=125, environment=environment)
    assert refused.stderr.count("\n") == 1
    run_cli(*verb.split(), cert_dir, place, environment=environment)
    run_cli(*verb.split(), "--tls-verify=false", place, environment=environment)
