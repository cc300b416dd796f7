"""DDL on tables with encrypted columns, after which their views follow."""

from ..errors import UnsupportedError
from .base_table import base_table_obstacles
from .catalog import Table, describe
from .definition import Definition
from .quoting import quote_name
from .registry import ColumnState, EncryptedTable
from .relations import Relations
from .view import Views


class Ddl:
    """What the event triggers do, for one session."""

    def __init__(self, relations: Relations, views: Views) -> None:
        self._relations = relations
        self._views = views
        self._database = relations.database
        self._registry = relations.registry

    def _after_ddl(self, base: int, altered: int | None, command: str) -> None:
        """Follow DDL on a table with encrypted columns; called by the event triggers, as the extension's owner.

        Args:
            base: the OID of the base table.
            altered: the OID of the relation that was altered, or None.
            command: such as ``ALTER TABLE``.

        Raises:
            UnsupportedError: the DDL would have made the table unusable.
        """
        if self._relations.is_busy:
            return
        table = self._registry.find(base)
        if table is None:
            return
        with self._relations.busy():
            self._check(table)
            self._refuse_index(table)
            self._follow_not_null(table)
            if command == "CREATE INDEX":
                return
            changed = describe(self._database, altered) if altered else None
            view = describe(self._database, table.relation) if table.relation != table.base else None
            if view is not None:
                self._follow_defaults_of_encrypted(table, view)
            if view is None:
                table.relation = table.base
            elif command in ("GRANT", "REVOKE"):
                if not self._views.follow_grant(table, command):
                    return
            elif changed is not None and changed.oid == view.oid:
                self._follow_view(table, view)
            else:
                self._follow_base(table)
            self._views.write(table)
            self._check_constraints(table)
            if command.startswith("ALTER"):
                self._views.grant_schema(table)  # to a new owner

    def _follow_not_null(self, table: EncryptedTable) -> None:
        # Before all values are encrypted, the ciphertext column has no NOT NULL to follow.
        base = self._relations.described(table.base)
        for column in table.encrypted.values():
            is_settled = column.state in (ColumnState.ENCRYPTED, ColumnState.ROTATING)
            not_null = base.column(column.cipher).not_null
            if is_settled and column.not_null is not not_null:
                column.not_null = not_null
                self._registry.save_column(column)

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
                    f'index "{rows[0]["name"]}" on the ciphertext of column "{column.name}" of {table.name} '
                    "could find "
                    "nothing: each ciphertext is another one",
                    hint="add_blind_index() gives equality search.",
                )

    def _check(self, table: EncryptedTable) -> None:
        """Refuse what would have made the table unusable, or its rows unreadable."""
        base = self._relations.described(table.base)
        there = {column.name for column in base.columns}
        lost = sorted(table.own_columns() - there)
        if lost:
            raise UnsupportedError(
                f'column "{lost[0]}" of {base} is pgkeymgr\'s own',
                hint="decrypt_column() and drop_blind_index() take such columns away.",
            )
        obstacles = base_table_obstacles(self._database, table, base)
        if obstacles:
            raise UnsupportedError(f"{table.name} has encrypted columns: {'; '.join(obstacles)}")
        if base.has_row_security and base.has_column_grants:
            raise UnsupportedError(
                f"{table.name} has encrypted columns: row-level security and privileges on single columns of it "
                "cannot both be honoured"
            )
        # A column that is gone and one that is new: it was renamed, and its mentions are, below.
        if describe(self._database, table.relation) is None:
            needed = {*table.key_columns}
            for column in table.encrypted.values():
                needed |= {column.key_by} if column.key_by else set()
            for constraint in table.constraints:
                needed |= set(constraint.columns)
            missing = sorted(needed - there - table.encrypted.keys())
            if missing:
                raise UnsupportedError(
                    f'column "{missing[0]}" of {base} is needed by its encrypted columns',
                    hint="Their ciphertexts are bound to it, their keys follow from it, or a constraint has both.",
                )

    def _check_constraints(self, table: EncryptedTable) -> None:
        # They are text, which does not follow when a type or a function is renamed.
        base = self._relations.described(table.base)
        body = Definition(table, base, self._database.schema).check_query()
        if body is None:
            return
        try:
            self._database.parse(body)
        except Exception as error:
            raise UnsupportedError(
                f"a CHECK constraint of encrypted columns of {table.name} could not be checked any more: {error}"
            ) from None

    def _follow_defaults_of_encrypted(self, table: EncryptedTable, view: Table) -> None:
        # In the registry they are text, which does not follow when a type or a function is renamed.
        for column in view.columns:
            encrypted = table.encrypted.get(column.name)
            if encrypted is not None and encrypted.default != column.default:
                encrypted.default = column.default
                self._registry.save_column(encrypted)

    def _follow_base(self, table: EncryptedTable) -> None:
        there = {column.name for column in self._relations.described(table.base).columns}
        shown = set(table.columns) - table.encrypted.keys() - table.shown_blind_indexes().keys()
        lost, new = sorted(shown - there), sorted(there - shown - table.own_columns())
        if len(lost) == 1 and len(new) == 1:
            self._rename_plain(table, lost[0], new[0])
            view = self._relations.described(table.relation)
            self._database.run(
                f"ALTER VIEW {view.qualified} RENAME COLUMN {quote_name(lost[0])} TO {quote_name(new[0])}"
            )

    def _rename_plain(self, table: EncryptedTable, old: str, new: str) -> None:
        for constraint in table.constraints:
            if old in constraint.columns:
                raise UnsupportedError(
                    f'column "{old}" of {table.name} cannot be renamed: constraint "{constraint.name}" of '
                    "an encrypted "
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
        base = self._relations.described(table.base)
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
            encrypted.name = new
            self._database.run(
                f"ALTER TABLE {base.qualified} RENAME COLUMN {quote_name(old)} TO {quote_name(new)}"
            )
            table.columns = [new if name == old else name for name in table.columns]
            self._registry.save_column(encrypted)
            table.encrypted[new] = table.encrypted.pop(old)
        self._registry.save_table(table)
        base = self._relations.described(table.base)
        for column in view.columns:
            if column.name not in table.encrypted.keys() | table.shown_blind_indexes().keys():
                self._follow_default(base, column.name, column.default)
        if view.owner != base.owner:
            self._database.run(f"ALTER TABLE {base.qualified} OWNER TO {quote_name(view.owner)}")

    def _follow_default(self, base: Table, name: str, default: str | None) -> None:
        column = base.column(name)
        if column.identity or column.generated is not None or column.default == default:
            return
        change = "DROP DEFAULT" if default is None else f"SET DEFAULT {default}"
        self._database.run(f"ALTER TABLE {base.qualified} ALTER COLUMN {quote_name(name)} {change}")
