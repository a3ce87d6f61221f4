"""Lazy is shown, not assumed: what goes over the wire is counted, and taken away.

`system gc --content` makes a store that knows an image and has none of it.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness.command import COMMAND, Cli
from harness.proxy import CountingProxy, Fault
from harness.registry import Registry

from imagefs.formats.plan import plan
from imagefs.image.copyfrom import look_up
from imagefs.store import Image, Store, default_roots
from imagefs.testing import leftovers
from imagefs.testing.debian_image import DebianImages
from imagefs.testing.oci_layout import Compression, Layer, Layout, LayoutWriter

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

#: Files all over the image, from one line to some megabytes.
TEN = (
    "etc/passwd",
    "etc/os-release",
    "usr/bin/dpkg",
    "usr/bin/perl",
    "usr/bin/python3",
    "usr/share/common-licenses/GPL-3",
    "usr/lib/python3.11/json/decoder.py",
    "usr/lib/python3/dist-packages/numpy/__init__.py",
    "usr/lib/python3/dist-packages/flask/app.py",
    "app/app.py",
)
#: Read by nothing before it is copied, or changed in mode; a span of another may hold them, though.
ELEVENTH = "usr/bin/bash"
TWELFTH = "usr/bin/tar"


@contextmanager
def opened(cli: Cli) -> Iterator[Store]:
    store = Store.open(*default_roots(cli.environment))
    try:
        yield store
    finally:
        store.close()


def known(cli: Cli, name: str) -> None:
    """Have the store know an image by a first mount, and drop its content."""
    place = cli.mountpoint("first")
    cli("mount", "--quiet", "--read-only", name, place)
    cli("umount", place)
    cli("system", "gc", "--content")


def spans(cli: Cli, name: str, paths: Sequence[str]) -> int:
    """The bytes of blobs that cover the files, each asked for alone."""
    with opened(cli) as store:
        image = store.images.resolve(name)
        assert image is not None
        return sum(_span(store, image, path) for path in paths)


def _span(store: Store, image: Image, path: str) -> int:
    tree = store.tree(image.layers)
    found = look_up(tree, path.encode())
    assert found is not None, path
    content = tree.content(found[0])
    assert content is not None, path
    with store.layers.open(image.layers[content.layer]) as layer:
        chunks = layer.missing(content.offset, content.size)
        return sum(fetch.blob_length for fetch in plan(layer.index, chunks))


def size_of(layout: Layout) -> int:
    """The bytes of an image's layers as a registry has them."""
    index = json.loads((layout.path / "index.json").read_text())
    digest = index["manifests"][0]["digest"].removeprefix("sha256:")
    manifest = json.loads((layout.path / "blobs/sha256" / digest).read_text())
    return sum(layer["size"] for layer in manifest["layers"])


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_only_what_is_touched_is_fetched(
    compression: Compression,
    images: DebianImages,
    registry: Registry,
    counting_proxy: CountingProxy,
    run_cli: Cli,
    tmp_path: Path,
) -> None:
    layout = images.python(compression)
    repository = f"lazy-{compression}"
    registry.push(layout, f"{repository}:1")
    name = f"{counting_proxy.host}/{repository}:1"
    percent = size_of(layout) // 100
    known(run_cli, name)
    place = run_cli.mountpoint("py")

    counting_proxy.reset()
    run_cli("mount", "--quiet", name, place)
    assert counting_proxy.bytes_fetched() < percent

    allowed = spans(run_cli, name, TEN)
    for path in TEN:
        (place / path).read_bytes()
    assert 0 < counting_proxy.bytes_fetched() < allowed + percent
    assert allowed < 25 * percent  # the bound is one

    allowed = spans(run_cli, name, [ELEVENTH])
    counting_proxy.reset()
    run_cli("cp", "--quiet", f"{name}:/{ELEVENTH}", tmp_path / "copied")
    assert counting_proxy.bytes_fetched() < allowed + percent
    assert (tmp_path / "copied").read_bytes() == (place / ELEVENTH).read_bytes()

    allowed = spans(run_cli, name, [TWELFTH])
    counting_proxy.reset()
    (place / TWELFTH).chmod(0o700)  # its bytes are needed by the new layer, and by nothing else
    (place / "root/new").write_text("hi\n")
    assert counting_proxy.bytes_fetched() == 0
    slim = f"{counting_proxy.host}/{repository}-slim:1"
    run_cli("commit", "--quiet", place, slim)
    run_cli("push", "--quiet", slim)
    assert counting_proxy.bytes_fetched() < allowed + percent
    assert counting_proxy.bytes_sent() < percent


