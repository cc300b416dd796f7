"""How a subcommand fails: with a message and a hint on stderr, and a status."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from ..errors import Error

FAILED = 1
INTERRUPTED = 130


@contextmanager
def failures_reported(status: int = FAILED) -> Iterator[None]:
    """Report errors, which never hold a secret, instead of a traceback.

    They are pgkeymgr's own, PostgreSQL's, and the operating system's.

    Args:
        status: what the command ends with after one.

    Yields:
        Nothing.

    Raises:
        typer.Exit: one was raised inside, and is reported.
    """
    try:
        yield
    except BrokenPipeError:
        raise  # whoever read our output has seen enough
    except (Error, OSError) as error:
        report(*told(error))
        raise typer.Exit(status) from None
    except Exception as error:
        # Not imported here: not every subcommand needs it, and it takes its time.
        psycopg = sys.modules.get("psycopg")
        if psycopg is None or not isinstance(error, psycopg.Error):
            raise
        report(*told(error))
        raise typer.Exit(status) from None


def told(error: Exception) -> tuple[str, str | None]:
    """Return what to tell of an error.

    Args:
        error: pgkeymgr's own, psycopg's, or an OSError.

    Returns:
        Its message and its hint. PostgreSQL's DETAIL and CONTEXT are left out: they can hold values of rows.
    """
    if isinstance(error, Error):
        return error.message, error.hint
    if isinstance(error, OSError):
        reason = os.strerror(error.errno) if error.errno else "it failed"
        return (f"{error.filename}: {reason}" if error.filename else reason), None
    diagnostics = getattr(error, "diag", None)
    if diagnostics is not None and diagnostics.message_primary:
        return diagnostics.message_primary, diagnostics.message_hint
    return " ".join(str(error).split()) or type(error).__name__, None


def report(text: str, hint: str | None = None) -> None:
    """Print an error on stderr, as the command's.

    Args:
        text: what is wrong.
        hint: what to do about it.
    """
    typer.echo(f"pgkeymgr: {text}", err=True)
    if hint:
        typer.echo(hint, err=True)
