"""The tables that say which columns are encrypted, read and written with the rights of the extension's owner."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ..key.database import Database
from .catalog import sql_type
from .forms import Form, form_of


class ColumnState(StrEnum):
    """The state of an encrypted column; all but ``ENCRYPTED`` are those of a procedure that has to end."""

    MIGRATING = "migrating"
    ENCRYPTED = "encrypted"
    ROTATING = "rotating"
    DECRYPTING = "decrypting"


@dataclass
class EncryptedColumn:
    """An encrypted column; see the table ``encrypted_column``.

    Attributes:
        name: the column of the view, and that of the base table by which plaintext comes in. In the base table it
            is NULL, but in rows that ``migrate_column`` has not come to yet, or ``decrypt_column`` has.
        cipher: the column of the base table that has the ciphertext.
    """

    id: int
    uuid: bytes
    name: str
    cipher: str
    type: str
    sql_type: str
    form: Form
    collation: str | None
    not_null: bool
    default: str | None
    key: str
    family: int
    key_by: str | None
    deterministic: bool
    state: ColumnState
    had_plaintext: bool
    blind: str | None
    blind_key: int | None
    normalization: str | None
    blind_is_shown: bool

    @property
    def sealed_constraint(self) -> str:
        """The CHECK of the base table that there is no plaintext."""
        return f"pgkeymgr_{self.id}_sealed"

    @property
    def present_constraint(self) -> str:
        """The CHECK of the base table that there is a ciphertext, until the column is NOT NULL instead."""
        return f"pgkeymgr_{self.id}_present"

    @property
    def constraints(self) -> tuple[str, str]:
        """The CHECKs of the base table that are pgkeymgr's own and may be there."""
        return self.sealed_constraint, self.present_constraint


@dataclass(frozen=True)
class Constraint:
    """A constraint that mentions an encrypted column.

    Attributes:
        name: its name.
        kind: ``c`` for CHECK, ``u`` for UNIQUE.
        columns: the columns that it mentions.
        definition: for ``c`` the expression, for ``u`` the constraint as ALTER TABLE takes it.
    """

    name: str
    kind: str
    columns: tuple[str, ...]
    definition: str


@dataclass
class EncryptedTable:
    """A table with encrypted columns; see the table ``encrypted_relation``."""

    id: int
    base: int
    relation: int
    name: str
    columns: list[str]
    key_columns: list[str]
    key_encodings: list[str]
    encrypted: dict[str, EncryptedColumn] = field(default_factory=dict)
    constraints: list[Constraint] = field(default_factory=list)
    going: set[str] = field(default_factory=set)
    """Columns of the base table that are about to be dropped."""

    def own_columns(self) -> set[str]:
        """Return the columns of the base table that the view does not have under that name."""
        return self.going | {
            name
            for column in self.encrypted.values()
            for name in (column.cipher, column.blind, column.name)
            if name is not None
        }

    def shown_blind_indexes(self) -> dict[str, EncryptedColumn]:
        """Return the encrypted columns by the names of their blind indexes in the view."""
        return {c.blind: c for c in self.encrypted.values() if c.blind and c.blind_is_shown}

    def checks(self) -> list[Constraint]:
        """Return the CHECK constraints that the triggers check."""
        return [constraint for constraint in self.constraints if constraint.kind == "c"]


