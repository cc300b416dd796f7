"""pgsodium's key table over ours: each key is for one primitive, and is found by its uuid."""

import os
from typing import Any

from ..crypto import aead_det, generichash, ipcrypt, kdf, shorthash
from ..errors import ParameterError, wrong_length
from ..key.arguments import check_name, refuse_null
from ..key.data_key import DataKeys
from ..key.maker import NewKey
from ..key.table import KeyTable

KEY_TYPES = (
    "aead-ietf",
    "aead-det",
    "hmacsha512",
    "hmacsha256",
    "auth",
    "shorthash",
    "generichash",
    "kdf",
    "secretbox",
    "secretstream",
    "stream_xchacha20",
    "ipcrypt-det",
    "ipcrypt-pfx",
    "ipcrypt-nd",
    "ipcrypt-ndx",
)
_SHORT_KEYS = {
    "shorthash": shorthash.KEY_BYTES,
    "ipcrypt-det": ipcrypt.KEY_BYTES,
    "ipcrypt-nd": ipcrypt.ND_KEY_BYTES,
}

STATUSES = ("default", "valid", "invalid", "expired")
STATUSES_IN_USE = ("default", "valid")


def derived_bytes(key_type: str) -> int:
    """Return the length of a derived key of a type: 16 bytes for some types, 32 bytes for the others."""
    return _SHORT_KEYS.get(key_type, 32)


def check_type(key_type: str) -> None:
    """Refuse a type that is not one of pgsodium's.

    Raises:
        ParameterError: pgsodium has no such type.
        DataError: it is NULL.
    """
    refuse_null(key_type=key_type)
    if key_type not in KEY_TYPES:
        raise ParameterError(f"key_type must be one of pgsodium's, not {key_type}", hint="Use create_data_key().")


def check_secret(key_type: str, secret: bytes) -> None:
    """Refuse a raw key that the primitive could not use.

    Raises:
        DataError: it has the wrong length.
    """
    if key_type == "generichash":
        generichash.crypto_generichash(b"", secret)
    elif len(secret) != derived_bytes(key_type):
        raise wrong_length("raw_key", secret, derived_bytes(key_type))


def _check_context(key_context: bytes) -> None:
    if len(key_context) != kdf.CONTEXT_BYTES:
        raise wrong_length("key_context", key_context, kdf.CONTEXT_BYTES)


