"""The command ``pgkeymgr``, one module a subcommand. Install ``pgkeymgr[command]``, or ``make install``."""

from typing import Annotated

import typer

from .. import __version__
from . import agent, doctor, escrow, init, migrate, procedure, rotate, seal, status, verify

# Typer's own tracebacks are off: with local variables, as it can print them, they would show secrets.
app = typer.Typer(
    name="pgkeymgr",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    epilog="Exit status: 0, all is well; 1, it failed or found something; 2, wrong usage; subcommands have more.",
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
    """Work with pgkeymgr, the PostgreSQL extension, from outside the database."""
