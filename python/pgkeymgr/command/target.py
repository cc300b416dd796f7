"""The options that name the server and the databases, as psql has them. ``connection.py`` connects to them."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer


def _complete_database(incomplete: str) -> list[str]:
    """Return the names of databases for the completion of a shell, or none if the server does not answer."""
    import psycopg

    try:
        with psycopg.connect(dbname="postgres", connect_timeout=2, application_name="pgkeymgr") as connection:
            found = connection.execute("SELECT datname::text FROM pg_catalog.pg_database WHERE datallowconn")
            return sorted(name for (name,) in found if name.startswith(incomplete))
    except psycopg.Error:
        return []


Dsn = Annotated[
    str,
    typer.Option(
        "--dsn",
        metavar="DSN",
        help="A connection string or a URI, as for psql. A URI may also stand alone. The variables of libpq "
        "(PGHOST, PGSERVICE …) are used as well. Put the password into ~/.pgpass, because every user of the "
        "machine can see arguments.",
        show_default=False,
    ),
]
Databases = Annotated[
    list[str] | None,
    typer.Option(
        "--database",
        metavar="NAME",
        help="The name of a database; may be repeated.",
        show_default="every database that has the extension",
        autocompletion=_complete_database,
    ),
]
AllDatabases = Annotated[
    bool,
    typer.Option(
        "--all-databases",
        help="Use every database that has the extension. This is the default, unless a connection string names a "
        "database.",
    ),
]
OneDatabase = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="NAME",
        help="The name of the database, as with --dbname.",
        show_default=False,
        autocompletion=_complete_database,
    ),
]

_Host = Annotated[
    str | None,
    typer.Option("--host", "-h", metavar="HOST", help="The server's host, or the directory of its socket."),
]
_Port = Annotated[str | None, typer.Option("--port", "-p", metavar="PORT", help="The server's port.")]
_Username = Annotated[str | None, typer.Option("--username", "-U", metavar="NAME", help="The user to connect as.")]
_Dbname = Annotated[
    str | None,
    typer.Option(
        "--dbname",
        "-d",
        metavar="NAME",
        help="The name of the database, or a connection string.",
        autocompletion=_complete_database,
    ),
]
_OPTIONS = {"dbname": _Dbname, "host": _Host, "port": _Port, "username": _Username}


def connects(function: Callable[..., None]) -> Callable[..., None]:
    """Give a subcommand with the parameter ``dsn`` psql's options, which become a part of the connection string.

    Args:
        function: the function of the subcommand.

    Returns:
        The function with these options.
    """
    signature = inspect.signature(function)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in _OPTIONS.items()
    ]
    parameters = list(signature.parameters.values())
    after = next(number for number, each in enumerate(parameters, 1) if each.name == "dsn")

    @functools.wraps(function)
    def wrapper(**arguments: Any) -> None:
        given = {name: arguments.pop(name) for name in _OPTIONS}
        arguments["dsn"] = _conninfo(arguments["dsn"], given)
        function(**arguments)

    ordered = [*parameters[:after], *added, *parameters[after:]]
    keyword = inspect.Parameter.KEYWORD_ONLY
    signature = signature.replace(parameters=[each.replace(kind=keyword) for each in ordered])
    wrapper.__signature__ = signature  # type: ignore[attr-defined]
    wrapper.__annotations__ = {**function.__annotations__, **_OPTIONS}
    return wrapper


def _conninfo(dsn: str, given: dict[str, str | None]) -> str:
    """Return one connection string for all options. A later option of psql's has precedence over the string."""
    if not any(given.values()):
        return dsn
    import psycopg
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    dbname = given["dbname"] or ""
    if "=" in dbname or dbname.startswith(("postgresql://", "postgres://")):
        if dsn:
            raise typer.BadParameter("--dbname and --dsn are both connection strings")
        dsn, dbname = dbname, ""
    more = {"host": given["host"], "port": given["port"], "user": given["username"], "dbname": dbname or None}
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        return dsn  # connect() reports the error in it.
    return make_conninfo("", **{**parts, **{name: value for name, value in more.items() if value is not None}})
