"""`imagefs run`, `ps` and `rm` as a user has them, on a real image with the host's runc."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.command import COMMAND, Cli

from imagefs.runtime.seccompdefault import profile
from imagefs.system.processes import wait_gone
from imagefs.testing.oci_layout import Layout
from runtime.terminals import Terminal

NAME = "localhost/busybox:1"


class Box:
    """The command with the busybox image, and a containers.conf of its own."""

    def __init__(self, cli: Cli, image: str) -> None:
        self.cli = cli
        self.image = image
        self.conf = cli.directory / "containers.conf"
        self.conf.write_text("")
        cli.environment["CONTAINERS_CONF"] = str(self.conf)

    def run(
        self, *options: str | Path, command: tuple[str, ...] = (), **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """`imagefs run --rm OPTIONS IMAGE COMMAND`."""
        return self.cli("run", "--rm", *options, self.image, *command, **more)

    def sh(self, script: str, *options: str | Path, **more: Any) -> str:
        """What a shell script in a container prints."""
        return self.run(*options, command=("sh", "-c", script), **more).stdout


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory, busybox_image: Layout) -> Iterator[Cli]:
    """One store for all tests here, with the image in it as NAME."""
    found = Cli(tmp_path_factory.mktemp("run"))
    try:
        image = found("pull", "--quiet", str(busybox_image)).stdout.strip()
        found("tag", image, NAME)
        yield found
    finally:
        found.clean()


@pytest.fixture
def box(cli: Cli) -> Iterator[Box]:
    """At the end all containers are removed, and nothing may be left of them."""
    yield Box(cli, NAME)
    cli("rm", "--all", "--force")
    assert list((cli.root / "containers").iterdir()) == []
    assert list((cli.root / "mounts").iterdir()) == []
    assert str(cli.directory) not in Path("/proc/mounts").read_text()


@pytest.mark.parametrize("code", [0, 3, 255])
def test_the_exit_status_is_the_commands(box: Box, code: int) -> None:
    assert box.run(command=("sh", "-c", f"exit {code}"), status=code).stdout == ""


def test_a_signal_is_128_and_its_number(box: Box) -> None:
    # A process cannot kill itself as the first of its pid namespace; its child can be killed.
    box.run(command=("sh", "-c", "sh -c 'kill -9 $$'; exit $?"), status=128 + 9)


@pytest.mark.parametrize(
    ("options", "command", "code", "words"),
    [
        ((), ("no-such",), 127, "executable file not found"),
        ((), ("/etc",), 126, "permission denied"),
        (("-u", "nobody-here"), ("true",), 126, "no matching entries in passwd file"),
        (("-w", "/no/where"), ("true",), 126, 'workdir "/no/where" does not exist'),
        (("--entrypoint", ""), (), 125, "no command or entrypoint provided"),
        (("-v", "/no/where:/x"), ("true",), 125, "No such file or directory"),
        (("--runtime", "no-such"), ("true",), 125, '"no-such" not found'),
        (("--security-opt", "seccomp=/no/where"), ("true",), 125, "seccomp profile /no/where"),
        (("-p", "80:80"), ("true",), 125, "-p: not supported"),
        (("--memory", "1g"), ("true",), 125, "--memory: an option of podman that is not"),
        (("--network", "bridge"), ("true",), 125, "--network bridge: not supported"),
        (("--bogus",), ("true",), 125, "--bogus"),
        (("--rm=maybe",), ("true",), 125, "neither true nor false"),
        (("--name", "a b"), ("true",), 125, "names must match"),
    ],
)
def test_what_cannot_be_run_says_so_in_one_line_and_leaves_nothing(
    box: Box, options: tuple[str, ...], command: tuple[str, ...], code: int, words: str
) -> None:
    done = box.run("--quiet", *options, command=command, status=code)
    assert words in done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert box.cli("ps", "-aq").stdout == ""


def test_input_is_passed_on_only_when_asked(box: Box) -> None:
    assert box.run("-i", command=("cat",), stdin="data\n").stdout == "data\n"
    assert box.run(command=("cat",), stdin="data\n").stdout == ""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_are_taken_for_nothing_else(box: Box, closed: str) -> None:
    out = box.cli.directory / "out"
    out.mkdir(exist_ok=True)
    script = "cat; echo x; echo y >&2; touch /out/done"
    command = [str(COMMAND), "run", "--rm", "-i", "-v", f"{out}:/out", box.image]
    shell = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *command, "sh", "-c", script],
        env=box.cli.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert shell.returncode == 0
    (out / "done").unlink()
    assert box.cli("system", "fsck").stdout == ""


def test_output_and_error_stay_apart(box: Box) -> None:
    done = box.run("--quiet", command=("sh", "-c", "echo out; echo err >&2"))
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_variables_come_from_every_place(box: Box) -> None:
    file = box.cli.directory / "env"
    file.write_text("# one\nF=file\nE=file\nHERE\n")
    found = box.sh(
        "env",
        *("-e", "E=option", "-eG=h=i", "--env=HER*", "--env-file", file, "-e", "NOT_HERE"),
        environment={"HERE": "1", "HERMIT": "2", "http_proxy": "http://p"},
    ).splitlines()
    for line in ("F=file", "E=option", "G=h=i", "HERE=1", "HERMIT=2", "container=oci"):
        assert line in found
    assert "http_proxy=http://p" in found
    assert not [line for line in found if line.startswith("NOT_HERE")]
    bare = box.sh("env", "--http-proxy=false", environment={"http_proxy": "http://p"})
    assert "http_proxy" not in bare


def test_users_are_looked_up_in_the_image_and_get_an_entry(box: Box) -> None:
    script = "id -u; id -g; echo $HOME; tail -n 1 /etc/passwd"
    assert box.sh(script, "-u", "4321:77", "-w", "/tmp").splitlines() == [
        "4321",
        "77",
        "/tmp",
        "4321:*:4321:77:container user:/tmp:/bin/sh",
    ]


def test_volumes_of_every_kind(box: Box) -> None:
    host = box.cli.directory / "shared"
    host.mkdir()
    script = "echo $(cat /h/f) > /n/kept; ls -d /a; touch /h/new || echo read-only"
    (host / "f").write_text("from host")
    options = ("-v", f"{host}:/h:ro,z", "-v", "named:/n", "-v", "/a")
    assert box.sh(script, *options) == "/a\nread-only\n"
    assert box.sh("cat /n/kept", "-v", "named:/n:ro") == "from host\n"
    assert (box.cli.root / "volumes/named/_data/kept").read_text() == "from host\n"


def test_a_new_volume_starts_with_the_images_files_and_their_owners(box: Box) -> None:
    image = "localhost/with-data:1"
    make = "mkdir /d; echo x >/d/f; chown 7:8 /d/f"
    box.cli("run", "--name", "maker", box.image, "sh", "-c", make)
    box.cli("commit", "--change", "VOLUME /d", "maker", image)
    script = "stat -c '%u:%g %n' /d/f; grep -c ' /d ' /proc/mounts; echo more > /d/g"
    box.image = image
    assert box.sh(script) == "7:8 /d/f\n1\n"
    assert box.sh("cat /d/g 2>/dev/null || echo none") == "none\n"
    assert box.sh("cat /d/f; ls /v", "-v", "fresh:/v") == "x\n"
    assert box.sh("cat /d/f", "-v", "named-data:/d") == "x\n"


def test_a_volume_can_be_given_to_the_user(box: Box) -> None:
    host = box.cli.directory / "given"
    host.mkdir()
    (host / "f").touch()
    (host / "link").symlink_to("/etc")
    assert box.sh("touch /v/g; stat -c %u:%g /v/f /v/g", "-u", "12:34", "-v", f"{host}:/v:U") == (
        "12:34\n12:34\n"
    )
    assert Path("/etc").stat().st_uid == 0


def test_read_only_has_writable_places(box: Box) -> None:
    script = "touch /x 2>/dev/null || echo no; touch /tmp/x /run/x /var/tmp/x && echo yes"
    assert box.sh(script, "--read-only") == "no\nyes\n"
    assert (
        box.sh("touch /tmp/x 2>/dev/null || echo no", "--read-only", "--read-only-tmpfs=false")
        == "no\n"
    )


def test_tmpfs_and_shm_have_their_sizes(box: Box) -> None:
    found = box.sh(
        "grep -E ' (/t|/dev/shm) ' /proc/mounts", "--tmpfs", "/t:size=1m", "--shm-size", "2m"
    )
    assert "size=1024k" in found
    assert "size=2048k" in found


def test_the_network_is_the_hosts_or_none(box: Box) -> None:
    assert box.sh("readlink /proc/self/ns/net").strip() == str(Path("/proc/self/ns/net").readlink())
    found = box.sh(
        "readlink /proc/self/ns/net; ls /sys/class/net; cat /etc/hostname", "--network=none"
    )
    namespace, *rest = found.split()
    assert namespace != str(Path("/proc/self/ns/net").readlink())
    assert rest[0] == "lo"
    assert len(rest[-1]) == 12


def test_files_of_the_host_are_there(box: Box) -> None:
    script = "hostname; cat /etc/hostname; grep -c box /etc/hosts; ls /run/.containerenv"
    assert box.sh(script, "--hostname", "box") == "box\nbox\n1\n/run/.containerenv\n"
    assert box.sh("cat /etc/resolv.conf") == Path("/etc/resolv.conf").read_text()


def test_capabilities_and_filters_are_podmans(box: Box) -> None:
    script = "grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status | cut -f 2"
    plain = box.sh(script).split()
    assert plain[:2] == ["00000000a80425fb"] * 2
    assert plain[2:] == ["0", "2"]
    assert box.sh(script, "--cap-drop=all", "--cap-add", "chown,kill").split()[0] == "0" * 14 + "21"
    options = ("--security-opt", "seccomp=unconfined", "--security-opt=no-new-privileges")
    assert box.sh(script, *options).split()[2:] == ["1", "0"]
    assert int(box.sh(script, "--privileged").split()[0], 16) > 0x1FFFFFFFF
    refused = box.sh("unshare -m true 2>/dev/null || echo refused")
    assert refused == "refused\n"


def test_limits_are_set_and_clamped(box: Box) -> None:
    assert (
        box.sh("ulimit -n; ulimit -c", "--ulimit", "nofile=100:200", "--ulimit=core=0")
        == "100\n0\n"
    )
    done = box.run("--quiet", "--ulimit", "nofile=99999999", command=("true",))
    assert done.stderr.startswith("Warning: ulimit nofile: this host allows no more than")


def test_containers_conf_is_honoured(box: Box) -> None:
    box.conf.write_text(
        '[containers]\ndefault_ulimits = ["nofile=123:123"]\nenv = ["FROM_CONF=1", "PATH=/bin"]\n'
        'log_driver = "none"\ndefault_capabilities = ["CHOWN"]\n'
        '[engine]\nruntime = "mine"\n'
        '[engine.runtimes]\nmine = ["/usr/sbin/runc", "/usr/bin/runc"]\n'
    )
    script = "ulimit -n; echo $FROM_CONF; grep CapEff /proc/self/status | cut -f 2"
    assert box.sh(script) == "123\n1\n0000000000000001\n"
    box.conf.write_text('[engine]\nruntime = "gone"\n')
    assert '"gone" not found' in box.run(command=("true",), status=125).stderr


def test_containers_are_kept_listed_changed_and_removed(box: Box) -> None:
    cidfile = box.cli.directory / "cid"
    options = ("--name", "one", "--label", "a=b", "--cidfile", cidfile)
    box.cli("run", *options, box.image, "sh", "-c", "echo x > /new; exit 4", status=4)
    [row] = json.loads(box.cli("ps", "-a", "--format", "json").stdout)
    assert (row["Names"], row["State"], row["ExitCode"]) == (["one"], "exited", 4)
    assert row["Id"] == cidfile.read_text()
    assert row["Labels"] == {"a": "b"}
    assert box.cli("ps", "-q").stdout == ""
    assert box.cli("ps", "-aq", "--filter", "name=on", "--no-trunc").stdout.strip() == row["Id"]
    shown = box.cli("ps", "-a", "--format", "{{.Names}} {{.Image}} {{.State}}").stdout
    assert shown == f"one {NAME} exited\n"
    assert "A /new" in box.cli("diff", "one").stdout.splitlines()
    log = (box.cli.root / "containers" / row["Id"] / "ctr.log").read_text()
    assert log == ""
    again = box.cli("run", "--name", "one", box.image, "true", status=125)
    assert "'one' is in use" in again.stderr
    assert box.cli("rm", "one").stdout == "one\n"
    assert box.cli("rm", "one", status=1).stderr.startswith("Error: one: no such container")
    assert box.cli("rm", "--ignore", "one").stdout == ""


def test_a_running_container_is_seen_and_removed_only_by_force(box: Box) -> None:
    running = box.cli.start("run", "-i", "--name", "two", box.image, "sh", "-c", "echo up; cat")
    assert running.stdout is not None
    assert running.stdout.readline() == b"up\n"
    [row] = json.loads(box.cli("ps", "--json").stdout)
    assert (row["State"], row["Status"].split()[0]) == ("running", "Up")
    assert "is running" in box.cli("rm", "two", status=2).stderr
    assert box.cli("rm", "-f", "two").stdout == "two\n"
    running.communicate()
    assert running.returncode == 128 + 9
    assert box.cli("ps", "-aq").stdout == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_are_passed_on(box: Box, number: signal.Signals) -> None:
    script = f"trap 'echo got; exit 9' {number.value}; echo up; while :; do usleep 10000; done"
    running = box.cli.start("run", "--rm", box.image, "sh", "-c", script)
    assert running.stdout is not None
    assert running.stdout.readline() == b"up\n"
    running.send_signal(number)
    assert running.communicate()[0] == b"got\n"
    assert running.returncode == 9


def test_a_container_outlives_a_killed_run_and_is_removed_later(box: Box) -> None:
    fifo = box.cli.directory / "fifo"
    os.mkfifo(fifo)
    script = "echo up; cat /fifo; exit 7"
    options = ("--name", "orphan", "-v", f"{fifo}:/fifo")
    running = box.cli.start("run", *options, box.image, "sh", "-c", script)
    assert running.stdout is not None
    assert running.stdout.readline() == b"up\n"
    running.kill()
    running.communicate()
    [row] = json.loads(box.cli("ps", "--json").stdout)
    assert row["State"] == "running"
    [monitor] = Path("/run/imagefs").glob(f"*/containers/{row['Id']}/conmon.pid")
    pid = int(monitor.read_text())
    fifo.write_text("")
    assert wait_gone(pid, 60)
    [row] = json.loads(box.cli("ps", "-a", "--json").stdout)
    assert (row["State"], row["ExitCode"]) == ("exited", 7)
    assert box.cli("rm", "orphan").stdout == "orphan\n"


def test_a_broken_runtime_is_in_nobodys_way(box: Box) -> None:
    broken = box.cli.directory / "broken"
    broken.write_text("#!/bin/sh\necho out of order >&2\nexit 1\n")
    broken.chmod(0o755)
    done = box.run("--quiet", "--runtime", broken, command=("true",), status=125)
    assert done.stderr == "Error: broken: out of order\n"
    assert box.cli("ps", "-aq").stdout == ""


def test_crun_runs_or_says_why_not(box: Box) -> None:
    done = box.run("--quiet", "--runtime", "crun", command=("echo", "hi"), status=None)
    if done.returncode:
        assert done.stderr.startswith("Error: crun: ")
        assert "hybrid" in done.stderr
    else:
        assert done.stdout == "hi\n"


def test_a_monitor_that_is_killed_loses_the_status_but_not_the_files(box: Box) -> None:
    script = "echo up > /kept; echo up; while :; do usleep 10000; done"
    with box.cli.start("run", "--name", "lost", box.image, "sh", "-c", script) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        [row] = json.loads(box.cli("ps", "--json").stdout)
        [monitor] = Path("/run/imagefs").glob(f"*/containers/{row['Id']}/conmon.pid")
        os.kill(int(monitor.read_text()), signal.SIGKILL)
        _, complaint = running.communicate()
    assert b"its monitor (conmon) died" in complaint
    assert running.returncode == 125
    assert "A /kept" in box.cli("diff", "lost").stdout.splitlines()
    assert box.cli("rm", "-f", "lost").stdout == "lost\n"


def test_output_that_nobody_reads_ends_it(box: Box) -> None:
    with box.cli.start("run", "--rm", box.image, "yes") as running:
        assert running.stdout is not None
        running.stdout.read(10)
        running.stdout.close()
        assert running.wait(60) == 128 + signal.SIGPIPE


def test_a_terminal_is_one_and_follows_ours(box: Box) -> None:
    script = (
        "tty; stty size; trap 'stty size; exit 5' WINCH; echo ready; while :; do usleep 10000; done"
    )
    with Terminal(
        box.cli, "run", "--rm", "-it", box.image, "sh", "-c", script, size=(30, 90)
    ) as term:
        assert "/dev/pts/0\r\n" in term.read_until("ready")
        term.resize(40, 100)
        assert "40 100\r\n" in term.read_until("40 100\r\n")
        assert term.wait() == 5


def test_keys_go_to_the_terminals_command(box: Box) -> None:
    with Terminal(box.cli, "run", "--rm", "-it", box.image, "sh") as term:
        term.write("echo $((6*7))\r")
        term.read_until("42\r\n")
        # It says so itself that it is the terminal's foreground.
        term.write("sh -c 'echo g$((0))o; sleep 1000'\r")
        term.read_until("g0o\r\n")
        term.write("\x03")
        term.write("echo still $((1+1)) here\r")
        term.read_until("still 2 here\r\n")
        term.write("exit 6\r")
        assert term.wait() == 6


def test_our_terminal_is_as_it_was_afterwards(box: Box) -> None:
    with Terminal(box.cli, "run", "--rm", "-it", box.image, "true") as term:
        before = term.modes()
        term.wait()
        assert term.modes() == before


def test_a_terminal_without_one_of_ours_warns(box: Box) -> None:
    done = box.run("-t", "--quiet", command=("tty",))
    assert done.stdout == "/dev/pts/0\r\n"
    assert done.stderr.startswith("Warning: the input device is not a terminal")


def test_the_root_of_the_container_is_no_way_out(box: Box) -> None:
    secret = box.cli.directory / "secret"
    secret.write_text("root:x:0:0::/:\nleaked:x:999:999::/:\n")
    image = "localhost/hostile:1"
    script = f"rm /etc/passwd; ln -s {secret} /etc/passwd; ln -s {box.cli.directory} /link"
    box.cli("run", "--name", "maker", box.image, "sh", "-c", script)
    box.cli("commit", "--change", "WORKDIR /link/made", "maker", image)
    box.image = image
    assert "no matching entries" in box.run("-u", "leaked", command=("true",), status=126).stderr
    box.run(command=("true",), status=None)
    assert not (box.cli.directory / "made").exists()


def test_our_own_seccomp_profile_runs_programs(box: Box) -> None:
    path = box.cli.directory / "own.json"
    path.write_bytes(profile())
    options = ("--security-opt", f"seccomp={path}")
    script = (
        "ls / | sort | head -n 1; mkdir /x && rmdir /x; unshare -m true 2>&1; "
        "grep Seccomp: /proc/self/status"
    )
    found = box.sh(script, *options).splitlines()
    assert found[0] == "bin"
    assert "not permitted" in found[1]
    assert found[2].split() == ["Seccomp:", "2"]


def test_files_bound_into_containers_can_be_read_by_everybody(box: Box) -> None:
    found = box.sh("stat -c %a /etc/hosts /etc/hostname /etc/resolv.conf", "-u", "1234")
    assert found == "644\n644\n644\n"
    assert stat.S_IMODE((box.cli.root / "containers").stat().st_mode) == 0o700
