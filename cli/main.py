"""The `imagefs` command: finds the verb, runs it, turns errors into exit codes. Does no work
itself.

A verb is a module of this package with a click command of the verb's name; it is imported when it
is called, so that `imagefs --help` and cheap verbs start fast. The one place where errors become
exit codes is `main`: docs/exit-codes.md is the contract.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from imagefs.errors import ImagefsError
from imagefs_cli.errors import complain

#: Each verb, in the order of `--help`: its module and one line about it.
VERBS = {
    "mount": ("mount", "Mount an image on a directory"),
    "umount": ("umount", "Unmount a directory that an image is mounted on"),
    "mounts": ("mounts", "List mounts, or remove kept ones"),
    "run": ("run", "Run a command in a new container"),
    "ps": ("ps", "List containers"),
    "rm": ("rm", "Remove containers"),
    "diff": ("diff", "Show what changed in a mount, a container or an image"),
    "commit": ("commit", "Make an image of what changed in a mount or a container"),
    "push": ("push", "Push an image to a registry or a layout"),
    "pull": ("pull", "Fetch an image whole"),
    "cp": ("cp", "Copy files between an image, mount or container and the host"),
    "images": ("images", "List images in the store"),
    "tag": ("tag", "Give an image another name"),
    "rmi": ("rmi", "Remove images from the store"),
    "inspect": ("inspect", "Show what an image, a mount or a container is"),
    "login": ("login", "Log in to a registry"),
    "logout": ("logout", "Log out of a registry"),
    "system": ("system", "Look after the store: df, gc, fsck"),
}
EXIT_ERROR = 125
_WIDEST = 80
EXIT_INTERRUPTED = 130


def _width() -> int:
    """As click would have it, without importing shutil for it."""
    try:
        columns = int(os.environ.get("COLUMNS") or 0) or os.get_terminal_size(1).columns
    except (ValueError, OSError):
        columns = _WIDEST
    return max(min(columns, _WIDEST) - 2, 50)


class _Verbs(click.Group):
    """A group whose commands are imported when they are needed."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            # Else click prints an empty line, which is for a terminal that echoed ^C.
            if sys.stderr.isatty():
                raise
            raise click.Abort from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"imagefs_cli.{VERBS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, line) for verb, (_, line) in VERBS.items()])


@click.group(
    cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "terminal_width": _width()}
)
@click.option(
    "--root",
    metavar="DIR",
    help="Where the store is (default: IMAGEFS_ROOT, else "
    "/var/lib/imagefs, or $XDG_DATA_HOME/imagefs without privileges).",
)
@click.option("--verbose", "-v", is_flag=True, help="Say on stderr what is done and why.")
@click.version_option(
    package_name="imagefs", prog_name="imagefs", message="%(prog)s version %(version)s"
)
@click.pass_context
def imagefs(ctx: click.Context, root: str | None, verbose: bool) -> None:
    """A container image is a filesystem: mount it, change it, commit it, push it, run it."""
    from imagefs_cli.context import Settings  # what --help does without

    ctx.obj = Settings(root, verbose)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit: 0, the verb's own status, or the code that docs/exit-codes.md
    gives.
    """
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """The exit code of the command; every expected failure is one line on stderr."""
    try:
        result: Any = imagefs.main(arguments, prog_name="imagefs", standalone_mode=False)
    except click.exceptions.Exit as finished:
        return finished.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return _fail("missing command", EXIT_ERROR)
    except click.UsageError as error:
        where = f" (see '{error.ctx.command_path} --help')" if error.ctx else ""
        return _fail(f"{error.format_message().rstrip('.')}{where}", EXIT_ERROR)
    except click.ClickException as error:
        return _fail(error.format_message(), EXIT_ERROR)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except ImagefsError as error:
        return _fail(str(error), error.exit_code)
    except OSError as error:
        return _fail(_os_error(error), EXIT_ERROR)
    except BaseExceptionGroup as group:
        return _group(group)
    return result if isinstance(result, int) else 0


def _group(group: BaseExceptionGroup[BaseException]) -> int:
    """The exit code for what concurrent tasks raised: the first error that has one."""
    interrupted, rest = group.split(KeyboardInterrupt)
    if interrupted is not None:
        return _fail("interrupted", EXIT_INTERRUPTED)
    known = rest.subgroup((ImagefsError, OSError)) if rest else None
    if known is None:
        raise group
    error: BaseException = known
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, ImagefsError):
        return _fail(str(error), error.exit_code)
    assert isinstance(error, OSError)
    return _fail(_os_error(error), EXIT_ERROR)


def _os_error(error: OSError) -> str:
    reason = error.strerror or str(error)
    if error.errno == errno.ENOSPC:
        reason += ": free some with 'imagefs system gc' or 'imagefs rmi'"
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    return f"{name}: {reason}" if name else reason


def _fail(line: str, code: int) -> int:
    complain(line)
    return code
