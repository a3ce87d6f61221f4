"""`imagefs logout`: forget credentials of a registry."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Log out of a registry")
@click.argument("registry", required=False, metavar="[REGISTRY]")
@click.option("--all", "-a", "every", is_flag=True, help="Forget all credentials in the file.")
@click.option(
    "--authfile",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Where credentials are (default: REGISTRY_AUTH_FILE, else as podman).",
)
def logout(registry: str | None, every: bool, authfile: Path | None) -> None:
    """Forget the credentials of REGISTRY (HOST[:PORT][/NAMESPACE]).

    Without REGISTRY it is the first of unqualified-search-registries in registries.conf.
    """
    import trio

    from imagefs.registry.access import Access
    from imagefs.registry.login import logout as forget
    from imagefs.registry.login import logout_all
    from imagefs_cli.login import first_registry

    access = Access(authfile=authfile)
    if every:
        if registry is not None:
            raise click.UsageError("--all takes no registry")
        logout_all(access)
        click.echo("Removed login credentials for all registries")
        return
    where = registry or first_registry(access)
    trio.run(forget, where, access)
    click.echo(f"Removed login credentials for {where}")
