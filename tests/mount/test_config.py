"""Keeper and server read the same configuration, each with its own code."""

from __future__ import annotations

import importlib
from pathlib import Path

from imagefs.mount import keeper
from imagefs.mount.config import Config
from imagefs.mount.keepers import keeper_command

CONFIG = Config(Path("/mnt/ä b"), "imagefs:0123", ("ro", "allow_other"), True, False, '{"a": 1}')


def test_server_reads_what_the_keeper_wrote(tmp_path: Path) -> None:
    (tmp_path / "config").write_bytes(CONFIG.encode() + b"\0python\0-m\0x")
    assert Config.read(tmp_path) == CONFIG
    kept = keeper.Keeper(str(tmp_path))
    kept.read_config()
    assert kept.mountpoint.decode() == "/mnt/ä b"
    assert (kept.source, kept.options) == (b"imagefs:0123", b"ro,allow_other")
    assert (kept.privileged, kept.resend) == (True, False)
    assert kept.command == ["python", "-m", "x"]


def test_keeper_state_is_json(tmp_path: Path) -> None:
    table = importlib.import_module("imagefs.mount.table")
    kept = keeper.Keeper(str(tmp_path))
    kept.server, kept.restarts, kept.resend = 12, 3, True
    kept.note_state()
    running = table.msgspec.json.decode((tmp_path / "state.json").read_bytes(), type=table.Running)
    assert (running.server_pid, running.restarts, running.resend) == (12, 3, True)


def test_keeper_imports_next_to_nothing() -> None:
    code = (
        "import runpy, sys; before = set(sys.modules); "
        f"runpy.run_path({str(Path(keeper.__file__))!r}); "
        "print(*sorted(set(sys.modules) - before - {'runpy', 'pkgutil'}))"
    )
    import subprocess

    base = keeper_command()[:3]
    plain = subprocess.run([*base, "-c", "import runpy"], check=True)
    assert plain.returncode == 0
    found = subprocess.run([*base, "-c", code], check=True, capture_output=True, text=True)
    assert not {"socket", "subprocess", "json", "ctypes", "imagefs"} & set(found.stdout.split())
