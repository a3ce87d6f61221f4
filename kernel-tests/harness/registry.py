"""A real registry, Debian's docker-registry, on a free loopback port; never touches its service."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from imagefs.testing.oci_layout import Layout

USER, PASSWORD = "tester", "s3cret word"


class Registry:
    """One `docker-registry serve` with its storage in `directory`; may be stopped and started."""

    def __init__(
        self,
        directory: Path,
        *,
        htpasswd: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        self.directory = directory
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.credentials = f"{USER}:{PASSWORD}" if htpasswd else None
        self._config = directory / "config.yml"
        self._process: subprocess.Popen[bytes] | None = None
        config: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(directory / "storage")},
                "delete": {"enabled": True},
            },
            "http": {"addr": self.host, "relativeurls": True},
        }
        if htpasswd:
            config["auth"] = {"htpasswd": {"realm": "tests", "path": str(htpasswd)}}
        if certificate:
            config["http"]["tls"] = {"certificate": str(certificate), "key": str(key)}
        directory.mkdir(parents=True, exist_ok=True)
        self._config.write_text(json.dumps(config))  # JSON is YAML

    def start(self) -> None:
        """Start it, and return when it accepts connections."""
        with open(self.directory / "log", "ab") as log:
            self._process = subprocess.Popen(
                ["docker-registry", "serve", str(self._config)], stdout=log, stderr=log
            )
        wait_for_port(self.port, self._process, self.directory / "log")

    def stop(self) -> None:
        """Stop it; its storage stays. Idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def push(self, layout: Layout, name: str) -> str:
        """Copy an image here with skopeo, digests unchanged; return its full name."""
        command = ["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false"]
        if self.credentials:
            command.append(f"--dest-creds={self.credentials}")
        reference = f"{self.host}/{name}"
        command += ["--preserve-digests", str(layout), f"docker://{reference}"]
        subprocess.run(command, check=True, timeout=120)
        return reference


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when somebody listens on `port`. Raises RuntimeError if `process` ends first."""
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.01)  # a port has no event to wait for
        else:
            return
    raise RuntimeError(f"docker-registry ended with {process.returncode}:\n{log.read_text()}")


def make_htpasswd(path: Path) -> Path:
    """Write a password file for USER; docker-registry takes bcrypt only."""
    made = subprocess.run(
        ["htpasswd", "-B", "-C", "4", "-i", "-n", USER],
        input=PASSWORD,
        text=True,
        capture_output=True,
        check=True,
    )
    path.write_text(made.stdout)
    return path


def make_certificates(directory: Path) -> tuple[Path, Path, Path]:
    """Make an authority and a certificate for 127.0.0.1 and localhost; return (ca, cert, key)."""
    directory.mkdir(parents=True, exist_ok=True)
    ca, ca_key = directory / "ca.crt", directory / "ca.key"
    cert, key, request = (directory / name for name in ("server.crt", "server.key", "server.csr"))
    extensions = directory / "extensions"
    extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    _openssl(*new, "-x509", "-subj", "/CN=tests", "-keyout", ca_key, "-out", ca)
    _openssl(*new, "-subj", "/CN=127.0.0.1", "-keyout", key, "-out", request)
    signer = ["-CA", str(ca), "-CAkey", str(ca_key), "-CAcreateserial", "-days", "30"]
    _openssl("x509", "-req", *signer, "-extfile", extensions, "-in", request, "-out", cert)
    return ca, cert, key


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
