"""The audit trail: a chain of hashed events, which name the action, the key, the role and the client.

The hash of an event is SHA-256 of the hash before it and of the fields of the event. Each field is one byte (0
for NULL, 1 for a value) and, for a value, its length in 4 bytes (big-endian) and its UTF-8. So no two events have
the same input. The first event follows 32 zero bytes. An attacker who changes, removes or inserts an event has to
compute all later hashes again, and a hash that was noted elsewhere reveals that.

An event is part of the transaction that it describes, and is linked to the chain when the transaction commits. A
failed unlock ends in an error, which undoes the writes of the transaction. So the failure is written to the
server's log at once, and stays in the session's memory until a later transaction has found it in the table. The
same holds for each event that reveals a secret, or grants the use of a secret: an export, a grant, an unlock and
so on. The user may roll the transaction back after the secret was of use, and may end the session. The log is
decisive in that case: it has the line before the secret is returned.
"""

from __future__ import annotations

from collections import Counter

from ..errors import ParameterError, UnsupportedError
from .shared_names import valid_name

TYPE_CHECKING = False  # see key/named_tuple.py
if TYPE_CHECKING:
    from typing import Any

    from .database import Database

HASH_BYTES = 32
_START = bytes(HASH_BYTES)
_BATCH = 10000
_FIRST = -(2**63)
_PENDING_MAX = 1000
_NOT_WRITTEN = (0, 0)
_REVEALED_MAX = 100
"""The maximum of secrets that the trail lists for a role in one transaction: a function may reveal one per row."""
_REMEMBERED_MAX = 10000
"""The maximum of revealed secrets that are remembered, so that the log has each of them once."""
_FIELDS = ("link", "id", "at", "event", "key_id", "key_name", "role", "session_role", "client", "detail")
_SELECT = """
    SELECT
        link::text AS link, id::text AS id,
        to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US') AS at, event, key_id::text AS key_id,
        key_name, role, session_role, client, detail, hash
    FROM {s}.key_event
"""
_UNLINKED = f"{_SELECT} WHERE hash IS NULL ORDER BY key_event.at, key_event.id"
_LINKED = f"{_SELECT} WHERE key_event.link > $1 ORDER BY key_event.link LIMIT $2::int8"


def event_hash(previous: bytes, event: dict[str, str | None]) -> bytes:
    """Return the hash of an event.

    Args:
        previous: the hash of the event before it, 32 bytes; zeros for the first.
        event: the fields of the event as text; see ``_FIELDS``.

    Returns:
        32 bytes.
    """
    packed = [previous]
    for field in _FIELDS:
        text = event[field]
        if text is None:
            packed.append(b"\0")
        else:
            encoded = text.encode()
            packed.append(b"\1" + len(encoded).to_bytes(4, "big") + encoded)
    from hashlib import sha256  # It loads OpenSSL, which no session needs that only reads.

    return sha256(b"".join(packed)).digest()


