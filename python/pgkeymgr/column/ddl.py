"""DDL on tables with encrypted columns, after which their views follow.

The event triggers call this as the extension's owner. All further DDL on the user's objects runs with the rights
of the table's owner; the registry and the triggers' functions are the extension's own. A fault in a table is an
error for a statement on this table, and for its owner; the statements of others get a warning.
"""

from ..errors import PrivilegeError, UnsupportedError
from .base_table import base_table_obstacles
from .catalog import Table, describe
from .definition import Definition
from .quoting import quote_name
from .registry import ColumnState, EncryptedTable
from .relations import Relations
from .structure import Structures
from .view import Views

TABLE = "table"
INDEX = "index"
GRANT = "grant"
TYPE = "type"
SCHEMA = "schema"
_INTERVENTION = "57"  # the class of SQLSTATEs: cancelled, or to be shut down


class Ddl:
    """The work of the event triggers, for one session."""

    def __init__(self, relations: Relations, views: Views) -> None:
        self._relations = relations
        self._views = views
        self._database = relations.database
        self._registry = relations.registry
        self._structures = Structures(relations.database)

    def _after_ddl(self, base: int, altered: int, command: str, kind: str, invoker: int) -> None:
        """Follow DDL that concerns a table with encrypted columns; called by the event triggers.

        Args:
            base: the OID of the base table.
            altered: the OID of the object that was altered; after GRANT and REVOKE, that of the view if privileges
                on it have changed in this transaction, else that of the base table.
            command: such as ``ALTER TABLE``.
            kind: the object of the statement: TABLE for the table, its view or a trigger of it, INDEX, GRANT, TYPE
                for a type that values depend on, SCHEMA for a schema that text in the registry or in the triggers'
                functions names.
            invoker: the OID of the role whose statement it was.

        Raises:
            UnsupportedError: the DDL would have made the table unusable.
            PrivilegeError: the view cannot follow with the rights of the table's owner.
        """
        if self._relations.is_busy:
            return
        try:
            with self._relations.following():
                # All of it, or nothing.
                self._database.as_owner(lambda: self._follow(base, altered, command, kind, invoker))
        except Exception as error:
            sqlstate = str(getattr(error, "sqlstate", ""))
            if sqlstate.startswith(_INTERVENTION) or self._is_to_know(base, command, kind, invoker, error):
                raise
            table = describe(self._database, base)
            self._database.warn(
                f"{table}, which has encrypted columns, does not follow: {error}",
                "Its owner should call refresh_encrypted_view().",
            )

    def _is_to_know(self, base: int, command: str, kind: str, invoker: int, error: Exception) -> bool:
        """Return whether a statement is to fail for a fault in a table."""
        # Triggers are also made by roles that do not own the table, but may make triggers of it.
        if kind in (INDEX, GRANT) or command == "CREATE TRIGGER" or isinstance(error, _UnreadableError):
            return True
        # A superuser may do everything, but is not the owner of everything.
        rows = self._database.query(
            "SELECT FROM pg_class AS c, pg_roles AS r WHERE c.oid = $1 AND r.oid = $2"
            " AND pg_has_role(r.oid, c.relowner, 'USAGE') AND ($3 OR r.oid = c.relowner OR NOT r.rolsuper)",
            ("oid", base),
            ("oid", invoker),
            ("boolean", kind == TABLE),
        )
        return bool(rows)

    def _follow(self, base: int, altered: int, command: str, kind: str, invoker: int) -> None:
        table = self._registry.find(base)
        if table is None:
            return
        view = self._views.described(table)
        if kind == INDEX:
            self._refuse_index(table)
            self._refuse_obstacles(table, self._relations.described(table.base))
        elif kind == GRANT:
            if view is not None:
                self._views.follow_grant(table, command, is_of_base=altered != view.oid)
        elif kind in (TYPE, SCHEMA):
            self._follow_names(table, view, is_type=kind == TYPE)
        elif view is None or (
            self._views.is_complete(table)
            and (not self._views.is_being_restored(table) or self._views.is_behind(table, view))
        ):
            self._follow_table(table, view, altered, command, invoker)

    def _follow_names(self, table: EncryptedTable, view: Table | None, *, is_type: bool) -> None:
        """Follow DDL on something that a table's functions and constraints name; its view knows it by its OID."""
        base = self._relations.described(table.base)
        if is_type:
            try:
                self._structures.check(table, base)
            except UnsupportedError as error:
                raise _UnreadableError(error.message, hint=error.hint) from None
        if view is not None and self._views.is_complete(table):
            self._views.take_defaults(table, view)
            self._check_constraints(table)
            self._views.write_functions(table, base)

    def _follow_table(
        self, table: EncryptedTable, view: Table | None, altered: int, command: str, invoker: int
    ) -> None:
        self._check(table)
        self._refuse_index(table)
        self._follow_not_null(table)
        base = self._relations.described(table.base)
        if view is None:
            table.relation = table.base
        else:
            self._views.take_defaults(table, view)
            self._follow_owner(base, view, altered, invoker)
            if altered == view.oid:
                self._follow_view(table, view)
            else:
                self._follow_base(table)
        self._views.write(table)
        self._check_constraints(table)
        if command.startswith("ALTER"):
            self._views.grant_schema(table)  # to a new owner

    def _follow_owner(self, base: Table, view: Table, altered: int, invoker: int) -> None:
        """Give the base table the owner of its view, or the view that of its base table: which was altered.

        It takes the rights of both owners, as PostgreSQL asks for in the first place. So it is done as the
        extension's owner, for somebody who has those.

        Raises:
            PrivilegeError: the statement's user has them not.
        """
        if view.owner_oid == base.owner_oid:
            return
        (row,) = self._database.query(
            "SELECT pg_has_role($1, $2, 'USAGE') AND pg_has_role($1, $3, 'USAGE') AS may",
            ("oid", invoker),
            ("oid", view.owner_oid),
            ("oid", base.owner_oid),
        )
        if not row["may"]:
            raise PrivilegeError(
                f"must be able to act as the owners of {base} and of {view}, which are not the same"
            )
        kind, target, owner = ("TABLE", base, view.owner) if altered == view.oid else ("VIEW", view, base.owner)
        self._database.run(f"ALTER {kind} {target.qualified} OWNER TO {quote_name(owner)}")

    def _refuse_obstacles(self, table: EncryptedTable, base: Table) -> None:
        obstacles = base_table_obstacles(self._database, table, base)
        if obstacles:
            raise UnsupportedError(f"{table.name} has encrypted columns: {'; '.join(obstacles)}")

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
        self._relations.check_base(table, base)
        self._structures.check(table, base)
        self._refuse_obstacles(table, base)
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
            # Parsing calls the input functions of literals' types: '{1}'::domain[] runs the domain's CHECK.
            with self._relations.owners_rights(base):
                self._database.parse(body)
        except Exception as error:
            raise UnsupportedError(
                f"a CHECK constraint of encrypted columns of {table.name} could not be checked any more: {error}"
            ) from None

    def _follow_base(self, table: EncryptedTable) -> None:
        there = {column.name for column in self._relations.described(table.base).columns}
        shown = set(table.columns) - table.encrypted.keys() - table.shown_blind_indexes().keys()
        lost, new = sorted(shown - there), sorted(there - shown - table.own_columns())
        if len(lost) == 1 and len(new) == 1:
            self._rename_plain(table, lost[0], new[0])
            base = self._relations.described(table.base)
            view = self._relations.described(table.relation)
            self._relations.run(
                base, f"ALTER VIEW {view.qualified} RENAME COLUMN {quote_name(lost[0])} TO {quote_name(new[0])}"
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
                self._relations.run(
                    base, f"ALTER TABLE {base.qualified} RENAME COLUMN {quote_name(old)} TO {quote_name(new)}"
                )
                continue
            if any(old in constraint.columns for constraint in table.constraints):
                raise UnsupportedError(
                    f'column "{old}" of {view} cannot be renamed: a constraint mentions it',
                    hint="decrypt_column() makes it a plain column with its constraint. Rename and encrypt that.",
                )
            encrypted.name = new
            self._relations.run(
                base, f"ALTER TABLE {base.qualified} RENAME COLUMN {quote_name(old)} TO {quote_name(new)}"
            )
            table.columns = [new if name == old else name for name in table.columns]
            self._registry.save_column(encrypted)
            table.encrypted[new] = table.encrypted.pop(old)
        self._registry.save_table(table)
        base = self._relations.described(table.base)
        for column in view.columns:
            if column.name not in table.encrypted.keys() | table.shown_blind_indexes().keys():
                self._follow_default(base, column.name, column.default)

    def _follow_default(self, base: Table, name: str, default: str | None) -> None:
        column = base.column(name)
        if column.identity or column.generated is not None or column.default == default:
            return
        change = "DROP DEFAULT" if default is None else f"SET DEFAULT {default}"
        self._relations.run(base, f"ALTER TABLE {base.qualified} ALTER COLUMN {quote_name(name)} {change}")


class _UnreadableError(UnsupportedError):
    """Rows could not be read any more, which is for whoever alters their type to know, too."""
