"""The view of a table with encrypted columns, and all that is generated with it, as SQL text."""

from typing import NamedTuple

from .catalog import Table
from .constraints import Constraints
from .encrypted_table import EncryptedTable
from .expressions import Expressions
from .quoting import quote_literal, quote_name
from .sealing import Sealing
from .triggers import ViewTriggers


class TriggerFunction(NamedTuple):
    """A function of a trigger. It belongs to the extension's owner, and has the rights of the role that writes.

    Attributes:
        name: the function's, without its schema.
        body: in PL/pgSQL.
        about: the comment of the function.
    """

    name: str
    body: str
    about: str


VIEW_TRIGGERS = {"pgkeymgr_insert": "INSERT", "pgkeymgr_update": "UPDATE"}
"""The INSTEAD OF triggers of a view, and their events."""


def view_function(event: str, table_id: int) -> str:
    """Return the name of the function of a view's trigger, without its schema."""
    return f"_{event.lower()}_{table_id}"


def sealing_function(event: str, table_id: int) -> str:
    """Return the name of the function of a base table's trigger, without its schema."""
    return f"_seal_{event.lower()}_{table_id}"


class Definition(Expressions):
    """The generated SQL of one table with encrypted columns."""

    def __init__(self, table: EncryptedTable, base: Table, schema: str) -> None:
        """Describe the table; see ``Expressions``."""
        super().__init__(table, base, schema)
        self._constraints = Constraints(self)

    def view(self, schema: str, *, is_invoker: bool) -> str:
        """Return the statement that makes the view, or replaces it.

        Args:
            schema: the schema that it is in.
            is_invoker: whether it reads the base table with the rights of its reader.
        """
        columns = ",\n    ".join(f"{self.value(name, 'b')} AS {quote_name(name)}" for name in self.columns)
        invoker = "true" if is_invoker else "false"
        return (
            f"CREATE OR REPLACE VIEW {quote_name(schema)}.{quote_name(self.table.name)}"
            f" WITH (security_invoker = {invoker}) AS\nSELECT\n    {columns}\nFROM {self.base.qualified} AS b"
        )

    def default(self, name: str) -> str | None:
        """Return the default of a column of the view, or None."""
        encrypted = self.table.encrypted.get(name)
        if encrypted:
            return encrypted.default
        column = self.plain.get(name)
        if column is not None and column.identity == "d":
            return f"pg_catalog.nextval({quote_literal(column.sequence or '')}::pg_catalog.regclass)"
        return column.default if column else None

    def trigger_functions(self) -> list[TriggerFunction]:
        """Return the functions of all triggers, those of the base table first."""
        number = self.table.id
        sealing = Sealing(self, self._constraints)
        triggers = ViewTriggers(self, self._constraints)
        return [
            TriggerFunction(sealing_function("INSERT", number), sealing.insert_function(), "seals new rows"),
            TriggerFunction(sealing_function("UPDATE", number), sealing.update_function(), "seals changed rows"),
            TriggerFunction(
                view_function("INSERT", number), triggers.insert_function(), "inserts through the view"
            ),
            TriggerFunction(
                view_function("UPDATE", number), triggers.update_function(), "updates through the view"
            ),
        ]

    def check_function(self) -> tuple[str, str] | None:
        """Return the parameters and the body of the function of the CHECK constraints; see ``Constraints``."""
        return self._constraints.check_function()

    def check_query(self) -> str | None:
        """Return a query that needs the same objects as the CHECK constraints; see ``Constraints``."""
        return self._constraints.check_query()
