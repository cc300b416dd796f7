"""Runs queries for this session, with the rights of the current user or of the extension's owner."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import plpy

from ..errors import CanceledError, PrivilegeError, UnsupportedError
from ..key.record import Record
from ..root_key import RootKey
from . import root_key, server

TYPE_CHECKING = False  # see key/named_tuple.py
if TYPE_CHECKING:
    from typing import Any

# PL/Python looks up the types of a plan in the caller's search_path, and keeps them with the plan. The qualified
# names exclude other types of the same names.
_TYPES = {
    name: f"pg_catalog.{internal}"
    for name, internal in {
        "bigint": "int8",
        "boolean": "bool",
        "bytea": "bytea",
        "bytea[]": "bytea[]",
        "double precision": "float8",
        "integer": "int4",
        "integer[]": "int4[]",
        "interval": "interval",
        "jsonb": "jsonb",
        "name": "name",
        "oid": "oid",
        "oid[]": "oid[]",
        "text": "text",
        "text[]": "text[]",
        "timestamptz": "timestamptz",
        "uuid": "uuid",
    }.items()
}

# The plan depends on the key tables, too: a data-only restore disables their triggers and enables them again.
_KEY_WATCH = "SELECT FROM {s}.key_change, {s}.key, {s}.key_wrap, {s}.key_grant, {s}.user_key WHERE false"
# The function locks the table and releases the lock. Others of the kind also look at the table's file.
_ACCEPTANCE = (
    "SELECT WHERE pg_catalog.pg_relation_is_updatable('{s}.key_event_turn'::pg_catalog.regclass, false)"
    " OPERATOR(pg_catalog.<) 0"
)


class _Operation:
    """An operation to run with the rights of the extension's owner, and its outcome."""

    def __init__(self, operation: Callable[[], Any]) -> None:
        self.operation = operation
        self.result: Any = None
        self.error: Exception | None = None


