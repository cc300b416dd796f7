"""A column made encrypted.

All changes of the table run with the rights of its owner, as whom the caller must be able to act; the registry,
and the triggers' functions, are written with the rights of the extension's owner.
"""

from ..errors import DataError, DuplicateKeyError, KeyStateError, UndefinedError, UnsupportedError
from ..key.cipher import DETERMINISTIC, OVERHEAD_BYTES, RANDOMIZED
from ..key.data_key import DataKeys
from ..key.record import Record
from ..key.table import NAME_CHARACTERS_MAX, TOKEN_KEY_TYPE, KeyTable
from .base_table import sealed_check, sealing_obstacles
from .blind_index import BlindIndexes
from .catalog import Table, describe, key_columns
from .forms import BYTES, form_of, key_encoding
from .obstacles import Dependents, dependents, table_obstacles
from .privileges import readers_and_writers
from .quoting import new_name, quote_literal, quote_name
from .registry import ColumnState, EncryptedColumn, EncryptedTable
from .relations import Relations
from .structure import Structures, has_meaningless_part, structure
from .view import Views

_SUFFIX = "_encrypted"
_INTERVENTION = "57"  # the class of SQLSTATEs: cancelled, or to be shut down
_REFUSALS_OF_NULL = ("23502", "23514")  # of domains with NOT NULL, and with a CHECK


