"""OCI layouts beyond the contract: choosing images, damaged documents, writers side by side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from imagefs.errors import ImagefsError, InvalidInputError, NotFoundError
from imagefs.oci.digest import Digest
from imagefs.testing.transport_contract import (
    CONFIG,
    LAYER,
    MANIFEST_TYPE,
    info,
    manifest,
    pieces,
    push,
)
from imagefs.transport import Access, open_destination, open_source, parse_image_name
from imagefs.transport.layout import LayoutError, parse_index
from imagefs.transport.protocols import ImageDestination, ImageSource


def source(text: str) -> ImageSource:
    return open_source(parse_image_name(f"oci:{text}"), Access())


def destination(text: str) -> ImageDestination:
    return open_destination(parse_image_name(f"oci:{text}"), Access())


async def test_the_only_image_needs_no_name(tmp_path: Path) -> None:
    one = await push(destination(f"{tmp_path}:one"))
    assert (await source(f"{tmp_path}").manifest())[0] == one
    two = await push(destination(f"{tmp_path}:two"), b"two")
    with pytest.raises(NotFoundError, match="one, two"):
        await source(f"{tmp_path}").manifest()
    with pytest.raises(NotFoundError, match="one, two"):
        await source(f"{tmp_path}:three").manifest()
    assert (await source(f"{tmp_path}:@1").manifest())[0] == two
    assert (await source(f"{tmp_path}@{Digest.of(one)}").manifest())[0] == one
    with pytest.raises(NotFoundError):
        await source(f"{tmp_path}:@2").manifest()


async def test_an_unnamed_image_takes_no_name_away(tmp_path: Path) -> None:
    one = await push(destination(f"{tmp_path}:one"))
    for _ in range(2):
        await push(destination(f"{tmp_path}"), b"unnamed")
    assert len(json.loads((tmp_path / "index.json").read_bytes())["manifests"]) == 2
    assert (await source(f"{tmp_path}:one").manifest())[0] == one


async def test_the_layout_is_as_the_specification_has_it(tmp_path: Path) -> None:
    raw = await push(destination(f"{tmp_path}:one"))
    layout = json.loads((tmp_path / "oci-layout").read_bytes())
    assert layout == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((tmp_path / "index.json").read_bytes())
    assert index["schemaVersion"] == 2
    assert index["manifests"] == [
        {
            "mediaType": MANIFEST_TYPE,
            "digest": str(Digest.of(raw)),
            "size": len(raw),
            "annotations": {"org.opencontainers.image.ref.name": "one"},
        }
    ]
    names = {path.name for path in (tmp_path / "blobs/sha256").iterdir()}
    assert names == {Digest.of(data).hex for data in (raw, CONFIG, LAYER)}
    assert {path.name for path in tmp_path.iterdir()} == {"blobs", "index.json", "oci-layout"}


async def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(8):
            layer = b"layer %d" % number
            nursery.start_soon(push, destination(f"{tmp_path}:t{number}"), layer)
    for number in range(8):
        raw, _ = await source(f"{tmp_path}:t{number}").manifest()
        assert raw == manifest(b"layer %d" % number)


async def test_a_cancelled_write_leaves_nothing(tmp_path: Path) -> None:
    to = destination(f"{tmp_path}:one")

    async def endless() -> object:
        for piece in (b"a", b"b"):
            yield piece
        await trio.sleep_forever()

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(to.put_blob, endless(), None)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert {path.name for path in tmp_path.iterdir()} == {"blobs", "oci-layout"}


async def test_a_killed_writer_leaves_a_good_layout(tmp_path: Path) -> None:
    kept = await push(destination(f"{tmp_path}:one"))
    script = """if True:
        import os, signal, sys, trio
        from imagefs.testing.transport_contract import push
        from imagefs.transport import Access, open_destination, parse_image_name
        calls = 0
        real = os.fsync
        def counting(fd):
            global calls
            calls += 1
            if calls == int(sys.argv[2]):
                os.kill(os.getpid(), signal.SIGKILL)
            real(fd)
        os.fsync = counting
        name = parse_image_name(f"oci:{sys.argv[1]}:two")
        trio.run(push, open_destination(name, Access()), b"two")
    """
    for nth in range(1, 20):
        done = subprocess.run([sys.executable, "-c", script, str(tmp_path), str(nth)], check=False)
        assert (await source(f"{tmp_path}:one").manifest())[0] == kept
        if done.returncode == 0:
            break
        assert done.returncode == -9
    assert nth > 4
    assert (await source(f"{tmp_path}:two").manifest())[0] == manifest(b"two")


async def test_what_is_no_layout_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        await source(f"{tmp_path}/missing").manifest()
    with pytest.raises(NotFoundError, match="no oci-layout"):
        await source(f"{tmp_path}").manifest()
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion":"2.0.0"}')
    with pytest.raises(LayoutError, match=r"'2\.0\.0'"):
        await source(f"{tmp_path}").manifest()
    (tmp_path / "oci-layout").write_text("{")
    with pytest.raises(LayoutError):
        destination(f"{tmp_path}")
    with pytest.raises(InvalidInputError):
        destination(f"{tmp_path}:@1")


async def test_a_blob_that_is_a_fifo_does_not_hang(tmp_path: Path) -> None:
    await push(destination(f"{tmp_path}:one"))
    path = tmp_path / "blobs/sha256" / Digest.of(LAYER).hex
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(LayoutError, match="not a regular file"):
        await source(f"{tmp_path}:one").pread(info(LAYER), 0, 1)


async def test_a_full_disk_is_the_writers_error(tmp_path: Path) -> None:
    to = destination(f"{tmp_path}:one")
    (tmp_path / "blobs/sha256").rmdir()
    (tmp_path / "blobs/sha256").write_text("in the way")
    with pytest.raises(ImagefsError) as caught:
        await to.put_blob(pieces(LAYER), None)
    assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"blobs", "oci-layout"}


async def test_a_sources_name_is_good_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    raw = await push(destination("layout:one"))
    name = source("layout:one").name
    assert name == f"oci:{tmp_path}/layout:one"
    monkeypatch.chdir("/")
    assert (await open_source(parse_image_name(name), Access()).manifest())[0] == raw


def test_a_name_costs_no_trio() -> None:
    script = "import sys, imagefs.transport; sys.exit('trio' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_an_oci_name_costs_no_http_library(tmp_path: Path) -> None:
    script = (
        "import sys; from imagefs.transport import *;"
        f"open_source(parse_image_name('oci:{tmp_path}'), Access());"
        "sys.exit(any(name in sys.modules for name in ('httpx2', 'httpcore2', 'h11')))"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@given(
    st.binary(max_size=40)
    | st.recursive(
        st.none() | st.text(max_size=5) | st.just("sha256:" + "a" * 64),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(st.sampled_from(["manifests", "digest", "annotations"]), inner)
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_index_is_understood_or_refused(raw: bytes) -> None:
    try:
        for entry in parse_index(raw, "here")["manifests"]:
            Digest.parse(entry["digest"])
    except LayoutError:
        pass
