"""``pgkeymgr upgrade``: update the extension in each database to the version of this command."""

from typing import TYPE_CHECKING

import typer

from .. import __version__
from .failure import report_failures
from .listing import end
from .output import Json, escape, print_json
from .target import AllDatabases, Databases, Dsn, connects

if TYPE_CHECKING:
    from .connection import Database

EPILOG = "Exit status: 0, each database has this version; 1, a database could not be updated; 2, wrong usage."


@connects
def upgrade(
    dsn: Dsn = "", database: Databases = None, all_databases: AllDatabases = False, json: Json = False
) -> None:
    """Update the extension in each database of a cluster to the version of this command.

    Run it after make install, as a superuser. Each database is updated in one transaction, with the views and
    triggers of its encrypted tables. It waits for transactions that use these tables. A database whose update
    fails stays as it was. Run the command again to update the databases that are left.
    """
    from .connection import each_database

    problems: dict[str, str] = {}
    done = []
    with report_failures():
        for each in each_database(dsn, database, problems, all_databases=all_databases, any_version=True):
            before = each.version
            problem = _update(each)
            if problem is not None:
                problems[each.name] = problem
                continue
            done.append({"database": each.name, "from": before, "to": __version__})
            if not json:
                typer.echo(f"{escape(each.name)}: {_phrase(before)}")
    if json:
        print_json({"databases": done, "problems": problems})
    end(problems)


def _phrase(before: str) -> str:
    return f"already has {before}" if before == __version__ else f"updated from {before} to {__version__}"


def _update(database: "Database") -> str | None:
    """Update a database; return why that failed, or None."""
    import psycopg
    from psycopg import sql

    from .failure import message_and_hint

    try:
        with database.connection.transaction():
            if database.version != __version__:
                database.connection.execute(
                    sql.SQL("ALTER EXTENSION pgkeymgr UPDATE TO {}").format(sql.Literal(__version__))
                )
            database.query("SELECT {s}.finish_update()")
    except psycopg.Error as error:
        message, hint = message_and_hint(error)
        return f"{message}. {hint}" if hint else message
    return None
