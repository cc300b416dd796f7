"""Makes an encrypted column a plain column again."""

from collections.abc import Collection

from ..errors import UnsupportedError
from .blind_index import BlindIndexes
from .catalog import Table
from .comments import Comments
from .dependent_objects import DependentObject, DependentObjects, check
from .encrypted_table import ColumnState, Constraint, EncryptedColumn, EncryptedTable
from .index_kinds import COMPOUND
from .index_options import IndexOptions, columns_in, options_of
from .partman import partman_update
from .postgres_index import PostgresIndexes
from .privileges import copy_privileges
from .published import report_published
from .quoting import quote_literal, quote_name
from .relations import Relations
from .view import Views

_CHECK_VIOLATION = "23514"
_GONE = ("42704", "3F000")  # an object or a schema


class DecryptColumn:
    """Makes encrypted columns plain columns again, for one session."""

    def __init__(
        self,
        relations: Relations,
        views: Views,
        blind_indexes: BlindIndexes,
        postgres_indexes: PostgresIndexes,
    ) -> None:
        self._relations = relations
        self._views = views
        self._comments = Comments(relations)
        self._blind_indexes = blind_indexes
        self._postgres_indexes = postgres_indexes
        self._database = relations.database
        self._registry = relations.registry
        self._objects = DependentObjects(relations.database)

    def start(self, table: EncryptedTable, column: EncryptedColumn) -> None:
        """Allow plaintext in the base table again, and write the values of a column as plaintext from now on.

        Args:
            table: locked.
            column: an encrypted one of it.

        Raises:
            UnsupportedError: a compound blind index is of its values, or a dependent object cannot be taken along.
        """
        with self._relations.busy(table.base):
            base = self._relations.described(table.base)
            self._refuse_compound(table, column)
            self._dependents(table, column, base)  # at the end, it would be too late
            there = self._relations.names_of_constraints(base)
            changes = [f"DROP CONSTRAINT {quote_name(name)}" for name in column.constraints if name in there]
            changes.append(f"ALTER COLUMN {quote_name(column.cipher)} DROP NOT NULL")
            self._relations.run(base, f"ALTER TABLE {base.qualified} {', '.join(changes)}")
            column.state = ColumnState.DECRYPTING
            self._registry.save_state(column)
            self._views.write(table)
            self._views.follow_privileges(table)

    def end(self, table: EncryptedTable, column: EncryptedColumn, path: str | None) -> None:
        """Drop the ciphertext of a column whose values are all plain, and the view with the last one.

        Args:
            table: the table, which the caller has locked.
            column: the column, which has no ciphertext left.
            path: the search_path of the session, for the functions in CHECK constraints.
        """
        with self._relations.busy(table.base):
            base = self._relations.described(table.base)
            rename = "" if len(table.encrypted) > 1 else f'rename it to "{table.name}", and '
            report_published(self._database, base, f'{rename}drop the column "{column.cipher}"')

            view = self._relations.described(table.relation)
            dropped = self._objects.drop(self._dependents(table, column, base))
            table.going = {column.cipher, *column.companions}
            changes = _changes(column, table.going)
            indexes = column.indexes
            shown = _shown(column)
            self._registry.remove_column(table, column)
            restored = [c for c in table.constraints if not table.encrypted.keys() & set(c.columns)]
            replaced = [
                c for c in table.constraints if c.kind == "u" and c not in restored and column.name in c.columns
            ]
            # The indexes go with the columns.
            options = {c.name: options_of(self._database, base, c.name) for c in [*restored, *replaced]}
            for constraint in restored:
                self._registry.remove_constraint(table, constraint)
                if constraint.kind == "c":
                    changes.append(
                        f"ADD CONSTRAINT {quote_name(constraint.name)} CHECK ({constraint.definition}) NOT VALID"
                    )
            if table.encrypted:
                self._write_view(table, base, view, shown)
            else:
                self._drop_view(table, base, view)
            self._relations.run(base, f"ALTER TABLE {base.qualified} {', '.join(changes)}")
            for constraint in restored:
                self._restore(base, constraint, options[constraint.name], path)
            for each in replaced:
                self._postgres_indexes.write_unique(base, table, each.name, each.columns, options[each.name])
            for index in indexes:
                self._blind_indexes.drop_key(index.key, is_given=index.key_is_given)
            if table.encrypted:
                self._views.write(table)
                self._views.bring_back(table, dropped, for_caller=True)
                return
            self._views.drop_functions(table)
            if table.detached_from is None:
                self._take_name(table, base, view)
            self._objects.create(dropped, for_caller=True)

    def _write_view(self, table: EncryptedTable, base: Table, view: Table, shown: list[str]) -> None:
        """Write the view for the columns that are still encrypted, without some columns of blind indexes."""
        if shown:
            # CREATE OR REPLACE VIEW cannot drop a column.
            self._relations.run(base, f"DROP VIEW {view.qualified}")
            table.relation = table.base
            table.columns = [each for each in table.columns if each not in shown]
        self._views.write(table)

    def _drop_view(self, table: EncryptedTable, base: Table, view: Table) -> None:
        """Drop the view, and give its privileges and its comments to the table."""

        def run(statement: str) -> None:
            self._relations.run(base, statement)

        names = {each.name: [each.name] for each in base.columns}
        copy_privileges(self._database, table.relation, table.base, names, run=run)
        self._comments.take(table, base)
        run(f"DROP VIEW {view.qualified}")
        self._views.drop_sealing_triggers(table, base)
        self._registry.remove_table(table)

    def _refuse_compound(self, table: EncryptedTable, column: EncryptedColumn) -> None:
        found = table.compound_index_with(column)
        if found is None:
            return
        first, index = found
        (row,) = self._database.query("SELECT $1::regclass::text AS name", ("oid", table.relation))
        arguments = ", ".join(map(quote_literal, (row["name"], first.name, COMPOUND)))
        raise UnsupportedError(
            f'cannot decrypt column "{column.name}" of {table.name}: its values are in the compound blind index '
            f'"{index.name}"',
            hint=f"Call {self._database.schema}.drop_blind_index({arguments}) first.",
        )

    def _take_name(self, table: EncryptedTable, base: Table, view: Table) -> None:
        """Give a table the name and the schema of its view; a partition has kept its name."""
        naming = self._relations.run_naming
        naming(base, base.schema, f"ALTER TABLE {base.qualified} RENAME TO {quote_name(table.name)}")
        if view.schema != base.schema:
            moved = f"{quote_name(base.schema)}.{quote_name(table.name)}"
            naming(base, view.schema, f"ALTER TABLE {moved} SET SCHEMA {quote_name(view.schema)}")
        statement = partman_update(self._relations, base.schema, base.name, table.name)
        if base.kind == "p" and statement is not None:
            self._database.notice(f"pg_partman manages {base.name}: {statement}")

    def _dependents(self, table: EncryptedTable, column: EncryptedColumn, base: Table) -> list[DependentObject]:
        """Return the dependents of the view, if the view will be dropped together with the encrypted column.

        Raises:
            UnsupportedError: a dependent of the view could not be created again.
        """
        is_last = len(table.encrypted) == 1
        shown = _shown(column)
        if not (is_last or shown):
            return []
        objects = self._objects.of_relation(table.relation)
        if is_last and objects and table.detached_from is not None:
            raise UnsupportedError(
                f"{', '.join(one.name for one in objects)} would be left without view {table.name}",
                hint="Drop these objects first: the table has another name than the view.",
            )
        if is_last:
            self._objects.find_obstacles(objects, base, becomes_view=False)
        check(objects, shown)
        return objects

    def _restore(self, base: Table, constraint: Constraint, options: IndexOptions, path: str | None) -> None:
        naming = self._relations.run_naming
        name = quote_name(constraint.name)
        if constraint.kind == "c":
            with self._relations.users_path(base, path):
                self._validate(base, name)
            if constraint.comment is not None:
                comment = quote_literal(constraint.comment)
                self._relations.run(base, f"COMMENT ON CONSTRAINT {name} ON {base.qualified} IS {comment}")
            return
        is_constraint = constraint.definition.startswith("UNIQUE")
        if is_constraint:
            added = f"{constraint.definition}{options.of_constraint()}"
            naming(base, base.schema, f"ALTER TABLE {base.qualified} ADD CONSTRAINT {name} {added}")
        else:
            self._restore_index(base, constraint, options)
        for statement in options.later(base, constraint.name, is_constraint=is_constraint):
            self._relations.run(base, statement)

    def _restore_index(self, base: Table, constraint: Constraint, options: IndexOptions) -> None:
        def create(columns: str) -> None:
            self._relations.run_naming(base, base.schema, options.create(base, constraint.name, columns))

        plain = f"({', '.join(quote_name(each) for each in constraint.columns)})"
        as_it_was = columns_in(constraint.definition) or plain
        try:
            create(as_it_was)
        except Exception as error:
            if getattr(error, "sqlstate", None) not in _GONE or as_it_was == plain:
                raise
            # To fail here would leave the column half decrypted for good.
            create(plain)
            self._database.warn(
                f'index "{constraint.name}" of {base} has the usual collation and operator class: those that '
                "it had do not exist any more",
                "Create it again, if it needs others.",
            )

    def _validate(self, base: Table, name: str) -> None:
        try:
            self._relations.run(base, f"ALTER TABLE {base.qualified} VALIDATE CONSTRAINT {name}")
        except Exception as error:
            if getattr(error, "sqlstate", None) != _CHECK_VIOLATION:
                raise
            # It was NOT VALID before the encryption. To fail here would leave the column half decrypted for good.
            self._database.warn(
                f"constraint {name} of {base} stays NOT VALID, since a row violates it",
                "Change the row, and call ALTER TABLE ... VALIDATE CONSTRAINT.",
            )


def _changes(column: EncryptedColumn, going: Collection[str]) -> list[str]:
    """Return the parts of the ALTER TABLE that drops columns, and gives a column its default and its NOT NULL."""
    name = quote_name(column.name)
    changes = [f"DROP COLUMN {quote_name(each)}" for each in sorted(going)]
    if column.default is not None:
        changes.append(f"ALTER COLUMN {name} SET DEFAULT {column.default}")
    if column.not_null:
        changes.append(f"ALTER COLUMN {name} SET NOT NULL")
    return changes


def _shown(column: EncryptedColumn) -> list[str]:
    """Return the columns of the view that have the blind indexes of a column."""
    return [index.name for index in column.indexes if index.is_shown]
