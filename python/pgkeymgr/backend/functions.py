"""Maps each SQL function to the Python method behind it, and creates the objects on first use.

A session calls few of the functions, and each session imports its own modules. So this module imports another one
only when one of its functions is called.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from .. import crypto
from ..crypto import by_id
from ..key.table import KeyTable
from .root_key import DerivedKeys, key_for_row

TYPE_CHECKING = False  # see key/named_tuple.py
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from ..column.adopt_table import Adoption
    from ..column.attach_partition import AttachPartition
    from ..column.blind_index import BlindIndexes
    from ..column.blinding import Blinding
    from ..column.build_blind_index import BuildBlindIndex
    from ..column.cell import Cells
    from ..column.compression import Compression
    from ..column.ddl import Ddl
    from ..column.decrypt_column import DecryptColumn
    from ..column.detached import DetachedPartitions
    from ..column.deterministic import Deterministic
    from ..column.encrypt_column import EncryptColumn
    from ..column.equality_search import EqualitySearches
    from ..column.finish_update import FinishUpdate
    from ..column.key_dependents import KeyDependents
    from ..column.mask import Masks
    from ..column.operation import Operations
    from ..column.plan_encrypt_column import PlanEncryptColumn
    from ..column.policy import Policies
    from ..column.postgres_index import PostgresIndexes
    from ..column.relations import Relations
    from ..column.rotate_blind_index import RotateBlindIndex
    from ..column.search import Searches
    from ..column.separate_column import SeparateColumn
    from ..column.upsert import Upserts
    from ..column.verify_column import VerifyColumn
    from ..column.view import Views
    from ..compat.pgcryptokey import Cryptokeys
    from ..compat.pgsodium import PgsodiumKeys
    from ..compat.vault import Vault
    from ..doctor import Doctor
    from ..key.audit import Audit
    from ..key.changes import KeyChanges
    from ..key.data_key import DataKeys
    from ..key.lifecycle import Lifecycle
    from ..key.nodes import KeyNodes
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
    "audit": ("verify_key_events", "checkpoint_key_events", "_link_key_events"),
    "data_keys": (
        "create_data_key",
        "supersede_data_key",
        "disable_data_key",
        "enable_data_key",
        "destroy_data_key",
        "move_expiry",
        "limit_encryption",
        "cancel_destroy",
        "grant_data_key",
        "revoke_data_key",
        "adopt_role",
        "key_dependents",
    ),
    "lifecycle": ("superseded_data_keys", "prune_data_keys"),
    "policies": ("set_key_policy", "run_key_policies"),
    "masks": ("set_mask",),
    "key_nodes": ("set_key_node", "follow_key_source", "make_keys_here", "key_node_status"),
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
        "_show_text",
        "_show_bytes",
        "_show_computed_text",
        "_show_computed_bytes",
        "_check_reads",
        "_seal_text",
        "_seal_bytes",
        "_seal_deterministic",
        "_seal_compressed",
        "_reseal",
        "_reseal_compressed",
        "_problem",
        "_key_by",
        "_send_text",
        "_send_bytes",
        "_take_text",
        "_take_bytes",
        "_seal_sent",
        "_seal_sent_deterministic",
        "_seal_sent_compressed",
        "_is_settled",
    ),
    "blinding": ("_blind", "_blind_compound", "_terms"),
    "blind_indexes": ("add_blind_index", "drop_blind_index"),
    "postgres_indexes": ("blind_index_statements",),
    "equality_searches": ("blind_index",),
    "build_blind_index": ("build_blind_index",),
    "rotate_blind_index": ("rotate_blind_index",),
    "searches": (
        "search_terms",
        "search_range_terms",
        "search_json_terms",
        "search_key_terms",
        "search_path_terms",
        "text_similarity",
    ),
    "encrypt_column": ("encrypt_column",),
    "plan_encrypt_column": ("plan_encrypt_column",),
    "compression": ("set_column_compression",),
    "separate_column": ("separate_column",),
    "attach_partition": ("attach_encrypted_partition",),
    "operations": (
        "migrate_column",
        "migrate_columns",
        "rotate_column",
        "rotate_columns",
        "decrypt_column",
        "decrypt_columns",
    ),
    "views": ("refresh_encrypted_view",),
    "finishing": ("finish_update",),
    "adoption": ("adopt_encrypted_table", "forget_dropped_table"),
    "ddl": ("_before_ddl", "_after_ddl", "alter_encrypted_table"),
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
    "vault": ("_vault_family", "_vault_seal", "_vault_open"),
}
"""The functions that SQL calls, by the attribute of ``Functions`` that has them.

