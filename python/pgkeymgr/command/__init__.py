"""The command ``pgkeymgr``, one module a subcommand. Install ``pgkeymgr[command]``, or ``make install``."""

from typing import Annotated

import typer

from .. import __version__
from .agent import agent
from .seal import seal

# Typer's own tracebacks are off: with local variables, as it can print them, they would show secrets.
app = typer.Typer(
    name="pgkeymgr",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
)
app.command()(seal)
app.add_typer(agent, name="agent")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pgkeymgr {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Work with pgkeymgr, the PostgreSQL extension, from outside the database."""
