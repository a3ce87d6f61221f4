"""`imagefs run`: a command in a new container of an image, in the foreground."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imagefs_cli.context import (
    F,
    Settings,
    access_of,
    access_options,
    image_options,
    pass_settings,
)
from imagefs_cli.optional import OptionalValue
from imagefs_cli.pflags import PodmanCommand

if TYPE_CHECKING:
    from imagefs.mount.api import Start
    from imagefs.runtime.engine import Engine
    from imagefs.runtime.records import Wish
    from imagefs.runtime.rootfs import Rootfs
    from imagefs.store import Store
    from imagefs.transport import Access

_NETWORK = "containers have the host's network, or none (--network none)"
#: Options of podman run that are not here, and why where there is more to say.
_REFUSED = {
    **dict.fromkeys(("-p", "--publish", "-P", "--publish-all"), f"not supported: {_NETWORK}"),
    "-d": "not supported yet: containers run in the foreground",
    "--detach": "not supported yet: containers run in the foreground",
    **dict.fromkeys(
        (
            "-a -c -m --add-host --arch --attach --blkio-weight --blkio-weight-device "
            "--cgroup-conf --cgroup-parent --cgroupns --cgroups --chrootdirs --conmon-pidfile "
            "--cpu-period --cpu-quota --cpu-rt-period --cpu-rt-runtime --cpu-shares --cpus "
            "--cpuset-cpus --cpuset-mems --decryption-key --detach-keys --device "
            "--device-cgroup-rule --device-read-bps --device-read-iops --device-write-bps "
            "--device-write-iops --disable-content-trust --dns --dns-option --dns-search "
            "--env-merge --expose --gidmap --group-add --health-cmd --health-interval "
            "--health-on-failure --health-retries --health-start-period --health-timeout "
            "--hostuser --image-volume --init --init-path --ip --ip6 --ipc --link-local-ip "
            "--log-opt --mac-address --memory --memory-reservation --memory-swap "
            "--memory-swappiness --mount --network-alias --no-healthcheck --no-hosts "
            "--oom-kill-disable --os --passwd --passwd-entry --personality --pid --pidfile --pod "
            "--pod-id-file --preserve-fds --replace --requires --restart --rmi --rootfs "
            "--sdnotify --seccomp-policy --secret --stop-timeout --subgidname --subuidname "
            "--sysctl --systemd --timeout --tz --uidmap --umask --unsetenv --unsetenv-all "
            "--userns --uts --variant --volumes-from"
        ).split(),
        "an option of podman that is not supported",
    ),
}


def _many(*names: str, **more: Any) -> Callable[[F], F]:
    return click.option(*names, multiple=True, **more)


def _switch_on(*names: str, **more: Any) -> Callable[[F], F]:
    """A switch that is on unless `=false`, or by containers.conf."""
    return click.option(
        *names,
        cls=OptionalValue,
        is_flag=False,
        flag_value="true",
        type=bool,
        metavar="[=BOOL]",
        **more,
    )


@click.command(
    cls=PodmanCommand,
    refused=_REFUSED,
    short_help="Run a command in a new container",
    context_settings={"help_option_names": ["--help"], "allow_interspersed_args": False},
)
@click.argument("image")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@_many("--annotation", metavar="KEY=VALUE", help="Add an annotation to the runtime spec.")
@_many("--cap-add", metavar="CAP", help="Add a capability, or ALL.")
@_many("--cap-drop", metavar="CAP", help="Drop a capability, or ALL.")
@click.option("--cidfile", metavar="FILE", type=click.Path(path_type=Path), help="Write the id.")
@click.option("--entrypoint", metavar="CMD", help="Another entry point: a word, or a JSON list.")
@_many("--env", "-e", metavar="NAME[=VALUE]", help="Set a variable, or take the host's (NAME*).")
@_many("--env-file", metavar="FILE", type=click.Path(), help="Read variables from a file.")
@click.option("--env-host", is_flag=True, help="Take all variables of the host.")
@click.option("--hostname", "-h", metavar="NAME", help="Another host name.")
@_switch_on("--http-proxy", help="Pass the host's proxy variables on (default: true).")
@click.option("--interactive", "-i", is_flag=True, help="Pass standard input on.")
@_many("--label", "-l", metavar="KEY=VALUE", help="Label the container.")
@_many("--label-file", metavar="FILE", type=click.Path(), help="Read labels from a file.")
@click.option("--log-driver", metavar="DRIVER", help="k8s-file, journald or none.")
@click.option("--name", metavar="NAME", help="Name the container.")
@click.option(
    "--network",
    "--net",
    metavar="host|none",
    default="host",
    show_default=True,
    help="The host's network, or only a loopback of its own.",
)
@click.option("--oom-score-adj", metavar="N", type=int, help="-1000 to 1000.")
@click.option("--pids-limit", metavar="N", type=int, help="At most N processes (-1: no limit).")
@click.option("--privileged", is_flag=True, help="Give all capabilities, hide and filter nothing.")
@click.option("--read-only", is_flag=True, help="Make the root file system read-only.")
@_switch_on(
    "--read-only-tmpfs", default=True, help="With --read-only: a tmpfs on /run, /tmp, /var/tmp."
)
@click.option("--rm", is_flag=True, help="Remove the container when it ends.")
@click.option("--runtime", metavar="runc|crun|PATH", help="The OCI runtime (default: runc).")
@_many("--security-opt", metavar="OPTION", help="seccomp=FILE, no-new-privileges, mask=, unmask=…")
@click.option("--shm-size", metavar="SIZE", help="Size of /dev/shm (default: 64m).")
@_switch_on("--sig-proxy", default=True, help="Pass signals on to the command (default: true).")
@click.option("--stop-signal", metavar="SIGNAL", help="The signal that asks it to end.")
@_many("--tmpfs", metavar="DIR[:OPTIONS]", help="Mount a tmpfs.")
@click.option("--tty", "-t", is_flag=True, help="Give the command a terminal.")
@_many("--ulimit", metavar="NAME=SOFT[:HARD]", help="Set a resource limit.")
@click.option("--user", "-u", metavar="USER[:GROUP]", help="Run as another user.")
@_many("--volume", "-v", metavar="[SOURCE:]DIR[:OPTIONS]", help="Mount a volume.")
@click.option("--workdir", "-w", metavar="DIR", help="Start in another directory.")
@image_options
@access_options
@pass_settings
def run(settings: Settings, /, image: str, command: tuple[str, ...], **given: Any) -> int:
    """Run COMMAND in a new container of IMAGE and exit with its status.

    IMAGE is a name as podman takes it (the store first, then a registry), docker://NAME or
    oci:DIR:TAG. Containers have the host's network unless --network none. Exits with 125 if
    imagefs itself fails, 126 if the command cannot be invoked, 127 if it cannot be found.
    """
    from imagefs.errors import UnsupportedError
    from imagefs.mount import api
    from imagefs.runtime import terminal

    _hold_streams()
    if os.geteuid() != 0:
        raise UnsupportedError("run: containers need root in this version: use sudo")
    if given["cidfile"] is not None and given["cidfile"].exists():
        raise click.UsageError(f"--cidfile {given['cidfile']}: it exists: remove it first")
    api.check_host()
    access = access_of(given)
    # The mount's server starts while all else is looked at.
    with terminal.ending_cleanly(), api.start_early(settings.store) as start:
        return _run(settings.store, image, command, access, start, given)


def _hold_streams() -> None:
    """Have something at each standard descriptor, so that no file of ours is taken for one."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))


