"""Reports the failure of a subcommand: a message and a hint on stderr, and an exit status."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from ..errors import Error

FAILED = 1
INTERRUPTED = 130


@contextmanager
def report_failures(status: int = FAILED) -> Iterator[None]:
    """Report the errors of pgkeymgr, PostgreSQL and the operating system, and end the command.

    No traceback is printed. These errors never hold a secret.

    Args:
        status: the exit status after an error.

    Yields:
        Nothing.

    Raises:
        typer.Exit: an error was raised inside, and has been reported.
    """
    try:
        yield
    except BrokenPipeError:
        raise  # The reader of our output has closed the pipe on purpose.
    except (Error, OSError) as error:
        report(*message_and_hint(error))
        raise typer.Exit(status) from None
    except Exception as error:
        # psycopg is not imported here: not every subcommand needs it, and the import is slow.
        psycopg = sys.modules.get("psycopg")
        if psycopg is None or not isinstance(error, psycopg.Error):
            raise
        report(*message_and_hint(error))
        raise typer.Exit(status) from None


def message_and_hint(error: Exception) -> tuple[str, str | None]:
    """Return the message and the hint of an error.

    Args:
        error: an error of pgkeymgr or psycopg, or an OSError.

    Returns:
        The message, and the hint or None. PostgreSQL's DETAIL and CONTEXT are left out, because they can hold
        values of rows.
    """
    if isinstance(error, Error):
        return error.message, error.hint
    if isinstance(error, OSError):
        reason = os.strerror(error.errno) if error.errno else "unknown error"
        # The first name of a failed link() is the source, which may be only a descriptor.
        name = error.filename2 if isinstance(error, FileExistsError) and error.filename2 else error.filename
        return (f"{name}: {reason}" if name else reason), None
    diagnostics = getattr(error, "diag", None)
    if diagnostics is not None and diagnostics.message_primary:
        # report() writes the prefix again.
        return diagnostics.message_primary.removeprefix("pgkeymgr: "), diagnostics.message_hint
    return " ".join(str(error).split()) or type(error).__name__, None


def report(text: str, hint: str | None = None) -> None:
    """Print an error of the command on stderr.

    Args:
        text: the message.
        hint: the remedy, as a full sentence.
    """
    typer.echo(f"pgkeymgr: {text}", err=True)
    if hint:
        typer.echo(hint, err=True)
