"""pgcryptokey's functions over the key table: data keys wrapped under passwords, given out as hexadecimal text.

They take passwords, and give keys, in the clear, as their users' programs expect; each session is told once.
"""

import os
from typing import Any

from ..errors import DataError, KeyStateError, ParameterError, UnsupportedError
from ..key.passphrase_wrap import PassphraseWraps
from ..key.record import Record
from ..key.table import KeyTable, check_length

KEY_TYPE = "cryptokey"
DEFAULT_PASSWORD = "pgcryptokey.default_password"  # noqa: S105  # a setting's name
BYTES_MAX = 1024


class Cryptokeys:
    """pgcryptokey's functions, for one session."""

    def __init__(self, table: KeyTable, wraps: PassphraseWraps) -> None:
        self._table = table
        self._wraps = wraps
        self._database = table.database
        self._has_warned = False

    def _password(self, password: str | None) -> bytes:
        if not self._has_warned:
            self._has_warned = True
            self._database.warn(
                "pgcryptokey's functions take passwords and give keys in the clear, where a log can hold them",
                "Use create_data_key() and token_encrypt(), which show neither.",
            )
        if password is None:
            password = self._database.setting(DEFAULT_PASSWORD)
        if not password:
            raise ParameterError(
                "there is no password",
                hint=f"Give one, or set {DEFAULT_PASSWORD} for the session or in postgresql.conf.",
            )
        return password.encode()

    def _find(self, key: str | int) -> Record:
        record = self._table.find(key)
        if record.key_type != KEY_TYPE:
            raise KeyStateError(f"{record} is not one of pgcryptokey's")
        if isinstance(key, str) and record.superseded_by is not None:
            raise KeyStateError(f'there is no current key "{key}"')
        return record

    def create_cryptokey(self, name: str, byte_len: int, password: str | None) -> int:
        """Make a data key of random bytes, wrapped under a password.

        Args:
            name: 1 to 255 characters; no other enabled key has it.
            byte_len: 1 to 1024 bytes.
            password: None for the setting pgcryptokey.default_password.

        Returns:
            Its id.

        Raises:
            ParameterError: an argument is out of range, or there is no password.
            DuplicateKeyError: the name is taken.
        """
        if name is None:
            raise DataError("name must not be NULL")
        check_length(byte_len, 1, BYTES_MAX)
        passphrase = self._password(password)
        return self._table.create(name, os.urandom(byte_len), key_type=KEY_TYPE, passphrase=passphrase)

    def get_cryptokey(self, key: str | int, password: str | None) -> str:
        """Return a data key.

        Args:
            key: name, which means its current version, or id.
            password: None for the setting pgcryptokey.default_password.

        Returns:
            The key in hexadecimal, as pgcrypto's functions take it.

        Raises:
            UndefinedKeyError: there is no such key.
            PassphraseError: the password is wrong.
        """
        record = self._find(key)
        record.check_state()
        return self._wraps.open_with_passphrase(record, self._password(password)).hex()

    def set_cryptokey(self, key: str | int, password: str | None) -> None:
        """Put a data key, its id and its name into the settings pgcryptokey.key, .key_id and .name.

        Args:
            key: name, which means its current version, or id.
            password: None for the setting pgcryptokey.default_password.

        Raises:
            UndefinedKeyError: there is no such key.
            PassphraseError: the password is wrong.
        """
        record = self._find(key)
        secret = self.get_cryptokey(record.id, password)
        for name, value in (("key_id", str(record.id)), ("name", record.name), ("key", secret)):
            self._database.query(
                "SELECT pg_catalog.set_config($1, $2, false)", ("text", f"pgcryptokey.{name}"), ("text", value)
            )

    def change_cryptokey_password(self, key: str | int, old_password: str, new_password: str) -> None:
        """Wrap a data key under another password.

        Args:
            key: name, which means its current version, or id.
            old_password: the present one.
            new_password: the one to come.

        Raises:
            UndefinedKeyError: there is no such key.
            PassphraseError: the old password is wrong.
        """
        if old_password is None or new_password is None:
            raise DataError("a password must not be NULL")
        record = self._find(key)
        secret = self._wraps.open_with_passphrase(record, self._password(old_password))
        self._wraps.add_passphrase(record, secret, self._password(new_password))

    def supersede_cryptokey(self, key: str | int, byte_len: int, password: str | None) -> int:
        """Make a new version of a data key, under the same password.

        Args:
            key: name, which means its current version, or id.
            byte_len: 1 to 1024 bytes.
            password: None for the setting pgcryptokey.default_password.

        Returns:
            The new version's id.

        Raises:
            UndefinedKeyError: there is no such key.
            PassphraseError: the password is wrong.
            KeyStateError: the key was superseded before.
        """
        check_length(byte_len, 1, BYTES_MAX)
        record = self._find(key)
        record.check_state()
        passphrase = self._password(password)
        self._wraps.open_with_passphrase(record, passphrase)
        return self._table.supersede(record, os.urandom(byte_len), passphrase)

    def reencrypt_data(
        self, data: bytes | None, old_key_id: int, new_key_id: int, password: str | None
    ) -> bytes | None:
        """Decrypt pgcrypto's PGP data of a text under one data key, and encrypt it under another.

        Args:
            data: from pgp_sym_encrypt; None gives None.
            old_key_id: the key it was encrypted with.
            new_key_id: the key to encrypt with.
            password: of both; None for the setting pgcryptokey.default_password.

        Returns:
            The new PGP data.

        Raises:
            UnsupportedError: pgcrypto is not installed.
            PassphraseError: the password is wrong.
        """
        return self._reencrypt("", data, old_key_id, new_key_id, password)

    def reencrypt_data_bytea(
        self, data: bytes | None, old_key_id: int, new_key_id: int, password: str | None
    ) -> bytes | None:
        """Do the same for data from pgp_sym_encrypt_bytea; see ``reencrypt_data``."""
        return self._reencrypt("_bytea", data, old_key_id, new_key_id, password)

    def _reencrypt(
        self, suffix: str, data: bytes | None, old_key_id: int, new_key_id: int, password: str | None
    ) -> bytes | None:
        if data is None:
            return None
        old, new = (self.get_cryptokey(key_id, password) for key_id in (old_key_id, new_key_id))
        query = self._database.query
        schemas = query(
            "SELECT pg_catalog.quote_ident(n.nspname) AS name FROM pg_catalog.pg_extension AS e"
            " JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) e.extnamespace"
            " WHERE e.extname OPERATOR(pg_catalog.=) 'pgcrypto'"
        )
        if not schemas:
            raise UnsupportedError(
                "PGP data needs the extension pgcrypto, which this database does not have",
                hint="CREATE EXTENSION pgcrypto;",
            )
        pgp = schemas[0]["name"] + ".pgp_sym_"
        rows: list[dict[str, Any]] = query(
            f"SELECT {pgp}encrypt{suffix}({pgp}decrypt{suffix}($1, $2), $3) AS data",
            ("bytea", data),
            ("text", old),
            ("text", new),
        )
        result: bytes = rows[0]["data"]
        return result

    def drop_cryptokey(self, key: str | int, password: str | None) -> None:
        """Remove a data key, for good.

        Args:
            key: name, which means its current version, or id.
            password: None for the setting pgcryptokey.default_password.

        Raises:
            UndefinedKeyError: there is no such key.
            PassphraseError: the password is wrong.
        """
        record = self._find(key)
        self._wraps.open_with_passphrase(record, self._password(password))
        self._table.drop(record)