def _run(
    store: Store,
    name: str,
    command: tuple[str, ...],
    access: Access,
    start: Start,
    given: dict[str, Any],
) -> int:
    from dataclasses import replace

    from imagefs.runtime import foreground
    from imagefs.runtime.rootfs import MountedRootfs
    from imagefs_cli.finding import find

    engine, wish = _prepare(store, name, command, MountedRootfs(store, access, start), given)
    if wish.options.terminal and not os.isatty(0):
        _warn("the input device is not a terminal: -t and -i might not work properly")
    image = find(store, name, access, given)
    wish = replace(wish, image_name=next(iter(image.names), name))

    def created(container_id: str) -> None:
        if given["cidfile"] is not None:
            given["cidfile"].write_text(container_id)

    console = foreground.Console(proxy=given["sig_proxy"])
    return foreground.run(engine, image, wish, console, created)


def _prepare(
    store: Store, image: str, command: tuple[str, ...], rootfs: Rootfs, given: dict[str, Any]
) -> tuple[Engine, Wish]:
    """Everything that can be wrong without the image is found out first."""
    from imagefs.runtime import containersconf, host
    from imagefs.runtime.drivers import conmon_drivers
    from imagefs.runtime.engine import Engine
    from imagefs.runtime.names import checked
    from imagefs.runtime.ociruntime import find_runtime
    from imagefs.runtime.records import Wish
    from imagefs_cli.runoptions import run_options

    options = run_options(command, given, os.environ, Path.cwd())
    name = checked(given["name"]) if given["name"] is not None else ""
    conf = containersconf.load(os.environ, privileged=host.is_privileged())
    runtime = find_runtime(given["runtime"], conf, os.environ.get("PATH", os.defpath))
    drivers = conmon_drivers(store, conf, given["log_driver"])
    engine = Engine(store, drivers, rootfs, conf, host.probe(dict(os.environ)), _warn)
    return engine, Wish(options, image, name, remove=given["rm"], runtime=str(runtime))


def _warn(line: str) -> None:
    print(f"Warning: {line}", file=sys.stderr)
