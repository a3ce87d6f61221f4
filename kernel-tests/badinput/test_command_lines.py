"""What users type: verbs, options, names. Nothing is reached and nothing is made."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.command import COMMAND, Cli
from harness.refusals import Refusals, the_line

#: What is typed, and what is said; "HERE" stands for an empty directory.
LINES: dict[str, list[str]] = {
    "mont": ["No such command 'mont'", "--help"],
    "--rot=/x images": ["No such option", "--rot"],
    "mount": ["expected IMAGE and DIRECTORY", "imagefs mount --help"],
    "mount x": ["expected IMAGE and DIRECTORY", "imagefs mount --help"],
    "mount x y z": ["expected IMAGE and DIRECTORY", "imagefs mount --help"],
    "mount --resume 123": ["expected DIRECTORY", "imagefs mount --help"],
    "mount --resume 123 x HERE": ["expected DIRECTORY", "imagefs mount --help"],
    "mount --uid root x HERE": ["--uid", "root", "integer"],
    "mount --uid -1 x HERE": ["--uid", "-1"],
    "mount --gid 4294967296 x HERE": ["--gid", "4294967296"],
    "mount --driver nfs x HERE": ["--driver", "nfs", "fuse"],
    "mount --driver composed x HERE": ["composed", "use fuse"],
    "mount --platform linux/amd64/v1/x x HERE": ["platform", "OS/ARCH[/VARIANT]"],
    "mount --platform not+one x HERE": ["platform", "OS/ARCH[/VARIANT]"],
    "mount --pull=sometimes x HERE": ["--pull", "sometimes", "missing"],
    "mount --pull=never 127.0.0.1:1/x HERE": ["127.0.0.1:1/x", "--pull=never"],
    "mount --tls-verify=perhaps x HERE": ["--tls-verify", "perhaps"],
    "mount --retry-budget=-1 x HERE": ["--retry-budget", "-1"],
    "mount --creds=anna x HERE": ["--creds", "USER:PASSWORD"],
    "mount --creds=:secret x HERE": ["--creds", "USER:PASSWORD"],
    "mount UPPER:1 HERE": ["UPPER", "lower"],
    "mount oci: HERE": ["oci:", "oci:DIR"],
    "mount oci:HERE HERE": ["here is no OCI layout"],
    "mount oci:/nowhere:1 HERE": ["/nowhere does not exist"],
    "mount docker:x HERE": ["docker://"],
    "mount docker-archive:/x.tar HERE": ["docker-archive", "not supported", "docker://"],
    "mount docker://x@sha256:abc HERE": ["sha256"],
    "mount a//b HERE": ["a//b"],
    "umount": ["name a directory", "--all", "imagefs umount --help"],
    "umount --all HERE": ["--all"],
    "mounts rm": ["Missing argument", "imagefs mounts rm --help"],
    "mounts rm ffffffffffff": ["ffffffffffff", "no such mount"],
    "diff": ["Missing argument", "imagefs diff --help"],
    "diff nothing": ["nothing", "no container, mount or image"],
    "diff --type=layer nothing": ["--type", "layer"],
    "commit": ["Missing argument", "imagefs commit --help"],
    "commit nothing new:1": ["nothing", "no container, mount or image"],
    "commit --format=zip nothing": ["--format", "zip"],
    "push": ["Missing argument", "imagefs push --help"],
    "push nothing": ["nothing", "not known"],
    "push --compression-format=rar nothing": ["--compression-format", "rar"],
    "push --compression-level=many nothing": ["--compression-level", "many"],
    "pull": ["Missing argument", "imagefs pull --help"],
    "pull --policy=never nothing": ["nothing", "no such image"],
    "pull --arch": ["--arch"],
    "cp": ["Missing argument", "imagefs cp --help"],
    "cp nothing:/x": ["Missing argument", "imagefs cp --help"],
    "cp --pull=never nothing:/x HERE": ["nothing", "no such image"],
    "cp HERE HERE": ["one of them must be NAME:PATH"],
    "images --filter colour=red": ["colour"],
    "images --sort beauty": ["--sort", "beauty"],
    "tag nothing": ["Missing argument", "imagefs tag --help"],
    "tag nothing other": ["nothing", "not known"],
    "login --username anna": ["registry"],
    "login --password-stdin 127.0.0.1:1": ["--username"],
    "logout": ["registry"],
    "system gd": ["No such command 'gd'", "imagefs system --help"],
    "rmi": ["--all"],
    "rmi --all x": ["--all"],
    "run": ["Missing argument", "imagefs run --help"],
    "run --pull=never nothing": ["nothing", "no such image"],
    "run -p 80:80 nothing": ["-p", "not supported"],
    "run --runtime nothing --pull=never nothing": ["nothing"],
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Refusals]:
    """One store for all lines: none changes it, as each proves."""
    cli = Cli(tmp_path_factory.mktemp("lines"))
    try:
        yield Refusals(cli)
    finally:
        cli.clean()


@pytest.mark.parametrize("line", LINES)
def test_wrong_command_line(line: str, shared: Refusals) -> None:
    here = str(shared.cli.directory / "here")
    Path(here).mkdir(exist_ok=True)
    shared(*(word.replace("HERE", here) for word in line.split()), says=LINES[line])


def test_not_found_of_rmi_is_1(refused: Refusals) -> None:
    """podman-rmi(1) has codes of its own."""
    refused("rmi", "nothing", says=["nothing"], status=1)


@pytest.mark.parametrize("verb", ["mounts", "images", "ps", "--help"])
def test_reader_that_goes_away(verb: str, refused: Refusals) -> None:
    """No traceback, and nothing said: as for every program whose stdout is closed."""
    done = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$@" | head -0', "bash", COMMAND, verb],
        env=refused.cli.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""


def test_stdout_that_is_full(refused: Refusals) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [COMMAND, "mounts", "--json"],
            env=refused.cli.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 125
    assert "No space left on device" in the_line(done.stderr)
