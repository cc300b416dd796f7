"""pgcryptokey's functions over the key table: data keys wrapped under passwords, returned as hexadecimal text.

The functions accept passwords and return keys in the clear, as existing programs expect. Each session gets one
warning.
"""

import os
from typing import Any

from ..errors import (
    DataError,
    DuplicateKeyError,
    KeyStateError,
    ParameterError,
    PassphraseError,
    UndefinedError,
    UnsupportedError,
)
from ..key.arguments import called, check_length, refuse_null
from ..key.maker import NewKey
from ..key.passphrase import Stretching
from ..key.passphrase_wrap import PassphraseWraps
from ..key.record import Record
from ..key.table import KeyTable
from ..sealed.attempts import attempt

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
                "a password is needed",
                hint=f"Pass a password, or set {DEFAULT_PASSWORD} for the session or in postgresql.conf.",
            )
        return password.encode()

    def _open(self, function: str, key: str | int, password: str | None) -> tuple[Record, bytes]:
        """Find a key and open it with its password; pgcryptokey requires no other right.

        Neither the error nor the time that it takes shows a user without a grant whether the key exists.

        Args:
            function: the name of the SQL function, for the log and the trail.
            key: name, which means its current version, or id.
            password: None for the setting pgcryptokey.default_password.

        Returns:
            The key's record and its secret.

        Raises:
            UndefinedError: there is no such key, and the current user is an administrator of keys.
            PassphraseError: the password is wrong, or there is no such key.
            KeyStateError: the key is disabled or expired.
        """
        record = self._lookup(key)
        may_know = (record is not None and record.has_usage) or self._table.is_admin()
        if may_know:
            record = self._current(key, record)
            record.check_state()
        elif record is not None and not _is_one(key, record):
            record = None
        passphrase = self._password(password)
        if record is None:
            opened = attempt(self._table, f"failed_{function}", None, None, lambda: _refuse(key, passphrase))
        else:
            found = record

            def open_wrap() -> bytes:
                try:
                    return self._wraps.open_with_passphrase(found, passphrase)
                except KeyStateError:  # the key has no wrap
                    if may_know:
                        raise
                    return _refuse(key, passphrase)
                except PassphraseError:
                    if may_know:
                        raise
                raise _wrong_password(key)

            opened = attempt(self._table, f"failed_{function}", record.id, record.name, open_wrap)
            record.check_state()
        assert record is not None
        return record, opened

    def _lookup(self, key: str | int) -> Record | None:
        """Look for a key. By name, a key of pgcryptokey's is found before any other."""
        if not isinstance(key, str):
            return self._table.lookup(key)
        rows = self._database.read_as_owner(
            lambda: self._database.execute(
                """
                SELECT id
                FROM {s}.key
                WHERE name = $1
                ORDER BY
                    key_type = 'cryptokey' DESC,
                    superseded_by IS NULL AND state = 'enabled' DESC,
                    created DESC,
                    id DESC
                LIMIT 1
                """,
                ("text", key),
            )
        )
        return self._table.lookup(rows[0]["id"]) if rows else None

    def _current(self, key: str | int, record: Record | None) -> Record:
        """Refuse a key that is not pgcryptokey's, if the user may know of the key."""
        if record is None:
            raise UndefinedError(f"key {called(key)} does not exist")
        if record.key_type != KEY_TYPE:
            raise KeyStateError(f"{record} is not a key of pgcryptokey")
        if not _is_one(key, record):
            raise KeyStateError(f"key {called(key)} has no current version")
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
            DataError: an argument is NULL.
            ParameterError: an argument is out of range, or there is no password.
            DuplicateKeyError: the name is taken.
        """
        refuse_null(name=name)
        check_length(byte_len, 1, BYTES_MAX)
        passphrase = self._password(password)
        taken = self._table.lookup(name)
        if taken is not None and taken.is_current() and (taken.has_usage or self._table.is_admin()):
            # Users could confuse the two keys by their name. Users who may not know of the other key get no error.
            raise DuplicateKeyError(f'an enabled key "{name}" already exists')
        return self._table.maker.create(
            NewKey(name, os.urandom(byte_len), key_type=KEY_TYPE, passphrase=passphrase)
        )

    def get_cryptokey(self, key: str | int, password: str | None) -> str:
        """Return a data key.

        Args:
            key: name, which means its current version, or id.
            password: None for the setting pgcryptokey.default_password.

        Returns:
            The key in hexadecimal, as pgcrypto's functions take it.

        Raises:
            UndefinedError: there is no such key.
            PassphraseError: the password is wrong.
        """
        record, secret = self._open("get_cryptokey", key, password)
        self._table.audit.reveal("get_cryptokey", record.id, record.name)
        return secret.hex()

    def set_cryptokey(self, key: str | int, password: str | None) -> None:
        """Put a data key, its id and its name into the settings pgcryptokey.key, .key_id and .name.

        Args:
            key: name, which means its current version, or id.
            password: None for the setting pgcryptokey.default_password.

        Raises:
            UndefinedError: there is no such key.
            PassphraseError: the password is wrong.
        """
        record, secret = self._open("set_cryptokey", key, password)
        self._table.audit.reveal("set_cryptokey", record.id, record.name)
        for name, value in (("key_id", str(record.id)), ("name", record.name), ("key", secret.hex())):
            self._database.query(
                "SELECT pg_catalog.set_config($1, $2, false)", ("text", f"pgcryptokey.{name}"), ("text", value)
            )

    def change_cryptokey_password(self, key: str | int, old_password: str, new_password: str) -> None:
        """Wrap a data key under another password.

        Args:
            key: name, which means its current version, or id.
            old_password: the present password.
            new_password: the next password.

        Raises:
            DataError: a password is NULL.
            UndefinedError: there is no such key.
            PassphraseError: the old password is wrong.
        """
        if old_password is None or new_password is None:
            raise DataError("a password must not be NULL")
        record, secret = self._open("change_cryptokey_password", key, old_password)
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
            UndefinedError: there is no such key.
            PassphraseError: the password is wrong.
            KeyStateError: the key was superseded before.
        """
        check_length(byte_len, 1, BYTES_MAX)
        record, _ = self._open("supersede_cryptokey", key, password)
        return self._table.maker.supersede(record, os.urandom(byte_len), self._password(password))

    def reencrypt_data(
        self, data: bytes | None, old_key_id: int, new_key_id: int, password: str | None
    ) -> bytes | None:
        """Decrypt pgcrypto's PGP data of a text under one data key, and encrypt it under another.

        Args:
            data: from pgp_sym_encrypt; None gives None.
            old_key_id: the id of the key that encrypted the data.
            new_key_id: the id of the key that is to encrypt it.
            password: the password of both keys; None for the setting pgcryptokey.default_password.

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
        """Reencrypt data from pgp_sym_encrypt_bytea; see ``reencrypt_data``."""
        return self._reencrypt("_bytea", data, old_key_id, new_key_id, password)

    def _reencrypt(
        self, suffix: str, data: bytes | None, old_key_id: int, new_key_id: int, password: str | None
    ) -> bytes | None:
        if data is None:
            return None
        # The trail gets no event, since the keys are passed to pgcrypto only.
        old, new = (self._open("reencrypt_data", key_id, password)[1].hex() for key_id in (old_key_id, new_key_id))
        query = self._database.query
        schemas = query(
            """
            SELECT pg_catalog.quote_ident(n.nspname) AS name
            FROM pg_catalog.pg_extension AS e
            JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) e.extnamespace
            WHERE e.extname OPERATOR(pg_catalog.=) 'pgcrypto'
            """
        )
        if not schemas:
            raise UnsupportedError(
                "PGP data needs the extension pgcrypto, which this database does not have",
                hint="Run CREATE EXTENSION pgcrypto.",
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
        """Remove a data key permanently.

        Args:
            key: name, which means its current version, or id.
            password: None for the setting pgcryptokey.default_password.

        Raises:
            UndefinedError: there is no such key.
            PassphraseError: the password is wrong.
        """
        record, _ = self._open("drop_cryptokey", key, password)
        self._table.drop(record)


def _is_one(key: str | int, record: Record) -> bool:
    """Return whether a key is pgcryptokey's, and, if it was given by name, is current."""
    return record.key_type == KEY_TYPE and not (isinstance(key, str) and record.superseded_by is not None)


def _refuse(key: str | int, passphrase: bytes) -> bytes:
    """Spend as much time on a key that does not exist as on a wrong password, and refuse it."""
    Stretching.new().wrapping_key(passphrase)
    raise _wrong_password(key)


def _wrong_password(key: str | int) -> PassphraseError:
    return PassphraseError(
        f"wrong password for key {called(key)}",
        hint="The error is the same if pgcryptokey has no such key, or if the key is not in use.",
    )
