"""From the names that Django has for tables to those of base tables, and back."""

from typing import Any

from ..adapter.tables import EncryptedTable, EncryptedTables


def _parts(name: str) -> tuple[str | None, str]:
    # A db_table such as 'shop"."customer' is how Django's users name a schema: quoted, it is "shop"."customer".
    schema, separator, table = name.strip('"').partition('"."')
    return (schema, table) if separator else (None, schema)


def encrypted(connection: Any, name: str) -> EncryptedTable | None:
    """Return the table with encrypted columns that a ``db_table`` names, or None."""
    schema, table = _parts(name)
    return _tables(connection).find(table, schema)


def _tables(connection: Any) -> EncryptedTables:
    tables: EncryptedTables | None = getattr(connection, "encrypted_tables", None)
    if tables is not None:
        return tables
    # Another backend for PostgreSQL: the operations of migrations work there, too.
    with connection.cursor() as cursor:

        def rows(query: str) -> list[tuple[Any, ...]]:
            cursor.execute(query)
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found

        return EncryptedTables.load(rows)


def base_name(connection: Any, name: str) -> str:
    """Return the name of the base table of a table with encrypted columns, or the name itself."""
    table = encrypted(connection, name)
    if table is None:
        return name
    schema, _ = _parts(name)
    if schema is None and table.schema == table.base_schema:
        return table.base
    return f'{table.base_schema}"."{table.base}'


def view_name(connection: Any, name: str) -> str:
    """Return the name that applications have for a base table, or the name itself."""
    table = connection.encrypted_tables.find_base(name)
    return table.name if table else name
