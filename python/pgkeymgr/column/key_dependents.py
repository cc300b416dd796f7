"""Finds the encrypted columns that need a key, before the key is destroyed."""

from ..key.database import Rows
from ..key.record import Record
from ..key.table import KeyTable
from .catalog import Table, describe
from .quoting import quote_name
from .relations import Relations
from .server_errors import is_intervention
from .unregistered import UnregisteredTable, possible_copies


class KeyDependents:
    """The encrypted columns that need keys, for one session."""

    def __init__(self, relations: Relations, keys: KeyTable) -> None:
        self._relations = relations
        self._keys = keys
        self._database = relations.database
        self._registry = relations.registry

    def dependents_of(self, record: Record, *, is_final: bool = False) -> list[str]:
        """Return the encrypted columns that need a key.

        Args:
            record: the record of the key.
            is_final: whether the key is to be destroyed: values that others have written count, too, although they
                have not committed yet.

        Returns:
            A phrase for each: columns that are written with this version, that have values under it, whose blind
            index is made with it, or of which that cannot be found out.
        """
        columns = self._database.as_owner(
            lambda: self._database.execute(
                "SELECT r.id, r.name::text AS relation, r.base::oid::bigint AS base, r.base_name,"
                " r.dropped IS NOT NULL AS is_dropped, c.column_name::text AS name,"
                " c.cipher_column::text AS cipher, c.key_family AS family,"
                " c.blind_key = $2 OR t.column_id IS NOT NULL AS is_of_index"
                " FROM {s}.encrypted_column AS c JOIN {s}.encrypted_relation AS r"
                " ON r.id = c.relation_id"
                " LEFT JOIN {s}.encrypted_terms AS t ON t.column_id = c.id"
                " AND t.terms_key = $2"
                " WHERE c.key_family = $1 OR c.blind_key = $2"
                " OR t.column_id IS NOT NULL"
                " OR (c.key_by IS NOT NULL AND c.key_family = $3)"
                " ORDER BY r.dropped IS NOT NULL, c.id",
                ("integer", record.family),
                ("integer", record.id),
                ("integer", record.parent_family),
            )
        )
        found = []
        for row in columns:
            called = f'column "{row["name"]}" of {row["relation"]}'
            if row["is_dropped"]:
                # A copy of the table can be in its place, or in a backup.
                found.append(
                    f"{called}, whose table {row['base_name']} was dropped"
                    f" (SELECT {self._database.schema}.forget_dropped_table({row['id']}) gives up its copies)"
                )
            elif row["is_of_index"]:
                found.append(f"the blind index of {called}")
            elif row["family"] == record.family and record.superseded_by is None:
                found.append(f"{called} is written with it")
            elif (phrase := self._values_under(record, row["base"], row["cipher"], is_final)) is not None:
                found.append(f"{called} {phrase}")
        for table in possible_copies(self._database, lambda role: self._keys.is_known_to(role, record.id)):
            if (phrase := self._tokens_under(record, table, is_final)) is not None:
                reader = f", which view {table.view} reads," if table.view else ","
                found.append(f'{table}{reader} which is not registered, {phrase} in "{table.cipher}"')
        return found

    def _tokens_under(self, record: Record, table: UnregisteredTable, is_final: bool) -> str | None:
        """Return a phrase if a table that is not registered has tokens under a key, or if nobody can look."""
        base = self._database.as_owner(lambda: describe(self._database, table.oid))
        if base is None:
            return None
        return self.search(record, base, f"b.{quote_name(table.cipher)}", is_final)

    def _values_under(self, record: Record, oid: int, cipher: str, is_final: bool) -> str | None:
        """Return a phrase if a table has values under a key, or if that cannot be found out."""
        # This reads the catalog only, since the role that destroys a key may have no right to the table.
        base = self._database.as_owner(lambda: describe(self._database, oid))
        if base is None:
            return "could not be looked at: its table does not exist here"
        table = self._registry.find(oid)
        fault = f"{base} is not registered" if table is None else self._relations.fault(table, base)
        if fault is not None:
            return f"could not be looked at: {fault}"
        return self.search(record, base, f"b.{quote_name(cipher)}", is_final)

    def search(self, record: Record, base: Table, token: str, is_final: bool) -> str | None:
        """Return a phrase if a table has tokens under a key, or if that cannot be found out.

        Args:
            record: the record of the key.
            base: the table.
            token: the expression for the token of a row ``b``.
            is_final: see ``dependents_of``.
        """
        if is_final:
            if self._keys.maker.has_superseded_now(record):
                return "is written with it by others until this transaction ends"
            if not self._relations.wait_for_writers(base):
                return "is being written by a transaction that has not ended"

        def search() -> Rows:
            with self._relations.owners_rights(base, all_rows=True):
                return self._database.run(
                    f"SELECT FROM {base.only} AS b WHERE pg_catalog.substr({token}, 2, 4)"
                    f" OPERATOR(pg_catalog.=) pg_catalog.int4send({record.id}) LIMIT 1"
                )

        try:
            # The snapshot of a transaction with REPEATABLE READ could miss values that are committed.
            rows = self._database.read_as_owner(search)
        except Exception as error:
            if is_intervention(error):
                raise
            return "could not be looked at"
        return "has values under it" if rows else None
