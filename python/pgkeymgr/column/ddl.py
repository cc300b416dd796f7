"""Lets the views of encrypted tables follow DDL on the base tables and on the views.

The event triggers call this code as the extension's owner. It writes the registry and the functions of the
triggers with the rights of the extension's owner, and runs all DDL on the user's objects with the rights of the
table's owner. A fault in a table is an error for a statement on this table, and for each statement of its owner.
Other statements get a warning.
"""

from contextlib import nullcontext
from typing import NamedTuple

from ..errors import PrivilegeError, UnsupportedError
from ..key.arguments import refuse_null
from .base_table import IS_ABOUT, base_table_obstacles
from .catalog import Table, describe
from .comments import Comments
from .definition import Definition
from .dependent_objects import Address, DependentObject, DependentObjects, check
from .detached import DetachedPartitions
from .encrypted_table import EncryptedColumn, EncryptedTable
from .kept_functions import KeptFunctions
from .obstacles import trigger_obstacles
from .partitions import tree_of
from .quoting import quote_name
from .relations import Relations
from .server_errors import is_intervention
from .structure import Structures, text_casts
from .view import Views

TABLE = "table"
INDEX = "index"
GRANT = "grant"
TYPE = "type"
SCHEMA = "schema"
NAME = "name"
FUNCTION = "function"
DEPENDENT = "dependent"
CAST = "cast"
COMMENT = "comment"

_HINT_FOR_DEPENDENTS = "The base table has NULL in the column. The view has the values."
_HINT_FOR_CONSTRAINTS = (
    "A CHECK or UNIQUE constraint that the column has before encrypt_column() is kept: call decrypt_column(), add "
    "the constraint, and call encrypt_column() and migrate_column() again."
)


