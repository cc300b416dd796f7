"""The secrets of the schema that ``create_vault_schema()`` makes, as in the extension Supabase Vault.

The table has the text ``pgkeymgr:`` and the base64 of a token. The token is bound to the random number of the
schema and to the id of the secret, so that no row opens as another one, or in another schema. It opens only
under a key of the family that the schema was made with, so that a role that can write the table cannot put a
secret under another key into it. The prefix marks a value that is encrypted: without it, a plaintext that
happens to be the base64 of a token, as some API keys are, could be taken for one.

Source: https://github.com/supabase/vault
"""

from __future__ import annotations

import binascii
from typing import Any
from uuid import UUID

from ..column.catalog import describe
from ..column.cell import Cells
from ..column.key_dependents import KeyDependents
from ..errors import DataError, Error
from ..key.cipher import read_header
from ..key.record import Record
from ..key.table import KeyTable
from ..key.token import to_text

_PREFIX = "pgkeymgr:"
_CONTEXT = b"vault.secrets"


def _associated_data(place: str, secret_id: str) -> bytes:
    """Return the place of a secret: two uuids of 16 bytes after the context."""
    return _CONTEXT + UUID(place).bytes + UUID(secret_id).bytes


def _token(secret: str) -> bytes | None:
    """Return the token in a text of the table, or None if there is none."""
    if not secret.startswith(_PREFIX):
        return None
    try:
        token = binascii.a2b_base64(secret[len(_PREFIX) :].encode("ascii"), strict_mode=True)
        read_header(token)
    except (ValueError, DataError):
        return None
    return token


class Vault:
    """The functions of the schema, for one session."""

    def __init__(self, cells: Cells, keys: KeyTable, key_dependents: KeyDependents) -> None:
        self._cells = cells
        self._keys = keys
        self._key_dependents = key_dependents
        self._database = keys.database

    def _vault_family(self, key: str) -> int:
        return self._keys.find(key).family

    def _vault_seal(self, family: int, place: str, id: str, secret: str, keep: bool) -> str:
        if keep and _token(secret) is not None:
            return secret
        cipher = self._cells.sealer(family, self._database.user())
        token = cipher.encrypt(secret.encode(), _associated_data(place, id))
        return _PREFIX + binascii.b2a_base64(token, newline=False).decode("ascii")

    def _vault_open(self, family: int, place: str, id: str, secret: str) -> str:
        token = _token(secret)
        if token is None:
            raise DataError(
                f"secret {id} is not encrypted by pgkeymgr", hint="It was stored while its trigger was disabled."
            )
        try:
            cipher = self._cells.opener(token, family, self._database.user(), whose="the schema")
            return to_text(cipher.decrypt(token, _associated_data(place, id)))
        except Error as error:
            error.message = f"secret {id}: {error.message}"
            raise

    def dependents_of(self, record: Record, *, is_final: bool = False) -> list[str]:
        """Return the tables of secrets that need a key.

        Args:
            record: the record of the key.
            is_final: whether the key is to be destroyed; see ``KeyDependents.dependents_of``.

        Returns:
            A phrase for each table: the reason why it needs the key.
        """

        def read() -> list[dict[str, Any]]:
            return self._database.execute(
                """
                SELECT t.tgrelid::bigint AS oid, t.tgrelid::regclass::text AS name
                FROM pg_trigger AS t
                WHERE t.tgfoid = to_regprocedure($1)
                    AND starts_with(encode(t.tgargs, 'escape'), $2 || E'\\\\000')
                ORDER BY t.tgrelid
                """,
                ("text", f"{self._database.schema}._vault_encrypt()"),
                ("text", str(record.family)),
            )

        found = []
        for row in self._database.as_owner(read):
            if record.superseded_by is None:
                found.append(f"table {row['name']} is written with it")
            elif self._may_have_values(record, row["oid"], is_final=is_final):
                found.append(f"table {row['name']} may have values under it")
        return found

    def _may_have_values(self, record: Record, oid: int, *, is_final: bool) -> bool:
        table = self._database.as_owner(lambda: describe(self._database, oid))
        if table is None:
            return False
        token = (
            f"CASE WHEN pg_catalog.starts_with(b.secret, '{_PREFIX}') THEN"
            f" pg_catalog.decode(pg_catalog.substr(b.secret, {len(_PREFIX) + 1}), 'base64') END"
        )
        return self._key_dependents.search(record, table, token, is_final) is not None
