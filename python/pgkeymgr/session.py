"""The session that this process serves: queries, the key table's records, the rights of the extension's owner."""

from collections.abc import Callable
from typing import Any

import plpy

from . import server, session_root_key
from .errors import PrivilegeError
from .key.keyring import Record
from .root_key import RootKey


class _Operation:
    """Something to be run with the rights of the extension's owner, and what came of it."""

    def __init__(self, operation: Callable[[], Any]) -> None:
        self.operation = operation
        self.result: Any = None
        self.error: Exception | None = None


class Session:
    """What the server lets this session do; ``pgkeymgr.key.database.Database`` tells more of each method."""

    # Each is called for each row: C functions, which take no self.
    user = server.user_id
    stamp = server.statement_stamp
    transaction = server.transaction_stamp
    latest_snapshot = staticmethod(server.latest_snapshot)
    subtransaction = server.subtransaction_id
    command = staticmethod(server.command_id)

    def __init__(self, schema: str) -> None:
        self.schema = schema
        self._plans: dict[str, Any] = {}
        self._pending: list[_Operation] = []
        self._taken: Record | None = None

    def root_key(self) -> RootKey:
        """Return the root key."""
        return session_root_key.get()

    def reload_root_key(self) -> RootKey:
        """Get the root key again."""
        return session_root_key.load()

    def is_read_only(self) -> bool:
        """Tell whether this transaction cannot write."""
        return server.setting("transaction_read_only") == "on"

    def is_confidential(self) -> bool:
        """Tell whether the client came over TLS or a Unix socket."""
        # As the owner: after SET ROLE, pg_stat_ssl may not tell this session's own row.
        (row,) = self.as_owner(
            lambda: self.execute(
                "SELECT pg_catalog.inet_client_addr() IS NULL OR EXISTS (SELECT FROM pg_catalog.pg_stat_ssl"
                " WHERE pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() AND ssl) AS is_confidential"
            )
        )
        return bool(row["is_confidential"])

    def log(self, message: str) -> None:
        """Write to the server's log."""
        plpy.log(f"pgkeymgr: {message}")

    def warn(self, message: str, hint: str) -> None:
        """Send the client a warning."""
        plpy.warning(f"pgkeymgr: {message}", hint=hint)

    def execute(self, query: str, *arguments: tuple[str, Any]) -> list[dict[str, Any]]:
        """Run a query, with a plan that is kept."""
        plan = self._plans.get(query)
        if plan is None:
            types = [type_ for type_, _ in arguments]
            plan = self._plans[query] = plpy.prepare(query.replace("{s}", self.schema), types)
        return list(plpy.execute(plan, [value for _, value in arguments]))

    query = execute

    def run(self, statement: str) -> list[dict[str, Any]]:
        """Run a statement as it is."""
        return list(plpy.execute(statement))

    def parse(self, query: str) -> None:
        """Have a query parsed, and not run."""
        plpy.prepare(query)

    def write(self, statement: str, *arguments: tuple[str, Any]) -> int:
        """Run a statement; return how many rows it wrote or found."""
        if not arguments:
            return int(plpy.execute(statement).nrows())
        plan = plpy.prepare(statement, [type_ for type_, _ in arguments])
        return int(plpy.execute(plan, [value for _, value in arguments]).nrows())

    def query_unkept(self, query: str, *arguments: tuple[str, Any]) -> list[dict[str, Any]]:
        """Run a query as it is, with arguments."""
        plan = plpy.prepare(query, [type_ for type_, _ in arguments])
        return list(plpy.execute(plan, [value for _, value in arguments]))

    def can_query(self) -> bool:
        """Tell whether queries can be run now."""
        return not server.refuses_subtransactions()

    def commit(self) -> None:
        """Commit, and begin the next transaction."""
        plpy.commit()

    def pause(self, seconds: float) -> None:
        """Wait."""
        self.execute("SELECT pg_catalog.pg_sleep($1)", ("double precision", seconds))

    def notice(self, message: str) -> None:
        """Tell the client something."""
        plpy.notice(f"pgkeymgr: {message}")

    def setting(self, name: str) -> str | None:
        """Return a setting of the session."""
        return server.setting(name)

    def mark_session(self, name: str, value: str, *, is_local: bool) -> None:
        """Set a setting that users cannot set."""
        server.define_superuser_setting(name, "set by pgkeymgr; ends what a session has unlocked")
        self.as_owner(
            lambda: self.execute(
                "SELECT pg_catalog.set_config($1, $2, $3)", ("text", name), ("text", value), ("boolean", is_local)
            )
        )

    def load_key(self, key_id: int, name: str, uuid: bytes, user: int, *, with_wraps: bool) -> Record | None:
        """Read the record of a key, as it is committed by now."""
        self._taken = None
        if server.refuses_subtransactions():
            server.call_load_key(self.schema.strip('"'), key_id, name, uuid, user, with_wraps)
        elif server.has_old_snapshot():
            self.execute(
                "SELECT {s}._load_latest_key($1, $2, $3, $4, $5)",
                ("integer", key_id),
                ("text", name),
                ("text", uuid.hex()),
                ("oid", user),
                ("boolean", with_wraps),
            )
        else:
            self._load_key(key_id, name, uuid.hex(), user, with_wraps)
        return self._taken

    def _load_key(self, key_id: int, name: str, uuid: str, user: int, with_wraps: bool) -> None:
        self.execute(
            "SELECT {s}._load_key($1, $2, $3, $4, $5)",
            ("integer", key_id),
            ("text", name),
            ("uuid", uuid),
            ("oid", user),
            ("boolean", with_wraps),
        )

    def _load_latest_key(self, key_id: int, name: str, uuid: str, user: int, with_wraps: bool) -> None:
        with server.latest_snapshot():
            self._load_key(key_id, name, uuid, user, with_wraps)

    def _take_key(self, fields: list[Any]) -> bool:
        self._taken = Record(*fields)
        return True

    def as_owner(self, operation: Callable[[], Any]) -> Any:
        """Run something with the rights of the extension's owner."""
        pending = _Operation(operation)
        self._pending.append(pending)
        try:
            self.execute("SELECT {s}._as_owner()")
        except plpy.SPIError:
            # PL/Python made an SQL error of it on the way out of _as_owner.
            if pending.error is not None:
                raise pending.error from None
            raise
        finally:
            if pending in self._pending:
                self._pending.remove(pending)
        return pending.result

    def _as_owner(self) -> None:
        if not self._pending:
            raise PrivilegeError("_as_owner() is for the functions of pgkeymgr only")
        pending = self._pending.pop()
        try:
            pending.result = pending.operation()
        except Exception as error:
            pending.error = error
            raise
