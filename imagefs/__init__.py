"""Container images as directories: mounted lazily, written, committed, pushed and run.

This module names the library and imports none of its parts: take what you need from
`imagefs.oci`, `imagefs.tree`, `imagefs.store` and the others, each usable alone.
"""

__version__ = "0.1.0"
