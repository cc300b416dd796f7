"""Operations for Alembic, and a filter for its autogenerate.

    from pgkeymgr.sqlalchemy import alembic          # in env.py: registers the operations

    def upgrade():
        op.encrypt_column("customer", "ssn")
        op.migrate_column("customer", "ssn")

The engine of the migrations is one of ``postgresql+pgkeymgr``.
"""

from typing import Any

from alembic.operations import MigrateOperation, Operations
from sqlalchemy import text

from ..adapter.ddl import PLAIN_INDEXES, base_of
from ..adapter.tables import EncryptedTables, quote_literal, quote_name
from .reflection import BLIND_INDEX


def include_object(item: Any, _name: str | None, kind: str, reflected: bool, compare_to: Any) -> bool:
    """Return whether autogenerate compares an object: not the columns of blind indexes that a model does not have.

    For ``context.configure(include_object=…)`` in env.py.
    """
    if not reflected or compare_to is not None:
        return True
    if kind == "column":
        return bool(item.info.get("pgkeymgr") != BLIND_INDEX)
    if kind == "index":
        return not any(column.info.get("pgkeymgr") == BLIND_INDEX for column in item.columns)
    return True


class _ColumnOperation(MigrateOperation):
    """A call of a function or of a procedure for a column."""

    statement = ""
    commits = False

    def __init__(self, table_name: str, column_name: str, schema: str | None = None, **arguments: Any) -> None:
        self.table_name = table_name
        self.column_name = column_name
        self.schema = schema
        self.arguments = arguments

    @classmethod
    def call(
        cls, operations: Operations, table_name: str, column_name: str, schema: str | None = None, **arguments: Any
    ) -> Any:
        """Make the operation, and invoke it."""
        return operations.invoke(cls(table_name, column_name, schema, **arguments))


@Operations.register_operation("encrypt_column", "call")
class EncryptColumn(_ColumnOperation):
    """Make a column encrypted, with the arguments of encrypt_column() by their names.

    Indexes on this column alone that are not unique are dropped before.
    """

    statement = "SELECT {schema}.encrypt_column"


@Operations.register_operation("migrate_column", "call")
class MigrateColumn(_ColumnOperation):
    """Encrypt the rows from before, in batches of ``batch_size`` rows. It commits the work of the migration."""

    statement = "CALL {schema}.migrate_column"
    commits = True


@Operations.register_operation("decrypt_column", "call")
class DecryptColumn(_ColumnOperation):
    """Make the column plain again, in batches of ``batch_size`` rows. It commits the work of the migration."""

    statement = "CALL {schema}.decrypt_column"
    commits = True


@Operations.register_operation("add_blind_index", "call")
class AddBlindIndex(_ColumnOperation):
    """Add a blind index: ``normalize`` and ``is_unique`` are the arguments of add_blind_index()."""

    statement = "SELECT {schema}.add_blind_index"


@Operations.register_operation("drop_blind_index", "call")
class DropBlindIndex(_ColumnOperation):
    """Remove the blind index."""

    statement = "SELECT {schema}.drop_blind_index"


def _run(operations: Operations, operation: _ColumnOperation) -> None:
    connection = operations.get_bind()
    extension = connection.scalar(
        text(
            "SELECT n.nspname::text FROM pg_catalog.pg_extension AS e JOIN pg_catalog.pg_namespace AS n"
            " ON n.oid = e.extnamespace WHERE e.extname = 'pgkeymgr'"
        )
    )
    if extension is None:
        raise ValueError("the database has no extension pgkeymgr")
    name = ".".join(quote_name(part) for part in (operation.schema, operation.table_name) if part)
    if isinstance(operation, EncryptColumn):
        base = _base(connection, operation) or name
        query = PLAIN_INDEXES.format(table=quote_literal(base), column=quote_literal(operation.column_name))
        for (index,) in connection.exec_driver_sql(query.replace("%", "%%")).all():
            connection.exec_driver_sql(f"DROP INDEX {index}".replace("%", "%%"))
    arguments = {key: value for key, value in operation.arguments.items() if value is not None}
    names = "".join(f', "{key}" => :{key}' for key in arguments)
    call = text(
        f"{operation.statement.format(schema=quote_name(extension))}"
        f"(CAST(:relation AS pg_catalog.regclass), CAST(:column AS pg_catalog.name){names})"
    )
    values = {"relation": name, "column": operation.column_name, **arguments}
    if operation.commits:
        with operations.get_context().autocommit_block():
            operations.get_bind().execute(call, values)
    else:
        connection.execute(call, values)
    if hasattr(connection.dialect, "encrypted_tables"):
        connection.dialect.encrypted_tables = None


def _base(connection: Any, operation: _ColumnOperation) -> str | None:
    tables = EncryptedTables.load(
        lambda query: [tuple(row) for row in connection.exec_driver_sql(query.replace("%", "%%")).all()]
    )
    table = tables.find(operation.table_name, operation.schema)
    return base_of(table) if table else None


for _operation in (EncryptColumn, MigrateColumn, DecryptColumn, AddBlindIndex, DropBlindIndex):
    Operations.implementation_for(_operation)(_run)