The primitives and their variants are not listed, because their names are enough to find them.
"""

_PART_OF = {name: part for part, names in FUNCTIONS.items() for name in names}


class Functions:
    """The objects whose methods are the functions of one session."""

    def __init__(self, session: Session) -> None:
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

            return by_uuid.find(name, self.table.secret, self.table.check_search)
        return crypto.find(name)

    def speed_up(self, name: str) -> Callable[[Function], Function] | None:
        """Return the decorator that makes the fast form of a function.

        Args:
            name: the name of the function.

        Returns:
            The decorator, or None if the function has no fast form.
        """
        part = _PART_OF.get(name)
        if part == "tokens":
            from ..key.quick import quick_tokens

            return quick_tokens(self.table, self.tokens).get(name)
        if part == "cells":
            from ..column.quick import quick_cells

            return quick_cells(self.table, self.cells).get(name)
        return None

    @cached_property
    def table(self) -> KeyTable:
        """The key table."""
        return KeyTable(self.session)

    @cached_property
    def key_changes(self) -> KeyChanges:
        """The reports of changes to the key tables."""
        from ..key.changes import KeyChanges

        return KeyChanges(self.session, self.table)

    @property
    def audit(self) -> Audit:
        """The audit trail."""
        return self.table.audit

    @cached_property
    def derived_keys(self) -> DerivedKeys:
        """Keys derived from the root key."""
        return DerivedKeys(self.audit)

    @property
    def pg_kmgr(self) -> ModuleType:
        """The proposed key manager's cipher."""
        from ..compat import pg_kmgr

        return pg_kmgr

    @cached_property
    def data_keys(self) -> DataKeys:
        """The management of data keys."""
        from ..key.data_key import DataKeys

        return DataKeys(self.table, self._dependents_of)

    @cached_property
    def lifecycle(self) -> Lifecycle:
        """The superseded versions of keys."""
        from ..key.lifecycle import Lifecycle

        return Lifecycle(self.table, self.data_keys, self._dependents_of)

    @cached_property
    def policies(self) -> Policies:
        """The policies of keys."""
        from ..column.policy import Policies

        return Policies(self.table, self.data_keys, self.lifecycle, self.operations)

    @property
    def key_nodes(self) -> KeyNodes:
        """The nodes that share keys."""
        return self.table.nodes

    @cached_property
    def _key_dependents(self) -> KeyDependents:
        from ..column.key_dependents import KeyDependents

        return KeyDependents(self.relations, self.table)

    def _dependents_of(self, record: Record, is_final: bool = False) -> list[str]:
        return [
            *self._key_dependents.dependents_of(record, is_final=is_final),
            *self.vault.dependents_of(record, is_final=is_final),
        ]

    @cached_property
    def tokens(self) -> Tokens:
        """Tokens."""
        from ..key.token import Tokens

        return Tokens(self.table)

    @cached_property
    def wrap_key(self) -> WrapKey:
        """Keys wrapped for the user to keep."""
        from ..key.wrap_key import WrapKey

        return WrapKey(self.table.root_wraps, self.session)

    @cached_property
    def root_rotation(self) -> RootRotation:
        """The rotation of the root key."""
        from ..key.root_rotation import RootRotation

        return RootRotation(self.table)

    @cached_property
    def passphrase_wraps(self) -> PassphraseWraps:
        """Wraps under passphrases."""
        from ..key.passphrase_wrap import PassphraseWraps

        return PassphraseWraps(self.table)

    @cached_property
    def exchange(self) -> Exchange:
        """The sealed exchange."""
        from ..sealed.exchange import Exchange

        return Exchange(self.table)

    @cached_property
    def passphrases(self) -> Passphrases:
        """Passphrases of data keys."""
        from ..sealed.passphrase import Passphrases

        return Passphrases(self.table, self.passphrase_wraps, self.exchange)

    @cached_property
    def transport(self) -> Transport:
        """The import and export of sealed data keys."""
        from ..sealed.transport import Transport

        return Transport(self.table, self.exchange)

    @cached_property
    def user_keys(self) -> UserKeys:
        """The key pairs of users."""
        from ..sealed.user_key import UserKeys

        return UserKeys(self.table, self.exchange)

    @cached_property
    def sharing(self) -> Sharing:
        """Data keys sealed to users."""
        from ..sealed.sharing import Sharing

        return Sharing(self.table)

    @cached_property
    def session_keyring(self) -> SessionKeyring:
        """The list of the session's unlocked keys, and lock()."""
        from ..sealed.session_keyring import SessionKeyring

        return SessionKeyring(self.table, self.passphrase_wraps, self.exchange)

    @cached_property
    def cryptokeys(self) -> Cryptokeys:
        """The functions of pgcryptokey."""
        from ..compat.pgcryptokey import Cryptokeys

        return Cryptokeys(self.table, self.passphrase_wraps)

    @cached_property
    def pgsodium_keys(self) -> PgsodiumKeys:
        """The functions of pgsodium's key table."""
        from ..compat.pgsodium import PgsodiumKeys

        return PgsodiumKeys(self.table, self.data_keys)

    @cached_property
    def vault(self) -> Vault:
        """The secrets of a schema like Supabase Vault's."""
        from ..compat.vault import Vault

        return Vault(self.cells, self.table, self._key_dependents)

    @cached_property
    def cells(self) -> Cells:
        """The values of encrypted columns."""
        from ..column.cell import Cells

        return Cells(self.table)

    @cached_property
    def blinding(self) -> Blinding:
        """The values of blind indexes."""
        from ..column.blinding import Blinding

        # Most sessions need no registry for blind indexes: it is not made before it is asked.
        def compounds_under(key_id: int) -> list[list[int]]:
            return self.relations.registry.compounds_under(key_id)

        return Blinding(self.table, compounds_under)

    @cached_property
    def relations(self) -> Relations:
        """The tables of the database, and the registry of encrypted columns."""
        from ..column.relations import Relations

        return Relations(self.session)

    @cached_property
    def views(self) -> Views:
        """The views of encrypted tables."""
        from ..column.view import Views

        return Views(self.relations)

    @cached_property
    def finishing(self) -> FinishUpdate:
        """The second part of an update of the extension."""
        from ..column.finish_update import FinishUpdate

        return FinishUpdate(self.relations, self.views)

    @cached_property
    def adoption(self) -> Adoption:
        """The adoption of copies of dropped tables."""
        from ..column.adopt_table import Adoption

        return Adoption(self.relations, self.views, self.postgres_indexes, self.table)

    @cached_property
    def blind_indexes(self) -> BlindIndexes:
        """The blind indexes of encrypted columns."""
        from ..column.blind_index import BlindIndexes

        return BlindIndexes(self.relations, self.views, self.table, self.data_keys, self.postgres_indexes)

    @cached_property
    def postgres_indexes(self) -> PostgresIndexes:
        """PostgreSQL's indexes on the columns of blind indexes."""
        from ..column.postgres_index import PostgresIndexes

        return PostgresIndexes(self.relations)

    @cached_property
    def equality_searches(self) -> EqualitySearches:
        """The searches for equal values by blind indexes."""
        from ..column.equality_search import EqualitySearches

        return EqualitySearches(self.relations, self.blinding)

    @cached_property
    def searches(self) -> Searches:
        """The search terms of blind indexes."""
        from ..column.search import Searches

        return Searches(self.relations, self.equality_searches, self.blinding)

    @cached_property
    def build_blind_index(self) -> BuildBlindIndex:
        """The procedure that fills blind indexes in batches."""
        from ..column.build_blind_index import BuildBlindIndex

        return BuildBlindIndex(self.relations, self.views, self.blind_indexes, self.postgres_indexes, self.table)

    @cached_property
    def rotate_blind_index(self) -> RotateBlindIndex:
        """The procedure that gives blind indexes other keys."""
        from ..column.rotate_blind_index import RotateBlindIndex

        return RotateBlindIndex(self.relations, self.views, self.blind_indexes, self.postgres_indexes, self.table)

    @cached_property
    def encrypt_column(self) -> EncryptColumn:
        """The first step of encrypting a column."""
        from ..column.encrypt_column import EncryptColumn

        return EncryptColumn(self.relations, self.views, self.blind_indexes, self.table, self.data_keys)

    @cached_property
    def plan_encrypt_column(self) -> PlanEncryptColumn:
        """The dry run of encrypting a column."""
        from ..column.plan_encrypt_column import PlanEncryptColumn

        return PlanEncryptColumn(self.relations, self.encrypt_column)

    @cached_property
    def compression(self) -> Compression:
        """Compression before encryption, as an option of each column."""
        from ..column.compression import Compression

        return Compression(self.relations, self.views)

    @cached_property
    def masks(self) -> Masks:
        """The masks of columns, as their owners set them."""
        from ..column.mask import Masks

        return Masks(self.relations, self.views, self.table)

    @cached_property
    def separate_column(self) -> SeparateColumn:
        """The separation of columns of a clone."""
        from ..column.separate_column import SeparateColumn

        return SeparateColumn(self.relations, self.views, self.table, self.data_keys)

    @cached_property
    def operations(self) -> Operations:
        """The procedures that change a column in batches."""
        from ..column.operation import Operations

        return Operations(self.relations, self.views, self._decrypt_column, self.table, self.data_keys)

    @cached_property
    def _decrypt_column(self) -> DecryptColumn:
        from ..column.decrypt_column import DecryptColumn

        return DecryptColumn(self.relations, self.views, self.blind_indexes, self.postgres_indexes)

    @cached_property
    def ddl(self) -> Ddl:
        """The event triggers that follow the user's DDL."""
        from ..column.ddl import Ddl

        return Ddl(self.relations, self.views, self.detached)

    @cached_property
    def attach_partition(self) -> AttachPartition:
        """The procedure that attaches a plain table to a partitioned one."""
        from ..column.attach_partition import AttachPartition

        return AttachPartition(self.relations, self.views, self.detached, self.encrypt_column, self.operations)

    @cached_property
    def detached(self) -> DetachedPartitions:
        """The partitions that are attached and detached."""
        from ..column.detached import DetachedPartitions

        return DetachedPartitions(self.relations, self.views)

    @cached_property
    def deterministic(self) -> Deterministic:
        """Lookups in deterministic columns."""
        from ..column.deterministic import Deterministic

        return Deterministic(self.relations, self.table)

    @cached_property
    def upserts(self) -> Upserts:
        """The insertion or update of a row."""
        from ..column.upsert import Upserts

        return Upserts(self.relations)

    @cached_property
    def verify_column(self) -> VerifyColumn:
        """The check that every value of a column can be decrypted."""
        from ..column.verify_column import VerifyColumn

        return VerifyColumn(self.relations, self.table)

    @cached_property
    def doctor(self) -> Doctor:
        """The checks of the whole set-up."""
        from ..doctor import Doctor

        return Doctor(self.session, self.audit)
