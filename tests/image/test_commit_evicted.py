"""A commit of files whose bytes were evicted: fetched once, and one inode stays one inode."""

from __future__ import annotations

import io
import tarfile
from functools import partial

import trio

from imagefs.image.commit import CommitOptions, commit
from imagefs.image.fetch import fetch
from imagefs.image.push import PushOptions, push
from imagefs.testing.uppers import EngineDir
from imagefs.transport import Access

from .conftest import BASE, Bench

DATA = bytes(range(256)) * 5000


def lower() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("d/a")
        info.size = len(DATA)
        tar.addfile(info, io.BytesIO(DATA))
        for name in ("d/b", "e/c"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.LNKTYPE, "d/a"
            tar.addfile(link)
        other = tarfile.TarInfo("untouched")
        other.size = 10
        tar.addfile(other, io.BytesIO(b"0123456789"))
    return out.getvalue()


def edit(root: EngineDir) -> None:
    root.chmod(b"d/b", 0o600)  # metadata alone comes up, of all three names
    root.unlink(b"e/c")
    root.rename(b"d", b"moved")


def test_names_of_one_evicted_file_become_one_entry_and_links(bench: Bench) -> None:
    bench.publish(BASE, lower())
    record = bench.record(trio.run(bench.pull, BASE))
    bench.store.gc(content=True)
    bench.change(record, edit)
    get = partial(fetch, access=Access(), home="reg.example/base:1")
    image, warnings = commit(
        bench.store,
        record,
        "reg.example/new:1",
        CommitOptions(),
        lambda layers, contents: get(bench.store, layers, contents),
    )
    assert warnings == []
    tree = bench.store.tree(image.layers)
    assert [path for path, _ in tree.walk()] == [
        b"",
        b"e",
        b"moved",
        b"moved/a",
        b"moved/b",
        b"untouched",
    ]
    ino = tree.lookup(b"moved/a")
    assert ino is not None
    assert tree.lookup(b"moved/b") == ino
    assert (tree.attr(ino).nlink, tree.attr(ino).mode) == (2, 0o600)
    content = tree.content(ino)
    assert content is not None
    with bench.store.layers.open(image.layers[content.layer]) as layer:
        assert layer.complete
        assert layer.read(content.offset, content.size) == DATA
    destination = bench.registry.destination("docker://reg.example/new:1")
    trio.run(push, bench.store, image, destination, PushOptions())
    assert bench.store.fsck() == []
