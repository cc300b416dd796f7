"""Search by blind index."""

from typing import Any

from sqlalchemy import Column, ColumnElement, LargeBinary, Text, cast, column, func, literal
from sqlalchemy.dialects.postgresql import REGCLASS


def blind_index(
    searched: Any, value: Any, *, schema: str = "pgkeymgr", companion: str | None = None
) -> ColumnElement[bool]:
    """Return the condition that an encrypted column equals a value, as its blind index takes values for equal.

        select(Customer).where(blind_index(Customer.email, "ann@example.org"))

    Tuples stand for the columns of a compound blind index and for their values:

        select(Customer).where(blind_index((Customer.name, Customer.born), ("Ann", date(1990, 1, 1))))

    A role that can write the base table can copy the blind index of another row. A search that decides something
    compares the value as well: ``and_(blind_index(Customer.email, address), Customer.email == address)``.

    Args:
        searched: the column, of a table or of a mapped class, not of an alias; or a tuple of the columns of a
            compound index, in their order.
        value: the value; or a tuple of the values of the columns.
        schema: the schema of the extension.
        companion: the name of the column with the blind index, if it is not ``<column>_bidx``, or
            ``<column>_<column>_bidx`` for a compound index.

    Raises:
        ValueError: there are more columns than values, or fewer.
    """
    every, values = (searched, value) if isinstance(searched, tuple) else ((searched,), (value,))
    columns = [_core(each) for each in every]
    table = columns[0].table
    quoted = ".".join('"' + part.replace('"', '""') + '"' for part in (table.schema, table.name) if part)
    function = getattr(getattr(func, schema), "blind_index")  # noqa: B009
    texts = [cast(literal(one, core.type), Text) for core, one in zip(columns, values, strict=True)]
    wanted = function(cast(literal(quoted, Text), REGCLASS), columns[0].name, *texts, type_=LargeBinary)
    name = companion or "_".join([*(core.name for core in columns), "bidx"])
    condition: ColumnElement[bool] = column(name, LargeBinary, _selectable=table) == wanted
    return condition


def _core(searched: Any) -> Column[Any]:
    core: Column[Any] = searched.__clause_element__() if hasattr(searched, "__clause_element__") else searched
    return core
