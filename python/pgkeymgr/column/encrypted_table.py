"""Encrypted tables, columns, blind indexes and constraints, as the registry describes them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from .. import __version__
from .blinding import equality_options
from .catalog import DETACHED_TRIGGERS, SEALING_TRIGGERS
from .forms import Form
from .index_kinds import COMPOUND, EQUALITY, TEXT

NONE = "none"
"""The compression of a column whose values are not compressed; ``compression.py`` has the other one."""


class ColumnState(StrEnum):
    """The state of an encrypted column; all but ``ENCRYPTED`` are those of a procedure that has to end."""

    MIGRATING = "migrating"
    ENCRYPTED = "encrypted"
    ROTATING = "rotating"
    DECRYPTING = "decrypting"


_BYTEA = ("pg_catalog.bytea", 17)
_TYPES = {EQUALITY: _BYTEA, COMPOUND: _BYTEA, TEXT: ("pg_catalog.int2[]", 1005)}
_INT4_ARRAY = ("pg_catalog.int4[]", 1007)


@dataclass
class BlindIndex:
    """A blind index of an encrypted column; of a kind other than equality, see the table ``encrypted_terms``.

    Attributes:
        kind: ``equality``, ``compound``, ``text``, ``range`` or ``json``.
        name: the column of the base table, and of the view if it is shown.
        key: the id of its key.
        options: the constant that the triggers give to the function that computes its values.
        is_shown: whether the view has the column.
        is_filled: whether all rows have their value in it.
        key_is_given: whether the key is another one's, too, and stays without the index.
        with_columns: of a compound index, the further columns whose values it is of.
    """

    kind: str
    name: str
    key: int
    options: str
    is_shown: bool = False
    is_filled: bool = True
    key_is_given: bool = False
    with_columns: list[str] = field(default_factory=list)

    @property
    def is_of_equality(self) -> bool:
        """Whether it has one hash of each value, so that an ordinary index serves it."""
        return self.kind in (EQUALITY, COMPOUND)

    @property
    def sql_type(self) -> str:
        """The type of its column."""
        return _TYPES.get(self.kind, _INT4_ARRAY)[0]

    @property
    def type_oid(self) -> int:
        """The OID of the type of its column."""
        return _TYPES.get(self.kind, _INT4_ARRAY)[1]

    @property
    def function(self) -> str:
        """The name of the function that computes a value in it, without its schema."""
        return {EQUALITY: "_blind", COMPOUND: "_blind_compound", TEXT: "_text_terms"}.get(self.kind, "_terms")

    @property
    def operator_class(self) -> str | None:
        """The operator class of its GIN index, without its schema; None for an ordinary index."""
        return {EQUALITY: None, COMPOUND: None, TEXT: "text_term_ops"}.get(self.kind, "term_ops")


@dataclass
class EncryptedColumn:
    """An encrypted column; see the table ``encrypted_column``.

    Attributes:
        name: the column of the view, and the plaintext column of the base table. The latter is NULL, except in
            rows that ``migrate_column`` has not reached yet, or that ``decrypt_column`` has reached.
        cipher: the column of the base table that has the ciphertext.
        blind_key_is_given: whether the caller named the key of the blind index, which stays when it is dropped.
        compression: the compression of values that are written from now on; see ``compression.py``.
        mask: the mask for roles that may not decrypt the column: a name of ``masking.py``, a function, or None.
        blind_bits: the number of bits that the equality index has of each digest; None for all.
        terms: the blind index of a kind with search terms, or None.
        compound: the blind index of this column and others together, or None. It belongs to the first one of them.
        successor: the blind index that will take the place of that of the same kind, or None.
    """

    id: int
    uuid: bytes
    name: str
    cipher: str
    type: str
    sql_type: str
    form: Form
    collation: str | None
    not_null: bool
    default: str | None
    key: str
    family: int
    key_by: str | None
    deterministic: bool
    state: ColumnState
    blind: str | None
    blind_key: int | None
    normalization: str | None
    blind_is_shown: bool
    blind_is_filled: bool = True
    constraint_id: int | None = None
    blind_key_is_given: bool = False
    compression: str = NONE
    mask: str | None = None
    blind_bits: int | None = None
    terms: BlindIndex | None = None
    compound: BlindIndex | None = None
    successor: BlindIndex | None = None

    @property
    def equality(self) -> BlindIndex | None:
        """The blind index that finds equal values; to change it, assign to the attributes of the column."""
        if self.blind is None or self.blind_key is None:
            return None
        return BlindIndex(
            EQUALITY,
            self.blind,
            self.blind_key,
            equality_options(self.normalization or "none", self.blind_bits),
            self.blind_is_shown,
            self.blind_is_filled,
            self.blind_key_is_given,
        )

    @property
    def indexes(self) -> list[BlindIndex]:
        """The blind indexes of all kinds, and last the successor of one."""
        every = (self.equality, self.terms, self.compound, self.successor)
        return [index for index in every if index is not None]

    def index_of_kind(self, kind: str) -> BlindIndex | None:
        """Return the blind index of a kind that the column has, or None."""
        for index in self.indexes:
            if index.kind == kind:
                return index
        return None

    @property
    def own_indexes(self) -> list[BlindIndex]:
        """The blind indexes of the values of this column alone."""
        return [index for index in self.indexes if index.kind != COMPOUND]

    @property
    def compound_indexes(self) -> list[BlindIndex]:
        """The blind index of this column and others together, and its successor."""
        return [index for index in self.indexes if index.kind == COMPOUND]

    @property
    def companions(self) -> list[str]:
        """The columns of the base table that have the blind indexes of this column alone."""
        return [index.name for index in self.own_indexes]

    @property
    def is_indexed(self) -> bool:
        """Whether all blind indexes are filled."""
        return all(index.is_filled for index in self.indexes)

    @property
    def is_compressed(self) -> bool:
        """Whether values are compressed before they are encrypted, from now on; older ones need not be."""
        return self.compression != NONE

    @property
    def is_settled(self) -> bool:
        """Whether all values in the base table are ciphertext, under any version of the key."""
        return self.state in (ColumnState.ENCRYPTED, ColumnState.ROTATING)

    @property
    def _constraint_number(self) -> int:
        return self.id if self.constraint_id is None else self.constraint_id

    @property
    def sealed_constraint(self) -> str:
        """The CHECK of the base table that there is no plaintext."""
        return f"pgkeymgr_{self._constraint_number}_sealed"

    @property
    def present_constraint(self) -> str:
        """The CHECK of the base table that there is a ciphertext, until the column is NOT NULL instead."""
        return f"pgkeymgr_{self._constraint_number}_present"

    @property
    def opened_constraint(self) -> str:
        """The CHECK of the base table that there is no ciphertext, until decrypt_column drops the column."""
        return f"pgkeymgr_{self._constraint_number}_opened"

    @property
    def constraints(self) -> tuple[str, ...]:
        """The CHECKs of the base table that are pgkeymgr's own and may be there."""
        return self.sealed_constraint, self.present_constraint, self.opened_constraint


