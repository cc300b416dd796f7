"""The key table: keys made, superseded, disabled, granted, destroyed, and used.

Everything here is done for the user that the server says is the current one. What touches the tables runs with
the rights of the extension's owner, and only in the callbacks that are handed to ``Database.as_owner``.
"""

import os
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, Protocol, TypeVar

from .errors import (
    DataError,
    DuplicateKeyError,
    Error,
    KeyStateError,
    ParameterError,
    PassphraseError,
    UndefinedError,
    not_authentic,
)
from .keyring import KEYS_MAX, Keyring, Record, locked, wrap_associated_data
from .passphrase import Stretching
from .root_key import FINGERPRINT_BYTES, RootKey
from .token import HEADER_BYTES, SECRET_BYTES_MAX, SECRET_BYTES_MIN, SUITES, TokenCipher, read_header
from .wrap import OVERHEAD_BYTES, unwrap, wrap

NAME_CHARACTERS_MAX = 255
USAGES = ("encrypt", "decrypt")
TOKEN_KEY_TYPE = "data"  # noqa: S105  # a type's name

_Result = TypeVar("_Result")
_Rows = list[dict[str, Any]]


class Database(Protocol):
    """What the key table needs of the session it is used in."""

    def user(self) -> int:
        """Return the OID of the current user."""

    def stamp(self) -> int:
        """Return a number that is another for each statement."""

    def transaction(self) -> int:
        """Return a number that is another for each transaction."""

    def root_key(self) -> RootKey:
        """Return the root key.

        Raises:
            RootKeyError: there is none.
        """

    def load_key(self, key_id: int, name: str, uuid: bytes, user: int) -> Record | None:
        """Read the record of the key with this id, name or uuid, as it is committed by now."""

    def as_owner(self, operation: Callable[[], _Result]) -> _Result:
        """Run something with the rights of the extension's owner, all of it or nothing."""

    def execute(self, query: str, *arguments: tuple[str, Any]) -> _Rows:
        """Run a query, {s} in it standing for the schema; to be used in ``as_owner`` only.

        Args:
            query: with $1 and so on for the arguments.
            arguments: type and value of each.

        Returns:
            The rows.
        """

    def query(self, query: str, *arguments: tuple[str, Any]) -> _Rows:
        """Run a query with the rights of the current user; see ``execute``."""

    def setting(self, name: str) -> str | None:
        """Return a setting of the session, or None if there is none."""

    def warn(self, message: str, hint: str) -> None:
        """Send the client a warning."""


_NO_ID = 0
_NO_UUID = bytes(16)


