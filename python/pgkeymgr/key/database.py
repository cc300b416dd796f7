"""What the key table needs of the session that it is used in; ``session.py`` has the real one."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from ..root_key import RootKey
from .record import Record

Rows = list[dict[str, Any]]

_Result = TypeVar("_Result")


class Database(Protocol):
    """What the key table needs of the session it is used in."""

    schema: str
    """The extension's schema, quoted where it must be."""

    def user(self) -> int:
        """Return the OID of the current user."""

    def stamp(self) -> int:
        """Return a number that is another for each statement."""

    def transaction(self) -> int:
        """Return a number that is another for each transaction."""

    def subtransaction(self) -> int:
        """Return a number that is another for each subtransaction, in this transaction."""

    def command(self) -> int:
        """Return a number that is another after each command that has changed something, in this transaction."""

    def precedes_snapshots(self, xid: int) -> bool:
        """Return whether a committed transaction had certainly ended before any snapshot in use was taken.

        Args:
            xid: its number, as row versions have it.
        """

    def root_key(self) -> RootKey:
        """Return the root key.

        Raises:
            RootKeyError: there is none.
        """

    def reload_root_key(self) -> RootKey:
        """Get the root key again, and return it.

        Raises:
            RootKeyError: there is none.
        """

    def load_key(
        self, key_id: int, name: str, uuid: bytes, user: int, *, family: int = 0, with_wraps: bool
    ) -> Record | None:
        """Read the record of a key, as it is committed by now.

        Args:
            key_id: its id, or 0.
            name: its name, or an empty one.
            uuid: its uuid, 16 bytes, or zeros.
            user: for whom, an OID.
            family: its family, of which the current version is read, or 0.
            with_wraps: with its wraps besides the one under the root key; without the root key, always with them.

        Returns:
            The record, or None if there is no such key.
        """

    def is_key_watch_valid(self) -> bool:
        """Return whether PostgreSQL has reported no change of the key tables since ``renew_key_watch``."""

    def renew_key_watch(self) -> None:
        """Begin to watch for changes of the key tables again."""

    def invalidate_key_watches(self) -> None:
        """Report a change of the key tables: to all sessions at COMMIT, and to this one at once."""

    def may_have_missed_changes(self) -> bool:
        """Return whether other sessions may have committed since this one has last accepted invalidations."""

    def accept_invalidations(self) -> None:
        """Let this session notice the changes that other sessions have committed by now."""

    def is_member(self, roles: Sequence[int]) -> bool:
        """Return whether the current user has the privileges of all of some roles, given by their OIDs."""

    def as_owner(self, operation: Callable[[], _Result]) -> _Result:
        """Run an operation with the rights of the extension's owner, all of it or nothing.

        The search_path is pinned to pg_catalog, so that names of the catalog need not be qualified. The operation
        must touch no table but the extension's own, and call no code but PostgreSQL's and pgkeymgr's.
        """

    def read_as_owner(self, operation: Callable[[], _Result]) -> _Result:
        """Run an operation that only reads like ``as_owner``, seeing what is committed by now."""

    def acting_as(self, role: int, *, past_policies: bool = False) -> AbstractContextManager[None]:
        """Run a block with the rights of another role, in a security-restricted operation.

        A change of a setting ends with the block. The caller must have checked that the current user may use the
        rights of the role.

        Args:
            role: the role's OID.
            past_policies: FORCE ROW LEVEL SECURITY does not bind the role to the policies of its own tables.

        Returns:
            The context manager.
        """

    def execute(self, query: str, *arguments: tuple[str, Any]) -> Rows:
        """Run a query, {s} in it standing for the schema; to be used in ``as_owner`` only.

        Args:
            query: with $1 and so on for the arguments.
            arguments: type and value of each.

        Returns:
            The rows.
        """

    def query(self, query: str, *arguments: tuple[str, Any]) -> Rows:
        """Run a query with the rights of the current user; see ``execute``."""

    def run(self, statement: str) -> Rows:
        """Run a statement that names the caller's own objects, with the rights of the current user.

        Unlike ``query``, it takes the text as it is, and keeps no plan.
        """

    def parse(self, query: str) -> None:
        """Have a query parsed, and not run."""

    def write(self, statement: str, *arguments: tuple[str, Any]) -> int:
        """Run a statement like ``run``, with arguments like ``query``; return how many rows it wrote or found."""

    def query_unkept(self, query: str, *arguments: tuple[str, Any]) -> Rows:
        """Run a query like ``run``, with arguments like ``query``."""

    def can_query(self) -> bool:
        """Tell whether queries can be run now; in a parallel query they sometimes cannot."""

    def commit(self) -> None:
        """Commit, and begin the next transaction; it fails within ``as_owner`` or the caller's transaction."""

    def pause(self, seconds: float) -> None:
        """Wait."""

    def notice(self, message: str) -> None:
        """Tell the client something."""

    def mark_session(self, name: str, value: str, *, is_local: bool) -> None:
        """Set a setting that users cannot set, and that RESET ALL and DISCARD ALL reset.

        Args:
            name: the setting's.
            value: the value.
            is_local: until the transaction ends, not the session.
        """

    def setting(self, name: str) -> str | None:
        """Return a setting of the session, or None if there is none."""

    def config_file(self) -> str:
        """Return the path of postgresql.conf."""

    def share_directory(self) -> str:
        """Return the directory of PostgreSQL's shared files, above ``extension``."""

    def is_read_only(self) -> bool:
        """Tell whether this transaction cannot write, as none can on a standby."""

    def is_parallel(self) -> bool:
        """Return whether this is part of a parallel query, in which nothing can be written."""

    def is_confidential(self) -> bool:
        """Tell whether the client came over TLS or a Unix socket."""

    def log(self, message: str) -> None:
        """Write a line to the server's log, whatever becomes of the transaction; without the statement."""

    def warn(self, message: str, hint: str) -> None:
        """Send the client a warning."""
