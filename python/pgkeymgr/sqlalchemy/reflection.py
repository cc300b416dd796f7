"""Reflection: views with encrypted columns are tables with their keys, and base tables are not there."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy.engine.reflection import ObjectKind, ObjectScope

from ..adapter.tables import EncryptedTable, EncryptedTables, users_comment

BLIND_INDEX = "blind index"
"""In ``Column.info["pgkeymgr"]`` of a reflected column that has a blind index."""

Key = tuple[str | None, str]
Combine = Callable[[EncryptedTable, Any, Any], Any]
"""Makes of what the view and the base table have what the table has."""


class Reflection:
    """The methods of a dialect with which SQLAlchemy looks at a database."""

    def tables_of(self, connection: Any) -> EncryptedTables:
        """Return the tables with encrypted columns."""
        raise NotImplementedError

    def get_table_names(self, connection: Any, schema: str | None = None, **kw: Any) -> list[str]:
        """Return the names of tables."""
        tables = self.tables_of(connection)
        names = super().get_table_names(connection, schema, **kw)  # type: ignore[misc]
        encrypted = [table.name for table in _in_schema(tables, schema)]
        return [name for name in names if tables.find_base(name, schema) is None] + encrypted

    def get_view_names(self, connection: Any, schema: str | None = None, **kw: Any) -> list[str]:
        """Return the names of views."""
        tables = self.tables_of(connection)
        names = super().get_view_names(connection, schema, **kw)  # type: ignore[misc]
        return [name for name in names if tables.find(name, schema) is None]

    def get_multi_columns(self, *arguments: Any, **kw: Any) -> Any:
        """Return columns, with NOT NULL and IDENTITY as base tables have them."""
        return self._multi(super().get_multi_columns, _columns, *arguments, **kw)  # type: ignore[misc]

    def get_multi_pk_constraint(self, *arguments: Any, **kw: Any) -> Any:
        """Return primary keys."""
        return self._multi(super().get_multi_pk_constraint, _of_base, *arguments, **kw)  # type: ignore[misc]

    def get_multi_table_options(self, *arguments: Any, **kw: Any) -> Any:
        """Return options."""
        return self._multi(super().get_multi_table_options, _of_base, *arguments, **kw)  # type: ignore[misc]

    def get_multi_indexes(self, *arguments: Any, **kw: Any) -> Any:
        """Return indexes: one on a blind index that stands for UNIQUE is on the column itself."""
        return self._multi(super().get_multi_indexes, _indexes, *arguments, **kw)  # type: ignore[misc]

    def get_multi_unique_constraints(self, *arguments: Any, **kw: Any) -> Any:
        """Return UNIQUE constraints."""
        return self._multi(super().get_multi_unique_constraints, _uniques, *arguments, **kw)  # type: ignore[misc]

    def get_multi_check_constraints(self, *arguments: Any, **kw: Any) -> Any:
        """Return CHECK constraints, without those that are pgkeymgr's own."""
        return self._multi(super().get_multi_check_constraints, _checks, *arguments, **kw)  # type: ignore[misc]

    def get_multi_table_comment(self, *arguments: Any, **kw: Any) -> Any:
        """Return comments."""
        return self._multi(super().get_multi_table_comment, _comment, *arguments, **kw)  # type: ignore[misc]

    def get_multi_foreign_keys(self, connection: Any, schema: str | None, *arguments: Any, **kw: Any) -> Any:
        """Return foreign keys, to tables by the names that applications have for them."""
        tables = self.tables_of(connection)
        found = self._multi(super().get_multi_foreign_keys, _of_base, connection, schema, *arguments, **kw)  # type: ignore[misc]
        for _, keys in found:
            for key in keys:
                other = tables.find_base(key["referred_table"], key["referred_schema"])
                if other is not None:
                    key["referred_table"] = other.name
        return found

    def _multi(
        self,
        read: Callable[..., Iterable[tuple[Key, Any]]],
        combine: Combine,
        connection: Any,
        schema: str | None,
        filter_names: Iterable[str] | None,
        scope: ObjectScope,
        kind: ObjectKind,
        **kw: Any,
    ) -> list[tuple[Key, Any]]:
        tables = self.tables_of(connection)
        names = None if filter_names is None else list(filter_names)
        encrypted = [
            table
            for table in _in_schema(tables, schema)
            if ObjectKind.TABLE in kind and ObjectScope.DEFAULT in scope and (names is None or table.name in names)
        ]
        if not encrypted and names is not None:
            return list(read(connection, schema, names, scope, kind, **kw))
        hidden = {name for table in tables for name in (table.name, table.base)}
        others = None if names is None else [name for name in names if not any(t.name == name for t in encrypted)]
        found: list[tuple[Key, Any]] = []
        if others is None or others:
            found = [
                (key, data)
                for key, data in read(connection, schema, others, scope, kind, **kw)
                # Asked for by its name, a base table is there.
                if others is not None
                or key[1] not in hidden
                or not (tables.find(key[1], schema) or tables.find_base(key[1], schema))
            ]
        if encrypted:
            wanted = [name for table in encrypted for name in (table.name, table.base)]
            read_both = dict(read(connection, schema, wanted, ObjectScope.ANY, ObjectKind.ANY, **kw))
            for table in encrypted:
                view, base = read_both.get((schema, table.name)), read_both.get((schema, table.base))
                found.append(((schema, table.name), combine(table, view, base)))
        return found


