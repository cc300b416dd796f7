"""Conventions of the command line: several ways to the help, URIs anywhere, names for values in the help."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from .failure import report_failures

_URI = re.compile(r"postgres(ql)?://")
_TAKE_CONNECTION_STRINGS = {"-d", "--dbname", "--dsn", "--also", "--shard", "--from", "--to"}


class Command(TyperCommand):
    """A subcommand. Its help names values, where Typer has the types of Python."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        for parameter in self.params:
            _name_value(parameter)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the parts of the usage line, without the braces that Typer writes around arguments."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


class Group(TyperGroup):
    """A group of subcommands, which accepts the arguments that ``usual`` describes."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        for parameter in self.params:
            _name_value(parameter)

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options, without the one that installs completion into the user's own files."""
        return [each for each in super().get_params(ctx) if each.name != "install_completion"]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments of a call."""
        if ctx.parent is not None:
            rest: list[str] = super().parse_args(ctx, args)
            return rest
        with _all_reported():
            rest = super().parse_args(ctx, usual(args))
        return rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        if ctx.parent is not None:
            return super().invoke(ctx)
        with _all_reported():
            return super().invoke(ctx)


@contextlib.contextmanager
def _all_reported() -> Iterator[None]:
    """Report the errors that no part of the command has reported, such as that of output on a full disk."""
    try:
        with report_failures():
            yield
            if sys.stdout is not None:
                sys.stdout.flush()
    except typer.BadParameter as error:
        # The words are those of a library that Typer uses.
        error.message = error.message.removeprefix("Value error, ")
        raise
    finally:
        _discard_unwritten()


def _discard_unwritten() -> None:
    """Discard output that cannot be written: Python would try again at its end, and print a traceback."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        # A stream of a test has no descriptor.
        with contextlib.suppress(OSError):
            descriptor = os.open(os.devnull, os.O_WRONLY)
            os.dup2(descriptor, sys.stdout.fileno())
            os.close(descriptor)


def usual(arguments: list[str]) -> list[str]:
    """Return the arguments of a call in the form that the options define.

    Args:
        arguments: the arguments. At the end, ``-h`` and ``-?`` stand for ``--help``. Elsewhere, ``-h`` names a
            host. A URI that is no value of an option is the connection string.

    Returns:
        The arguments with these options.
    """
    changed: list[str] = []
    for number, argument in enumerate(arguments):
        before = arguments[number - 1] if number else ""
        changed += ["--dsn"] if _URI.match(argument) and before not in _TAKE_CONNECTION_STRINGS else []
        changed.append(argument)
    if changed and changed[-1] in ("-h", "-?"):
        changed[-1] = "--help"
    return changed


def _name_value(parameter: Any) -> None:
    """Name the value of a parameter in the help: FILE, N, the choices, or the name of the parameter."""
    if parameter.param_type_name == "argument":
        # Its name is enough.
        parameter.display_type_rich = lambda ctx: None
    if getattr(parameter, "is_flag", False) or parameter.metavar is not None:
        return
    descriptor = parameter.type_descriptor
    annotation = str(descriptor.annotation)
    if descriptor.choices:
        parameter.metavar = "|".join(str(choice.value) for choice in descriptor.choices)
    elif "Path" in annotation:
        parameter.metavar = "FILE"
    elif re.search(r"\b(int|float)\b", annotation):
        parameter.metavar = "N"
    else:
        parameter.metavar = parameter.name.upper()
