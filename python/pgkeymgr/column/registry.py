"""The registry of encrypted columns: reads and writes its tables with the rights of the extension's owner."""

from collections.abc import Iterator
from typing import Any

from .. import __version__
from ..errors import DuplicateKeyError, KeyStateError
from ..key.arguments import uuid_text
from ..key.database import Database
from ..key.ids import next_id, set_forward
from .catalog import sql_type
from .encrypted_table import BlindIndex, ColumnState, Constraint, EncryptedColumn, EncryptedTable, LostTable
from .forms import form_of
from .index_kinds import COMPOUND
from .progress import Progress


class Registry:
    """The registry of a database; every method runs with the rights of the extension's owner."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.progress = Progress(database)

    def find(self, relation: int) -> EncryptedTable | None:
        """Find a table with encrypted columns.

        Args:
            relation: the OID of the base table or of the view.

        Returns:
            The table, or None if none of its columns is encrypted.
        """
        # Tables that were dropped, or not restored, have the OID 0.
        if relation == 0:
            return None
        return self._database.read_as_owner(
            lambda: self._read(
                "base::oid = $1 OR relation::oid = $1",
                ("oid", relation),
            )
        )

    def _read(self, condition: str, argument: tuple[str, int]) -> EncryptedTable | None:
        """Read a table with its columns and constraints; within ``as_owner`` or ``read_as_owner``.

        Args:
            condition: the condition for its row of ``encrypted_relation``.
            argument: the type and the value of $1 in the condition.

        Returns:
            The table, or None if there is no such row.

        Raises:
            KeyStateError: the type of a column does not exist any more.
        """
        rows = self._database.execute(
            "SELECT id, base::oid::bigint AS base, relation::oid::bigint AS relation, name::text AS name,"
            " columns::text[] AS columns, key_columns::text[] AS key_columns, key_encodings, detached_from,"
            " has_detached_triggers, made_by"
            f" FROM {{s}}.encrypted_relation WHERE {condition}",
            argument,
        )
        if not rows:
            return None
        table = EncryptedTable(**rows[0])
        for column in self._read_columns(table):
            table.encrypted[column.name] = column
        for row in self._database.execute(
            "SELECT name::text AS name, kind::text AS kind, columns::text[] AS columns, definition, comment"
            " FROM {s}.encrypted_constraint WHERE relation_id = $1 ORDER BY name",
            ("integer", table.id),
        ):
            table.constraints.append(Constraint(**{**row, "columns": tuple(row["columns"])}))
        return table

    def _read_columns(self, table: EncryptedTable) -> Iterator[EncryptedColumn]:
        """Read the columns of a table; see ``_read``."""
        indexes = self._read_indexes(table)
        for row in self._database.execute(
            "SELECT id, uuid_send(uuid) AS uuid, column_name::text AS name, cipher_column::text AS cipher,"
            " format_type(data_type, type_modifier) AS type,"
            f" {sql_type('data_type', 'type_modifier')} AS sql_type,"
            # A collation can get another name.
            " data_type::oid::bigint AS type_oid, coalesce((SELECT quote_ident(n.nspname) || '.' ||"
            " quote_ident(c.collname) FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid"
            " JOIN pg_collation AS c ON c.oid = a.attcollation JOIN pg_namespace AS n ON n.oid = c.collnamespace"
            " WHERE a.attrelid = $2 AND a.attname = column_name AND a.attcollation <> t.typcollation),"
            " collation_name) AS collation, not_null,"
            " column_default AS default, key_name AS key, key_family AS family, key_by::text AS key_by,"
            " deterministic, state::text AS state, blind_column::text AS blind, blind_key, normalization,"
            " blind_is_shown, blind_key_is_given, blind_is_filled, constraint_id, compression, blind_bits,"
            " coalesce(m.mask, m.mask_function) AS mask"
            " FROM {s}.encrypted_column LEFT JOIN {s}.column_mask AS m ON m.column_id = encrypted_column.uuid"
            " WHERE relation_id = $1 ORDER BY id",
            ("integer", table.id),
            ("oid", table.base),
        ):
            form = form_of(self._database, row.pop("type_oid"))
            if form is None:
                # The event trigger refuses to drop such a type.
                raise KeyStateError(
                    f'the type of encrypted column "{row["name"]}" of {table.name} does not exist any more',
                    hint="Restore the table and its type from a backup.",
                )
            state = ColumnState(row.pop("state"))
            yield EncryptedColumn(form=form, state=state, **row, **indexes.get(row["id"], {}))

    def _read_indexes(self, table: EncryptedTable) -> dict[int, dict[str, Any]]:
        """Read the blind indexes of a table, except those for equality.

        Returns:
            By the id of the column, and by the attribute of ``EncryptedColumn`` that has the blind index.
        """
        indexes: dict[int, dict[str, Any]] = {}
        for row in self._database.execute(
            "SELECT t.column_id, t.is_successor, t.kind, t.terms_column::text AS name, t.terms_key AS key,"
            " t.options, t.is_shown, t.is_filled, t.key_is_given, t.with_columns::text[] AS with_columns"
            " FROM {s}.encrypted_terms AS t JOIN {s}.encrypted_column AS c ON c.id = t.column_id"
            " WHERE c.relation_id = $1",
            ("integer", table.id),
        ):
            of_column = indexes.setdefault(row.pop("column_id"), {})
            attribute = "compound" if row["kind"] == COMPOUND else "terms"
            if row.pop("is_successor"):
                attribute = "successor"
            of_column[attribute] = BlindIndex(**row)
        return indexes

    def add_table(self, base: int, name: str, columns: list[str], keys: list[tuple[str, str]]) -> EncryptedTable:
        """Register a table, its view not made yet.

        Args:
            base: the OID of the base table.
            name: the name of the view.
            columns: the columns of the view.
            keys: the columns by which rows are found, and their encodings.

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

    def add_detached(
        self, parent: EncryptedTable, base: int, name: str, state: ColumnState | None = None
    ) -> EncryptedTable:
        """Register a table whose values are sealed as those of another one, its view not made yet.

        Args:
            parent: the partitioned table that it was a partition of, or is to be attached to.
            base: the OID of the table.
            name: the name of the view.
            state: the state of its columns; None for the states of the other table's columns.

        Returns:
            The table, with the columns and constraints of the other one.
        """
        number = self._free_id()
        self._write(
            "INSERT INTO {s}.encrypted_relation (id, base, relation, name, columns, key_columns, key_encodings,"
            " key_structures, detached_from, has_detached_triggers)"
            " SELECT $1, $2, $2, $3, columns, key_columns, key_encodings, key_structures, id,"
            " NOT has_detached_triggers"
            " FROM {s}.encrypted_relation WHERE id = $4",
            ("integer", number),
            ("oid", base),
            ("text", name),
            ("integer", parent.id),
        )
        # Ids of several rows come from the sequence itself, which may be behind.
        self._database.as_owner(lambda: set_forward(self._database, "encrypted_column"))
        self._write(
            "INSERT INTO {s}.encrypted_column (data_type, uuid, relation_id, column_name, cipher_column,"
            " type_modifier, type_structure, collation_name, not_null, column_default, key_name, key_family,"
            " key_by, deterministic, state, had_plaintext, blind_column, blind_key, normalization,"
            " blind_is_shown, blind_key_is_given, blind_is_filled, compression, blind_bits, constraint_id)"
            " SELECT data_type, uuid, $1, column_name, cipher_column, type_modifier, type_structure,"
            " collation_name, not_null, column_default, key_name, key_family, key_by, deterministic,"
            " coalesce($2::{s}.column_state, state), $2 IS NOT NULL OR had_plaintext, blind_column, blind_key,"
            " normalization, blind_is_shown, blind_key_is_given, blind_is_filled, compression, blind_bits,"
            " coalesce(constraint_id, id)"
            " FROM {s}.encrypted_column WHERE relation_id = $3 ORDER BY id",
            ("integer", number),
            ("text", state),
            ("integer", parent.id),
        )
        self._write(
            "INSERT INTO {s}.encrypted_terms (column_id, is_successor, kind, terms_column, terms_key, options,"
            " is_shown, is_filled, key_is_given, with_columns)"
            " SELECT c.id, t.is_successor, t.kind, t.terms_column, t.terms_key, t.options, t.is_shown,"
            " t.is_filled, t.key_is_given, t.with_columns FROM {s}.encrypted_terms AS t"
            " JOIN {s}.encrypted_column AS p ON p.id = t.column_id"
            " JOIN {s}.encrypted_column AS c ON c.column_name = p.column_name"
            " WHERE c.relation_id = $1 AND p.relation_id = $2",
            ("integer", number),
            ("integer", parent.id),
        )
        self._write(
            "INSERT INTO {s}.encrypted_constraint (relation_id, name, kind, columns, definition, comment)"
            " SELECT $1, name, kind, columns, definition, comment FROM {s}.encrypted_constraint"
            " WHERE relation_id = $2",
            ("integer", number),
            ("integer", parent.id),
        )
        table = self.find(base)
        assert table is not None
        return table

    def partitions(self, table: EncryptedTable) -> set[int]:
        """Return the OIDs of the partitions that a table had after the last DDL."""
        rows = self._write(
            "SELECT partition::bigint AS oid FROM {s}.encrypted_partition WHERE relation_id = $1",
            ("integer", table.id),
        )
        return {row["oid"] for row in rows}

    def note_partitions(self, table: EncryptedTable, partitions: set[int]) -> None:
        """Note which partitions a table has now."""
        self._write(
            "DELETE FROM {s}.encrypted_partition WHERE relation_id = $1 AND partition <> ALL ($2::oid[])",
            ("integer", table.id),
            ("oid[]", sorted(partitions)),
        )
        self._write(
            "INSERT INTO {s}.encrypted_partition (partition, relation_id)"
            " SELECT p.oid, $1 FROM unnest($2::oid[]) AS p (oid)"
            " ON CONFLICT (partition) DO UPDATE SET relation_id = excluded.relation_id",
            ("integer", table.id),
            ("oid[]", sorted(partitions)),
        )

    def _free_id(self) -> int:
        """Return an id that no table has, nor the functions of one that came without the registry's rows."""
        while True:
            free_id = self._next_id("encrypted_relation")
            (row,) = self._write(
                "SELECT EXISTS (SELECT FROM pg_proc AS p WHERE p.pronamespace"
                " = '{s}'::regnamespace::oid AND p.proname"
                " = ('_insert_' || $1::text)) AS is_taken",
                ("integer", free_id),
            )
            if not row["is_taken"]:
                return free_id

    def _next_id(self, table: str) -> int:
        return self._database.as_owner(lambda: next_id(self._database, table))

    def save_table(self, table: EncryptedTable) -> None:
        """Write the fields of a table that can change."""
        self._write(
            "UPDATE {s}.encrypted_relation SET relation = $2, name = $3, columns = $4::text[]::name[],"
            " key_columns = $5::text[]::name[], owner_name = (SELECT pg_get_userbyid(c.relowner)"
            "  FROM pg_class AS c WHERE c.oid = base::oid)"
            " WHERE id = $1",
            ("integer", table.id),
            ("oid", table.relation),
            ("text", table.name),
            ("text[]", table.columns),
            ("text[]", table.key_columns),
        )

    def made_by_others(self) -> list[int]:
        """Return the OIDs of the base tables whose views and triggers another version has made."""
        rows = self._database.read_as_owner(
            lambda: self._database.execute(
                "SELECT r.base::oid::bigint AS oid FROM {s}.encrypted_relation AS r"
                " JOIN pg_class AS c ON c.oid = r.base::oid WHERE r.made_by <> $1 ORDER BY r.id",
                ("text", __version__),
            )
        )
        return [row["oid"] for row in rows]

    def note_version(self) -> None:
        """Note that this version has made the views and triggers of all tables."""
        self._write("UPDATE {s}.encrypted_relation SET made_by = $1 WHERE made_by <> $1", ("text", __version__))

    def lost_tables(self) -> list[LostTable]:
        """Return the tables that do not exist here: those dropped last come first."""
        rows = self._database.read_as_owner(
            lambda: self._database.execute(
                "SELECT r.id, coalesce(r.base_name, r.base::text) AS base, r.name::text AS name,"
                " coalesce(r.relation_name, r.name::text) AS relation, r.owner_name::text AS owner,"
                " r.dropped IS NOT NULL AS is_dropped,"
                " ARRAY(SELECT e.cipher_column::text FROM {s}.encrypted_column AS e WHERE e.relation_id = r.id"
                "  ORDER BY e.id) AS ciphers,"
                " ARRAY(SELECT n.name::text FROM {s}.encrypted_column AS e CROSS JOIN LATERAL"
                "  (VALUES (e.column_name), (e.cipher_column), (e.blind_column), (e.key_by)) AS n (name)"
                "  WHERE e.relation_id = r.id AND n.name IS NOT NULL"
                "  UNION SELECT t.terms_column::text FROM {s}.encrypted_terms AS t"
                "  JOIN {s}.encrypted_column AS e ON e.id = t.column_id WHERE e.relation_id = r.id"
                "  UNION SELECT k.name::text FROM unnest(r.key_columns) AS k (name)) AS needed,"
                " ARRAY(SELECT e.key_family FROM {s}.encrypted_column AS e WHERE e.relation_id = r.id) AS families"
                " FROM {s}.encrypted_relation AS r"
                " WHERE NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = r.base::oid)"
                " ORDER BY r.dropped DESC NULLS LAST, r.id DESC"
            )
        )
        return [LostTable(**row) for row in rows]

    def find_lost(self, table_id: int, base: int) -> EncryptedTable | None:
        """Find a table that does not exist here, as it would be with another base table.

        Args:
            table_id: its id.
            base: the OID of the base table that it would have.

        Returns:
            The table, whose view does not exist either; None if there is no such row.
        """

        def read() -> EncryptedTable | None:
            # A type that was dropped with the table can exist again.
            self._database.execute(
                "UPDATE {s}.encrypted_column SET data_type = data_type WHERE relation_id = $1"
                " AND data_type_name IS NOT NULL",
                ("integer", table_id),
            )
            return self._read("id = $1", ("integer", table_id))

        table = self._database.as_owner(read)
        if table is not None:
            table.base = table.relation = base
        return table

    def put_back(self, table: EncryptedTable) -> None:
        """Register the base table of a table that was dropped, or not restored."""
        self._write(
            "UPDATE {s}.encrypted_relation SET base = $2, relation = $3, base_name = NULL, relation_name = NULL,"
            " dropped = NULL, loaded = NULL WHERE id = $1",
            ("integer", table.id),
            ("oid", table.base),
            ("oid", table.relation),
        )

    def forget_lost(self, table_id: int) -> None:
        """Delete all that is registered of a table that does not exist."""
        for query in (
            "DELETE FROM {s}.encrypted_terms AS o USING {s}.encrypted_column AS e"
            " WHERE o.column_id = e.id AND e.relation_id = $1",
            "DELETE FROM {s}.operation_leaf AS o USING {s}.encrypted_column AS e"
            " WHERE o.column_id = e.id AND e.relation_id = $1",
            "DELETE FROM {s}.column_operation AS o USING {s}.encrypted_column AS e"
            " WHERE o.column_id = e.id AND e.relation_id = $1",
            "DELETE FROM {s}.encrypted_constraint WHERE relation_id = $1",
            "DELETE FROM {s}.encrypted_partition WHERE relation_id = $1",
            "DELETE FROM {s}.encrypted_column WHERE relation_id = $1",
            "DELETE FROM {s}.encrypted_relation WHERE id = $1",
        ):
            self._write(query, ("integer", table_id))
        self._forget_masks()

    def remove_table(self, table: EncryptedTable) -> None:
        """Forget a table that has no encrypted columns any more."""
        for query in (
            "DELETE FROM {s}.encrypted_constraint WHERE relation_id = $1",
            "DELETE FROM {s}.encrypted_partition WHERE relation_id = $1",
            "DELETE FROM {s}.encrypted_relation WHERE id = $1",
        ):
            self._write(query, ("integer", table.id))

    def add_column(self, table: EncryptedTable, column: EncryptedColumn, type_oid: int, modifier: int) -> None:
        """Register an encrypted column, and give it its id, and its uuid if it has none.

        Raises:
            DuplicateKeyError: another column has its uuid.
        """
        if column.uuid and self._write(
            "SELECT FROM {s}.encrypted_column WHERE uuid = encode($1, 'hex')::uuid", ("bytea", column.uuid)
        ):
            raise DuplicateKeyError(f"an encrypted column with id {uuid_text(column.uuid)} already exists")
        (row,) = self._write(
            "INSERT INTO {s}.encrypted_column (relation_id, column_name, cipher_column, data_type,"
            " type_modifier, collation_name, not_null, column_default, key_name, key_by, deterministic, state,"
            " key_family, had_plaintext, id, uuid, compression)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::{s}.column_state, $13, $14, $15,"
            " coalesce(encode($16, 'hex')::uuid, gen_random_uuid()), $17)"
            " RETURNING id, uuid_send(uuid) AS uuid",
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
            ("boolean", column.state is ColumnState.MIGRATING),
            ("integer", self._next_id("encrypted_column")),
            ("bytea", column.uuid or None),
            ("text", column.compression),
        )
        column.id, column.uuid = row["id"], row["uuid"]
        table.encrypted[column.name] = column

    def save_column(self, column: EncryptedColumn) -> None:
        """Write the fields of a column that can change, except its state.

        The caller has locked the table. rotate_column() changes the state without such a lock.
        """
        self._write(
            "UPDATE {s}.encrypted_column SET column_name = $2, not_null = $3, column_default = $4, key_by = $5,"
            " blind_column = $6, blind_key = $7, normalization = $8, blind_is_shown = $9, blind_is_filled = $10,"
            " blind_key_is_given = $11, compression = $12, blind_bits = $13 WHERE id = $1",
            ("integer", column.id),
            ("text", column.name),
            ("boolean", column.not_null),
            ("text", column.default),
            ("text", column.key_by),
            ("text", column.blind),
            ("integer", column.blind_key),
            ("text", column.normalization),
            ("boolean", column.blind_is_shown),
            ("boolean", column.blind_is_filled),
            ("boolean", column.blind_key_is_given),
            ("text", column.compression),
            ("integer", column.blind_bits),
        )

    def save_state(self, column: EncryptedColumn) -> None:
        """Write the state of a column, and nothing that another session may be changing."""
        self._write(
            "UPDATE {s}.encrypted_column SET state = $2::{s}.column_state WHERE id = $1",
            ("integer", column.id),
            ("text", column.state),
        )

    def save_terms(self, column: EncryptedColumn) -> None:
        """Write the blind indexes of a column, except the one for equality."""
        self._remove_terms(column)
        for index in (column.terms, column.compound, column.successor):
            if index is None:
                continue
            self._write(
                "INSERT INTO {s}.encrypted_terms (column_id, is_successor, kind, terms_column, terms_key, options,"
                " is_shown, is_filled, key_is_given, with_columns)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text[]::name[])",
                ("integer", column.id),
                ("boolean", index is column.successor),
                ("text", index.kind),
                ("text", index.name),
                ("integer", index.key),
                ("text", index.options),
                ("boolean", index.is_shown),
                ("boolean", index.is_filled),
                ("boolean", index.key_is_given),
                ("text[]", index.with_columns),
            )

    def compounds_under(self, key_id: int) -> list[list[int]]:
        """Return, for each compound index under a key, the families of the keys of its columns."""
        rows = self._database.read_as_owner(
            lambda: self._database.execute(
                "SELECT array_agg(DISTINCT p.key_family) AS families FROM {s}.encrypted_terms AS t"
                " JOIN {s}.encrypted_column AS c ON c.id = t.column_id"
                " JOIN {s}.encrypted_column AS p ON p.relation_id = c.relation_id"
                " AND (p.id = c.id OR p.column_name = ANY (t.with_columns))"
                " WHERE t.kind = 'compound' AND t.terms_key = $1 GROUP BY t.column_id, t.is_successor",
                ("integer", key_id),
            )
        )
        return [row["families"] for row in rows]

    def _remove_terms(self, column: EncryptedColumn) -> None:
        """Forget a column's blind indexes but that for equality."""
        self._write("DELETE FROM {s}.encrypted_terms WHERE column_id = $1", ("integer", column.id))

    def renew_uuid(self, column: EncryptedColumn) -> None:
        """Give a column another uuid."""
        old = column.uuid
        (row,) = self._write(
            "UPDATE {s}.encrypted_column SET uuid = gen_random_uuid() WHERE id = $1"
            " RETURNING uuid_send(uuid) AS uuid",
            ("integer", column.id),
        )
        column.uuid = row["uuid"]
        self._write(
            "INSERT INTO {s}.column_mask (column_id, mask, mask_function, without_grant)"
            " SELECT encode($2, 'hex')::uuid, mask, mask_function, without_grant FROM {s}.column_mask"
            " WHERE uuid_send(column_id) = $1",
            ("bytea", old),
            ("bytea", column.uuid),
        )
        self._forget_masks()

    def relations_of_column(self, column: EncryptedColumn) -> list[int]:
        """Return the OIDs of the base tables that have a column with the uuid of a column, its own among them."""
        rows = self._write(
            "SELECT r.base::oid::bigint AS base FROM {s}.encrypted_column AS c"
            " JOIN {s}.encrypted_relation AS r ON r.id = c.relation_id JOIN pg_class AS b ON b.oid = r.base::oid"
            " WHERE uuid_send(c.uuid) = $1 ORDER BY r.id",
            ("bytea", column.uuid),
        )
        return [row["base"] for row in rows]

    def set_mask(
        self, column: EncryptedColumn, mask: str | None, function: str | None, *, without_grant: bool
    ) -> None:
        """Set the mask of a column: a name, a function as ``regprocedure`` reads it, or none."""
        self._write("DELETE FROM {s}.column_mask WHERE uuid_send(column_id) = $1", ("bytea", column.uuid))
        if mask is not None or function is not None:
            self._write(
                "INSERT INTO {s}.column_mask (column_id, mask, mask_function, without_grant)"
                " VALUES (encode($1, 'hex')::uuid, $2, $3, $4)",
                ("bytea", column.uuid),
                ("text", mask),
                ("text", function),
                ("boolean", without_grant),
            )
        column.mask = mask or function

    def _forget_masks(self) -> None:
        """Forget the masks of columns that no table has any more."""
        self._write(
            "DELETE FROM {s}.column_mask AS m"
            " WHERE NOT EXISTS (SELECT FROM {s}.encrypted_column AS c WHERE c.uuid = m.column_id)"
        )

    def remove_column(self, table: EncryptedTable, column: EncryptedColumn) -> None:
        """Forget a column."""
        self.progress.end(column)
        self._remove_terms(column)
        self._write("DELETE FROM {s}.encrypted_column WHERE id = $1", ("integer", column.id))
        self._forget_masks()
        del table.encrypted[column.name]

    def add_constraint(self, table: EncryptedTable, constraint: Constraint) -> None:
        """Remember a constraint that the table itself cannot have any more."""
        self._write(
            "INSERT INTO {s}.encrypted_constraint (relation_id, name, kind, columns, definition, comment)"
            ' VALUES ($1, $2, $3::"char", $4::text[]::name[], $5, $6)',
            ("integer", table.id),
            ("text", constraint.name),
            ("text", constraint.kind),
            ("text[]", list(constraint.columns)),
            ("text", constraint.definition),
            ("text", constraint.comment),
        )
        table.constraints.append(constraint)

    def remove_constraint(self, table: EncryptedTable, constraint: Constraint) -> None:
        """Forget a constraint."""
        self._write(
            "DELETE FROM {s}.encrypted_constraint WHERE relation_id = $1 AND name = $2",
            ("integer", table.id),
            ("text", constraint.name),
        )
        table.constraints.remove(constraint)

    def _write(self, query: str, *arguments: tuple[str, Any]) -> list[dict[str, Any]]:
        return self._database.as_owner(lambda: self._database.execute(query, *arguments))
