"""The views of tables with encrypted columns, their triggers and their privileges, made what they must be."""

from ..errors import UnsupportedError
from .base_table import sealed_check
from .catalog import SEALING_TRIGGERS, Table, describe
from .definition import VIEW_TRIGGERS, Definition, sealing_function, view_function
from .privileges import copy_privileges, differing_privileges, grantees, inserters
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
        """Make the view and its triggers what the registry and the base table say."""
        database = self._database
        base = self._relations.described(table.base)
        definition = Definition(table, base, database.schema)
        view = describe(database, table.relation) if table.relation != table.base else None
        schema = view.schema if view else base.schema
        self._write_functions(table, definition, base.owner)
        database.run(definition.view(schema))
        qualified = f"{quote_name(schema)}.{quote_name(table.name)}"
        if view is None:
            (row,) = database.query("SELECT $1::regclass::oid::bigint AS oid", ("text", qualified))
            table.relation = row["oid"]
            for name, event in VIEW_TRIGGERS.items():
                database.run(
                    f"CREATE TRIGGER {name} INSTEAD OF {event} ON {qualified} FOR EACH ROW"
                    f" EXECUTE FUNCTION {database.schema}.{view_function(event, table.id)}()"
                )
            self._copy_comments(table, base, qualified)
        table.columns = definition.columns
        self._registry.save_table(table)
        new = self._relations.described(table.relation)
        for column in new.columns:
            default = definition.default(column.name)
            if default != column.default:
                change = "DROP DEFAULT" if default is None else f"SET DEFAULT {default}"
                database.run(f"ALTER VIEW {qualified} ALTER COLUMN {quote_name(column.name)} {change}")
        if new.owner != base.owner:
            database.run(f"ALTER VIEW {qualified} OWNER TO {quote_name(base.owner)}")
        if view is None:
            copy_privileges(database, table.base, table.relation, self._names_in_view(table, base))
        self._write_sealing_triggers(table, base)

    def _write_sealing_triggers(self, table: EncryptedTable, base: Table) -> None:
        there = self._sealing_triggers(base)
        for name, event in SEALING_TRIGGERS.items():
            if name not in there:
                function = f"{self._database.schema}.{sealing_function(event, table.id)}()"
                self._database.run(
                    f"CREATE TRIGGER {name} BEFORE {event} ON {base.qualified} FOR EACH ROW"
                    f" EXECUTE FUNCTION {function}"
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
        self._database.run(f"ALTER TABLE {base.qualified} ENABLE ALWAYS TRIGGER {name}")

    def drop_sealing_triggers(self, base: Table) -> None:
        """Drop the triggers of a base table that will have no encrypted columns.

        Args:
            base: the table; locked.
        """
        for name in SEALING_TRIGGERS:
            self._database.run(f"DROP TRIGGER IF EXISTS {name} ON {base.qualified}")

    def _write_functions(self, table: EncryptedTable, definition: Definition, owner: str) -> None:
        # They belong to the extension's owner, since their schema is the extension's; they run as whoever writes.
        checks = definition.check_function()
        functions = definition.trigger_functions()

        def write() -> None:
            self._drop_function(f"_check_{table.id}")  # its parameters may be others now
            if checks:
                parameters, body = checks
                check = f"{self._database.schema}._check_{table.id}({parameters})"
                self._database.run(
                    f"CREATE FUNCTION {check} RETURNS pg_catalog.text"
                    f" LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp"
                    f" SET standard_conforming_strings = on AS {quote_body(body)}"
                )
                self._let_call(f"_check_{table.id}", "PUBLIC")
                self._database.run(
                    f"COMMENT ON FUNCTION {check} IS 'pgkeymgr: the CHECK constraints of {table.id}'"
                )
            for function in functions:
                name = f"{self._database.schema}.{function.name}()"
                self._database.run(
                    f"CREATE OR REPLACE FUNCTION {name} RETURNS pg_catalog.trigger LANGUAGE plpgsql"
                    f" AS {quote_body(function.body)}"
                )
                self._let_call(function.name, quote_name(owner))
                self._database.run(f"COMMENT ON FUNCTION {name} IS 'pgkeymgr: {function.about} of {table.id}'")

        self._database.as_owner(write)

    def _let_call(self, name: str, role: str) -> None:
        # Nobody else, whatever the default privileges of the extension's owner are; doctor() compares.
        self._database.query(
            "SELECT {s}._revoke_all('pg_proc', ARRAY(SELECT p.oid FROM pg_proc AS p"
            " WHERE p.pronamespace = '{s}'::regnamespace AND p.proname = $1))",
            ("text", name),
        )
        self._database.run(f"GRANT EXECUTE ON FUNCTION {self._database.schema}.{name} TO {role}")

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
            if describe(self._database, table.relation) is None:
                table.relation = table.base
            self.write(table)
            self._guard(table)
            self.grant_schema(table)
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
                self._database.run(f"ALTER TABLE {base.qualified} {sealed_check(column)}")

    def follow_privileges(self, table: EncryptedTable) -> None:
        """Give the roles that have privileges on the view what they need of the base table.

        Args:
            table: whose view has the right privileges.

        Raises:
            UnsupportedError: they cannot be honoured.
        """
        database = self._database
        copy_privileges(database, table.relation, table.base, self._names_in_base(table), self._implied(table))
        base = self._relations.described(table.base)
        if base.has_row_security and base.has_column_grants:
            raise UnsupportedError(
                f"{table.name} has encrypted columns: row-level security and privileges on single columns of it "
                "cannot both be honoured"
            )
        self.grant_schema(table)

    def follow_grant(self, table: EncryptedTable, command: str) -> bool:
        """Do ``follow_privileges`` after a GRANT or a REVOKE, if it was one on the view.

        Args:
            table: which it may have been about.
            command: ``GRANT`` or ``REVOKE``.

        Returns:
            Whether it was.

        Raises:
            UnsupportedError: it was one on the base table.
        """
        lacking, excess = differing_privileges(
            self._database, table.relation, table.base, self._names_in_base(table), self._implied(table)
        )
        if not (lacking or excess):
            return False
        if excess if command == "GRANT" else lacking:
            base = self._relations.described(table.base)
            raise UnsupportedError(
                f"the privileges on {base} are those on the view {table.name}",
                hint=f"{command} them on the view; the base table follows.",
            )
        self.follow_privileges(table)
        return True

    def grant_schema(self, table: EncryptedTable) -> None:
        """Let the roles that have privileges on the view call what it calls."""
        database = self._database
        base = self._relations.described(table.base)

        def grant() -> None:
            writers = inserters(database, table.relation)
            for role in grantees(database, table.relation):
                (row,) = database.query(
                    "SELECT coalesce(quote_ident(rolname), 'PUBLIC') AS name,"
                    " has_schema_privilege(coalesce(rolname, 'public'), $2::regnamespace::oid, 'USAGE')"
                    " AS has_usage"
                    " FROM (SELECT) AS one LEFT JOIN pg_roles ON oid = $1",
                    ("oid", int(role)),
                    ("text", database.schema),
                )
                name = row["name"]
                # Not again: sessions that grant on different tables would trip over the schema's one row.
                if not row["has_usage"]:
                    database.run(f"GRANT USAGE ON SCHEMA {database.schema} TO {name}")
                for column in base.columns:
                    # A table's identity column needs no privilege on its sequence; a view's default does.
                    if column.identity and role in writers:
                        database.run(f"GRANT USAGE ON SEQUENCE {column.sequence} TO {name}")

        database.as_owner(grant)

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
            UnsupportedError: something depends on the view, which can lose a column only by being made anew.
        """
        self.check_droppable(table)
        view = self._relations.described(table.relation)
        self._database.run(f"DROP VIEW {view.qualified}")
        self._database.run(f"ALTER TABLE {base.qualified} DROP COLUMN {quote_name(name)}")
        table.relation = table.base
        table.columns = [each for each in table.columns if each != name]
        self.write(table)

    def drop_functions(self, table: EncryptedTable) -> None:
        """Drop the functions of the view's triggers."""

        def drop() -> None:
            names = [view_function(event, table.id) for event in VIEW_TRIGGERS.values()]
            names += [sealing_function(event, table.id) for event in SEALING_TRIGGERS.values()]
            for name in names:
                self._database.run(f"DROP FUNCTION {self._database.schema}.{name}()")
            self._drop_function(f"_check_{table.id}")

        self._database.as_owner(drop)

    def _drop_function(self, name: str) -> None:
        for row in self._database.query(
            "SELECT p.oid::regprocedure::text AS function FROM pg_proc AS p"
            " WHERE p.pronamespace = '{s}'::regnamespace AND p.proname = $1",
            ("text", name),
        ):
            self._database.run(f"DROP FUNCTION {row['function']}")
