"""`imagefs login`: prove credentials to a registry and keep them where podman does."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from imagefs_cli.context import login_options

if TYPE_CHECKING:
    from imagefs.registry.access import Access, Credentials


@click.command(short_help="Log in to a registry")
@click.argument("registry", required=False, metavar="[REGISTRY]")
@click.option("--username", "-u", metavar="USER", help="The user name (else it is asked for).")
@click.option(
    "--password",
    "-p",
    metavar="PASSWORD",
    help="The password (else it is asked for); others see it in the process list.",
)
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin.")
@click.option("--get-login", is_flag=True, help="Print who is logged in, and log nobody in.")
@click.option("--verbose", "-v", is_flag=True, help="Say which file has the credentials.")
@login_options
def login(registry: str | None, **options: Any) -> None:
    """Log in to REGISTRY (HOST[:PORT], or HOST[:PORT]/NAMESPACE for a part of it).

    Without REGISTRY it is the first of unqualified-search-registries in registries.conf. Nothing is
    kept of credentials that the registry refuses.
    """
    import trio

    from imagefs.registry.access import Access
    from imagefs.registry.login import logged_in_user
    from imagefs.registry.login import login as prove

    access = Access(
        authfile=options["authfile"],
        cert_dir=options["cert_dir"],
        tls_verify=options["tls_verify"],
    )
    where = registry or first_registry(access)
    if options["get_login"]:
        click.echo(trio.run(logged_in_user, where, access))
        return
    if not _asked_for(options) and _existing(where, access):
        return
    path = trio.run(prove, where, _credentials(options), access)
    if options["verbose"]:
        click.echo(f"Used: {path}")
    click.echo("Login Succeeded!")


def first_registry(access: Access) -> str:
    """The registry that is meant where none is named; UsageError if there is none."""
    from imagefs.registry.conffiles import load_registries_conf

    search = load_registries_conf(access, os.environ).search
    if not search:
        raise click.UsageError("name a registry: registries.conf has none to search")
    return search[0]


def _asked_for(options: dict[str, Any]) -> bool:
    return bool(options["username"] or options["password"] or options["password_stdin"])


def _existing(registry: str, access: Access) -> bool:
    """Whether credentials that are kept already are good; says so."""
    import trio

    from imagefs.registry.credentials import auth_files, find_credentials
    from imagefs.registry.errors import AccessDenied
    from imagefs.registry.login import login as prove
    from imagefs.registry.login import registry_key

    async def check() -> bool:
        known = await find_credentials(access, registry_key(registry), os.environ)
        if known is None:
            return False
        click.echo(f"Authenticating with existing credentials for {registry}")
        await prove(registry, known, access)
        return True

    if any(required and not path.exists() for path, required in auth_files(access, os.environ)):
        return False  # login will make the file
    try:
        found = trio.run(check)
    except AccessDenied:
        click.echo("Existing credentials are invalid, please enter valid username and password")
        return False
    if found:
        click.echo(f"Existing credentials are valid. Already logged in to {registry}")
    return found


def _credentials(options: dict[str, Any]) -> Credentials:
    from imagefs.registry.access import Credentials

    user, password = options["username"], options["password"]
    if options["password_stdin"]:
        if password is not None:
            raise click.UsageError("--password and --password-stdin are two passwords: give one")
        if user is None:
            raise click.UsageError("--password-stdin needs --username")
        password = sys.stdin.read().rstrip("\r\n")
    if (user is None or password is None) and not sys.stdin.isatty():
        raise click.UsageError("stdin is no terminal: give --username and --password-stdin")
    if user is None:
        user = click.prompt("Username", err=True)
    if password is None:
        password = click.prompt("Password", hide_input=True, err=True)
    if not user or not password:
        raise click.UsageError("user name and password must not be empty")
    return Credentials(user, password)
