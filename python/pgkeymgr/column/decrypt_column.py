"""A column made a plain one again."""

from ..key.table import KeyTable
from .blind_index import BlindIndexes
from .catalog import Table
from .privileges import copy_privileges
from .quoting import quote_name
from .registry import ColumnState, Constraint, EncryptedColumn, EncryptedTable
from .relations import Relations
from .view import Views


class DecryptColumn:
    """How columns become plain again, for one session."""

    def __init__(
        self,
        relations: Relations,
        views: Views,
        blind_indexes: BlindIndexes,
        keys: KeyTable,
    ) -> None:
        self._relations = relations
        self._views = views
        self._blind_indexes = blind_indexes
        self._keys = keys
        self._database = relations.database
        self._registry = relations.registry

    def start(self, table: EncryptedTable, column: EncryptedColumn) -> None:
        """Let a column's plaintext into the base table again, where everything is written to from now on.

        Args:
            table: locked.
            column: an encrypted one of it.
        """
        with self._relations.busy():
            base = self._relations.described(table.base)
            if len(table.encrypted) == 1 or column.blind_is_shown:
                self._views.check_droppable(table)
            there = self._relations.names_of_constraints(base)
            changes = [f"DROP CONSTRAINT {quote_name(name)}" for name in column.constraints if name in there]
            changes.append(f"ALTER COLUMN {quote_name(column.cipher)} DROP NOT NULL")
            self._relations.run(base, f"ALTER TABLE {base.qualified} {', '.join(changes)}")
            column.state = ColumnState.DECRYPTING
            self._registry.save_column(column)
            self._views.write(table)
            self._views.follow_privileges(table)

    def end(self, table: EncryptedTable, column: EncryptedColumn) -> None:
        """Drop the ciphertext of a column whose values are all plain, and the view with the last one.

        Args:
            table: locked.
            column: in which no ciphertext is left.
        """
        with self._relations.busy():
            base = self._relations.described(table.base)

            def run(statement: str) -> None:
                self._relations.run(base, statement)

            view = self._relations.described(table.relation)
            table.going = {column.cipher} | ({column.blind} if column.blind else set())
            changes = [f"DROP COLUMN {quote_name(name)}" for name in sorted(table.going)]
            name = quote_name(column.name)
            if column.default is not None:
                changes.append(f"ALTER COLUMN {name} SET DEFAULT {column.default}")
            if column.not_null:
                changes.append(f"ALTER COLUMN {name} SET NOT NULL")
            self._registry.remove_column(table, column)
            restored = [c for c in table.constraints if not table.encrypted.keys() & set(c.columns)]
            replaced = [
                c for c in table.constraints if c.kind == "u" and c not in restored and column.name in c.columns
            ]
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
                    run(f"DROP VIEW {view.qualified}")
                    table.relation = table.base
                    table.columns = [each for each in table.columns if each != shown]
                self._views.write(table)
            else:
                names = {each.name: [each.name] for each in base.columns}
                names[column.name] = [column.name]
                copy_privileges(self._database, acl_source, table.base, names, run=run)
                run(f"DROP VIEW {view.qualified}")
                self._views.drop_sealing_triggers(base)
                self._registry.remove_table(table)
            run(f"ALTER TABLE {base.qualified} {', '.join(changes)}")
            for constraint in restored:
                self._restore(base, constraint)
            for constraint in replaced:
                self._blind_indexes.write_unique(base, table, constraint.name, constraint.columns)
            if column.blind_key is not None:
                self._keys.drop(self._keys.find(column.blind_key))
            if table.encrypted:
                self._views.write(table)
                return
            self._views.drop_functions(table)
            naming = self._relations.run_naming
            naming(base, base.schema, f"ALTER TABLE {base.qualified} RENAME TO {quote_name(table.name)}")
            if view.schema != base.schema:
                moved = f"{quote_name(base.schema)}.{quote_name(table.name)}"
                naming(base, view.schema, f"ALTER TABLE {moved} SET SCHEMA {quote_name(view.schema)}")

    def _restore(self, base: Table, constraint: Constraint) -> None:
        run, naming = self._relations.run, self._relations.run_naming
        name = quote_name(constraint.name)
        if constraint.kind == "c":
            run(base, f"ALTER TABLE {base.qualified} VALIDATE CONSTRAINT {name}")
        elif constraint.definition.startswith("UNIQUE"):
            naming(
                base, base.schema, f"ALTER TABLE {base.qualified} ADD CONSTRAINT {name} {constraint.definition}"
            )
        else:
            columns = ", ".join(quote_name(each) for each in constraint.columns)
            naming(base, base.schema, f"CREATE UNIQUE INDEX {name} ON {base.qualified} ({columns})")