class PgsodiumKeys:
    """pgsodium's functions of the key table, for one session."""

    def __init__(self, table: KeyTable, data_keys: DataKeys) -> None:
        self._table = table
        self._data_keys = data_keys
        self._database = table.database
        self._has_warned = False

    def create_key(
        self,
        key_type: str,
        name: str | None,
        raw_key: bytes | None,
        raw_key_nonce: bytes | None,
        parent_key: str | None,
        key_context: bytes,
        expires: str | None,
        associated_data: str | None,
    ) -> str:
        """Make a key for a primitive.

        Args:
            key_type: the primitive.
            name: 1 to 255 characters, or None.
            raw_key: its bytes; None for random bytes.
            raw_key_nonce: accepted for compatibility; a raw key is wrapped under the root key.
            parent_key: accepted for compatibility, and kept as a note; it must exist.
            key_context: 8 bytes, accepted for compatibility: no key that is made here has a number.
            expires: the expiry, as a timestamp's text; None for never.
            associated_data: kept as a note.

        Returns:
            Its uuid.

        Raises:
            ParameterError: an argument is out of range.
            UndefinedError: there is no parent key of this uuid.
            DuplicateKeyError: the name is taken.
            RootKeyError: there is no root key.
        """
        check_type(key_type)
        if name is not None:
            check_name(name)
        note: dict[str, Any] = {"associated_data": associated_data or ""}
        if parent_key is not None:
            self._table.find(_bytes(parent_key))
            note["parent_key"] = parent_key
        if raw_key is None:
            # The key is not derived by a number, as pgsodium does. A user who may use keys by number could use it
            # without a grant, and after it was destroyed.
            _check_context(key_context)
            raw_key = os.urandom(derived_bytes(key_type))
        else:
            self._warn()
            check_secret(key_type, raw_key)
        key_id = self._table.maker.create(
            NewKey(name, raw_key, key_type=key_type, expires=expires, user_data=_json(note))
        )
        return self._table.find(key_id).uuid.hex()

    def import_key(
        self,
        uuid: str,
        status: str,
        key_type: str,
        name: str | None,
        key_number: int | None,
        key_context: bytes | None,
        raw_key: bytes | None,
        raw_key_nonce: bytes | None,
        parent_key: str | None,
        expires: str | None,
        associated_data: str | None,
    ) -> int:
        """Import a row of pgsodium's key table, under the same root key.

        Args:
            uuid: the id of the row.
            status: its status: valid, default, invalid or expired.
            key_type: its type.
            name: its name, or None.
            key_number: the key_id of a derived key.
            key_context: the context of a derived key.
            raw_key: the bytes of a raw key, encrypted under its parent key.
            raw_key_nonce: the nonce of a raw key.
            parent_key: the parent key of a raw key; it must have been imported before.
            expires: the expiry, as a timestamp's text, or None.
            associated_data: the associated data of the row.

        Returns:
            The id of the imported key.

        Raises:
            DataError: the raw key does not open under its parent key.
            ParameterError: the row describes neither a derived nor a raw key.
            UndefinedError: the parent key was not imported.
            DuplicateKeyError: the uuid or the name is taken.
        """
        refuse_null(id=uuid, status=status)
        if status not in STATUSES:
            raise ParameterError(f'status must be one of pgsodium\'s, not "{status}"')
        if not any(_bytes(uuid)):
            raise ParameterError("id must not be the uuid of zeros")
        check_type(key_type)
        if name is not None:
            check_name(name)
        note = {"associated_data": associated_data or "", "parent_key": parent_key}
        secret = None
        derivation = None
        if raw_key is not None and parent_key is not None:
            # pgsodium's trigger authenticates the uuid's text and the associated data in the same way.
            additional = (uuid + (associated_data or "")).encode()
            secret = self._open_raw_key(key_type, raw_key, raw_key_nonce, parent_key, additional)
        elif key_number is not None and key_context is not None:
            _check_context(key_context)
            derivation = (key_number, key_context, derived_bytes(key_type))
        else:
            raise ParameterError(f"the row {uuid} has neither a derived key nor a raw key")
        key_id = self._table.maker.create(
            NewKey(
                name,
                secret,
                key_type=key_type,
                derivation=derivation,
                uuid=_bytes(uuid),
                user_data=_json(note),
            ),
            event="import",
        )
        # A new key must not expire in the past, but an imported key may have expired.
        self._table.change(
            lambda: self._database.execute(
                "UPDATE {s}.key SET expires = $2 WHERE id = $1",
                ("integer", key_id),
                ("timestamptz", expires),
            )
        )
        if status not in STATUSES_IN_USE:
            self._data_keys.disable_data_key(key_id)
        return key_id

    def _open_raw_key(
        self, key_type: str, raw_key: bytes, nonce: bytes | None, parent_key: str, additional: bytes
    ) -> bytes:
        """Return a raw key that was encrypted under its parent key.

        Raises:
            DataError: it does not open, or has the wrong length.
            UndefinedError: the parent key was not imported.
        """
        parent = self._table.secret(parent_key, "aead-det", encrypt=False)
        secret = aead_det.crypto_aead_det_decrypt(raw_key, additional, parent, nonce)
        check_secret(key_type, secret)
        return secret

    def _warn(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            self._database.warn(
                "create_key() takes a raw key in the clear, where a log can hold it",
                "Leave raw_key out, for a key of random bytes.",
            )

    def crypto_aead_det_encrypt_by_uuid(
        self, message: bytes, additional: bytes | None, key_uuid: str, nonce: bytes | None
    ) -> bytes:
        """Return ``crypto_aead_det_encrypt`` under a key of the table."""
        # A user who may only encrypt could guess plaintexts: equal plaintexts give equal ciphertexts.
        self._table.check_search(_bytes(key_uuid), "aead-det")
        secret = self._table.secret(key_uuid, "aead-det", True)
        return aead_det.crypto_aead_det_encrypt(message, additional, secret, nonce)

    def crypto_aead_det_decrypt_by_uuid(
        self, message: bytes, additional: bytes | None, key_uuid: str, nonce: bytes | None
    ) -> bytes:
        """Return ``crypto_aead_det_decrypt`` under a key of the table."""
        secret = self._table.secret(key_uuid, "aead-det", False)
        return aead_det.crypto_aead_det_decrypt(message, additional, secret, nonce)

    def crypto_kdf_derive_from_key_by_uuid(
        self, subkey_size: int, subkey_id: int, context: bytes, primary_key: str
    ) -> bytes:
        """Return ``crypto_kdf_derive_from_key`` from a key of the table."""
        secret = self._table.secret(primary_key, "kdf", True)
        key = kdf.crypto_kdf_derive_from_key(subkey_size, subkey_id, context, secret)
        detail = f"number {subkey_id}, context {context.hex()}, {subkey_size} bytes, from key {primary_key}"
        self._table.audit.reveal("derive", None, None, detail)
        return key


def _json(note: dict[str, Any]) -> str:
    import json  # the import is slow, and only needed to make a key

    return json.dumps(note)


def _bytes(uuid: str) -> bytes:
    return bytes.fromhex(uuid.replace("-", ""))
