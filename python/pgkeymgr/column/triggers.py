"""The functions of a view's INSTEAD OF triggers, as PL/pgSQL.

They run with the rights of whoever writes. There are two: a DELETE is PostgreSQL's own, since the view is one
that it can update by itself. An INSERT or an UPDATE is a statement on the base table, whose own triggers seal what
these send (``column/sealing.py``).

An UPDATE on a view finds its rows before the triggers lock them, and gives no more of a row than its values. So
the trigger writes only where the row is still as the statement saw it: PostgreSQL's own way, to evaluate a changed
row again, does not reach through a view, and an update that another transaction has overtaken is refused as a
serialization failure, and does not undo the other. Usually the row version is evidence enough: it is older than
any snapshot of this transaction, so the statement saw the same. Otherwise the trigger locks the row and compares
the values. It compares encrypted ones in expressions of PL/pgSQL, never in a statement: plans can be logged, with
the values in them.
"""

from typing import NamedTuple

from .constraints import Constraints
from .expressions import Expressions, differs, image
from .plpgsql import VARIABLE, body, if_then, indent
from .quoting import quote_literal, quote_name
from .registry import ColumnState, EncryptedColumn

_MADE = f"{VARIABLE}made"
_NOW = f"{VARIABLE}now"
_MAY = f"{VARIABLE}may"
_DONE = f"{VARIABLE}done"
_SOUGHT = f"{VARIABLE}sought"
_ASSIGNMENTS = f"{VARIABLE}assignments"
_NAMES = f"{VARIABLE}names"
_PLACES = f"{VARIABLE}places"
_COUNT = f"{VARIABLE}count"


class _Assignment(NamedTuple):
    """One column of the base table in an UPDATE.

    Attributes:
        name: the column.
        value: the expression for its new value.
        condition: whether the statement changes it.
        is_conditional: whether it has to stay as it is where the condition does not hold: the row has a value that
            NEW has not.
    """

    name: str
    value: str
    condition: str
    is_conditional: bool


