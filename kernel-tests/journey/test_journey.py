"""The first journey through imagefs, as a user at a terminal takes it, with real images and tools.

What an image holds is told by umoci, and what became of it by skopeo and umoci.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.command import Cli
from harness.proxy import CountingProxy
from harness.registry import Registry
from harness.snapshot import differences, snapshot, without_times
from harness.umoci import unpack

from imagefs.testing.oci_layout import Layout


def sh(command: str, cwd: Path) -> str:
    """What a shell command prints, in the C locale; it must succeed."""
    done = subprocess.run(
        command,
        shell=True,
        cwd=cwd,
        check=True,
        capture_output=True,
        timeout=120,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "TZ": "UTC"},
    )
    return done.stdout.decode(errors="surrogateescape")


#: Without what file systems count as they like: blocks, and links and sizes of directories.
LISTING = (
    "ls -lR --time-style=full-iso . | grep -v ^total | tr -s ' ' | "
    r"sed -E 's/^(d\S+) [0-9]+ (\S+ \S+) [0-9]+/\1 \2/'"
)

#: The changes of the journey, in a mount's root.
CHANGES = """
set -e
echo hi > root/new
rm -r usr/share/doc
chmod 600 etc/passwd
chown 12:34 etc/group
ln etc/debian_version etc/hard
ln -s new root/soft
mv etc/issue etc/moved
mv usr/share/python3 usr/share/python-three
mknod -m 640 root/null c 1 3
mkfifo root/pipe
setfattr -n user.note -v kept app/app.py
touch -d '2001-02-03 04:05:06.789 UTC' etc/shadow
"""


def expected_diff(oracle: Path) -> set[str]:
    """The lines of `diff` for CHANGES, worked out from the image's files."""
    moved = ["", *(f"/{p.relative_to(oracle / 'usr/share/python3')}" for p in
                   (oracle / "usr/share/python3").rglob("*"))]  # fmt: skip
    return {
        "C /app",
        "C /app/app.py",
        "C /app/main.py",  # another name of app.py
        "C /etc",
        "C /etc/group",
        "A /etc/hard",
        "D /etc/issue",
        "A /etc/moved",
        "C /etc/passwd",
        "C /etc/shadow",
        "C /root",
        "A /root/new",
        "A /root/null",
        "A /root/pipe",
        "A /root/soft",
        "C /usr",
        "C /usr/share",
        "D /usr/share/doc",
        "D /usr/share/python3",
        *(f"A /usr/share/python-three{below}" for below in moved),
    }


def test_mount_is_what_umoci_unpacks_by_any_name(
    registry: Registry, python_image: Layout, unpacked_python: Path, run_cli: Cli, tmp_path: Path
) -> None:
    pushed = registry.push(python_image, "python:latest")
    names = {"bare": pushed, "docker": f"docker://{pushed}", "oci": str(python_image)}
    oracle = snapshot(unpacked_python)
    for form, name in names.items():
        place = run_cli.mountpoint(form)
        run_cli("mount", "--quiet", name, place)
        assert differences(snapshot(place), oracle) == []

    assert sh(LISTING, place) == sh(LISTING, unpacked_python)
    found = sh("grep -r numpy usr/lib/python3 | sort", place)
    assert found == sh("grep -r numpy usr/lib/python3 | sort", unpacked_python)
    assert found
    sh(f"cp -a etc {tmp_path}/x", place)
    assert differences(snapshot(tmp_path / "x"), snapshot(unpacked_python / "etc")) == []
    packed = sh("tar -cf - . | tar t | sort", place)
    assert packed == sh("tar -cf - . | tar t | sort", unpacked_python)


