"""What the triggers of a table with encrypted columns refuse a row for.

NOT NULL and CHECK constraints that mention an encrypted column cannot be the base table's, which holds ciphertext.
Its trigger sees the plaintext as it seals it, after all triggers of the user's, and there they are checked.
"""

from .catalog import Column
from .expressions import Expressions, differs
from .plpgsql import VARIABLE, body, if_then, raise_error
from .quoting import quote_literal, quote_name
from .registry import EncryptedColumn


class Constraints:
    """The constraints of one table, as PL/pgSQL."""

    def __init__(self, expressions: Expressions) -> None:
        self._expressions = expressions
        self._table = expressions.table
        self._base = expressions.base
        self._plain = expressions.plain

    # Generated columns and identity columns: by the view's triggers, as PostgreSQL refuses them for a table.

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

    # The base table's trigger.

    def require(self, column: EncryptedColumn) -> list[str]:
        """Return the statements that refuse a row without a value of a NOT NULL column, after it was sealed."""
        if not column.not_null:
            return []
        is_null = (
            f"NEW.{quote_name(column.cipher)} IS NULL AND NEW.{quote_name(column.name)} IS NOT DISTINCT FROM NULL"
        )
        return if_then(is_null, [self._null(column.name)])

    def require_key(self, column: EncryptedColumn) -> list[str]:
        """Return the statements that refuse a row whose value could not be sealed for want of a key of the row."""
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
        """Return the columns that the check function takes the values of, in its order.

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
        """Return the name of the variable in which the value of a column that is checked is."""
        return f"{VARIABLE}value_{column.id}"

    def check(self) -> list[str]:
        """Return the statements that refuse a row which violates a CHECK constraint."""
        arguments = []
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
        own, which the triggers cannot have, since the base table's own triggers run in them.
        """
        names = self.checked_columns()
        if not self._table.checks():
            return None
        row = self._row([f"${number}" for number in range(1, len(names) + 1)])
        statements = []
        for check in self._table.checks():
            violated = f"(SELECT NOT ({check.definition}) FROM {row})"
            statements += if_then(violated, [f"RETURN {quote_literal(check.name)};"])
        parameters = ", ".join(self._type(name) for name in names)
        # Here columns are not qualified.
        return parameters, body([], [*statements, "RETURN NULL;"], conflict="use_column")

    def check_query(self) -> str | None:
        """Return a query that PostgreSQL can parse as long as it understands the CHECK constraints, or None."""
        if not self._table.checks():
            return None
        row = self._row([f"NULL::{self._type(name)}" for name in self.checked_columns()])
        return f"SELECT {', '.join(f'({check.definition})' for check in self._table.checks())} FROM {row}"

    def _row(self, values: list[str]) -> str:
        names = map(quote_name, self.checked_columns())
        fields = ", ".join(f"{value} AS {name}" for value, name in zip(values, names, strict=True))
        row = f"(SELECT {fields})"
        mentioned = {name for check in self._table.checks() for name in check.columns}
        made = [
            f"({column.generated})::{column.sql_type} AS {quote_name(name)}"
            for name, column in self._generated().items()
            if name in mentioned
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
