"""Search by search terms: parts of a text, ranges, networks and JSON documents.

    select(Customer).where(search(Customer.name, "contains", "mann"))
    select(Customer).where(search_within(Customer.born, date(1990, 1, 1), date(1990, 12, 31)))

The results are those of the comparison with the value: the terms only find candidates. The functions of the
database have the same names: docs/search.md.
"""

from typing import Any

from sqlalchemy import Boolean, Column, ColumnElement, Integer, SmallInteger, Text, cast, column, func, literal
from sqlalchemy import types as sqltypes
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.types import TypeEngine

_TEXT = ("like", "ilike", "prefix", "suffix", "contains")
_OTHERS: dict[str, type[TypeEngine[Any]]] = {"network": pg.INET, "json": pg.JSONB, "json_key": Text}
_RANGES: tuple[tuple[type[TypeEngine[Any]], type[TypeEngine[Any]]], ...] = (
    (sqltypes.BigInteger, pg.INT8RANGE),
    (sqltypes.Integer, pg.INT4RANGE),
    (sqltypes.Numeric, pg.NUMRANGE),
    (sqltypes.Date, pg.DATERANGE),
)


def search(
    searched: Any, operator: str, value: Any, *, schema: str = "pgkeymgr", companion: str | None = None
) -> ColumnElement[bool]:
    """Return the condition that an encrypted column with search terms matches a value.

    Args:
        searched: the column, of a table or of a mapped class; not of an alias.
        operator: ``like``, ``ilike``, ``prefix``, ``suffix`` or ``contains`` for texts, ``network`` for addresses
            within a network, ``json`` for documents that contain another one, and ``json_key`` for those with a
            key.
        value: the pattern, the part, the network, the document as Python has it, or the key.
        schema: the schema of the extension.
        companion: the name of the column with the terms, if it is not ``<column>_terms``.

    Raises:
        ValueError: the operator is unknown.
    """
    if operator in _TEXT:
        return _condition(operator, searched, SmallInteger, literal(value, Text), schema, companion)
    if operator not in _OTHERS:
        raise ValueError("operator must be one of " + ", ".join((*_TEXT, *_OTHERS)))
    return _condition(operator, searched, Integer, literal(value, _OTHERS[operator]), schema, companion)


def search_within(
    searched: Any,
    low: Any,
    high: Any,
    *,
    bounds: str = "[]",
    schema: str = "pgkeymgr",
    companion: str | None = None,
) -> ColumnElement[bool]:
    """Return the condition that an encrypted column with search terms is within a range.

    Args:
        searched: a column of integers, numbers, dates or timestamps.
        low: the lower bound; None for no bound.
        high: the upper bound; None for no bound.
        bounds: ``[]``, ``[)``, ``(]`` or ``()``: whether the bounds themselves are within the range.
        schema: the schema of the extension.
        companion: the name of the column with the terms, if it is not ``<column>_terms``.

    Raises:
        TypeError: PostgreSQL has no range of the column's type.
    """
    bounded: Any = pg.Range(low, high, bounds=bounds)  # type: ignore[arg-type]
    wanted = literal(bounded, _range_type(_core(searched).type))
    return _condition("within", searched, Integer, wanted, schema, companion)


def _core(searched: Any) -> Column[Any]:
    core: Column[Any] = searched.__clause_element__() if hasattr(searched, "__clause_element__") else searched
    return core


def _range_type(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    if isinstance(type_, sqltypes.DateTime):
        return pg.TSTZRANGE() if type_.timezone else pg.TSRANGE()
    for of_values, of_ranges in _RANGES:
        if isinstance(type_, of_values):
            return of_ranges()
    raise TypeError(f"PostgreSQL has no range of {type_}")


def _condition(
    operator: str,
    searched: Any,
    of_terms: type[TypeEngine[Any]],
    wanted: ColumnElement[Any],
    schema: str,
    companion: str | None,
) -> ColumnElement[bool]:
    core = _core(searched)
    table = core.table
    quoted = ".".join('"' + part.replace('"', '""') + '"' for part in (table.schema, table.name) if part)
    terms = column(companion or f"{core.name}_terms", pg.ARRAY(of_terms), _selectable=table)
    # PostgreSQL has no range of smallint.
    value = cast(core, Integer) if isinstance(core.type, SmallInteger) else core
    function = getattr(getattr(func, schema), f"search_{operator}")
    condition: ColumnElement[bool] = function(
        cast(literal(quoted, Text), pg.REGCLASS), literal(core.name, Text), terms, value, wanted, type_=Boolean
    )
    return condition
