"""The command ``pgkeymgr``. Each subcommand is a module.

The command is installed by ``make install``, or by ``pip install pgkeymgr[command]``.
"""

from typing import Annotated

import typer

from .. import __version__
from . import agent, doctor, escrow, init, migrate, procedure, rotate, seal, status, verify

# Typer's own tracebacks are off, because they can print local variables, and so secrets.
app = typer.Typer(
    name="pgkeymgr",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    epilog="Exit status: 0, success; 1, failure, or a problem was found; 2, wrong usage. Some subcommands have "
    "others.",
)
app.command(epilog=init.EPILOG)(init.init)
app.command(epilog=status.EPILOG)(status.status)
app.command(epilog=doctor.EPILOG)(doctor.doctor)
app.command(epilog=verify.EPILOG)(verify.verify)
app.command(epilog=procedure.EPILOG)(migrate.migrate)
app.add_typer(rotate.app, name="rotate")
app.add_typer(escrow.app, name="escrow")
app.add_typer(agent.agent, name="agent")
app.command()(seal.seal)


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
    """Manage the PostgreSQL extension pgkeymgr from outside the database."""
