"""What all fast tests share: hypothesis without deadlines. No root, no mounts, no network here."""

from __future__ import annotations

from hypothesis import settings

# A slow machine is no failure.
settings.register_profile("imagefs", deadline=None, print_blob=True)
settings.load_profile("imagefs")