class Keys:
    """The keys of a database, used by one session."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._keyring = Keyring()
        self._session_key = os.urandom(32)
        self._opened: dict[bytes, bytes] = {}
        self._dirty: int | None = None
        self._stamp = database.stamp
        self._user = database.user
        self._encryptors = self._keyring.encryptors
        self._decryptors = self._keyring.decryptors

    # Finding a key

    def find(self, key: str | int | bytes) -> Record:
        """Find a key for the current user, whatever its state and their grants.

        Args:
            key: its name, which means its current version, its id, or its uuid as 16 bytes.

        Returns:
            Its record.

        Raises:
            UndefinedError: there is none.
            DataError: the key is NULL.
        """
        if key is None:
            raise DataError("key must not be NULL")
        user = self._user()
        if isinstance(key, str):
            record = self._database.load_key(_NO_ID, key, _NO_UUID, user)
            called = f'"{_shorten(key)}"'
        elif isinstance(key, bytes):
            record = self._database.load_key(_NO_ID, "", key, user)
            called = f"with uuid {key.hex()}"
        else:
            record = self._database.load_key(key, "", _NO_UUID, user)
            called = f"{key}"
        if record is None:
            raise UndefinedError(f"there is no key {called}")
        return record

    def _unlock(self, record: Record) -> bytes:
        if record.root_wrap is None or record.fingerprint is None:
            raise locked(record)
        root_key = self._database.root_key()
        try:
            secret = root_key.unwrap(record.root_wrap, record.associated_data, record.fingerprint)
        except Error as error:
            error.message = f"{record}: {error.message}"
            raise
        if record.derivation_id is None or record.context is None:
            return secret
        # The wrap of a derived key holds its length: that it opened says that number and context are right.
        return root_key.derive(record.derivation_id, int.from_bytes(secret, "big"), record.context)

    def secret(self, uuid: str, key_type: str, encrypt: bool) -> bytes:
        """Return the secret of a key, for a primitive that the current user has a grant for.

        Args:
            uuid: the key's, as text.
            key_type: what it must be for.
            encrypt: whether it is to encrypt or to authenticate; otherwise, to decrypt or to verify.

        Returns:
            The secret. It must not be given to SQL.

        Raises:
            UndefinedError: there is no such key.
            PrivilegeError: the user may not use it for this.
            KeyStateError: it is disabled, destroyed, expired or locked.
            DataError: it is for something else.
        """
        if uuid is None:
            raise DataError("key_uuid must not be NULL")
        which = (uuid, key_type, self._user(), encrypt)
        known = self._keyring.secrets.get(which)
        if known and known[0] == self._stamp():
            return known[1]
        record = self.find(bytes.fromhex(uuid.replace("-", "")))
        record.check_usage(encrypt=encrypt)
        record.check_state()
        _check_type(record, key_type)
        secret = self._keyring.secret(record, self._unlock)
        if not self._is_dirty():
            self._keyring.forget_checks(more_than=KEYS_MAX)
            self._keyring.secrets[which] = self._stamp(), secret
        return secret

    # Tokens

    def _encryptor(self, key: str | int) -> TokenCipher:
        record = self.find(key)
        record.check_usage(encrypt=True)
        record.check_state()
        _check_type(record, TOKEN_KEY_TYPE)
        if record.superseded_by is not None:
            raise KeyStateError(
                f"{record} was superseded by key {record.superseded_by}: it decrypts only",
                hint="Encrypt with the key's name, which means its current version.",
            )
        cipher = self._keyring.cipher(record, self._unlock)
        if not self._is_dirty():
            self._keyring.forget_checks(more_than=KEYS_MAX)
            self._encryptors[key, self._user()] = self._stamp(), cipher
        return cipher

    def _decryptor(self, token: bytes) -> TokenCipher:
        _, key_id = read_header(token)
        record = self.find(key_id)
        record.check_usage(encrypt=False)
        record.check_state()
        _check_type(record, TOKEN_KEY_TYPE)
        cipher = self._keyring.cipher(record, self._unlock)
        if not self._is_dirty():
            self._keyring.forget_checks(more_than=KEYS_MAX)
            self._decryptors[token[1:HEADER_BYTES], self._user()] = self._stamp(), cipher
        return cipher

    def token_encrypt(
        self, key: str | int, plaintext: bytes | None, associated_data: bytes, deterministic: bool
    ) -> bytes | None:
        """Encrypt to a token.

        Args:
            key: name or id.
            plaintext: of any length; None gives None.
            associated_data: authenticated with it, and needed to decrypt.
            deterministic: give the same token for the same plaintext and associated data.

        Returns:
            The token.

        Raises:
            UndefinedError: there is no such key.
            PrivilegeError: the current user may not encrypt with it.
            KeyStateError: it is disabled, destroyed, expired, superseded or locked.
            LimitError: the token would not fit into a bytea.
        """
        if plaintext is None:
            return None
        known = self._encryptors.get((key, self._user()))
        cipher = known[1] if known and known[0] == self._stamp() else self._encryptor(key)
        if deterministic:
            return cipher.encrypt_deterministic(plaintext, associated_data)
        if deterministic is None:
            raise DataError("deterministic must not be NULL")
        return cipher.encrypt(plaintext, associated_data)

    def token_decrypt(self, token: bytes | None, associated_data: bytes) -> bytes | None:
        """Verify and decrypt a token.

        Args:
            token: from ``token_encrypt``; None gives None.
            associated_data: what it was made with.

        Returns:
            The plaintext.

        Raises:
            DataError: it is not a token, or does not verify.
            UndefinedError: there is no such key any more.
            PrivilegeError: the current user may not decrypt with it.
            KeyStateError: it is disabled, destroyed, expired or locked.
        """
        if token is None:
            return None
        known = self._decryptors.get((token[1:HEADER_BYTES], self._user()))
        cipher = known[1] if known and known[0] == self._stamp() else self._decryptor(token)
        return cipher.decrypt(token, associated_data)

    def token_encrypt_text(
        self, key: str | int, plaintext: str | None, associated_data: bytes, deterministic: bool
    ) -> bytes | None:
        """Encrypt a text, as UTF-8; see ``token_encrypt``."""
        if plaintext is None:
            return None
        return self.token_encrypt(key, plaintext.encode(), associated_data, deterministic)

    def token_decrypt_text(self, token: bytes | None, associated_data: bytes) -> str | None:
        """Decrypt a text; see ``token_decrypt``.

        Raises:
            DataError: the plaintext is not text, or see there.
        """
        plaintext = self.token_decrypt(token, associated_data)
        return None if plaintext is None else to_text(plaintext)

    def token_try_decrypt(self, token: bytes | None, associated_data: bytes) -> bytes | None:
        """Decrypt a token, or give None for one that does not open; see ``token_decrypt``.

        Raises:
            PrivilegeError: the current user may not decrypt with the key, which is not the token's fault.
        """
        try:
            return self.token_decrypt(token, associated_data)
        except (DataError, UndefinedError, KeyStateError):
            return None

    def token_reencrypt(self, token: bytes | None, key: str | int, associated_data: bytes) -> bytes | None:
        """Decrypt a token and encrypt it under another key, in the same suite.

        Args:
            token: None gives None.
            key: name or id of the other key.
            associated_data: what the token was made with, and is made with again.

        Returns:
            The new token.

        Raises:
            Error: see ``token_decrypt`` and ``token_encrypt``.
        """
        if token is None:
            return None
        plaintext = self.token_decrypt(token, associated_data)
        return self.token_encrypt(key, plaintext, associated_data, SUITES[token[0]] == "aes-256-siv")

    def token_info(self, token: bytes | None) -> tuple[int, str, int, str | None, str | None] | None:
        """Tell what a token says of itself; nothing is verified.

        Args:
            token: None gives None.

        Returns:
            Format, suite, the key's id, and its name and state if the current user may use it or owns it.

        Raises:
            DataError: it is not a token.
        """
        if token is None:
            return None
        suite, key_id = read_header(token)
        try:
            record = self.find(key_id)
        except UndefinedError:
            return 1, SUITES[suite], key_id, None, None
        if not (record.may_encrypt or record.may_decrypt):
            return 1, SUITES[suite], key_id, None, None
        return 1, SUITES[suite], key_id, record.name, record.state

    # Wraps for secrets of the user's own

    def wrap_key(self, secret: bytes | None) -> bytes | None:
        """Wrap a secret under the root key.

        Args:
            secret: of any length; None gives None.

        Returns:
            The root key's fingerprint (16 bytes) and the wrap.

        Raises:
            RootKeyError: there is no root key.
        """
        if secret is None:
            return None
        root_key = self._database.root_key()
        fingerprint = bytes.fromhex(root_key.fingerprint)
        return fingerprint + root_key.wrap(secret, b"wrap_key" + fingerprint)

    def unwrap_key(self, wrapped: bytes | None) -> bytes | None:
        """Unwrap what ``wrap_key`` made.

        Args:
            wrapped: None gives None.

        Returns:
            The secret.

        Raises:
            DataError: it does not verify.
            RootKeyError: there is no root key, or it was made under another.
        """
        if wrapped is None:
            return None
        if len(wrapped) < FINGERPRINT_BYTES + OVERHEAD_BYTES:
            raise not_authentic("wrapped")
        fingerprint = wrapped[:FINGERPRINT_BYTES]
        return self._database.root_key().unwrap(
            wrapped[FINGERPRINT_BYTES:], b"wrap_key" + fingerprint, fingerprint.hex()
        )

    # Management. In the transaction that changed a key nothing is kept from row to row: it may be rolled back
    # to a savepoint, and a token of a key that never was could not be decrypted.

    def _is_dirty(self) -> bool:
        return self._dirty is not None and self._dirty == self._database.transaction()

    def _change(self, operation: Callable[[], _Result]) -> _Result:
        self._dirty = self._database.transaction()
        self._keyring.forget_checks()
        return self._database.as_owner(operation)

    def create_data_key(self, name: str, length: int, expires: str | None, comment: str | None, wrap: str) -> int:
        """Make a data key of random bytes, wrapped under the root key and owned by the current user.

        Args:
            name: 1 to 255 characters; no other enabled key has it.
            length: 16 to 64 bytes.
            expires: when, as a timestamp's text; None for never.
            comment: for people; None for none.
            wrap: ``root``.

        Returns:
            Its id.

        Raises:
            ParameterError: an argument is out of range.
            DuplicateKeyError: the name is taken.
            RootKeyError: there is no root key.
        """
        if wrap is None:
            raise DataError("wrap must not be NULL")
        if wrap != "root":
            raise ParameterError(f'wrap must be root, not "{_shorten(wrap)}"')
        check_length(length, SECRET_BYTES_MIN, SECRET_BYTES_MAX)
        secret = os.urandom(length)
        return self.create(name, secret, expires=expires, comment=comment)

    def create(
        self,
        name: str | None,
        secret: bytes | None,
        *,
        key_type: str = "data",
        expires: str | None = None,
        comment: str | None = None,
        family: int | None = None,
        key_id: int | None = None,
        derivation: tuple[int, bytes, int] | None = None,
        passphrase: bytes | None = None,
        uuid: bytes | None = None,
        user_data: str | None = None,
        owner: int | None = None,
    ) -> int:
        """Make a key of the current user's.

        Args:
            name: or None for a key without one.
            secret: its bytes; None for a derived key.
            key_type: what it is for.
            expires: when, as a timestamp's text; None for never.
            comment: for people; None for none.
            family: the id of its first version; None if it is the first.
            key_id: its id; None for the next.
            derivation: a derived key's number, context and length.
            passphrase: wraps it under this instead of the root key.
            uuid: 16 bytes; None for a random one.
            user_data: a JSON text; None for none.
            owner: the OID of its owner; None for the current user.

        Returns:
            Its id.

        Raises:
            ParameterError: an argument is out of range.
            DuplicateKeyError: the name is taken.
            RootKeyError: there is no root key.
        """
        if name is not None or key_type == "data":
            check_name(name)
        owner = owner or self._user()
        uuid = uuid or _new_uuid()
        number, context, size = derivation or (None, None, 0)
        packed = b"" if number is None or context is None else number.to_bytes(8, "little", signed=True) + context
        associated_data = wrap_associated_data(uuid, key_type, packed)
        body = secret if secret is not None else bytes([size])

        def insert() -> int:
            execute = self._database.execute
            if expires is not None and not execute(
                "SELECT WHERE $1 OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp()",
                ("timestamptz", expires),
            ):
                raise ParameterError(f"expires must lie in the future, and is {expires}")
            new_id = key_id or _scalar(
                execute("SELECT pg_catalog.nextval('{s}.key_id_seq'::pg_catalog.regclass)::integer AS id")
            )
            rows = execute(
                "INSERT INTO {s}.key (id, uuid, family, name, key_type, expires, owner, comment, user_data,"
                " derivation_id, context) VALUES ($1, pg_catalog.encode($2, 'hex')::uuid, $3, $4,"
                " $5::{s}.key_type, $6, $7::pg_catalog.regrole, $8, $9, $10, $11)"
                " ON CONFLICT DO NOTHING RETURNING id",
                ("integer", new_id),
                ("bytea", uuid),
                ("integer", family or new_id),
                ("text", name),
                ("text", key_type),
                ("timestamptz", expires),
                ("oid", owner),
                ("text", comment),
                ("jsonb", user_data),
                ("bigint", number),
                ("bytea", context),
            )
            if not rows:
                if execute(
                    "SELECT FROM {s}.key WHERE uuid OPERATOR(pg_catalog.=) pg_catalog.encode($1, 'hex')::uuid",
                    ("bytea", uuid),
                ):
                    raise DuplicateKeyError(f"there is a key with uuid {_uuid_text(uuid)} already")
                raise DuplicateKeyError(
                    f'there is an enabled key "{name}" already',
                    hint="Supersede it, disable it, or choose another name.",
                )
            if passphrase is None:
                self._insert_root_wrap(new_id, body, associated_data)
            else:
                self._insert_passphrase_wrap(new_id, body, associated_data, passphrase)
            return int(new_id)

        return self._change(insert)

    def _insert_root_wrap(self, key_id: int, secret: bytes, associated_data: bytes) -> None:
        root_key = self._database.root_key()
        self._database.execute(
            "INSERT INTO {s}.key_wrap (key_id, kind, fingerprint, wrapped) VALUES ($1, 'root', $2, $3)",
            ("integer", key_id),
            ("text", root_key.fingerprint),
            ("bytea", root_key.wrap(secret, associated_data)),
        )

    def _insert_passphrase_wrap(
        self, key_id: int, secret: bytes, associated_data: bytes, passphrase: bytes
    ) -> None:
        stretching = Stretching.new()
        self._database.execute(
            "INSERT INTO {s}.key_wrap (key_id, kind, salt, opslimit, memlimit, wrapped)"
            " VALUES ($1, 'passphrase', $2, $3, $4, $5)",
            ("integer", key_id),
            ("bytea", stretching.salt),
            ("integer", stretching.opslimit),
            ("bigint", stretching.memlimit),
            ("bytea", wrap(secret, associated_data, stretching.wrapping_key(passphrase))),
        )

    def supersede_data_key(self, key: str | int) -> int:
        """Make a new version of a key: the same name, lifetime and grants, new random bytes.

        Args:
            key: name or id of its current version.

        Returns:
            The new version's id.

        Raises:
            UndefinedError: there is no such key.
            KeyStateError: it is not enabled, was superseded before, or has other wraps than the root key's.
        """
        record = self.find(key)
        record.check_state(allow_expired=True)
        if record.other_wraps:
            raise KeyStateError(
                f"{record} has wraps that only their holders can make anew: " + ", ".join(record.other_wraps)
            )
        secret = self._keyring.secret(record, self._unlock)
        return self.supersede(record, os.urandom(len(secret)))

    def supersede(self, record: Record, secret: bytes, passphrase: bytes | None = None) -> int:
        """Make a new version of a key with given bytes; see ``supersede_data_key``.

        Args:
            record: the current version's.
            secret: the new version's bytes.
            passphrase: wraps the new version under this instead of the root key.

        Returns:
            The new version's id.

        Raises:
            KeyStateError: the key was superseded before.
        """

        def replace() -> int:
            execute = self._database.execute
            rows = execute(
                "UPDATE {s}.key SET superseded_by = pg_catalog.nextval('{s}.key_id_seq'::pg_catalog.regclass)"
                " WHERE id OPERATOR(pg_catalog.=) $1 AND superseded_by IS NULL"
                " RETURNING superseded_by, comment, user_data::text AS user_data, owner::oid AS owner,"
                # As long as the old one was meant to live, from now on.
                " CASE WHEN pg_catalog.isfinite(expires) AND expires OPERATOR(pg_catalog.>) created"
                " THEN pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+)"
                " (expires OPERATOR(pg_catalog.-) created) END::text AS expires",
                ("integer", record.id),
            )
            if not rows:
                raise KeyStateError(f"{record} was superseded already")
            (row,) = rows
            return self.create(
                record.name,
                secret,
                key_type=record.key_type,
                expires=row["expires"],
                comment=row["comment"],
                user_data=row["user_data"],
                family=record.family,
                key_id=row["superseded_by"],
                passphrase=passphrase,
                owner=row["owner"],
            )

        return self._change(replace)

    def disable_data_key(self, key_id: int) -> None:
        """Disable a key: it neither encrypts nor decrypts until it is enabled again.

        Args:
            key_id: its id.

        Raises:
            UndefinedError: there is no such key.
            KeyStateError: it was destroyed.
        """
        self._set_state(key_id, "disabled")

    def enable_data_key(self, key_id: int) -> None:
        """Enable a key that was disabled.

        Args:
            key_id: its id.

        Raises:
            UndefinedError: there is no such key.
            KeyStateError: it was destroyed.
            DuplicateKeyError: another key with its name is enabled.
        """
        self._set_state(key_id, "enabled")

    def _set_state(self, key_id: int, state: str) -> None:
        record = self.find(key_id)

        def update() -> None:
            execute = self._database.execute
            # The row is locked first, so that two sessions do not both find the name free.
            (row,) = execute(
                "SELECT state::text AS state, superseded_by FROM {s}.key WHERE id OPERATOR(pg_catalog.=) $1"
                " FOR UPDATE",
                ("integer", key_id),
            )
            if row["state"] == "destroyed":
                raise KeyStateError(f"{record} was destroyed: nothing brings it back")
            rows = execute(
                "UPDATE {s}.key SET state = $2::{s}.key_state WHERE id OPERATOR(pg_catalog.=) $1"
                " AND ($2 OPERATOR(pg_catalog.<>) 'enabled' OR superseded_by IS NOT NULL OR NOT EXISTS ("
                "SELECT FROM {s}.key AS other WHERE other.name OPERATOR(pg_catalog.=) key.name"
                " AND other.state = 'enabled'::{s}.key_state AND other.superseded_by IS NULL"
                " AND other.id OPERATOR(pg_catalog.<>) key.id)) RETURNING id",
                ("integer", key_id),
                ("text", state),
            )
            if not rows:
                raise DuplicateKeyError(f'there is another enabled key "{record.name}"')

        self._change(update)

    def destroy_data_key(self, key_id: int, confirm_name: str, force: bool) -> None:
        """Erase every wrap of a key: what it encrypted is lost, for good, once backups of the table are gone.

        Args:
            key_id: its id.
            confirm_name: its name, or its uuid if it has none.
            force: even if something still depends on the key.

        Raises:
            UndefinedError: there is no such key.
            ParameterError: the name is not the key's.
            KeyStateError: it was destroyed before.
        """
        record = self.find(key_id)
        if confirm_name is None:
            raise DataError("confirm_name must not be NULL")
        if force is None:
            raise DataError("force must not be NULL")
        if confirm_name != (record.name or _uuid_text(record.uuid)):
            raise ParameterError(
                f"confirm_name is not the name of key {record.id}: nothing was destroyed",
                hint="Give the key's name, exactly, to show that it is the one you mean.",
            )
        if record.state == "destroyed":
            raise KeyStateError(f"{record} was destroyed before")

        def erase() -> None:
            self._database.execute(
                "DELETE FROM {s}.key_wrap WHERE key_id OPERATOR(pg_catalog.=) $1", ("integer", key_id)
            )
            self._database.execute(
                "UPDATE {s}.key SET state = 'destroyed', derivation_id = NULL, context = NULL"
                " WHERE id OPERATOR(pg_catalog.=) $1",
                ("integer", key_id),
            )

        self._change(erase)

    def drop(self, record: Record) -> None:
        """Remove a key from the table, wraps and all."""

        def delete() -> None:
            self._database.execute(
                "DELETE FROM {s}.key WHERE id OPERATOR(pg_catalog.=) $1", ("integer", record.id)
            )

        self._change(delete)

    def grant_data_key(self, key: str | int, role: str, usage: Sequence[str]) -> None:
        """Let a role use a key, and the versions that come after it.

        Args:
            key: name or id.
            role: the role's name, quoted where it must be.
            usage: of ``encrypt`` and ``decrypt``.

        Raises:
            UndefinedError: there is no such key.
            ParameterError: a usage is not one.
        """
        family = self.find(key).family
        check_usage(usage)
        if role is None:
            raise DataError("role must not be NULL")

        def insert() -> None:
            # regrole takes any number, as the OID that a role may have had.
            if not self._database.execute(
                "SELECT FROM pg_catalog.pg_roles WHERE oid OPERATOR(pg_catalog.=) $1::pg_catalog.regrole::oid",
                ("text", role),
            ):
                raise UndefinedError(f"there is no role {role}")
            self._database.execute(
                "INSERT INTO {s}.key_grant AS old (family, grantee, usage)"
                " VALUES ($1, $2::pg_catalog.regrole, $3) ON CONFLICT (family, grantee) DO UPDATE SET usage ="
                " ARRAY(SELECT DISTINCT u FROM pg_catalog.unnest(old.usage OPERATOR(pg_catalog.||)"
                " excluded.usage) AS u ORDER BY u)",
                ("integer", family),
                ("text", role),
                ("text[]", list(usage)),
            )

        self._change(insert)

    def revoke_data_key(self, key: str | int, role: str, usage: Sequence[str]) -> None:
        """Take a grant back; see ``grant_data_key``."""
        family = self.find(key).family
        check_usage(usage)
        if role is None:
            raise DataError("role must not be NULL")

        def remove() -> None:
            arguments = (("integer", family), ("text", role), ("text[]", list(usage)))
            self._database.execute(
                "DELETE FROM {s}.key_grant WHERE family OPERATOR(pg_catalog.=) $1"
                " AND grantee = $2::pg_catalog.regrole AND usage OPERATOR(pg_catalog.<@) $3",
                *arguments,
            )
            self._database.execute(
                "UPDATE {s}.key_grant SET usage = ARRAY(SELECT u FROM pg_catalog.unnest(usage) AS u"
                " WHERE u OPERATOR(pg_catalog.<>) ALL ($3)) WHERE family OPERATOR(pg_catalog.=) $1"
                " AND grantee = $2::pg_catalog.regrole",
                *arguments,
            )

        self._change(remove)

    # Passphrase wraps

    def open_with_passphrase(self, record: Record, passphrase: bytes) -> bytes:
        """Return the secret of a key that has a passphrase wrap.

        Args:
            record: the key's.
            passphrase: of any length but 0.

        Returns:
            The secret. It must not be given to SQL, but by functions whose purpose that is.

        Raises:
            PassphraseError: the passphrase is wrong, or the wrap was altered.
            KeyStateError: the key has no passphrase wrap.
        """

        def read() -> _Rows:
            return self._database.execute(
                "SELECT salt, opslimit, memlimit, wrapped FROM {s}.key_wrap"
                " WHERE key_id OPERATOR(pg_catalog.=) $1 AND kind = 'passphrase'",
                ("integer", record.id),
            )

        rows = self._database.as_owner(read)
        if not rows:
            raise KeyStateError(f"{record} has no passphrase")
        (row,) = rows
        # A second call with the same passphrase for the same wrap need not stretch it again.
        which = blake2b(
            record.associated_data + row["wrapped"] + passphrase, digest_size=32, key=self._session_key
        ).digest()
        if which in self._opened:
            return self._opened[which]
        stretching = Stretching(row["salt"], row["opslimit"], row["memlimit"])
        try:
            secret = unwrap(row["wrapped"], record.associated_data, stretching.wrapping_key(passphrase))
        except DataError as error:
            if "not authentic" not in error.message:
                error.message = f"{record}: {error.message}"
                raise
            raise PassphraseError(f"wrong passphrase for {record}") from None
        if len(self._opened) >= KEYS_MAX:
            self._opened.clear()
        self._opened[which] = secret
        return secret

    def add_passphrase(self, record: Record, secret: bytes, passphrase: bytes) -> None:
        """Wrap a key under a passphrase too, in place of the one it may have had.

        Args:
            record: the key's.
            secret: the key's, opened before.
            passphrase: of any length but 0.
        """

        def replace() -> None:
            self._delete_wrap(record, "passphrase")
            self._insert_passphrase_wrap(record.id, secret, record.associated_data, passphrase)

        self._change(replace)

    def add_root_wrap(self, record: Record, secret: bytes) -> None:
        """Wrap a key under the root key too.

        Args:
            record: the key's.
            secret: the key's, opened before.

        Raises:
            RootKeyError: there is no root key.
        """

        def replace() -> None:
            self._delete_wrap(record, "root")
            self._insert_root_wrap(record.id, secret, record.associated_data)

        self._change(replace)

    def drop_wrap(self, record: Record, kind: str) -> None:
        """Remove a wrap of a key, but not its last.

        Args:
            record: the key's.
            kind: ``root`` or ``passphrase``.

        Raises:
            KeyStateError: it has no such wrap, or no other.
        """
        kinds = {*record.other_wraps, *(["root"] if record.root_wrap else [])}
        if kind not in kinds:
            raise KeyStateError(f"{record} has no {kind} wrap")
        if len(kinds) == 1:
            raise KeyStateError(f"the {kind} wrap of {record} is its last: without it, it cannot be opened")
        self._change(lambda: self._delete_wrap(record, kind))

    def _delete_wrap(self, record: Record, kind: str) -> None:
        self._database.execute(
            "DELETE FROM {s}.key_wrap WHERE key_id OPERATOR(pg_catalog.=) $1 AND kind = $2::{s}.wrap_kind",
            ("integer", record.id),
            ("text", kind),
        )

    def lock(self) -> None:
        """Forget everything that this session has unlocked."""
        self._keyring.clear()
        self._opened.clear()


def check_name(name: str | None) -> None:
    """Refuse a name that is empty or too long.

    Raises:
        ParameterError: it is.
        DataError: it is NULL.
    """
    if name is None:
        raise DataError("name must not be NULL")
    if not 1 <= len(name) <= NAME_CHARACTERS_MAX:
        raise ParameterError(f"name must be 1 to {NAME_CHARACTERS_MAX} characters long, not {len(name)}")


def check_length(length: int, smallest: int, largest: int) -> None:
    """Refuse a key's length that is out of range.

    Raises:
        ParameterError: it is.
        DataError: it is NULL.
    """
    if length is None:
        raise DataError("length must not be NULL")
    if not smallest <= length <= largest:
        raise ParameterError(f"length must be {smallest} to {largest} bytes, not {length}")


def check_usage(usage: Sequence[str]) -> None:
    """Refuse a usage that is none.

    Raises:
        ParameterError: it is.
        DataError: it is NULL.
    """
    if usage is None:
        raise DataError("usage must not be NULL")
    if not usage or any(each not in USAGES for each in usage):
        raise ParameterError("usage must be of encrypt and decrypt")


def to_text(plaintext: bytes) -> str:
    """Read a plaintext as text.

    Raises:
        DataError: it is not one that PostgreSQL can hold: not UTF-8, or with a zero in it.
    """
    try:
        text = plaintext.decode()
    except UnicodeDecodeError:
        raise DataError("the plaintext is not text") from None
    if "\0" in text:
        raise DataError("the plaintext is not text: it has a zero byte")
    return text


def _check_type(record: Record, key_type: str) -> None:
    if record.key_type != key_type:
        raise DataError(f"{record} is of type {record.key_type}, and this needs one of type {key_type}")


def _shorten(text: str) -> str:
    return text if len(text) <= NAME_CHARACTERS_MAX else text[:NAME_CHARACTERS_MAX] + "..."


def _new_uuid() -> bytes:
    from uuid import uuid4  # slow to import, and only needed to make a key

    return uuid4().bytes


def _uuid_text(uuid: bytes) -> str:
    digits = uuid.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _scalar(rows: _Rows) -> Any:
    ((value,),) = (row.values() for row in rows)
    return value