class Registry:
    """The registry of a database; every method runs with the rights of the extension's owner."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, relation: int) -> EncryptedTable | None:
        """Find a table with encrypted columns.

        Args:
            relation: the OID of the base table or of the view.

        Returns:
            The table, or None if none of its columns is encrypted.
        """
        return self._database.read_as_owner(lambda: self._find(relation))

    def _find(self, relation: int) -> EncryptedTable | None:
        query = self._database.execute
        rows = query(
            "SELECT id, base::oid::bigint AS base, relation::oid::bigint AS relation, name::text AS name,"
            " columns::text[] AS columns, key_columns::text[] AS key_columns, key_encodings"
            " FROM {s}.encrypted_relation"
            " WHERE base::oid OPERATOR(pg_catalog.=) $1 OR relation::oid OPERATOR(pg_catalog.=) $1",
            ("oid", relation),
        )
        if not rows:
            return None
        table = EncryptedTable(**rows[0])
        for row in query(
            "SELECT id, pg_catalog.uuid_send(uuid) AS uuid, column_name::text AS name, cipher_column::text "
            "AS cipher,"
            " pg_catalog.format_type(data_type, type_modifier) AS type,"
            f" {sql_type('data_type', 'type_modifier')} AS sql_type,"
            " data_type::oid::bigint AS type_oid, collation_name AS collation, not_null, column_default AS "
            "default,"
            " key_name AS key, key_family AS family, key_by::text AS key_by, deterministic,"
            " state::text AS state, had_plaintext,"
            " blind_column::text AS blind, blind_key, normalization,"
            " blind_is_shown FROM {s}.encrypted_column WHERE relation_id OPERATOR(pg_catalog.=) $1 ORDER BY id",
            ("integer", table.id),
        ):
            form = form_of(self._database, row.pop("type_oid"))
            assert form is not None  # it was not when the column was encrypted
            state = ColumnState(row.pop("state"))
            table.encrypted[row["name"]] = EncryptedColumn(form=form, state=state, **row)
        for row in query(
            "SELECT name::text AS name, kind::text AS kind, columns::text[] AS columns, definition"
            " FROM {s}.encrypted_constraint WHERE relation_id OPERATOR(pg_catalog.=) $1 ORDER BY name",
            ("integer", table.id),
        ):
            table.constraints.append(Constraint(**{**row, "columns": tuple(row["columns"])}))
        return table

    def add_table(self, base: int, name: str, columns: list[str], keys: list[tuple[str, str]]) -> EncryptedTable:
        """Register a table, its view not made yet.

        Args:
            base: the OID of the base table.
            name: the view's name.
            columns: the view's columns.
            keys: the columns that rows are found by, and their encodings.

        Returns:
            The table, without encrypted columns.
        """
        (row,) = self._write(
            "INSERT INTO {s}.encrypted_relation (id, base, relation, name, columns, key_columns, key_encodings)"
            " VALUES ($1, $2, $2, $3, $4::text[]::name[], $5::text[]::name[], $6) RETURNING id",
            ("integer", self._free_id()),
            ("oid", base),
            ("text", name),
            ("text[]", columns),
            ("text[]", [name for name, _ in keys]),
            ("text[]", [encoding for _, encoding in keys]),
        )
        return EncryptedTable(
            row["id"], base, base, name, columns, [name for name, _ in keys], [encoding for _, encoding in keys]
        )

    def _free_id(self) -> int:
        """Return an id that no table has, nor the functions of one that came without the registry's rows."""
        while True:
            (row,) = self._write(
                "SELECT n.id, EXISTS (SELECT FROM pg_catalog.pg_proc AS p WHERE p.pronamespace"
                " OPERATOR(pg_catalog.=) '{s}'::pg_catalog.regnamespace::pg_catalog.oid AND p.proname"
                " OPERATOR(pg_catalog.=) ('_insert_' OPERATOR(pg_catalog.||) n.id::pg_catalog.text)) AS is_taken"
                " FROM (SELECT pg_catalog.nextval('{s}.encrypted_relation_id_seq') AS id OFFSET 0) AS n"
            )
            if not row["is_taken"]:
                return int(row["id"])

    def save_table(self, table: EncryptedTable) -> None:
        """Write what may change of a table."""
        self._write(
            "UPDATE {s}.encrypted_relation SET relation = $2, name = $3, columns = $4::text[]::name[],"
            " key_columns = $5::text[]::name[] WHERE id OPERATOR(pg_catalog.=) $1",
            ("integer", table.id),
            ("oid", table.relation),
            ("text", table.name),
            ("text[]", table.columns),
            ("text[]", table.key_columns),
        )

    def remove_table(self, table: EncryptedTable) -> None:
        """Forget a table that has no encrypted columns any more."""
        for query in (
            "DELETE FROM {s}.encrypted_constraint WHERE relation_id OPERATOR(pg_catalog.=) $1",
            "DELETE FROM {s}.encrypted_relation WHERE id OPERATOR(pg_catalog.=) $1",
        ):
            self._write(query, ("integer", table.id))

    def add_column(self, table: EncryptedTable, column: EncryptedColumn, type_oid: int, modifier: int) -> None:
        """Register an encrypted column, and give it its id and uuid."""
        (row,) = self._write(
            "INSERT INTO {s}.encrypted_column (relation_id, column_name, cipher_column, data_type,"
            " type_modifier, collation_name, not_null, column_default, key_name, key_by, deterministic, state,"
            " key_family, had_plaintext)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::{s}.column_state, $13, $14)"
            " RETURNING id, pg_catalog.uuid_send(uuid) AS uuid",
            ("integer", table.id),
            ("text", column.name),
            ("text", column.cipher),
            ("oid", type_oid),
            ("integer", modifier),
            ("text", column.collation),
            ("boolean", column.not_null),
            ("text", column.default),
            ("text", column.key),
            ("text", column.key_by),
            ("boolean", column.deterministic),
            ("text", column.state),
            ("integer", column.family),
            ("boolean", column.had_plaintext),
        )
        column.id, column.uuid = row["id"], row["uuid"]
        table.encrypted[column.name] = column

    def save_column(self, column: EncryptedColumn) -> None:
        """Write what may change of a column."""
        self._write(
            "UPDATE {s}.encrypted_column SET column_name = $2, not_null = $3, column_default = $4, key_by = $5,"
            " state = $6::{s}.column_state, blind_column = $7, blind_key = $8, normalization = $9,"
            " blind_is_shown = $10 WHERE id OPERATOR(pg_catalog.=) $1",
            ("integer", column.id),
            ("text", column.name),
            ("boolean", column.not_null),
            ("text", column.default),
            ("text", column.key_by),
            ("text", column.state),
            ("text", column.blind),
            ("integer", column.blind_key),
            ("text", column.normalization),
            ("boolean", column.blind_is_shown),
        )

    def renew_uuid(self, column: EncryptedColumn) -> None:
        """Give a column another uuid."""
        (row,) = self._write(
            "UPDATE {s}.encrypted_column SET uuid = gen_random_uuid() WHERE id = $1"
            " RETURNING uuid_send(uuid) AS uuid",
            ("integer", column.id),
        )
        column.uuid = row["uuid"]

    def remove_column(self, table: EncryptedTable, column: EncryptedColumn) -> None:
        """Forget a column."""
        for query in (
            "DELETE FROM {s}.column_operation WHERE column_id OPERATOR(pg_catalog.=) $1",
            "DELETE FROM {s}.encrypted_column WHERE id OPERATOR(pg_catalog.=) $1",
        ):
            self._write(query, ("integer", column.id))
        del table.encrypted[column.name]

    def add_constraint(self, table: EncryptedTable, constraint: Constraint) -> None:
        """Remember a constraint that the table itself cannot have any more."""
        self._write(
            "INSERT INTO {s}.encrypted_constraint (relation_id, name, kind, columns, definition)"
            ' VALUES ($1, $2, $3::"char", $4::text[]::name[], $5)',
            ("integer", table.id),
            ("text", constraint.name),
            ("text", constraint.kind),
            ("text[]", list(constraint.columns)),
            ("text", constraint.definition),
        )
        table.constraints.append(constraint)

    def remove_constraint(self, table: EncryptedTable, constraint: Constraint) -> None:
        """Forget a constraint."""
        self._write(
            "DELETE FROM {s}.encrypted_constraint"
            " WHERE relation_id OPERATOR(pg_catalog.=) $1 AND name OPERATOR(pg_catalog.=) $2",
            ("integer", table.id),
            ("text", constraint.name),
        )
        table.constraints.remove(constraint)

    def lock_column(self, column_id: int) -> None:
        """Wait for others that begin or end an operation on a column."""
        self._write(
            # Not a lock on the column's row, which the user's own DDL takes while it has the table.
            "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('pgkeymgr encrypted_column'), $1)",
            ("integer", column_id),
        )

    def operation(self, column: EncryptedColumn) -> dict[str, Any] | None:
        """Return the row of ``column_operation`` of a column, locked until the transaction ends, or None."""
        rows = self._write(
            "SELECT operation, position_block, rows_done, rows_total FROM {s}.column_operation"
            " WHERE column_id OPERATOR(pg_catalog.=) $1 FOR UPDATE",
            ("integer", column.id),
        )
        return rows[0] if rows else None

    def start_operation(self, column: EncryptedColumn, operation: str, rows_total: int) -> None:
        """Note that an operation has begun on a column, in place of any other one."""
        self._write(
            "INSERT INTO {s}.column_operation (column_id, operation, rows_total) VALUES ($1, $2, $3)"
            " ON CONFLICT (column_id) DO UPDATE SET operation = excluded.operation, position_block = 0,"
            " rows_done = 0, rows_total = excluded.rows_total, started = excluded.started, seconds = 0",
            ("integer", column.id),
            ("text", operation),
            ("bigint", rows_total),
        )

    def advance_operation(self, column: EncryptedColumn, block: int, rows: int, seconds: float) -> None:
        """Note how far an operation has come.

        Args:
            column: on which.
            block: of the base table; all rows before it are done.
            rows: how many more are done.
            seconds: how long that took.
        """
        self._write(
            "UPDATE {s}.column_operation SET position_block = $2, rows_done = rows_done OPERATOR(pg_catalog.+) $3,"
            " seconds = seconds OPERATOR(pg_catalog.+) $4 WHERE column_id OPERATOR(pg_catalog.=) $1",
            ("integer", column.id),
            ("bigint", block),
            ("bigint", rows),
            ("double precision", seconds),
        )

    def end_operation(self, column: EncryptedColumn) -> None:
        """Note that the operation on a column has ended."""
        self._write(
            "DELETE FROM {s}.column_operation WHERE column_id OPERATOR(pg_catalog.=) $1", ("integer", column.id)
        )

    def _write(self, query: str, *arguments: tuple[str, Any]) -> list[dict[str, Any]]:
        return self._database.as_owner(lambda: self._database.execute(query, *arguments))
