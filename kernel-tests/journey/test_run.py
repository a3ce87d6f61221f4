"""Containers on the journey: run what was committed, look at it, copy from it, remove it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from harness.command import COMMAND, Cli
from harness.registry import Registry

from imagefs.testing.oci_layout import Layout


def test_committed_image_runs(registry: Registry, python_image: Layout, run_cli: Cli) -> None:
    base, slim = registry.push(python_image, "python:latest"), f"{registry.host}/run-slim:1"
    place = run_cli.mountpoint("py")
    run_cli("mount", "--quiet", base, place)
    (place / "root/new").write_text("hi\n")
    run_cli("commit", "--quiet", "--change", 'CMD ["cat", "/root/new"]', place, slim)
    run_cli("push", "--quiet", slim)
    assert run_cli("run", "--rm", slim, "python3", "-c", "print(6*7)").stdout == "42\n"
    assert run_cli("run", "--rm", slim).stdout == "hi\n"
    assert run_cli("run", "--rm", "-i", slim, "cat", stdin="data\n").stdout == "data\n"
    run_cli("run", "--rm", slim, "sh", "-c", "exit 7", status=7)
    assert json.loads(run_cli("ps", "--all", "--format", "json").stdout) == []


def test_terminal_belongs_to_the_container(edge_image: Layout, run_cli: Cli) -> None:
    command = [str(COMMAND), "run", "--rm", "--quiet", "-it", str(edge_image), "sh", "-c"]
    inside = "test -t 0 && test -t 1 && tty"
    script = ["script", "--quiet", "--return", "--command"]
    shown = subprocess.run(
        [*script, " ".join([*command, f"'{inside}'"]), "/dev/null"],
        env=run_cli.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert shown.returncode == 0, shown.stdout
    assert b"/dev/pts/" in shown.stdout


def test_container_is_diffed_copied_from_committed_and_removed(
    edge_image: Layout, run_cli: Cli, tmp_path: Path
) -> None:
    script = "echo made > /tmp/made; rm /etc/group"
    run_cli("run", "--quiet", "--name", "one", "-u", "0", str(edge_image), "sh", "-c", script)
    [row] = json.loads(run_cli("ps", "--all", "--format", "json").stdout)
    assert row["Names"] == ["one"]
    lines = run_cli("diff", "one").stdout.splitlines()
    assert {"A /tmp/made", "D /etc/group"} <= set(lines)
    run_cli("cp", "one:/tmp/made", tmp_path / "made")
    assert (tmp_path / "made").read_text() == "made\n"
    run_cli("cp", tmp_path / "made", "one:/tmp/copied")
    run_cli("commit", "--quiet", "one", "localhost/made:1")
    script = "cat /tmp/made /tmp/copied; stat -c %u:%g /tmp/copied"
    shown = run_cli("run", "--rm", "localhost/made:1", "sh", "-c", script).stdout
    assert shown == "made\nmade\n0:0\n"  # the container ran as root, not as the image's user
    run_cli("rm", "one")
    assert json.loads(run_cli("ps", "--all", "--format", "json").stdout) == []
    assert json.loads(run_cli("mounts", "--all", "--json").stdout) == []