@dataclass(frozen=True)
class Constraint:
    """A constraint that mentions an encrypted column.

    Attributes:
        name: its name.
        kind: ``c`` for CHECK, ``u`` for UNIQUE.
        columns: the columns that it mentions.
        definition: the expression of a CHECK; for UNIQUE, the constraint as in ALTER TABLE, or the index.
        comment: the comment of a CHECK, or None. The index that stands for UNIQUE has the comment itself.
    """

    name: str
    kind: str
    columns: tuple[str, ...]
    definition: str
    comment: str | None = None


@dataclass
class EncryptedTable:
    """A table with encrypted columns; see the table ``encrypted_relation``."""

    id: int
    base: int
    relation: int
    name: str
    columns: list[str]
    key_columns: list[str]
    key_encodings: list[str]
    encrypted: dict[str, EncryptedColumn] = field(default_factory=dict)
    constraints: list[Constraint] = field(default_factory=list)
    going: set[str] = field(default_factory=set)
    """Columns of the base table that are about to be dropped."""
    detached_from: int | None = None
    has_detached_triggers: bool = False
    made_by: str = __version__
    """The version that made the view and the triggers."""

    @property
    def sealing_triggers(self) -> dict[str, str]:
        """The triggers of the base table that seal its values, and their events."""
        return DETACHED_TRIGGERS if self.has_detached_triggers else SEALING_TRIGGERS

    def own_columns(self) -> set[str]:
        """Return the columns of the base table that the view does not have under that name."""
        return self.going | {
            name
            for column in self.encrypted.values()
            for name in (column.cipher, column.name, *(index.name for index in column.indexes))
        }

    def shown_blind_indexes(self) -> dict[str, EncryptedColumn]:
        """Return the encrypted columns by the names of their blind indexes in the view."""
        return {
            index.name: column for column in self.encrypted.values() for index in column.indexes if index.is_shown
        }

    def compound_indexes(self) -> list[tuple[BlindIndex, list[EncryptedColumn]]]:
        """Return the compound indexes and the successors of such, each with its columns in their order."""
        return [
            (index, self.parts(column, index.with_columns))
            for column in self.encrypted.values()
            for index in column.compound_indexes
        ]

    def parts(self, column: EncryptedColumn, with_columns: Iterable[str]) -> list[EncryptedColumn]:
        """Return the columns whose values a blind index is of.

        Args:
            column: the column that it belongs to.
            with_columns: the names of the further columns of a compound index.
        """
        return [column, *(self.encrypted[name] for name in with_columns)]

    def compound_index_with(self, column: EncryptedColumn) -> tuple[EncryptedColumn, BlindIndex] | None:
        """Return the column that a compound index with a column belongs to, and the index; None without any."""
        for index, parts in self.compound_indexes():
            if column in parts:
                return parts[0], index
        return None

    def checks(self) -> list[Constraint]:
        """Return the CHECK constraints that the triggers check."""
        return [constraint for constraint in self.constraints if constraint.kind == "c"]


@dataclass(frozen=True)
class LostTable:
    """A table with encrypted columns that does not exist here.

    Attributes:
        base: the qualified name of its base table, or the OID, if the name is not known.
        name: the name of its view, without the schema.
        relation: the same, with the schema if it is known.
        owner: the name of the base table's last known owner, or None.
        is_dropped: whether it was dropped here; otherwise, a dump was restored without it, or it was dropped where
            event triggers do not fire.
        ciphers: the columns of the base table that have ciphertext.
        needed: the columns of the base table that its encrypted columns need.
        families: the families of the keys of its columns.
    """

    id: int
    base: str
    name: str
    relation: str
    owner: str | None
    is_dropped: bool
    ciphers: list[str]
    needed: list[str]
    families: list[int]

    def __str__(self) -> str:
        return f"table {self.base}"

    def is_like(self, names: Iterable[str]) -> bool:
        """Return whether a table with some columns can be a copy of this table."""
        return set(names).issuperset(self.needed)
