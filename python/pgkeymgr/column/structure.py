"""The structure of types that encrypted values and keys depend on, remembered and compared.

A ciphertext holds a value's text, and is bound to the texts of its row's key. PostgreSQL does not know these
texts: it renames a label of an enum, or adds a field to a row type, as if there were no such values. So the
registry stores the structure of each type, down to PostgreSQL's own types. After DDL on a type, in whatever form,
its present structure is compared with the stored one.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from ..errors import UnsupportedError
from ..key.database import Database
from .catalog import Table
from .encrypted_table import EncryptedTable
from .forms import MEANINGLESS, form_of, key_encoding

_KEYED = "keyed"
"""The kind of the structure of a column with ``key_by``: the structures of its type and of the other column's."""
_HINT_FOR_KEYS = "decrypt_column() makes the encrypted columns plain. The change does not affect those."
_HINT = "Call decrypt_column(), change the type, and encrypt the column again."


def structure(database: Database, type_oid: int, modifier: int = -1) -> list[Any]:
    """Return the structure of a type.

    Args:
        database: the session whose catalog is read, with ``search_path`` = pg_catalog.
        type_oid: the type's OID.
        modifier: the type modifier of the column or field.

    Returns:
        Lists and texts only; the first text is the kind of the type.
    """
    (row,) = database.query(
        "SELECT CASE WHEN t.typcategory = 'A' AND t.typtype = 'b' THEN 'a' ELSE t.typtype::text END AS kind,"
        " n.nspname = 'pg_catalog' AS builtin, t.typname::text AS name, t.typelem::bigint AS element,"
        " t.typbasetype::bigint AS base, t.typtypmod AS base_modifier, t.typrelid::bigint AS relation,"
        " t.typnotnull AS not_null, ARRAY(SELECT e.enumlabel::text FROM pg_enum AS e WHERE e.enumtypid = t.oid"
        "  ORDER BY e.enumsortorder) AS labels,"
        " (SELECT r.rngsubtype::bigint FROM pg_range AS r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)) AS subtype"
        " FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace WHERE t.oid = $1",
        ("oid", type_oid),
    )
    kind = row["kind"]
    if kind == "a":
        return ["array", structure(database, row["element"], modifier)]
    if kind == "e":
        return ["enum", list(row["labels"])]
    if kind == "d":
        checks = database.query(
            "SELECT conname::text AS name, pg_get_constraintdef(oid) AS definition FROM pg_constraint"
            " WHERE contypid = $1 AND contype = 'c' ORDER BY conname",
            ("oid", type_oid),
        )
        return [
            "domain",
            structure(database, row["base"], row["base_modifier"]),
            bool(row["not_null"]),
            [[check["name"], check["definition"]] for check in checks],
        ]
    if kind == "c":
        fields = database.query(
            "SELECT atttypid::bigint AS type, atttypmod AS modifier FROM pg_attribute"
            " WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            ("oid", row["relation"]),
        )
        return ["row", *(structure(database, field["type"], field["modifier"]) for field in fields)]
    if kind in "rm":
        return ["range" if kind == "r" else "multirange", structure(database, row["subtype"])]
    return ["type", row["name"] if row["builtin"] else f"{row['name']} of a user", modifier]


def has_meaningless_part(parts: list[Any]) -> bool:
    """Return whether a type has a part whose texts mean nothing to another session or to another database.

    Args:
        parts: the structure of the type.
    """
    return any(kind == "type" and inner[0] in MEANINGLESS for kind, *inner in _with_parts(parts))


def has_unverified_part(parts: list[Any]) -> bool:
    """Return whether a type has a domain with a constraint that is NOT VALID.

    PostgreSQL reads such values from a column, but makes none of a text.

    Args:
        parts: the structure of the type.
    """
    return any(
        definition.endswith(" NOT VALID")
        for kind, *inner in _with_parts(parts)
        if kind == "domain"
        for _, definition in inner[2]
    )


def loses_blanks(parts: list[Any]) -> bool:
    """Return whether the text of a value has fewer blanks at its end than the value.

    Args:
        parts: the structure of the type.
    """
    # With a length, the value has as many blanks as it takes to fill that.
    return _undressed(parts) == ["type", "bpchar", -1]


def text_casts(database: Database, types: Iterable[int]) -> list[str]:
    """Return the functions of users' casts that convert values of types to text, or from text.

    The values' texts come from PostgreSQL's own conversion, but for a type with such a cast.

    Args:
        database: the session whose catalog is read, with ``search_path`` = pg_catalog.
        types: the OIDs of the types; a domain stands for its base type.

    Returns:
        The functions' signatures, without functions of extensions.
    """
    rows = database.query(
        "WITH RECURSIVE own (oid) AS (SELECT unnest($1::oid[]) UNION SELECT t.typbasetype FROM own"
        "  JOIN pg_type AS t ON t.oid = own.oid AND t.typtype = 'd')"
        " SELECT DISTINCT c.castfunc::regprocedure::text AS function FROM own JOIN pg_cast AS c"
        "  ON (own.oid, 'text'::regtype) IN ((c.castsource, c.casttarget), (c.casttarget, c.castsource))"
        # PostgreSQL's own objects have smaller OIDs.
        " WHERE own.oid <> 'text'::regtype AND c.castmethod = 'f' AND c.oid >= 16384 AND NOT EXISTS"
        "  (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_cast'::regclass AND d.objid = c.oid"
        "  AND d.deptype = 'e')"
        " ORDER BY 1",
        ("oid[]", list(types)),
    )
    return [row["function"] for row in rows]