def test_zstd_in_one_frame_streams_one_layer_once(
    images: DebianImages, registry: Registry, counting_proxy: CountingProxy, run_cli: Cli
) -> None:
    layout = images.python("zstd")
    registry.push(layout, "lazy-zstd:1")
    name = f"{counting_proxy.host}/lazy-zstd:1"
    known(run_cli, name)
    place = run_cli.mountpoint("py")
    counting_proxy.reset()
    run_cli("mount", "--quiet", name, place)
    assert counting_proxy.bytes_fetched() < size_of(layout) // 100
    with opened(run_cli) as store:
        image = store.images.resolve(name)
        assert image is not None
        base, middle, top = (str(key.blob) for key in image.layers)

    (place / "usr/lib/python3/dist-packages/flask/app.py").read_bytes()
    (place / "usr/lib/python3/dist-packages/numpy/__init__.py").read_bytes()
    assert counting_proxy.exchanges("GET", base) == []
    assert counting_proxy.exchanges("GET", top) == []
    size = (layout.path / "blobs" / middle.replace(":", "/")).stat().st_size
    assert counting_proxy.bytes_fetched(middle) <= size + 1  # a byte to see that it is there


def test_zstd_in_many_frames_is_read_by_range(
    registry: Registry, counting_proxy: CountingProxy, run_cli: Cli, tmp_path: Path
) -> None:
    files = {f"file{number}": os.urandom(1 << 20) for number in range(24)}
    layout = framed(tmp_path / "layout", files)
    registry.push(layout, "lazy-frames:1")
    name = f"{counting_proxy.host}/lazy-frames:1"
    known(run_cli, name)
    place = run_cli.mountpoint("frames")
    run_cli("mount", "--quiet", name, place)
    counting_proxy.reset()
    for path in ("file20", "file3"):
        assert (place / path).read_bytes() == files[path]
    assert counting_proxy.bytes_fetched() < 5 << 20  # two files, each in two frames at most


def framed(directory: Path, files: dict[str, bytes]) -> Layout:
    """An image of one layer, in zstd frames of a megabyte of the tar each."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    plain = packed.getvalue()
    blob = b"".join(
        zstd.compress(plain[at : at + (1 << 20)]) for at in range(0, len(plain), 1 << 20)
    )
    writer = LayoutWriter(directory)
    digest = hashlib.sha256(blob).hexdigest()
    (directory / "blobs/sha256" / digest).write_bytes(blob)
    descriptor = {
        "mediaType": "application/vnd.oci.image.layer.v1.tar+zstd",
        "digest": f"sha256:{digest}",
        "size": len(blob),
    }
    diff_id = f"sha256:{hashlib.sha256(plain).hexdigest()}"
    return writer.image("latest", [Layer(descriptor, diff_id, "")], {})


def uncached(path: Path) -> bytes:
    """The bytes of a file by way of its file system, not of the page cache."""
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return file.readall()


def test_registry_gone_and_back(own_registry: Registry, edge_image: Layout, run_cli: Cli) -> None:
    name = own_registry.push(edge_image, "edge:1")
    known(run_cli, name)
    place = run_cli.mountpoint("edge")
    mount = run_cli("mount", "--quiet", "--retry-budget", "0.5", name, place).stdout.strip()
    fetched = uncached(place / "odd/first")
    own_registry.stop()
    try:
        assert uncached(place / "odd/first") == fetched
        with pytest.raises(OSError, match="Input/output error") as failed:
            (place / "bin/busybox").read_bytes()
        assert failed.value.errno == errno.EIO
        assert (place / "bin/busybox").stat().st_size > 1 << 20
        log = leftovers.run_directory(run_cli.root) / "mounts" / mount / "log"
        assert "can't be had" in log.read_text()
        assert own_registry.host in log.read_text()
    finally:
        own_registry.start()
    assert (place / "bin/busybox").read_bytes().startswith(b"\x7fELF")


def test_mounts_that_share_a_layer_fetch_it_once(
    registry: Registry, counting_proxy: CountingProxy, edge_image: Layout, run_cli: Cli
) -> None:
    registry.push(edge_image, "shared:1")
    name = f"{counting_proxy.host}/shared:1"
    one, two = run_cli.mountpoint("one"), run_cli.mountpoint("two")
    run_cli("mount", "--quiet", name, one)
    (one / "odd/mine").write_text("another image\n")
    run_cli("commit", "--quiet", one, "localhost/another:1")
    run_cli("umount", "--discard", one)
    run_cli("system", "gc", "--content")
    allowed = spans(run_cli, name, ["bin/busybox"])
    run_cli("mount", "--quiet", name, one)
    run_cli("mount", "--quiet", "localhost/another:1", two)
    counting_proxy.reset()
    counting_proxy.inject(Fault(path="/blobs/", method="GET", delay=0.3))  # so that both ask
    with ThreadPoolExecutor(2) as pool:
        read = pool.map(lambda place: (place / "bin/busybox").read_bytes(), (one, two))
        first, second = read
    assert first == second
    ranges = [exchange.range for exchange in counting_proxy.exchanges("GET", "/blobs/")]
    assert len(ranges) == len(set(ranges))
    assert 0 < counting_proxy.bytes_fetched() <= allowed + 2  # each looks with one byte first


def test_a_lie_about_diff_ids_gets_and_spoils_nothing(
    registry: Registry, run_cli: Cli, tmp_path: Path
) -> None:
    victim = single(tmp_path / "victim", b"secret of another\n")
    stolen = json.loads(config_of(victim))["rootfs"]["diff_ids"][0]
    liar = single(tmp_path / "liar", b"harmless\n", stolen)
    place = run_cli.mountpoint("image")
    honest = registry.push(victim, "victim:1")
    refused = registry.push(liar, "liar:1")

    first = run_cli("mount", "--quiet", refused, place, status=125)  # nobody has the layer yet
    assert "diffID" in first.stderr
    run_cli("mount", "--quiet", honest, place)
    assert (place / "file").read_bytes() == b"secret of another\n"
    run_cli("umount", "--discard", place)
    run_cli("mount", "--quiet", refused, place, status=125)
    run_cli("system", "gc", "--content")
    run_cli("mount", "--quiet", honest, place)
    assert (place / "file").read_bytes() == b"secret of another\n"
    assert [image["Names"] for image in json.loads(run_cli("images", "--json").stdout)] == [
        [honest]
    ]
    run_cli("system", "fsck")


def single(directory: Path, data: bytes, diff_id: str | None = None) -> Layout:
    """An image of one file, whose config may claim another's diffID."""
    writer = LayoutWriter(directory)

    def fill(tar: tarfile.TarFile) -> None:
        member = tarfile.TarInfo("file")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))

    layer = writer.layer(fill)
    return writer.image("latest", [Layer(layer.descriptor, diff_id or layer.diff_id, "")], {})


