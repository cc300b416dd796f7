"""``pgkeymgr migrate``: encrypt the rows that are older than the call of ``encrypt_column``."""

from .output import Json
from .procedure import BatchSize, Column, Table, call_procedure
from .target import Dsn, OneDatabase, connects


@connects
def migrate(
    table: Table,
    column: Column,
    dsn: Dsn = "",
    database: OneDatabase = None,
    batch_size: BatchSize = 5000,
    json: Json = False,
) -> None:
    """Encrypt the rows that are older than the call of encrypt_column(), in batches, without blocking clients."""
    call_procedure("migrate_column", dsn, database, table, column, {"batch_size": batch_size}, json)
