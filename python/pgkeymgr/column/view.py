"""The views of tables with encrypted columns, their triggers and their privileges, made what they must be."""

import json
from collections.abc import Callable
from typing import Any

from ..errors import UnsupportedError
from ..key.database import Rows
from .base_table import sealed_check
from .catalog import SEALING_TRIGGERS, Table, describe
from .definition import VIEW_TRIGGERS, Definition, sealing_function, view_function
from .privileges import copy_privileges, differing_privileges, grantees, inserters, privileges_by_name
from .quoting import quote_body, quote_literal, quote_name
from .registry import ColumnState, EncryptedTable
from .relations import Relations


class Views:
    """The views of a database, for one session."""

    def __init__(self, relations: Relations) -> None:
        self._relations = relations
        self._database = relations.database
        self._registry = relations.registry

    def write(self, table: EncryptedTable) -> None:
        """Make the view and its triggers what the registry and the base table say.

        Raises:
            PrivilegeError: the owner of the table may create no view in the schema.
        """
        database = self._database
        base = self._relations.described(table.base)
        view = self.described(table)
        if view is not None:
            table.name = view.name
            self.take_defaults(table, view)
            if view.owner_oid != base.owner_oid:
                # With the rights of the caller, who must have those of both owners.
                database.run(f"ALTER VIEW {view.qualified} OWNER TO {quote_name(base.owner)}")
        definition = Definition(table, base, database.schema)
        self._relations.admit(base)
        self.write_functions(table, base)
        schema = view.schema if view else base.schema
        qualified = f"{quote_name(schema)}.{quote_name(table.name)}"
        statement = definition.view(schema)
        if view is not None:
            self._replace(base, view, statement)
        else:
            # Not in the place of another view, whosever it is.
            self._relations.run_naming(
                base, schema, "CREATE VIEW" + statement.removeprefix("CREATE OR REPLACE VIEW")
            )
            (row,) = database.query("SELECT $1::regclass::oid::bigint AS oid", ("text", qualified))
            table.relation = row["oid"]
            if self._relations.described(table.relation).owner_oid != base.owner_oid:
                # Made by the caller, since the owner could not.
                database.run(f"ALTER VIEW {qualified} OWNER TO {quote_name(base.owner)}")
        self._write_triggers(table, base, qualified)
        table.columns = definition.columns
        self._registry.save_table(table)
        new = self._relations.described(table.relation)
        for column in new.columns:
            default = definition.default(column.name)
            if default != column.default:
                change = "DROP DEFAULT" if default is None else f"SET DEFAULT {default}"
                self._relations.run(
                    base, f"ALTER VIEW {qualified} ALTER COLUMN {quote_name(column.name)} {change}"
                )
        if view is None:
            self._copy_comments(table, base, qualified)
            names = self._names_in_view(table, base)
            copy_privileges(database, table.base, table.relation, names, run=self._run_as(base))
            self._remember(table)
        self._write_sealing_triggers(table, base)

    def _write_sealing_triggers(self, table: EncryptedTable, base: Table) -> None:
        there = self._sealing_triggers(base)
        for name, event in SEALING_TRIGGERS.items():
            if name not in there:
                function = f"{self._database.schema}.{sealing_function(event, table.id)}()"
                self._relations.run(
                    base,
                    f"CREATE TRIGGER {name} BEFORE {event} ON {base.qualified} FOR EACH ROW"
                    f" EXECUTE FUNCTION {function}",
                )
                self._enable(base, name)

    def _sealing_triggers(self, base: Table) -> dict[str, str]:
        rows = self._database.query(
            "SELECT tgname::text AS name, tgenabled::text AS enabled FROM pg_trigger"
            " WHERE tgrelid = $1 AND tgname = ANY ($2::text[]::name[])",
            ("oid", base.oid),
            ("text[]", list(SEALING_TRIGGERS)),
        )
        return {row["name"]: row["enabled"] for row in rows}

    def _enable(self, base: Table, name: str) -> None:
        self._relations.run(base, f"ALTER TABLE {base.qualified} ENABLE ALWAYS TRIGGER {name}")

    def drop_sealing_triggers(self, base: Table) -> None:
        """Drop the triggers of a base table that will have no encrypted columns.

        Args:
            base: the table; locked.
        """
        for name in SEALING_TRIGGERS:
            self._relations.run(base, f"DROP TRIGGER IF EXISTS {name} ON {base.qualified}")

    def described(self, table: EncryptedTable) -> Table | None:
        """Return what the catalog says of a table's view, or None if there is none now."""
        view = describe(self._database, table.relation) if table.relation != table.base else None
        # A dump has the name, which another relation may have by now.
        return view if view is not None and view.kind == "v" else None

    def note_made(self, table: EncryptedTable) -> None:
        """Note that a table's row in the registry was made in this session, and not loaded from a dump."""
        self._database.as_owner(
            lambda: self._database.execute(
                "UPDATE {s}.encrypted_relation SET loaded = NULL WHERE id OPERATOR(pg_catalog.=) $1",
                ("integer", table.id),
            )
        )

    def is_being_restored(self, table: EncryptedTable) -> bool:
        """Return whether this session may be restoring a table: it began before the table's row was loaded.

        What a dump has of view, triggers and privileges is right once all of it is there, and the sessions of a
        parallel restore are not to be in each other's way before.
        """
        (row,) = self._database.as_owner(
            lambda: self._database.execute(
                "SELECT coalesce(r.loaded OPERATOR(pg_catalog.>) (SELECT a.backend_start"
                " FROM pg_catalog.pg_stat_activity AS a"
                " WHERE a.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()), false) AS so"
                " FROM {s}.encrypted_relation AS r WHERE r.id OPERATOR(pg_catalog.=) $1",
                ("integer", table.id),
            )
        )
        return bool(row["so"])

    def is_behind(self, table: EncryptedTable, view: Table | None) -> bool:
        """Return whether a view lags behind its base table in a way that no restore brings about."""
        base = self._relations.described(table.base)
        if view is None or view.owner_oid != base.owner_oid or view.name != table.name:
            return True
        definition = Definition(table, base, self._database.schema)
        if [column.name for column in view.columns] != definition.columns:
            return True
        rows = self._database.query(
            "SELECT FROM pg_proc WHERE pronamespace = $1::regnamespace AND proname = $2"
            " AND strpos(prosrc, $3) > 0",
            ("text", self._database.schema),
            ("text", f"_insert_{table.id}"),
            ("text", base.qualified),
        )
        return not rows

    def is_complete(self, table: EncryptedTable) -> bool:
        """Return whether the triggers of a view and of its base table are there.

        If not, the table is being restored from a dump, or taken away.
        """
        base = self._relations.described(table.base)
        return (
            self._triggers(table) == VIEW_TRIGGERS.keys()
            and self._sealing_triggers(base).keys() == SEALING_TRIGGERS.keys()
        )

    def _triggers(self, table: EncryptedTable) -> set[str]:
        return {
            row["name"]
            for row in self._database.query(
                "SELECT t.tgname::text AS name FROM pg_trigger AS t JOIN pg_proc AS p ON p.oid = t.tgfoid"
                " WHERE t.tgrelid = $1 AND t.tgname LIKE 'pgkeymgr\\_%'"
                " AND p.pronamespace = $2::regnamespace"
                " AND p.proname = '_' || substr(t.tgname, 10) || '_' || $3::text",
                ("oid", table.relation),
                ("text", self._database.schema),
                ("integer", table.id),
            )
        }

    def _write_triggers(self, table: EncryptedTable, base: Table, qualified: str) -> None:
        there = self._triggers(table)
        for name, event in VIEW_TRIGGERS.items():
            if name not in there:
                self._relations.run(
                    base,
                    f"CREATE OR REPLACE TRIGGER {name} INSTEAD OF {event} ON {qualified}"
                    f" FOR EACH ROW EXECUTE FUNCTION {self._database.schema}.{view_function(event, table.id)}()",
                )

    def _replace(self, base: Table, view: Table, statement: str) -> None:
        database = self._database
        if self._relations.may_create(base, view.schema):
            self._relations.run(base, statement)
            return

        # PostgreSQL wants that privilege for a view that is there, too. Nothing of the owner's is called by this,
        # and nothing else is replaced: the view keeps its name while it is locked, and its owner.
        def replace() -> None:
            database.run(f"LOCK TABLE {view.qualified} IN ACCESS EXCLUSIVE MODE")
            now = describe(database, view.oid)
            if now is None or (now.schema, now.name) != (view.schema, view.name):
                raise UnsupportedError(f"{view} has another name by now")
            database.run(statement)

        database.as_owner(replace)

    def _run_as(self, base: Table) -> Callable[[str], Rows]:
        return lambda statement: self._relations.run(base, statement)

    def take_defaults(self, table: EncryptedTable, view: Table) -> None:
        """Copy the defaults of encrypted columns from the view to the registry.

        In the registry they are text, which does not follow when a type or a function is renamed.
        """
        for column in view.columns:
            encrypted = table.encrypted.get(column.name)
            if encrypted is not None and encrypted.default != column.default:
                encrypted.default = column.default
                self._registry.save_column(encrypted)

    def write_functions(self, table: EncryptedTable, base: Table) -> None:
        """Make the functions of the view's triggers what they must be.

        They belong to the extension's owner, since their schema is the extension's; they run as whoever writes.

        Args:
            table: as registered.
            base: its base table.
        """
        database = self._database
        definition = Definition(table, base, database.schema)
        checks = definition.check_function()
        functions = definition.trigger_functions()

        def write() -> None:
            self._drop_function(f"_check_{table.id}")  # its parameters may be others now
            if checks:
                parameters, body = checks
                database.run(
                    f"CREATE FUNCTION {database.schema}._check_{table.id}({parameters}) RETURNS pg_catalog.text"
                    f" LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp"
                    f" SET standard_conforming_strings = on AS {quote_body(body)}"
                )
                self._let_call(f"_check_{table.id}", "PUBLIC")
            there = {
                row["name"]: (row["source"], row["may"])
                for row in database.query(
                    "SELECT p.proname::text AS name, p.prosrc AS source,"
                    " EXISTS (SELECT FROM aclexplode(p.proacl) AS a WHERE a.grantee = $3) AS may"
                    " FROM pg_proc AS p WHERE p.pronamespace = $1::regnamespace AND p.proname = ANY ($2)",
                    ("text", database.schema),
                    ("text[]", [function.name for function in functions]),
                    ("oid", base.owner_oid),
                )
            }
            for function in functions:
                if there.get(function.name) == ("\n" + function.body, True):
                    continue
                name = f"{database.schema}.{function.name}()"
                database.run(
                    f"CREATE OR REPLACE FUNCTION {name} RETURNS pg_catalog.trigger LANGUAGE plpgsql"
                    f" AS {quote_body(function.body)}"
                )
                self._let_call(function.name, quote_name(base.owner))
                database.run(f"COMMENT ON FUNCTION {name} IS 'pgkeymgr: {function.about} of {table.id}'")

        database.as_owner(write)

    def _let_call(self, name: str, role: str) -> None:
        # Nobody else, whatever the default privileges of the extension's owner are; doctor() compares.
        self._database.query(
            "SELECT {s}._revoke_all('pg_proc', ARRAY(SELECT p.oid FROM pg_proc AS p"
            " WHERE p.pronamespace = '{s}'::regnamespace AND p.proname = $1))",
            ("text", name),
        )
        self._database.run(f"GRANT EXECUTE ON FUNCTION {self._database.schema}.{name} TO {role}")

    def _copy_comments(self, table: EncryptedTable, base: Table, qualified: str) -> None:
        run = self._run_as(base)
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
            names[column.name] = [column.name]
            if column.blind and column.blind_is_shown:
                names[column.blind] = [column.blind]
        return names

    @staticmethod
    def _names_in_base(table: EncryptedTable) -> dict[str, list[str]]:
        names = {name: [name] for name in table.columns}
        for column in table.encrypted.values():
            names[column.name] = [name for name in (column.cipher, column.name, column.blind) if name]
        return names

    @staticmethod
    def _implied(table: EncryptedTable) -> tuple[list[str], list[str]]:
        # A row is sealed for its key, and the defaults of encrypted columns are sealed by whoever inserts it.
        inserted = list(table.key_columns)
        for column in table.encrypted.values():
            if column.default is not None:
                inserted += [name for name in (column.cipher, column.name, column.blind) if name]
        return inserted, table.key_columns

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
        table, _ = self._relations.lock_table(relation)
        with self._relations.busy():
            is_new = self.described(table) is None
            if is_new:
                table.relation = table.base
            self.write(table)
            self._guard(table)
            self.grant_schema(table) if is_new else self.follow_privileges(table)
        return str(table.relation)

    def _guard(self, table: EncryptedTable) -> None:
        """Give a base table what it lacks after its triggers were disabled, or where DDL was not replicated."""
        base = self._relations.described(table.base)
        for name, enabled in self._sealing_triggers(base).items():
            if enabled != "A":
                self._enable(base, name)
        there = self._relations.names_of_constraints(base)
        for column in table.encrypted.values():
            is_encrypted = column.state in (ColumnState.ENCRYPTED, ColumnState.ROTATING)
            if is_encrypted and column.sealed_constraint not in there:
                self._relations.run(base, f"ALTER TABLE {base.qualified} {sealed_check(column)}")

    def follow_privileges(self, table: EncryptedTable) -> None:
        """Give the roles that have privileges on the view what they need of the base table.

        Args:
            table: whose view has the right privileges.

        Raises:
            UnsupportedError: they cannot be honoured.
        """
        base = self._relations.described(table.base)
        names = self._names_in_base(table)
        copy_privileges(
            self._database, table.relation, table.base, names, self._implied(table), run=self._run_as(base)
        )
        base = self._relations.described(table.base)
        if base.has_row_security and base.has_column_grants:
            raise UnsupportedError(
                f"{table.name} has encrypted columns: row-level security and privileges on single columns of it "
                "cannot both be honoured"
            )
        self.grant_schema(table)
        self._remember(table)

    def follow_grant(self, table: EncryptedTable, command: str, *, is_of_base: bool) -> None:
        """Do ``follow_privileges`` after a GRANT or a REVOKE.

        Args:
            table: which it was about, or its view.
            command: ``GRANT`` or ``REVOKE``.
            is_of_base: whether this transaction has changed privileges on the base table only.

        Raises:
            UnsupportedError: it was one on the base table.
        """
        base = self._relations.described(table.base)
        difference = differing_privileges(
            self._database,
            table.relation,
            table.base,
            self._names_in_base(table),
            self._implied(table),
            self._remembered(table),
        )
        if self.is_being_restored(table) and self._had_before(table):
            return
        if difference.is_of_target(command, base.owner_oid):
            raise UnsupportedError(
                f"the privileges on {base} are those on the view {table.name}",
                hint=f"{command} them on the view; the base table follows.",
            )
        if difference and not is_of_base:
            self.follow_privileges(table)
        # With privileges on columns, view and triggers are others than without.
        base = self._relations.described(table.base)
        (row,) = self._database.query(
            "SELECT 'security_invoker=true' = ANY (reloptions) AS is_invoker FROM pg_class WHERE oid = $1",
            ("oid", table.relation),
        )
        if bool(row["is_invoker"]) == base.has_column_grants and self.is_complete(table):
            self.write(table)

    def _had_before(self, table: EncryptedTable) -> bool:
        """Return whether there is no privilege on a view but those that are remembered of it."""
        remembered = self._remembered(table)
        # The owner has all of them until the dump takes some away.
        owner = self._relations.described(table.relation).owner
        return remembered is not None and all(
            each in remembered or each[1] == owner for each in privileges_by_name(self._database, table.relation)
        )

    def _remembered(self, table: EncryptedTable) -> list[list[Any]] | None:
        (row,) = self._database.as_owner(
            lambda: self._database.execute(
                "SELECT privileges::text AS privileges FROM {s}.encrypted_relation"
                " WHERE id OPERATOR(pg_catalog.=) $1",
                ("integer", table.id),
            )
        )
        if row["privileges"] is None:
            return None
        remembered: list[list[Any]] = json.loads(row["privileges"])
        return remembered

    def _remember(self, table: EncryptedTable) -> None:
        # A dump has them with the rest of the registry: so its GRANTs on the base table, which may come before
        # those on the view, are told from others.
        found = json.dumps(privileges_by_name(self._database, table.relation))
        self._database.as_owner(
            lambda: self._database.execute(
                "UPDATE {s}.encrypted_relation SET privileges = $2 WHERE id OPERATOR(pg_catalog.=) $1"
                " AND privileges IS DISTINCT FROM $2",
                ("integer", table.id),
                ("jsonb", found),
            )
        )

    def grant_schema(self, table: EncryptedTable) -> None:
        """Let the roles that have privileges on the view call what it calls."""
        database = self._database
        base = self._relations.described(table.base)
        writers = inserters(database, table.relation)
        sequences = [column.sequence for column in base.columns if column.identity and column.sequence]
        for role in sorted(grantees(database, table.relation)):
            (row,) = database.query(
                "SELECT coalesce(quote_ident(rolname), 'PUBLIC') AS name,"
                " has_schema_privilege(coalesce(rolname, 'public'), $2::regnamespace::oid, 'USAGE')"
                " AS has_usage"
                " FROM (SELECT) AS one LEFT JOIN pg_roles ON oid = $1",
                ("oid", int(role)),
                ("text", database.schema),
            )
            # Not again: sessions that grant on different tables would trip over the schema's one row.
            if not row["has_usage"]:
                self._grant_usage(row["name"])
            # A table's identity column needs no privilege on its sequence; a view's default does.
            for sequence in sequences if role in writers else []:
                self._relations.run(base, f"GRANT USAGE ON SEQUENCE {sequence} TO {row['name']}")

    def _grant_usage(self, role: str) -> None:
        self._database.as_owner(
            lambda: self._database.run(f"GRANT USAGE ON SCHEMA {self._database.schema} TO {role}")
        )

    def check_droppable(self, table: EncryptedTable) -> None:
        """Refuse what would drop a view that others depend on.

        Raises:
            UnsupportedError: there are some.
        """
        rows = self._database.query(
            "SELECT DISTINCT pg_describe_object(d.classid, d.objid, 0) AS object FROM pg_depend AS d"
            " LEFT JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid"
            " LEFT JOIN pg_type AS t ON d.classid = 'pg_type'::regclass AND t.oid = d.objid"
            " WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 AND d.deptype = 'n'"
            " AND r.ev_class IS DISTINCT FROM $1 AND t.typrelid IS DISTINCT FROM $1",
            ("oid", table.relation),
        )
        if rows:
            raise UnsupportedError(
                f"the view {table.name} would be made anew, and with it would go: "
                + ", ".join(row["object"] for row in rows)
            )

    def drop_column(self, table: EncryptedTable, base: Table, name: str) -> None:
        """Drop a column of the base table, which the view has.

        Args:
            table: locked.
            base: its base table.
            name: the column's.

        Raises:
            UnsupportedError: something depends on the view, which can lose a column only if it is created again.
        """
        self.check_droppable(table)
        view = self._relations.described(table.relation)
        self._relations.run(base, f"DROP VIEW {view.qualified}")
        self._relations.run(base, f"ALTER TABLE {base.qualified} DROP COLUMN {quote_name(name)}")
        table.relation = table.base
        table.columns = [each for each in table.columns if each != name]
        self.write(table)

    def drop_functions(self, table: EncryptedTable) -> None:
        """Drop the functions of the view's triggers."""

        def drop() -> None:
            names = [view_function(event, table.id) for event in VIEW_TRIGGERS.values()]
            names += [sealing_function(event, table.id) for event in SEALING_TRIGGERS.values()]
            for name in names:
                self._database.run(f"DROP FUNCTION {self._database.schema}.{name}() CASCADE")
            self._drop_function(f"_check_{table.id}")

        self._database.as_owner(drop)

    def _drop_function(self, name: str) -> None:
        # CASCADE, since others may call the function, and a view of theirs that does would be in everybody's way.
        for row in self._database.query(
            "SELECT p.oid::regprocedure::text AS function FROM pg_proc AS p"
            " WHERE p.pronamespace = '{s}'::regnamespace AND p.proname = $1",
            ("text", name),
        ):
            self._database.run(f"DROP FUNCTION {row['function']} CASCADE")
