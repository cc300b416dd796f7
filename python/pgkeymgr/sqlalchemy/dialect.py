"""The dialect ``postgresql+pgkeymgr``."""

import asyncio
import time
from typing import Any

from sqlalchemy import event, util
from sqlalchemy.dialects.postgresql.dml import OnConflictClause
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg, PGDialectAsync_psycopg
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.sql.dml import Insert

from ..adapter.ddl import finder, on_base, without_view
from ..adapter.retry import SERIALIZATION_FAILURE, STALE, is_single, retried
from ..adapter.tables import EncryptedTables
from .compiler import Compiler
from .reflection import Reflection

_IDLE = 0
"""The transaction status of libpq, for a session that is in no transaction."""


class _Knowing(Reflection):
    """The part that both dialects add to those of psycopg.

    The tables with encrypted columns are read when they are first needed. They are read again after DDL of
    SQLAlchemy, and after an error that shows that they are others by now.
    """

    driver = "pgkeymgr"
    supports_statement_cache = True
    statement_compiler: Any = Compiler
    encrypted_tables: EncryptedTables | None = None

    @classmethod
    def engine_created(cls, engine: Engine) -> None:
        """Look at errors and at statements with ON CONFLICT before they are compiled."""
        event.listen(engine, "before_execute", _before_execute)
        event.listen(engine, "handle_error", _handle_error)

    def tables_of(self, connection: Connection) -> EncryptedTables:
        """Return the tables with encrypted columns."""
        if self.encrypted_tables is None:
            # Not by SQLAlchemy's connection, whose events are for the application's statements.
            cursor = connection.connection.cursor()

            def query(text: str) -> list[Any]:
                cursor.execute(text)
                return list(cursor.fetchall())

            try:
                self.encrypted_tables = EncryptedTables.load(query)
            finally:
                cursor.close()
            connection.engine.clear_compiled_cache()
        return self.encrypted_tables

    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        """Run a statement: DDL on the base table, and a single statement again after 40001."""
        if context is not None and context.isddl:
            self._do_ddl(cursor, statement, parameters, context)
        else:
            retried(
                lambda: super(_Knowing, self).do_execute(cursor, statement, parameters, context),  # type: ignore[misc]
                lambda error: _may_retry(cursor, statement, error),
                self._pause,
            )

    def _do_ddl(self, cursor: Any, statement: str, parameters: Any, context: Any) -> None:
        find = finder(self.tables_of(context.root_connection))
        around = without_view(statement, find)
        changed = on_base(statement, find)
        if around is not None:
            cursor.execute(around.comments_query)
            comments = {row[0]: row[1] for row in cursor.fetchall()}
            # As one query, it is all done or nothing, also in autocommit. DDL has no parameters: the percent signs
            # that SQLAlchemy has doubled are single ones.
            altered = changed.replace("%%", "%")
            cursor.execute("; ".join([around.before, altered, *around.after(comments)]))
        else:
            super().do_execute(cursor, changed, parameters, context)  # type: ignore[misc]
        self.encrypted_tables = None

    def _pause(self, seconds: float) -> None:
        time.sleep(seconds)


class Dialect(_Knowing, PGDialect_psycopg):  # type: ignore[misc]
    """SQLAlchemy's dialect for psycopg, and encrypted columns."""

    supports_statement_cache = True

    @classmethod
    def get_async_dialect_cls(cls, url: Any) -> Any:
        """Return the dialect for ``create_async_engine``."""
        return AsyncDialect


class AsyncDialect(_Knowing, PGDialectAsync_psycopg):  # type: ignore[misc]
    """The same for asyncio."""

    supports_statement_cache = True

    def _pause(self, seconds: float) -> None:
        util.await_only(asyncio.sleep(seconds))


def _before_execute(connection: Connection, clause: Any, *more: Any) -> None:
    if isinstance(clause, Insert) and isinstance(clause._post_values_clause, OnConflictClause):
        dialect: Any = connection.dialect
        dialect.tables_of(connection)


def _handle_error(context: Any) -> None:
    if getattr(context.original_exception, "sqlstate", None) in STALE:
        context.dialect.encrypted_tables = None


def _may_retry(cursor: Any, statement: str, error: BaseException) -> bool:
    if getattr(error, "sqlstate", None) != SERIALIZATION_FAILURE or not is_single(statement):
        return False
    # For asyncio, a cursor of SQLAlchemy has that of psycopg inside.
    connection = getattr(cursor, "_cursor", cursor).connection
    # After an error in a transaction, it is not idle.
    return bool(connection.info.transaction_status == _IDLE)