def test_changes_are_diffed_committed_pushed_and_pulled_back(
    registry: Registry,
    counting_proxy: CountingProxy,
    python_image: Layout,
    unpacked_python: Path,
    run_cli: Cli,
    pull_back: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    registry.push(python_image, "python:latest")
    base, slim = f"{counting_proxy.host}/python:latest", f"{counting_proxy.host}/slim:1"
    place = run_cli.mountpoint("py")
    run_cli("mount", "--quiet", base, place)
    sh(CHANGES, place)

    lines = run_cli("diff", place).stdout.splitlines()
    assert set(lines) == expected_diff(unpacked_python)
    assert len(lines) == len(set(lines))

    run_cli("commit", "-m", "slim", "--change", 'CMD ["python3"]', place, slim)
    [inspected] = json.loads(run_cli("inspect", "--type", "image", slim).stdout)
    assert inspected["Config"]["Cmd"] == ["python3"]
    assert inspected["Comment"] == "slim"
    assert len(inspected["RootFS"]["Layers"]) == 4

    again = run_cli.mountpoint("slim")
    run_cli("mount", "--quiet", slim, again)  # from the store: it is nowhere else yet
    changed = snapshot(place)
    assert differences(snapshot(again), changed) == []

    counting_proxy.reset()
    pushed = run_cli("push", slim).stderr
    assert pushed.count("mounted from another repository") == 3
    _check_bases_stayed(counting_proxy, python_image)

    back = pull_back(f"{registry.host}/slim:1")
    assert differences(snapshot(back), changed) == []
    oracle = tmp_path / "oracle"
    sh(f"cp -a {unpacked_python} {oracle}", tmp_path)
    sh(CHANGES, oracle)
    assert differences(without_times(snapshot(back)), without_times(snapshot(oracle))) == []


def _check_bases_stayed(proxy: CountingProxy, base: Layout) -> None:
    """No byte of the layers of `base` went either way since the proxy was reset."""
    for layer in manifest_of(base)["layers"]:
        digest = layer["digest"]
        assert proxy.exchanges("GET", digest) == []
        mounts = proxy.exchanges("POST", f"mount={digest.replace(':', '(:|%3A)')}")
        assert [exchange.status for exchange in mounts] == [201]
    assert proxy.bytes_sent() < 64 << 10  # the new layer, the config, the manifest


def manifest_of(layout: Layout) -> Any:
    """The manifest of an image in a layout."""
    index = json.loads((layout.path / "index.json").read_text())
    digest = index["manifests"][0]["digest"].removeprefix("sha256:")
    return json.loads((layout.path / "blobs/sha256" / digest).read_text())


def test_same_changes_make_the_same_layer_and_image(
    edge_image: Layout, run_cli: Cli, tmp_path: Path
) -> None:
    place = run_cli.mountpoint("a")
    run_cli("mount", "--quiet", str(edge_image), place)
    sh("echo one > odd/one; ln odd/first odd/fourth; rm odd/empty; chown 7:8 odd/null", place)

    def commit(name: str, **environment: str) -> Any:
        run_cli("commit", place, name, environment=environment)
        [inspected] = json.loads(run_cli("inspect", "--type", "image", name).stdout)
        return inspected

    first, second = commit("localhost/a:1"), commit("localhost/a:2")
    assert first["RootFS"] == second["RootFS"]
    assert first["Digest"] != second["Digest"]  # another time of creation
    epoch = {"SOURCE_DATE_EPOCH": "1700000000"}
    third, fourth = commit("localhost/a:3", **epoch), commit("localhost/a:4", **epoch)
    assert third["Digest"] == fourth["Digest"]
    assert third["Created"].startswith("2023-11-14T22:13:20")


def test_squashed_and_pushed_to_a_layout_it_is_the_same_tree(
    registry: Registry, edge_image: Layout, run_cli: Cli, tmp_path: Path
) -> None:
    place, flat = run_cli.mountpoint("a"), run_cli.mountpoint("flat")
    run_cli("mount", "--quiet", f"docker://{registry.push(edge_image, 'edge:1')}", place)
    sh("echo one > odd/one; rm -r odd/long; mv odd/first odd/moved; rm odd/tree", place)
    run_cli("commit", "--squash", "--quiet", place, "localhost/flat:1")
    [inspected] = json.loads(run_cli("inspect", "--type", "image", "localhost/flat:1").stdout)
    assert len(inspected["RootFS"]["Layers"]) == 1
    run_cli("mount", "--quiet", "localhost/flat:1", flat)
    assert differences(snapshot(flat), snapshot(place)) == []

    layout = Layout(tmp_path / "layout", "flat")
    run_cli("push", "--quiet", "localhost/flat:1", str(layout))
    assert differences(snapshot(unpack(layout, tmp_path / "out")), snapshot(place)) == []
    again = run_cli.mountpoint("again")
    run_cli("mount", "--quiet", str(layout), again)
    assert differences(snapshot(again), snapshot(place)) == []
