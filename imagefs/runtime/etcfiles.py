"""The files that a container gets from outside its image: hosts, resolv.conf and so on. Binds none.

They lie in the container's directory and are bound over the image's, as with podman.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from imagefs.errors import ImagefsError
from imagefs.runtime.options import RunOptions


def contents(
    hostname: str, name: str, options: RunOptions, *, hosts: str, resolv_conf: str, no_hosts: bool
) -> dict[str, str]:
    """The text of each file, by its place in the container.

    `hosts` and `resolv_conf` are the host's. With `no_hosts` the image's /etc/hosts stays.
    """
    found = {
        "/etc/hostname": f"{hostname}\n",
        "/etc/resolv.conf": "" if options.network == "none" else resolv_conf,
        "/run/.containerenv": "",
    }
    if not no_hosts:
        names = [hostname] if options.network == "host" else [hostname, name]
        found["/etc/hosts"] = _hosts(hosts, names)
    return found


def containerenv(name: str, container_id: str, image: str, image_id: str, engine: str) -> str:
    """/run/.containerenv of a privileged container, as podman writes it."""
    fields = {
        "engine": engine,
        "name": name,
        "id": container_id,
        "image": image,
        "imageid": image_id,
        "rootless": 0,
    }
    return "".join(
        f'{key}="{value}"\n' if isinstance(value, str) else f"{key}={value}\n"
        for key, value in fields.items()
    )


def write(directory: Path, texts: Mapping[str, str]) -> dict[str, str]:
    """Write each file into `directory`; the host's path of each, by its place in the container."""
    directory.mkdir(mode=0o755, exist_ok=True)
    found = {}
    for place, text in texts.items():
        path = directory / place.rpartition("/")[2].lstrip(".")
        path.write_bytes(text.encode(errors="surrogateescape"))
        path.chmod(0o644)
        found[place] = str(path)
    return found


def host_file(path: str) -> str:
    """A text file of the host; "" where there is none."""
    try:
        return Path(path).read_text("utf-8", "surrogateescape")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ImagefsError(f"{path}: cannot be read: {error.strerror}") from None


def _hosts(base: str, names: list[str]) -> str:
    lines = base.splitlines()
    known = {word for line in lines for word in line.partition("#")[0].split()[1:]}
    if "localhost" not in known:
        lines += ["127.0.0.1\tlocalhost", "::1\tlocalhost"]
    missing = [name for name in dict.fromkeys(names) if name not in known]
    if missing:
        lines.append("127.0.0.1\t" + " ".join(missing))
    return "\n".join(lines) + "\n"
