"""Separates a column of a cloned database from the same column of the original.

A clone has the same column ids, data keys and root key as its original. So a ciphertext from the clone opens in
the original, if somebody copies it there. The function gives a column another id and a new version of its key, and
encrypts all values again, in one transaction and under a lock.
"""

from ..errors import KeyStateError
from ..key.arguments import refuse_null
from ..key.data_key import DataKeys
from ..key.table import TOKEN_KEY_TYPE, KeyTable
from .definition import Definition
from .encrypted_table import ColumnState
from .quoting import quote_name
from .relations import Relations
from .view import Views


class SeparateColumn:
    """The separation of clones, for one session."""

    def __init__(self, relations: Relations, views: Views, keys: KeyTable, data_keys: DataKeys) -> None:
        self._relations = relations
        self._views = views
        self._keys = keys
        self._data_keys = data_keys
        self._registry = relations.registry

    def separate_column(self, relation: str, column_name: str) -> int:
        """Give a column another id and a new version of its key, and encrypt its values again.

        The blind index keeps its key: ``drop_blind_index`` and ``add_blind_index`` give it another one.

        Args:
            relation: the view, or the base table.
            column_name: an encrypted column.

        Returns:
            The number of values.

        Raises:
            DataError: an argument is NULL.
            UndefinedError: the column is not encrypted.
            PrivilegeError: the current user does not own the table, or may not use the key.
            KeyStateError: one of the procedures has not finished with the column.
            UnsupportedError: Citus has distributed the table.
        """
        refuse_null(column_name=column_name)
        _, base = self._relations.lock_table(relation)
        table, column = self._relations.encrypted_column(relation, column_name)
        self._relations.refuse_distributed(base, f'separate column "{column_name}"')
        if column.state is not ColumnState.ENCRYPTED:
            raise KeyStateError(f'column "{column_name}" of {table.name} is {column.state}')
        record = self._keys.usable_current(column.family, TOKEN_KEY_TYPE, encrypt=True)
        record.check_usage(encrypt=False)
        self._relations.check_owners_key(self._keys, base, column, ("encrypt", "decrypt"))
        self._data_keys.supersede_data_key(record.id)
        for child in self._keys.children(record) if column.key_by else []:
            self._data_keys.supersede_data_key(child)
        definition = Definition(table, base, self._relations.database.schema)
        old_place = definition.place(column, "b")
        self._registry.renew_uuid(column)
        seal = "_seal_bytes"
        if column.deterministic or column.is_compressed:
            seal = "_seal_deterministic" if column.deterministic else "_seal_compressed"
        cipher = f"b.{quote_name(column.cipher)}"
        moved = (
            f"{definition.schema}.{seal}({definition.family(column, 'b')}, {definition.schema}._open_bytes("
            f"{cipher}, {old_place}, {column.family}), {definition.place(column, 'b')})"
        )
        with (
            self._relations.busy(base.oid),
            self._relations.without_triggers(base),
            self._relations.users_path(base),
        ):
            # The present functions would seal values for the old id of the column.
            for name in table.sealing_triggers:
                self._relations.run(base, f"ALTER TABLE {base.qualified} DISABLE TRIGGER {quote_name(name)}")
            count = self._relations.write(
                base,
                f"UPDATE {base.only} AS b SET {quote_name(column.cipher)} = {moved} WHERE {cipher} IS NOT NULL",
            )
            for name in table.sealing_triggers:
                self._relations.run(base, f"ALTER TABLE {base.qualified} ENABLE ALWAYS TRIGGER {quote_name(name)}")
            self._views.write(table)
        return count