def _with_parts(parts: list[Any]) -> Iterator[list[Any]]:
    yield parts
    kind, *inner = parts
    if kind not in ("type", "enum"):
        for part in inner if kind == "row" else inner[:1]:
            yield from _with_parts(part)


def difference(old: list[Any], new: list[Any], *, is_key: bool = False) -> str | None:
    """Return the change of a type that makes texts from before unreadable, or None.

    Args:
        old: the stored structure of the type.
        new: the present structure of the type.
        is_key: whether the values are in a plain column of the type, where PostgreSQL has checked them, so that
            only a change of their texts matters.

    Returns:
        A phrase.
    """
    if is_key:
        old, new = _undressed(old), _undressed(new)
        # Other code compares the encodings of the two types.
        return difference(old, new) if old[0] == new[0] == "enum" else None
    kind = old[0]
    if kind != new[0] or kind == "type":
        return None if old == new else "it, or a part of it, has become another type"
    if kind == "enum":
        gone = [label for label in old[1] if label not in new[1]]
        return f"its label '{gone[0]}' was renamed" if gone else None
    if kind == "row":
        if len(old) != len(new):
            return "it has got or lost a field"
        found = (difference(*pair) for pair in zip(old[1:], new[1:], strict=True))
        return next((phrase for phrase in found if phrase is not None), None)
    return (_constraint(old, new) if kind == "domain" else None) or difference(old[1], new[1])


def _constraint(old: list[Any], new: list[Any]) -> str | None:
    known = {text for check in old[3] for text in check}
    added = [name for name, definition in new[3] if name not in known and definition not in known]
    if not added and (old[2] or not new[2]):
        return None
    what = f'constraint "{added[0]}"' if added else "NOT NULL"
    return f"PostgreSQL cannot check that they satisfy {what}"


def _undressed(type_: list[Any]) -> list[Any]:
    while type_[0] == "domain":
        type_ = type_[1]
    return type_


class Structures:
    """The structures that the registry has, for one session."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def check(self, table: EncryptedTable, base: Table) -> None:
        """Refuse changes of types that make values unreadable, and remember all other changes.

        Args:
            table: the table as it is registered.
            base: its base table.

        Raises:
            UnsupportedError: a type has changed so that values would be unreadable.
        """
        known = self._load(table)
        there = {column.name: column for column in base.columns}
        columns = {row["id"]: row for row in known if row["id"] is not None}
        for column in table.encrypted.values():
            row = columns[column.id]
            new = structure(self._database, row["type"], row["modifier"])
            remembered = json.loads(row["structure"]) if row["structure"] else new
            old = remembered[1] if remembered[0] == _KEYED else remembered
            if (phrase := difference(old, new)) is not None:
                raise UnsupportedError(
                    f'cannot change type {column.type}: column "{column.name}" of {table.name} holds encrypted '
                    f"values of it, which would become unreadable: {phrase}",
                    hint=_HINT,
                )
            if (keyed_by := there.get(column.key_by or "")) is not None:
                by = structure(self._database, keyed_by.type_oid)
                old_by = remembered[2] if remembered[0] == _KEYED else by
                if (phrase := difference(old_by, by, is_key=True)) is not None:
                    raise UnsupportedError(
                        f'cannot change type {keyed_by.type}: the values of column "{keyed_by.name}" have the '
                        f'keys of column "{column.name}" of {table.name}, and would get other keys: {phrase}',
                        hint=_HINT_FOR_KEYS,
                    )
                new = [_KEYED, new, by]
            if remembered != new or not row["structure"]:
                self._save("encrypted_column", "type_structure", column.id, new)
        self._check_key(table, base, next(row["structure"] for row in known if row["id"] is None))

    def _check_key(self, table: EncryptedTable, base: Table, remembered: str | None) -> None:
        there = {column.name: column for column in base.columns}
        if not set(table.key_columns) <= there.keys():
            return  # Ddl refuses a missing key column
        new = [structure(self._database, there[name].type_oid) for name in table.key_columns]
        old = json.loads(remembered) if remembered else new
        for name, encoding, was, now in zip(table.key_columns, table.key_encodings, old, new, strict=True):
            phrase = difference(was, now, is_key=True)
            if key_encoding(form_of(self._database, there[name].type_oid)) != encoding:
                phrase = "it has become another type"
            if phrase is not None:
                raise UnsupportedError(
                    f"cannot change type {there[name].type}: encrypted values of {table.name} are bound to column "
                    f'"{name}", and would become unreadable: {phrase}',
                    hint=_HINT_FOR_KEYS,
                )
        if old != new or not remembered:
            self._save("encrypted_relation", "key_structures", table.id, new)

    def _load(self, table: EncryptedTable) -> list[dict[str, Any]]:
        return self._database.as_owner(
            lambda: self._database.execute(
                "SELECT id, data_type::oid::bigint AS type, type_modifier AS modifier,"
                " type_structure::text AS structure FROM {s}.encrypted_column"
                " WHERE relation_id OPERATOR(pg_catalog.=) $1 UNION ALL"
                " SELECT NULL, NULL, NULL, key_structures::text FROM {s}.encrypted_relation"
                " WHERE id OPERATOR(pg_catalog.=) $1",
                ("integer", table.id),
            )
        )

    def _save(self, registry: str, column: str, row_id: int, value: list[Any]) -> None:
        self._database.as_owner(
            lambda: self._database.execute(
                f"UPDATE {{s}}.{registry} SET {column} = $2 WHERE id OPERATOR(pg_catalog.=) $1",
                ("integer", row_id),
                ("jsonb", json.dumps(value)),
            )
        )
