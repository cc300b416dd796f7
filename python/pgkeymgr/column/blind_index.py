"""Blind indexes: keyed hashes of plaintexts, which are equal where the plaintexts are, and say nothing else.

BLAKE2b with a digest of 16 bytes, keyed with a sub-key of the blind index's own data key (BLAKE2b of the data key with
a personalization that nothing else has), over the UTF-8 of the normalized text. Without the key, not even a guess can be
checked; with it, whoever may encrypt or decrypt under the column's key can check guesses, and so search.
"""

from hashlib import blake2b

from ..errors import DataError, UndefinedError
from ..key.table import TOKEN_KEY_TYPE, KeyTable
from .columns import Columns
from .definition import DECRYPTING, place_prefix
from .forms import BYTES
from .normalization import normalized

DIGEST_BYTES = 16
_PERSON = b"pgkeymgrblindidx"
_SUBKEY_BYTES = 64


def subkey(secret: bytes) -> bytes:
    """Derive what a blind index is keyed with.

    Args:
        secret: the data key, 16 to 64 bytes.

    Returns:
        64 bytes.
    """
    return blake2b(digest_size=_SUBKEY_BYTES, key=secret, person=_PERSON).digest()


def digest(key: bytes, text: str) -> bytes:
    """Return the blind index of a text.

    Args:
        key: of ``subkey``.
        text: normalized.

    Returns:
        16 bytes.
    """
    return blake2b(text.encode(), digest_size=DIGEST_BYTES, key=key).digest()


class BlindIndexes:
    """The blind indexes of a database, for one session."""

    def __init__(self, columns: Columns, keys: KeyTable) -> None:
        self._columns = columns
        self._keys = keys
        self._database = keys.database
        self._checked = keys.keyring.blinders

    def _blind(self, key_id: int, normalize: str, value: str) -> bytes:
        """Return the blind index of a value.

        Args:
            key_id: the key's.
            normalize: ``none``, ``casefold`` or ``digits``.
            value: its canonical text.

        Returns:
            16 bytes.

        Raises:
            PrivilegeError: the current user may neither encrypt nor decrypt with the column's key.
        """
        user = self._database.user()
        known = self._checked.get((key_id, user))
        if known and known[0] == self._database.stamp():
            key = known[1]
        else:
            record = self._keys.find(key_id)
            record.check_usage(encrypt=not record.may_decrypt)
            record.check_state()
            key = subkey(self._keys.keyring.secret(record, self._keys.unlock))
            self._keys.remember(self._checked, (key_id, user), key)
        if normalize != "none":
            value = normalized(value, normalize)
        return digest(key, value)

    def blind_index(self, relation: str, column_name: str, value: str | None) -> bytes | None:
        """Return what a value has in the blind index of a column.

        Args:
            relation: the view, or the base table.
            column_name: the encrypted column.
            value: as text of the column's type; None gives None.

        Returns:
            16 bytes.

        Raises:
            UndefinedError: the column has no blind index.
            PrivilegeError: the current user may neither encrypt nor decrypt with the column's key.
        """
        if value is None:
            return None
        _, column = self._columns.encrypted_column(relation, column_name)
        if column.blind_key is None:
            raise UndefinedError(
                f'column "{column_name}" of {relation} has no blind index', hint="add_blind_index() makes one."
            )
        if not column.form.is_text:
            canonical = column.form.canonical(f"$1::pg_catalog.text::{column.type}", self._database.schema)
            value = self._converted(f"SELECT {canonical} AS value", value)
        return self._blind(column.blind_key, column.normalization or "none", value)

    def deterministic_tokens(self, relation: str, column_name: str, value: str | None) -> list[bytes] | None:
        """Return the ciphertexts that a value can have in a deterministic column.

        Args:
            relation: the view, or the base table.
            column_name: a deterministic column.
            value: as text of the column's type; None gives None.

        Returns:
            One for each version of the key that decrypts, newest first.

        Raises:
            DataError: the column is not deterministic, or has keys by another column.
            PrivilegeError: the current user may not encrypt with the key.
        """
        if value is None:
            return None
        _, column = self._columns.encrypted_column(relation, column_name)
        if not column.deterministic or column.key_by:
            raise DataError(f'column "{column_name}" of {relation} is not deterministic under one key')
        if column.state == DECRYPTING:
            raise DataError(f'column "{column_name}" of {relation} is being decrypted')
        if not column.form.is_text:
            encoded = column.form.encoded(f"$1::pg_catalog.text::{column.type}", self._database.schema)
            if column.form.kind == BYTES:
                encoded = f"pg_catalog.encode({encoded}, 'hex')"
            value = self._converted(f"SELECT {encoded} AS value", value)
        plaintext = bytes.fromhex(value) if column.form.kind == BYTES else value.encode()
        current = self._keys.usable(column.key, TOKEN_KEY_TYPE, encrypt=True)
        versions = self._database.as_owner(
            lambda: self._database.execute(
                "SELECT id FROM {s}.key WHERE family OPERATOR(pg_catalog.=) $1 AND state = 'enabled'"
                " ORDER BY id DESC",
                ("integer", current.family),
            )
        )
        tokens = []
        for row in versions:
            record = self._keys.usable(row["id"], TOKEN_KEY_TYPE, encrypt=True)
            tokens.append(self._keys.cipher(record).encrypt_deterministic(plaintext, place_prefix(column.uuid)))
        return tokens

    def _converted(self, query: str, value: str) -> str:
        (row,) = self._database.query_unkept(query, ("text", value))
        return str(row["value"])