class Audit:
    """The audit trail, for one session."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pending: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {}
        self._revealed: set[tuple[str, int, int | None, str | None]] = set()
        self._revealed_count: Counter[int] = Counter()
        self._revealed_in = 0
        self._failure_count = 0
        self._linked_in: tuple[int, int] | None = None

    def record(
        self,
        event: str,
        key_id: int | None,
        key_name: str | None,
        detail: str | None = None,
        *,
        even_if_undone: bool = False,
    ) -> None:
        """Write an event of the current user; outside ``Database.as_owner``.

        Args:
            event: the action.
            key_id: the key's id, or None.
            key_name: the key's name, or None.
            detail: further details, without secrets.
            even_if_undone: whether to write the event to the log, too, and again to the trail if the transaction
                is rolled back or read-only: a rollback does not undo that somebody has seen a secret.
        """
        fields = self._fields(event, key_id, key_name, detail)
        # A standby, where keys are unlocked too, has the log only, until it is promoted.
        is_read_only = self._database.is_read_only()
        if even_if_undone or is_read_only:
            self._database.log(_describe(fields))
        if is_read_only:
            if even_if_undone:
                self._keep(_NOT_WRITTEN, fields)
            return
        self.flush()
        self._database.as_owner(lambda: self._insert(fields))
        if even_if_undone:
            self._keep(self._where(), fields)

    def reveal(self, event: str, key_id: int | None, key_name: str | None, detail: str | None = None) -> None:
        """Record that a function which is called for each row reveals a secret.

        The event is recorded once in a transaction for each role and secret. After 100 secrets of a role, one
        event of the trail stands for the rest, which the log lists. In a parallel query, the log alone has the
        event.

        Args:
            event: the action.
            key_id: the key's id, or None.
            key_name: the key's name, or None.
            detail: further details, without secrets; they distinguish the secrets of one key.
        """
        transaction, user = self._database.transaction(), self._database.user()
        if self._revealed_in != transaction:
            self._revealed_in = transaction
            self._revealed.clear()
            self._revealed_count.clear()
        which = event, user, key_id, detail
        if which in self._revealed:
            return
        if len(self._revealed) >= _REMEMBERED_MAX:
            self._revealed.clear()  # the log then has some events twice
        self._revealed.add(which)
        self._revealed_count[user] += 1
        count = self._revealed_count[user]
        is_parallel = self._database.is_parallel()
        if is_parallel or count > _REVEALED_MAX:
            described = _describe_what(event, key_id, key_name)
            where = " in a parallel query" if is_parallel else ""
            self._database.log(f"{described} by the role with OID {user}{where} ({detail})")
            if is_parallel or count > _REVEALED_MAX + 1:
                return
            key_id, key_name = None, None
            detail = f"more than {_REVEALED_MAX} secrets in one transaction: the server's log lists the rest"
        self.record(event, key_id, key_name, detail, even_if_undone=True)

    def record_failure(self, event: str, key_id: int | None, key_name: str | None) -> None:
        """Write a failed unlock to the log, and keep it for the trail.

        Args:
            event: the action that failed.
            key_id: the key's id, or None.
            key_name: the key's name, or None.
        """
        self._failure_count += 1
        fields = self._fields(event, key_id, key_name, f"attempt {self._failure_count} of this session")
        self._database.log(_describe(fields))
        self._keep(_NOT_WRITTEN, fields)

    def flush(self) -> None:
        """Write the events that no committed transaction has written, if this transaction can write."""
        if self._pending and not self._database.is_read_only():
            where = self._where()
            self._database.as_owner(lambda: self._write_pending(where))

    def _where(self) -> tuple[int, int]:
        """Return the numbers of the present transaction and subtransaction."""
        return self._database.transaction(), self._database.subtransaction()

    def _keep(self, written_in: tuple[int, int], fields: dict[str, Any]) -> None:
        if len(self._pending) >= _PENDING_MAX:
            del self._pending[next(iter(self._pending))]  # this session cannot write; the log has the event
        self._pending[fields["id"]] = (written_in, fields)

    def _fields(self, event: str, key_id: int | None, key_name: str | None, detail: str | None) -> dict[str, Any]:
        from uuid import uuid4  # the import is slow

        user = self._database.user()

        def read() -> dict[str, Any]:
            (row,) = self._database.execute(
                f"""
                SELECT
                    to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS at,
                    coalesce((SELECT {valid_name("rolname")} FROM pg_roles WHERE oid = $1), $1::text) AS role,
                    {valid_name("session_user")} AS session_role,
                    coalesce(host(inet_client_addr()) || ':' || inet_client_port()::text, '[local]') AS client
                """,  # noqa: S608  # our own names
                ("oid", user),
            )
            return row

        return {
            "id": str(uuid4()),
            "event": event,
            "key_id": key_id,
            "key_name": key_name,
            "detail": detail,
            **self._database.as_owner(read),
        }

    def _insert(self, fields: dict[str, Any]) -> None:
        self._linked_in = None
        self._database.execute(
            """
            INSERT INTO {s}.key_event (id, at, event, key_id, key_name, role, session_role, client, detail)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
            """,
            ("uuid", fields["id"]),
            ("timestamptz", fields["at"]),
            ("text", fields["event"]),
            ("integer", fields["key_id"]),
            ("text", fields["key_name"]),
            ("text", fields["role"]),
            ("text", fields["session_role"]),
            ("text", fields["client"]),
            ("text", fields["detail"]),
        )

    def _write_pending(self, where: tuple[int, int]) -> None:
        # An event is forgotten when a later transaction sees it: its own transaction may still be undone.
        for which, (written_in, fields) in list(self._pending.items()):
            if written_in == where:
                continue  # one transaction may reveal many secrets: no query for each
            if self._database.execute("SELECT FROM {s}.key_event WHERE id = $1", ("uuid", which)):
                if written_in[0] != where[0]:
                    del self._pending[which]
            else:
                self._insert(fields)
                self._pending[which] = (where, fields)

    def _link_key_events(self) -> None:
        # The trigger of a transaction's first event links all its events. The query below would read all of them
        # again for each of the others. In another subtransaction, the links may have been undone.
        where = self._where()
        if self._linked_in == where:
            return
        execute = self._database.execute
        events = execute(_UNLINKED)
        if events:
            self._link(events)
        self._linked_in = where

    def _link(self, events: list[dict[str, Any]]) -> None:
        execute = self._database.execute
        execute("LOCK TABLE {s}.key_event_turn IN EXCLUSIVE MODE")
        # Other sessions may have linked events since this transaction began.
        last = self._database.read_as_owner(
            lambda: execute(
                """
                SELECT link, hash
                FROM {s}.key_event
                WHERE link IS NOT NULL
                ORDER BY link DESC
                LIMIT 1
                """
            )
        )
        link, previous = (last[0]["link"], last[0]["hash"]) if last else (0, _START)
        for event in events:
            link += 1
            event["link"] = str(link)
            previous = event_hash(previous, event)
            execute(
                "UPDATE {s}.key_event SET link = $2, hash = $3 WHERE id = $1",
                ("uuid", event["id"]),
                ("bigint", link),
                ("bytea", previous),
            )

    def verify_key_events(
        self, known_link: int | None, known_hash: bytes | None
    ) -> tuple[int, int | None, str | None, bytes | None]:
        """Check the chain.

        Args:
            known_link: a link whose hash was noted elsewhere, or None.
            known_hash: the noted hash, 32 bytes.

        Returns:
            The number of events, the first broken link and its fault, both None if the chain is intact, and the
            hash of the last intact event, 32 bytes, or None if there is no such event.

        Raises:
            ParameterError: only one of the two arguments was given.
        """
        if (known_link is None) != (known_hash is None):
            raise ParameterError("known_link and known_hash go together")
        (count,) = self._database.as_owner(
            lambda: self._database.execute("SELECT count(*) AS events FROM {s}.key_event")
        )
        link, previous, after = 0, _START, _FIRST
        while True:
            events = self._database.as_owner(lambda start=after: self._read_after(start))  # type: ignore[misc]
            for event in events:
                expected = link + 1
                if int(event["link"]) != expected:
                    return count["events"], expected, "the event is missing", _seen(link, previous)
                found = event_hash(previous, event)
                if found != event["hash"]:
                    return count["events"], expected, "the event was changed", _seen(link, previous)
                if expected == known_link and found != known_hash:
                    return count["events"], expected, "the hash is not the known one", _seen(link, previous)
                link, previous, after = expected, found, expected
            if len(events) < _BATCH:
                break
        if known_link is not None and known_link > link:
            return count["events"], link + 1, "the event is missing", _seen(link, previous)
        return count["events"], None, None, _seen(link, previous)

    def checkpoint_key_events(self) -> str:
        """Have the agent sign a checkpoint of the trail.

        Returns:
            The checkpoint, a line of JSON; see ``pgkeymgr.agent.checkpoint``.

        Raises:
            UnsupportedError: no agent has the root key, or this transaction has written something.
            AgentError: the agent has no file for checkpoints, or could not write it.
        """

        def read() -> list[dict[str, Any]]:
            return self._database.execute(
                """
                SELECT s.system_identifier::text AS system, current_database()::text AS database,
                    pg_current_xact_id_if_assigned() IS NOT NULL AS has_written,
                    coalesce(e.link, 0) AS link, e.hash
                FROM pg_control_system() AS s
                LEFT JOIN (
                    SELECT link, hash FROM {s}.key_event WHERE link IS NOT NULL ORDER BY link DESC LIMIT 1
                ) AS e ON true
                """
            )

        (head,) = self._database.read_as_owner(read)
        if head["has_written"]:
            # SET CONSTRAINTS can have linked its events, which a rollback would undo.
            raise UnsupportedError(
                "cannot make a checkpoint in a transaction that has written something",
                hint="Call checkpoint_key_events() in a transaction of its own.",
            )
        system = int(head["system"]) % 2**64
        return self._database.root_key().checkpoint(
            system, head["database"], head["link"], head["hash"] or bytes(HASH_BYTES)
        )

    def _read_after(self, link: int) -> list[dict[str, Any]]:
        return self._database.execute(_LINKED, ("bigint", link), ("integer", _BATCH))


def _seen(link: int, previous: bytes) -> bytes | None:
    return previous if link else None


def _describe(fields: dict[str, Any]) -> str:
    described = _describe_what(fields["event"], fields["key_id"], fields["key_name"])
    detail = "" if fields["detail"] is None else f" ({fields['detail']})"
    return f"{described} by {fields['role']} from {fields['client']}{detail}"


def _describe_what(event: str, key_id: int | None, key_name: str | None) -> str:
    key = "" if key_id is None else f" key {key_id}"
    return event + key + ("" if key_name is None else f' "{key_name}"')
