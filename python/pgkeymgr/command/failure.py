"""How a subcommand fails: with a message and a hint on stderr, and status 1."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from ..errors import Error


@contextmanager
def failures_reported() -> Iterator[None]:
    """Report pgkeymgr's own errors, which never hold a secret, instead of a traceback.

    Raises:
        typer.Exit: one was raised inside, and is reported; with status 1.
    """
    try:
        yield
    except Error as error:
        typer.echo(f"pgkeymgr: {error.message}", err=True)
        if error.hint:
            typer.echo(error.hint, err=True)
        raise typer.Exit(1) from None
