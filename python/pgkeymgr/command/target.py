"""The options that say where a subcommand connects to; ``connection.py`` does it."""

from typing import Annotated

import typer

Dsn = Annotated[
    str,
    typer.Option(
        "--dsn",
        "-d",
        help="A connection string, as psql takes it; libpq's environment (PGHOST, PGSERVICE …) counts too. Leave "
        "the password to ~/.pgpass: arguments can be seen by every user of the machine.",
        show_default=False,
    ),
]
Databases = Annotated[
    list[str] | None,
    typer.Option(
        "--database", help="Only this one; may be repeated. By default, every database that has the extension."
    ),
]
AllDatabases = Annotated[
    bool, typer.Option("--all-databases", help="Every database that has the extension: the default.")
]
OneDatabase = Annotated[
    str | None,
    typer.Option("--database", help="The database, where it is not the one of --dsn.", show_default=False),
]
