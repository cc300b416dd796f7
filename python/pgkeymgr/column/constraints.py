"""The conditions for which the triggers of a table with encrypted columns refuse a row.

The base table cannot have NOT NULL and CHECK constraints that mention an encrypted column, because it holds
ciphertext. Its sealing trigger has the plaintext, after all triggers of the user, and checks these constraints.
"""

import re
from collections.abc import Callable

from .catalog import Column
from .encrypted_table import EncryptedColumn
from .expressions import Expressions, differs
from .own_names import with_schemas
from .plpgsql import VARIABLE, body, if_then, raise_error
from .quoting import quote_literal, quote_name

_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*\"""")
# In a definition, PostgreSQL writes all names with their schema that are not its own. A number has a digit there.
_QUALIFIED = re.compile(r"\.\s*[^\s\d]")
_DEFAULT_COLLATION = 'pg_catalog."default"'


def _with_schemas(text: str) -> str:
    return with_schemas(text) or text


class Constraints:
    """The constraints of one table, as PL/pgSQL."""

    def __init__(self, expressions: Expressions) -> None:
        self._expressions = expressions
        self._table = expressions.table
        self._base = expressions.base
        self._plain = expressions.plain

    # The view's triggers check generated columns and identity columns, as PostgreSQL does for a table.

    def refuse_given(self) -> list[str]:
        """Return the statements that refuse an INSERT's values for columns that take none."""
        lines = []
        for column in self._unwritable():
            message = f'cannot insert a non-DEFAULT value into column "{column.name}"'
            lines += self._refuse(f"NEW.{quote_name(column.name)} IS DISTINCT FROM NULL", message, column)
        return lines

    def refuse_changed(self) -> list[str]:
        """Return the statements that refuse an UPDATE's values for columns that take none."""
        lines = []
        for column in self._unwritable():
            if column.identity == "a":
                # DEFAULT arrives as NULL. To keep the number and to report success would mislead.
                name = quote_name(column.name)
                refused = (
                    f'column "{column.name}" cannot be updated to DEFAULT through the view "{self._table.name}"'
                )
                hint = f"Update the table {self._base.qualified} instead."
                error = self.error("0A000", refused, hint=hint, column=column.name)
                lines += if_then(f"NEW.{name} IS NULL AND OLD.{name} IS NOT NULL", [error])
            message = f'column "{column.name}" can only be updated to DEFAULT'
            given = f"NEW.{quote_name(column.name)} IS DISTINCT FROM NULL AND {differs(column.name, 'NEW', 'OLD')}"
            lines += self._refuse(given, message, column)
        return lines

    def _unwritable(self) -> list[Column]:
        return [
            column for column in self._plain.values() if column.generated is not None or column.identity == "a"
        ]

    def _refuse(self, condition: str, message: str, column: Column) -> list[str]:
        return if_then(condition, [self.error("428C9", message, column=column.name)])

    # The trigger of the base table checks these.

    def require(self, column: EncryptedColumn) -> list[str]:
        """Return the statements that refuse a row without a value of a NOT NULL column, after it was sealed."""
        if not column.not_null:
            return []
        is_null = (
            f"NEW.{quote_name(column.cipher)} IS NULL AND NEW.{quote_name(column.name)} IS NOT DISTINCT FROM NULL"
        )
        return if_then(is_null, [self._null(column.name)])

    def require_key(self, column: EncryptedColumn) -> list[str]:
        """Return the statements that refuse a row whose value could not be encrypted for lack of a key."""
        if column.deterministic or not self._table.key_columns:
            return []
        first, *others = self._table.key_columns
        refusals = [self._null(first)]
        for name in others:
            refusals = if_then(f"NEW.{quote_name(name)} IS NULL", [self._null(name)], refusals)
        return if_then(f"NEW.{quote_name(column.cipher)} IS NULL", refusals)

    def _null(self, name: str) -> str:
        message = f'null value in column "{name}" of relation "{self._table.name}" violates not-null constraint'
        return self.error("23502", message, column=name)

    def is_checked(self, column: EncryptedColumn) -> bool:
        """Return whether a CHECK constraint mentions a column."""
        return any(column.name in check.columns for check in self._table.checks())

    def checked_columns(self) -> list[str]:
        """Return the columns whose values are arguments of the check function, in its order.

        Generated columns are not among them: BEFORE triggers do not see them, and the function computes them.
        """
        mentioned = {name for check in self._table.checks() for name in check.columns}
        if mentioned & self._generated().keys():
            mentioned |= self._plain.keys()
        return sorted(mentioned - self._generated().keys())

    def _generated(self) -> dict[str, Column]:
        return {name: column for name, column in self._plain.items() if column.generated is not None}

    @staticmethod
    def variable(column: EncryptedColumn) -> str:
        """Return the name of the variable that holds the value of a checked column."""
        return f"{VARIABLE}value_{column.id}"

    def check(self) -> list[str]:
        """Return the statements that refuse a row which violates a CHECK constraint."""
        arguments = ["pg_catalog.current_setting('search_path')"] if self._needs_path() else []
        for name in self.checked_columns():
            encrypted = self._table.encrypted.get(name)
            arguments.append(self.variable(encrypted) if encrypted else f"NEW.{quote_name(name)}")
        violated = f"{VARIABLE}violated"
        message = quote_literal(f'new row for relation "{self._table.name}" violates check constraint "')
        return [
            f"{violated} := {self._expressions.schema}._check_{self._table.id}({', '.join(arguments)});",
            *if_then(
                f"{violated} IS NOT NULL",
                [
                    f"RAISE EXCEPTION USING ERRCODE = '23514', CONSTRAINT = {violated},"
                    f" MESSAGE = {message} OPERATOR(pg_catalog.||) {violated} OPERATOR(pg_catalog.||) '\"',"
                    f" TABLE = {quote_literal(self._table.name)}, SCHEMA = {quote_literal(self._base.schema)};"
                ],
            ),
        ]

    def check_function(self) -> tuple[str, str] | None:
        """Return the parameters and the body of the function that gives the name of a CHECK that is violated.

        Constraints are text here, with operators that are not qualified: this function has a search_path of its
        own, which the triggers cannot have, since the base table's own triggers run in them. If a CHECK calls a
        function of a user's, the body of this may name others without their schemas. Then the first parameter is
        the search_path of the statement, which follows PostgreSQL's own schema until the function ends. The
        constraints are qualified then, since a role that writes chooses this path, or can make objects in it.
        """
        names = self.checked_columns()
        if not self._table.checks():
            return None
        types = [self._type(name) for name in names]
        statements = []
        needs_path = self._needs_path()
        if needs_path:
            types.insert(0, "pg_catalog.text")
            path = "pg_catalog.concat_ws(', ', 'pg_catalog', NULLIF($1, ''), 'pg_temp')"
            statements.append(f"PERFORM pg_catalog.set_config('search_path', {path}, true);")
        first = len(types) - len(names) + 1
        write = _with_schemas if needs_path else str
        row = self._row([f"${number}" for number in range(first, len(types) + 1)], write)
        for check in self._table.checks():
            violated = f"(SELECT NOT ({write(check.definition)}) FROM {row})"
            statements += if_then(violated, [f"RETURN {quote_literal(check.name)};"])
        # The columns in the definitions of the constraints are not qualified.
        return ", ".join(types), body([], [*statements, "RETURN NULL;"], conflict="use_column")

    def _needs_path(self) -> bool:
        texts = [check.definition for check in self._table.checks()]
        if not any(_QUALIFIED.search(_QUOTED.sub("quoted", text)) for text in texts):
            return False
        # Otherwise all of it keeps the pinned search_path, also the functions of the user's.
        texts += [column.generated for column in self._generated().values() if column.generated]
        return all(with_schemas(text) is not None for text in texts)

    def check_query(self) -> str | None:
        """Return a query that PostgreSQL can parse as long as it understands the CHECK constraints, or None."""
        if not self._table.checks():
            return None
        row = self._row([f"NULL::{self._type(name)}" for name in self.checked_columns()])
        return f"SELECT {', '.join(f'({check.definition})' for check in self._table.checks())} FROM {row}"

    def _row(self, values: list[str], write: Callable[[str], str] = str) -> str:
        names = self.checked_columns()
        mentioned = {name for check in self._table.checks() for name in check.columns}
        generated = {name: column for name, column in self._generated().items() if name in mentioned}
        # A parameter has the collation of the function's call. A comparison is that of the column's collation.
        collations = {name: self._base.column(name).collated for name in (*names, *generated)}
        if {*collations.values()} <= {None, _DEFAULT_COLLATION}:
            collations = {}

        def field(value: str, name: str) -> str:
            collation = collations.get(name)
            return f"{f'({value}) COLLATE {collation}' if collation else value} AS {quote_name(name)}"

        row = f"(SELECT {', '.join(map(field, values, names))})"
        made = [
            field(f"({write(str(column.generated))})::{column.sql_type}", name)
            for name, column in generated.items()
        ]
        if made:
            row = f"(SELECT given.*, {', '.join(made)} FROM {row} AS given)"
        return f"{row} AS {quote_name(self._table.name)}"

    def _type(self, name: str) -> str:
        encrypted = self._table.encrypted.get(name)
        return encrypted.sql_type if encrypted else self._plain[name].sql_type

    def error(self, sqlstate: str, message: str, hint: str = "", column: str = "") -> str:
        """Return the statement that raises an error about the table."""
        return raise_error(
            sqlstate, message, table=self._table.name, schema=self._base.schema, hint=hint, column=column
        )
