"""What verbs share: the store that was asked for, and the options that several of them take."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from imagefs_cli.optional import OptionalValue

if TYPE_CHECKING:
    from imagefs.oci.platform import Platform
    from imagefs.store import Store
    from imagefs.transport import Access

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Settings:
    """The global options."""

    root: str | None
    verbose: bool

    @cached_property
    def store(self) -> Store:
        """The store, opened when a verb first needs it. Raises StoreError."""
        from imagefs.store import Store, default_roots
        from imagefs.store.errors import StoreError

        environment = dict(os.environ)
        if self.root:
            environment["IMAGEFS_ROOT"] = str(Path(self.root).absolute())
        root, runroot = default_roots(environment)
        try:
            return Store.open(root, runroot)
        except OSError as error:
            raise StoreError(
                f"{error.filename or root}: {error.strerror}: the store at {root} can't be used, "
                "see --root"
            ) from None


pass_settings = click.make_pass_decorator(Settings)


def _stack(function: F, options: list[Callable[[F], F]]) -> F:
    for option in reversed(options):
        function = option(function)
    return function


def access_options(function: F) -> F:
    """The options of every verb that talks to a registry, as podman spells them."""
    creds = click.option("--creds", metavar="USER[:PASSWORD]", help="Credentials for the registry.")
    budget = click.option(
        "--retry-budget",
        metavar="SECONDS",
        type=click.FloatRange(min=0),
        envvar="IMAGEFS_RETRY_BUDGET",
        expose_value=False,
        callback=_remember_budget,
        help="How long to wait for bytes from a registry that fails (default: 30).",
    )
    return login_options(creds(budget(function)))


_BUDGET = "imagefs.retry_budget"


def _remember_budget(ctx: click.Context, _: click.Parameter, seconds: float | None) -> None:
    """Kept for `access_of`, so that verbs need not hand it on."""
    ctx.meta[_BUDGET] = seconds


def login_options(function: F) -> F:
    """How to reach a registry, without whose credentials to use."""
    return _stack(
        function,
        [
            click.option(
                "--authfile",
                metavar="FILE",
                type=click.Path(path_type=Path),
                help="Where credentials are (default: REGISTRY_AUTH_FILE, else as podman).",
            ),
            click.option(
                "--cert-dir",
                metavar="DIR",
                type=click.Path(path_type=Path),
                help="Certificates for the registry.",
            ),
            click.option(
                "--tls-verify",
                cls=OptionalValue,
                metavar="[=BOOL]",
                flag_value="true",
                is_flag=False,
                default=None,
                type=bool,
                help="Whether to require HTTPS and verify certificates (default: true).",
            ),
        ],
    )


def access_of(options: Mapping[str, Any]) -> Access:
    """The registry access that the options of `access_options` describe."""
    from imagefs.registry.access import RETRY_BUDGET
    from imagefs.transport.names import Access, Credentials

    budget = click.get_current_context().meta.get(_BUDGET)
    creds: str | None = options["creds"]
    if creds is not None and ":" not in creds:
        if not sys.stdin.isatty():
            raise click.UsageError("--creds: expected USER:PASSWORD, no terminal to ask on")
        creds += ":" + click.prompt("Password", hide_input=True, err=True)
    return Access(
        creds=Credentials.parse(creds) if creds is not None else None,
        authfile=options["authfile"],
        cert_dir=options["cert_dir"],
        tls_verify=options["tls_verify"],
        retry_budget=RETRY_BUDGET if budget is None else budget,
    )


def image_options(function: F) -> F:
    """The options of verbs that may pull the image they are given."""
    return _stack(
        function,
        [
            click.option(
                "--pull",
                "pull_policy",
                type=click.Choice(["missing", "newer", "always", "never"]),
                default="missing",
                show_default=True,
                help="When to ask the registry for the image.",
            ),
            click.option(
                "--platform",
                metavar="OS/ARCH[/VARIANT]",
                help="The platform to choose (default: the host's).",
            ),
            quiet_option,
        ],
    )


def type_option(help_text: str, *more_names: str) -> Callable[[F], F]:
    """`--type`, which decides what a name means that could be several things."""
    return click.option(
        "--type",
        *more_names,
        "kind",
        type=click.Choice(["all", "container", "mount", "image"]),
        default="all",
        show_default=True,
        help=help_text,
    )


quiet_option = click.option("--quiet", "-q", is_flag=True, help="Show no progress.")


def platform_of(text: str | None) -> Platform | None:
    """The platform that `--platform` names; None for the host's."""
    from imagefs.oci.platform import Platform

    return Platform.parse(text) if text else None
