"""Search by blind index: ``Customer.objects.filter(email__blind="ann@example.org")``, and by search terms.

``Customer.objects.filter(Blinds(name="Ann", born=date(1990, 1, 1)))`` searches by a compound blind index.

Django's own lookups of texts, ranges and JSON documents search by the terms of an encrypted column that has them.
Their result is the same with terms and without: the terms of a row only decide whether its value has to be
decrypted.
"""

from typing import Any

from django.db import NotSupportedError
from django.db.models import BooleanField, F, Lookup, Value, lookups
from django.db.models.expressions import Col, Expression
from django.db.models.fields import json

from ..adapter.tables import EncryptedColumn, EncryptedTable, quote_literal, quote_name
from .names import encrypted


def _place(side: Any, connection: Any) -> tuple[EncryptedTable, EncryptedColumn] | None:
    """Return the encrypted column that one side of a lookup is, with its table, or None for anything else."""
    if not isinstance(side, Col) or not hasattr(connection, "encrypted_tables"):
        return None
    field = side.target
    table = encrypted(connection, field.model._meta.db_table)
    column = table.columns.get(field.column) if table else None
    return (table, column) if table and column else None


def _relation(table: EncryptedTable) -> str:
    """Return the SQL of a table as an argument of pgkeymgr's functions."""
    named = quote_literal(f"{quote_name(table.schema)}.{quote_name(table.name)}").replace("%", "%%")
    return f"{named}::pg_catalog.regclass"


def _name(column: EncryptedColumn) -> str:
    return quote_literal(column.name).replace("%", "%%")


def _as_text(value: str, field: Any, connection: Any) -> str:
    """Return the SQL of a value as the text that the blind index of a field's column takes."""
    return f"CAST(CAST({value} AS {field.db_type(connection)}) AS pg_catalog.text)"


def _has_hash(
    compiler: Any, alias: str, hashes: str, table: EncryptedTable, column: EncryptedColumn, texts: list[str]
) -> str:
    """Return the condition that a blind index has the hash of values, which are SQL as of ``_as_text``."""
    wanted = f"{_relation(table)}, {_name(column)}, {', '.join(texts)}"
    return (
        f"{compiler.quote_name_unless_alias(alias)}.{quote_name(hashes)}"
        f" = {quote_name(table.extension_schema)}.blind_index({wanted})"
    )


class Blind(Lookup):
    """Equal to a value, as the blind index of the column takes values for equal."""

    lookup_name = "blind"

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        """Return the condition.

        Raises:
            NotSupportedError: the column has no blind index that the view shows.
        """
        place = _place(self.lhs, connection)
        if place is None or not place[1].blind_column or not place[1].blind_is_shown:
            raise NotSupportedError(
                f"the lookup blind needs a column with a blind index, not {self.lhs.output_field}:"
                " add_blind_index(), or the operation AddBlindIndex of a migration, makes it"
            )
        table, column = place
        assert column.blind_column
        side, parameters = self.process_rhs(compiler, connection)
        as_text = _as_text(side, self.lhs.output_field, connection)
        condition = _has_hash(compiler, self.lhs.alias, column.blind_column, table, column, [as_text])
        if column.normalization != "none":
            return condition, list(parameters)
        # A role that can write the base table can copy another row's blind index, but not its ciphertext.
        plain, plain_parameters = self.process_lhs(compiler, connection)
        return f"({condition} AND {plain} = {side})", [*parameters, *plain_parameters, *parameters]


class Blinds(Expression):
    """Equal to several values together, as a compound blind index of their columns takes them for equal.

    Args:
        values: the value of each column of the index by the name of its field, in any order.
    """

    output_field = BooleanField()
    conditional = True

    def __init__(self, **values: Any) -> None:
        super().__init__()
        self._sides = [*(F(name) for name in values), *(Value(each) for each in values.values())]

    def get_source_expressions(self) -> list[Any]:
        """Return the fields, and then their values."""
        return self._sides

    def set_source_expressions(self, exprs: Any) -> None:
        """Set the fields, and their values."""
        self._sides = list(exprs)

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        """Return the condition.

        Raises:
            NotSupportedError: the fields are not all the columns of a compound blind index that the view shows.
        """
        half = len(self._sides) // 2
        fields, values = self._sides[:half], self._sides[half:]
        sides = {
            place[1].name: (*place, each, value)
            for each, value in zip(fields, values, strict=True)
            if (place := _place(each, connection))
        }
        owners = [
            side
            for side in sides.values()
            if side[1].compound_is_shown and set(side[1].compound_normalizations) == set(sides)
        ]
        is_whole = len(sides) == half and len({each.alias for _, _, each, _ in sides.values()}) == 1
        if not (is_whole and owners):
            raise NotSupportedError(
                "Blinds() needs a value for each column of a compound blind index: add_blind_index(), or the"
                " operation AddBlindIndex of a migration, makes it with the kind compound"
            )
        table, column, first, _ = owners[0]
        texts, parameters = [], []
        compared, of_compared = [], []
        for name, normalization in column.compound_normalizations.items():
            _, _, each, value = sides[name]
            given, of_given = compiler.compile(Value(value.value, output_field=each.target))
            texts.append(_as_text(given, each.target, connection))
            parameters += of_given
            if normalization == "none":
                # A role that can write the base table can copy another row's hash, but not its ciphertexts.
                compared.append(f"{compiler.compile(each)[0]} = {given}")
                of_compared += of_given
        assert column.compound_column
        condition = _has_hash(compiler, first.alias, column.compound_column, table, column, texts)
        return f"({' AND '.join([condition, *compared])})", [*parameters, *of_compared]


