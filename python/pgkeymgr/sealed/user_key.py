"""The functions that make, unlock, rotate and drop users' key pairs, and change their passphrases."""

from nacl import bindings

from ..errors import DataError, DuplicateKeyError, KeyStateError, PassphraseError, UndefinedError
from ..key.arguments import refuse_null
from ..key.passphrase import Stretching
from ..key.table import KeyTable
from ..key.user_wrap import open_user_wrap
from ..key.wrap_rows import UserKeyRow
from ..root_key.wrap import unwrap, wrap
from .attempts import attempt, check_passphrase
from .exchange import Exchange

_LABEL = b"user key"


class UserKeys:
    """The functions of users' key pairs, for one session. Users manage their own pairs."""

    def __init__(self, table: KeyTable, exchange: Exchange) -> None:
        self._table = table
        self._database = table.database
        self._rows = table.user_key_rows
        self._exchange = exchange

    def create_user_key(self, sealed: bytes) -> None:
        """Make the current user's key pair, and wrap its secret half under a passphrase.

        Args:
            sealed: the passphrase.

        Raises:
            ChallengeError: the message is not for this session's present offer.
            DuplicateKeyError: the user has a pair already.
        """
        (passphrase,) = self._exchange.open(sealed, 1)
        user = self._database.user()
        if self._rows.find(user) is not None:
            raise DuplicateKeyError("the role already has a key pair", hint="rotate_user_key() makes a new one.")
        public, secret = bindings.crypto_box_keypair()
        self._store(user, public, secret, check_passphrase(passphrase), replaces=None)
        self._table.audit.record("create_user_key", None, None, public.hex())

    def unlock_user_key(self, sealed: bytes, for_transaction: bool) -> None:
        """Unlock the current user's key pair, and so every data key that is shared to it, in this session.

        Args:
            sealed: the passphrase.
            for_transaction: whether the pair is unlocked until the transaction ends, instead of the session.

        Raises:
            ChallengeError: the message is not for this session's present offer.
            UndefinedError: the user has no pair.
            PassphraseError: the passphrase is wrong.
        """
        (passphrase,) = self._exchange.open(sealed, 1)
        user = self._database.user()
        public, secret = self._opened("failed_unlock_user_key", user, passphrase)
        scope = self._table.unlocked.scope(for_transaction=for_transaction)
        self._table.unlocked.keep_user(user, public, secret, scope)
        self._table.forget_checks()
        self._table.audit.record("unlock_user_key", None, None, f"for the {scope.until}", even_if_undone=True)

    def change_user_passphrase(self, sealed: bytes) -> None:
        """Wrap the current user's secret key under another passphrase.

        Args:
            sealed: the present passphrase and the new passphrase.

        Raises:
            ChallengeError: the message is not for this session's present offer.
            UndefinedError: the user has no pair.
            PassphraseError: the present passphrase is wrong.
        """
        old, new = self._exchange.open(sealed, 2)
        user = self._database.user()
        check_passphrase(new)
        public, secret = self._opened("failed_change_user_passphrase", user, old)
        self._store(user, public, secret, new, replaces=public)
        self._table.audit.record("change_user_passphrase", None, None)

    def rotate_user_key(self, sealed: bytes) -> None:
        """Make a new key pair for the current user, and seal to it all keys that are sealed to the old one.

        Args:
            sealed: the passphrase; or the present passphrase and the new passphrase.

        Raises:
            ChallengeError: the message is not for this session's present offer.
            UndefinedError: the user has no pair.
            PassphraseError: the present passphrase is wrong.
            DataError: a wrap does not open: nothing was rotated.
        """
        old, *new = self._exchange.open(sealed, 1, 2)
        user = self._database.user()
        passphrase = check_passphrase(new[0] if new else old)
        old_public, old_secret = self._opened("failed_rotate_user_key", user, old)
        public, secret = bindings.crypto_box_keypair()

        def reseal() -> int:
            # A key that is shared to the old public key during the rotation would be lost.
            self._rows.lock_for_change(old_public)
            sealed = self._table.wrap_rows.sealed_to(old_public)
            for key in sealed:
                data_key = open_user_wrap(key.wrapped, key.associated_data, old_public, old_secret)
                if data_key is None:
                    raise DataError(f"the wrap of key {key.id} for this role was altered: nothing was rotated")
                key.wraps.set_user(data_key, public)
            self._table.wrap_rows.remove_all_of(old_public)
            return len(sealed)

        count = self._table.change(reseal)
        self._store(user, public, secret, passphrase, replaces=old_public)
        self._table.unlocked.add_pair(user, public, secret)
        self._table.audit.record("rotate_user_key", None, None, f"{public.hex()}, {count} data keys sealed to it")

    def drop_user_key(self, role: str, force: bool) -> None:
        """Remove a role's key pair, and all wraps that were sealed to it.

        An administrator calls this when the passphrase is lost, for instance.

        Args:
            role: the role's name, quoted where it must be.
            force: whether to remove the pair even if that makes a data key unreadable.

        Raises:
            DataError: an argument is NULL.
            UndefinedError: the role has no pair.
            KeyStateError: a data key has no other wrap.
        """
        refuse_null(role=role, force=force)

        def delete() -> tuple[bytes, list[str]]:
            # This locks the pair before the keys, as all who seal to it do.
            public = self._rows.delete(role)
            if public is None:
                raise UndefinedError(f"role {role} has no key pair")
            keys = [key.id for key in self._table.wrap_rows.sealed_to(public)]
            if not force:
                self._table.wrap_rows.remove(keys, "user", public)
            self._table.wrap_rows.remove_all_of(public)
            lost = self._table.wrap_rows.without_wraps(keys)
            return public, [f"key {row['id']} is lost" for row in lost]

        public, lost = self._table.change(delete)
        detail = "; ".join([f"role {role}", public.hex(), *lost])
        self._table.audit.record("drop_user_key", None, None, detail)

    def _opened(self, event: str, user: int, passphrase: bytes) -> tuple[bytes, bytes]:
        row = self._rows.find(user)
        if row is None:
            raise UndefinedError("the role has no key pair", hint="create_user_key() makes one.")
        found = row

        def opened() -> bytes:
            wrapping_key = found.stretching.wrapping_key(check_passphrase(passphrase))
            try:
                secret = unwrap(found.wrapped, _LABEL + found.public, wrapping_key)
            except DataError:
                raise PassphraseError("wrong passphrase for the key pair of the role") from None
            return secret

        return row.public, attempt(self._table, event, None, None, opened)

    def _store(
        self, user: int, public: bytes, secret: bytes, passphrase: bytes, *, replaces: bytes | None
    ) -> None:
        stretching = Stretching.new()
        wrapped = wrap(secret, _LABEL + public, stretching.wrapping_key(passphrase))
        row = UserKeyRow(public, stretching, wrapped)

        def store() -> bool:
            if replaces is None:
                return self._rows.insert(user, row)
            return self._rows.replace(user, row, replaces)

        if not self._table.change(store):
            raise KeyStateError("the role's key pair was concurrently made, rotated or removed")
