"""The values of encrypted columns, sealed for their places and opened: what views and triggers call for each."""

from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import DataError, DuplicateKeyError, Error, KeyStateError, UndefinedError
from ..key.cipher import CIPHERTEXT_START, HEADER_BYTES
from ..key.table import TOKEN_KEY_TYPE, KeyTable
from ..key.token import Tokens, to_text
from .place import PLACE_PREFIX_BYTES, place_prefix

if TYPE_CHECKING:
    from ..key.database import Database


class Cells:
    """The values of encrypted columns, for one session."""

    def __init__(self, tokens: Tokens, keys: KeyTable) -> None:
        self._tokens = tokens
        self._keys = keys
        self._database: Database = keys.database
        self._keyring = keys.keyring
        self._user = keys.database.user
        self._stamp = keys.database.stamp

    def _open_bytes(self, token: bytes, place: bytes) -> bytes:
        """Decrypt a value.

        Args:
            token: its ciphertext.
            place: the column and the row that it is bound to.

        Returns:
            The value.

        Raises:
            DataError: it does not open; the message names table, column and row.
            PrivilegeError: the current user may not decrypt with its key.
        """
        try:
            return self._tokens.decryptor(token).decrypt(token, place)
        except (DataError, UndefinedError) as error:
            raise self._explain(error, place) from None

    def _open_text(self, token: bytes, place: bytes) -> str:
        """Decrypt a value that is text; see ``_open_bytes``."""
        return to_text(self._open_bytes(token, place))

    def _problem(self, token: bytes, place: bytes) -> str | None:
        """Tell why a value does not open; None if it does.

        Raises:
            PrivilegeError: the current user may not decrypt with its key.
            RootKeyError: the root key is not there, which is not the value's fault.
        """
        try:
            self._tokens.decryptor(token).decrypt(token, place)
        except (DataError, UndefinedError, KeyStateError) as error:
            return error.message
        return None

    def _seal_bytes(self, key: str, plaintext: bytes, place: bytes) -> bytes:
        """Encrypt a value under a fresh nonce.

        Args:
            key: the name of the column's key.
            plaintext: the value.
            place: the column and the row that it is bound to.

        Returns:
            Its ciphertext.

        Raises:
            PrivilegeError: the current user may not encrypt with the key.
            KeyStateError: it is disabled, destroyed or expired.
        """
        return self._tokens.encryptor(key).encrypt(plaintext, place)

    def _seal_text(self, key: str, plaintext: str, place: bytes) -> bytes:
        """Encrypt a value that is text; see ``_seal_bytes``."""
        return self._tokens.encryptor(key).encrypt(plaintext.encode(), place)

    def _seal_deterministic(self, key: str, plaintext: bytes, place: bytes) -> bytes:
        """Encrypt a value so that equal ones have equal ciphertexts; see ``_seal_bytes``."""
        return self._tokens.encryptor(key).encrypt_deterministic(plaintext, place)

    def _reseal(self, key: str, token: bytes, place: bytes) -> bytes:
        """Encrypt a value anew, under the current version of a key.

        Args:
            key: the key's name.
            token: the value's ciphertext.
            place: the column and the row that it is bound to.

        Returns:
            The new ciphertext, of the same suite.
        """
        name, sealing_user, sealed_at, cipher = self._keyring.sealer
        header, opening_user, opened_at, opener = self._keyring.opener
        user, stamp = self._user(), self._stamp()
        if (
            cipher
            and opener
            and key == name
            and token[:HEADER_BYTES] == header
            and user == sealing_user == opening_user
            and stamp == sealed_at == opened_at
        ):
            try:
                plaintext = opener.decrypt_raw(
                    token[HEADER_BYTES:CIPHERTEXT_START], token[CIPHERTEXT_START:], header + place
                )
            except Exception:  # what is wrong with it is found out by the other way
                plaintext = self._open_bytes(token, place)
            resealed: bytes = cipher.encrypt(plaintext, place)
            return resealed
        cipher = self._tokens.encryptor(key)
        return cipher.encrypt_like(token, self._open_bytes(token, place), place)

    def _key_by(self, key: str, value: str | None) -> str:
        """Return the name of the key for one value of the column that ``key_by`` names.

        Args:
            key: the name of the column's key.
            value: the other column's; None has the column's own key.

        Returns:
            The name. The key is made if there is none, with the column's key's owner and grants.

        Raises:
            PrivilegeError: there is none, and the current user may not encrypt with the column's key.
        """
        if value is None:
            return key
        record = self._keys.usable(key, TOKEN_KEY_TYPE, encrypt=True)
        child = self._keys.child(record, value)
        if child is None:
            with suppress(DuplicateKeyError):  # made by another session at the same time
                self._keys.create_for(record, f"{key}:{value}", value)
            child = self._keys.child(record, value)
        assert child is not None
        assert child.name is not None
        return child.name

    def _explain(self, error: Error, place: bytes) -> Error:
        """Add to an error which value it is about."""
        from .forms import describe_key  # slow to import

        prefix, key = place[:PLACE_PREFIX_BYTES], place[PLACE_PREFIX_BYTES:]
        start = len(place_prefix(b""))
        if not self._database.can_query():
            return error
        rows = self._database.as_owner(
            lambda: self._database.execute(
                "SELECT c.column_name::text AS name, r.name::text AS relation, r.key_encodings, c.deterministic,"
                " r.key_columns::text[] AS key_columns"
                " FROM {s}.encrypted_column AS c JOIN {s}.encrypted_relation AS r"
                " ON r.id OPERATOR(pg_catalog.=) c.relation_id"
                " WHERE pg_catalog.uuid_send(c.uuid) OPERATOR(pg_catalog.=) $1",
                ("bytea", prefix[start:]),
            )
        )
        if rows:
            (row,) = rows
            which = ""
            if row["key_columns"] and not row["deterministic"]:
                which = (
                    f" in the row with {', '.join(row['key_columns'])} = {describe_key(row['key_encodings'], key)}"
                )
            error.message = f'column "{row["name"]}" of "{row["relation"]}"{which}: {error.message}'
            error.hint = error.hint or (
                "The row was altered, or came from elsewhere. The base table shows it without decrypting it."
            )
        return error
