"""Reads the kind and the options that a caller wants of a blind index, and checks whether a column can have it."""

import json
from typing import Any, NamedTuple

from ..errors import DuplicateKeyError, KeyStateError, ParameterError, UndefinedError, UnsupportedError
from ..key.record import Record
from .blinding import DIGEST_BYTES, NORMALIZATIONS, compound_options, equality_options
from .catalog import Table
from .encrypted_table import ColumnState, EncryptedColumn, EncryptedTable
from .index_kinds import COMPOUND, EQUALITY, KINDS, TEXT

_WITH = "with"
_BITS_MIN = 4


class Wanted(NamedTuple):
    """The kind and the options that a caller gives for a blind index.

    Attributes:
        kind: ``equality``, ``compound``, ``text``, ``range`` or ``json``.
        normalize: the normalization of an equality index; ``none`` for the others.
        bits: the number of bits that an equality or compound index has of each hash; None for all, and for the
            others.
        options: the constant that the triggers have.
        with_columns: the further columns of a compound index.
    """

    kind: str
    normalize: str
    bits: int | None
    options: str
    with_columns: tuple[str, ...] = ()


def parse_options(options: str | None) -> dict[str, Any] | None:
    """Parse the options of a blind index, which a caller gives as the text of a JSON value.

    Returns:
        The options by name; None for None.

    Raises:
        ParameterError: they are no JSON object.
    """
    if options is None:
        return None
    found = json.loads(options)
    if not isinstance(found, dict):
        raise ParameterError("options must be a JSON object")
    return found


def wanted_index(
    table: EncryptedTable,
    column: EncryptedColumn,
    kind: str,
    normalize: str | None,
    options: dict[str, Any] | None,
) -> Wanted:
    """Return the kind and the options that a caller wants, in the form in which they are stored.

    Args:
        table: the table.
        column: its encrypted column.
        kind: ``equality``, ``compound``, ``text``, ``range`` or ``json``.
        normalize: see ``BlindIndexes.add_blind_index``; None for the default of the kind.
        options: see there; parsed.

    Returns:
        The kind and the options. Nothing is checked yet that depends on the present blind indexes.

    Raises:
        ParameterError: there is no such normalization, kind or option.
        UnsupportedError: the kind is not for the type of the values.
    """
    if kind not in KINDS:
        raise ParameterError("kind must be one of " + ", ".join(KINDS))
    if kind in (EQUALITY, COMPOUND):
        given = dict(options or {})
        bits, others = given.pop("bits", None), given.pop(_WITH, None) if kind == COMPOUND else None
        if given:
            raise ParameterError(
                f'a blind index of kind {kind} has no option "{next(iter(given))}"',
                hint="The option is bits." if kind == EQUALITY else "The options are with and bits.",
            )
        if bits is not None and not (type(bits) is int and _BITS_MIN <= bits < 8 * DIGEST_BYTES):
            raise ParameterError(f"bits must be from {_BITS_MIN} to {8 * DIGEST_BYTES - 1}")
        normalization = normalize or "none"
        if normalization not in NORMALIZATIONS:
            raise ParameterError("normalize must be one of " + ", ".join(NORMALIZATIONS))
        if kind == COMPOUND:
            return _wanted_compound(table, column, normalization, bits, others)
        return Wanted(kind, normalization, bits, equality_options(normalization, bits))
    from .term_index import options_text, types_of

    types = types_of(kind)
    if column.form.base not in types:
        raise UnsupportedError(
            f'cannot add a blind index of kind {kind} to column "{column.name}" of {table.name}: '
            f"its values are of type {column.type}",
            hint=f"The kind is for the types {', '.join(types)}.",
        )
    return Wanted(kind, "none", None, options_text(kind, column.form.base, normalize, options))


def _wanted_compound(
    table: EncryptedTable, column: EncryptedColumn, normalization: str, bits: int | None, others: Any
) -> Wanted:
    """Return the options that a caller wants of a compound index.

    Args:
        table: the table.
        column: its encrypted column that the index will belong to.
        normalization: for the columns of it that have texts.
        bits: see ``Wanted``.
        others: the value of the option ``with``.

    Raises:
        ParameterError: the option is no list of further columns, or no column has texts to be normalized.
        UndefinedError: one of the columns is not encrypted.
    """
    if not isinstance(others, list) or not others or not all(isinstance(name, str) for name in others):
        raise ParameterError(
            "a blind index of kind compound needs the option with, a list of further columns",
            hint='Give it as options => \'{"with": ["column"]}\'.',
        )
    names = [column.name, *others]
    if len(set(names)) < len(names):
        raise ParameterError("a compound blind index has each of its columns once")
    for name in others:
        if name not in table.encrypted:
            raise UndefinedError(
                f'column "{name}" of {table.name} is not encrypted',
                hint="All columns of a compound blind index are encrypted ones: encrypt_column() encrypts a"
                " column.",
            )
    parts = [table.encrypted[name] for name in names]
    if normalization != "none" and not any(part.form.is_text for part in parts):
        raise ParameterError("normalize must be none for a compound blind index without a column of texts")
    each = [normalization if part.form.is_text else "none" for part in parts]
    return Wanted(COMPOUND, normalization, bits, compound_options(each, bits), tuple(others))


