"""Computes the tokens by which queries search in deterministic columns."""

from ..errors import DataError
from ..key.table import TOKEN_KEY_TYPE, KeyTable
from .encrypted_table import ColumnState
from .forms import BYTES
from .place import place_prefix
from .relations import Relations


class Deterministic:
    """The deterministic columns of a database, for one session."""

    def __init__(self, relations: Relations, keys: KeyTable) -> None:
        self._relations = relations
        self._keys = keys
        self._database = relations.database

    def deterministic_tokens(self, relation: str, column_name: str, value: str | None) -> list[bytes] | None:
        """Return the ciphertexts that a value can have in a deterministic column.

        Args:
            relation: the view, or the base table.
            column_name: a deterministic column.
            value: the text of a value of the column's type; None gives None.

        Returns:
            One for each version of the key that decrypts, newest first.

        Raises:
            DataError: the column is not deterministic, or has keys by another column.
            PrivilegeError: the current user may not encrypt with the key, or neither search nor decrypt.
        """
        if value is None:
            return None
        _, column = self._relations.encrypted_column(relation, column_name)
        if not column.deterministic or column.key_by:
            raise DataError(f'column "{column_name}" of {relation} is not deterministic under one key')
        if column.state is ColumnState.DECRYPTING:
            raise DataError(f'column "{column_name}" of {relation} is being decrypted')
        if not column.form.is_text:
            encoded = column.form.encoded(f"$1::pg_catalog.text::{column.sql_type}", self._database.schema)
            if column.form.kind == BYTES:
                encoded = f"pg_catalog.encode({encoded}, 'hex')"
            value = self._relations.converted(encoded, value, column.type)
        plaintext = bytes.fromhex(value) if column.form.kind == BYTES else value.encode()
        current = self._keys.usable_current(
            column.family, TOKEN_KEY_TYPE, encrypt=True, with_wraps=False, for_search=True
        )
        current.check_search()
        versions = self._database.read_as_owner(
            lambda: self._database.execute(
                "SELECT id FROM {s}.key WHERE family = $1 AND state = 'enabled'"
                " ORDER BY superseded_by IS NULL DESC, created DESC",
                ("integer", column.family),
            )
        )
        tokens = []
        for row in versions:
            record = self._keys.check_usable(
                self._keys.lookup(row["id"], with_wraps=False),
                row["id"],
                TOKEN_KEY_TYPE,
                encrypt=True,
                for_search=True,
            )
            tokens.append(self._keys.cipher(record).encrypt_deterministic(plaintext, place_prefix(column.uuid)))
        return tokens
