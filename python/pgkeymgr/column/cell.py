"""Seals and opens the values of encrypted columns; views and triggers call these functions for each value.

A column is given by the family of its key, which all versions of the key share. A value is sealed under the
family's current version. A value is opened only under a key of the family, or under a key that was made for one
(``key_by``): whoever can write the table cannot have a value of another key taken for one of the column's.
"""

from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import DataError, DuplicateKeyError, Error, KeyStateError, PrivilegeError, UndefinedError
from ..key.cipher import CIPHERTEXT_START, HEADER_BYTES, TokenCipher, read_header
from ..key.table import TOKEN_KEY_TYPE, KeyTable
from ..key.token import check_current, to_text
from ..key.use_cache import Conditions
from .place import PLACE_PREFIX_BYTES, place_prefix

if TYPE_CHECKING:
    from ..key.database import Database
    from ..key.record import Record


class Cells:
    """The values of encrypted columns, for one session."""

    def __init__(self, keys: KeyTable) -> None:
        self._keys = keys
        self._database: Database = keys.database
        self._keyring = keys.keyring
        self._uses = keys.uses
        self._user = keys.database.user
        self._stamp = keys.database.stamp

    def _open_bytes(self, token: bytes, place: bytes, family: int) -> bytes:
        """Decrypt a value.

        Args:
            token: its ciphertext.
            place: the column and the row that it is bound to.
            family: the family of the column's key.

        Returns:
            The value.

        Raises:
            DataError: it does not open, or is under a key of another family; the message names table, column and
                row.
            PrivilegeError: the current user may not decrypt with its key.
            KeyStateError: the key is disabled, destroyed, expired or locked.
        """
        try:
            return self._opener(token, family).decrypt(token, place)
        except (DataError, UndefinedError) as error:
            raise self._explain(error, place) from None

    def _open_text(self, token: bytes, place: bytes, family: int) -> str:
        """Decrypt a value that is text; see ``_open_bytes``."""
        return to_text(self._open_bytes(token, place, family))

    def _problem(self, token: bytes, place: bytes, family: int) -> str | None:
        """Return why a value does not open, or None if it does.

        Raises:
            PrivilegeError: the current user may not decrypt with its key.
            RootKeyError: the root key is not there, which is not the value's fault.
        """
        try:
            self._opener(token, family).decrypt(token, place)
        except (DataError, UndefinedError, KeyStateError) as error:
            return error.message
        return None

    def _opener(self, token: bytes, family: int) -> TokenCipher:
        """Return the cipher that decrypts a token of a column, for the current user."""
        user = self._user()
        which = ("open", family, token[1:HEADER_BYTES], user)
        cipher: TokenCipher | None = self._uses.get(which)
        if cipher is None:
            _, key_id = read_header(token)
            record = self._keys.lookup(key_id, with_wraps=False)
            # The same for a key that does not exist: a role learns of no key that it may not use.
            if record is None or family not in (record.family, record.parent_family):
                self._keys.check_visible(self._keys.lookup_family(family), key_id)
                raise DataError(f"this ciphertext is under key {key_id}, which is not a key of the column")
            self._keys.check_usable(record, key_id, TOKEN_KEY_TYPE, encrypt=False)
            cipher = self._keys.cipher(record)
            self._uses.put(which, cipher, Conditions.of(record))
        if self._uses.is_quick:
            self._keyring.cell_opener = family, cipher.header, user, self._stamp(), cipher
        return cipher

    def _seal_bytes(self, family: int, plaintext: bytes, place: bytes) -> bytes:
        """Encrypt a value under a fresh nonce.

        Args:
            family: the family of the key, under whose current version it is sealed.
            plaintext: the value.
            place: the column and the row that it is bound to.

        Returns:
            Its ciphertext.

        Raises:
            PrivilegeError: the current user may not encrypt with the key.
            KeyStateError: the key is disabled, destroyed, expired or locked.
        """
        return self._sealer(family).encrypt(plaintext, place)

    def _seal_text(self, family: int, plaintext: str, place: bytes) -> bytes:
        """Encrypt a value that is text; see ``_seal_bytes``."""
        return self._sealer(family).encrypt(plaintext.encode(), place)

    def _seal_deterministic(self, family: int, plaintext: bytes, place: bytes) -> bytes:
        """Encrypt a value so that equal ones have equal ciphertexts; see ``_seal_bytes``."""
        return self._sealer(family).encrypt_deterministic(plaintext, place)

    def _sealer(self, family: int) -> TokenCipher:
        """Return the cipher that seals under the current version of a key, for the current user."""
        user = self._user()
        which = ("seal", family, user)
        cipher: TokenCipher | None = self._uses.get(which)
        if cipher is None:
            record = self._current(family)
            check_current(record)
            cipher = self._keys.cipher(record)
            self._uses.put(which, cipher, Conditions.of(record))
        if self._uses.is_quick:
            self._keyring.cell_sealer = family, user, self._stamp(), cipher
        return cipher

    def _current(self, family: int) -> "Record":
        record = self._keys.lookup_family(family)
        return self._keys.check_usable(record, family, TOKEN_KEY_TYPE, encrypt=True)

    def _reseal(self, target: int, token: bytes, place: bytes, family: int) -> bytes:
        """Encrypt a value again, under the current version of a key.

        Args:
            target: the family of the key to encrypt with.
            token: the value's ciphertext.
            place: the column and the row that it is bound to.
            family: the family of the column's key, which may differ from the target's with ``key_by``.

        Returns:
            The new ciphertext, of the same suite.
        """
        sealing_for, sealing_user, sealed_at, cipher = self._keyring.cell_sealer
        opening_for, header, opening_user, opened_at, opener = self._keyring.cell_opener
        user, stamp = self._user(), self._stamp()
        if (
            cipher
            and opener
            and target == sealing_for
            and family == opening_for
            and token[:HEADER_BYTES] == header
            and user == sealing_user == opening_user
            and stamp == sealed_at == opened_at
        ):
            try:
                plaintext = opener.decrypt_raw(
                    token[HEADER_BYTES:CIPHERTEXT_START], token[CIPHERTEXT_START:], header + place
                )
            except Exception:  # the other way finds out what is wrong with it
                plaintext = self._open_bytes(token, place, family)
            resealed: bytes = cipher.encrypt(plaintext, place)
            return resealed
        cipher = self._sealer(target)
        return cipher.encrypt_like(token, self._open_bytes(token, place, family), place)

    def _key_by(self, family: int, value: str | None) -> int:
        """Return the family of the key for one value of the column that ``key_by`` names.

        Args:
            family: the family of the column's key.
            value: the other column's value; None has the column's own key.

        Returns:
            The key's family. The key is made if there is none, with the owner and the grants of the column's key.

        Raises:
            PrivilegeError: the current user may encrypt neither with this key nor with the column's; the error is
                the same whether or not there is a key for the value.
        """
        if value is None:
            return family
        which = ("child", family, value, self._user())
        known: int | None = self._uses.get(which)
        if known is not None:
            return known
        child = self._keys.child(family, value)
        if child is None or not child.may_encrypt:
            parent = self._current(family)  # refuses a user who may not encrypt with it
            if child is None:
                with suppress(DuplicateKeyError):  # another session made it at the same time
                    self._keys.create_for(self._keys.find(parent.id), f"{parent.name}:{value}", value)
                child = self._keys.child(family, value)
            if child is None:
                raise PrivilegeError(f"permission denied for the keys of key {family}")
        self._uses.put(which, child.family, Conditions.of(child))
        return child.family

    def _explain(self, error: Error, place: bytes) -> Error:
        """Add to an error which value it is about."""
        from .forms import describe_key  # slow to import

        prefix, key = place[:PLACE_PREFIX_BYTES], place[PLACE_PREFIX_BYTES:]
        start = len(place_prefix(b""))
        rows = self._database.read_as_owner(
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
