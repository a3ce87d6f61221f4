"""Bootstraps Debian root file systems as tars, with mmdebstrap and the host's own apt sources.

No mirror is named here: whatever the host installs its packages from is used, Debian lines only.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_ETC = Path("/etc")
#: What a container gets from its runtime; images carry empty directories in its place.
RUNTIME_DIRECTORIES = ("dev", "proc", "run", "sys", "tmp")
_EXCLUDED = (
    "./var/cache/apt/*",
    "./var/lib/apt/lists/*",
    *(f"./{name}" for name in RUNTIME_DIRECTORIES),
)


class BootstrapError(RuntimeError):
    """mmdebstrap or the host's apt sources did not do; the message holds its last words."""


@dataclass(frozen=True)
class AptSource:
    """One `deb` line."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str | None = None

    def __str__(self) -> str:
        """Spell the line as sources.list(5) has it."""
        options = f"[signed-by={self.signed_by}] " if self.signed_by else ""
        return f"deb {options}{self.uri} {self.suite} {' '.join(self.components)}"


def codename(etc: Path = _ETC) -> str:
    """Return the name of the Debian release that runs here. Raises BootstrapError."""
    found = re.search(r"^VERSION_CODENAME=\"?(\w+)", (etc / "os-release").read_text(), re.MULTILINE)
    if found is None:
        raise BootstrapError(f"{etc}/os-release names no VERSION_CODENAME: is this Debian?")
    return found[1]


def debian_sources(etc: Path = _ETC) -> list[AptSource]:
    """Return those apt sources of the host that are Debian's own, for its release."""
    release = codename(etc)
    suites = {release, f"{release}-updates", f"{release}-security"}
    sources = [
        source
        for source in _all_sources(etc / "apt")
        if source.suite in suites and "main" in source.components
    ]
    if not sources:
        raise BootstrapError(f"no apt source for Debian {release} in {etc}/apt")
    return sources


def bootstrap(base: Path, full: Path, packages: Sequence[str]) -> None:
    """Write two tars of root file systems: a minimal one, and the same with `packages` added.

    The second is what apt made of the first in place, so that their difference is a true layer.
    Takes about half a minute; needs root. Raises BootstrapError; may leave partial files then.
    """
    excludes = " ".join(f"--exclude={shlex.quote(pattern)}" for pattern in _EXCLUDED)
    tar = f'tar -C "$1" --numeric-owner --xattrs --sort=name {excludes} -cf'
    install = "env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends"
    command = [
        "mmdebstrap",
        "--variant=minbase",
        "--mode=root",
        "--format=tar",
        "--dpkgopt=force-unsafe-io",
        f"--customize-hook={tar} {shlex.quote(str(base.absolute()))} .",
        f'--customize-hook=chroot "$1" {install} {shlex.join(packages)}',
        codename(),
        str(full.absolute()),
        "-",
    ]
    lines = "".join(f"{source}\n" for source in debian_sources())
    try:
        done = subprocess.run(command, input=lines, text=True, capture_output=True, check=False)
    except FileNotFoundError:
        raise BootstrapError("mmdebstrap is not installed: run .ci/setup") from None
    if done.returncode != 0:
        raise BootstrapError(f"mmdebstrap failed:\n{done.stderr[-2000:]}")


def _all_sources(apt: Path) -> Iterator[AptSource]:
    lists = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.list"))]
    for path in lists:
        if path.exists():
            yield from parse_list(path.read_text())
    for path in sorted((apt / "sources.list.d").glob("*.sources")):
        yield from parse_deb822(path.read_text())


def parse_list(text: str) -> Iterator[AptSource]:
    """Read sources.list(5) in its one-line form."""
    for line in text.splitlines():
        found = re.match(r"deb\s+(?:\[(.*?)\]\s+)?(\S+)\s+(\S+)\s+([^#]+)", line.strip())
        if found:
            options, uri, suite, components = found.groups()
            signed = re.search(r"signed-by=(\S+)", options or "")
            yield AptSource(uri, suite, tuple(components.split()), signed[1] if signed else None)


def parse_deb822(text: str) -> Iterator[AptSource]:
    """Read sources.list(5) in its deb822 form; a key given in place is left to apt's own."""
    without_comments = re.sub(r"^#.*\n?", "", text, flags=re.MULTILINE)
    for stanza in re.split(r"\n\s*\n", without_comments):
        fields = {
            name.lower(): value.split()
            for name, value in re.findall(r"^(\S+?):(.*(?:\n[ \t].*)*)", stanza, re.MULTILINE)
        }
        if "deb" not in fields.get("types", ()) or fields.get("enabled") == ["no"]:
            continue
        signed = fields.get("signed-by", [])
        signed_by = signed[0] if signed and signed[0].startswith("/") else None
        for uri in fields.get("uris", ()):
            for suite in fields.get("suites", ()):
                yield AptSource(uri, suite, tuple(fields.get("components", ())), signed_by)
