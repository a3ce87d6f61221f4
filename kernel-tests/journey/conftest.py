"""What the journey is checked against: the same images unpacked by umoci."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.umoci import unpack

from imagefs.testing.oci_layout import Layout


@pytest.fixture(scope="session")
def unpacked_python(python_image: Layout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python image's files; not to be changed."""
    return unpack(python_image, tmp_path_factory.mktemp("oracle") / "python")


@pytest.fixture(scope="session")
def unpacked_edge(edge_image: Layout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The edge image's files; not to be changed."""
    return unpack(edge_image, tmp_path_factory.mktemp("oracle") / "edge")


@pytest.fixture
def pull_back(tmp_path: Path) -> Callable[[str], Path]:
    """`pull_back("HOST/NAME:TAG")`: the files of an image as skopeo and umoci get them."""

    def pull(name: str) -> Path:
        layout = Layout(tmp_path / "back", "back")
        command = ["skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false"]
        command += [f"docker://{name}", str(layout)]
        subprocess.run(command, check=True, timeout=120)
        return unpack(layout, tmp_path / "unpacked")

    return pull
