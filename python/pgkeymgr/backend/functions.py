"""Maps each SQL function to the Python method behind it, and creates the objects on first use.

A session calls few of the functions, and each session imports its own modules. So this module imports another one
only when one of its functions is called.
"""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .. import crypto
from ..crypto import by_id
from ..key.table import KeyTable
from .root_key import DerivedKeys, key_for_row

if TYPE_CHECKING:
    from types import ModuleType

    from ..column.blind_index import BlindIndexes
    from ..column.blinding import Blinding
    from ..column.cell import Cells
    from ..column.ddl import Ddl
    from ..column.decrypt_column import DecryptColumn
    from ..column.deterministic import Deterministic
    from ..column.encrypt_column import EncryptColumn
    from ..column.operation import Operations
    from ..column.relations import Relations
    from ..column.separate_column import SeparateColumn
    from ..column.upsert import Upserts
    from ..column.verify_column import VerifyColumn
    from ..column.view import Views
    from ..compat.pgcryptokey import Cryptokeys
    from ..compat.pgsodium import PgsodiumKeys
    from ..doctor import Doctor
    from ..key.audit import Audit
    from ..key.changes import KeyChanges
    from ..key.data_key import DataKeys
    from ..key.passphrase_wrap import PassphraseWraps
    from ..key.record import Record
    from ..key.root_rotation import RootRotation
    from ..key.token import Tokens
    from ..key.wrap_key import WrapKey
    from ..sealed.exchange import Exchange
    from ..sealed.passphrase import Passphrases
    from ..sealed.session_keyring import SessionKeyring
    from ..sealed.sharing import Sharing
    from ..sealed.transport import Transport
    from ..sealed.user_key import UserKeys
    from .session import Session

Function = Callable[..., Any]

FUNCTIONS = {
    "session": ("_take_key", "_as_owner", "_read_as_owner"),
    "derived_keys": ("derive_key", "derive_key_under"),
    "key_changes": ("_invalidate_keys",),
    "audit": ("verify_key_events", "_link_key_events"),
    "data_keys": (
        "create_data_key",
        "supersede_data_key",
        "disable_data_key",
        "enable_data_key",
        "destroy_data_key",
        "move_expiry",
        "grant_data_key",
        "revoke_data_key",
    ),
    "tokens": (
        "token_encrypt",
        "token_encrypt_text",
        "token_decrypt",
        "token_decrypt_text",
        "token_try_decrypt",
        "token_reencrypt",
        "token_info",
    ),
    "wrap_key": ("wrap_key", "unwrap_key"),
    "root_rotation": ("rotate_root_key", "root_key_status"),
    "exchange": ("exchange_offer", "exchange_fingerprint", "rotate_exchange_key"),
    "passphrases": (
        "add_passphrase",
        "unlock_data_key",
        "change_passphrase",
        "drop_passphrase",
        "add_root_wrap",
        "drop_root_wrap",
        "supersede_sealed",
    ),
    "transport": ("import_data_key", "export_data_key"),
    "user_keys": (
        "create_user_key",
        "unlock_user_key",
        "change_user_passphrase",
        "rotate_user_key",
        "drop_user_key",
    ),
    "sharing": ("share_data_key", "unshare_data_key"),
    "session_keyring": ("lock", "_session_keyring"),
    "cells": (
        "_open_text",
        "_open_bytes",
        "_seal_text",
        "_seal_bytes",
        "_seal_deterministic",
        "_reseal",
        "_problem",
        "_key_by",
        "_send_text",
        "_send_bytes",
        "_take_text",
        "_take_bytes",
        "_seal_sent",
        "_seal_sent_deterministic",
        "_is_settled",
    ),
    "blinding": ("_blind",),
    "blind_indexes": ("add_blind_index", "drop_blind_index", "blind_index"),
    "encrypt_column": ("encrypt_column",),
    "separate_column": ("separate_column",),
    "operations": ("migrate_column", "rotate_column", "decrypt_column"),
    "views": ("refresh_encrypted_view",),
    "ddl": ("_after_ddl",),
    "deterministic": ("deterministic_tokens",),
    "upserts": ("upsert",),
    "verify_column": ("verify_column", "_count_values"),
    "doctor": ("doctor",),
    "cryptokeys": (
        "create_cryptokey",
        "get_cryptokey",
        "set_cryptokey",
        "change_cryptokey_password",
        "supersede_cryptokey",
        "reencrypt_data",
        "reencrypt_data_bytea",
        "drop_cryptokey",
    ),
    "pgsodium_keys": (
        "create_key",
        "import_key",
        "crypto_aead_det_encrypt_by_uuid",
        "crypto_aead_det_decrypt_by_uuid",
        "crypto_kdf_derive_from_key_by_uuid",
    ),
    "pg_kmgr": ("pg_encrypt_text", "pg_decrypt_text"),
}
"""The functions that SQL calls, by the attribute of ``Functions`` that has them.

The primitives and their variants are not listed, because their names are enough to find them.
"""

