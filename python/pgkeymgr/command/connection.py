"""Where a subcommand connects to, and which databases there have the extension, in which schema."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow, dict_row

from ..errors import ParameterError, UndefinedError
from .failure import told
from .output import message

Connection = psycopg.Connection[DictRow]

_MAINTENANCE_DATABASE = "postgres"


@dataclass
class Database:
    """A database that has the extension.

    Attributes:
        name: its name.
        schema: the extension's schema in it.
        version: the extension's version.
        connection: to it, in autocommit mode, with nothing but pg_catalog in its search path.
    """

    name: str
    schema: str
    version: str
    connection: Connection

    def query(self, text: str, *parameters: Any) -> list[DictRow]:
        """Run a statement, in which ``{s}`` stands for the extension's schema.

        Args:
            text: the statement; a brace of its own is doubled.
            parameters: for its placeholders.

        Returns:
            Its rows.
        """
        cursor = self.connection.execute(self.composed(text), parameters or None)
        return cursor.fetchall() if cursor.description else []

    def composed(self, text: str) -> sql.Composed:
        """Return a statement with the extension's schema for ``{s}``.

        Args:
            text: the statement.

        Returns:
            The statement.
        """
        # Each text is written in this package.
        return sql.SQL(text).format(s=sql.Identifier(self.schema))


def connect(dsn: str, database: str | None = None) -> Connection:
    """Connect to a database.

    Args:
        dsn: a connection string, or "".
        database: its name, where it is not the one of the connection string.

    Returns:
        The connection, in autocommit mode, with nothing but pg_catalog in its search path, so that nobody's
        functions and operators are called but PostgreSQL's.

    Raises:
        ParameterError: the connection string is none. It may hold a password, and is not told.
    """
    more = {"dbname": database} if database else {}
    try:
        conninfo = make_conninfo(dsn, application_name="pgkeymgr", **more)
    except psycopg.ProgrammingError:
        conninfo = None  # and raised below: this exception has parts of it in its text
    if conninfo is None:
        raise ParameterError("--dsn is not a connection string", hint='Write "host=… dbname=…" or postgresql://….')
    connection = psycopg.connect(conninfo, autocommit=True, row_factory=dict_row)
    connection.add_notice_handler(lambda notice: message(f"{notice.severity}: {notice.message_primary}"))
    connection.execute("SET search_path = pg_catalog, pg_temp")
    return connection


def _names_database(dsn: str) -> bool:
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        return True  # connect() says what is wrong with it
    return bool({"dbname", "service"} & given.keys() or {"PGDATABASE", "PGSERVICE"} & os.environ.keys())


def _extension(connection: Connection) -> DictRow | None:
    return connection.execute(
        "SELECT n.nspname::text AS schema, e.extversion AS version FROM pg_extension AS e"
        " JOIN pg_namespace AS n ON n.oid = e.extnamespace WHERE e.extname = 'pgkeymgr'"
    ).fetchone()


@contextmanager
def open_database(dsn: str, name: str | None) -> Iterator[Database]:
    """Connect to one database that has the extension.

    Args:
        dsn: a connection string, or "".
        name: the database's name, where it is not the one of the connection string.

    Yields:
        The database; its connection is closed afterwards.

    Raises:
        UndefinedError: it does not have the extension.
    """
    with connect(dsn, name) as connection:
        extension = _extension(connection)
        if extension is None:
            raise UndefinedError(
                f'the database "{connection.info.dbname}" does not have the extension pgkeymgr',
                hint="Name another one: --database, or dbname in --dsn.",
            )
        yield Database(connection.info.dbname, extension["schema"], extension["version"], connection)


def each_database(dsn: str, names: Sequence[str] | None, problems: dict[str, str]) -> Iterator[Database]:
    """Connect to the databases of a cluster that have the extension, one after the other.

    Args:
        dsn: a connection string, or "", to any database of the cluster.
        names: which; None for all that have the extension.
        problems: gets the names of those that could not be looked at, and a sentence each.

    Yields:
        Each; its connection is closed afterwards.

    Raises:
        UndefinedError: there is none.
    """
    is_any = False
    for name in names or _all_databases(dsn):
        try:
            connection = connect(dsn, name)
        except psycopg.Error as error:
            problems[name] = told(error)[0]
            continue
        with connection:
            extension = _extension(connection)
            if extension is not None:
                is_any = True
                yield Database(name, extension["schema"], extension["version"], connection)
            elif names:
                problems[name] = "it does not have the extension pgkeymgr"
    if not is_any and not problems:
        raise UndefinedError(
            "no database of this cluster has the extension pgkeymgr",
            hint="CREATE EXTENSION pgkeymgr CASCADE makes it, in the database that is to have it.",
        )


def _all_databases(dsn: str) -> list[str]:
    with connect(dsn, None if _names_database(dsn) else _MAINTENANCE_DATABASE) as connection:
        rows = connection.execute(
            "SELECT datname::text AS name FROM pg_database WHERE datallowconn ORDER BY datname"
        ).fetchall()
    return [row["name"] for row in rows]


def resolve(database: Database, table: str) -> DictRow:
    """Find a table by the name that the user gave, in the search path that psql would have.

    Args:
        database: where it is.
        table: its name, quoted and with a schema where it needs it.

    Returns:
        Its ``oid`` and its ``name``, with the schema.

    Raises:
        UndefinedError: there is none.
    """
    with database.connection.transaction():
        database.connection.execute("SET LOCAL search_path TO DEFAULT")
        row = database.connection.execute("SELECT pg_catalog.to_regclass(%s)::oid AS oid", [table]).fetchone()
    if row is None or row["oid"] is None:
        raise UndefinedError(f'there is no table {table} in the database "{database.name}"')
    named = database.connection.execute(
        "SELECT %(oid)s::oid AS oid, %(oid)s::regclass::text AS name", row
    ).fetchone()
    assert named
    return named
