"""The `process` of a container's spec: command, user, environment, capabilities. Starts nothing.

runtime-spec, config.md, "Process".
"""

from __future__ import annotations

from typing import Any

from imagefs.oci.config import RuntimeConfig
from imagefs.runtime import capabilities, environment, rlimits
from imagefs.runtime.containersconf import ContainersConf
from imagefs.runtime.errors import OptionError
from imagefs.runtime.host import Host
from imagefs.runtime.options import RunOptions
from imagefs.runtime.users import User


def process(
    image: RuntimeConfig,
    options: RunOptions,
    conf: ContainersConf,
    host: Host,
    user: User,
    hostname: str,
) -> tuple[dict[str, Any], list[str]]:
    """The spec's process, and warnings about what this host does not allow. Raises OptionError."""
    bounding = bounding_set(options, conf, host)
    limits, warnings = rlimits.choose(
        options.ulimits,
        conf.containers.default_ulimits,
        host.limits,
        may_raise=host.may_raise,
        nr_open=host.nr_open,
    )
    found: dict[str, Any] = {
        "terminal": options.terminal,
        "user": _user(user, conf),
        "args": arguments(image, options),
        "env": _environment(image, options, conf, host, user, hostname),
        "cwd": working_directory(image, options),
        "capabilities": _sets(bounding, options, user),
        "rlimits": limits,
        "noNewPrivileges": options.security.no_new_privileges,
    }
    if options.oom_score_adj is not None:
        found["oomScoreAdj"] = _oom_score(options.oom_score_adj, host, warnings)
    return found, warnings


def arguments(image: RuntimeConfig, options: RunOptions) -> list[str]:
    """Entry point and command; an entry point that was given drops the image's command."""
    entrypoint = image.entrypoint if options.entrypoint is None else options.entrypoint
    command = options.command
    if not command and options.entrypoint is None:
        command = image.cmd or ()
    found = [*(entrypoint or ()), *command]
    if not found:
        raise OptionError(
            "no command or entrypoint provided, and no CMD or ENTRYPOINT from image: "
            "say what to run after the image's name"
        )
    return found


def working_directory(image: RuntimeConfig, options: RunOptions) -> str:
    """Where the command starts: absolute. Raises OptionError if -w is not."""
    asked = options.workdir
    if asked is not None and not asked.startswith("/"):
        raise OptionError(f"-w {asked}: the working directory must be an absolute path")
    found = asked or image.working_dir or "/"
    return found if found.startswith("/") else "/" + found


def bounding_set(options: RunOptions, conf: ContainersConf, host: Host) -> list[str]:
    """The capabilities that the container can ever have."""
    if options.privileged:
        return sorted(host.available)
    default = conf.containers.default_capabilities
    return capabilities.merge(
        capabilities.DEFAULT if default is None else default,
        options.cap_add,
        options.cap_drop,
        host.available,
    )


def _sets(bounding: list[str], options: RunOptions, user: User) -> dict[str, list[str]]:
    """Root gets all of the bounding set; another user only what --cap-add names, as podman."""
    if user.uid == 0:
        return {"bounding": bounding, "effective": bounding, "permitted": bounding}
    added = capabilities.named(options.cap_add)
    given = [name for name in bounding if name in added]
    return {
        "bounding": bounding,
        "effective": given,
        "permitted": given,
        "inheritable": given,
        "ambient": given,
    }


def _user(user: User, conf: ContainersConf) -> dict[str, Any]:
    try:
        umask = int(conf.containers.umask, 8)
    except ValueError:
        raise OptionError(f"umask {conf.containers.umask!r}: not an octal number") from None
    found: dict[str, Any] = {"uid": user.uid, "gid": user.gid, "umask": umask}
    if user.groups:
        found["additionalGids"] = list(user.groups)
    return found


def _environment(
    image: RuntimeConfig,
    options: RunOptions,
    conf: ContainersConf,
    host: Host,
    user: User,
    hostname: str,
) -> list[str]:
    settings = conf.containers
    defaults = list(environment.DEFAULT if settings.env is None else settings.env)
    if options.env_host or settings.env_host:
        defaults += [f"{name}={value}" for name, value in host.environment.items()]
    proxy = settings.http_proxy if options.http_proxy is None else options.http_proxy
    return environment.merge(
        defaults,
        environment.proxies(host.environment) if proxy else {},
        image.env or (),
        options.env,
        home=user.home or "/",
        hostname=hostname,
    )


def _oom_score(asked: int, host: Host, warnings: list[str]) -> int:
    if not -1000 <= asked <= 1000:
        raise OptionError(f"--oom-score-adj {asked}: not between -1000 and 1000")
    if host.may_raise or asked >= host.oom_score_adj:
        return asked
    warnings.append(
        f"oom-score-adj {asked}: this host allows no less than {host.oom_score_adj}: using that"
    )
    return host.oom_score_adj
