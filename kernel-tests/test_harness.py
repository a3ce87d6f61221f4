"""The harness itself: what it promises to the other tests."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.proxy import CountingProxy, Fault
from harness.registry import Registry

from imagefs.testing import leftovers
from imagefs.testing.debian_image import DebianImages
from imagefs.testing.oci_layout import Compression, Layout


def get(host: str, path: str, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(host)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def config_of(layout: Layout) -> dict[str, Any]:
    command = ["skopeo", "--insecure-policy", "inspect", "--config", str(layout)]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    config: dict[str, Any] = json.loads(raw)
    return config


@pytest.fixture
def blob(push_fixture: Callable[[Layout, str], str], busybox_image: Layout) -> tuple[str, bytes]:
    """The path of a layer in the registry, and its bytes."""
    push_fixture(busybox_image, "harness/busybox:1")
    index = json.loads((busybox_image.path / "index.json").read_text())
    blobs = busybox_image.path / "blobs/sha256"
    manifest = json.loads((blobs / index["manifests"][0]["digest"][7:]).read_text())
    digest = manifest["layers"][0]["digest"]
    return f"/v2/harness/busybox/blobs/{digest}", (blobs / digest[7:]).read_bytes()


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("name", ["busybox", "edge"])
def test_umoci_unpacks_the_images(
    images: DebianImages, name: str, compression: Compression, tmp_path: Path
) -> None:
    layout: Layout = getattr(images, name)(compression)
    command = ["umoci", "unpack", "--image", f"{layout.path}:latest", str(tmp_path / "bundle")]
    subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "bundle/rootfs/bin/sh").is_symlink()


def test_skopeo_decompresses_zstd_to_the_tars_of_the_plain_image(
    images: DebianImages, tmp_path: Path
) -> None:
    copy = ["skopeo", "--insecure-policy", "copy", "-q", "--dest-decompress"]
    subprocess.run([*copy, str(images.edge("zstd")), f"dir:{tmp_path}"], check=True)
    diff_ids = config_of(images.edge("none"))["rootfs"]["diff_ids"]
    assert {digest[7:] for digest in diff_ids} <= {path.name for path in tmp_path.iterdir()}


def test_skopeo_reads_the_python_image(python_image: Layout) -> None:
    config = config_of(python_image)
    assert config["config"]["Cmd"] == ["python3"]
    assert len(config["rootfs"]["diff_ids"]) == 3


def test_the_same_recipe_gives_the_same_image(images: DebianImages, tmp_path: Path) -> None:
    again = DebianImages(tmp_path).edge()
    assert (again.path / "index.json").read_bytes() == (
        images.edge().path / "index.json"
    ).read_bytes()


def test_the_proxy_counts_bodies(counting_proxy: CountingProxy, blob: tuple[str, bytes]) -> None:
    path, content = blob
    assert get(counting_proxy.host, path) == (200, content)
    assert get(counting_proxy.host, path, Range="bytes=10-19") == (206, content[10:20])
    assert [e.received for e in counting_proxy.exchanges("GET", "/blobs/")] == [len(content), 10]
    assert counting_proxy.exchanges()[1].range == "bytes=10-19"
    assert counting_proxy.bytes_fetched("/manifests/") == 0


def test_the_proxy_injects_faults(counting_proxy: CountingProxy, blob: tuple[str, bytes]) -> None:
    path, content = blob
    counting_proxy.inject(Fault("/blobs/", times=1, status=503, headers={"Retry-After": "0"}))
    assert get(counting_proxy.host, path)[0] == 503
    counting_proxy.inject(Fault("/blobs/", times=1, flip=5))
    spoilt = get(counting_proxy.host, path)[1]
    assert [
        at for at, pair in enumerate(zip(spoilt, content, strict=True)) if len({*pair}) > 1
    ] == [5]
    counting_proxy.inject(Fault("/blobs/", times=1, drop_after=1000))
    with pytest.raises(http.client.IncompleteRead) as caught:
        get(counting_proxy.host, path)
    assert caught.value.partial == content[:1000]
    assert get(counting_proxy.host, path) == (200, content)


def test_uploads_pass_through_the_proxy(
    counting_proxy: CountingProxy, busybox_image: Layout
) -> None:
    copy = ["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false"]
    name = f"docker://{counting_proxy.host}/harness/uploaded:1"
    subprocess.run([*copy, str(busybox_image), name], check=True)
    size = sum(file.stat().st_size for file in (busybox_image.path / "blobs/sha256").iterdir())
    assert counting_proxy.bytes_sent() == size


def test_the_password_registry_lets_only_its_user_in(
    auth_registry: Registry, busybox_image: Layout
) -> None:
    assert get(auth_registry.host, "/v2/")[0] == 401
    auth_registry.push(busybox_image, "secret/busybox:1")


def test_the_tls_registry_is_trusted_with_its_authority_only(
    tls_registry: Registry, certificates: tuple[Path, Path, Path]
) -> None:
    url = f"https://{tls_registry.host}/v2/"
    assert subprocess.run(["curl", "-sf", url], check=False).returncode == 60
    subprocess.run(["curl", "-sf", "--cacert", certificates[0], url], check=True)


def test_a_stopped_registry_keeps_its_storage(
    own_registry: Registry, busybox_image: Layout
) -> None:
    own_registry.push(busybox_image, "kept:1")
    own_registry.stop()
    with pytest.raises(ConnectionRefusedError):
        get(own_registry.host, "/v2/")
    own_registry.start()
    assert get(own_registry.host, "/v2/kept/tags/list")[0] == 200


def test_clean_up_kills_and_detaches_what_belongs_to_a_store(tmp_path: Path) -> None:
    root, mountpoint = tmp_path / "store", tmp_path / "mnt"
    mountpoint.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "leftover", mountpoint], check=True)
    children = [
        subprocess.Popen(
            ["sleep", "1000"], env={"IMAGEFS_ROOT": str(root), "PATH": "/usr/bin:/bin"}
        ),
        subprocess.Popen([sys.executable, "-c", "input()", str(root)], stdin=subprocess.PIPE),
        subprocess.Popen(["sleep", "1000"]),
    ]
    try:
        assert leftovers.clean_store(root, tmp_path) == [str(mountpoint)]
        assert [child.wait() for child in children[:2]] == [-9, -9]
        assert children[2].poll() is None
        assert not mountpoint.is_mount()
    finally:
        for child in children:
            child.kill()
            child.communicate()


def _blocked(pid: int, seconds: float = 20) -> bool:
    """Whether a process comes to rest in one system call (proc(5), /proc/PID/syscall)."""
    end = time.monotonic() + seconds
    last = ""
    while time.monotonic() < end:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        call = Path(f"/proc/{pid}/syscall").read_text()
        if name == "stat" and call == last and call != "running\n":
            return True
        last = call
        time.sleep(0.2)
    return False


def test_clean_up_gets_past_a_dead_fuse_server(tmp_path: Path) -> None:
    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    # Opens /dev/fuse, mounts, and never answers.
    source = (
        "import os, sys, ctypes\n"
        "fd = os.open('/dev/fuse', os.O_RDWR)\n"
        "data = f'fd={fd},rootmode=40000,user_id=0,group_id=0'.encode()\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "assert libc.mount(b'x', sys.argv[1].encode(), b'fuse.imagefs', 0, data) == 0\n"
        "print('mounted', flush=True)\ninput()"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", source, mountpoint], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    reader = None
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"mounted\n"
        reader = subprocess.Popen(["stat", mountpoint], stderr=subprocess.DEVNULL)
        assert _blocked(reader.pid), "stat did not wait for the dead server"
        assert leftovers.detach(lambda mount: mount.mountpoint == str(mountpoint)) == [
            str(mountpoint)
        ]
        assert reader.wait() != 0
    finally:
        server.kill()
        server.communicate()
        if reader:
            reader.wait()


def test_the_global_clean_up_spares_who_only_names_the_programs(tmp_path: Path) -> None:
    script = tmp_path / "imagefs/mount/keeper.py"
    script.parent.mkdir(parents=True)
    opening = "if sys.argv[1:]: os.open('/dev/fuse', os.O_RDWR)"
    script.write_text(f"import os, sys\n{opening}\nprint(1, flush=True)\ninput()")
    pipe = subprocess.PIPE
    editor, keeper = (
        subprocess.Popen([sys.executable, script, *more], stdin=pipe, stdout=pipe)
        for more in ([], ["mounted"])
    )
    try:
        for child in (editor, keeper):
            assert child.stdout is not None
            child.stdout.readline()
        serving = {p.pid for p in leftovers.processes() if leftovers.serves(p)}
        assert keeper.pid in serving
        assert editor.pid not in serving
    finally:
        for child in (editor, keeper):
            child.kill()
            child.communicate()
