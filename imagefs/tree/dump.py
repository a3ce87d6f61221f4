"""A tree as text, a line per name: the oracle that tests compare. Never reads content itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from imagefs.tree.file import Content, Tree


def dump(tree: Tree, digest: Callable[[Content], str] | None = None) -> Iterator[str]:
    r"""Lines sorted by path: `path mode nlink uid gid rdev size mtime target digest xattr=value…`.

    Bytes outside printable ASCII, spaces and backslashes are escaped as `\xNN`; what is absent is
    "-". Hard links are told by a trailing ` =PATH` that names the first path of their inode.
    """
    for path, ino in sorted(tree.walk()):
        attr = tree.attr(ino)
        content = tree.content(ino)
        fields = [
            escape(b"/" + path),
            f"{attr.kind | attr.mode:o}",
            attr.nlink,
            attr.uid,
            attr.gid,
            attr.rdev,
            attr.size,
            attr.mtime_ns,
            escape(tree.readlink(ino)),
            digest(content) if digest and content else "-",
            *(f"{escape(k)}={escape(v)}" for k, v in sorted(tree.xattrs(ino).items())),
        ]
        first = tree.path(ino)
        if first != path:
            fields.append("=" + escape(b"/" + first))
        yield " ".join(str(field) for field in fields)


def escape(text: bytes) -> str:
    """`text` without blanks or unprintable bytes; "-" for nothing."""
    if not text:
        return "-"
    return "".join(
        chr(byte) if 0x20 < byte < 0x7F and byte != 0x5C else f"\\x{byte:02x}" for byte in text
    )