def check_wanted(
    table: EncryptedTable, base: Table, column: EncryptedColumn, wanted: Wanted, given: Record | None
) -> None:
    """Refuse a column that can have no such blind index.

    Args:
        table: the table.
        base: its base table.
        column: its encrypted column.
        wanted: the kind and the options of the blind index.
        given: the record of the key that the caller gives, or None.

    Raises:
        DuplicateKeyError: it has a blind index with other options or another key.
        ParameterError: values of its type are not normalized.
        KeyStateError: it is being decrypted.
        UnsupportedError: equal values have no equal texts.
    """
    for part in table.parts(column, wanted.with_columns):
        if part.state is ColumnState.DECRYPTING:
            raise KeyStateError(f'column "{part.name}" of {table.name} is being decrypted')
        is_exact = base.column(part.name).is_collated_exactly
        if not is_exact and wanted.kind in (EQUALITY, COMPOUND, TEXT):
            raise UnsupportedError(
                f'cannot add a blind index to column "{part.name}" of {table.name}: values that are equal by its '
                "collation can have different texts",
                hint="Encrypt a column with another collation.",
            )
        if wanted.kind in (EQUALITY, COMPOUND) and not part.form.is_comparable:
            raise UnsupportedError(
                f'cannot add a blind index to column "{part.name}" of {table.name}: equal values of type '
                f"{part.type} can have different texts",
                hint="Encrypt a column of type text, with the values in one form.",
            )
    if wanted.kind == EQUALITY:
        _check_equality(table, column, wanted, given)
    else:
        _check_others(table, column, wanted, given)


def _check_equality(table: EncryptedTable, column: EncryptedColumn, wanted: Wanted, given: Record | None) -> None:
    """Refuse a column that has an equality index with other options or another key; see ``check_wanted``."""
    normalize = wanted.normalize
    if column.blind and column.normalization == normalize and column.blind_bits != wanted.bits:
        raise DuplicateKeyError(
            f'column "{column.name}" of {table.name} already has a blind index with '
            f"{'all' if column.blind_bits is None else column.blind_bits} bits"
        )
    if column.blind and column.normalization != normalize:
        if column.blind_is_shown or not column.blind_is_filled:
            raise DuplicateKeyError(
                f'column "{column.name}" of {table.name} already has a blind index with the normalization '
                f"{column.normalization}"
            )
        raise DuplicateKeyError(
            f'column "{column.name}" of {table.name} already has a blind index without normalization, for '
            "its UNIQUE constraint"
        )
    if column.blind and given is not None and column.blind_key != given.id:
        if column.blind_is_shown or not column.blind_is_filled:
            raise DuplicateKeyError(
                f'column "{column.name}" of {table.name} already has a blind index under another key'
            )
        raise DuplicateKeyError(
            f'column "{column.name}" of {table.name} already has a blind index under another key, for its '
            "UNIQUE constraint",
            hint="Drop the constraint before encrypt_column(), and call add_blind_index() with "
            "is_unique => true after it.",
        )
    if normalize != "none" and not column.form.is_text:
        raise ParameterError(f"normalize must be none for values of type {column.type}")


def _check_others(table: EncryptedTable, column: EncryptedColumn, wanted: Wanted, given: Record | None) -> None:
    """Refuse a column that has a blind index in the place of the wanted one; see ``check_wanted``."""
    there = column.compound if wanted.kind == COMPOUND else column.terms
    if there is None:
        return
    about = f'column "{column.name}" of {table.name} already has a blind index'
    if tuple(there.with_columns) != wanted.with_columns:
        raise DuplicateKeyError(
            f"{about} with {', '.join(there.with_columns)}",
            hint="A compound blind index belongs to its first column, which can have one of them: begin with"
            " another column.",
        )
    if there.kind != wanted.kind:
        raise DuplicateKeyError(
            f"{about} of kind {there.kind}",
            hint="A column can have a blind index of kind equality, and one of another kind.",
        )
    if there.options != wanted.options:
        raise DuplicateKeyError(f"{about} with other options")
    if given is not None and there.key != given.id:
        raise DuplicateKeyError(f"{about} under another key")
