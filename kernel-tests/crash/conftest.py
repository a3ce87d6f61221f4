"""Images of the tests' own making, mounted through the library."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.mounts import Mounter


@pytest.fixture
def mounter(tmp_path: Path) -> Iterator[Mounter]:
    """A store of its own with one image, and mounts of it that end with the test."""
    made = Mounter(tmp_path)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
