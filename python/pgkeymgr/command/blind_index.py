"""``pgkeymgr blind-index``: build the blind index of an encrypted column, and its index, beside writers."""

from typing import TYPE_CHECKING, Annotated

import typer

from .output import Json, message
from .procedure import BatchSize, Column, Table, call_procedure
from .target import Dsn, OneDatabase, connects

if TYPE_CHECKING:
    from .connection import Database


@connects
def blind_index(
    table: Table,
    column: Column,
    dsn: Dsn = "",
    database: OneDatabase = None,
    normalize: Annotated[
        str | None, typer.Option(help="none, casefold (case does not matter) or digits (only digits matter).")
    ] = None,
    unique: Annotated[bool, typer.Option("--unique", help="Refuse two rows with the same value.")] = False,
    batch_size: BatchSize = 5000,
    json: Json = False,
) -> None:
    """Build a blind index in batches, and then its index, without blocking clients."""

    def make_index(caller: "Database", oid: int) -> None:
        # Each statement is one of pgkeymgr's own, and must run outside of a transaction.
        for row in caller.query(
            "SELECT statement FROM {s}.blind_index_statements(%s::oid::regclass, %s, %s) AS statement",
            oid,
            column,
            unique,
        ):
            message(row["statement"])
            caller.connection.execute(row["statement"])

    arguments = {"normalize": normalize, "batch_size": batch_size}
    call_procedure("build_blind_index", dsn, database, table, column, arguments, json, afterwards=make_index)
