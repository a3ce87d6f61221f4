"""Name the packages: `cli/` installs as `imagefs_cli`, which `pyproject.toml` alone can't say."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["imagefs", "imagefs.*"]),
        *(f"imagefs_{name}" for name in find_packages(include=["cli", "cli.*"])),
    ],
)
