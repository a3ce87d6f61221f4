"""The command's frame: help, exit codes, errors of one line, and what is imported for them."""

from __future__ import annotations

import errno
import importlib
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import click
import pytest

from imagefs.errors import ImagefsError
from imagefs_cli.main import VERBS, imagefs, run

from .conftest import Cli


def commands(verb: str) -> Iterator[tuple[str, click.Command]]:
    """The verb and its subcommands."""
    command = imagefs.get_command(click.Context(imagefs), verb)
    assert command is not None
    yield verb, command
    if isinstance(command, click.Group):
        for name, sub in command.commands.items():
            yield f"{verb} {name}", sub


@pytest.mark.parametrize("verb", VERBS)
def test_help_is_complete(cli: Cli, verb: str) -> None:
    for name, command in commands(verb):
        assert command.help, name
        shown = cli.ok(*name.split(), "--help").out
        if name != "run":  # whose -h is podman's --hostname
            assert shown == cli.ok(*name.split(), "-h").out
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert parameter.help, f"{name} {parameter.opts}"
                assert parameter.opts[0] in shown
    assert next(commands(verb))[1].get_short_help_str(200) == VERBS[verb][1]


def test_help_lists_every_verb(cli: Cli) -> None:
    shown = cli.ok("--help").out
    for verb, (_, line) in VERBS.items():
        assert f"{verb} " in shown
        assert line in shown


def test_the_version_is_shown(cli: Cli) -> None:
    assert cli.ok("--version").out.startswith("imagefs version ")


def test_no_verb_shows_help_and_fails(cli: Cli) -> None:
    assert "Missing command" in cli.fails(125).err
    assert "Commands:" in cli.fails(125, "system").out
    assert run([]) == 125


@pytest.mark.parametrize(
    "arguments",
    [
        ("nosuch",),
        ("images", "--nosuch"),
        ("images", "a", "b"),
        ("system", "nosuch"),
        ("tag",),
        ("images", "--sort", "nosuch"),
        ("pull", "--tls-verify=perhaps", "oci:x"),
    ],
)
def test_wrong_usage_is_one_line_and_125(cli: Cli, arguments: tuple[str, ...]) -> None:
    ran = cli.fails(125, *arguments)
    assert ran.out == ""
    assert "--help'" in ran.err


def test_an_option_without_its_value_is_named(cli: Cli) -> None:
    assert "--sort" in cli.fails(125, "images", "--sort").err


@pytest.mark.parametrize("policy", [("--pull", "never"), ("--pull=never",)])
def test_pull_takes_its_policy_in_either_form(cli: Cli, policy: tuple[str, ...]) -> None:
    ran = cli.fails(125, "cp", *policy, "localhost/nosuch:/x", ".")
    assert ran.err.startswith("Error: localhost/nosuch: no such image"), ran.err
    assert "--pull=never" in ran.err


def test_an_unknown_option_is_met_with_what_is_near(cli: Cli) -> None:
    assert "--noheading" in cli.fails(125, "images", "--noheadin").err


class Teapot(ImagefsError):
    exit_code = 42


NO_SPACE = OSError(errno.ENOSPC, "No space left on device", "/store/x")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (Teapot("short and stout"), 42, "short and stout"),
        (Teapot("two\nlines"), 42, "two lines"),
        (ImagefsError("plain"), 125, "plain"),
        (OSError(errno.EACCES, "Permission denied", "/x"), 125, "/x: Permission denied"),
        (OSError(errno.EIO, "Input/output error"), 125, "Input/output error"),
        (NO_SPACE, 125, "imagefs system gc"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (click.Abort(), 130, "interrupted"),
        (click.UsageError("wrong"), 125, "wrong"),
        (click.ClickException("refused"), 125, "refused"),
        (ExceptionGroup("tasks", [Teapot("in a task")]), 42, "in a task"),
        (ExceptionGroup("tasks", [ExceptionGroup("more", [NO_SPACE])]), 125, "/store/x"),
        (BaseExceptionGroup("tasks", [Teapot("x"), KeyboardInterrupt()]), 130, "interrupted"),
    ],
)
def test_what_a_verb_raises_becomes_its_exit_code(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, line: str
) -> None:
    add_verb(monkeypatch, error)
    ran = cli("fail")
    assert ran.code == code
    # Click ends the line that a terminal shows ^C in.
    assert ran.err.lstrip("\n").startswith("Error: ")
    assert line in ran.err
    assert ran.err.strip().count("\n") == 0


def test_a_bug_keeps_its_traceback(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (ZeroDivisionError("bug"), ExceptionGroup("tasks", [ZeroDivisionError("bug")])):
        add_verb(monkeypatch, error)
        with pytest.raises(type(error)):
            run(["fail"])


@pytest.mark.parametrize("status", [0, 1, 77, 255])
def test_a_verbs_own_status_is_the_exit_code(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    add_verb(monkeypatch, status)
    assert cli("fail").code == status


def add_verb(monkeypatch: pytest.MonkeyPatch, outcome: BaseException | int) -> None:
    """A verb `fail` that raises or returns `outcome`."""

    @click.command()
    def fail() -> int:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    module = ModuleType("imagefs_cli.fail")
    module.fail = fail  # type: ignore[attr-defined]  # a module made here has what it is given
    monkeypatch.setitem(sys.modules, "imagefs_cli.fail", module)
    monkeypatch.setitem(VERBS, "fail", ("fail", "Fail"))
    assert importlib.import_module("imagefs_cli.fail") is module


def test_a_root_that_is_no_directory(cli: Cli) -> None:
    (cli.home / "root").write_text("")
    cli.fails(125, "images")


def test_a_store_of_a_newer_version_is_left_alone(cli: Cli) -> None:
    cli.ok("images")
    (cli.root / "version").write_text("imagefs store 999\n")
    assert "newer imagefs" in cli.fails(125, "images").err


@pytest.mark.parametrize(
    "verb", ["images", "images -f dangling=true", "system df", "rmi -i x", "system gc", "inspect x"]
)
def test_local_verbs_import_neither_loop_nor_network(cli: Cli, verb: str) -> None:
    heavy = "('trio', 'httpx2', 'rich', 'ssl', 'asyncio', 'pyfuse3')"
    code = (
        "import sys; from imagefs_cli.main import run; run(sys.argv[1:]); "
        f"sys.exit([m for m in {heavy} if m in sys.modules] or 0)"
    )
    command = [sys.executable, "-c", code, "--root", str(cli.root), *verb.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_reader_that_goes_away_is_no_traceback(cli: Cli) -> None:
    command = [sys.executable, "-m", "imagefs_cli", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


@pytest.mark.parametrize(
    "verb",
    [
        "inspect", "inspect --raw", "inspect -f {{.Id}}", "rmi", "tag", "tag app", "pull -q",
        "images -f", "images --sort", "login -u a -p b", "logout", "diff", "push", "commit",
        "mounts rm", "umount",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "word", ["\udcff", "/\udcff", "oci:\udcff", "docker://\udcff", "127.0.0.1:1/\udcff", "a\nb", ""]
)
def test_words_that_mean_nothing_are_one_line(cli: Cli, verb: str, word: str) -> None:
    ran = cli(*verb.split(), word)
    assert ran.code in (1, 125)
    assert ran.err.startswith("Error: ")
    assert ran.err.count("\n") == 1
