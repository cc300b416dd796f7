"""The functions that add, use, change and drop the passphrases of data keys; the passphrases travel sealed."""

import contextlib
import os
from collections.abc import Callable

from ..errors import PassphraseError, PrivilegeError
from ..key.passphrase import Stretching
from ..key.passphrase_wrap import PassphraseWraps
from ..key.record import Record
from ..key.table import TOKEN_KEY_TYPE, KeyTable
from .attempts import attempt, check_passphrase
from .exchange import Exchange


class Passphrases:
    """The functions of passphrases, for one session.

    A name stands for all versions of the key, and for the keys of its blind indexes; an id stands for one key.
    """

    def __init__(self, table: KeyTable, wraps: PassphraseWraps, exchange: Exchange) -> None:
        self._table = table
        self._wraps = wraps
        self._exchange = exchange

    def add_passphrase(self, key: str | int, sealed: bytes) -> None:
        """Wrap a key under a passphrase, too.

        Args:
            key: name or id. It must be unlocked, or have a wrap under the root key.
            sealed: the passphrase.

        Raises:
            ChallengeError: the message is not for this session's present offer.
            UndefinedError: there is no such key.
            KeyStateError: the key is locked, disabled or destroyed, or has a passphrase.
        """
        (passphrase,) = self._exchange.open(sealed, 1)
        check_passphrase(passphrase)
        record, *others = self._related(key)
        record.check_state(allow_expired=True)
        opened = []
        for each in (record, *others):
            self._wraps.check_has_none(each)
            opened.append((each, self._table.keyring.secret(each, self._table.unlock)))
        stretched = Stretching.new().stretch(passphrase)
        for each, secret in opened:
            self._wraps.add_passphrase(each, secret, passphrase, stretched)

    def unlock_data_key(self, key: str | int, sealed: bytes, for_transaction: bool) -> None:
        """Unlock a key with its passphrase, for the current user in this session.

        Args:
            key: name or id.
            sealed: the passphrase.
            for_transaction: whether the key is unlocked until the transaction ends, instead of the session.

        Raises:
            ChallengeError: the message is not for this session's present offer.
            PassphraseError: the passphrase is wrong.
            PrivilegeError: the current user may not use the key.
            KeyStateError: the key is disabled, destroyed or expired, or has no passphrase.
        """
        (passphrase,) = self._exchange.open(sealed, 1)
        record, *others = self._related(key)
        self._check_may_use(record)
        record.check_state()
        opened = self._open_all("failed_unlock", record, others, passphrase)
        scope = self._table.unlocked.scope(for_transaction=for_transaction)
        for each, secret, wrapped in opened:
            self._table.unlocked.keep_key(each, secret, wrapped, scope)
            self._table.audit.record("unlock", each.id, each.name, f"for the {scope.until}", even_if_undone=True)
        self._table.forget_checks()

    def change_passphrase(self, key: str | int, sealed: bytes) -> None:
        """Wrap a key under another passphrase.

        Args:
            key: name or id.
            sealed: the present passphrase and the new passphrase.

        Raises:
            ChallengeError: the message is not for this session's present offer.
            PassphraseError: the present passphrase is wrong.
            PrivilegeError: the current user may not use the key.
            KeyStateError: the key is disabled or destroyed, or has no passphrase.
        """
        old, new = self._exchange.open(sealed, 2)
        record, *others = self._related(key)
        self._check_may_use(record)
        record.check_state(allow_expired=True)
        check_passphrase(new)
        opened = self._open_all("failed_change_passphrase", record, others, old)
        stretched = Stretching.new().stretch(new)
        for each, secret, _ in opened:
            self._wraps.add_passphrase(each, secret, new, stretched)

    def drop_passphrase(self, key: str | int) -> None:
        """Remove the passphrase of a key that can be opened without it.

        Args:
            key: name or id.

        Raises:
            UndefinedError: there is no such key.
            KeyStateError: it has no passphrase, or no other wrap.
        """
        self._drop_wraps(key, "passphrase", lambda each: each.has_wrap("passphrase"))

    def add_root_wrap(self, key: str | int) -> None:
        """Wrap an unlocked key under the root key, too: the server can open it from then on.

        Args:
            key: name or id.

        Raises:
            UndefinedError: there is no such key.
            KeyStateError: the key is locked.
            RootKeyError: there is no root key.
        """
        opened = [(each, self._table.keyring.secret(each, self._table.unlock)) for each in self._related(key)]
        for each, secret in opened:
            if each.root_wrap is None or len(opened) == 1:
                self._wraps.add_root_wrap(each, secret)

    def drop_root_wrap(self, key: str | int) -> None:
        """Remove a key's wrap under the root key: only a passphrase or a shared copy opens the key from then on.

        Args:
            key: name or id.

        Raises:
            UndefinedError: there is no such key.
            KeyStateError: it has no such wrap, or no other.
        """
        self._drop_wraps(key, "root", lambda each: each.root_wrap is not None)

    def supersede_sealed(self, key: str | int, sealed: bytes) -> int:
        """Make a new version of a key under the same passphrase; see ``supersede_data_key``.

        Args:
            key: name or id of its current version.
            sealed: the passphrase.

        Returns:
            The new version's id.

        Raises:
            ChallengeError: the message is not for this session's present offer.
            PassphraseError: the passphrase is wrong.
            KeyStateError: the key is not enabled, was superseded before, or has no passphrase.
        """
        (passphrase,) = self._exchange.open(sealed, 1)
        record = self._find(key)
        record.check_state(allow_expired=True)
        ((_, secret, _),) = self._open_all("failed_supersede", record, [], passphrase)
        return self._table.maker.supersede(record, os.urandom(len(secret)), passphrase)

    def _find(self, key: str | int) -> Record:
        record = self._table.find(key)
        record.check_type(TOKEN_KEY_TYPE)
        return record

    def _check_may_use(self, record: Record) -> None:
        if not record.has_usage:
            raise PrivilegeError(f"permission denied to unlock {record}")

    def _related(self, key: str | int) -> list[Record]:
        record = self._find(key)
        return self._table.related(record) if isinstance(key, str) else [record]

    def _drop_wraps(self, key: str | int, kind: str, has_it: Callable[[Record], bool]) -> None:
        record, *others = self._related(key)
        self._wraps.drop_wrap(record, kind)  # raises an error if this key does not have the wrap
        for each in filter(has_it, others):
            self._wraps.drop_wrap(each, kind)

    def _open_all(
        self, event: str, record: Record, others: list[Record], passphrase: bytes
    ) -> list[tuple[Record, bytes, bytes]]:
        """Open a key, and the other keys that the passphrase opens; return each with the wrap that was opened."""
        check_passphrase(passphrase)
        stretched: dict[Stretching, bytes] = {}
        first = attempt(
            self._table,
            event,
            record.id,
            record.name,
            lambda: self._wraps.open_wrap(record, passphrase, stretched),
        )
        opened = [(record, *first)]
        for each in others:
            if each.has_wrap("passphrase") and each.state == "enabled":
                with contextlib.suppress(PassphraseError):  # the key has another passphrase
                    opened.append((each, *self._wraps.open_wrap(each, passphrase, stretched)))
        return opened
