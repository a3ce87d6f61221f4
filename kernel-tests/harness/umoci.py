"""Unpacks images with umoci, an oracle of other people's making. Reads no image itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

from imagefs.testing.oci_layout import Layout


def unpack(layout: Layout, directory: Path) -> Path:
    """Unpack an image with umoci; return its root."""
    image = f"{layout.path}:{layout.tag}"
    command = ["umoci", "raw", "unpack", "--image", image, str(directory)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return directory
