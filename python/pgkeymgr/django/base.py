"""The wrapper of a connection: it remembers the encrypted tables, and runs a statement again after 40001."""

from collections.abc import Callable
from typing import Any

from django.db.backends.postgresql import base
from django.db.backends.utils import CursorWrapper

from ..adapter.retry import SERIALIZATION_FAILURE, STALE, is_single, retried
from ..adapter.tables import EncryptedTables
from .features import DatabaseFeatures
from .introspection import DatabaseIntrospection
from .operations import DatabaseOperations
from .schema import DatabaseSchemaEditor

_IDLE = 0
"""The transaction status of libpq, for a session that is in no transaction."""


def _sqlstate(error: BaseException) -> str | None:
    # Django's errors have the driver's as their cause. psycopg2 calls it pgcode.
    cause = error.__cause__ or error
    return getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)


class RetryingCursorWrapper(CursorWrapper):
    """A cursor that runs a statement again which was its own transaction and met a concurrent change."""

    def _execute(self, sql: Any, params: Any, *ignored: Any) -> Any:
        return self._retried(lambda: super(RetryingCursorWrapper, self)._execute(sql, params, *ignored), sql)

    def _retried(self, run: Callable[[], Any], sql: Any) -> Any:
        return retried(run, lambda error: self._may_retry(error, sql))

    def _may_retry(self, error: BaseException, sql: Any) -> bool:
        state = _sqlstate(error)
        if state in STALE:
            self.db.forget_encrypted_tables()
        return (
            state == SERIALIZATION_FAILURE
            # After an error in a transaction, also in one that a statement began, it is not idle.
            and self.db.connection.info.transaction_status == _IDLE
            and isinstance(sql, str)
            and is_single(sql)
        )


class RetryingCursorDebugWrapper(RetryingCursorWrapper, base.CursorDebugWrapper):
    """The same, and it logs the statements."""


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection to PostgreSQL with pgkeymgr."""

    SchemaEditorClass = DatabaseSchemaEditor
    features_class = DatabaseFeatures
    introspection_class = DatabaseIntrospection
    ops_class = DatabaseOperations

    _encrypted_tables: EncryptedTables | None = None

    @property
    def encrypted_tables(self) -> EncryptedTables:
        """The tables with encrypted columns.

        They are read once for a connection, and again after a rollback, after DDL of a schema editor, and after an
        error that shows that they are others by now.
        """
        if self._encrypted_tables is None:
            try:
                self.ensure_connection()
            except Exception:
                # The statement that needs the tables reports the failed connection itself.
                return EncryptedTables()
            if self.needs_rollback:
                return EncryptedTables()
            # This does not use a cursor of Django, since an application may count its statements.
            with self.connection.cursor() as cursor:
                self._encrypted_tables = EncryptedTables.load(lambda query: _rows(cursor, query))
        return self._encrypted_tables

    def forget_encrypted_tables(self) -> None:
        """Read the tables with encrypted columns again when they are next needed."""
        self._encrypted_tables = None

    def init_connection_state(self) -> None:
        """Forget the facts about the previous connection."""
        self.forget_encrypted_tables()
        super().init_connection_state()

    def _rollback(self) -> Any:
        self.forget_encrypted_tables()
        return super()._rollback()

    def _savepoint_rollback(self, sid: Any) -> None:
        self.forget_encrypted_tables()
        super()._savepoint_rollback(sid)

    def make_cursor(self, cursor: Any) -> RetryingCursorWrapper:
        """Wrap a cursor."""
        return RetryingCursorWrapper(cursor, self)

    def make_debug_cursor(self, cursor: Any) -> RetryingCursorDebugWrapper:
        """Wrap a cursor that logs."""
        return RetryingCursorDebugWrapper(cursor, self)


def _rows(cursor: Any, query: str) -> list[tuple[Any, ...]]:
    cursor.execute(query)
    rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
