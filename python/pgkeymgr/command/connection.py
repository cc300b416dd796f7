"""Connects to a cluster, and finds the databases that have the extension, and its schema in each."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow, dict_row
from psycopg.types.datetime import TimestamptzLoader
from psycopg.types.string import TextLoader

from .. import __version__
from ..errors import LibraryError, ParameterError, UndefinedError
from .failure import problem_of, without_prefix
from .output import escape, message

Connection = psycopg.Connection[DictRow]

_MAINTENANCE_DATABASE = "postgres"


class _AnyTime(TimestamptzLoader):
    """Reads the times of PostgreSQL that Python does not have, as infinity, as the last one that Python has.

    A key can expire then, and the other keys of its database are still to be read.
    """

    def load(self, data: Any) -> datetime:
        try:
            return super().load(data)
        except psycopg.DataError:
            return datetime.max.replace(tzinfo=UTC)


class _AnyText(TextLoader):
    """Reads the names of a role or a database that was made in a database of another encoding.

    The other databases are still to be examined.
    """

    def load(self, data: Any) -> str:
        return bytes(data).decode(errors="backslashreplace")


@dataclass
class Database:
    """A database that has the extension.

    Attributes:
        name: the name of the database.
        schema: the schema of the extension in the database.
        version: the version of the extension.
        connection: a connection to the database, in autocommit mode, with only pg_catalog in its search path.
    """

    name: str
    schema: str
    version: str
    connection: Connection

    def query(self, text: str, *parameters: Any) -> list[DictRow]:
        """Run a statement, in which ``{s}`` stands for the extension's schema.

        Args:
            text: the statement. A literal brace is doubled.
            parameters: the values of its placeholders.

        Returns:
            The rows of the result.
        """
        cursor = self.connection.execute(self.compose(text), parameters or None)
        return cursor.fetchall() if cursor.description else []

    def compose(self, text: str) -> sql.Composed:
        """Replace ``{s}`` in a statement by the extension's schema.

        Args:
            text: the statement, as ``query`` takes it.

        Returns:
            The statement with the quoted schema.
        """
        # Every text is a literal of this package, never input.
        return sql.SQL(text).format(s=sql.Identifier(self.schema))


def connect(dsn: str, database: str | None = None) -> Connection:
    """Connect to a database.

    Args:
        dsn: a connection string, or "".
        database: the name of the database, if the connection string does not name it.

    Returns:
        The connection, in autocommit mode. Its search path has only pg_catalog, so that queries call no functions
        and operators but PostgreSQL's.

    Raises:
        ParameterError: the connection string is malformed. The message does not quote it: it may hold a password.
    """
    more = {"dbname": database} if database else {}
    try:
        # psycopg returns the texts of a database in SQL_ASCII as bytes, unless the client has an encoding.
        conninfo = make_conninfo(dsn, application_name="pgkeymgr", client_encoding="UTF8", **more)
    except psycopg.ProgrammingError:
        conninfo = None  # Raised below, outside this handler: this exception quotes parts of the string.
    if conninfo is None:
        raise ParameterError("invalid connection string", hint='Write "host=… dbname=…" or a URI, postgresql://….')
    connection = psycopg.connect(conninfo, autocommit=True, row_factory=dict_row)
    connection.add_notice_handler(
        lambda notice: message(f"{notice.severity}: {escape(without_prefix(notice.message_primary or ''))}")
    )
    connection.adapters.register_loader("timestamptz", _AnyTime)
    for type_ in ("text", "name", "varchar", "bpchar"):
        connection.adapters.register_loader(type_, _AnyText)
    # psycopg reads times in this style only. The owner of a database can give it another one.
    connection.execute(
        "SET search_path = pg_catalog, pg_temp; SET DateStyle = ISO; SET IntervalStyle = postgres;"
        " SET standard_conforming_strings = on"
    )
    return connection


def named_database(dsn: str) -> str | None:
    """Return the name of the database that a connection string has in it, or None."""
    try:
        return str(conninfo_to_dict(dsn).get("dbname") or "") or None
    except psycopg.ProgrammingError:
        return None  # connect() reports the error in it.


def _names_database(dsn: str) -> bool:
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        return True  # connect() reports the error in it.
    return bool({"dbname", "service"} & given.keys() or {"PGDATABASE", "PGSERVICE"} & os.environ.keys())


def _extension(connection: Connection) -> DictRow | None:
    return connection.execute(
        """
        SELECT n.nspname::text AS schema, e.extversion AS version
        FROM pg_extension AS e
        JOIN pg_namespace AS n ON n.oid = e.extnamespace
        WHERE e.extname = 'pgkeymgr'
        """
    ).fetchone()


def _version_problem(version: str) -> tuple[str, str] | None:
    """Return the fault and the remedy if the extension has another version than this command."""
    if version == __version__:
        return None
    return (
        f"the extension has version {version}, and this command has version {__version__}",
        "Run pgkeymgr upgrade of the newer version.",
    )


@contextmanager
def open_database(dsn: str, name: str | None) -> Iterator[Database]:
    """Connect to one database that has the extension.

    Args:
        dsn: a connection string, or "".
        name: the name of the database, if the connection string does not name it.

    Yields:
        The database. Its connection is closed afterwards.

    Raises:
        UndefinedError: the database does not have the extension.
        LibraryError: its extension has another version than this command.
    """
    with connect(dsn, name) as connection:
        extension = _extension(connection)
        if extension is None:
            raise UndefinedError(
                f'database "{connection.info.dbname}" does not have the extension pgkeymgr',
                hint="Name another database with --dbname.",
            )
        problem = _version_problem(extension["version"])
        if problem is not None:
            raise LibraryError(f"{connection.info.dbname}: {problem[0]}", hint=problem[1])
        yield Database(connection.info.dbname, extension["schema"], extension["version"], connection)


@contextmanager
def noted(database: str, problems: dict[str, str]) -> Iterator[None]:
    """Note an error of a database, such as a connection that was ended, so that the others have their turn.

    Args:
        database: the name of the database.
        problems: receives the name and the error.

    Yields:
        Nothing.
    """
    try:
        yield
    except psycopg.Error as error:
        problems[database] = problem_of(error)


def each_database(
    dsn: str,
    names: Sequence[str] | None,
    problems: dict[str, str],
    *,
    all_databases: bool = False,
    any_version: bool = False,
) -> Iterator[Database]:
    """Connect to the databases of a cluster that have the extension, one after the other.

    Args:
        dsn: a connection string, or "", to any database of the cluster.
        names: the names of the databases; None for the database that the connection string names, or for all
            databases that have the extension.
        problems: receives the name of each database that could not be examined, and the reason.
        all_databases: whether all databases are meant, even if the connection string names one.
        any_version: whether to yield databases whose extension has another version than this command, too.

    Yields:
        Each database. Its connection is closed afterwards. The caller handles the errors of its queries, for
        example with ``noted``.

    Raises:
        UndefinedError: no database has the extension.
    """
    is_any = False
    if not names and not all_databases and (named := named_database(dsn)):
        names = [named]
    for name in names or _all_databases(dsn):
        try:
            connection = connect(dsn, name)
        except psycopg.Error as error:
            problems[name] = problem_of(error)
            continue
        with connection:
            extension = None
            with noted(name, problems):
                extension = _extension(connection)
            problem = _version_problem(extension["version"]) if extension and not any_version else None
            if problem is not None:
                problems[name] = f"{problem[0]}. {problem[1]}"
            elif extension is not None:
                is_any = True
                yield Database(name, extension["schema"], extension["version"], connection)
            elif names and name not in problems:
                problems[name] = "the database does not have the extension pgkeymgr"
    if not is_any and not problems:
        raise UndefinedError(
            "no database of this cluster has the extension pgkeymgr",
            hint="In a database, run CREATE SCHEMA pgkeymgr; CREATE EXTENSION pgkeymgr SCHEMA pgkeymgr CASCADE;",
        )


def _all_databases(dsn: str) -> list[str]:
    with connect(dsn, None if _names_database(dsn) else _MAINTENANCE_DATABASE) as connection:
        rows = connection.execute(
            "SELECT datname::text AS name FROM pg_database WHERE datallowconn ORDER BY datname"
        ).fetchall()
    return [row["name"] for row in rows]


def resolve(database: Database, table: str) -> DictRow:
    """Find a table by the name that the user gave, with the search path that a psql session would have.

    Args:
        database: the database of the table.
        table: the name of the table, as SQL has it.

    Returns:
        The ``oid`` of the table, and its ``name`` with the schema.

    Raises:
        UndefinedError: the table does not exist.
    """
    with database.connection.transaction():
        database.connection.execute("SET LOCAL search_path TO DEFAULT")
        row = database.connection.execute("SELECT pg_catalog.to_regclass(%s)::oid AS oid", [table]).fetchone()
    if row is None or row["oid"] is None:
        raise UndefinedError(f'table "{table}" does not exist in database "{database.name}"')
    named = database.connection.execute(
        "SELECT %(oid)s::oid AS oid, %(oid)s::regclass::text AS name", row
    ).fetchone()
    assert named
    return named