class _ByTerms:
    """A lookup that reads the rows whose terms allow a match, and compares their values as Django does."""

    kind = ""
    function = ""
    operator = "~@>"

    def as_sql(self: Any, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        """Return the condition."""
        made = super().as_sql(compiler, connection)  # type: ignore[misc]
        narrowed: tuple[str, list[Any]] = self.narrowed(made, compiler, connection)
        return narrowed

    def narrowed(self: Any, made: tuple[str, list[Any]], compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        """Return a condition that Django has made, with that on the terms before it."""
        condition, parameters = made
        place = _place(self.lhs, connection)
        # The terms of another column's value are not known before it is read.
        if place is None or self.bilateral_transforms or not self.rhs_is_direct_value():
            return condition, parameters
        table, column = place
        if column.terms_kind != self.kind or not column.terms_is_shown or not column.terms_column:
            return condition, parameters
        arguments, given = self.of_terms(compiler, connection)
        schema = quote_name(table.extension_schema)
        alias = compiler.quote_name_unless_alias(self.lhs.alias)
        terms = (
            f"{alias}.{quote_name(column.terms_column)} OPERATOR({schema}.{self.operator})"
            f" {schema}.{self.function}({_relation(table)}, {_name(column)}, {arguments})"
        )
        return f"({terms} AND {condition})", [*given, *parameters]

    def of_terms(self: Any, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        """Return the further arguments of the function, and their parameters."""
        return self.process_rhs(compiler, connection)  # type: ignore[no-any-return]


class _TextByTerms(_ByTerms):
    kind = "text"
    function = "search_terms"

    def of_terms(self: Any, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        """Return the pattern that Django made for LIKE, and the operator."""
        _, parameters = self.process_rhs(compiler, connection)
        operator = "ilike" if self.lookup_name.startswith("i") else "like"
        return f"CAST(%s AS pg_catalog.text), '{operator}'", list(parameters)


class Contains(_TextByTerms, lookups.Contains):
    """A part of a text."""


class IContains(_TextByTerms, lookups.IContains):
    """A part of a text, in any case."""


class StartsWith(_TextByTerms, lookups.StartsWith):
    """The start of a text."""


class IStartsWith(_TextByTerms, lookups.IStartsWith):
    """The start of a text, in any case."""


class EndsWith(_TextByTerms, lookups.EndsWith):
    """The end of a text."""


class IEndsWith(_TextByTerms, lookups.IEndsWith):
    """The end of a text, in any case."""


class _RangeByTerms(_ByTerms):
    kind = "range"
    function = "search_range_terms"
    operator = "~&&"
    bounds = "{0}, NULL"

    def of_terms(self: Any, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        """Return the bounds, as texts of the column's type."""
        _, parameters = self.process_rhs(compiler, connection)
        bound = _as_text("%s", self.lhs.output_field, connection)
        return self.bounds.format(bound), list(parameters)


class Range(_RangeByTerms, lookups.Range):
    """BETWEEN."""

    bounds = "{0}, {0}"


class GreaterThan(_RangeByTerms, lookups.GreaterThan):
    """Greater values."""


class GreaterThanOrEqual(_RangeByTerms, lookups.GreaterThanOrEqual):
    """Greater or equal values."""


class LessThan(_RangeByTerms, lookups.LessThan):
    """Less values."""

    bounds = "NULL, {0}"


class LessThanOrEqual(_RangeByTerms, lookups.LessThanOrEqual):
    """Less or equal values."""

    bounds = "NULL, {0}"


class IntegerGreaterThan(_RangeByTerms, lookups.IntegerGreaterThan):
    """Greater integers."""


class IntegerGreaterThanOrEqual(_RangeByTerms, lookups.IntegerGreaterThanOrEqual):
    """Greater or equal integers."""


class IntegerLessThan(_RangeByTerms, lookups.IntegerLessThan):
    """Less integers."""

    bounds = "NULL, {0}"


class IntegerLessThanOrEqual(_RangeByTerms, lookups.IntegerLessThanOrEqual):
    """Less or equal integers."""

    bounds = "NULL, {0}"


class JsonContains(_ByTerms, json.DataContains):
    """A document in another one."""

    kind = "json"
    function = "search_json_terms"

    def as_postgresql(self: Any, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        """Return the condition."""
        made = super().as_postgresql(compiler, connection)
        narrowed: tuple[str, list[Any]] = self.narrowed(made, compiler, connection)
        return narrowed

    def of_terms(self: Any, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        """Return the document that is contained."""
        side, parameters = self.process_rhs(compiler, connection)
        return f"CAST({side} AS pg_catalog.jsonb)", list(parameters)


OF_FIELDS = (
    Blind,
    *(Contains, IContains, StartsWith, IStartsWith, EndsWith, IEndsWith),
    *(Range, GreaterThan, GreaterThanOrEqual, LessThan, LessThanOrEqual),
)
"""The lookups of all fields."""

OF_INTEGERS = (IntegerGreaterThan, IntegerGreaterThanOrEqual, IntegerLessThan, IntegerLessThanOrEqual)
"""The lookups of integer fields, for which Django has its own."""
