"""The interface of the key table to the session that uses it; ``backend/session.py`` implements it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from ..root_key import RootKey
from .record import Record

Rows = list[dict[str, Any]]

_Result = TypeVar("_Result")


class Database(Protocol):
    """The session, as the key table needs it."""

    schema: str
    """The extension's schema, quoted where it must be."""

    def user(self) -> int:
        """Return the OID of the current user."""

    def stamp(self) -> int:
        """Return a number that differs for each statement."""

    def transaction(self) -> int:
        """Return a number that differs for each transaction."""

    def subtransaction(self) -> int:
        """Return a number that differs for each subtransaction of this transaction."""

    def command(self) -> int:
        """Return a number that differs after each command of this transaction that has changed something."""

    def precedes_snapshots(self, xid: int) -> bool:
        """Return whether a committed transaction had certainly ended before any snapshot in use was taken.

        Args:
            xid: the number of the transaction, as row versions have it.
        """

    def root_key(self) -> RootKey:
        """Return the root key.

        Raises:
            RootKeyError: there is no root key.
        """

    def reload_root_key(self) -> RootKey:
        """Get the root key again, and return it.

        Raises:
            RootKeyError: there is no root key.
        """

    def load_key(
        self, key_id: int, name: str, uuid: bytes, user: int, *, family: int = 0, with_wraps: bool
    ) -> Record | None:
        """Read the record of a key, as it is committed at present.

        Args:
            key_id: its id, or 0.
            name: its name, or an empty string.
            uuid: its uuid, 16 bytes, or zeros.
            user: the OID of the user who asks.
            family: its family, of which the current version is read, or 0.
            with_wraps: whether to read the wraps besides the wrap under the root key, too. They are always read
                for a key that has no wrap under the root key.

        Returns:
            The record, or None if there is no such key.
        """

    is_key_watch_valid: Callable[[], bool]
    """The function that returns whether PostgreSQL has reported no change of the key tables since
    ``renew_key_watch``, which replaces it."""

    def renew_key_watch(self) -> None:
        """Begin to watch for changes of the key tables again."""

    def invalidate_key_watches(self) -> None:
        """Report a change of the key tables: to all sessions at COMMIT, and to this one at once."""

    def may_have_missed_changes(self, stamp: int, transaction: int) -> bool:
        """Return whether other sessions may have committed since this session last accepted invalidations.

        Args:
            stamp: the present statement's, see ``stamp``.
            transaction: the present transaction's, see ``transaction``.
        """

    def accept_invalidations(self) -> None:
        """Let this session notice the changes that other sessions have committed so far."""

    def is_member(self, roles: Sequence[int]) -> bool:
        """Return whether the current user has the privileges of all of some roles, given by their OIDs."""

    def as_owner(self, operation: Callable[[], _Result]) -> _Result:
        """Run an operation with the rights of the extension's owner, completely or not at all.

        The search_path is pinned to pg_catalog, so that names of the catalog need not be qualified. The operation
        must use no other tables than the extension's, and call no other code than PostgreSQL's and pgkeymgr's.
        """

    def read_as_owner(self, operation: Callable[[], _Result]) -> _Result:
        """Run an operation like ``as_owner``. It only reads, and it sees all that is committed at present."""

    def acting_as(self, role: int, *, past_policies: bool = False) -> AbstractContextManager[None]:
        """Run a block with the rights of another role, in a security-restricted operation.

        A change of a setting ends with the block. The caller must have checked that the current user may use the
        rights of the role.

        Args:
            role: the role's OID.
            past_policies: whether FORCE ROW LEVEL SECURITY has no effect on the role's own tables.

        Returns:
            The context manager.
        """

    def execute(self, query: str, *arguments: tuple[str, Any]) -> Rows:
        """Run a query in which {s} stands for the schema; in ``as_owner`` or ``read_as_owner`` only.

        The search_path is pinned there, so that such a query has plain names and operators of PostgreSQL's. All
        other queries run in the search_path of the caller, and qualify all types, operators, functions and
        relations, as in ``OPERATOR(pg_catalog.=)``. scripts/lint_names.py enforces this.

        Args:
            query: the query, with $1 and so on for the arguments.
            arguments: the type and the value of each argument.

        Returns:
            The rows.
        """

    def query(self, query: str, *arguments: tuple[str, Any]) -> Rows:
        """Run a query with the rights of the current user; see ``execute``."""

    def run(self, statement: str) -> Rows:
        """Run a statement that names the caller's own objects, with the rights of the current user.

        Unlike ``query``, this runs the text unchanged, and keeps no plan.
        """

    def parse(self, query: str) -> None:
        """Parse a query, and do not run it."""

    def write(self, statement: str, *arguments: tuple[str, Any]) -> int:
        """Run a statement like ``run``, with arguments like ``query``; return the number of its rows."""

    def query_unkept(self, query: str, *arguments: tuple[str, Any]) -> Rows:
        """Run a query like ``run``, with arguments like ``query``."""

    def commit(self) -> None:
        """Commit, and begin the next transaction. This fails within ``as_owner`` or the caller's transaction."""

    def rollback(self) -> None:
        """Roll back, and begin the next transaction; as ``commit``."""

    def pause(self, seconds: float) -> None:
        """Wait for some seconds."""

    def notice(self, message: str) -> None:
        """Send the client a notice."""

    def mark_session(self, name: str, value: str, *, is_local: bool) -> None:
        """Set a setting that users cannot set, and that RESET ALL and DISCARD ALL reset.

        Args:
            name: the name of the setting.
            value: its value.
            is_local: whether the value ends with the transaction, instead of the session.
        """

    def setting(self, name: str) -> str | None:
        """Return the value of a setting of the session, or None if the setting does not exist."""

    def config_file(self) -> str:
        """Return the path of postgresql.conf."""

    def share_directory(self) -> str:
        """Return the directory of PostgreSQL's shared files, above ``extension``."""

    def is_read_only(self) -> bool:
        """Return whether this transaction cannot write; on a standby, no transaction can."""

    def is_parallel(self) -> bool:
        """Return whether this code runs in a parallel query, which cannot write."""

    def is_confidential(self) -> bool:
        """Return whether the client is connected over TLS or a Unix socket."""

    def log(self, message: str) -> None:
        """Write a line to the server's log, without the statement. A rollback does not remove the line."""

    def warn(self, message: str, hint: str) -> None:
        """Send the client a warning."""