class EncryptColumn:
    """How columns become encrypted, for one session."""

    def __init__(
        self, relations: Relations, views: Views, blind_indexes: BlindIndexes, keys: KeyTable, data_keys: DataKeys
    ) -> None:
        self._relations = relations
        self._views = views
        self._blind_indexes = blind_indexes
        self._keys = keys
        self._data_keys = data_keys
        self._database = relations.database
        self._registry = relations.registry
        self._structures = Structures(relations.database)

    def encrypt_column(
        self, relation: str, column_name: str, key: str | None, key_by: str | None, deterministic: bool
    ) -> str:
        """Make a column encrypted for what is written from now on.

        Args:
            relation: the table, or the view of one with encrypted columns.
            column_name: the column.
            key: the name of a key for tokens; None for a new one, called ``schema.table.column``.
            key_by: another column of the table; each of its values gets a key of its own.
            deterministic: give equal values equal ciphertexts, which are not bound to their rows.

        Returns:
            The view, which has the table's name.

        Raises:
            UnsupportedError: something stands in the way; all of it is named, and nothing was changed.
            DuplicateKeyError: the column is encrypted already.
            PrivilegeError: the current user does not own the table, or may not use the key.
        """
        for name, value in (
            ("relation", relation),
            ("column_name", column_name),
            ("deterministic", deterministic),
        ):
            if value is None:
                raise DataError(f"{name} must not be NULL")
        with self._relations.busy():
            return self._encrypt_column(relation, column_name, key, key_by, deterministic)

    def _encrypt_column(
        self, relation: str, name: str, key: str | None, key_by: str | None, deterministic: bool
    ) -> str:
        database = self._database
        oid = self._relations.resolve(relation)
        if self._registry.find(oid):
            self._relations.lock_table(str(oid))
        else:
            self._relations.lock(oid)
        # As it is now that nobody else changes it.
        table = self._registry.find(oid)
        base = self._relations.described(table.base if table else oid)
        if table and name in table.encrypted:
            raise DuplicateKeyError(f'column "{name}" of {table.name} is encrypted already')
        source = base.column(name)
        keys = table.key_columns if table else key_columns(database, base)
        found = self._check(base, table, name, key_by, keys)
        (row,) = self._relations.run(base, f"SELECT EXISTS (SELECT FROM {base.only}) AS has_rows")
        has_rows = bool(row["has_rows"])
        if has_rows:
            # What migrate_column would be refused for.
            with self._relations.without_triggers(base, are_undone=True):
                pass
        form = form_of(database, source.type_oid)
        assert form is not None  # checked with the others
        view_name = table.name if table else base.name
        record = self._key_of(key, f"{base.schema}.{view_name}.{name}")
        if table is None:
            encodings = [key_encoding(form_of(database, base.column(each).type_oid)) or "" for each in keys]
            base_name = new_name(base.name, _SUFFIX, self._relations.names_of_relations(base.schema))
            self._relations.run_naming(
                base, base.schema, f"ALTER TABLE {base.qualified} RENAME TO {quote_name(base_name)}"
            )
            table = self._registry.add_table(
                base.oid,
                base.name,
                [column.name for column in base.columns],
                list(zip(keys, encodings, strict=True)),
            )
            self._views.note_made(table)
            base = self._relations.described(base.oid)
        assert record.name is not None  # keys for tokens have names
        taken = {column.name for column in base.columns}
        column = EncryptedColumn(
            id=0,
            uuid=b"",
            name=name,
            cipher=new_name(name, _SUFFIX, taken),
            type=source.type,
            sql_type=source.sql_type,
            form=form,
            collation=source.collation,
            not_null=source.not_null,
            default=source.default,
            key=record.name,
            family=record.family,
            key_by=key_by,
            deterministic=deterministic,
            state=ColumnState.MIGRATING if has_rows else ColumnState.ENCRYPTED,
            had_plaintext=has_rows,
            blind=None,
            blind_key=None,
            normalization=None,
            blind_is_shown=False,
        )
        self._registry.add_column(table, column, source.type_oid, source.modifier)
        self._structures.check(table, base)
        # Before rows are sealed with the rights of the owner; the view gets the privileges that the table has.
        self._grant_key(table, column, record)
        self._relations.check_owners_key(self._keys, base, column, ("encrypt", "decrypt"))
        self._add_cipher(base, column)
        for check in found.checks:
            self._registry.add_constraint(table, check)
            self._relations.run(base, f"ALTER TABLE {base.qualified} DROP CONSTRAINT {quote_name(check.name)}")
        if found.uniques:
            self._blind_indexes.stand_for_uniques(base, table, column, found.uniques, record)
        self._views.write(table)
        self._views.follow_privileges(table)
        self._tell_sequences(base, table)
        if not table.key_columns and not deterministic:
            database.notice(
                f"{table.name} has no primary key: its ciphertexts are bound to the column, but not to "
                "their rows, "
                "and UPDATE and DELETE look for rows by all their values"
            )
        return str(table.relation)

    def _tell_sequences(self, base: Table, table: EncryptedTable) -> None:
        """Say where the sequences of a table are found from now on; PostgreSQL finds none by a view."""
        if len(table.encrypted) > 1:
            return
        rows = self._database.query(
            "SELECT a.attname::text AS name FROM pg_attribute AS a WHERE a.attrelid = $1 AND a.attnum > 0"
            " AND NOT a.attisdropped AND pg_get_serial_sequence($2, a.attname) IS NOT NULL ORDER BY a.attnum",
            ("oid", base.oid),
            ("text", base.qualified),
        )
        for row in rows:
            call = f"pg_get_serial_sequence({quote_literal(base.qualified)}, {quote_literal(row['name'])})"
            self._database.notice(
                f'the sequence of column "{row["name"]}" is found by the base table: {call}; NULL for the view'
            )

    def _check(
        self, base: Table, table: EncryptedTable | None, name: str, key_by: str | None, keys: list[str]
    ) -> Dependents:
        database = self._database
        obstacles = [] if table else table_obstacles(database, base)
        if base.kind != "r":
            raise UnsupportedError(f"cannot encrypt columns of {base}: {obstacles[0]}")
        source = base.column(name)
        form = form_of(database, source.type_oid)
        found = Dependents()
        if form is None or has_meaningless_part(structure(database, source.type_oid)):
            obstacles.append(f"values of type {source.type} mean nothing outside this session or database")
        else:
            found = dependents(database, base, name, form, table.relation if table else None)
            obstacles += found.obstacles
        if form is not None and form.kind != BYTES and database.setting("server_encoding") == "SQL_ASCII":
            obstacles.append("in a database with the encoding SQL_ASCII, its bytes may not be text")
        if source.identity:
            obstacles.append("it is an identity column")
        if source.generated is not None:
            obstacles.append("it is a generated column")
        if name in keys:
            obstacles.append("rows are found by it")
        if table and name in table.own_columns() | table.shown_blind_indexes().keys():
            obstacles.append("it is a column of pgkeymgr's own")
        obstacles += self._key_obstacles(base, table, name, key_by, keys)
        obstacles += sealing_obstacles(database, base, [*keys, *([key_by] if key_by else [])])
        if form is not None and not self._takes_null(base, source.sql_type):
            obstacles.append(f"type {source.type} takes no NULL, which the column is to have in each row")
        if obstacles:
            raise UnsupportedError(
                f'cannot encrypt column "{name}" of {base}: ' + "; ".join(dict.fromkeys(obstacles)),
                hint="Nothing was changed.",
            )
        return found

    def _takes_null(self, base: Table, sql_type: str) -> bool:
        try:
            # A domain's CHECK is code of the owner's.
            self._relations.run(base, f"SELECT NULL::{sql_type}")
        except Exception as error:
            if getattr(error, "sqlstate", None) not in _REFUSALS_OF_NULL:
                raise
            return False
        return True

    def _key_obstacles(
        self, base: Table, table: EncryptedTable | None, name: str, key_by: str | None, keys: list[str]
    ) -> list[str]:
        database = self._database
        obstacles = []
        if table is None:
            for each in keys:
                column = base.column(each)
                if key_encoding(form_of(database, column.type_oid)) is None:
                    obstacles.append(f'ciphertexts cannot be bound to column "{each}", of type {column.type}')
        if key_by is not None and (key_by == name or (table and key_by in table.encrypted)):
            obstacles.append(f'key_by "{key_by}" is encrypted itself')
        elif key_by is not None:
            other = base.column(key_by)
            other_form = form_of(database, other.type_oid)
            if key_encoding(other_form) not in ("integer", "uuid", "text"):
                obstacles.append(f'key_by "{key_by}" is of type {other.type}, which does not name keys')
        return obstacles

    def _key_of(self, key: str | None, default_name: str) -> Record:
        if key is None:
            name = default_name[:NAME_CHARACTERS_MAX]
            try:
                self._keys.find(name)
            except UndefinedError:
                self._data_keys.create_data_key(name, 32, None, "made by encrypt_column()", "root")
            key = name
        record = self._keys.usable(key, TOKEN_KEY_TYPE, encrypt=True)
        record.check_usage(encrypt=False)
        if record.superseded_by is not None:
            raise KeyStateError(f"{record} was superseded by key {record.superseded_by}")
        self._keys.cipher(record)  # it opens, and is of a right length
        return record

    def _grant_key(self, table: EncryptedTable, column: EncryptedColumn, record: Record) -> None:
        """Let those who could read or write the column use its key."""
        readers, writers = readers_and_writers(
            self._database, table.relation, column.name, has_default=column.default is not None
        )
        for role in sorted(readers | writers):
            if role == "0":
                self._database.notice(
                    f"PUBLIC has privileges on {table.name}: grant {record} to those who are to use it, with "
                    "grant_data_key()"
                )
                continue
            (row,) = self._database.query("SELECT $1::regrole::text AS name", ("oid", int(role)))
            usage = [name for name, roles in (("encrypt", writers), ("decrypt", readers)) if role in roles]
            self._data_keys.grant_data_key(record.id, row["name"], usage)

    def _add_cipher(self, base: Table, column: EncryptedColumn) -> None:
        cipher, plain = quote_name(column.cipher), quote_name(column.name)
        # One pattern for the first byte and the length: each trigger's INSERT parses the constraint again, and a
        # longer expression would take longer than the encryption.
        suite = DETERMINISTIC if column.deterministic else RANDOMIZED
        pattern = bytes([suite]) + b"_" * (OVERHEAD_BYTES[suite] - 1) + b"%"
        pattern_literal = f"E'\\\\x{pattern.hex()}'::pg_catalog.bytea"
        check = new_name(column.cipher, "_check", self._relations.names_of_constraints(base))
        changes = [
            f"ADD COLUMN {cipher} pg_catalog.bytea",
            # It does not compress, and parts of it are read: the id of its key.
            f"ALTER COLUMN {cipher} SET STORAGE EXTERNAL",
            f"ADD CONSTRAINT {quote_name(check)}"
            f" CHECK ({cipher} OPERATOR(pg_catalog.~~) {pattern_literal}) NOT VALID",
            f"ALTER COLUMN {plain} DROP DEFAULT",
            f"ALTER COLUMN {plain} DROP NOT NULL",
        ]
        if column.state is ColumnState.ENCRYPTED:
            changes.append(sealed_check(column))
            if column.not_null:
                changes.append(f"ALTER COLUMN {cipher} SET NOT NULL")
        self._relations.run(base, f"ALTER TABLE {base.qualified} {', '.join(changes)}")

    def dependents_of(self, record: Record) -> list[str]:
        """Return the encrypted columns that need a key.

        Args:
            record: the key's.

        Returns:
            A phrase for each: columns that are written with this version, that have values under it, whose blind
            index is made with it, or of which that cannot be found out.
        """
        columns = self._database.as_owner(
            lambda: self._database.execute(
                "SELECT r.name::text AS relation, r.base::oid::bigint AS base, c.column_name::text AS name,"
                " c.cipher_column::text AS cipher, c.key_name AS key, c.blind_key"
                " FROM {s}.encrypted_column AS c JOIN {s}.encrypted_relation AS r"
                " ON r.id OPERATOR(pg_catalog.=) c.relation_id"
                " WHERE c.key_name OPERATOR(pg_catalog.=) $1 OR c.blind_key OPERATOR(pg_catalog.=) $2"
                " OR (c.key_by IS NOT NULL AND pg_catalog.starts_with($1, c.key_name OPERATOR(pg_catalog.||) ':'))"
                " ORDER BY c.id",
                ("text", record.name or ""),
                ("integer", record.id),
            )
        )
        found = []
        for row in columns:
            called = f'column "{row["name"]}" of {row["relation"]}'
            if row["blind_key"] == record.id:
                found.append(f"the blind index of {called}")
            elif row["key"] == record.name and record.superseded_by is None:
                found.append(f"{called} is written with it")
            elif (phrase := self._values_under(record, row["base"], row["cipher"])) is not None:
                found.append(f"{called} {phrase}")
        return found

    def _values_under(self, record: Record, oid: int, cipher: str) -> str | None:
        """Return a phrase if a table has values under a key, or if that cannot be found out."""
        # In the catalog only: the role that destroys a key need not have a right to the table.
        base = self._database.as_owner(lambda: describe(self._database, oid))
        if base is None:
            return None
        table = self._registry.find(oid)
        fault = f"{base} is not registered" if table is None else self._relations.fault(table, base)
        if fault is not None:
            return f"could not be looked at: {fault}"
        try:
            with self._relations.owners_rights(base, all_rows=True):
                rows = self._database.run(
                    f"SELECT FROM {base.only} AS b WHERE pg_catalog.substr(b.{quote_name(cipher)}, 2, 4)"
                    f" OPERATOR(pg_catalog.=) pg_catalog.int4send({record.id}) LIMIT 1"
                )
        except Exception as error:
            if str(getattr(error, "sqlstate", "")).startswith(_INTERVENTION):
                raise
            return "could not be looked at"
        return "has values under it" if rows else None