class Session:
    """The server's services for this session. ``pgkeymgr.key.database.Database`` describes each method."""

    # These are C functions, which have no self. They are called for each row.
    user = server.user_id
    stamp = server.statement_stamp
    transaction = server.transaction_stamp
    subtransaction = server.subtransaction_id
    command = staticmethod(server.command_id)
    precedes_snapshots = staticmethod(server.precedes_snapshots)

    def __init__(self, schema: str) -> None:
        self.schema = schema
        self._plans: dict[tuple[str, int], Any] = {}
        self._pending: list[_Operation] = []
        self._taken: Record | None = None
        self.is_key_watch_valid: Callable[[], bool] = server.never
        self._accepting: dict[int, Any] = {}
        self._owner = 0

    def root_key(self) -> RootKey:
        """Return the root key."""
        return root_key.get()

    def reload_root_key(self) -> RootKey:
        """Get the root key again from the agent or the getkey script."""
        return root_key.load()

    config_file = staticmethod(server.config_file)
    share_directory = staticmethod(server.share_directory)

    def is_read_only(self) -> bool:
        """Return whether this transaction cannot write."""
        return server.setting("transaction_read_only") == "on"

    def is_parallel(self) -> bool:
        """Return whether this is part of a parallel query."""
        return server.is_parallel()

    def is_confidential(self) -> bool:
        """Return whether the client came over TLS or a Unix socket."""
        # After SET ROLE, pg_stat_ssl may hide this session's own row from the user, but not from the owner.
        (row,) = self.as_owner(
            lambda: self.execute(
                "SELECT pg_catalog.inet_client_addr() IS NULL OR EXISTS (SELECT FROM pg_catalog.pg_stat_ssl"
                " WHERE pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() AND ssl) AS is_confidential"
            )
        )
        return bool(row["is_confidential"])

    def log(self, message: str) -> None:
        """Write a line to the server's log."""
        # The statement may contain a password or a plaintext, which must not get into the log with this line.
        with server.plain_log_lines(), _cancels_with_message():
            plpy.log(f"pgkeymgr: {message}")

    def warn(self, message: str, hint: str) -> None:
        """Send the client a warning."""
        with _cancels_with_message():
            plpy.warning(f"pgkeymgr: {message}", hint=hint)

    def execute(self, query: str, *arguments: tuple[str, Any]) -> list[dict[str, Any]]:
        """Run a query, with a plan that is kept for the current user."""
        _check_can_query()
        # Users do not share plans, so no user runs a plan that another user could have influenced.
        which = query, server.user_id()
        plan = self._plans.get(which)
        if plan is None:
            plan = self._plans[which] = _prepare(query.replace("{s}", self.schema), arguments)
        return list(plpy.execute(plan, [value for _, value in arguments]))

    query = execute

    def run(self, statement: str) -> list[dict[str, Any]]:
        """Run a statement as it is."""
        _check_can_query()
        _check_text(statement)
        return list(plpy.execute(statement))

    def parse(self, query: str) -> None:
        """Parse a query without running it."""
        _check_can_query()
        _check_text(query)
        plpy.prepare(query)

    def write(self, statement: str, *arguments: tuple[str, Any]) -> int:
        """Run a statement, and return the number of rows that it wrote or found."""
        _check_can_query()
        if not arguments:
            _check_text(statement)
            return int(plpy.execute(statement).nrows())
        plan = _prepare(statement, arguments)
        return int(plpy.execute(plan, [value for _, value in arguments]).nrows())

    def query_unkept(self, query: str, *arguments: tuple[str, Any]) -> list[dict[str, Any]]:
        """Run a query as it is, with arguments."""
        _check_can_query()
        plan = _prepare(query, arguments)
        return list(plpy.execute(plan, [value for _, value in arguments]))

    def commit(self) -> None:
        """Commit, and begin the next transaction."""
        plpy.commit()

    def rollback(self) -> None:
        """Roll back, and begin the next transaction."""
        plpy.rollback()

    def pause(self, seconds: float) -> None:
        """Wait."""
        self.execute("SELECT pg_catalog.pg_sleep($1)", ("double precision", seconds))

    def notice(self, message: str) -> None:
        """Send the client a notice."""
        with _cancels_with_message():
            plpy.notice(f"pgkeymgr: {message}")

    def setting(self, name: str) -> str | None:
        """Return a setting of the session."""
        return server.setting(name)

    def mark_session(self, name: str, value: str, *, is_local: bool) -> None:
        """Set a setting that users cannot set."""
        _check_can_query()
        server.define_superuser_setting(name, "Set by pgkeymgr. A reset locks the keys of the session again.")
        self.as_owner(
            lambda: self.execute(
                "SELECT pg_catalog.set_config($1, $2, $3)", ("text", name), ("text", value), ("boolean", is_local)
            )
        )

    def load_key(
        self, key_id: int, name: str, uuid: bytes, user: int, *, family: int = 0, with_wraps: bool
    ) -> Record | None:
        """Return the record of a key from the changes that are committed by now."""
        self._taken = None
        self.read_as_owner(
            lambda: self.execute(
                "SELECT {s}._load_key($1, $2, $3, $4, $5, $6)",
                ("integer", key_id),
                ("text", name),
                ("uuid", uuid.hex()),
                ("integer", family),
                ("oid", user),
                ("boolean", with_wraps),
            )
        )
        if server.misses_latest_snapshot():
            # The record may be out of date already, so it is valid for this statement only.
            self.is_key_watch_valid = server.never
        return self._taken

    def renew_key_watch(self) -> None:
        """Watch the key tables for changes from now on."""
        # The query reads no row, but PostgreSQL still records that its plan depends on the tables.
        self.read_as_owner(lambda: self.execute(_KEY_WATCH))
        # Later queries may not see the latest changes. Then the keys are valid for this statement only.
        if server.misses_latest_snapshot():
            self.is_key_watch_valid = server.never
        else:
            self.is_key_watch_valid = server.validity(self._plans[_KEY_WATCH, self._owner])

    def invalidate_key_watches(self) -> None:
        """Report a change of the key tables to this session at once, and to all sessions at COMMIT."""
        (row,) = self.execute("SELECT '{s}.key_change'::pg_catalog.regclass::pg_catalog.oid AS oid")
        # This query makes PostgreSQL process pending invalidations, and caches the table's catalog entry. No other
        # query may follow, because the session could lose the entry again.
        self.execute("SELECT FROM {s}.key_change LIMIT 0")
        server.invalidate_relation(int(row["oid"]))

    # This is called for each statement.
    may_have_missed_changes = staticmethod(server.has_old_transaction)

    def accept_invalidations(self) -> None:
        """Let this session notice the changes that other sessions have committed by now."""
        # PostgreSQL accepts invalidations when it acquires a lock that the transaction does not hold. The function
        # locks the table and releases the lock again, and no other code keeps a lock on this table.
        if server.is_parallel():
            with server.parallel_mode_suspended():
                self.execute(_ACCEPTANCE)
            return
        # This runs for each statement of a transaction, so it does no more than ``execute`` has to.
        user = server.user_id()
        plan = self._accepting.get(user)
        if plan is None:
            plan = self._accepting[user] = _prepare(_ACCEPTANCE.replace("{s}", self.schema), ())
        server.prepare_query()
        plpy.execute(plan)

    def is_member(self, roles: Sequence[int]) -> bool:
        """Return whether the current user has the privileges of all the roles with these OIDs."""
        with server.parallel_mode_suspended():
            (row,) = self.execute(
                "SELECT pg_catalog.bool_and(pg_catalog.pg_has_role(one, 'USAGE')) AS is_member"
                " FROM pg_catalog.unnest($1) AS one",
                ("oid[]", list(roles)),
            )
        return bool(row["is_member"])

    def _take_key(self, fields: list[Any]) -> bool:
        self._taken = Record(*fields)
        return True

    def acting_as(self, role: int, *, past_policies: bool = False) -> AbstractContextManager[None]:
        """Run a block with the rights of another role."""
        return server.acting_as(role, past_policies=past_policies)

    def as_owner(self, operation: Callable[[], Any]) -> Any:
        """Run an operation with the rights of the extension's owner."""
        return self._run_as_owner(operation, "SELECT {s}._as_owner()")

    def read_as_owner(self, operation: Callable[[], Any]) -> Any:
        """Run a read-only operation with the rights of the extension's owner."""
        # The function is STABLE, so PostgreSQL refuses every change in it.
        with server.parallel_mode_suspended():
            return self._run_as_owner(operation, "SELECT {s}._read_as_owner()")

    def _run_as_owner(self, operation: Callable[[], Any], call: str) -> Any:
        pending = _Operation(operation)
        self._pending.append(pending)
        try:
            self.execute(call)
        except plpy.SPIError:
            # PL/Python has converted the operation's error into a SQL error; the original has more in it.
            if pending.error is not None:
                raise pending.error from None
            raise
        finally:
            if pending in self._pending:
                self._pending.remove(pending)
        return pending.result

    def _as_owner(self) -> None:
        # A new key's event is linked to the trail by a deferred trigger.
        with server.unrestricted():
            self._run_pending()

    def _read_as_owner(self) -> None:
        with server.latest_snapshot():
            self._run_pending()

    def _run_pending(self) -> None:
        if not self._pending:
            raise PrivilegeError("permission denied for function _as_owner: only pgkeymgr itself may call it")
        pending = self._pending.pop()
        self._owner = server.user_id()
        try:
            pending.result = pending.operation()
        except Exception as error:
            pending.error = error
            raise


