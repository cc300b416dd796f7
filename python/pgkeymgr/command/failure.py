"""Reports the failure of a subcommand: a message and a hint on stderr, and an exit status."""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import typer

from ..errors import Error
from .output import escape, message

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
        return without_prefix(diagnostics.message_primary), diagnostics.message_hint or _hint(error)
    # libpq adds a question or an advice on a line of its own.
    lines = [" ".join(line.split()) for line in str(error).splitlines()]
    return ". ".join(filter(None, lines)) or type(error).__name__, _hint(error)


def problem_of(error: Exception) -> str:
    """Return the message and the hint of an error as one line, for the list of what could not be examined."""
    text, hint = message_and_hint(error)
    return f"{text}. {hint}" if hint else text


def without_prefix(text: str) -> str:
    """Return a message of the server without the prefix of the extension, which ``report`` writes."""
    return re.sub(r"\A(pgkeymgr: )+", "", text)


def _hint(error: Exception) -> str | None:
    """Return the remedy for an error of PostgreSQL itself."""
    if getattr(error, "sqlstate", None) == "42501":
        return (
            "Superusers and members of pgkeymgr_admin may manage keys and columns, and members of "
            "pgkeymgr_monitor may look at them."
        )
    if getattr(error, "sqlstate", None) == "25006":
        return "The server is a standby, or the transactions of this role are read-only: connect to the primary."
    if re.search(r'FATAL: +role ".*" does not exist|Peer authentication failed', str(error)):
        return (
            "Run the command as a user of the database, for example with sudo -u postgres, or name a user with "
            "--username or PGUSER."
        )
    return None


def report(text: str, hint: str | None = None) -> None:
    """Print an error of the command on stderr.

    Args:
        text: the message.
        hint: the remedy, as a full sentence.
    """
    # The text can have a name in it, whose line breaks would make it look like other messages.
    message(f"pgkeymgr: {escape(text)}")
    if hint:
        message(hint)


def report_problems(problems: Mapping[str, str]) -> None:
    """Report the databases that could not be examined.

    Args:
        problems: the name of each, and the reason.
    """
    for name, problem in problems.items():
        report(f"{name}: {problem}")
