"""The command ``pgkeymgr``. Each subcommand is a module.

The command is installed by ``make install``, or by ``pip install pgkeymgr[command]``.
"""

from typing import Annotated

import typer

from .. import __version__
from . import (
    agent,
    audit,
    audit_checkpoint,
    audit_export,
    blind_index,
    columns,
    doctor,
    encrypt,
    escrow,
    grants,
    init,
    keys,
    metrics,
    migrate,
    procedure,
    prune,
    report,
    root,
    rotate,
    seal,
    status,
    switch_over,
    upgrade,
    verify,
)
from .interface import Command, Group
from .target import connects

# Typer's own tracebacks are off, because they can print local variables, and so secrets.
app = typer.Typer(
    name="pgkeymgr",
    cls=Group,
    # The help has no frames, so that it can be read in a pipe.
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    epilog="Exit status: 0, success; 1, failure, or a problem was found; 2, wrong usage. Some subcommands have "
    "others.",
)
app.command(cls=Command, epilog=init.EPILOG)(init.init)
app.command(cls=Command, epilog=status.EPILOG)(status.status)
app.command(cls=Command, epilog=upgrade.EPILOG)(upgrade.upgrade)
app.command(cls=Command, epilog=doctor.EPILOG)(doctor.doctor)
app.command(cls=Command, epilog=procedure.EPILOG)(encrypt.encrypt)
app.command(cls=Command, epilog=procedure.EPILOG)(encrypt.decrypt)
app.command(cls=Command, epilog=procedure.EPILOG)(migrate.migrate)
app.command(cls=Command, name="blind-index", epilog=procedure.EPILOG)(blind_index.blind_index)
app.command(cls=Command, epilog=verify.EPILOG)(verify.verify)
app.command(cls=Command, epilog=report.EPILOG)(report.report)
app.command(cls=Command, epilog=metrics.EPILOG)(metrics.metrics)
app.add_typer(keys.app, name="keys")
app.add_typer(grants.app, name="grants")
app.add_typer(columns.app, name="columns")
app.add_typer(audit.app, name="audit")
app.add_typer(rotate.app, name="rotate")
app.command(cls=Command, epilog=prune.EPILOG)(prune.prune)
app.add_typer(root.app, name="root")
app.command("switch-over", cls=Command, epilog=switch_over.EPILOG)(switch_over.switch_over)
app.add_typer(escrow.app, name="escrow")
app.add_typer(agent.agent, name="agent")
audit.app.command("export", cls=Command, epilog=audit_export.EPILOG)(connects(audit_export.export))
audit.app.command("checkpoint", cls=Command, epilog=audit_checkpoint.EPILOG)(connects(audit_checkpoint.checkpoint))
app.command(cls=Command)(seal.seal)


@app.command("help", cls=Command)
def help_(
    context: typer.Context,
    command: Annotated[list[str] | None, typer.Argument(help="The command, such as rotate root.")] = None,
) -> None:
    """Show the help of a command."""
    context.find_root().command.main([*(command or []), "--help"], prog_name="pgkeymgr")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pgkeymgr {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Manage the PostgreSQL extension pgkeymgr from outside the database."""
