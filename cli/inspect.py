"""`imagefs inspect`: what a container, a mount or an image is.

Local things print as podman has it, an image named with a transport as skopeo does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from imagefs_cli.context import (
    Settings,
    access_of,
    access_options,
    pass_settings,
    platform_of,
    type_option,
)
from imagefs_cli.errors import complain
from imagefs_cli.gotemplate import Template
from imagefs_cli.human import size

if TYPE_CHECKING:
    from imagefs.image.documents import Documents
    from imagefs.image.lazy import Laziness
    from imagefs.store import Store
    from imagefs.transport import Access

_TRANSPORTS = ("docker://", "oci:")


@click.command(short_help="Show what an image, a mount or a container is")
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
@type_option("What NAME is: else a container, then a mount, then an image.", "-t")
@click.option(
    "--format", "-f", "template", metavar="FORMAT", help="'json' or a Go template: '{{.Id}}'."
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--config", is_flag=True, help="Show an image's config instead.")
@click.option("--raw", is_flag=True, help="Show the bytes of an image's manifest, or its config.")
@click.option("--why-lazy", is_flag=True, help="Say how lazily each layer is read, and why.")
@click.option(
    "--platform", metavar="OS/ARCH[/VARIANT]", help="Which one of a remote image (the host's)."
)
@access_options
@pass_settings
def inspect(settings: Settings, /, names: tuple[str, ...], **options: Any) -> int:
    """Show what each NAME is: a container, a mount (its id or its directory) or an image.

    A NAME with a transport (docker://… or oci:…) is looked at where it is, in skopeo's form, and
    nothing of it is stored.
    """
    show = _Show(settings.store, options)
    if sum(map(bool, (options["raw"] or options["config"], options["why_lazy"]))) > 1:
        raise click.UsageError("--why-lazy goes with neither --raw nor --config")
    if options["raw"] and show.template is not None:
        raise click.UsageError("--raw takes no --format")
    return show.all(names)


class _Show:
    """One run of the verb."""

    def __init__(self, store: Store, options: Mapping[str, Any]) -> None:
        self._store = store
        self._options = options
        text = None if options["as_json"] else options["template"]
        self.template = None if text in (None, "json") else Template(_unescaped(text))

    def all(self, names: tuple[str, ...]) -> int:
        """Show each, objects in one list; the exit code."""
        from imagefs.errors import NotFoundError

        options = self._options
        documents = options["raw"] or options["config"] or options["why_lazy"]
        found: list[dict[str, Any]] | None = None
        missing: list[str] = []
        for name in names:
            try:
                if name.startswith(_TRANSPORTS):
                    self._remote(name)
                elif documents:
                    self._document(name)
                else:
                    found = found if found is not None else []
                    found.append(self._local(name))
            except NotFoundError as error:
                missing.append(str(error))
        if self.template is not None:
            for one in found or ():
                click.echo(self.template.render(_for_template(one)))
        elif found is not None:
            click.echo(json.dumps(found, indent=5, ensure_ascii=False, default=str))
        for line in missing:
            complain(line)
        return 125 if missing else 0

    def _local(self, name: str) -> dict[str, Any]:
        from imagefs.errors import NotFoundError
        from imagefs.image.inspect import inspect_image
        from imagefs_cli.records import inspect_container, inspect_mount

        kind = self._options["kind"]
        if kind in ("all", "container"):
            container = self._store.containers.get(name)
            if container is not None:
                return inspect_container(self._store, container)
        if kind in ("all", "mount"):
            mount = inspect_mount(self._store, name)
            if mount is not None:
                return mount
        if kind in ("all", "image"):
            image = self._store.images.resolve(name)
            if image is not None:
                return inspect_image(self._store, image)
        what = "container, mount or image" if kind == "all" else kind
        where = f": docker://{name} asks a registry" if kind in ("all", "image") else ""
        raise NotFoundError(f"{name}: no such {what} here{where}")

    def _document(self, name: str) -> None:
        """Manifest, config or laziness of an image in the store."""
        from imagefs.image.documents import read_image

        image = self._store.images.require(name)
        documents = read_image(self._store, image.manifest)
        if self._options["why_lazy"]:
            from imagefs.image.lazy import why_lazy

            _tell(why_lazy(self._store, documents.manifest.layers, image.layers))
        elif self._options["config"]:
            self._config(documents)
        else:
            _write(documents.manifest.raw)

    def _remote(self, name: str) -> None:
        import trio

        from imagefs.image.remote import inspect_remote, read_remote, top_manifest
        from imagefs.transport import parse_image_name

        options = self._options
        if options["kind"] not in ("all", "image"):
            raise click.UsageError(f"{name}: is an image, no {options['kind']}")
        parsed = parse_image_name(name)
        access = self._access()
        platform = platform_of(options["platform"])
        if options["why_lazy"]:
            from imagefs.image.lazy import why_lazy

            documents = trio.run(read_remote, parsed, access, platform)
            _tell(why_lazy(self._store, documents.manifest.layers))
        elif options["config"]:
            self._config(trio.run(read_remote, parsed, access, platform))
        elif options["raw"]:
            _write(trio.run(top_manifest, parsed, access))
        else:
            self._print(trio.run(inspect_remote, parsed, access, platform))

    def _config(self, documents: Documents) -> None:
        if self._options["raw"]:
            _write(documents.config.raw)
        else:
            self._print(documents.config.document)

    def _print(self, document: dict[str, Any]) -> None:
        """One object in skopeo's way."""
        if self.template is not None:
            click.echo(self.template.render(document))
        else:
            click.echo(json.dumps(document, indent=4, ensure_ascii=False))

    def _access(self) -> Access:
        options = self._options
        return access_of(options)


#: What templates may ask of a config that does not say it: Go's structs have every field.
_CONFIG = {
    "User": "",
    "ExposedPorts": {},
    "Env": [],
    "Entrypoint": [],
    "Cmd": [],
    "Volumes": {},
    "WorkingDir": "",
    "Labels": {},
    "StopSignal": "",
}


def _for_template(record: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(record.get("Config"), dict):
        return record
    return {
        **record,
        "Labels": record.get("Labels") or {},
        "Config": {**_CONFIG, **{k: v for k, v in record["Config"].items() if v is not None}},
    }


def _tell(findings: list[Laziness]) -> None:
    """A line for each layer."""
    words = {True: "lazy", False: "not lazy", None: "not known yet"}
    for one in findings:
        line = f"{one.layer.digest} {size(one.layer.size)} {words[one.lazy]}: {one.why}"
        if one.total:
            line += f" ({size(one.here)} of {size(one.total)} here)"
        click.echo(line)


def _write(raw: bytes) -> None:
    """Exactly these bytes: their digest is what it is."""
    sys.stdout.flush()
    sys.stdout.buffer.write(raw)
    sys.stdout.buffer.flush()


def _unescaped(text: str) -> str:
    return text.replace("\\t", "\t").replace("\\n", "\n")
