"""Finds, locks and describes relations with encrypted columns, for their owners.

A user's table can contain code of its owner: CHECK constraints, domains, casts, index expressions, policies. So a
statement on it runs with the rights of the table's owner, regardless of the caller, and never with those of the
extension's owner.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from .. import __version__
from ..documents import page
from ..errors import (
    KeyStateError,
    PrivilegeError,
    UndefinedError,
    UnsupportedError,
)
from ..key.arguments import refuse_null
from ..key.database import Database, Rows
from ..key.table import TOKEN_KEY_TYPE, KeyTable
from .catalog import OWN_TRIGGERS, Table, describe
from .encrypted_table import EncryptedColumn, EncryptedTable
from .foreign_code import foreign_function
from .partitions import tree_of
from .quoting import quote_literal, quote_name
from .registry import Registry
from .server_errors import is_lock_timeout, without_values

_BYTEA_OID = 17
_WRITERS_TIMEOUT = "1s"
_SHORT_MILLISECONDS = 1000


class _WaitedError(Exception):
    """Ends a subtransaction in which a lock has been waited for."""


def users_path(database: Database, schema: str, path: str | None = None) -> str:
    """Return a search_path in which the code of users finds its objects, and PostgreSQL's own names come first.

    Args:
        database: the session.
        schema: the schema of the object that the code belongs to.
        path: the search_path of the session; None for its default with the schema.
    """
    if path is None:
        (row,) = database.query(
            "SELECT s.reset_val AS path FROM pg_catalog.pg_settings AS s"
            " WHERE s.name OPERATOR(pg_catalog.=) 'search_path'"
        )
        path = ", ".join(filter(None, (row["path"], quote_name(schema))))
    return ", ".join(filter(None, ("pg_catalog", path, "pg_temp")))


class Relations:
    """The relations of a database, for one session.

    Attributes:
        database: the session's.
        registry: the registry of encrypted columns.
        is_following: whether an event trigger is the caller, which has more rights than the statement's user.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.registry = Registry(database)
        self._busy_with: list[int] = []
        self.is_following = False
        self._short_waits_in = -1
        self._short_milliseconds = 0

    def resolve(self, relation: str) -> int:
        """Return the OID of a relation, which PL/Python gives as text or as a number in text."""
        refuse_null(relation=relation)
        if relation.isdigit():
            return int(relation)
        (row,) = self.database.query(
            "SELECT $1::pg_catalog.regclass::pg_catalog.oid::pg_catalog.int8 AS oid", ("text", relation)
        )
        return int(row["oid"])

    def encrypted_table(self, relation: str) -> EncryptedTable:
        """Find a table with encrypted columns.

        Raises:
            UndefinedError: the relation has no encrypted columns.
            KeyStateError: another version has made its view and its triggers.
        """
        oid = self.resolve(relation)
        table = self.registry.find(oid)
        if table is None:
            name = self.described(oid) if relation.isdigit() else relation
            raise UndefinedError(f"{name} has no encrypted columns")
        self.check_version(table)
        return table

    def check_version(self, table: EncryptedTable) -> None:
        """Refuse a table whose view and triggers another version has made.

        Raises:
            KeyStateError: another version has made its view and its triggers.
        """
        if table.made_by != __version__:
            raise KeyStateError(
                f"the update of {table.name} from pgkeymgr {table.made_by} is not finished",
                hint=f"A superuser must run: SELECT {self.database.schema}.finish_update();",
            )

    def encrypted_column(self, relation: str, column_name: str) -> tuple[EncryptedTable, EncryptedColumn]:
        """Find an encrypted column.

        Raises:
            DataError: an argument is NULL.
            UndefinedError: the column is not encrypted.
        """
        refuse_null(column_name=column_name)
        table = self.encrypted_table(relation)
        column = table.encrypted.get(column_name)
        if column is None:
            raise UndefinedError(f'column "{column_name}" of {table.name} is not encrypted')
        return table, column

    def described(self, oid: int) -> Table:
        """Read the description of an existing relation from the catalog.

        Raises:
            UndefinedError: the relation does not exist.
        """
        table = describe(self.database, oid)
        if table is None:
            raise UndefinedError(f"relation with OID {oid} does not exist any more")
        return table

    def leaves(self, base: Table) -> list[int]:
        """Return the OIDs of the tables that have the rows of a table: its partitions, or the table itself."""
        if base.kind != "p":
            return [base.oid]
        return [oid for oid, kind in self._tree(base) if kind != "p"]

    def partitioned_tables(self, base: Table) -> list[Table]:
        """Return a partitioned table and those of its partitions that are partitioned; else nothing."""
        if base.kind != "p":
            return []
        return [self.described(oid) for oid, kind in self._tree(base) if kind == "p"]

    def _tree(self, base: Table) -> list[tuple[int, str]]:
        rows = self.database.query(
            # A partition that is being detached has no new rows, and queries on the table do not read it.
            "WITH RECURSIVE tree (oid, depth) AS (SELECT $1, 0 UNION ALL SELECT i.inhrelid, t.depth + 1"
            " FROM tree AS t JOIN pg_inherits AS i ON i.inhparent = t.oid WHERE NOT i.inhdetachpending)"
            " SELECT c.oid::bigint AS oid, c.relkind::text AS kind FROM tree AS t"
            " JOIN pg_class AS c ON c.oid = t.oid ORDER BY t.depth, c.oid",
            ("oid", base.oid),
        )
        return [(row["oid"], row["kind"]) for row in rows]

    def check_owner(self, oid: int) -> None:
        """Refuse a user who does not own a relation.

        Raises:
            PrivilegeError: the current user is not a member of its owner.
            UndefinedError: there is no such relation.
        """
        rows = self.database.query(
            "SELECT pg_has_role(c.relowner, 'USAGE') AS is_owner FROM pg_class AS c WHERE c.oid = $1", ("oid", oid)
        )
        if not rows or not rows[0]["is_owner"]:
            raise PrivilegeError(f"must be owner of {self.described(oid)}")

    def fault(self, table: EncryptedTable, base: Table) -> str | None:
        """Return how a base table differs from the one that pgkeymgr made, or None.

        Args:
            table: the table as it is registered.
            base: its base table.

        Returns:
            A phrase.
        """
        if base.kind not in "rp":
            return f"{base} is not a table any more"
        kinds = {column.name: column.type_oid for column in base.columns}
        for column in table.encrypted.values():
            own = [(column.cipher, "bytea", _BYTEA_OID)]
            own += [
                (each.name, each.sql_type.removeprefix("pg_catalog."), each.type_oid) for each in column.indexes
            ]
            for name, type_name, type_oid in own:
                if name not in kinds:
                    return f'column "{name}" of {base} is gone'
                if kinds[name] != type_oid:
                    return f'column "{name}" of {base} is not of type {type_name} any more'
        return None

    def check_base(self, table: EncryptedTable, base: Table) -> None:
        """Refuse a base table that differs from the one that pgkeymgr made.

        Raises:
            UnsupportedError: it is not a table, or a column that belongs to pgkeymgr is missing or of another
                type.
        """
        fault = self.fault(table, base)
        if fault is not None:
            raise UnsupportedError(fault)

    @staticmethod
    def check_row_security(table: EncryptedTable, base: Table) -> None:
        """Refuse a base table whose view can have neither the rights of its reader nor those of its owner.

        Raises:
            UnsupportedError: the table has row-level security, and privileges on single columns.
        """
        if base.has_row_security and base.has_column_grants:
            raise UnsupportedError(
                f"{table.name} has encrypted columns: row-level security and privileges on single columns of it "
                "cannot both be honoured"
            )

    @staticmethod
    def refuse_distributed(base: Table, action: str) -> None:
        """Refuse an operation that Citus would refuse halfway through.

        Args:
            base: the base table.
            action: such as ``rotate column "a"``.

        Raises:
            UnsupportedError: Citus has distributed the table.
        """
        if base.is_distributed:
            raise UnsupportedError(
                f"cannot {action} of {base}: Citus has distributed the table",
                hint="Call undistribute_table(), adopt_encrypted_table(), and this function again, and then "
                f"create_distributed_table(). See {page('scale-out.md')}.",
            )

    @contextmanager
    def owners_rights(self, base: Table, *, all_rows: bool = False) -> Iterator[None]:
        """Run the block with the rights of a table's owner, as PostgreSQL's maintenance commands do.

        Args:
            base: the table.
            all_rows: whether to ignore policies. Otherwise, policies that are forced on owners also apply to the
                owner, if they apply to the caller.

        Yields:
            Nothing. The results of the block's queries may come from the owner's code.
        """
        database = self.database
        if database.user() == base.owner_oid:
            yield
            return
        past_policies = all_rows
        if not all_rows:
            (row,) = database.query("SELECT pg_catalog.row_security_active($1) AS is_bound", ("oid", base.oid))
            past_policies = not row["is_bound"]
        with database.acting_as(base.owner_oid, past_policies=past_policies):
            yield

    def run(self, base: Table, statement: str) -> Rows:
        """Run a statement on a table, with the rights of its owner."""
        with self.owners_rights(base):
            return self.database.run(statement)

    def write(self, base: Table, statement: str) -> int:
        """Run a statement like ``run``; return how many rows it wrote or found."""
        with self.owners_rights(base):
            return self.database.write(statement)

    def may_create(self, base: Table, schema: str) -> bool:
        """Return whether the owner of a table may create something in a schema."""
        (row,) = self.database.query(
            "SELECT has_schema_privilege($1, $2, 'CREATE') AS may", ("oid", base.owner_oid), ("text", schema)
        )
        return bool(row["may"])

    def run_naming(self, base: Table, schema: str, statement: str) -> None:
        """Run a statement on a table, or one that makes its view, which gives something a name in a schema.

        The statement runs with the rights of the table's owner. If the owner may not create objects in the schema,
        and the caller may, it runs with the rights of the caller: PostgreSQL runs no code of users in such
        statements.

        Raises:
            PrivilegeError: the owner may not create objects in the schema, and an event trigger is the caller.
        """
        if self.may_create(base, schema):
            self.run(base, statement)
        elif self.is_following:
            raise PrivilegeError(
                f'the owner of {base}, "{base.owner}", may not create anything in schema "{schema}"',
                hint=f"GRANT CREATE ON SCHEMA {quote_name(schema)} TO {quote_name(base.owner)}, and call "
                "refresh_encrypted_view().",
            )
        else:
            self.database.run(statement)

    def check_owners_key(
        self, keys: KeyTable, base: Table, column: EncryptedColumn, usages: tuple[str, ...]
    ) -> None:
        """Refuse an owner who may not use a column's key, since rows are written with the owner's rights.

        Args:
            keys: the key table.
            base: the table.
            column: an encrypted column of the table.
            usages: one or both of ``encrypt`` and ``decrypt``.

        Raises:
            PrivilegeError: the owner may not use the key in this way.
        """
        self.admit(base)
        if self.database.user() == base.owner_oid:
            return
        with self.owners_rights(base):
            for usage in usages:
                try:
                    keys.usable_current(
                        column.family, TOKEN_KEY_TYPE, encrypt=usage == "encrypt", with_wraps=False
                    )
                except PrivilegeError:
                    raise PrivilegeError(
                        f'the owner of {base}, "{base.owner}", may not {usage} with the key of column '
                        f'"{column.name}", and this is done with the rights of the owner',
                        hint=f"SELECT {self.database.schema}.grant_data_key({quote_literal(column.key)}, "
                        f"{quote_literal(quote_name(base.owner))});",
                    ) from None

    def admit(self, base: Table) -> None:
        """Let a table's owner call the functions for values, which needs USAGE on the extension's schema."""
        database = self.database
        (row,) = database.query(
            "SELECT has_schema_privilege($1, $2::regnamespace::oid, 'USAGE') AS may",
            ("oid", base.owner_oid),
            ("text", database.schema),
        )
        if not row["may"]:
            database.as_owner(
                lambda: database.run(f"GRANT USAGE ON SCHEMA {database.schema} TO {quote_name(base.owner)}")
            )

    def lock(self, oid: int) -> Table:
        """Lock a relation of the current user's against all others.

        Returns:
            The description of the relation, read under the lock.

        Raises:
            PrivilegeError: the current user does not own the relation.
        """
        table = self.described(oid)
        self.check_owner(oid)
        if table.kind in "rpv":
            self.database.run(f"LOCK TABLE {table.qualified} IN ACCESS EXCLUSIVE MODE")
        return self.described(oid)

    def lock_table(self, relation: str) -> tuple[EncryptedTable, Table]:
        """Lock a table with encrypted columns against all others.

        Args:
            relation: the view, or the base table.

        Returns:
            The registered table, and the description of its base table in the catalog, both read under the lock.

        Raises:
            UndefinedError: the table has no encrypted columns.
            PrivilegeError: the current user does not own the relation.
            UnsupportedError: the base table differs from the one that pgkeymgr made.
        """
        table = self.encrypted_table(relation)
        # Lock the view first, as all statements on the view do.
        if describe(self.database, table.relation) is not None:
            self.lock(table.relation)
        base = self.lock(table.base)
        table = self.encrypted_table(str(table.base))
        self.check_base(table, base)
        return table, base

    @contextmanager
    def without_triggers(self, base: Table, *, changes_are_undone: bool = False) -> Iterator[None]:
        """Keep the user's triggers from firing on rows whose values do not change.

        Args:
            base: the table.
            changes_are_undone: whether the sealing trigger undoes the changes of BEFORE triggers. Then BEFORE
                triggers may fire if the current user cannot prevent it.

        Raises:
            UnsupportedError: nobody can keep a trigger of the table from firing.
            PrivilegeError: a trigger would fire, and the current user, or the owner of a function that the table
                calls, may not set session_replication_role.
        """
        (row,) = self.database.query(
            # tgtype: 1 row, 2 before, 16 update. Triggers for statements matter to nobody's rows.
            "SELECT coalesce(bool_or(t.tgenabled = 'O'), false) AS fire,"
            " coalesce(bool_or(t.tgenabled = 'O' AND t.matters), false) AS matter,"
            " coalesce(bool_or(t.tgenabled = 'A' AND t.matters), false) AS always,"
            " coalesce(bool_or(t.tgenabled = 'R' AND t.matters), false) AS replica,"
            " has_parameter_privilege('session_replication_role', 'SET') AS may,"
            " current_setting('session_replication_role') AS role"
            " FROM (SELECT t.tgenabled, t.tgtype & 1 = 1 AND NOT (t.tgtype & 2 = 2 AND $2) AS matters"
            "  FROM pg_trigger AS t WHERE t.tgrelid = ANY ($1) AND NOT t.tgisinternal AND t.tgtype & 16 = 16"
            "  AND t.tgname <> ALL ($3::text[]::name[])) AS t",
            ("oid[]", tree_of(self.database, base)),
            ("boolean", changes_are_undone),
            ("text[]", list(OWN_TRIGGERS)),
        )
        is_replica = row["role"] == "replica"
        if row["always"] or (row["replica"] and (row["matter"] or is_replica)):
            raise UnsupportedError(
                f"{base} has triggers that are enabled ALWAYS or REPLICA, which would fire for unchanged rows",
                hint="Use plain ENABLE TRIGGER, without ALWAYS or REPLICA, until the procedure has finished.",
            )
        if row["matter"] and not (row["may"] or is_replica):
            raise PrivilegeError(
                f"the triggers of {base} would fire for each row, although the rows do not change",
                hint="Call it as a superuser, or as a role with GRANT SET ON PARAMETER session_replication_role.",
            )
        if is_replica or not row["fire"] or not row["may"] or row["replica"]:
            yield
            return
        function = foreign_function(self.database, base)
        if function is not None:
            # With this setting, the function would bypass the triggers and event triggers of other roles, too.
            if row["matter"]:
                raise PrivilegeError(
                    f"cannot keep the triggers of {base} from firing for each row: the table calls {function}, "
                    "whose owner may not set session_replication_role",
                    hint="Run ALTER TABLE ... DISABLE TRIGGER until the procedure has finished, or GRANT SET ON "
                    f"PARAMETER session_replication_role TO {quote_name(base.owner)}.",
                )
            yield
            return
        self.set_local({"session_replication_role": "replica"})
        yield
        self.set_local({"session_replication_role": row["role"]})

    @contextmanager
    def users_path(self, base: Table, path: str | None = None) -> Iterator[None]:
        """Let the code of users that the block's statements run find what it finds in other statements.

        A trigger, a CHECK constraint or a domain can call a function whose body names others without schemas.
        PostgreSQL's own names are found first, as without this.

        The caller must be able to act as the owner of the table, with whose rights the code runs: the names in it
        mean what the caller's search_path says.

        Args:
            base: the table that the code belongs to.
            path: the search_path of the session; None for its default with the schema of the table, since a
                function with a search_path of its own does not see the other.

        Yields:
            Nothing.
        """
        path = users_path(self.database, base.schema, path)
        before = self.database.setting("search_path")
        assert before is not None  # PostgreSQL has this setting
        self.set_local({"search_path": path})
        yield
        self.set_local({"search_path": before})

    @property
    def is_busy(self) -> bool:
        """Whether DDL of our own runs."""
        return bool(self._busy_with)

    def is_busy_with(self, base: int) -> bool:
        """Return whether the DDL on a table is our own, and not to be followed."""
        return base in self._busy_with

    @contextmanager
    def busy(self, base: int) -> Iterator[None]:
        """Run DDL of our own.

        Code of the owner, such as a CHECK, can run in the block, with DDL on other objects.

        Args:
            base: the OID of the table that the DDL is on.

        Yields:
            Nothing.
        """
        self._busy_with.append(base)
        try:
            yield
        finally:
            self._busy_with.pop()

    @contextmanager
    def following(self, base: int) -> Iterator[None]:
        """Run the work of an event trigger: DDL of our own, with greater rights than the statement's user has."""
        was_following, self.is_following = self.is_following, True
        try:
            with self.busy(base):
                yield
        finally:
            self.is_following = was_following

    @contextmanager
    def short_waits(self) -> Iterator[None]:
        """Let no query of the block wait long for a lock, which a session of somebody else's may keep.

        All such blocks of a statement share one second: another role can have any number of tables, and lock them
        all.
        """
        if (stamp := self.database.stamp()) != self._short_waits_in:
            self._short_waits_in, self._short_milliseconds = stamp, 0
        before = self.database.setting("lock_timeout") or "0"
        left = max(1, _SHORT_MILLISECONDS - self._short_milliseconds)
        is_short = 0 < int(before) <= left
        if not is_short:
            self.set_local({"lock_timeout": str(left)})
        started = time.monotonic()
        try:
            yield
        finally:
            self._short_milliseconds += int(1000 * (time.monotonic() - started))
            if not is_short:
                self.set_local({"lock_timeout": before})

    def wait_for_writers(self, base: Table) -> bool:
        """Wait for the transactions that have written a table, but not long; return whether they have ended."""

        def lock() -> None:
            self.set_local({"lock_timeout": _WRITERS_TIMEOUT})
            self.database.run(f"LOCK TABLE {base.qualified} IN SHARE MODE")
            # The end of this subtransaction releases the lock, so that others can write again.
            raise _WaitedError

        try:
            self.database.as_owner(lock)
        except _WaitedError:
            return True
        except Exception as error:
            if not is_lock_timeout(error):
                raise
        return False

    def names_of_relations(self, schema: str) -> set[str]:
        """Return the names that relations and types of a schema have."""
        rows = self.database.query(
            "SELECT c.relname::text AS name FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
            " WHERE n.nspname = $1 UNION SELECT t.typname::text FROM pg_type AS t"
            " JOIN pg_namespace AS n ON n.oid = t.typnamespace WHERE n.nspname = $1",
            ("text", schema),
        )
        return {row["name"] for row in rows}

    def names_of_constraints(self, base: Table) -> set[str]:
        """Return the names that constraints of a table have."""
        rows = self.database.query(
            "SELECT conname::text AS name FROM pg_constraint WHERE conrelid = $1", ("oid", base.oid)
        )
        return {row["name"] for row in rows}

    def converted(self, expression: str, value: str, type_name: str) -> str:
        """Return the text of an expression in which ``$1`` is a value, as text of its own type.

        Args:
            expression: the expression for the text.
            value: the value's text.
            type_name: the value's type, for the error.

        Raises:
            DataError: the value is not valid for the type; the message does not show it.
        """
        with without_values(f"the value is not valid for type {type_name}"):
            (row,) = self.database.query_unkept(f"SELECT {expression} AS value", ("text", value))
        return str(row["value"])

    def set_local(self, settings: Mapping[str, str]) -> None:
        """Change settings until the transaction ends."""
        calls = ", ".join(
            f"pg_catalog.set_config(${number}, ${number + 1}, true)" for number in range(1, 2 * len(settings), 2)
        )
        self.database.query(f"SELECT {calls}", *(("text", text) for pair in settings.items() for text in pair))