class Ddl:
    """The work of the event triggers, for one session."""

    def __init__(self, relations: Relations, views: Views, detached: DetachedPartitions) -> None:
        self._relations = relations
        self._detached = detached
        self._views = views
        self._comments = Comments(relations)
        self._database = relations.database
        self._registry = relations.registry
        self._structures = Structures(relations.database)
        self._objects = DependentObjects(relations.database)
        self._before: dict[int, _Before] = {}

    def _before_ddl(self, bases: list[int], is_drop: bool, invoker: int) -> None:
        """Remember the dependents of the views of some tables; called by an event trigger before ALTER TABLE.

        Args:
            bases: the OIDs of the base tables whose views have dependents.
            is_drop: whether the client's statement may drop a column.
            invoker: the OID of the role of the statement. It can drop columns of its own tables only.
        """
        if self._relations.is_busy:
            return
        transaction = self._database.transaction()
        self._before = {base: _Before(transaction, [], None) for base in bases}
        if not is_drop:
            return
        for row in self._database.query(
            "SELECT c.oid::bigint AS base FROM pg_class AS c WHERE c.oid = ANY ($1)"
            " AND pg_has_role($2, c.relowner, 'USAGE')",
            ("oid[]", bases),
            ("oid", invoker),
        ):
            self._remember_objects(row["base"], transaction)

    def _remember_objects(self, base: int, transaction: int) -> None:
        table = self._registry.find(base)
        if table is None:
            return
        # A definition is read under a lock. Somebody may keep the object locked, or make it unreadable, and the
        # statement need not be on this table. If it is, it is refused.
        try:
            with self._relations.short_waits():
                objects = self._objects.of_relation(table.relation)
                self._objects.note_columns(objects, base)
        except Exception as error:
            if is_intervention(error):
                raise
            return
        self._before[base] = _Before(transaction, list(table.columns), objects)

    def _after_ddl(self, base: int, altered: int, command: str, kind: str, invoker: int) -> None:
        """Follow DDL that concerns a table with encrypted columns; called by the event triggers.

        Args:
            base: the OID of the base table.
            altered: the OID of the object that was altered; after GRANT and REVOKE, that of the view if privileges
                on it have changed in this transaction, else that of the base table.
            command: the command tag, such as ``ALTER TABLE``.
            kind: the object of the statement: TABLE for the table, its view or a trigger of it, INDEX, GRANT, TYPE
                for a type that values depend on, SCHEMA for a schema that text in the registry or in the triggers'
                functions names, NAME for an object that was dropped or renamed, and that a constraint in the
                registry may name, or for an index that the triggers may have found rows by, FUNCTION for the
                function of a trigger of the table, DEPENDENT for an object that reads an encrypted column of the
                base table, CAST for a cast of a type that values depend on, COMMENT for a comment on the table,
                its view, or a column.
            invoker: the OID of the role whose statement it was.

        Raises:
            UnsupportedError: the DDL would have made the table unusable.
            PrivilegeError: the view cannot follow with the rights of the table's owner.
        """
        # Our own GRANTs are many, and our own DROPs are of what comes back. Code of a table's owner can alter
        # something else in the meantime, such as a type that the values of others have.
        if self._relations.is_busy_with(base) or (self._relations.is_busy and kind in (GRANT, NAME)):
            return
        # The statement of another role does not wait for what the owner of the table is doing.
        is_own = self._is_to_know(base, altered, command, kind, invoker)
        try:
            with self._relations.following(base), nullcontext() if is_own else self._relations.short_waits():
                # One subtransaction holds all changes, so that an error undoes all of them.
                self._database.as_owner(lambda: self._follow(base, altered, command, kind, invoker))
        except Exception as error:
            if is_intervention(error) or is_own or isinstance(error, _UnreadableError):
                raise
            table = describe(self._database, base)
            self._database.warn(
                f"{table}, which has encrypted columns, does not follow: {error}",
                "Its owner should call refresh_encrypted_view().",
            )

    def _is_to_know(self, base: int, altered: int, command: str, kind: str, invoker: int) -> bool:
        """Return whether the role of a statement gets an error, and not a warning, about a fault in a table."""
        # A role that has the privilege TRIGGER, but does not own the table, can create triggers, too.
        if kind in (INDEX, GRANT, DEPENDENT, CAST) or command == "CREATE TRIGGER":
            return True
        role = invoker
        if kind == FUNCTION:
            # The owner of a table can give it a trigger with a function of anybody's.
            (row,) = self._database.query(
                "SELECT proowner::bigint AS owner FROM pg_proc WHERE oid = $1", ("oid", altered)
            )
            role = row["owner"]
        return self._acts_as_owner(role, base, even_if_superuser=kind == TABLE)

    def _acts_as_owner(self, role: int, base: int, *, even_if_superuser: bool = False) -> bool:
        """Return whether a role has the rights of the owner of a table.

        Args:
            role: the OID of the role.
            base: the OID of the table.
            even_if_superuser: whether a superuser counts for every table, as for pg_has_role(). Otherwise, a
                superuser counts only as the owner itself.
        """
        rows = self._database.query(
            "SELECT FROM pg_class AS c, pg_roles AS r WHERE c.oid = $1 AND r.oid = $2"
            " AND pg_has_role(r.oid, c.relowner, 'USAGE') AND ($3 OR r.oid = c.relowner OR NOT r.rolsuper)",
            ("oid", base),
            ("oid", role),
            ("boolean", even_if_superuser),
        )
        return bool(rows)

    def _follow(self, base: int, altered: int, command: str, kind: str, invoker: int) -> None:
        table = self._registry.find(base)
        if table is not None and kind in (INDEX, TYPE, SCHEMA, NAME):
            # The statement may keep no lock on the table, as CREATE INDEX CONCURRENTLY does at its end.
            # To describe the table waits for a session that is changing it.
            self._views.described(table)
            describe(self._database, base)
            table = self._registry.find(base)
        if table is None:
            return
        self._relations.check_version(table)
        view = self._views.described(table)
        if not (kind == TABLE and command.startswith("ALTER")):
            self._detached.note_first(table)
        if kind == INDEX:
            described = self._relations.described(table.base)
            self._refuse_index(table)
            self._refuse_obstacles(table, described)
            # The triggers find a row by its key while a unique index is there.
            if view is not None and self._views.is_complete(table) and not self._views.is_being_restored(table):
                self._views.write_functions(table, described)
        elif kind == GRANT:
            if view is not None:
                self._views.follow_grant(table, command, is_of_base=altered != view.oid)
        elif kind == COMMENT:
            if view is not None and not self._views.is_being_restored(table):
                self._comments.follow(table, is_of_view=altered == view.oid)
        elif kind in (FUNCTION, CAST, DEPENDENT):
            self._refuse_object(table, kind)
        elif kind in (TYPE, SCHEMA, NAME):
            self._follow_names(table, view, invoker, is_type=kind == TYPE)
        elif view is None or (
            self._views.is_complete(table)
            and (not self._views.is_being_restored(table) or self._views.is_behind(table, view))
        ):
            self._follow_table(table, view, altered, command, invoker)

    def _refuse_object(self, table: EncryptedTable, kind: str) -> None:
        """Refuse an object that finds no values in the base table, or a cast that makes other texts of values."""
        base = self._relations.described(table.base)
        if kind == FUNCTION:
            self._refuse_triggers(table, base)
        elif kind == CAST:
            self._refuse_casts(table, base)
        elif not self._views.is_being_restored(table):
            self._refuse_obstacles(table, base, hint=_HINT_FOR_DEPENDENTS)

    def _follow_names(self, table: EncryptedTable, view: Table | None, invoker: int, *, is_type: bool) -> None:
        """Follow DDL on something that a table's functions and constraints name; its view knows it by its OID."""
        base = self._relations.described(table.base)
        if is_type:
            try:
                self._structures.check(table, base)
            except UnsupportedError as error:
                raise _UnreadableError(error.message, hint=error.hint) from None
        if view is not None and self._views.is_complete(table):
            self._views.take_defaults(table, view)
            self._check_constraints(table, invoker)
            self._views.write_functions(table, base)

    def _follow_table(
        self, table: EncryptedTable, view: Table | None, altered: int, command: str, invoker: int
    ) -> None:
        base = self._relations.described(table.base)
        is_of_partitions = base.kind == "p" and altered not in (table.base, table.relation)
        if not self._views.is_being_restored(table):
            # A statement that attaches or detaches a partition does nothing else.
            is_of_partitions |= self._detached.follow(table, base, is_altered=command.startswith("ALTER"))
        self._check(table)
        self._refuse_index(table)
        self._follow_not_null(table)
        base = self._relations.described(table.base)
        if command == "CREATE TRIGGER":
            self._refuse_triggers(table, base)
        if view is None:
            table.relation = table.base
        else:
            view = self._move_defaults(table, base, view)
            self._views.take_defaults(table, view)
            self._follow_owner(base, view, altered, invoker)
            if altered == view.oid:
                self._follow_view(table, view)
            else:
                self._views.follow_rename(table)
        if view is not None and is_of_partitions and not self._views.is_behind(table, view):
            # PostgreSQL attaches a partition beside queries on the table. To replace the view would wait for them.
            self._views.write_functions(table, base)
        else:
            self._views.write(table)
        if view is None:
            self._bring_back(table)
        self._check_constraints(table, invoker)
        if command.startswith("ALTER"):
            self._views.grant_schema(table)  # to a new owner

    def alter_encrypted_table(self, relation: str, action: str) -> str:
        """Run ALTER TABLE on a base table without its view, and create the view and its dependents again.

        PostgreSQL refuses to change the type of a column that a view has, or to drop the column without the view.

        Args:
            relation: the view, or the base table.
            action: the statement after the name of the table, such as ``ALTER COLUMN a TYPE bigint``.

        Returns:
            The view.

        Raises:
            DataError: an argument is NULL.
            UndefinedError: the table has no encrypted columns.
            PrivilegeError: the current user does not own it.
            UnsupportedError: the table would be unusable, or a dependent of the view cannot be created again.
        """
        refuse_null(action=action)
        table, base = self._relations.lock_table(relation)
        view = self._relations.described(table.relation)
        before = list(table.columns)
        with self._relations.busy(table.base):
            objects = self._objects.of_relation(table.relation)
            check(objects)
            dropped = self._objects.drop(objects)
            self._views.take_defaults(table, view)
            self._relations.run(base, f"DROP VIEW {view.qualified}")
            self._relations.run(base, f"ALTER TABLE {base.qualified} {action}")
            self._check_altered(table)
            table.relation = table.base
            self._views.write(table)
            gone = set(before) - set(table.columns)
            lost = self._lost(dropped, gone)
            self._views.bring_back(table, [one for one in dropped if one.address not in lost])
            self._check_constraints(table)
            self._views.follow_privileges(table)
        for one in lost.values():
            self._database.notice(f"{one.name} was dropped, because it used a dropped column")
        return str(table.relation)

    def _check_altered(self, table: EncryptedTable) -> None:
        self._check(table)
        self._refuse_index(table)
        self._follow_not_null(table)
        base = self._relations.described(table.base)
        for column in table.encrypted.values():
            if base.column(column.name).sql_type != column.sql_type:
                raise UnsupportedError(
                    f'column "{column.name}" of {table.name} is encrypted: its type cannot be changed',
                    hint="Call decrypt_column(), change the type, and encrypt the column again.",
                )
        there = {column.name for column in base.columns}
        shown = set(table.columns) - table.encrypted.keys() - table.shown_blind_indexes().keys()
        if shown - there and there - shown - table.own_columns():
            raise UnsupportedError(
                f"columns of {base} were renamed, or dropped and added at once",
                hint="Call the function for each action, and run ALTER TABLE ... RENAME COLUMN by itself.",
            )

    @staticmethod
    def _lost(objects: list[DependentObject], gone: set[str]) -> dict[Address, DependentObject]:
        """Return the objects that use columns that are gone, or need such an object."""
        lost: dict[Address, DependentObject] = {}
        for one in objects:
            if one.columns & gone or one.needs & lost.keys():
                lost[one.address] = one
        return lost

    def _bring_back(self, table: EncryptedTable) -> None:
        """Create the objects that DROP COLUMN ... CASCADE has dropped only because it dropped the view."""
        before = self._before.pop(table.base, None)
        # The note is of an earlier statement, if the event trigger was disabled in between.
        if before is None or before.transaction != self._database.transaction():
            return
        if before.objects is None:
            raise UnsupportedError(
                f"cannot drop the column: objects that depend on view {table.name} would be lost",
                hint="Run ALTER TABLE ... DROP COLUMN ... CASCADE as a statement of its own, not in a function.",
            )
        lost = self._lost(before.objects, set(before.columns) - set(table.columns))
        again = [one for one in before.objects if one.address not in lost and not self._objects.is_there(one)]
        if hindered := [one for one in again if one.obstacle]:
            raise UnsupportedError(
                f"objects that depend on view {table.name} cannot be created again: "
                + "; ".join(str(one.obstacle) for one in hindered)
            )
        self._views.bring_back(table, again)

    def _follow_owner(self, base: Table, view: Table, altered: int, invoker: int) -> None:
        """Make the owners of a view and its base table the same, after the owner of one of them was changed.

        PostgreSQL requires the rights of both owners for this. The extension's owner does it, for a user who has
        these rights.

        Raises:
            PrivilegeError: the user of the statement does not have these rights.
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
            raise PrivilegeError(f"must be a member of the owners of both {base} and {view}")
        kind, target, owner = ("TABLE", base, view.owner) if altered == view.oid else ("VIEW", view, base.owner)
        self._database.run(f"ALTER {kind} {target.qualified} OWNER TO {quote_name(owner)}")

    def _refuse_obstacles(self, table: EncryptedTable, base: Table, hint: str = _HINT_FOR_CONSTRAINTS) -> None:
        obstacles = base_table_obstacles(self._database, table, base)
        if obstacles:
            raise UnsupportedError(
                f"{table.name} has encrypted columns: {'; '.join(obstacles)}",
                hint=hint if any(IS_ABOUT in each for each in obstacles) else None,
            )

    def _refuse_casts(self, table: EncryptedTable, base: Table) -> None:
        """Refuse a cast that would make other texts of encrypted values, or of keys that they are bound to."""
        columns = table.encrypted.values()
        names = {*table.encrypted, *table.key_columns, *(column.key_by for column in columns if column.key_by)}
        types = [column.type_oid for column in base.columns if column.name in names]
        if functions := text_casts(self._database, types):
            raise UnsupportedError(
                f"encrypted values of {table.name} would become unreadable: function {functions[0]} of a cast "
                "would make another text of a value, or another value of its text"
            )

    def _refuse_triggers(self, table: EncryptedTable, base: Table) -> None:
        """Refuse triggers that encrypt_column() would refuse: later, they find no values in the column either."""
        for name in table.encrypted:
            if found := trigger_obstacles(self._database, base, name, table.name):
                raise UnsupportedError(
                    f'column "{name}" of {table.name} is encrypted, and its base table has NULL there: '
                    + "; ".join(obstacle.reason for obstacle in found)
                )

    def _follow_not_null(self, table: EncryptedTable) -> None:
        # Until all values are encrypted, the ciphertext column has no NOT NULL.
        base = self._relations.described(table.base)
        for column in table.encrypted.values():
            not_null = base.column(column.cipher).not_null
            if column.is_settled and column.not_null is not not_null:
                column.not_null = not_null
                self._registry.save_column(column)

    def _move_defaults(self, table: EncryptedTable, base: Table, view: Table) -> Table:
        """Give the view the defaults that encrypted columns have got in the base table, and return the view.

        In the base table, defaults would apply only to rows that are written to the base table itself.
        """
        for column in table.encrypted.values():
            default = base.column(column.name).default
            if default is None or column.name not in {each.name for each in view.columns}:
                continue
            name = quote_name(column.name)
            self._relations.run(base, f"ALTER VIEW {view.qualified} ALTER COLUMN {name} SET DEFAULT {default}")
            self._relations.run(base, f"ALTER TABLE {base.qualified} ALTER COLUMN {name} DROP DEFAULT")
        return self._relations.described(view.oid)

    def _refuse_index(self, table: EncryptedTable) -> None:
        tree = tree_of(self._database, self._relations.described(table.base))
        for column in table.encrypted.values():
            if column.deterministic:
                continue
            rows = self._database.query(
                "SELECT ic.relname::text AS name FROM pg_index AS i JOIN pg_class AS ic ON ic.oid = i.indexrelid"
                " JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])"
                " WHERE i.indrelid = ANY ($1) AND a.attname = $2 ORDER BY i.indrelid = $3 DESC, 1",
                ("oid[]", tree),
                ("text", column.cipher),
                ("oid", table.base),
            )
            if rows:
                raise UnsupportedError(
                    f'index "{rows[0]["name"]}" on the ciphertext of column "{column.name}" of {table.name} '
                    "would be useless: equal values have different ciphertexts",
                    hint="add_blind_index() gives equality search.",
                )

    def _check(self, table: EncryptedTable) -> None:
        """Refuse a change that made the table unusable, or its rows unreadable."""
        base = self._relations.described(table.base)
        there = {column.name for column in base.columns}
        lost = sorted(table.own_columns() - there)
        if lost:
            raise UnsupportedError(
                f'column "{lost[0]}" of {base} is pgkeymgr\'s own',
                hint="decrypt_column() and drop_blind_index() drop such columns.",
            )
        self._relations.check_base(table, base)
        self._structures.check(table, base)
        self._refuse_obstacles(table, base)
        self._relations.check_row_security(table, base)
        # A missing column beside a new column was renamed. The code below renames it in the registry, too.
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
                    hint="It is part of the primary key, is named by key_by, or is in a constraint with an "
                    "encrypted column.",
                )

    def _check_constraints(self, table: EncryptedTable, invoker: int = 0) -> None:
        # The registry keeps the constraints as text, and PostgreSQL renames no type or function in that.
        base = self._relations.described(table.base)
        body = Definition(table, base, self._database.schema).check_query()
        if body is None or not self._may_parse(body, base, invoker):
            return
        try:
            # Parsing a literal calls its type's input function: '{1}'::domain[] runs the CHECK of the domain.
            with self._relations.owners_rights(base):
                self._database.parse(body)
        except Exception as error:
            raise UnsupportedError(
                f"a CHECK constraint of encrypted columns of {table.name} would become invalid: {error}"
            ) from None

    def _may_parse(self, body: str, base: Table, invoker: int) -> bool:
        """Return whether a text can be parsed in a statement: code of the owner's runs in no statement of others.

        The code could run for any time, and the other role could have changed in this session what it calls.

        Args:
            body: the text.
            base: the table, with the rights of whose owner it is parsed.
            invoker: the role whose statement it is; 0 for the owner.
        """
        if not invoker or self._acts_as_owner(invoker, base.oid):
            return True
        return not KeptFunctions(self._database).checks_literals(body)

    def _follow_view(self, table: EncryptedTable, view: Table) -> None:
        """Follow a change of the view: its name, names of its columns, and defaults."""
        base = self._relations.described(table.base)
        table.name = view.name
        now = [column.name for column in view.columns]
        for old, new in zip(table.columns, now, strict=True):
            if old == new:
                continue
            if old in table.shown_blind_indexes():
                raise UnsupportedError(
                    f'column "{old}" of {view} cannot be renamed: its name follows the name of another column'
                )
            encrypted = table.encrypted.get(old)
            if encrypted is None:
                self._views.rename_plain(table, old, new)
                self._relations.run(
                    base, f"ALTER TABLE {base.qualified} RENAME COLUMN {quote_name(old)} TO {quote_name(new)}"
                )
                continue
            found = ", ".join(f'"{each.name}"' for each in table.constraints if old in each.columns)
            if found:
                raise UnsupportedError(
                    f'column "{old}" of {view} cannot be renamed: a constraint mentions it: {found}',
                    hint="Call decrypt_column(), rename the column, and encrypt it again.",
                )
            self._rename_encrypted(table, base, encrypted, new)
        self._registry.save_table(table)
        base = self._relations.described(table.base)
        for column in view.columns:
            if column.name not in table.encrypted.keys() | table.shown_blind_indexes().keys():
                self._follow_default(base, column.name, column.default)

    def _rename_encrypted(self, table: EncryptedTable, base: Table, column: EncryptedColumn, new: str) -> None:
        """Give an encrypted column the name that it has in the view, in the base table and in the registry."""
        old, column.name = column.name, new
        self._relations.run(
            base, f"ALTER TABLE {base.qualified} RENAME COLUMN {quote_name(old)} TO {quote_name(new)}"
        )
        table.columns = [new if name == old else name for name in table.columns]
        self._registry.save_column(column)
        table.encrypted[new] = table.encrypted.pop(old)
        for first in table.encrypted.values():
            for index in first.compound_indexes:
                index.with_columns = [new if name == old else name for name in index.with_columns]
            if first.compound is not None:
                self._registry.save_terms(first)

    def _follow_default(self, base: Table, name: str, default: str | None) -> None:
        column = base.column(name)
        if column.identity or column.generated is not None or column.default == default:
            return
        change = "DROP DEFAULT" if default is None else f"SET DEFAULT {default}"
        self._relations.run(base, f"ALTER TABLE {base.qualified} ALTER COLUMN {quote_name(name)} {change}")


class _Before(NamedTuple):
    """The objects that depended on a view before an ALTER TABLE.

    Attributes:
        transaction: the transaction of the statement.
        columns: the columns of the view.
        objects: the objects that depended on the view, in the order in which they need each other; None if they
            were not read.
    """

    transaction: int
    columns: list[str]
    objects: list[DependentObject] | None


class _UnreadableError(UnsupportedError):
    """Rows could not be read any more. The role that alters their type gets the error, too."""
