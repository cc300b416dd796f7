"""``pgkeymgr report``: write the state of the databases as one HTML page."""

from pathlib import Path
from typing import Annotated

import typer

from ..failure import FAILED, report_failures
from ..failure import report as report_problem
from ..target import AllDatabases, Databases, Dsn, connects

EPILOG = "Exit status: 0, every database could be examined; 1, otherwise, and the page says so; 2, wrong usage."

_KEYS_MAX = 500
# The page shows who can use which key.
_MODE = 0o600


@connects
def report(
    dsn: Dsn = "",
    database: Databases = None,
    all_databases: AllDatabases = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The file to write, which only its owner can read.", show_default="stdout"
        ),
    ] = None,
) -> None:
    """Write a page with the keys, columns, rotations, grants, events and findings of every database.

    The page is one HTML file, which loads nothing and runs no script. It has no key and no value. Every member of
    pgkeymgr_monitor may call the command.
    """
    from ..collect import collect
    from ..files import replace
    from .page import page

    with report_failures():
        cluster = collect(dsn, database, _KEYS_MAX, with_details=True, all_databases=all_databases)
        written = page(cluster)
        if output is None:
            typer.echo(written, nl=False)
        else:
            replace(output, written.encode(), _MODE)
    problems = cluster.all_problems()
    for problem in problems:
        report_problem(problem)
    if problems:
        raise typer.Exit(FAILED)