def _in_schema(tables: EncryptedTables, schema: str | None) -> list[EncryptedTable]:
    return [table for table in tables if (table.is_visible if schema is None else table.schema == schema)]


def _of_base(_table: EncryptedTable, _view: Any, base: Any) -> Any:
    return base


def _comment(_table: EncryptedTable, view: Any, _base: Any) -> Any:
    return {**view, "text": users_comment(view["text"])}


def _columns(table: EncryptedTable, view: Any, base: Any) -> Any:
    stored = {column["name"]: column for column in base}
    blind = {
        name
        for each in table.columns.values()
        for name in (each.blind_column, each.terms_column, each.compound_column)
    }
    columns = []
    for column in view:
        encrypted = table.columns.get(column["name"])
        if encrypted is not None:
            combined = {**column, "nullable": stored[encrypted.cipher_column]["nullable"]}
        else:
            combined = {**stored[column["name"]], "comment": column["comment"]}
        if column["name"] in blind:
            combined["info"] = {"pgkeymgr": BLIND_INDEX}
        columns.append(combined)
    return columns


def _indexes(table: EncryptedTable, _view: Any, base: Any) -> Any:
    indexes = []
    for stored in base:
        index = {**stored, "column_names": table.plain_names(stored["name"], stored["column_names"])}
        kept = table.constraints.get(index["name"])
        if kept is not None and kept.kind == "u" and kept.definition.startswith("UNIQUE"):
            index["duplicates_constraint"] = index["name"]
        indexes.append(index)
    return indexes


def _uniques(table: EncryptedTable, _view: Any, base: Any) -> Any:
    kept: list[dict[str, Any]] = [
        {"column_names": list(each.columns), "name": each.name, "comment": None}
        for each in table.constraints.values()
        if each.kind == "u" and each.definition.startswith("UNIQUE")
    ]
    # The options are those that PostgreSQL's dialect gives for a constraint without INCLUDE.
    template = next((each["dialect_options"] for each in base if "dialect_options" in each), None)
    for each in kept:
        each["dialect_options"] = {**(template or {}), "postgresql_include": []}
    return [*base, *kept]


def _checks(table: EncryptedTable, _view: Any, base: Any) -> Any:
    own = {column.cipher_column for column in table.columns.values()}
    checks = [
        check
        for check in base
        if not (re.fullmatch(r"pgkeymgr_\d+_sealed", check["name"]) or _is_of(check["sqltext"], own))
    ]
    return [
        *checks,
        *(
            {
                "name": each.name,
                "sqltext": re.sub(r"^\((.*)\)$", r"\1", each.definition, flags=re.DOTALL),
                "comment": None,
            }
            for each in table.constraints.values()
            if each.kind == "c"
        ),
    ]


def _is_of(text: str, ciphers: set[str]) -> bool:
    # The CHECK that lets nothing but tokens into the column of a ciphertext.
    match = re.fullmatch(r"""\(*[^()]+\._is_(?:deterministic_)?token\("?(.*?)"?\)\)*""", text)
    return match is not None and match[1].replace('""', '"') in ciphers
