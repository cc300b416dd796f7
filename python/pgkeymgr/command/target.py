"""The options that name the server and the databases. ``connection.py`` connects to them."""

from typing import Annotated

import typer

Dsn = Annotated[
    str,
    typer.Option(
        "--dsn",
        "-d",
        help="A connection string, as for psql. The variables of libpq (PGHOST, PGSERVICE …) are used as well. "
        "Put the password into ~/.pgpass, because every user of the machine can see arguments.",
        show_default=False,
    ),
]
Databases = Annotated[
    list[str] | None,
    typer.Option(
        "--database",
        help="The name of a database; may be repeated.",
        show_default="every database that has the extension",
    ),
]
AllDatabases = Annotated[
    bool, typer.Option("--all-databases", help="Use every database that has the extension. This is the default.")
]
OneDatabase = Annotated[
    str | None,
    typer.Option("--database", help="The name of the database, if --dsn does not name it.", show_default=False),
]
