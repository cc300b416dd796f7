"""Seals and opens the values of encrypted columns; views and triggers call these functions for each value.

The functions get the family of the column's key, which all versions of the key share. They seal a value under the
current version of the family. They open a value only if its key is one of the family, or was made for a value of
the column that ``key_by`` names. So a role that can write the table cannot put a value under another key into the
column.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property

from ..errors import DataError, DuplicateKeyError, Error, KeyStateError, PrivilegeError, UndefinedError
from ..key.cipher import CIPHERTEXT_START, DETERMINISTIC, HEADER_BYTES, TokenCipher, read_header
from ..key.table import TOKEN_KEY_TYPE, KeyTable
from ..key.token import check_current, to_text
from ..key.use_cache import Conditions
from .place import PLACE_PREFIX_BYTES, place_prefix
from .transit import Transit

TYPE_CHECKING = False  # see key/named_tuple.py
if TYPE_CHECKING:
    from typing import Any

    from ..key.database import Database
    from ..key.record import Record
    from .masking import Masking


class Cells:
    """The values of encrypted columns, for one session.

    Attributes:
        transit: the values on their way from a view's trigger to the base table's.
    """

    def __init__(self, keys: KeyTable) -> None:
        self._keys = keys
        self._database: Database = keys.database
        self._keyring = keys.keyring
        self._uses = keys.uses
        self._user = keys.database.user
        self._stamp = keys.database.stamp
        self._masked_users: set[int] = set()
        self.transit = Transit(keys.database)
        self._send_bytes = self.transit.send
        self._send_text = self.transit.send_text

    def _open_bytes(self, token: bytes, place: bytes, family: int) -> bytes:
        """Decrypt a value.

        Args:
            token: the ciphertext.
            place: the column and the row that the ciphertext is bound to, as ``place.py`` defines it.
            family: the family of the column's key.

        Returns:
            The value.

        Raises:
            DataError: the ciphertext does not open, or is under a key of another family; the message names table,
                column and row.
            PrivilegeError: the current user may not decrypt with the key.
            KeyStateError: the key is disabled, destroyed, expired or locked.
        """
        try:
            return self.opener(token, family, self._user()).decrypt(token, place)
        except (DataError, UndefinedError) as error:
            raise self._explain(error, place) from None

    def _open_text(self, token: bytes, place: bytes, family: int) -> str:
        """Decrypt a value that is text; see ``_open_bytes``."""
        return to_text(self._open_bytes(token, place, family))

    def _show_bytes(self, token: bytes, place: bytes, family: int) -> Any:
        """Decrypt a value of a column with a mask, or return its mask; see ``_open_bytes`` and ``masking.py``."""
        allowed = None
        if self._user() in self._masked_users:
            # The mask is looked up first for a user who was refused before: the refusal costs some queries.
            allowed = self._masking.known(token, place, family)
            if allowed is None:
                self._masked_users.discard(self._user())
        if allowed is None:
            try:
                return self._open_bytes(token, place, family)
            except PrivilegeError as error:
                refusal = error
        try:
            if allowed is None:
                allowed = self._masking.known(token, place, family)
            if allowed is None:
                allowed = self._masking.allow(token, place, family, refusal)
                self._masked_users.add(self._user())
            return self._masking.masked(allowed, token, place)
        except (DataError, UndefinedError) as error:
            raise self._explain(error, place) from None

    def _show_text(self, token: bytes, place: bytes, family: int) -> str | None:
        """Decrypt a value of a column with a mask that is text, or return its mask; see ``_show_bytes``."""
        shown = self._show_bytes(token, place, family)
        return to_text(shown) if isinstance(shown, bytes) else shown

    _show_computed_bytes = _show_bytes
    _show_computed_text = _show_text

    @cached_property
    def _masking(self) -> Masking:
        from .masking import Masking  # most sessions need none

        return Masking(self._keys)

    def _check_reads(self, family: int, value: str | None) -> None:
        """Refuse a user who may not decrypt a column with a mask, and so could write back a masked value.

        Args:
            family: the family of the column's key.
            value: the row's value of the column that ``key_by`` names, or None.

        Raises:
            PrivilegeError: the current user may not decrypt with the key.
        """
        which = ("reads", family, value, self._user())
        if self._uses.get(which) is None:
            record = None if value is None else self._keys.child(family, value)
            record = record or self._keys.lookup_family(family, with_wraps=False)
            record = self._keys.check_visible(record, family)
            record.check_usage(encrypt=False)
            self._uses.put(which, True, Conditions.of(record))

    def _problem(self, token: bytes, place: bytes, family: int) -> str | None:
        """Return why a value does not open, or None if it does.

        Raises:
            PrivilegeError: the current user may not decrypt with the key.
            RootKeyError: there is no root key, so that nothing is known about the value.
        """
        try:
            self.opener(token, family, self._user()).decrypt(token, place)
        except (DataError, UndefinedError, KeyStateError) as error:
            return error.message
        return None

    def opener(self, token: bytes, family: int, user: int, whose: str = "the column") -> TokenCipher:
        """Return the cipher that decrypts a token, for the given current user.

        Args:
            token: the token.
            family: the family of the key that it must be under.
            user: the OID of the current user.
            whose: the owner of the key, for an error.

        Raises:
            Error: see ``_open_bytes``.
        """
        which = ("open", family, token[1:HEADER_BYTES], user)
        cipher: TokenCipher | None = self._uses.get(which)
        if cipher is None:
            _, key_id = read_header(token)
            record = self._keys.lookup(key_id, with_wraps=False)
            # The error is the same for a key that does not exist, so that a role learns of no key that it may not
            # use.
            if record is None or family not in (record.family, record.parent_family):
                self._keys.check_visible(self._keys.lookup_family(family, with_wraps=False), key_id)
                raise DataError(f"this ciphertext is under key {key_id}, which is not a key of {whose}")
            self._keys.check_usable(record, key_id, TOKEN_KEY_TYPE, encrypt=False)
            cipher = self._keys.cipher(record)
            self._uses.put(which, cipher, Conditions.of(record))
        if self._uses.is_quick:
            keyring, uses = self._keyring, self._uses
            keyring.cell_opener = family, cipher.header, user, uses.stamp, cipher.decrypt_raw, uses.is_lasting
        return cipher

    def _seal_bytes(self, family: int, plaintext: bytes, place: bytes) -> bytes:
        """Encrypt a value under a fresh nonce.

        Args:
            family: the family of the key, under whose current version it is sealed.
            plaintext: the value.
            place: the column and the row that the ciphertext is bound to, as ``place.py`` defines it.

        Returns:
            The ciphertext.

        Raises:
            PrivilegeError: the current user may not encrypt with the key.
            KeyStateError: the key is disabled, destroyed, expired or locked.
        """
        return self.sealer(family, self._user()).encrypt(plaintext, place)

    def _seal_text(self, family: int, plaintext: str, place: bytes) -> bytes:
        """Encrypt a value that is text; see ``_seal_bytes``."""
        return self.sealer(family, self._user()).encrypt(plaintext.encode(), place)

    def _seal_deterministic(self, family: int, plaintext: bytes, place: bytes) -> bytes:
        """Encrypt a value so that equal ones have equal ciphertexts; see ``_seal_bytes``."""
        return self.sealer(family, self._user()).encrypt_deterministic(plaintext, place)

    def _seal_compressed(self, family: int, plaintext: bytes, place: bytes) -> bytes:
        """Encrypt a value, compressed if that makes it shorter; see ``_seal_bytes``."""
        return self.sealer(family, self._user()).encrypt_compressed(plaintext, place)

    def _take_bytes(self, ticket: bytes) -> bytes:
        """Return a value that was left, and forget it; see ``Transit.take``."""
        return self.transit.take(ticket)

    def _take_text(self, ticket: bytes) -> str:
        """Return a value that was left and is text, and forget it; see ``Transit.take``."""
        return to_text(self.transit.take(ticket))

    def _seal_sent(self, family: int, ticket: bytes, place: bytes) -> bytes:
        """Encrypt a value that was left, and forget it; see ``_seal_bytes`` and ``Transit.take``."""
        return self.sealer(family, self._user()).encrypt(self.transit.take(ticket), place)

    def _seal_sent_deterministic(self, family: int, ticket: bytes, place: bytes) -> bytes:
        """Encrypt a value that was left, and forget it; see ``_seal_deterministic`` and ``Transit.take``."""
        return self.sealer(family, self._user()).encrypt_deterministic(self.transit.take(ticket), place)

    def _seal_sent_compressed(self, family: int, ticket: bytes, place: bytes) -> bytes:
        """Encrypt a value that was left, and forget it; see ``_seal_compressed`` and ``Transit.take``."""
        return self.sealer(family, self._user()).encrypt_compressed(self.transit.take(ticket), place)

    def _is_settled(self, xmin: str) -> bool:
        """Return whether a row version is older than all snapshots of this transaction, and so in all of them.

        Args:
            xmin: the number of the transaction that made the row version, as text.

        Returns:
            Whether this is certain. If not, the row version can still be in all of them.
        """
        return self._database.precedes_snapshots(int(xmin))

    def sealer(self, family: int, user: int) -> TokenCipher:
        """Return the cipher that encrypts under the current version of a key, for the given current user."""
        which = ("seal", family, user)
        cipher: TokenCipher | None = self._uses.get(which)
        if cipher is None:
            record = self._current(family)
            check_current(record)
            cipher = self._keys.cipher(record)
            self._uses.put(which, cipher, Conditions.of(record, encrypt=True))
        if self._uses.is_quick:
            self._keyring.cell_sealer = family, user, self._uses.stamp, cipher, self._uses.is_lasting
        return cipher

    def _current(self, family: int) -> Record:
        return self._keys.usable_current(family, TOKEN_KEY_TYPE, encrypt=True, with_wraps=False)

    def _reseal(self, target: int, token: bytes, place: bytes, family: int) -> bytes:
        """Encrypt a value again, under the current version of a key.

        Args:
            target: the family of the key to encrypt with.
            token: the value's ciphertext.
            place: the column and the row that the ciphertext is bound to, as ``place.py`` defines it.
            family: the family of the column's key, which may differ from the target's with ``key_by``.

        Returns:
            The new ciphertext, deterministic if the old one is, and not compressed.
        """
        sealing_for, sealing_user, sealed_at, cipher, _ = self._keyring.cell_sealer
        opening_for, header, opening_user, opened_at, decrypt, _ = self._keyring.cell_opener
        user, stamp = self._user(), self._stamp()
        if (
            cipher
            and decrypt
            and target == sealing_for
            and family == opening_for
            and token[:HEADER_BYTES] == header
            and user == sealing_user == opening_user
            and stamp == sealed_at == opened_at
        ):
            try:
                plaintext = decrypt(token[HEADER_BYTES:CIPHERTEXT_START], token[CIPHERTEXT_START:], header + place)
            except Exception:  # the other way finds out what is wrong with it
                plaintext = self._open_bytes(token, place, family)
            resealed: bytes = cipher.encrypt(plaintext, place)
            return resealed
        cipher = self.sealer(target, user)
        plaintext = self._open_bytes(token, place, family)
        # A compressed ciphertext is from before the column's option was changed.
        encrypt = cipher.encrypt_deterministic if token[0] == DETERMINISTIC else cipher.encrypt
        return encrypt(plaintext, place)

    def _reseal_compressed(self, target: int, token: bytes, place: bytes, family: int) -> bytes:
        """Encrypt a value again, compressed if that makes it shorter; see ``_reseal``."""
        cipher = self.sealer(target, self._user())
        return cipher.encrypt_compressed(self._open_bytes(token, place, family), place)

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
                    self._keys.maker.create_for(self._keys.find(parent.id), f"{parent.name}:{value}", value)
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
                # A detached partition has the column, too.
                " WHERE pg_catalog.uuid_send(c.uuid) OPERATOR(pg_catalog.=) $1 ORDER BY c.id LIMIT 1",
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