def config_of(layout: Layout) -> bytes:
    index = json.loads((layout.path / "index.json").read_text())
    blobs = layout.path / "blobs"
    manifest = json.loads((blobs / index["manifests"][0]["digest"].replace(":", "/")).read_bytes())
    return (blobs / manifest["config"]["digest"].replace(":", "/")).read_bytes()


@pytest.mark.parametrize("held", [1, 1000])
def test_interrupted_first_mount_leaves_nothing_half_made(
    held: int,
    registry: Registry,
    counting_proxy: CountingProxy,
    python_image: Layout,
    run_cli: Cli,
) -> None:
    registry.push(python_image, "interrupted:1")
    counting_proxy.inject(Fault(path="/blobs/", method="GET", times=1))  # the config
    counting_proxy.inject(Fault(path="/blobs/", method="GET", times=held, delay=60))
    place = run_cli.mountpoint("py")
    process = subprocess.Popen(
        [COMMAND, "mount", f"{counting_proxy.host}/interrupted:1", place],
        stderr=subprocess.PIPE,
        env=run_cli.environment,
        start_new_session=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith(b"layer ")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: keeper and server hear it too
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said.splitlines()[-1] == b"Error: interrupted"

    assert [p for p in leftovers.processes() if p.belongs_to(run_cli.root)] == []
    assert [m for m in leftovers.mounts() if str(run_cli.directory) in m.mountpoint] == []
    assert json.loads(run_cli("mounts", "--all", "--json").stdout) == []
    assert json.loads(run_cli("images", "--json").stdout) == []
    for directory in ("tmp", "mounts"):
        assert list((run_cli.root / directory).iterdir()) == []
    assert list((run_cli.root / "locks").glob("scan-*")) == []
    assert list((leftovers.run_directory(run_cli.root) / "mounts").iterdir()) == []
    run_cli("system", "fsck")
    run_cli("system", "gc")  # a layer that came whole stays until then
    assert list((run_cli.root / "layers").iterdir()) == []
    counting_proxy.heal()
    run_cli("mount", "--quiet", f"{counting_proxy.host}/interrupted:1", place)
    assert (place / "app/app.py").is_file()
