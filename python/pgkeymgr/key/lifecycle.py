"""Lists superseded versions of keys with the columns that need them, and destroys those that nothing needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import ParameterError
from .arguments import refuse_null
from .data_key import DataKeys
from .record import Record
from .table import KeyTable


class Lifecycle:
    """The superseded versions of keys, for one session."""

    def __init__(
        self, table: KeyTable, data_keys: DataKeys, find_dependents: Callable[[Record, bool], list[str]]
    ) -> None:
        """Initialize the management of superseded versions.

        Args:
            table: the key table.
            data_keys: the management of data keys.
            find_dependents: returns descriptions of the objects that still need a key; see ``DataKeys``.
        """
        self._table = table
        self._database = table.database
        self._data_keys = data_keys
        self._find_dependents = find_dependents

    def superseded_data_keys(self, key: str | int | None) -> list[tuple[Any, ...]]:
        """Return the superseded versions that are not destroyed, with the objects that need them.

        Args:
            key: name or id of a key, or None for all keys.

        Returns:
            A tuple for each version: its id, its name, its state, its creation, the id and the creation of its
            successor, the time of its scheduled destruction or None, the kinds of its wraps, and phrases for what
            needs it.

        Raises:
            UndefinedError: there is no such key.
        """
        family = None if key is None else self._table.find(key).family
        rows = self._database.read_as_owner(
            lambda: self._database.execute(
                """
                SELECT
                    k.id, k.name, k.state::text AS state, k.created::text AS created, k.superseded_by,
                    (SELECT n.created::text FROM {s}.key AS n WHERE n.id = k.superseded_by) AS superseded_at,
                    k.destroy_after::text AS destroy_after,
                    ARRAY(
                        SELECT w.kind::text
                        FROM {s}.key_wrap AS w
                        WHERE w.key_id = k.id
                        GROUP BY w.kind
                        ORDER BY w.kind
                    ) AS wraps
                FROM {s}.key AS k
                WHERE k.superseded_by IS NOT NULL AND k.state <> 'destroyed' AND ($1 IS NULL OR k.family = $1)
                ORDER BY k.name, k.created, k.id
                """,
                ("integer", family),
            )
        )
        found = []
        for row in rows:
            record = self._table.lookup(row["id"])
            if record is not None:
                found.append((*row.values(), self._find_dependents(record, False)))
        return found

    def prune_data_keys(self, key: str | int, keep_versions: int, after: str | None) -> list[int]:
        """Schedule the destruction of superseded versions that no column needs.

        A notice names each version that stays because another transaction, or this one, has not ended.

        Args:
            key: name or id of a key. The keys for the values of a column that ``key_by`` names are pruned, too.
            keep_versions: the number of the newest versions that stay, with the current one.
            after: the text of the interval after which they are destroyed, or None to destroy them at once.

        Returns:
            The ids of the versions.

        Raises:
            DataError: an argument is NULL.
            UndefinedError: there is no such key.
            ParameterError: ``keep_versions`` is less than 1, or the interval is not positive.
            KeyStateError: the keys of this database are published, or made by another node.
        """
        refuse_null(keep_versions=keep_versions)
        if keep_versions < 1:
            raise ParameterError(f"keep_versions must be at least 1, not {keep_versions}")
        return self.prune_family(self._table.find(key).family, keep_versions, after)

    def prune_family(self, family: int, keep_versions: int, after: str | None) -> list[int]:
        """Do ``prune_data_keys`` for a key that is given by its family."""
        rows = self._database.read_as_owner(
            lambda: self._database.execute(
                """
                SELECT v.id
                FROM (
                    SELECT
                        k.*,
                        -- Ids do not tell which version is newer: several nodes give them.
                        row_number() OVER (
                            PARTITION BY k.family ORDER BY k.superseded_by IS NULL DESC, k.created DESC, k.id DESC
                        ) AS number
                    FROM {s}.key AS k
                    WHERE k.family = $1 OR (k.parent_family = $1 AND k.key_value IS NOT NULL)
                ) AS v
                WHERE v.number > $2
                    AND v.superseded_by IS NOT NULL
                    AND v.state <> 'destroyed'
                    AND v.destroy_after IS NULL
                ORDER BY v.created, v.id
                """,
                ("integer", family),
                ("integer", keep_versions),
            )
        )
        pruned = []
        for row in rows:
            record = self._table.lookup(row["id"])
            if record is None or self._find_dependents(record, False) or record.derivation_id is not None:
                continue
            self._data_keys.refuse_published(record)
            # Without a wait, a transaction that has not ended would keep all other versions from their turn.
            if reasons := self._find_dependents(record, True) or self._lock(record):
                self._database.notice(f"{record} stays for now: {'; '.join(reasons)}")
                continue
            if after is None:
                self._data_keys.erase(record, force=False)
            else:
                self._data_keys.schedule(record, after, force=False)
            pruned.append(record.id)
        return pruned

    def _lock(self, record: Record) -> list[str]:
        """Lock a version, unless another transaction has locked it; return the reason if that failed."""
        rows = self._database.as_owner(
            lambda: self._database.execute(
                """
                SELECT FROM {s}.key
                WHERE id = $1 AND superseded_by IS NOT NULL AND state <> 'destroyed' AND destroy_after IS NULL
                FOR UPDATE SKIP LOCKED
                """,
                ("integer", record.id),
            )
        )
        return [] if rows else ["another transaction has changed or locked it"]

    def due(self) -> list[int]:
        """Return the ids of the keys whose destruction is due."""
        rows = self._database.read_as_owner(
            lambda: self._database.execute(
                """
                SELECT id
                FROM {s}.key
                WHERE destroy_after <= clock_timestamp() AND state <> 'destroyed'
                ORDER BY destroy_after, id
                """
            )
        )
        return [row["id"] for row in rows]

    def destroy_due(self, key_id: int) -> None:
        """Destroy a key whose destruction is due.

        Raises:
            Error: the key is still needed, and its destruction was not forced.
        """
        rows = self._database.read_as_owner(
            lambda: self._database.execute(
                "SELECT destroy_is_forced AS is_forced FROM {s}.key WHERE id = $1 AND destroy_after IS NOT NULL",
                ("integer", key_id),
            )
        )
        record = self._table.lookup(key_id)
        # Another call may have destroyed it, and another session may have cancelled it.
        if rows and record is not None:
            self._data_keys.destroy(record, force=rows[0]["is_forced"])