@contextmanager
def _cancels_with_message() -> Iterator[None]:
    """Give an error its SQLSTATE that PL/Python makes of a cancel or a timeout while it sends a message."""
    try:
        yield
    except plpy.Error as error:
        raise CanceledError(str(error)) from None


def _prepare(query: str, arguments: tuple[tuple[str, Any], ...]) -> Any:
    _check_text(query)
    return plpy.prepare(query, [_TYPES[type_] for type_, _ in arguments])


def _check_text(query: str) -> None:
    """Refuse a query whose text PL/Python would not give to PostgreSQL as it is.

    PL/Python gives it the bytes of UTF-8, whatever the encoding of the database is. Arguments are converted.

    Raises:
        UnsupportedError: it has characters beyond ASCII, as a name or a constraint can have.
    """
    if not query.isascii() and (encoding := server.setting("server_encoding")) not in ("UTF8", "SQL_ASCII"):
        raise UnsupportedError(
            f"cannot work with names and constraints that are not in ASCII where the encoding is {encoding}",
            hint="Use names in ASCII, or a database with the encoding UTF8.",
        )


def _check_can_query() -> None:
    """Refuse a query if PL/Python could not catch PostgreSQL's error; otherwise, see ``server.prepare_query``.

    Before PostgreSQL 17, a subtransaction can begin in a parallel query only in ``parallel_mode_suspended``.
    PL/Python begins the subtransaction of a query before it can catch errors. So the error would jump over the
    frames of the interpreter, which then crashes the server.

    Raises:
        UnsupportedError: this is a parallel query before PostgreSQL 17.
        MemoryError: the process is about to run out of memory, which would raise an error in the same place.
    """
    if server.refuses_subtransactions():
        raise UnsupportedError(
            "cannot look up a key in a parallel query before PostgreSQL 17",
            hint="Declare functions that call pgkeymgr as PARALLEL RESTRICTED, or set "
            "max_parallel_workers_per_gather to 0.",
        )
    server.prepare_query()