_PART_OF = {name: part for part, names in FUNCTIONS.items() for name in names}


class Functions:
    """The objects whose methods are the functions of one session."""

    def __init__(self, session: "Session") -> None:
        self.session = session

    def find(self, name: str) -> Function | None:
        """Return a function that SQL calls.

        Args:
            name: the name by which SQL calls the function, which is the SQL name unless that is overloaded.

        Returns:
            The function, or None if no function has that name.
        """
        if name in _PART_OF:
            function: Function = getattr(getattr(self, _PART_OF[name]), name)
            return function
        if name.endswith("_by_id"):
            return by_id.find(name, key_for_row)
        if name.endswith("_by_uuid"):
            from ..compat import by_uuid

            return by_uuid.find(name, self.table.secret)
        return crypto.find(name)

    def speed_up(self, name: str) -> Callable[[Function], Function] | None:
        """Return the decorator that makes the fast form of a function.

        Args:
            name: the name of the function.

        Returns:
            The decorator, or None if the function has no fast form.
        """
        if _PART_OF.get(name) not in ("tokens", "cells"):
            return None
        from ..key.quick import quick_functions

        return quick_functions(self.table.keyring, self.session.user, self.session.stamp).get(name)

    @cached_property
    def table(self) -> KeyTable:
        """The key table."""
        return KeyTable(self.session)

    @cached_property
    def key_changes(self) -> "KeyChanges":
        """The reports of changes to the key tables."""
        from ..key.changes import KeyChanges

        return KeyChanges(self.session, self.table)

    @property
    def audit(self) -> "Audit":
        """The audit trail."""
        return self.table.audit

    @cached_property
    def derived_keys(self) -> DerivedKeys:
        """Keys derived from the root key."""
        return DerivedKeys(self.audit)

    @property
    def pg_kmgr(self) -> "ModuleType":
        """The proposed key manager's cipher."""
        from ..compat import pg_kmgr

        return pg_kmgr

    @cached_property
    def data_keys(self) -> "DataKeys":
        """The management of data keys."""
        from ..key.data_key import DataKeys

        return DataKeys(self.table, self._dependents_of)

    def _dependents_of(self, record: "Record") -> list[str]:
        return self.encrypt_column.dependents_of(record)

    @cached_property
    def tokens(self) -> "Tokens":
        """Tokens."""
        from ..key.token import Tokens

        return Tokens(self.table)

    @cached_property
    def wrap_key(self) -> "WrapKey":
        """Keys wrapped for the user to keep."""
        from ..key.wrap_key import WrapKey

        return WrapKey(self.table.root_wraps, self.session)

    @cached_property
    def root_rotation(self) -> "RootRotation":
        """The rotation of the root key."""
        from ..key.root_rotation import RootRotation

        return RootRotation(self.table)

    @cached_property
    def passphrase_wraps(self) -> "PassphraseWraps":
        """Wraps under passphrases."""
        from ..key.passphrase_wrap import PassphraseWraps

        return PassphraseWraps(self.table)

    @cached_property
    def exchange(self) -> "Exchange":
        """The sealed exchange."""
        from ..sealed.exchange import Exchange

        return Exchange(self.table)

    @cached_property
    def passphrases(self) -> "Passphrases":
        """Passphrases of data keys."""
        from ..sealed.passphrase import Passphrases

        return Passphrases(self.table, self.passphrase_wraps, self.exchange)

    @cached_property
    def transport(self) -> "Transport":
        """The import and export of sealed data keys."""
        from ..sealed.transport import Transport

        return Transport(self.table, self.exchange)

    @cached_property
    def user_keys(self) -> "UserKeys":
        """The key pairs of users."""
        from ..sealed.user_key import UserKeys

        return UserKeys(self.table, self.exchange)

    @cached_property
    def sharing(self) -> "Sharing":
        """Data keys sealed to users."""
        from ..sealed.sharing import Sharing

        return Sharing(self.table)

    @cached_property
    def session_keyring(self) -> "SessionKeyring":
        """The list of the session's unlocked keys, and lock()."""
        from ..sealed.session_keyring import SessionKeyring

        return SessionKeyring(self.table, self.passphrase_wraps, self.exchange)

    @cached_property
    def cryptokeys(self) -> "Cryptokeys":
        """The functions of pgcryptokey."""
        from ..compat.pgcryptokey import Cryptokeys

        return Cryptokeys(self.table, self.passphrase_wraps)

    @cached_property
    def pgsodium_keys(self) -> "PgsodiumKeys":
        """The functions of pgsodium's key table."""
        from ..compat.pgsodium import PgsodiumKeys

        return PgsodiumKeys(self.table, self.data_keys)

    @cached_property
    def cells(self) -> "Cells":
        """The values of encrypted columns."""
        from ..column.cell import Cells

        return Cells(self.table)

    @cached_property
    def blinding(self) -> "Blinding":
        """The values of blind indexes."""
        from ..column.blinding import Blinding

        return Blinding(self.table)

    @cached_property
    def relations(self) -> "Relations":
        """The tables of the database, and the registry of encrypted columns."""
        from ..column.relations import Relations

        return Relations(self.session)

    @cached_property
    def views(self) -> "Views":
        """The views of encrypted tables."""
        from ..column.view import Views

        return Views(self.relations)

    @cached_property
    def blind_indexes(self) -> "BlindIndexes":
        """The blind indexes of encrypted columns."""
        from ..column.blind_index import BlindIndexes

        return BlindIndexes(self.relations, self.views, self.table, self.blinding)

    @cached_property
    def encrypt_column(self) -> "EncryptColumn":
        """The first step of encrypting a column."""
        from ..column.encrypt_column import EncryptColumn

        return EncryptColumn(self.relations, self.views, self.blind_indexes, self.table, self.data_keys)

    @cached_property
    def separate_column(self) -> "SeparateColumn":
        """The separation of columns of a clone."""
        from ..column.separate_column import SeparateColumn

        return SeparateColumn(self.relations, self.views, self.table, self.data_keys)

    @cached_property
    def operations(self) -> "Operations":
        """The procedures that change a column in batches."""
        from ..column.operation import Operations

        return Operations(self.relations, self.views, self._decrypt_column, self.table, self.data_keys)

    @cached_property
    def _decrypt_column(self) -> "DecryptColumn":
        from ..column.decrypt_column import DecryptColumn

        return DecryptColumn(self.relations, self.views, self.blind_indexes, self.table)

    @cached_property
    def ddl(self) -> "Ddl":
        """The event triggers that follow the user's DDL."""
        from ..column.ddl import Ddl

        return Ddl(self.relations, self.views)

    @cached_property
    def deterministic(self) -> "Deterministic":
        """Lookups in deterministic columns."""
        from ..column.deterministic import Deterministic

        return Deterministic(self.relations, self.table)

    @cached_property
    def upserts(self) -> "Upserts":
        """The insertion or update of a row."""
        from ..column.upsert import Upserts

        return Upserts(self.relations)

    @cached_property
    def verify_column(self) -> "VerifyColumn":
        """The check that every value of a column can be decrypted."""
        from ..column.verify_column import VerifyColumn

        return VerifyColumn(self.relations, self.table)

    @cached_property
    def doctor(self) -> "Doctor":
        """The checks of the whole set-up."""
        from ..doctor import Doctor

        return Doctor(self.session, self.audit)
