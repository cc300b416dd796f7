"""The view of a table with encrypted columns, and the functions of its INSTEAD OF triggers, as SQL text.

The functions run with the rights of whoever writes. They set no ``search_path``, which would cost more than the
encryption does: every name in them is qualified.

An UPDATE or a DELETE on a view finds its rows before the triggers lock them. So the triggers write only where the
row is still as the statement saw it: PostgreSQL's own re-evaluation of a changed row does not reach through a
view, and an update that another transaction has overtaken is refused as a serialization failure, and does not undo
the other.
"""

from typing import NamedTuple

from .catalog import Column, Table
from .forms import BYTES, key_expression
from .place import place_prefix
from .quoting import bytes_literal, quote_literal, quote_name
from .registry import EncryptedColumn, EncryptedTable

MIGRATING = "migrating"
ENCRYPTED = "encrypted"
ROTATING = "rotating"
DECRYPTING = "decrypting"


class _Assignment(NamedTuple):
    """What an UPDATE of the base table sets: the column, to what, and if which condition holds it differs."""

    name: str
    expression: str
    condition: str


class Definition:
    """The SQL of one table with encrypted columns."""

    def __init__(self, table: EncryptedTable, base: Table, schema: str) -> None:
        """Take what it is made of.

        Args:
            table: as registered.
            base: the base table, as the catalog has it now.
            schema: the extension's, quoted.
        """
        self._table = table
        self._base = base
        self._schema = schema
        own = table.own_columns()
        self._plain = {column.name: column for column in base.columns if column.name not in own}
        self._blind = table.shown_blind_indexes()
        # With privileges on columns, no statement may touch a column that the user's own did not.
        self.is_by_column = base.has_column_grants or base.fires_on_columns

    @property
    def columns(self) -> list[str]:
        """The view's columns: those that it has had, then the base table's new ones."""
        new = [name for name in self._plain if name not in self._table.columns]
        new += [name for name in self._blind if name not in self._table.columns]
        there = self._plain.keys() | self._table.encrypted.keys() | self._blind.keys()
        return [name for name in self._table.columns if name in there] + new

    def place(self, column: EncryptedColumn, row: str) -> str:
        """Return the expression for what a ciphertext is bound to.

        Args:
            column: in which.
            row: what the row is called: an alias, NEW or OLD.

        Returns:
            The expression of type bytea. The key's columns have no part in it for a deterministic column.
        """
        parts = [bytes_literal(place_prefix(column.uuid))]
        if not column.deterministic:
            for name, encoding in zip(self._table.key_columns, self._table.key_encodings, strict=True):
                parts.append(key_expression(encoding, f"{row}.{quote_name(name)}"))
        return " OPERATOR(pg_catalog.||) ".join(parts)

    def opened(self, column: EncryptedColumn, row: str) -> str:
        """Return the expression for the decrypted value of a base table's row."""
        function = "_open_bytes" if column.form.kind == BYTES else "_open_text"
        value = (
            f"{self._schema}.{function}({row}.{quote_name(column.cipher)}, {self.place(column, row)},"
            f" {column.family})"
        )
        return column.form.decoded(value, column.sql_type, self._schema)

    def read(self, column: EncryptedColumn, row: str) -> str:
        """Return the expression for a column's value, in whichever of the two columns of the base table it is."""
        value = self.opened(column, row)
        if column.plain:
            value = (
                f"CASE WHEN {row}.{quote_name(column.cipher)} IS NULL THEN {row}.{quote_name(column.plain)}"
                f" ELSE {value} END"
            )
        return f"({value}) COLLATE {column.collation}" if column.collation else value

    def sealed(self, column: EncryptedColumn, value: str, row: str) -> str:
        """Return the expression for the ciphertext of a value.

        Args:
            column: in which.
            value: the expression for it.
            row: what the row is called.

        Returns:
            The expression of type bytea.
        """
        function = "_seal_bytes" if column.form.kind == BYTES else "_seal_text"
        encoded = column.form.encoded(value, self._schema)
        if column.deterministic:
            function = "_seal_deterministic"
            if column.form.kind != BYTES:
                encoded = f"pg_catalog.convert_to({encoded}, 'UTF8')"
        sealed = f"{self._schema}.{function}({self.key(column, row)}, {encoded}, {self.place(column, row)})"
        # NULL needs no key, and so is not to make one.
        return f"CASE WHEN {value} IS NOT NULL THEN {sealed} END" if column.key_by else sealed

    def key(self, column: EncryptedColumn, row: str) -> str:
        """Return the expression for the family of the key of a row."""
        if column.key_by is None:
            return str(column.family)
        value = f"{row}.{quote_name(column.key_by)}"
        return f"{self._schema}._key_by({column.family}, ({value})::pg_catalog.text)"

    def blinded(self, column: EncryptedColumn, value: str) -> str:
        """Return the expression for the blind index of a value."""
        canonical = column.form.canonical(value, self._schema)
        normalization = quote_literal(column.normalization or "none")
        return f"{self._schema}._blind({column.blind_key}, {normalization}, {canonical})"

    def value(self, name: str, row: str) -> str:
        """Return the expression for a column of the view."""
        encrypted = self._table.encrypted.get(name)
        return self.read(encrypted, row) if encrypted else f"{row}.{quote_name(name)}"

    def view(self, schema: str) -> str:
        """Return the statement that makes the view, or remakes it.

        Args:
            schema: in which.

        Returns:
            The statement.
        """
        columns = ",\n    ".join(f"{self.value(name, 'b')} AS {quote_name(name)}" for name in self.columns)
        # With privileges on columns, PostgreSQL would ask the invoker for all of them.
        invoker = "false" if self._base.has_column_grants else "true"
        return (
            f"CREATE OR REPLACE VIEW {quote_name(schema)}.{quote_name(self._table.name)}"
            f" WITH (security_invoker = {invoker}) AS\nSELECT\n    {columns}\nFROM {self._base.qualified} AS b"
        )

    def default(self, name: str) -> str | None:
        """Return the default of a column of the view, or None."""
        encrypted = self._table.encrypted.get(name)
        if encrypted:
            return encrypted.default
        column = self._plain.get(name)
        if column is not None and column.identity == "d":
            return f"pg_catalog.nextval({quote_literal(column.sequence or '')}::pg_catalog.regclass)"
        return column.default if column else None

    # The triggers' functions.

    def insert_function(self) -> str:
        """Return the body of the function of the INSTEAD OF INSERT trigger."""
        statements = [*self._refuse_given(), *self._fill_identity(), *self._check_row()]
        declarations = ["made pg_catalog.record;"] if self._is_changed_by("insert") else []
        if self._table.checks():
            declarations.append("violated pg_catalog.text;")
        names, values, omitted = [], [], []
        for column in self._plain.values():
            if column.generated is None:
                names.append(column.name)
                values.append(f"NEW.{quote_name(column.name)}")
        for encrypted in self._table.encrypted.values():
            for name, expression in self._written(encrypted):
                names.append(name)
                if name in self._blind:
                    # As RETURNING is to have it.
                    statements.append(f"NEW.{quote_name(name)} := {expression};")
                    values.append(f"NEW.{quote_name(name)}")
                elif name == encrypted.plain:
                    values.append(expression)
                else:
                    # A variable is cheaper than an expression in the statement.
                    variable = f"written_{len(values)}"
                    declarations.append(f"{variable} pg_catalog.bytea;")
                    statements.append(f"{variable} := {expression};")
                    values.append(variable)
        if not self.is_by_column:
            statements.append(self._insert(names, values))
            return _body(declarations, [*statements, "RETURN NEW;"])
        # Without the privilege on all columns, those that the user may not name are left to their defaults.
        arguments = ", ".join(values)
        for number, name in enumerate(names, 1):
            omitted.append(
                f"CASE WHEN pg_catalog.has_column_privilege({self._base_oid()}, {quote_literal(name)}, 'INSERT')"
                f" THEN ARRAY[{quote_literal(quote_name(name))}, {quote_literal(f'${number}')}] END"
            )
        dynamic = [
            "SELECT pg_catalog.string_agg(c.pair[1], ', '), pg_catalog.string_agg(c.pair[2], ', ')",
            "INTO names, places FROM (VALUES " + ", ".join(f"({pair})" for pair in omitted) + ") AS c (pair);",
            f"EXECUTE {quote_literal(f'INSERT INTO {self._base.qualified} (')} OPERATOR(pg_catalog.||) names"
            f" OPERATOR(pg_catalog.||) {quote_literal(')' + self._overriding() + ' VALUES (')}"
            " OPERATOR(pg_catalog.||) places OPERATOR(pg_catalog.||) ')'"
            f" USING {arguments};",
        ]
        return _body(
            [*declarations, "names pg_catalog.text;", "places pg_catalog.text;"],
            [
                *statements,
                f"IF pg_catalog.has_table_privilege({self._base_oid()}, 'INSERT') THEN",
                *_indent([self._insert(names, values)]),
                "ELSE",
                *_indent(dynamic),
                "END IF;",
                "RETURN NEW;",
            ],
        )

    def _insert(self, names: list[str], values: list[str]) -> str:
        insert = (
            f"INSERT INTO {self._base.qualified} AS b ({', '.join(map(quote_name, names))}){self._overriding()}\n"
            f"VALUES ({', '.join(values)})"
        )
        if not self._is_changed_by("insert"):
            return insert + ";"
        # What the base table makes of a row is to be seen by RETURNING; and ciphertexts bound to a key that a
        # trigger of the base table has changed are made again.
        read = list(self._plain)
        lines = [
            f"IF pg_catalog.has_table_privilege({self._base_oid()}, 'SELECT') THEN",
            *_indent(
                [
                    insert,
                    f"RETURNING {', '.join(f'b.{quote_name(name)}' for name in read)}",
                    f"INTO {', '.join(f'made.{quote_name(name)}' for name in read)};",
                    "IF NOT FOUND THEN RETURN NULL; END IF;",
                    *self._reseal_moved(),
                    *(f"NEW.{quote_name(name)} := made.{quote_name(name)};" for name in read),
                ]
            ),
            "ELSE",
            *_indent([insert + ";"]),
            "END IF;",
        ]
        return "\n".join(["made := NEW;", *lines])

    def _reseal_moved(self) -> list[str]:
        bound = [column for column in self._table.encrypted.values() if not column.deterministic]
        if not (self._table.key_columns and self._base.changes_inserts and bound):
            return []
        keys = self._table.key_columns
        moved = f"{_row('NEW', keys)} OPERATOR(pg_catalog.*<>) {_row('made', keys)}"
        assignments = [
            f"{quote_name(c.cipher)} = {self.sealed(c, f'NEW.{quote_name(c.name)}', 'made')}"
            for c in bound
            if c.state != DECRYPTING
        ]
        if not assignments:
            return []
        return [
            f"IF {moved} THEN",
            f"    UPDATE {self._base.qualified} AS b SET {', '.join(assignments)} WHERE {self._same_key('made')};",
            "END IF;",
        ]

    def _is_changed_by(self, event: str) -> bool:
        changes = self._base.changes_inserts if event == "insert" else self._base.changes_updates
        return changes or any(column.generated is not None for column in self._plain.values())

    def update_function(self) -> str:
        """Return the body of the function of the INSTEAD OF UPDATE trigger."""
        statements = [*self._refuse_changed(), *self._check_row()]
        declarations = self._declarations()
        changed_key = " OR ".join(f"{_image('NEW', name)} OPERATOR(pg_catalog.*<>) {_image('OLD', name)}"
                                  for name in self._table.key_columns)  # fmt: skip
        assignments: list[_Assignment] = []
        conditional: list[tuple[str, str, str]] = []
        for column in self._plain.values():
            if column.generated is None and column.identity != "a":
                new = f"NEW.{quote_name(column.name)}"
                assignments.append(_Assignment(column.name, new, _changed(column.name)))
                conditional.append((_changed(column.name), column.name, f"NEW.{quote_name(column.name)}"))
        for number, encrypted in enumerate(self._table.encrypted.values(), 1):
            flag = f"writes_{number}"
            declarations.append(f"{flag} pg_catalog.bool;")
            conditions = [_changed(encrypted.name)]
            if not encrypted.deterministic and changed_key:
                conditions.append(changed_key)
            if encrypted.key_by:
                conditions.append(_changed(encrypted.key_by))
            # While it is in two places, each row that is written anyway goes to the new one.
            is_forced = encrypted.plain and not self.is_by_column
            statements.append(f"{flag} := {'true' if is_forced else ' OR '.join(conditions)};")
            for name, expression in self._written(encrypted):
                variable = f"written_{len(conditional)}"
                kind = "pg_catalog.bytea" if name in (encrypted.cipher, encrypted.blind) else encrypted.sql_type
                declarations.append(f"{variable} {kind};")
                statements.append(f"IF {flag} THEN {variable} := {expression}; END IF;")
                if name in self._blind:
                    shown = quote_name(name)
                    statements.append(f"NEW.{shown} := CASE WHEN {flag} THEN {variable} ELSE OLD.{shown} END;")
                either = f"CASE WHEN {flag} THEN {variable} ELSE b.{quote_name(name)} END"
                assignments.append(_Assignment(name, either, flag))
                conditional.append((flag, name, variable))
        update = self._update(assignments)
        if not self.is_by_column:
            return _body(declarations, [*statements, *update, "RETURN NEW;"])
        dynamic = self._dynamic_update(conditional)
        full = (
            f"pg_catalog.has_table_privilege({self._base_oid()}, 'UPDATE')"
            f" AND pg_catalog.has_table_privilege({self._base_oid()}, 'SELECT')"
        )
        if self._base.fires_on_columns:
            full = "false"
        return _body(
            [*declarations, "assignments pg_catalog.text;", "seen pg_catalog.text;", "count pg_catalog.int8;"],
            [
                *statements,
                f"IF {full} THEN",
                *_indent(update),
                "ELSE",
                *_indent(dynamic),
                "END IF;",
                "RETURN NEW;",
            ],
        )

    def _update(self, assignments: list[_Assignment]) -> list[str]:
        # Columns of unique indexes that stay as they are must not be named: PostgreSQL would lock the row against
        # those who only refer to it.
        keys = [each for each in assignments if each.name in self._base.unique_columns]
        others = [each for each in assignments if each not in keys]
        where = self._found_row()
        lines = self._returning(self._set(assignments, where))
        if keys and others:
            lines = [
                f"IF {' OR '.join(each.condition for each in keys)} THEN",
                *_indent(lines),
                "ELSE",
                *_indent(self._returning(self._set(others, where))),
                "END IF;",
            ]
        lines += self._overtaken(self._update_own(assignments))
        if self._is_changed_by("update"):
            lines = ["made := NEW;", *lines]
            lines += [f"NEW.{quote_name(name)} := made.{quote_name(name)};" for name in self._plain]
        return lines

    def _set(self, assignments: list[_Assignment], where: str) -> str:
        pairs = ", ".join(f"{quote_name(each.name)} = {each.expression}" for each in assignments)
        return f"UPDATE {self._base.qualified} AS b SET {pairs} WHERE {where}"

    def _returning(self, statement: str) -> list[str]:
        if not self._is_changed_by("update"):
            return [statement + ";"]
        return [
            statement,
            f"RETURNING {', '.join(f'b.{quote_name(name)}' for name in self._plain)}",
            f"INTO {', '.join(f'made.{quote_name(name)}' for name in self._plain)};",
        ]

    def _update_own(self, assignments: list[_Assignment]) -> list[str]:
        """Update a row that this statement itself has changed otherwise, by a trigger or a foreign key."""
        changes = [
            _Assignment(
                each.name,
                f"CASE WHEN {each.condition} THEN {each.expression} ELSE b.{quote_name(each.name)} END",
                each.condition,
            )
            for each in assignments
        ]
        same = [
            f"(NOT ({_changed(name)}) OR ROW({self.value(name, 'b')})::pg_catalog.record"
            f" OPERATOR(pg_catalog.*=) {_image('OLD', name)})"
            for name in self.columns
            if name not in self._blind
        ]
        return self._returning(self._set(changes, " AND ".join([self._same_key("OLD"), *same])))

    def _dynamic_update(self, conditional: list[tuple[str, str, str]]) -> list[str]:
        # $1 to $n are the new values, and after them the old ones of what the user may see.
        new = [expression for _, _, expression in conditional]
        olds = [name for name in self.columns if name not in self._blind]
        parts = [
            f"CASE WHEN {condition} THEN {quote_literal(f'{quote_name(name)} = ${number}')} END"
            for number, (condition, name, _) in enumerate(conditional, 1)
        ]
        compared = []
        for number, name in enumerate(olds, len(new) + 1):
            read_column = self._table.encrypted[name].cipher if name in self._table.encrypted else name
            text = (
                f"ROW({self.value(name, 'b')})::pg_catalog.record OPERATOR(pg_catalog.*=)"
                f" ROW(${number})::pg_catalog.record"
            )
            compared.append(
                f"CASE WHEN pg_catalog.has_column_privilege({self._base_oid()}, "
                f"{quote_literal(read_column)}, 'SELECT')"
                f" THEN {quote_literal(text)} END"
            )
        arguments = ", ".join([*new, *(f"OLD.{quote_name(name)}" for name in olds)])
        return [
            f"assignments := pg_catalog.concat_ws(', ', {', '.join(parts)});",
            "IF assignments OPERATOR(pg_catalog.=) '' THEN RETURN NEW; END IF;",
            f"seen := pg_catalog.concat_ws(' AND ', {', '.join(compared)});",
            f"EXECUTE {quote_literal(f'UPDATE {self._base.qualified} AS b SET ')} OPERATOR(pg_catalog.||) "
            "assignments"
            f" OPERATOR(pg_catalog.||) ' WHERE ' OPERATOR(pg_catalog.||) seen USING {arguments};",
            "GET DIAGNOSTICS count = ROW_COUNT;",
            "IF count OPERATOR(pg_catalog.=) 0 THEN",
            *_indent(self._overtaken_limited()),
            "END IF;",
        ]

    def delete_function(self) -> str:
        """Return the body of the function of the INSTEAD OF DELETE trigger."""
        by_key = f"DELETE FROM {self._base.qualified} AS b WHERE {self._same_key('OLD')};"
        lines = [f"DELETE FROM {self._base.qualified} AS b WHERE {self._found_row()};", *self._overtaken([by_key])]
        if not self.is_by_column:
            return _body(self._declarations(), [*lines, "RETURN OLD;"])
        return _body(
            self._declarations(),
            [
                f"IF pg_catalog.has_table_privilege({self._base_oid()}, 'SELECT') THEN",
                *_indent(lines),
                "ELSE",
                *_indent(
                    [
                        by_key,
                        "IF NOT FOUND THEN RETURN NULL; END IF;",
                    ]
                ),
                "END IF;",
                "RETURN OLD;",
            ],
        )

    def _found_row(self) -> str:
        if self._table.key_columns:
            return f"{self._same_key('OLD')} AND {self._unchanged()}"
        # Of rows that are equal in every column, any one.
        inner = self._unchanged("m")
        return (
            f"b.ctid OPERATOR(pg_catalog.=) (SELECT m.ctid FROM {self._base.qualified} AS m WHERE {inner} LIMIT 1)"
        )

    def _same_key(self, row: str) -> str:
        if not self._table.key_columns:
            return self._unchanged()
        return " AND ".join(
            f"b.{quote_name(name)} OPERATOR(pg_catalog.=) {row}.{quote_name(name)}"
            for name in self._table.key_columns
        )

    def _unchanged(self, alias: str = "b") -> str:
        names = [name for name in self.columns if name not in self._blind]
        now = ", ".join(self.value(name, alias) for name in names)
        seen = ", ".join(f"OLD.{quote_name(name)}" for name in names)
        return f"ROW({now})::pg_catalog.record OPERATOR(pg_catalog.*=) ROW({seen})::pg_catalog.record"

    def _overtaken(self, again: list[str]) -> list[str]:
        if not self._table.key_columns:
            return ["IF NOT FOUND THEN", *_indent([self._serialization_failure()]), "END IF;"]
        return [
            "IF NOT FOUND THEN",
            # Deleted; or kept as it is by a policy or a trigger.
            f"    SELECT b.xmin, {self._unchanged()} INTO changed_by, is_unchanged",
            f"    FROM {self._base.qualified} AS b WHERE {self._same_key('OLD')};",
            "    IF NOT FOUND OR is_unchanged THEN RETURN NULL; END IF;",
            f"    IF NOT {self._schema}._is_own(changed_by) THEN",
            f"        {self._serialization_failure()}",
            "    END IF;",
            # By this statement: by a trigger or a foreign key of another row, or matched twice.
            *_indent(again),
            "    IF NOT FOUND THEN RETURN NULL; END IF;",
            "END IF;",
        ]

    def _overtaken_limited(self) -> list[str]:
        if not self._table.key_columns:
            return [self._serialization_failure()]
        return [
            f"IF NOT EXISTS (SELECT FROM {self._base.qualified} AS b WHERE {self._same_key('OLD')}) THEN",
            "    RETURN NULL;",
            "END IF;",
            self._serialization_failure(),
        ]

    def _serialization_failure(self) -> str:
        return self._raise(
            "40001",
            f'could not serialize access to "{self._table.name}" due to concurrent update',
            hint="The row was changed after this statement began. Try again, or lock it before, with SELECT FOR "
            "UPDATE in a statement of its own.",
        )

    # What a row is refused for.

    def _refuse_given(self) -> list[str]:
        lines = []
        for column in self._plain.values():
            if column.generated is not None or column.identity == "a":
                lines += self._refuse_column(f"NEW.{quote_name(column.name)} IS NOT NULL", column, "insert")
        return lines

    def _refuse_changed(self) -> list[str]:
        lines = []
        for column in self._plain.values():
            if column.generated is not None or column.identity == "a":
                given = f"NEW.{quote_name(column.name)} IS NOT NULL AND {_changed(column.name)}"
                lines += self._refuse_column(given, column, "update")
        return lines

    def _refuse_column(self, condition: str, column: Column, event: str) -> list[str]:
        message = (
            f'cannot insert a non-DEFAULT value into column "{column.name}"'
            if event == "insert"
            else f'column "{column.name}" can only be updated to DEFAULT'
        )
        return [f"IF {condition} THEN", f"    {self._raise('428C9', message, column=column.name)}", "END IF;"]

    def _fill_identity(self) -> list[str]:
        return [
            # By the column: the sequence may be renamed.
            f"NEW.{quote_name(column.name)} := pg_catalog.nextval(pg_catalog.pg_get_serial_sequence("
            f"{quote_literal(self._base.qualified)}, {quote_literal(column.name)})::pg_catalog.regclass);"
            for column in self._plain.values()
            if column.identity == "a"
        ]

    def _check_row(self) -> list[str]:
        lines = []
        for column in self._table.encrypted.values():
            if column.not_null:
                message = (
                    f'null value in column "{column.name}" of relation "{self._table.name}"'
                    " violates not-null constraint"
                )
                lines += [
                    f"IF NEW.{quote_name(column.name)} IS NULL THEN",
                    f"    {self._raise('23502', message, column=column.name)}",
                    "END IF;",
                ]
        if self._table.checks():
            arguments = ", ".join(f"NEW.{quote_name(name)}" for name in self._checked_columns())
            message = quote_literal(f'new row for relation "{self._table.name}" violates check constraint "')
            lines += [
                f"violated := {self._schema}._check_{self._table.id}({arguments});",
                "IF violated IS NOT NULL THEN",
                f"    RAISE EXCEPTION USING ERRCODE = '23514', CONSTRAINT = violated,"
                f" MESSAGE = {message} OPERATOR(pg_catalog.||) violated OPERATOR(pg_catalog.||) '\"',"
                f" TABLE = {quote_literal(self._table.name)}, SCHEMA = {quote_literal(self._base.schema)};",
                "END IF;",
            ]
        return lines

    def _checked_columns(self) -> list[str]:
        return sorted({name for check in self._table.checks() for name in check.columns})

    def check_function(self) -> tuple[str, str] | None:
        """Return parameters and body of the function that gives the name of a CHECK that is violated.

        Constraints are text here, with operators that are not qualified: this function has a search_path of its
        own, which the triggers cannot have, since the base table's own triggers run in them.
        """
        names = self._checked_columns()
        if not names:
            return None
        fields = ", ".join(f"${number} AS {quote_name(name)}" for number, name in enumerate(names, 1))
        statements = [
            f"IF (SELECT NOT ({check.definition}) FROM (SELECT {fields}) AS {quote_name(self._table.name)}) THEN"
            f" RETURN {quote_literal(check.name)}; END IF;"
            for check in self._table.checks()
        ]
        return ", ".join(self._type(name) for name in names), _body([], [*statements, "RETURN NULL;"])

    def check_query(self) -> str | None:
        """Return a query that PostgreSQL can parse as long as it understands the CHECK constraints, or None."""
        names = self._checked_columns()
        if not names:
            return None
        fields = ", ".join(f"NULL::{self._type(name)} AS {quote_name(name)}" for name in names)
        checks = ", ".join(f"({check.definition})" for check in self._table.checks())
        return f"SELECT {checks} FROM (SELECT {fields}) AS {quote_name(self._table.name)}"

    def _type(self, name: str) -> str:
        encrypted = self._table.encrypted.get(name)
        return encrypted.sql_type if encrypted else self._plain[name].sql_type

    def _raise(self, sqlstate: str, message: str, hint: str = "", column: str = "", constraint: str = "") -> str:
        options = {
            "MESSAGE": message,
            "HINT": hint,
            "COLUMN": column,
            "CONSTRAINT": constraint,
            "TABLE": self._table.name,
            "SCHEMA": self._base.schema,
        }
        given = "".join(f", {name} = {quote_literal(text)}" for name, text in options.items() if text)
        return f"RAISE EXCEPTION USING ERRCODE = '{sqlstate}'{given};"

    def _written(self, column: EncryptedColumn) -> list[tuple[str, str]]:
        """Return the columns of the base table that hold a value, and what a write puts there."""
        value = f"NEW.{quote_name(column.name)}"
        if column.state == DECRYPTING:
            written = [(column.cipher, "NULL::pg_catalog.bytea"), (column.plain or "", value)]
        else:
            written = [(column.cipher, self.sealed(column, value, "NEW"))]
            if column.plain:
                written.append((column.plain, f"NULL::{column.sql_type}"))
        if column.blind:
            written.append((column.blind, self.blinded(column, value)))
        return written

    def _overriding(self) -> str:
        return " OVERRIDING SYSTEM VALUE" if any(c.identity == "a" for c in self._plain.values()) else ""

    def _base_oid(self) -> str:
        return f"{quote_literal(self._base.qualified)}::pg_catalog.regclass"

    def _declarations(self) -> list[str]:
        lines = ["changed_by pg_catalog.xid;", "is_unchanged pg_catalog.bool;", "violated pg_catalog.text;"]
        if self._is_changed_by("update"):
            lines.append("made pg_catalog.record;")
        return lines


def _body(declarations: list[str], statements: list[str]) -> str:
    lines = [
        "#variable_conflict use_column",
        "DECLARE",
        *_indent(declarations),
        "BEGIN",
        *_indent(statements),
        "END",
    ]
    return "\n".join(lines) + "\n"


def _indent(lines: list[str]) -> list[str]:
    # The first line of each only: the others may be within a literal.
    return ["    " + line for line in lines]


def _row(row: str, names: list[str]) -> str:
    return "ROW(" + ", ".join(f"{row}.{quote_name(name)}" for name in names) + ")::pg_catalog.record"


def _image(row: str, name: str) -> str:
    return f"ROW({row}.{quote_name(name)})::pg_catalog.record"


def _changed(name: str) -> str:
    # The image: a value can differ where its type calls it equal, as 1.0 and 1.00.
    return f"{_image('NEW', name)} OPERATOR(pg_catalog.*<>) {_image('OLD', name)}"
