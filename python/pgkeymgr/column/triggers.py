"""The functions of a view's INSTEAD OF triggers, as PL/pgSQL.

They run with the rights of the role that writes. There is a trigger for INSERT and one for UPDATE. PostgreSQL
itself does a DELETE, since it can update this view automatically. The triggers run an INSERT or an UPDATE on the
base table, whose own triggers seal the values that these send (``column/sealing.py``).

An UPDATE on a view finds its rows before the triggers lock them, and passes only the values of a row. On a table,
PostgreSQL evaluates a statement again on a row that another transaction has changed. It does not do this on a
view. So the trigger writes a row only if it is still as the statement saw it. Otherwise it raises a serialization
failure, so that the change of the other transaction is not lost. Usually the row version is sufficient evidence:
if it is older than any snapshot of this transaction, the statement saw the same version. Otherwise the trigger
locks the row and compares the values. It compares encrypted values in expressions of PL/pgSQL, never in a
statement, because the plan of a statement can be logged with the values in it.
"""

from typing import NamedTuple

from .constraints import Constraints
from .encrypted_table import BlindIndex, ColumnState, EncryptedColumn
from .expressions import Expressions, differs, image
from .index_kinds import EQUALITY
from .plpgsql import VARIABLE, body, if_then, indent
from .quoting import quote_literal, quote_name

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
        # The base table's trigger computes the values of these.
        self._compounds = [index.name for index, _ in self._table.compound_indexes() if index.name in self._blind]
        # If there are privileges on columns, or triggers for columns, the inner statement may name only columns
        # that the user's statement names.
        self._is_by_column = self._base.has_column_grants or self._base.fires_on_columns

    # INSERT

    def insert_function(self) -> str:
        """Return the body of the function of the INSTEAD OF INSERT trigger."""
        expressions = self._expressions
        statements = [*self._refuse_distributed(), *self._constraints.refuse_given(), *self._fill_identity()]
        declarations = [f"{_MADE} pg_catalog.record;"] if self._returns_inserted() else []
        names, values = [], []
        for column in self._plain.values():
            if column.generated is None:
                names.append(column.name)
                values.append(f"NEW.{quote_name(column.name)}")
        for encrypted in self._table.encrypted.values():
            ticket = self._ticket(encrypted)
            declarations.append(f"{ticket} pg_catalog.bytea;")
            # The triggers of shards run on other servers, where no value waits.
            sent = expressions.sealed_value if self._base.is_distributed else expressions.sent
            statements.append(f"{ticket} := {sent(encrypted, 'NEW')};")
            # The columns are named, so that a default of the base table does not replace a NULL.
            names += [encrypted.name, encrypted.cipher]
            values += ["NULL", ticket]
            for index in encrypted.own_indexes:
                blinded = self._blinded(encrypted, index)
                value = f"NEW.{quote_name(encrypted.name)}"
                statements.append(f"{blinded} := {expressions.indexed(encrypted, index, value)};")
                names.append(index.name)
                values.append(blinded)
                if index.name in self._blind:
                    # RETURNING shows this value.
                    statements.append(f"NEW.{quote_name(index.name)} := {blinded};")
                declarations.append(f"{blinded} {index.sql_type};")
        if not self._is_by_column:
            return body(declarations, [*statements, *self._insert(names, values), "RETURN NEW;"])
        declarations += [f"{_NAMES} pg_catalog.text;", f"{_PLACES} pg_catalog.text;", f"{_COUNT} pg_catalog.int8;"]
        may_insert = f"pg_catalog.has_table_privilege({expressions.base_oid}, 'INSERT')"
        statements += if_then(may_insert, self._insert(names, values), self._dynamic_insert(names, values))
        return body(declarations, [*statements, "RETURN NEW;"])

    def _insert(self, names: list[str], values: list[str]) -> list[str]:
        insert = (
            f"INSERT INTO {self._base.qualified} AS b ({', '.join(map(quote_name, names))})"
            f"{self._expressions.overriding()}\nVALUES ({', '.join(values)})"
        )
        if not self._returns_inserted():
            return [insert + ";"]
        # RETURNING shows the row as the base table has stored it.
        read = self._made()
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
        # The columns that the user may not name get their defaults.
        pairs = ", ".join(
            f"(CASE WHEN pg_catalog.has_column_privilege({self._expressions.base_oid}, {quote_literal(name)},"
            f" 'INSERT') THEN ARRAY[{quote_literal(quote_name(name))}, {quote_literal(place)}] END)"
            for name, place in zip(names, self._places(values), strict=True)
        )
        given = [value for value in values if value != "NULL"]
        start = quote_literal(f"INSERT INTO {self._base.qualified} AS b (")
        middle = quote_literal(f"){self._expressions.overriding()} VALUES (")
        return [
            "SELECT pg_catalog.string_agg(c.pair[1], ', '), pg_catalog.string_agg(c.pair[2], ', ')"
            f" INTO {_NAMES}, {_PLACES} FROM (VALUES {pairs}) AS c (pair);",
            *self._execute(
                f"{start} OPERATOR(pg_catalog.||) {_NAMES} OPERATOR(pg_catalog.||) {middle}"
                f" OPERATOR(pg_catalog.||) {_PLACES} OPERATOR(pg_catalog.||) ')'",
                ", ".join(given),
                returns_made=self._returns_inserted(),
            ),
            *if_then(f"{_COUNT} OPERATOR(pg_catalog.=) 0", ["RETURN NULL;"]),
            *(self._show_made() if self._returns_inserted() else []),
        ]

    @staticmethod
    def _places(values: list[str]) -> list[str]:
        """Return the placeholder of each value in a dynamic statement: NULL, or its number."""
        places, number = [], 0
        for value in values:
            number += value != "NULL"
            places.append("NULL" if value == "NULL" else f"${number}")
        return places

    def _fill_identity(self) -> list[str]:
        return [
            # The sequence is found through its column, since it may be renamed.
            f"NEW.{quote_name(column.name)} := pg_catalog.nextval(pg_catalog.pg_get_serial_sequence("
            f"{quote_literal(self._base.qualified)}, {quote_literal(column.name)})::pg_catalog.regclass);"
            for column in self._plain.values()
            if column.identity == "a"
        ]

    # UPDATE

    def update_function(self) -> str:
        """Return the body of the function of the INSTEAD OF UPDATE trigger."""
        expressions = self._expressions
        statements = [*self._refuse_distributed(), *self._constraints.refuse_changed()]
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
            if encrypted.mask is not None:
                sending.insert(0, f"PERFORM {expressions.check_reads(encrypted, 'OLD')};")
            written = [(encrypted.cipher, ticket)]
            if encrypted.state in (ColumnState.MIGRATING, ColumnState.DECRYPTING):
                written.append((encrypted.name, f"NULL::{encrypted.sql_type}"))
            shown = []
            for index in encrypted.own_indexes:
                blinded = self._blinded(encrypted, index)
                declarations.append(f"{blinded} {index.sql_type};")
                value = f"NEW.{quote_name(encrypted.name)}"
                sending.append(f"{blinded} := {expressions.indexed(encrypted, index, value)};")
                written.append((index.name, blinded))
                if index.name in self._blind:
                    # RETURNING shows this value.
                    name = quote_name(index.name)
                    shown.append(f"NEW.{name} := CASE WHEN {flag} THEN {blinded} ELSE OLD.{name} END;")
            statements.append(f"{flag} := {differs(encrypted.name, 'NEW', 'OLD')};")
            statements += if_then(flag, sending)
            statements += shown
            assignments += [_Assignment(name, value, flag, is_conditional=True) for name, value in written]
        if expressions.keys:
            update = self._update(assignments)
        else:
            declarations.append(f"{_DONE} pg_catalog.bool := false;")
            update = self._update_keyless(assignments)
        if self._returns_made():
            update = [f"{_MADE} := NEW;", *update, *self._show_made()]
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
        own = [
            *if_then(f"NOT {self._expressions.schema}._is_own({_NOW}.xmin)", [self._overtaken()]),
            *self._update_again(assignments, by_key),
        ]
        unsettled = [
            # The row is newer than a snapshot of this transaction, or was deleted, or a policy or a trigger keeps
            # it.
            self._lock_row(by_key),
            *self._update_moved(assignments),
            *if_then(is_changed, own, self._set_some(assignments, by_key)),
            "IF NOT FOUND THEN RETURN NULL; END IF;",
        ]
        return [
            *self._set_some(assignments, f"{by_key} AND {is_settled}"),
            *if_then("NOT FOUND", unsettled),
        ]

    def _update_keyless(self, assignments: list[_Assignment]) -> list[str]:
        # Any one of several rows that are equal in every column is right. The rows with equal plain columns are
        # compared.
        plain = [name for name in self._expressions.columns if name in self._plain]
        stored = [*plain, *(column.cipher for column in self._table.encrypted.values())]
        alike = _equal(plain, "b", "OLD")
        # Rows of two partitions can have the same ctid.
        same = (
            f"b.ctid OPERATOR(pg_catalog.=) {_NOW}.ctid AND b.tableoid OPERATOR(pg_catalog.=) {_NOW}.tableoid"
            f" AND {_equal(stored, 'b', _NOW)}"
        )
        is_changed = " OR ".join(self._is_changed(column.name) for column in self._table.encrypted.values())
        found = [
            *self._set_some(assignments, same),
            *if_then("FOUND", [f"{_DONE} := true;", "EXIT;"]),
        ]
        return [
            f"FOR {_NOW} IN SELECT b.tableoid, b.ctid, b.* FROM {self._base.qualified} AS b WHERE {alike} LOOP",
            *indent(if_then(f"({is_changed}) IS NOT TRUE", found)),
            "END LOOP;",
            *if_then(f"NOT {_DONE}", [self._overtaken()]),
        ]

    def _compared(self) -> list[str]:
        return [name for name in self._expressions.columns if name not in self._blind]

    def _is_changed(self, name: str, since: str = "OLD") -> str:
        """Return the condition that the locked row differs in a column from OLD, or from NEW."""
        value = self._expressions.value(name, _NOW)
        return f"ROW({value})::pg_catalog.record OPERATOR(pg_catalog.*<>) {image(since, name)}"

    def _is_any(self, *since: str) -> str:
        """Return the condition that of the columns that the statement changes, one differs in the locked row.

        Args:
            since: OLD, NEW or both. The column differs from each of them.
        """
        return " OR ".join(
            f"({' AND '.join([differs(name, 'NEW', 'OLD'), *(self._is_changed(name, each) for each in since)])})"
            for name in self._compared()
        )

    def _is_done(self) -> str:
        """Return the condition that a row which this statement has changed before is not written again."""
        if not self._base.own_actions:
            return self._is_any("OLD")
        # PostgreSQL performs the actions of a foreign key after all rows of a table are updated, and the view's
        # trigger after each row: the action can have given the row what the statement gives it, too.
        return f"{self._is_any('OLD', 'NEW')} OR ({self._is_any('NEW')}) IS NOT TRUE"

    def _lock_row(self, where: str) -> str:
        """Return the statement that locks a row, and takes it as it is now."""
        found = f"SELECT b.xmin, b.* INTO {_NOW} FROM {self._base.qualified} AS b WHERE {where}"
        return f"{found} FOR NO KEY UPDATE OF b;"

    def _update_again(self, assignments: list[_Assignment], where: str) -> list[str]:
        """Return the statements for a row that this statement has changed before.

        It was changed through a trigger or a foreign key of another row, or because it matched twice. A column
        that both changes concern is not written again.
        """
        return [
            *if_then(self._is_done(), ["RETURN NULL;"]),
            *self._returning(self._set([_kept_unless(each) for each in assignments], where)),
        ]

    def _update_moved(self, assignments: list[_Assignment]) -> list[str]:
        """Return the statements for a row that is not there any more under its key.

        A foreign key of the table to itself can have given it the key that the statement gives it, or another one.
        """
        keys = self._expressions.keys
        moving = self._base.own_actions.intersection(keys)
        if not moving:
            return ["IF NOT FOUND THEN RETURN NULL; END IF;"]
        by_key = self._expressions.same_key("NEW")
        is_own = f"{self._expressions.schema}._is_own"
        again = [
            *self._update_again(assignments, by_key),
            *if_then("FOUND", [*(self._show_made() if self._returns_made() else []), "RETURN NEW;"]),
        ]
        alike = "".join(
            f" AND b.{quote_name(name)} OPERATOR(pg_catalog.=) OLD.{quote_name(name)}"
            for name in keys
            if name not in moving
        )
        moved = self._constraints.error(
            "27000",
            f'a row of "{self._table.name}" was changed by a foreign key of the table to itself before its update',
            hint=f"Update the table {self._base.qualified} instead.",
        )
        look = [
            self._lock_row(by_key),
            *if_then(f"FOUND AND {is_own}({_NOW}.xmin)", again),
            *if_then(f"EXISTS (SELECT FROM {self._base.qualified} AS b WHERE {is_own}(b.xmin){alike})", [moved]),
            "RETURN NULL;",
        ]
        return if_then("NOT FOUND", look)

    def _set_some(self, assignments: list[_Assignment], where: str) -> list[str]:
        # Unchanged columns of unique indexes must not be named: PostgreSQL would lock the row against sessions
        # that only refer to it by a foreign key.
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
            f"RETURNING {', '.join(f'b.{quote_name(name)}' for name in self._made())}",
            f"INTO {', '.join(f'{_MADE}.{quote_name(name)}' for name in self._made())};",
        ]

    def _dynamic_update(self, assignments: list[_Assignment]) -> list[str]:
        """Return an UPDATE of the columns that the statement changes, for users who may not name all columns."""
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
        keys, start = expressions.keys, len(assignments)
        sought, finding, again, updating = (
            self._sought_by_keys(start) if keys else self._sought_keyless(compared, start)
        )
        found = [
            *if_then(f"({is_changed}) IS TRUE", [self._overtaken() if keys else "CONTINUE;"]),
            *([] if keys else self._refuse_unmigrated()),
            *self._execute(
                f"{quote_literal(f'UPDATE {self._base.qualified} AS b SET ')} OPERATOR(pg_catalog.||)"
                f" {_ASSIGNMENTS} OPERATOR(pg_catalog.||) ' WHERE ' OPERATOR(pg_catalog.||) {again}",
                ", ".join([*(each.value for each in assignments), updating]),
                returns_made=self._returns_made(),
            ),
            *if_then(f"{_COUNT} OPERATOR(pg_catalog.=) 0", ["RETURN NULL;" if keys else "CONTINUE;"]),
            *(self._show_made() if self._returns_made() else []),
            "RETURN NEW;",
        ]
        return [
            f"{_ASSIGNMENTS} := pg_catalog.concat_ws(', ', {', '.join(texts)});",
            *if_then(f"{_ASSIGNMENTS} OPERATOR(pg_catalog.=) ''", self._touch()),
            f"{_MAY} := ARRAY[{may}];",
            f"FOR {_NOW} IN EXECUTE 'SELECT ' OPERATOR(pg_catalog.||) pg_catalog.concat_ws(', ',"
            f" {', '.join(shown)}) OPERATOR(pg_catalog.||)"
            f" {quote_literal(f' FROM {self._base.qualified} AS b WHERE ')} OPERATOR(pg_catalog.||) {sought}"
            f" OPERATOR(pg_catalog.||) ' FOR NO KEY UPDATE OF b' USING {finding} LOOP",
            *indent(found),
            "END LOOP;",
            "RETURN NULL;" if keys else self._overtaken(),
        ]

    def _execute(self, statement: str, arguments: str, *, returns_made: bool) -> list[str]:
        """Return a dynamic statement on the base table, and how many rows it has written.

        Args:
            statement: the expression for its text.
            arguments: for its parameters.
            returns_made: return the row as the base table has stored it, in the columns that the user may read.
        """
        made = ""
        if returns_made:
            oid = self._expressions.base_oid
            shown = ", ".join(
                f"CASE WHEN pg_catalog.has_column_privilege({oid}, {quote_literal(name)}, 'SELECT')"
                f" THEN {quote_literal(f'b.{quote_name(name)}')}"
                f" ELSE {quote_literal(f'NULL::{self._type(name)} AS {quote_name(name)}')} END"
                for name in self._made()
            )
            returning = f"' RETURNING ' OPERATOR(pg_catalog.||) pg_catalog.concat_ws(', ', {shown})"
            statement = f"{statement} OPERATOR(pg_catalog.||) {returning}"
            made = f" INTO {_MADE}"
        return [
            f"EXECUTE {statement}{made} USING {arguments};",
            f"GET DIAGNOSTICS {_COUNT} = ROW_COUNT;",
        ]

    def _touch(self) -> list[str]:
        """Return the statements for an UPDATE that changes nothing: the triggers that are not for columns fire.

        No trigger is for a ciphertext column.
        """
        oid = self._expressions.base_oid
        cases = [
            f"WHEN pg_catalog.has_column_privilege({oid}, {quote_literal(column.cipher)}, 'UPDATE')"
            f" THEN {quote_literal(f'{quote_name(column.cipher)} = b.{quote_name(column.cipher)}')}"
            for column in self._table.encrypted.values()
        ]
        return [
            f"{_ASSIGNMENTS} := CASE {' '.join(cases)} END;",
            *if_then(f"{_ASSIGNMENTS} IS NULL", ["RETURN NEW;"]),
        ]

    def _sought_by_keys(self, start: int) -> tuple[str, str, str, str]:
        """Return the conditions by which dynamic statements find a row with a key; see ``_sought_keyless``."""
        keys = self._expressions.keys

        def condition(before: int) -> str:
            equal = (
                f"b.{quote_name(name)} OPERATOR(pg_catalog.=) ${number}"
                for number, name in enumerate(keys, before + 1)
            )
            return quote_literal(" AND ".join(equal))

        values = ", ".join(f"OLD.{quote_name(name)}" for name in keys)
        return condition(0), values, condition(start), values

    def _sought_keyless(self, compared: list[str], start: int) -> tuple[str, str, str, str]:
        """Return the conditions by which dynamic statements find a row, without and with the ciphertexts.

        Args:
            compared: the columns of the view that are compared.
            start: the number of arguments that the second statement has before these.

        Returns:
            The expressions for the text of the first condition and for its arguments, and the same of the second
            condition.
        """
        finding, updating, first, second = [], [], [], []
        for number, name in enumerate(compared, 1):
            if name in self._plain:
                finding.append(f"OLD.{quote_name(name)}")
                first.append(f"CASE WHEN {_MAY}[{number}] THEN {_equals_argument(name, len(finding))} END")
            encrypted = self._table.encrypted.get(name)
            # A column that is being decrypted may be compared as an argument. A column that is not migrated is
            # refused.
            is_plain = encrypted is None or encrypted.state is ColumnState.DECRYPTING
            for stored in self._stored(name) if is_plain else [self._stored(name)[0]]:
                updating.append(f"{_NOW}.{quote_name(stored)}")
                equals = _equals_argument(stored, start + len(updating))
                second.append(f"CASE WHEN {_MAY}[{number}] THEN {equals} END")
        sought = f"pg_catalog.concat_ws(' AND ', 'true', {', '.join(first)})" if first else "'true'"
        again = f"pg_catalog.concat_ws(' AND ', 'true', {', '.join(second)})"
        return sought, ", ".join(finding) or "NULL::pg_catalog.text", again, ", ".join(updating)

    def _refuse_unmigrated(self) -> list[str]:
        # Without a primary key, and without the privilege on the whole table that ctid takes, the row could only
        # be found by its plaintext.
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

    # INSERT and UPDATE

    def _made(self) -> list[str]:
        """Return the columns of the view whose values are those that the base table has stored."""
        return [*self._plain, *self._compounds]

    def _type(self, name: str) -> str:
        return self._plain[name].sql_type if name in self._plain else "pg_catalog.bytea"

    def _has_generated(self) -> bool:
        return bool(self._compounds) or any(column.generated is not None for column in self._plain.values())

    def _returns_inserted(self) -> bool:
        return self._base.changes_inserts or self._has_generated()

    def _returns_made(self) -> bool:
        return self._base.changes_updates or self._has_generated()

    def _show_made(self) -> list[str]:
        return [f"NEW.{quote_name(name)} := {_MADE}.{quote_name(name)};" for name in self._made()]

    def _refuse_distributed(self) -> list[str]:
        # The shards have no trigger that could compute the values.
        if not (self._base.is_distributed and self._table.compound_indexes()):
            return []
        message = (
            f'cannot write to "{self._table.name}": Citus has distributed it, and it has a compound blind index'
        )
        hint = "Call undistribute_table(), adopt_encrypted_table() and drop_blind_index() first."
        return [self._constraints.error("0A000", message, hint=hint)]

    @staticmethod
    def _ticket(column: EncryptedColumn) -> str:
        return f"{VARIABLE}ticket_{column.id}"

    @staticmethod
    def _blinded(column: EncryptedColumn, index: BlindIndex) -> str:
        name = "blinded" if index.kind == EQUALITY else "terms"
        return f"{VARIABLE}{'next_' if index is column.successor else ''}{name}_{column.id}"

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
