"""The first journey through imagefs, on an image made here from Debian packages.

Shows each command, what it says and how long it takes; works in a temporary directory with a store
of its own, and leaves nothing there. Run it with `make demo`, as root.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from imagefs.testing import leftovers
from imagefs.testing.debian_image import DebianImages

BOLD, DIM, RED, PLAIN = (
    ("\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[0m") if sys.stdout.isatty() else ("", "", "", "")
)
SLIM = "localhost/slim:1"
LINES = 12


class DemoFailed(Exception):
    """A command did not exit as it should."""


class Terminal:
    """Runs commands as a user would type them, and shows them."""

    def __init__(self, store: Path, directory: Path) -> None:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._environment = {**os.environ, "IMAGEFS_ROOT": str(store), "PATH": path}
        self._directory = directory

    def type(self, command: str, status: int = 0) -> None:
        """Run one line of shell; show its output, shortened. Raises DemoFailed."""
        print(f"{BOLD}# {command}{PLAIN}", flush=True)
        began = time.monotonic()
        done = subprocess.run(
            command,
            shell=True,
            executable="/bin/bash",
            cwd=self._directory,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        took = time.monotonic() - began
        lines = done.stdout.decode(errors="replace").splitlines()
        for line in lines[:LINES]:
            print(line)
        rest = f"… {len(lines) - LINES} more lines; " if len(lines) > LINES else ""
        print(f"{DIM}{rest}{took * 1000:.0f} ms{PLAIN}\n", flush=True)
        if done.returncode != status:
            raise DemoFailed(f"exit status {done.returncode}, not {status}: {command}")


def say(text: str) -> None:
    """Introduce the next step."""
    print(f"{BOLD}── {text}{PLAIN}", flush=True)


def journey(shell: Terminal, image: str) -> None:
    """Mount, look, change, compare, commit, run, unmount."""
    say("Mount an image: its files are there at once, content comes when it is read")
    shell.type(f"mkdir py && imagefs mount {shlex.quote(image)} py")
    shell.type("imagefs mounts")
    shell.type("ls -l py")
    shell.type("find py | wc -l")
    shell.type("cat py/etc/os-release")
    shell.type("grep -rl float128 py/usr/lib/python3/dist-packages/numpy/core | head -4")

    say("Change it: what is written lies in an upper directory, the image stays as it is")
    shell.type("echo 'print(6 * 7)' > py/app/answer.py && chmod 750 py/app/answer.py")
    shell.type("du -sh py/usr/share/doc && rm -r py/usr/share/doc")
    shell.type("mv py/etc/issue py/etc/issue.old && ln py/app/answer.py py/app/again.py")
    shell.type(
        "touch -d 2001-02-03 py/app/data.bin && setfattr -n user.note -v seen py/app/data.bin"
    )
    shell.type("imagefs diff py")

    say("Commit the changes as a new image: one new layer, the others by reference")
    shell.type(f"""imagefs commit -m slim --change 'CMD ["python3", "/app/answer.py"]' py {SLIM}""")
    shell.type("imagefs images")

    say("Run it with runc")
    shell.type(f"imagefs run --rm {SLIM}")
    shell.type(
        f"imagefs run --rm {SLIM} "
        "python3 -c 'import numpy, flask; print(numpy.arange(6) * 7, flask.__name__)'"
    )
    shell.type(f"echo data | imagefs run --rm -i {SLIM} cat")
    shell.type(f"imagefs run --rm {SLIM} sh -c 'exit 7'", status=7)

    say("Unmount")
    shell.type("imagefs umount py && imagefs mounts")
    shell.type("imagefs system df")


def main() -> int:
    """Run the demo; return its exit status."""
    if os.geteuid() != 0:
        print("the demo mounts and runs containers: run it as root", file=sys.stderr)
        return 1
    say("An OCI layout from Debian packages (half a minute the first time)")
    began = time.monotonic()
    image = str(DebianImages().python())
    print(f"{image}\n{DIM}{time.monotonic() - began:.1f} s{PLAIN}\n")
    directory = Path(tempfile.mkdtemp(prefix="imagefs-demo-"))
    store = directory / "store"
    try:
        journey(Terminal(store, directory), image)
    except DemoFailed as error:
        print(f"{RED}demo failed: {error}{PLAIN}", file=sys.stderr)
        return 1
    finally:
        leftovers.clean_store(store, directory)
        shutil.rmtree(directory, ignore_errors=True)
    print("That was imagefs.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