class ViewTriggers:
    """The INSTEAD OF triggers of one view."""

    def __init__(self, expressions: Expressions, constraints: Constraints) -> None:
        self._expressions = expressions
        self._constraints = constraints
        self._table = expressions.table
        self._base = expressions.base
        self._plain = expressions.plain
        self._blind = expressions.blind
        # With privileges on columns, or triggers for columns, no statement may name a column that the user's own
        # did not.
        self._is_by_column = self._base.has_column_grants or self._base.fires_on_columns

    # INSERT

    def insert_function(self) -> str:
        """Return the body of the function of the INSTEAD OF INSERT trigger."""
        expressions = self._expressions
        statements = [*self._constraints.refuse_given(), *self._fill_identity()]
        declarations = (
            [f"{_MADE} pg_catalog.record;"] if self._base.changes_inserts or self._has_generated() else []
        )
        names, values = [], []
        for column in self._plain.values():
            if column.generated is None:
                names.append(column.name)
                values.append(f"NEW.{quote_name(column.name)}")
        for encrypted in self._table.encrypted.values():
            ticket = self._ticket(encrypted)
            declarations.append(f"{ticket} pg_catalog.bytea;")
            statements.append(f"{ticket} := {expressions.sent(encrypted, 'NEW')};")
            # By name, so that a default of the base table does not take the place of a NULL.
            names += [encrypted.name, encrypted.cipher]
            values += ["NULL", ticket]
            if encrypted.blind:
                blinded = self._blinded(encrypted)
                statements.append(
                    f"{blinded} := {expressions.blinded(encrypted, f'NEW.{quote_name(encrypted.name)}')};"
                )
                names.append(encrypted.blind)
                values.append(blinded)
                if encrypted.blind in self._blind:
                    # As RETURNING is to have it.
                    statements.append(f"NEW.{quote_name(encrypted.blind)} := {blinded};")
                declarations.append(f"{blinded} pg_catalog.bytea;")
        if not self._is_by_column:
            return body(declarations, [*statements, *self._insert(names, values), "RETURN NEW;"])
        declarations += [f"{_NAMES} pg_catalog.text;", f"{_PLACES} pg_catalog.text;"]
        may_insert = f"pg_catalog.has_table_privilege({expressions.base_oid}, 'INSERT')"
        statements += if_then(may_insert, self._insert(names, values), self._dynamic_insert(names, values))
        return body(declarations, [*statements, "RETURN NEW;"])

    def _insert(self, names: list[str], values: list[str]) -> list[str]:
        insert = (
            f"INSERT INTO {self._base.qualified} AS b ({', '.join(map(quote_name, names))})"
            f"{self._expressions.overriding()}\nVALUES ({', '.join(values)})"
        )
        if not (self._base.changes_inserts or self._has_generated()):
            return [insert + ";"]
        # RETURNING is to give what the base table has made of the row.
        read = list(self._plain)
        returning = [
            insert,
            f"RETURNING {', '.join(f'b.{quote_name(name)}' for name in read)}",
            f"INTO {', '.join(f'{_MADE}.{quote_name(name)}' for name in read)};",
            "IF NOT FOUND THEN RETURN NULL; END IF;",
            *self._show_made(),
        ]
        may_read = f"pg_catalog.has_table_privilege({self._expressions.base_oid}, 'SELECT')"
        return [f"{_MADE} := NEW;", *if_then(may_read, returning, [insert + ";"])]

    def _dynamic_insert(self, names: list[str], values: list[str]) -> list[str]:
        # Without the privilege on all columns, those that the user may not name are left to their defaults.
        pairs = ", ".join(
            f"(CASE WHEN pg_catalog.has_column_privilege({self._expressions.base_oid}, {quote_literal(name)},"
            f" 'INSERT') THEN ARRAY[{quote_literal(quote_name(name))}, {quote_literal(place)}] END)"
            for name, place in zip(names, self._places(values), strict=True)
        )
        given = [value for value in values if value != "NULL"]
        start = quote_literal(f"INSERT INTO {self._base.qualified} (")
        middle = quote_literal(f"){self._expressions.overriding()} VALUES (")
        return [
            "SELECT pg_catalog.string_agg(c.pair[1], ', '), pg_catalog.string_agg(c.pair[2], ', ')"
            f" INTO {_NAMES}, {_PLACES} FROM (VALUES {pairs}) AS c (pair);",
            f"EXECUTE {start} OPERATOR(pg_catalog.||) {_NAMES} OPERATOR(pg_catalog.||) {middle}"
            f" OPERATOR(pg_catalog.||) {_PLACES} OPERATOR(pg_catalog.||) ')' USING {', '.join(given)};",
        ]

    @staticmethod
    def _places(values: list[str]) -> list[str]:
        """Return what stands for each value in a dynamic statement: NULL, or its number."""
        places, number = [], 0
        for value in values:
            number += value != "NULL"
            places.append("NULL" if value == "NULL" else f"${number}")
        return places

    def _fill_identity(self) -> list[str]:
        return [
            # By the column: the sequence may be renamed.
            f"NEW.{quote_name(column.name)} := pg_catalog.nextval(pg_catalog.pg_get_serial_sequence("
            f"{quote_literal(self._base.qualified)}, {quote_literal(column.name)})::pg_catalog.regclass);"
            for column in self._plain.values()
            if column.identity == "a"
        ]

    # UPDATE

    def update_function(self) -> str:
        """Return the body of the function of the INSTEAD OF UPDATE trigger."""
        expressions = self._expressions
        statements = self._constraints.refuse_changed()
        declarations = [f"{_NOW} pg_catalog.record;"]
        if self._returns_made():
            declarations.append(f"{_MADE} pg_catalog.record;")
        assignments = [
            _Assignment(name, f"NEW.{quote_name(name)}", differs(name, "NEW", "OLD"), is_conditional=False)
            for name, column in self._plain.items()
            if column.generated is None and column.identity != "a"
        ]
        for encrypted in self._table.encrypted.values():
            flag, ticket = f"{VARIABLE}writes_{encrypted.id}", self._ticket(encrypted)
            declarations += [f"{flag} pg_catalog.bool;", f"{ticket} pg_catalog.bytea;"]
            sending = [f"{ticket} := {expressions.sent(encrypted, 'NEW')};"]
            written = [(encrypted.cipher, ticket)]
            if encrypted.state in (ColumnState.MIGRATING, ColumnState.DECRYPTING):
                written.append((encrypted.name, f"NULL::{encrypted.sql_type}"))
            if encrypted.blind:
                blinded = self._blinded(encrypted)
                declarations.append(f"{blinded} pg_catalog.bytea;")
                value = f"NEW.{quote_name(encrypted.name)}"
                sending.append(f"{blinded} := {expressions.blinded(encrypted, value)};")
                written.append((encrypted.blind, blinded))
            statements.append(f"{flag} := {differs(encrypted.name, 'NEW', 'OLD')};")
            statements += if_then(flag, sending)
            if encrypted.blind in self._blind:
                # As RETURNING is to have it.
                shown = quote_name(encrypted.blind)
                statements.append(f"NEW.{shown} := CASE WHEN {flag} THEN {blinded} ELSE OLD.{shown} END;")
            assignments += [_Assignment(name, value, flag, is_conditional=True) for name, value in written]
        if self._table.key_columns:
            update = self._update(assignments)
        else:
            declarations.append(f"{_DONE} pg_catalog.bool := false;")
            update = self._update_keyless(assignments)
        if self._is_by_column:
            declarations += [
                f"{_MAY} pg_catalog.bool[];",
                f"{_ASSIGNMENTS} pg_catalog.text;",
                f"{_SOUGHT} pg_catalog.text;",
                f"{_COUNT} pg_catalog.int8;",
            ]
            oid = expressions.base_oid
            full = " AND ".join(
                f"pg_catalog.has_table_privilege({oid}, '{each}')" for each in ("UPDATE", "SELECT")
            )
            dynamic = self._dynamic_update(assignments)
            update = dynamic if self._base.fires_on_columns else if_then(full, update, dynamic)
        return body(declarations, [*statements, *update, "RETURN NEW;"])

    def _update(self, assignments: list[_Assignment]) -> list[str]:
        by_key = self._expressions.same_key("OLD")
        is_settled = f"{self._expressions.schema}._is_settled(b.xmin)"
        is_changed = " OR ".join(self._is_changed(name) for name in self._compared())
        own = (
            f"IF NOT {self._expressions.schema}._is_own({_NOW}.xmin) THEN",
            *indent([self._overtaken()]),
            "END IF;",
            # By this statement: by a trigger or a foreign key of another row, or matched twice. What both have
            # changed is not written again.
            *if_then(" OR ".join(self._is_changed_twice(name) for name in self._compared()), ["RETURN NULL;"]),
            *self._returning(self._set([_kept_unless(each) for each in assignments], by_key)),
        )
        unsettled = [
            # It is newer than a snapshot of this transaction, or was deleted, or a policy or a trigger keeps it.
            f"SELECT b.xmin, b.* INTO {_NOW} FROM {self._base.qualified} AS b WHERE {by_key}"
            " FOR NO KEY UPDATE OF b;",
            "IF NOT FOUND THEN RETURN NULL; END IF;",
            *if_then(is_changed, list(own), self._set_some(assignments, by_key)),
            "IF NOT FOUND THEN RETURN NULL; END IF;",
        ]
        lines = [
            *self._set_some(assignments, f"{by_key} AND {is_settled}"),
            *if_then("NOT FOUND", unsettled),
        ]
        if self._returns_made():
            lines = [f"{_MADE} := NEW;", *lines, *self._show_made()]
        return lines

    def _update_keyless(self, assignments: list[_Assignment]) -> list[str]:
        # Of rows that are equal in every column, any one. Those that are equal in the plain ones are looked at.
        plain = [name for name in self._expressions.columns if name in self._plain]
        stored = [*plain, *(column.cipher for column in self._table.encrypted.values())]
        alike = _equal(plain, "b", "OLD")
        same = f"b.ctid OPERATOR(pg_catalog.=) {_NOW}.ctid AND {_equal(stored, 'b', _NOW)}"
        is_changed = " OR ".join(self._is_changed(column.name) for column in self._table.encrypted.values())
        found = [
            *self._set_some(assignments, same),
            *if_then("FOUND", [f"{_DONE} := true;", "EXIT;"]),
        ]
        lines = [
            f"FOR {_NOW} IN SELECT b.ctid, b.* FROM {self._base.qualified} AS b WHERE {alike} LOOP",
            *indent(if_then(f"({is_changed}) IS NOT TRUE", found)),
            "END LOOP;",
            *if_then(f"NOT {_DONE}", [self._overtaken()]),
        ]
        if self._returns_made():
            lines = [f"{_MADE} := NEW;", *lines, *self._show_made()]
        return lines

    def _compared(self) -> list[str]:
        return [name for name in self._expressions.columns if name not in self._blind]

    def _is_changed(self, name: str) -> str:
        """Return the condition that the row that was found differs in a column from what the statement saw."""
        value = self._expressions.value(name, _NOW)
        return f"ROW({value})::pg_catalog.record OPERATOR(pg_catalog.*<>) {image('OLD', name)}"

    def _is_changed_twice(self, name: str) -> str:
        return f"({differs(name, 'NEW', 'OLD')} AND {self._is_changed(name)})"

    def _set_some(self, assignments: list[_Assignment], where: str) -> list[str]:
        # Columns of unique indexes that stay as they are must not be named: PostgreSQL would lock the row against
        # those who only refer to it.
        assignments = [_kept_unless(each) if each.is_conditional else each for each in assignments]
        keys = [each for each in assignments if each.name in self._base.unique_columns]
        others = [each for each in assignments if each not in keys]
        every = self._returning(self._set(assignments, where))
        if not (keys and others):
            return every
        is_key_changed = " OR ".join(each.condition for each in keys)
        return if_then(is_key_changed, every, self._returning(self._set(others, where)))

    def _set(self, assignments: list[_Assignment], where: str) -> str:
        pairs = ", ".join(f"{quote_name(each.name)} = {each.value}" for each in assignments)
        return f"UPDATE {self._base.qualified} AS b SET {pairs} WHERE {where}"

    def _returning(self, statement: str) -> list[str]:
        if not self._returns_made():
            return [statement + ";"]
        return [
            statement,
            f"RETURNING {', '.join(f'b.{quote_name(name)}' for name in self._plain)}",
            f"INTO {', '.join(f'{_MADE}.{quote_name(name)}' for name in self._plain)};",
        ]

    def _dynamic_update(self, assignments: list[_Assignment]) -> list[str]:
        """Return an UPDATE of what the statement changes, for users who may not name all columns."""
        expressions = self._expressions
        compared = self._compared()
        may = ", ".join(
            f"pg_catalog.has_column_privilege({expressions.base_oid}, {quote_literal(self._stored(name)[0])},"
            " 'SELECT')"
            for name in compared
        )
        shown = []
        for number, name in enumerate(compared, 1):
            for stored in self._stored(name):
                type_ = next(column.sql_type for column in self._base.columns if column.name == stored)
                shown.append(
                    f"CASE WHEN {_MAY}[{number}] THEN {quote_literal(f'b.{quote_name(stored)}')}"
                    f" ELSE {quote_literal(f'NULL::{type_} AS {quote_name(stored)}')} END"
                )
        is_changed = " OR ".join(
            f"({_MAY}[{number}] AND {self._is_changed(name)})" for number, name in enumerate(compared, 1)
        )
        texts = [
            f"CASE WHEN {each.condition} THEN {quote_literal(f'{quote_name(each.name)} = ${number}')} END"
            for number, each in enumerate(assignments, 1)
        ]
        keys = self._table.key_columns
        if keys:
            sought = " AND ".join(
                f"b.{quote_name(name)} OPERATOR(pg_catalog.=) ${number}" for number, name in enumerate(keys, 1)
            )
            sought = quote_literal(sought)
            finding = ", ".join(f"OLD.{quote_name(name)}" for name in keys)
            again = quote_literal(
                " AND ".join(
                    f"b.{quote_name(name)} OPERATOR(pg_catalog.=) ${number}"
                    for number, name in enumerate(keys, len(assignments) + 1)
                )
            )
            updating = finding
        else:
            sought, finding, again, updating = self._sought_keyless(compared, len(assignments))
        found = [
            *if_then(f"({is_changed}) IS TRUE", [self._overtaken() if keys else "CONTINUE;"]),
            *([] if keys else self._refuse_unmigrated()),
            f"EXECUTE {quote_literal(f'UPDATE {self._base.qualified} AS b SET ')} OPERATOR(pg_catalog.||)"
            f" {_ASSIGNMENTS} OPERATOR(pg_catalog.||) ' WHERE ' OPERATOR(pg_catalog.||) {again}"
            f" USING {', '.join([*(each.value for each in assignments), updating])};",
            f"GET DIAGNOSTICS {_COUNT} = ROW_COUNT;",
            *if_then(f"{_COUNT} OPERATOR(pg_catalog.=) 0", ["RETURN NULL;" if keys else "CONTINUE;"]),
            "RETURN NEW;",
        ]
        return [
            f"{_ASSIGNMENTS} := pg_catalog.concat_ws(', ', {', '.join(texts)});",
            f"IF {_ASSIGNMENTS} OPERATOR(pg_catalog.=) '' THEN RETURN NEW; END IF;",
            f"{_MAY} := ARRAY[{may}];",
            f"FOR {_NOW} IN EXECUTE 'SELECT ' OPERATOR(pg_catalog.||) pg_catalog.concat_ws(', ',"
            f" {', '.join(shown)}) OPERATOR(pg_catalog.||)"
            f" {quote_literal(f' FROM {self._base.qualified} AS b WHERE ')} OPERATOR(pg_catalog.||) {sought}"
            f" OPERATOR(pg_catalog.||) ' FOR NO KEY UPDATE OF b' USING {finding} LOOP",
            *indent(found),
            "END LOOP;",
            "RETURN NULL;" if keys else self._overtaken(),
        ]

    def _sought_keyless(self, compared: list[str], start: int) -> tuple[str, str, str, str]:
        """Return what a dynamic statement finds a row by, and its arguments, without and with the ciphertexts.

        Args:
            compared: the columns of the view that are compared.
            start: how many arguments the second statement has before these.
        """
        finding, updating, first, second = [], [], [], []
        for number, name in enumerate(compared, 1):
            if name in self._plain:
                finding.append(f"OLD.{quote_name(name)}")
                first.append(f"CASE WHEN {_MAY}[{number}] THEN {_equals_argument(name, len(finding))} END")
            encrypted = self._table.encrypted.get(name)
            # A value that is being decrypted may be an argument; one that is still to be encrypted is refused.
            is_plain = encrypted is None or encrypted.state is ColumnState.DECRYPTING
            for stored in self._stored(name) if is_plain else [self._stored(name)[0]]:
                updating.append(f"{_NOW}.{quote_name(stored)}")
                equals = _equals_argument(stored, start + len(updating))
                second.append(f"CASE WHEN {_MAY}[{number}] THEN {equals} END")
        sought = f"pg_catalog.concat_ws(' AND ', 'true', {', '.join(first)})" if first else "'true'"
        again = f"pg_catalog.concat_ws(' AND ', 'true', {', '.join(second)})"
        return sought, ", ".join(finding) or "NULL::pg_catalog.text", again, ", ".join(updating)

    def _refuse_unmigrated(self) -> list[str]:
        # Without a key, and without ctid, which takes a privilege on the whole table, its plaintext would find it.
        lines = []
        for column in self._table.encrypted.values():
            if column.state is ColumnState.MIGRATING:
                message = f'column "{column.name}" of "{self._table.name}" is not encrypted yet in this row'
                hint = "migrate_column() encrypts it."
                refusal = self._constraints.error("55000", message, hint=hint, column=column.name)
                lines += if_then(f"{_NOW}.{quote_name(column.name)} IS DISTINCT FROM NULL", [refusal])
        return lines

    def _stored(self, name: str) -> list[str]:
        """Return the columns of the base table that a column of the view is read from."""
        encrypted = self._table.encrypted.get(name)
        return [encrypted.cipher, encrypted.name] if encrypted else [name]

    # Both

    def _has_generated(self) -> bool:
        return any(column.generated is not None for column in self._plain.values())

    def _returns_made(self) -> bool:
        return self._base.changes_updates or self._has_generated()

    def _show_made(self) -> list[str]:
        return [f"NEW.{quote_name(name)} := {_MADE}.{quote_name(name)};" for name in self._plain]

    @staticmethod
    def _ticket(column: EncryptedColumn) -> str:
        return f"{VARIABLE}ticket_{column.id}"

    @staticmethod
    def _blinded(column: EncryptedColumn) -> str:
        return f"{VARIABLE}blinded_{column.id}"

    def _overtaken(self) -> str:
        return self._constraints.error(
            "40001",
            f'could not serialize access to "{self._table.name}" due to concurrent update',
            hint="The row was changed after this statement began. Try again, or lock it before, with SELECT FOR "
            "UPDATE in a statement of its own.",
        )


def _kept_unless(each: _Assignment) -> _Assignment:
    """Return an assignment after which a column that the statement does not change is as it was."""
    value = f"CASE WHEN {each.condition} THEN {each.value} ELSE b.{quote_name(each.name)} END"
    return each._replace(value=value)


def _equals_argument(name: str, number: int) -> str:
    """Return the literal of the condition that a column has the value of an argument of a dynamic statement."""
    return quote_literal(f"{image('b', name)} OPERATOR(pg_catalog.*=) ROW(${number})::pg_catalog.record")


def _equal(names: list[str], one: str, other: str) -> str:
    if not names:
        return "true"
    return f"{image(one, *names)} OPERATOR(pg_catalog.*=) {image(other, *names)}"
