"""Columns made encrypted, their views kept up to date, and blind indexes added to them.

What changes tables runs with the rights of the caller, who must own them; the registry, and the triggers' functions,
with those of the extension's owner.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import (
    DataError,
    DuplicateKeyError,
    KeyStateError,
    ParameterError,
    PrivilegeError,
    UndefinedError,
    UnsupportedError,
)
from ..key.data_key import DataKeys
from ..key.keyring import Record
from ..key.table import NAME_CHARACTERS_MAX, TOKEN_KEY_TYPE, KeyTable
from .catalog import Table, describe, key_columns
from .definition import DECRYPTING, ENCRYPTED, MIGRATING, Definition
from .forms import form_of, key_encoding
from .normalization import NORMALIZATIONS
from .obstacles import Dependents, Unique, dependents, table_obstacles
from .privileges import copy_privileges, grantees, readers_and_writers
from .quoting import new_name, quote_body, quote_literal, quote_name
from .registry import Constraint, EncryptedColumn, EncryptedTable, Registry

_SUFFIX = "_encrypted"
_BLIND_SUFFIX = "_bidx"
_GUARD = "zz_pgkeymgr_"
_TRIGGERS = ("insert", "update", "delete")


class Columns:
    """The encrypted columns of a database, for one session."""

    def __init__(self, keys: KeyTable, data_keys: DataKeys) -> None:
        self._keys = keys
        self._data_keys = data_keys
        self._database = keys.database
        self._registry = Registry(keys.database)
        self._is_busy = False

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
        with self._busy():
            return self._encrypt_column(relation, column_name, key, key_by, deterministic)

    def _encrypt_column(
        self, relation: str, name: str, key: str | None, key_by: str | None, deterministic: bool
    ) -> str:
        database = self._database
        oid = self.resolve(relation)
        table = self._registry.find(oid)
        base = self.lock(table.base if table else oid)
        if table and name in table.encrypted:
            raise DuplicateKeyError(f'column "{name}" of {table.name} is encrypted already')
        source = base.column(name)
        keys = table.key_columns if table else key_columns(database, base)
        found = self._check(base, table, name, key_by, keys)
        form = form_of(database, source.type_oid)
        assert form is not None  # checked with the others
        view_name = table.name if table else base.name
        record = self._key_of(key, f"{base.schema}.{view_name}.{name}")
        if table is None:
            encodings = [key_encoding(form_of(database, base.column(each).type_oid)) or "" for each in keys]
            base_name = new_name(base.name, _SUFFIX, self._relation_names(base.schema))
            database.run(f"ALTER TABLE {base.qualified} RENAME TO {quote_name(base_name)}")
            table = self._registry.add_table(
                base.oid,
                base.name,
                [column.name for column in base.columns],
                list(zip(keys, encodings, strict=True)),
            )
            base = self.described(base.oid)
        assert record.name is not None  # keys for tokens have names
        taken = {column.name for column in base.columns}
        column = EncryptedColumn(
            id=0,
            uuid=b"",
            name=name,
            cipher=new_name(name, _SUFFIX, taken),
            plain=name,
            type=source.type,
            form=form,
            collation=source.collation,
            not_null=source.not_null,
            default=source.default,
            key=record.name,
            key_by=key_by,
            deterministic=deterministic,
            state=MIGRATING,
            oldest_key=None,
            blind=None,
            blind_key=None,
            normalization=None,
            blind_is_shown=False,
            blind_is_filled=False,
        )
        self._registry.add_column(table, column, source.type_oid, source.modifier)
        self._add_cipher(base, column)
        for check in found.checks:
            self._registry.add_constraint(table, check)
            database.run(f"ALTER TABLE {base.qualified} DROP CONSTRAINT {quote_name(check.name)}")
        if found.uniques:
            self._stand_for_uniques(base, table, column, found.uniques, record)
        (row,) = database.run(f"SELECT EXISTS (SELECT FROM {base.qualified}) AS there")
        if not row["there"]:
            self.drop_plain(table, column)
        self._write_view(table)
        self._grant_key(table, column, record)
        if not table.key_columns and not deterministic:
            database.notice(
                f"{table.name} has no primary key: its ciphertexts are bound to the column, but not to their rows, "
                "and UPDATE and DELETE look for rows by all their values"
            )
        return self._text(table.relation)

    def _check(
        self, base: Table, table: EncryptedTable | None, name: str, key_by: str | None, keys: list[str]
    ) -> Dependents:
        database = self._database
        obstacles = [] if table else table_obstacles(database, base, keys)
        if base.kind != "r":
            raise UnsupportedError(f"cannot encrypt columns of {base}: {obstacles[0]}")
        source = base.column(name)
        form = form_of(database, source.type_oid)
        found = Dependents()
        if form is None:
            obstacles.append(f"values of type {source.type} mean nothing outside this session or database")
        else:
            found = dependents(database, base, name, form, table.relation if table else None)
            obstacles += found.obstacles
        if source.identity:
            obstacles.append("it is an identity column")
        if source.generated is not None:
            obstacles.append("it is a generated column")
        if name in keys:
            obstacles.append("rows are found by it")
        if table and name in table.own_columns() | table.shown_blind_indexes().keys():
            obstacles.append("it is a column of pgkeymgr's own")
        if table is None:
            for each in keys:
                column = base.column(each)
                if key_encoding(form_of(database, column.type_oid)) is None:
                    obstacles.append(f'ciphertexts cannot be bound to column "{each}", of type {column.type}')
        if key_by is not None:
            other = base.column(key_by)
            other_form = form_of(database, other.type_oid)
            if key_by == name or (table and key_by in table.encrypted):
                obstacles.append(f'key_by "{key_by}" is encrypted itself')
            if key_encoding(other_form) not in ("integer", "uuid", "text"):
                obstacles.append(f'key_by "{key_by}" is of type {other.type}, which does not name keys')
        if obstacles:
            raise UnsupportedError(
                f'cannot encrypt column "{name}" of {base}: ' + "; ".join(dict.fromkeys(obstacles)),
                hint="Nothing was changed.",
            )
        return found

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

    def _add_cipher(self, base: Table, column: EncryptedColumn) -> None:
        run = self._database.run
        cipher, plain = quote_name(column.cipher), quote_name(column.plain or "")
        suite, least = (2, 21) if column.deterministic else (1, 33)
        check = new_name(column.cipher, "_check", self._constraint_names(base))
        run(
            f"ALTER TABLE {base.qualified} ADD COLUMN {cipher} pg_catalog.bytea,"
            # It does not compress, and parts of it are read: the id of its key.
            f" ALTER COLUMN {cipher} SET STORAGE EXTERNAL,"
            f" ADD CONSTRAINT {quote_name(check)} CHECK ("
            f"pg_catalog.octet_length({cipher}) OPERATOR(pg_catalog.>=) {least}"
            f" AND pg_catalog.get_byte({cipher}, 0) OPERATOR(pg_catalog.=) {suite}) NOT VALID,"
            f" ALTER COLUMN {plain} DROP DEFAULT, ALTER COLUMN {plain} DROP NOT NULL"
        )
        self._guard(base, column)

    def _guard(self, base: Table, column: EncryptedColumn) -> None:
        # Triggers, and not a CHECK: a foreign key may write other columns of a row that still has its plaintext.
        plain = quote_name(column.plain or "")
        conditions = {
            "INSERT": f"NEW.{plain} IS NOT NULL",
            "UPDATE": f"NEW.{plain} IS NOT NULL AND ROW(NEW.{plain})::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(OLD.{plain})::pg_catalog.record",
        }
        for event, condition in conditions.items():
            name = quote_name(f"{_GUARD}{event.lower()}_{column.id}")
            self._database.run(
                f"CREATE TRIGGER {name} BEFORE {event} ON {base.qualified} FOR EACH ROW WHEN ({condition})"
                f" EXECUTE FUNCTION {self._database.schema}._refuse_plaintext({quote_literal(column.name)})"
            )

    def drop_guard(self, base: Table, column: EncryptedColumn) -> None:
        """Let plaintext into the old column of one that is, or was, being encrypted."""
        for event in ("insert", "update"):
            self._database.run(
                f"DROP TRIGGER IF EXISTS {quote_name(f'{_GUARD}{event}_{column.id}')} ON {base.qualified}"
            )

    def drop_plain(self, table: EncryptedTable, column: EncryptedColumn) -> None:
        """Drop the plaintext column, in which nothing is left.

        Args:
            table: the column's; locked.
            column: whose values are all encrypted.
        """
        base = self.described(table.base)
        plain = column.plain or ""
        self.drop_guard(base, column)
        column.plain, column.state = None, ENCRYPTED
        self._registry.save_column(column)
        if table.relation != table.base:
            self._write_view(table)
        not_null = f", ALTER COLUMN {quote_name(column.cipher)} SET NOT NULL" if column.not_null else ""
        self._database.run(f"ALTER TABLE {base.qualified} DROP COLUMN {quote_name(plain)}{not_null}")
        if table.relation != table.base:
            self._write_view(table)

    # The view.

    def _write_view(self, table: EncryptedTable) -> None:
        """Make the view and its triggers what the registry and the base table say."""
        database = self._database
        base = self.described(table.base)
        definition = Definition(table, base, database.schema)
        view = describe(database, table.relation) if table.relation != table.base else None
        schema = view.schema if view else base.schema
        self._write_functions(table, definition)
        database.run(definition.view(schema))
        qualified = f"{quote_name(schema)}.{quote_name(table.name)}"
        if view is None:
            (row,) = database.query("SELECT $1::regclass::oid::bigint AS oid", ("text", qualified))
            table.relation = row["oid"]
            for event in _TRIGGERS:
                database.run(
                    f"CREATE TRIGGER pgkeymgr_{event} INSTEAD OF {event.upper()} ON {qualified} FOR EACH ROW"
                    f" EXECUTE FUNCTION {database.schema}._{event}_{table.id}()"
                )
            self._copy_comments(table, base, qualified)
        table.columns = definition.columns
        self._registry.save_table(table)
        new = self.described(table.relation)
        for column in new.columns:
            default = definition.default(column.name)
            if default != column.default:
                change = "DROP DEFAULT" if default is None else f"SET DEFAULT {default}"
                database.run(f"ALTER VIEW {qualified} ALTER COLUMN {quote_name(column.name)} {change}")
        if new.owner != base.owner:
            database.run(f"ALTER VIEW {qualified} OWNER TO {quote_name(base.owner)}")
        if view is None:
            copy_privileges(database, table.base, table.relation, self._names_in_view(table, base))

    def _write_functions(self, table: EncryptedTable, definition: Definition) -> None:
        # They belong to the extension's owner, since their schema is the extension's; they run as whoever writes.
        bodies = {
            "insert": definition.insert_function(),
            "update": definition.update_function(),
            "delete": definition.delete_function(),
        }

        def write() -> None:
            for event, body in bodies.items():
                name = f"{self._database.schema}._{event}_{table.id}()"
                self._database.run(
                    f"CREATE OR REPLACE FUNCTION {name} RETURNS trigger LANGUAGE plpgsql AS {quote_body(body)}"
                )
                self._database.run(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC")
                self._database.run(
                    f"GRANT EXECUTE ON FUNCTION {name} TO {quote_name(self.described(table.base).owner)}"
                )
                self._database.run(f"COMMENT ON FUNCTION {name} IS 'pgkeymgr: writes through {table.id}'")

        self._database.as_owner(write)

    def _copy_comments(self, table: EncryptedTable, base: Table, qualified: str) -> None:
        run = self._database.run
        (row,) = self._database.query("SELECT obj_description($1, 'pg_class') AS comment", ("oid", base.oid))
        if row["comment"] is not None:
            run(f"COMMENT ON VIEW {qualified} IS {quote_literal(row['comment'])}")
        for column in base.columns:
            if column.comment is not None and column.name in table.columns:
                target = f"{qualified}.{quote_name(column.name)}"
                run(f"COMMENT ON COLUMN {target} IS {quote_literal(column.comment)}")

    @staticmethod
    def _names_in_view(table: EncryptedTable, base: Table) -> dict[str, list[str]]:
        names = {column.name: [column.name] for column in base.columns if column.name in table.columns}
        for column in table.encrypted.values():
            names[column.cipher] = [column.name]
            if column.plain:
                names[column.plain] = [column.name]
            if column.blind and column.blind_is_shown:
                names[column.blind] = [column.blind]
        return names

    @staticmethod
    def _names_in_base(table: EncryptedTable) -> dict[str, list[str]]:
        names = {name: [name] for name in table.columns}
        for column in table.encrypted.values():
            names[column.name] = [name for name in (column.cipher, column.plain, column.blind) if name]
        return names

    def refresh_encrypted_view(self, relation: str) -> str:
        """Make a view again what its base table needs, or bring it back.

        Args:
            relation: the view, or the base table.

        Returns:
            The view.

        Raises:
            UndefinedError: the table has no encrypted columns.
            PrivilegeError: the current user does not own it.
        """
        table = self.encrypted_table(relation)
        with self._busy():
            self.lock(table.base)
            self._refresh(table)
        return self._text(table.relation)

    def _refresh(self, table: EncryptedTable) -> None:
        if describe(self._database, table.relation) is None:
            table.relation = table.base
        self._write_view(table)

    # DDL.

    def _after_ddl(self, base: int, altered: int | None, command: str) -> None:
        """Follow DDL on a table with encrypted columns; called by the event triggers, as the extension's owner.

        Args:
            base: the OID of the base table.
            altered: the OID of the relation that was altered, or None.
            command: such as ``ALTER TABLE``.

        Raises:
            UnsupportedError: the DDL would have made the table unusable.
        """
        if self._is_busy:
            return
        table = self._registry.find(base)
        if table is None:
            return
        with self._busy():
            if command == "CREATE INDEX":
                self._refuse_index(table)
                return
            changed = describe(self._database, altered) if altered else None
            view = describe(self._database, table.relation) if table.relation != table.base else None
            if view is None:
                table.relation = table.base
            elif command in ("GRANT", "REVOKE"):
                self._follow_privileges(table)
            elif changed is not None and changed.oid == view.oid:
                self._follow_view(table, view)
            else:
                self._follow_base(table)
            self._write_view(table)

    def _refuse_index(self, table: EncryptedTable) -> None:
        for column in table.encrypted.values():
            if column.deterministic:
                continue
            rows = self._database.query(
                "SELECT ic.relname::text AS name FROM pg_index AS i JOIN pg_class AS ic ON ic.oid = i.indexrelid"
                " JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])"
                " WHERE i.indrelid = $1 AND a.attname = $2",
                ("oid", table.base),
                ("text", column.cipher),
            )
            if rows:
                raise UnsupportedError(
                    f'index "{rows[0]["name"]}" on the ciphertext of column "{column.name}" of {table.name} could find '
                    "nothing: each ciphertext is another one",
                    hint="add_blind_index() gives equality search.",
                )

    def _follow_base(self, table: EncryptedTable) -> None:
        base = self.described(table.base)
        there = {column.name for column in base.columns}
        lost_own = sorted(table.own_columns() - there)
        if lost_own:
            raise UnsupportedError(
                f'column "{lost_own[0]}" of {base} is pgkeymgr\'s own',
                hint="decrypt_column() and drop_blind_index() take such columns away.",
            )
        shown = set(table.columns) - table.encrypted.keys() - table.shown_blind_indexes().keys()
        lost, new = sorted(shown - there), sorted(there - shown - table.own_columns())
        if len(lost) == 1 and len(new) == 1:
            self._rename_plain(table, lost[0], new[0])
            view = self.described(table.relation)
            self._database.run(
                f"ALTER VIEW {view.qualified} RENAME COLUMN {quote_name(lost[0])} TO {quote_name(new[0])}"
            )

    def _rename_plain(self, table: EncryptedTable, old: str, new: str) -> None:
        for constraint in table.constraints:
            if old in constraint.columns:
                raise UnsupportedError(
                    f'column "{old}" of {table.name} cannot be renamed: constraint "{constraint.name}" of an encrypted '
                    "column mentions it"
                )
        table.columns = [new if name == old else name for name in table.columns]
        table.key_columns = [new if name == old else name for name in table.key_columns]
        for column in table.encrypted.values():
            if column.key_by == old:
                column.key_by = new
                self._registry.save_column(column)
        self._registry.save_table(table)

    def _follow_view(self, table: EncryptedTable, view: Table) -> None:
        base = self.described(table.base)
        table.name = view.name
        now = [column.name for column in view.columns]
        for old, new in zip(table.columns, now, strict=True):
            if old == new:
                continue
            if old in table.shown_blind_indexes():
                raise UnsupportedError(
                    f'column "{old}" of {view} cannot be renamed: its name follows from another one'
                )
            encrypted = table.encrypted.get(old)
            if encrypted is None:
                self._rename_plain(table, old, new)
                self._database.run(
                    f"ALTER TABLE {base.qualified} RENAME COLUMN {quote_name(old)} TO {quote_name(new)}"
                )
                continue
            if any(old in constraint.columns for constraint in table.constraints):
                raise UnsupportedError(f'column "{old}" of {view} cannot be renamed: a constraint mentions it')
            if encrypted.plain:
                raise UnsupportedError(f'column "{old}" of {view} cannot be renamed now: it is {encrypted.state}')
            encrypted.name = new
            table.columns = [new if name == old else name for name in table.columns]
            self._registry.save_column(encrypted)
            table.encrypted[new] = table.encrypted.pop(old)
        self._registry.save_table(table)
        for column in view.columns:
            encrypted = table.encrypted.get(column.name)
            if encrypted is not None:
                if encrypted.default != column.default:
                    encrypted.default = column.default
                    self._registry.save_column(encrypted)
            elif column.name not in table.shown_blind_indexes():
                self._follow_default(base, column.name, column.default)
        if view.owner != base.owner:
            self._database.run(f"ALTER TABLE {base.qualified} OWNER TO {quote_name(view.owner)}")

    def _follow_default(self, base: Table, name: str, default: str | None) -> None:
        column = base.column(name)
        if column.identity or column.generated is not None or column.default == default:
            return
        change = "DROP DEFAULT" if default is None else f"SET DEFAULT {default}"
        self._database.run(f"ALTER TABLE {base.qualified} ALTER COLUMN {quote_name(name)} {change}")

    def _follow_privileges(self, table: EncryptedTable) -> None:
        database = self._database
        copy_privileges(database, table.relation, table.base, self._names_in_base(table))
        base = self.described(table.base)
        if base.has_row_security and base.has_column_grants:
            raise UnsupportedError(
                f"{table.name} has encrypted columns and row-level security: privileges on single columns of it "
                "cannot be honoured"
            )
        self._grant_schema(table)

    def _grant_schema(self, table: EncryptedTable) -> None:
        database = self._database
        base = self.described(table.base)

        def grant() -> None:
            roles = grantees(database, table.relation)
            for role in roles:
                rows = database.query(
                    "SELECT quote_ident(rolname) AS name FROM pg_roles WHERE oid = $1", ("oid", int(role))
                )
                name = rows[0]["name"] if rows else "PUBLIC"
                database.run(f"GRANT USAGE ON SCHEMA {database.schema} TO {name}")
                for column in base.columns:
                    # A column of its own table needs no privilege on its sequence; a view's default does.
                    if column.identity and role in readers_and_writers(database, table.relation, ())[1]:
                        database.run(f"GRANT USAGE ON SEQUENCE {column.sequence} TO {name}")

        database.as_owner(grant)

    def _grant_key(self, table: EncryptedTable, column: EncryptedColumn, record: Record) -> None:
        """Let those who could read or write the column use its key."""
        self._grant_schema(table)
        readers, writers = readers_and_writers(self._database, table.relation, (column.name,))
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

    # Blind indexes.

    def add_blind_index(self, relation: str, column_name: str, normalize: str, is_unique: bool) -> None:
        """Give an encrypted column a blind index, filled for all rows.

        Args:
            relation: the view, or the base table.
            column_name: an encrypted column.
            normalize: ``none``, ``casefold`` or ``digits``.
            is_unique: refuse two rows with the same normalized value.

        Raises:
            UndefinedError: the column is not encrypted.
            DuplicateKeyError: it has a blind index, or two rows have the same value.
            ParameterError: there is no such normalization.
        """
        if normalize is None or is_unique is None:
            raise DataError("normalize and is_unique must not be NULL")
        if normalize not in NORMALIZATIONS:
            raise ParameterError("normalize must be " + ", ".join(NORMALIZATIONS))
        table, column = self.encrypted_column(relation, column_name)
        with self._busy():
            base = self.lock(table.base)
            if column.blind and column.blind_is_shown:
                raise DuplicateKeyError(f'column "{column.name}" of {table.name} has a blind index already')
            if column.blind and column.normalization != normalize:
                raise DuplicateKeyError(
                    f'column "{column.name}" of {table.name} has a blind index without normalization already, for '
                    "its UNIQUE constraint"
                )
            if column.state == DECRYPTING:
                raise KeyStateError(f'column "{column.name}" of {table.name} is being decrypted')
            if normalize != "none" and not column.form.is_text:
                raise ParameterError(f"normalize must be none for values of type {column.type}")
            if not column.blind:
                self._add_blind(base, table, column, normalize, self._keys.find(column.key))
            column.blind_is_shown = True
            self._registry.save_column(column)
            blind = column.blind or ""
            index = quote_name(new_name(f"{table.name}_{blind}", "_idx", self._relation_names(base.schema)))
            unique = "UNIQUE " if is_unique else ""
            self._database.run(
                f"CREATE {unique}INDEX {index} ON {base.qualified} ({quote_name(blind)})"
                f" WHERE {quote_name(blind)} IS NOT NULL"
            )
            self._write_view(table)
            self._database.as_owner(
                lambda: copy_privileges(
                    self._database,
                    table.relation,
                    table.relation,
                    {name: [name] for name in table.columns} | {column.name: [column.name, blind]},
                )
            )
            self._database.as_owner(lambda: self._follow_privileges(table))

    def _add_blind(
        self, base: Table, table: EncryptedTable, column: EncryptedColumn, normalize: str, record: Record
    ) -> None:
        taken = {each.name for each in base.columns}
        column.blind = new_name(column.name, _BLIND_SUFFIX, taken)
        column.blind_key = self._keys.create_for(record, f"{record.name}.bidx")
        column.normalization = normalize
        column.blind_is_filled = True
        blind = quote_name(column.blind)
        self._database.run(f"ALTER TABLE {base.qualified} ADD COLUMN {blind} pg_catalog.bytea")
        self._registry.save_column(column)
        definition = Definition(table, self.described(table.base), self._database.schema)
        value = definition.blinded(column, definition.read(column, "b"))
        with self.without_triggers(base):
            self._database.run(f"UPDATE {base.qualified} AS b SET {blind} = {value} WHERE {value} IS NOT NULL")

    def _stand_for_uniques(
        self, base: Table, table: EncryptedTable, column: EncryptedColumn, uniques: list[Unique], record: Record
    ) -> None:
        # At once, not with the migration: rows that are there must not come twice in the meantime.
        self._add_blind(base, table, column, "none", record)
        for unique in uniques:
            self._registry.add_constraint(table, Constraint(unique.name, "u", unique.columns, unique.definition))
            what = f"ALTER TABLE {base.qualified} DROP CONSTRAINT" if unique.is_constraint else "DROP INDEX"
            name = quote_name(unique.name)
            self._database.run(f"{what} {name if unique.is_constraint else f'{quote_name(base.schema)}.{name}'}")
            self._write_unique(base, table, unique.name, unique.columns)

    def _write_unique(self, base: Table, table: EncryptedTable, name: str, columns: tuple[str, ...]) -> None:
        names = []
        for each in columns:
            encrypted = table.encrypted.get(each)
            names.append(quote_name((encrypted.blind if encrypted else None) or each))
        self._database.run(f"CREATE UNIQUE INDEX {quote_name(name)} ON {base.qualified} ({', '.join(names)})")

    def drop_blind_index(self, relation: str, column_name: str) -> None:
        """Take a blind index away.

        Args:
            relation: the view, or the base table.
            column_name: an encrypted column.

        Raises:
            UndefinedError: the column is not encrypted, or has no blind index.
            UnsupportedError: a UNIQUE constraint of the column needs it.
        """
        table, column = self.encrypted_column(relation, column_name)
        if not column.blind or not column.blind_is_shown:
            raise UndefinedError(f'column "{column.name}" of {table.name} has no blind index')
        if any(column.name in each.columns for each in table.constraints if each.kind == "u"):
            raise UnsupportedError(
                f'a UNIQUE constraint of column "{column.name}" of {table.name} needs its blind index'
            )
        with self._busy():
            base = self.lock(table.base)
            blind, key = column.blind, column.blind_key
            column.blind = column.blind_key = column.normalization = None
            column.blind_is_shown = column.blind_is_filled = False
            self._registry.save_column(column)
            self._drop_view_column(table, base, blind)
            if key is not None:
                self._keys.drop(self._keys.find(key))

    def _drop_view_column(self, table: EncryptedTable, base: Table, name: str) -> None:
        # A view can lose a column only by being made anew.
        view = self.described(table.relation)
        rows = self._database.query(
            "SELECT DISTINCT pg_describe_object('pg_class'::regclass, r.ev_class, 0) AS object FROM pg_depend AS d"
            " JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid"
            " WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 AND r.ev_class <> $1",
            ("oid", view.oid),
        )
        if rows:
            raise UnsupportedError(
                f"{view} would be made anew, and {', '.join(row['object'] for row in rows)} would go with it"
            )
        self._database.run(f"DROP VIEW {view.qualified}")
        self._database.run(f"ALTER TABLE {base.qualified} DROP COLUMN {quote_name(name)}")
        table.relation = table.base
        table.columns = [each for each in table.columns if each != name]
        self._write_view(table)

    # Back to a plain column.

    def start_decryption(self, table: EncryptedTable, column: EncryptedColumn) -> None:
        """Give a column its plaintext column back, into which everything is written from now on.

        Args:
            table: locked.
            column: an encrypted one of it.
        """
        with self._busy():
            base = self.described(table.base)
            if column.plain:
                self.drop_guard(base, column)
            else:
                if column.name in {each.name for each in base.columns}:
                    raise DuplicateKeyError(f'{base} has another column "{column.name}"')
                collation = f" COLLATE {column.collation}" if column.collation else ""
                not_null = ""
                if column.not_null:
                    not_null = f", ALTER COLUMN {quote_name(column.cipher)} DROP NOT NULL"
                self._database.run(
                    f"ALTER TABLE {base.qualified} ADD COLUMN {quote_name(column.name)} {column.type}{collation}{not_null}"
                )
                column.plain = column.name
            column.state = DECRYPTING
            self._registry.save_column(column)
            self._write_view(table)
            self._database.as_owner(lambda: self._follow_privileges(table))

    def end_decryption(self, table: EncryptedTable, column: EncryptedColumn) -> None:
        """Drop the ciphertext of a column whose values are all plain, and the view with the last one.

        Args:
            table: locked.
            column: in which no ciphertext is left.
        """
        with self._busy():
            database = self._database
            base = self.described(table.base)
            view = self.described(table.relation)
            table.going = {column.cipher} | ({column.blind} if column.blind else set())
            changes = [f"DROP COLUMN {quote_name(name)}" for name in sorted(table.going)]
            name = quote_name(column.name)
            if column.default is not None:
                changes.append(f"ALTER COLUMN {name} SET DEFAULT {column.default}")
            if column.not_null:
                changes.append(f"ALTER COLUMN {name} SET NOT NULL")
            self._registry.remove_column(table, column)
            restored = [c for c in table.constraints if not table.encrypted.keys() & set(c.columns)]
            replaced = [c for c in table.constraints if c.kind == "u" and c not in restored]
            for constraint in restored:
                self._registry.remove_constraint(table, constraint)
                if constraint.kind == "c":
                    changes.append(
                        f"ADD CONSTRAINT {quote_name(constraint.name)} CHECK ({constraint.definition}) NOT VALID"
                    )
            acl_source = table.relation
            if table.encrypted:
                shown = column.blind if column.blind and column.blind_is_shown else None
                if shown:
                    database.run(f"DROP VIEW {view.qualified}")
                    table.relation = table.base
                    table.columns = [each for each in table.columns if each != shown]
                self._write_view(table)
            else:
                names = {each.name: [each.name] for each in base.columns}
                names[column.name] = [column.name]
                copy_privileges(database, acl_source, table.base, names)
                database.run(f"DROP VIEW {view.qualified}")
                self._registry.remove_table(table)
            database.run(f"ALTER TABLE {base.qualified} {', '.join(changes)}")
            for constraint in restored:
                if constraint.kind == "c":
                    database.run(f"ALTER TABLE {base.qualified} VALIDATE CONSTRAINT {quote_name(constraint.name)}")
                elif constraint.definition.startswith("UNIQUE"):
                    database.run(
                        f"ALTER TABLE {base.qualified} ADD CONSTRAINT {quote_name(constraint.name)} {constraint.definition}"
                    )
                else:
                    columns = ", ".join(quote_name(each) for each in constraint.columns)
                    database.run(
                        f"CREATE UNIQUE INDEX {quote_name(constraint.name)} ON {base.qualified} ({columns})"
                    )
            for constraint in replaced:
                self._write_unique(base, table, constraint.name, constraint.columns)
            if column.blind_key is not None:
                self._keys.drop(self._keys.find(column.blind_key))
            if table.encrypted:
                self._write_view(table)
                return
            self._drop_functions(table)
            database.run(f"ALTER TABLE {base.qualified} RENAME TO {quote_name(table.name)}")
            if view.schema != base.schema:
                moved = f"{quote_name(base.schema)}.{quote_name(table.name)}"
                database.run(f"ALTER TABLE {moved} SET SCHEMA {quote_name(view.schema)}")

    def _drop_functions(self, table: EncryptedTable) -> None:
        def drop() -> None:
            for event in _TRIGGERS:
                self._database.run(f"DROP FUNCTION {self._database.schema}._{event}_{table.id}()")

        self._database.as_owner(drop)

    def dependents_of(self, record: Record) -> list[str]:
        """Tell which encrypted columns need a key.

        Args:
            record: the key's.

        Returns:
            A phrase for each: columns that are written with this version, that have values under it, or whose
            blind index is made with it.
        """
        return self._database.as_owner(lambda: self._dependents_of(record))

    def _dependents_of(self, record: Record) -> list[str]:
        found = []
        for row in self._database.execute(
            "SELECT r.name::text AS relation, r.base::oid::bigint AS base, c.column_name::text AS name,"
            " c.cipher_column::text AS cipher, c.key_name AS key, c.blind_key, c.key_by IS NOT NULL AS has_keys_by"
            " FROM {s}.encrypted_column AS c JOIN {s}.encrypted_relation AS r"
            " ON r.id OPERATOR(pg_catalog.=) c.relation_id"
            " WHERE c.key_name OPERATOR(pg_catalog.=) $1 OR c.blind_key OPERATOR(pg_catalog.=) $2"
            " OR (c.key_by IS NOT NULL AND pg_catalog.starts_with($1, c.key_name OPERATOR(pg_catalog.||) ':'))",
            ("text", record.name or ""),
            ("integer", record.id),
        ):
            called = f'column "{row["name"]}" of {row["relation"]}'
            base = describe(self._database, row["base"])
            if base is None:
                continue
            if row["blind_key"] == record.id:
                found.append(f"the blind index of {called}")
            elif row["key"] == record.name and record.superseded_by is None:
                found.append(f"{called} is written with it")
            elif self._database.run(
                f"SELECT FROM {base.qualified} AS b WHERE pg_catalog.substr(b.{quote_name(row['cipher'])}, 2, 4)"
                f" OPERATOR(pg_catalog.=) pg_catalog.int4send({record.id}) LIMIT 1"
            ):
                found.append(f"{called} has values under it")
        return found

    # What the procedures need, too.

    @property
    def registry(self) -> Registry:
        """The tables that say what is encrypted."""
        return self._registry

    def write_view(self, table: EncryptedTable) -> None:
        """Make the view and its triggers what the registry says."""
        with self._busy():
            self._write_view(table)

    def resolve(self, relation: str) -> int:
        """Return the OID of a relation, which PL/Python gives as text or as a number in text."""
        if relation is None:
            raise DataError("relation must not be NULL")
        if relation.isdigit():
            return int(relation)
        (row,) = self._database.query("SELECT $1::pg_catalog.regclass::oid::bigint AS oid", ("text", relation))
        return int(row["oid"])

    def encrypted_table(self, relation: str) -> EncryptedTable:
        """Find a table with encrypted columns.

        Raises:
            UndefinedError: the relation has none.
        """
        table = self._registry.find(self.resolve(relation))
        if table is None:
            raise UndefinedError(f"{relation} has no encrypted columns")
        return table

    def encrypted_column(self, relation: str, column_name: str) -> tuple[EncryptedTable, EncryptedColumn]:
        """Find an encrypted column.

        Raises:
            UndefinedError: it is not one.
        """
        if column_name is None:
            raise DataError("column_name must not be NULL")
        table = self.encrypted_table(relation)
        column = table.encrypted.get(column_name)
        if column is None:
            raise UndefinedError(f'column "{column_name}" of {table.name} is not encrypted')
        return table, column

    def described(self, oid: int) -> Table:
        """Read what the catalog says of a relation that is there.

        Raises:
            UndefinedError: it is not.
        """
        table = describe(self._database, oid)
        if table is None:
            raise UndefinedError(f"there is no relation with OID {oid} any more")
        return table

    def check_owner(self, oid: int) -> None:
        """Refuse who does not own a relation.

        Raises:
            PrivilegeError: the current user is not its owner, nor a member of it.
        """
        (row,) = self._database.query(
            "SELECT pg_has_role(c.relowner, 'USAGE') AS is_owner FROM pg_class AS c WHERE c.oid = $1", ("oid", oid)
        )
        if not row["is_owner"]:
            raise PrivilegeError(f"must be owner of {self.described(oid)}")

    def lock(self, oid: int) -> Table:
        """Lock a relation of the current user's against all others.

        Returns:
            What the catalog says of it after that.

        Raises:
            PrivilegeError: the current user does not own it.
        """
        table = self.described(oid)
        self.check_owner(oid)
        if table.kind in "rv":
            self._database.run(f"LOCK TABLE {table.qualified} IN ACCESS EXCLUSIVE MODE")
        return self.described(oid)

    @contextmanager
    def without_triggers(self, base: Table) -> Iterator[None]:
        """Keep the user's triggers from firing on rows that stay what they are.

        Raises:
            PrivilegeError: there are some, and the current user may not keep them from it.
        """
        (row,) = self._database.query(
            "SELECT EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = $1 AND NOT t.tgisinternal"
            " AND t.tgtype & 16 = 16 AND t.tgenabled IN ('O', 'A') AND t.tgname NOT LIKE 'zz\\_pgkeymgr\\_%') AS fire,"
            " has_parameter_privilege('session_replication_role', 'SET') AS may,"
            " current_setting('session_replication_role') AS role",
            ("oid", base.oid),
        )
        if not row["fire"] or row["role"] == "replica":
            yield
            return
        if not row["may"]:
            raise PrivilegeError(
                f"the triggers of {base} would fire for each row, and only who may set session_replication_role can "
                "keep them from it",
                hint="Call it as a superuser, or GRANT SET ON PARAMETER session_replication_role.",
            )
        self._set("session_replication_role", "replica")
        yield
        self._set("session_replication_role", row["role"])

    def _set(self, setting: str, value: str) -> None:
        self._database.query("SELECT set_config($1, $2, true)", ("text", setting), ("text", value))

    @contextmanager
    def _busy(self) -> Iterator[None]:
        # Our own DDL is not to be followed.
        was_busy, self._is_busy = self._is_busy, True
        try:
            yield
        finally:
            self._is_busy = was_busy

    busy = _busy

    def _text(self, oid: int) -> str:
        return str(oid)

    def _relation_names(self, schema: str) -> set[str]:
        rows = self._database.query(
            "SELECT c.relname::text AS name FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
            " WHERE n.nspname = $1 UNION SELECT t.typname::text FROM pg_type AS t"
            " JOIN pg_namespace AS n ON n.oid = t.typnamespace WHERE n.nspname = $1",
            ("text", schema),
        )
        return {row["name"] for row in rows}

    def _constraint_names(self, base: Table) -> set[str]:
        rows = self._database.query(
            "SELECT conname::text AS name FROM pg_constraint WHERE conrelid = $1", ("oid", base.oid)
        )
        return {row["name"] for row in rows}
