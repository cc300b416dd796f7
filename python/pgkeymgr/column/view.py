"""Creates and updates the views of encrypted tables, with their triggers and privileges."""

import json
from collections.abc import Callable
from typing import Any

from ..errors import UnsupportedError
from ..key.database import Rows
from ..key.shared_names import valid_name
from .base_table import sealed_check
from .catalog import SEALING_TRIGGERS, Table, describe
from .comments import Comments
from .definition import VIEW_TRIGGERS, Definition, sealing_function, view_function
from .dependent_objects import DependentObject, DependentObjects, check
from .encrypted_table import EncryptedTable
from .partitions import tree_of
from .privileges import copy_privileges, differing_privileges, grantees, inserters, privileges_by_name
from .quoting import quote_body, quote_name
from .relations import Relations
from .server_errors import is_lock_timeout


class Views:
    """The views of a database, for one session."""

    def __init__(self, relations: Relations) -> None:
        self._relations = relations
        self._database = relations.database
        self._registry = relations.registry
        self._objects = DependentObjects(relations.database)
        self._comments = Comments(relations)

    def bring_back(
        self, table: EncryptedTable, objects: list[DependentObject], *, for_caller: bool = False
    ) -> None:
        """Create dropped objects again, whose definitions mean the view.

        Args:
            table: the table; ``write`` has made its view.
            objects: from ``DependentObjects.drop``.
            for_caller: see ``DependentObjects.create``.

        Raises:
            UnsupportedError: an object does not work with the view.
        """
        self._objects.create(objects, for_caller=for_caller)
        if any(one.is_definer for one in objects):
            # These objects read the view with their owners' rights, which decides how the view itself reads.
            self.write(table)

    def write(self, table: EncryptedTable) -> None:
        """Create or replace the view and its triggers, as the registry and the base table define them.

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
                # This runs with the rights of the caller, who must be a member of both owners.
                database.run(f"ALTER VIEW {view.qualified} OWNER TO {quote_name(base.owner)}")
        definition = Definition(table, base, database.schema)
        self._relations.admit(base)
        # Without the view, columns may have got other types, for which sessions have no plans.
        self.write_functions(table, base, are_new=view is None)
        schema = view.schema if view else base.schema
        qualified = f"{quote_name(schema)}.{quote_name(table.name)}"
        statement = definition.view(schema, is_invoker=self._is_invoker(table, base))
        if view is not None:
            self._replace(base, view, statement)
        else:
            # CREATE without OR REPLACE, so that no other view is replaced.
            self._relations.run_naming(
                base, schema, "CREATE VIEW" + statement.removeprefix("CREATE OR REPLACE VIEW")
            )
            (row,) = database.query("SELECT $1::regclass::oid::bigint AS oid", ("text", qualified))
            table.relation = row["oid"]
            if self._relations.described(table.relation).owner_oid != base.owner_oid:
                # The caller has created the view, since the owner may not create in the schema.
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
            self._comments.copy(table, base, qualified)
            names = self._names_in_view(table, base)
            copy_privileges(database, table.base, table.relation, names, run=self._run_as(base))
            self._remember(table)
        self._write_sealing_triggers(table, base)

    def _is_invoker(self, table: EncryptedTable, base: Table) -> bool:
        """Return whether the view is to read the base table with the rights of its reader.

        It is, so that policies hold. But with privileges on columns, PostgreSQL would ask the invoker for all of
        them. And the reader of another view, which reads this one with the rights of its owner, need not have
        privileges on the table.
        """
        if base.has_row_security:
            return True
        rows = self._database.query(
            "SELECT FROM pg_depend AS d"
            " JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid"
            " JOIN pg_class AS c ON c.oid = r.ev_class AND c.relkind = 'v'"
            " WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 AND r.ev_class <> $1"
            " AND NOT EXISTS (SELECT FROM pg_options_to_table(c.reloptions) AS o"
            "  WHERE o.option_name = 'security_invoker' AND o.option_value::boolean) LIMIT 1",
            ("oid", table.relation),
        )
        return not rows and not base.has_column_grants

    def _write_sealing_triggers(self, table: EncryptedTable, base: Table) -> None:
        there = self._sealing_triggers(table, base)
        for name, event in table.sealing_triggers.items():
            if name not in there:
                function = f"{self._database.schema}.{sealing_function(event, table.id)}()"
                self._relations.run(
                    base,
                    f"CREATE TRIGGER {name} BEFORE {event} ON {base.qualified} FOR EACH ROW"
                    f" EXECUTE FUNCTION {function}",
                )
                self._enable(base, name)

    def _sealing_triggers(self, table: EncryptedTable, base: Table) -> dict[str, str]:
        rows = self._database.query(
            # The state of the trigger itself, or of that of a partition which is in another state.
            "SELECT t.tgname::text AS name, coalesce((SELECT p.tgenabled::text FROM pg_trigger AS p"
            "  WHERE p.tgrelid = ANY ($3) AND p.tgname = t.tgname AND p.tgenabled <> 'A' LIMIT 1), 'A') AS enabled"
            " FROM pg_trigger AS t WHERE t.tgrelid = $1 AND t.tgname = ANY ($2::text[]::name[])",
            ("oid", base.oid),
            ("text[]", list(table.sealing_triggers)),
            ("oid[]", tree_of(self._database, base)),
        )
        return {row["name"]: row["enabled"] for row in rows}

    def _enable(self, base: Table, name: str) -> None:
        self._relations.run(base, f"ALTER TABLE {base.qualified} ENABLE ALWAYS TRIGGER {name}")

    def write_triggers_of_base(self, table: EncryptedTable, base: Table) -> None:
        """Make the functions and the triggers of a base table that can have no view now."""
        self._relations.admit(base)
        self.write_functions(table, base)
        self._write_sealing_triggers(table, base)

    def drop_sealing_triggers(self, table: EncryptedTable, base: Table) -> None:
        """Drop the triggers of a base table that will have no encrypted columns.

        Args:
            table: the table as it is registered.
            base: its base table; locked.
        """
        for name in table.sealing_triggers:
            self._relations.run(base, f"DROP TRIGGER IF EXISTS {name} ON {base.qualified}")

    def described(self, table: EncryptedTable) -> Table | None:
        """Return the description of a table's view from the catalog, or None if there is none now."""
        view = describe(self._database, table.relation) if table.relation != table.base else None
        # The dump identifies the relation by its name, which another relation may have by now.
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

        The view, the triggers and the privileges of a dump are right once all of it is there, and the sessions of
        a parallel restore are not to be in each other's way before.
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
            ("text", view_function("INSERT", table.id)),
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
            and self._sealing_triggers(table, base).keys() == table.sealing_triggers.keys()
        )

    def _triggers(self, table: EncryptedTable) -> set[str]:
        return {
            row["name"]
            for row in self._database.query(
                "SELECT t.tgname::text AS name FROM pg_trigger AS t JOIN pg_proc AS p ON p.oid = t.tgfoid"
                " WHERE t.tgrelid = $1 AND t.tgname LIKE E'pgkeymgr\\\\_%'"
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

        # PostgreSQL requires CREATE on the schema also to replace a view. This calls no code of the owner, and
        # replaces nothing else: the view is locked, and so keeps its name and its owner.
        def replace() -> None:
            database.run(f"LOCK TABLE {view.qualified} IN ACCESS EXCLUSIVE MODE")
            now = describe(database, view.oid)
            if now is None or (now.schema, now.name) != (view.schema, view.name):
                raise UnsupportedError(f"{view} was renamed concurrently")
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

    def write_functions(self, table: EncryptedTable, base: Table, *, are_new: bool = False) -> None:
        """Create or replace the functions of the triggers.

        They belong to the extension's owner, since their schema is the extension's. They run with the rights of
        the role that writes.

        Args:
            table: the table as it is registered.
            base: its base table.
            are_new: replace them also if they are the same, so that each session makes its plans again.
        """
        database = self._database
        definition = Definition(table, base, database.schema)
        functions = definition.trigger_functions()

        def write() -> None:
            self._write_check(f"_check_{table.id}", definition.check_function())
            there = {
                row["name"]: (row["source"], row["may"])
                for row in database.query(
                    "SELECT p.proname::text AS name, p.prosrc AS source,"
                    " EXISTS (SELECT FROM aclexplode(p.proacl) AS a WHERE a.grantee = $3)"
                    " AND pg_get_userbyid(p.proowner) = current_user AS may"
                    " FROM pg_proc AS p WHERE p.pronamespace = $1::regnamespace AND p.proname = ANY ($2)",
                    ("text", database.schema),
                    ("text[]", [function.name for function in functions]),
                    ("oid", base.owner_oid),
                )
            }
            for function in functions:
                if not are_new and there.get(function.name) == ("\n" + function.body, True):
                    continue
                name = f"{database.schema}.{function.name}()"
                database.run(
                    f"CREATE OR REPLACE FUNCTION {name} RETURNS pg_catalog.trigger LANGUAGE plpgsql"
                    f" AS {quote_body(function.body)}"
                )
                # A role that may create functions in the schema could have made it before, and would keep it.
                database.run(f"ALTER FUNCTION {name} OWNER TO CURRENT_USER")
                self._let_call(function.name, quote_name(base.owner))
                database.run(f"COMMENT ON FUNCTION {name} IS 'pgkeymgr: {function.about} of {table.id}'")

        database.as_owner(write)

    def _write_check(self, name: str, function: tuple[str, str] | None) -> None:
        """Create the function of the CHECK constraints again, unless it is as it should be.

        A statement of another role that changes nothing must not lock it: the owner of the table would wait until
        that role's transaction ends.

        Args:
            name: the name of the function.
            function: its parameters and its body, or None if there are no constraints.
        """
        database = self._database
        parameters, body = function or ("", "")
        if function and database.query(
            "SELECT FROM pg_proc AS p WHERE p.oid = to_regprocedure($1) AND p.prosrc = $2"
            " AND pg_get_userbyid(p.proowner) = current_user"
            " AND EXISTS (SELECT FROM aclexplode(p.proacl) AS a WHERE a.grantee = 0)",
            ("text", f"{database.schema}.{name}({parameters})"),
            ("text", "\n" + body),
        ):
            return
        self._drop_function(name)  # its parameters may be others now
        if function:
            database.run(
                f"CREATE FUNCTION {database.schema}.{name}({parameters}) RETURNS pg_catalog.text"
                f" LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp"
                # The constants of the constraints mean the same in every session.
                f" SET standard_conforming_strings = on SET array_nulls = on SET xmloption = content"
                # Plans can be logged. A generic one has no values in it.
                f" SET plan_cache_mode = force_generic_plan"
                f" AS {quote_body(body)}"
            )
            self._let_call(name, "PUBLIC")

    def _let_call(self, name: str, role: str) -> None:
        # No other role may call the function, whatever the default privileges are. doctor() compares the
        # privileges.
        self._database.query(
            "SELECT {s}._revoke_all('pg_proc'::pg_catalog.regclass, ARRAY(SELECT p.oid FROM pg_proc AS p"
            " WHERE p.pronamespace = '{s}'::regnamespace AND p.proname = $1))",
            ("text", name),
        )
        self._database.run(f"GRANT EXECUTE ON FUNCTION {self._database.schema}.{name} TO {role}")

    @staticmethod
    def _names_in_view(table: EncryptedTable, base: Table) -> dict[str, list[str]]:
        names = {column.name: [column.name] for column in base.columns if column.name in table.columns}
        for column in table.encrypted.values():
            names[column.cipher] = [column.name]
        return names

    @staticmethod
    def _names_in_base(table: EncryptedTable) -> dict[str, list[str]]:
        names = {name: [name] for name in table.columns}
        for column in table.encrypted.values():
            names[column.name] = [column.cipher, column.name, *column.companions]
        return names

    @staticmethod
    def _implied(table: EncryptedTable) -> tuple[list[str], list[str]]:
        # A row is sealed for its key, and the role that inserts the row also seals the defaults of encrypted
        # columns.
        inserted = list(table.key_columns)
        for column in table.encrypted.values():
            if column.default is not None:
                inserted += [column.cipher, column.name, *column.companions]
        return inserted, table.key_columns

    def refresh_encrypted_view(self, relation: str) -> str:
        """Create or update the view of a base table.

        Args:
            relation: the view, or the base table.

        Returns:
            The view.

        Raises:
            UndefinedError: the table has no encrypted columns.
            PrivilegeError: the current user does not own it.
        """
        table, _ = self._relations.lock_table(relation)
        with self._relations.busy(table.base):
            is_new = self.described(table) is None
            if is_new:
                table.relation = table.base
            else:
                # No event trigger fires where session_replication_role is replica.
                self.follow_rename(table)
            self.write(table)
            self.guard(table)
            self.grant_schema(table) if is_new else self.follow_privileges(table)
        return str(table.relation)

    def follow_rename(self, table: EncryptedTable) -> None:
        """Give a column without encryption the name in the view that it has got in the base table.

        Args:
            table: the table; the caller has locked it.

        Raises:
            UnsupportedError: a constraint of an encrypted column mentions the column.
        """
        base, view = self._relations.described(table.base), self._relations.described(table.relation)
        there = {column.name for column in base.columns}
        shown = set(table.columns) - table.encrypted.keys() - table.shown_blind_indexes().keys()
        lost, new = sorted(shown - there), there - shown - table.own_columns()
        if len(lost) != 1:
            return
        # The view reads the column by its number. It does not read a column that was added.
        rows = self._database.query(
            "SELECT DISTINCT a.attname::text AS name FROM pg_rewrite AS r JOIN pg_depend AS d"
            " ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid"
            " JOIN pg_attribute AS a ON d.refclassid = 'pg_class'::regclass AND a.attrelid = d.refobjid"
            " AND a.attnum = d.refobjsubid WHERE r.ev_class = $1 AND d.refobjid = $2",
            ("oid", view.oid),
            ("oid", base.oid),
        )
        names = [row["name"] for row in rows if row["name"] in new]
        if len(names) == 1:
            self.rename_plain(table, lost[0], names[0])
            change = f"RENAME COLUMN {quote_name(lost[0])} TO {quote_name(names[0])}"
            self._relations.run(base, f"ALTER VIEW {view.qualified} {change}")

    def rename_plain(self, table: EncryptedTable, old: str, new: str) -> None:
        """Give a column without encryption another name in the registry.

        Args:
            table: the table; the caller has locked it.
            old: the name until now.
            new: the name from now on.

        Raises:
            UnsupportedError: a constraint of an encrypted column mentions the column.
        """
        for constraint in table.constraints:
            if old in constraint.columns:
                raise UnsupportedError(
                    f'column "{old}" of {table.name} cannot be renamed: constraint "{constraint.name}" of '
                    "an encrypted column mentions it"
                )
        table.columns = [new if name == old else name for name in table.columns]
        table.key_columns = [new if name == old else name for name in table.key_columns]
        for column in table.encrypted.values():
            if column.key_by == old:
                column.key_by = new
                self._registry.save_column(column)
        self._registry.save_table(table)

    def guard(self, table: EncryptedTable) -> None:
        """Add the triggers and constraints that a base table lacks after a restore or on a replica.

        Args:
            table: the table; the caller has locked it.
        """
        base = self._relations.described(table.base)
        for name, enabled in self._sealing_triggers(table, base).items():
            if enabled != "A":
                self._enable(base, name)
        there = self._relations.names_of_constraints(base)
        for column in table.encrypted.values():
            if column.is_settled and column.sealed_constraint not in there:
                self._relations.run(base, f"ALTER TABLE {base.qualified} {sealed_check(column)}")

    def follow_privileges(self, table: EncryptedTable) -> None:
        """Give the roles that have privileges on the view the privileges on the base table that they need.

        Args:
            table: the table whose view has the right privileges.

        Raises:
            UnsupportedError: they cannot be honoured.
        """
        base = self._relations.described(table.base)
        names = self._names_in_base(table)
        copy_privileges(
            self._database, table.relation, table.base, names, self._implied(table), run=self._run_as(base)
        )
        base = self._relations.described(table.base)
        self._relations.check_row_security(table, base)
        self.grant_schema(table)
        self._remember(table)

    def follow_grant(self, table: EncryptedTable, command: str, *, is_of_base: bool) -> None:
        """Do ``follow_privileges`` after a GRANT or a REVOKE.

        Args:
            table: the table that the statement was about, or its view.
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
                f"cannot change the privileges on {base}: they follow the privileges on view {table.name}",
                hint=f"{command} the privileges on the view instead; the base table follows.",
            )
        if difference and not is_of_base:
            self.follow_privileges(table)
        # The view and the triggers depend on whether there are privileges on columns.
        base = self._relations.described(table.base)
        (row,) = self._database.query(
            "SELECT 'security_invoker=true' = ANY (reloptions) AS is_invoker FROM pg_class WHERE oid = $1",
            ("oid", table.relation),
        )
        if bool(row["is_invoker"]) is not self._is_invoker(table, base) and self.is_complete(table):
            self.write(table)

    def _had_before(self, table: EncryptedTable) -> bool:
        """Return whether there is no privilege on a view but those that are remembered of it."""
        remembered = self._remembered(table)
        # The owner has all privileges until the dump revokes some.
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
        # A dump contains the remembered privileges with the rest of the registry. A GRANT of the dump on the base
        # table may come before the GRANT on the view, and is so distinguished from other grants.
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
        """Let the roles that have privileges on the view call the functions that it calls."""
        base = self._relations.described(table.base)
        writers = inserters(self._database, table.relation)
        sequences = [column.sequence for column in base.columns if column.identity and column.sequence]
        for role, name in self.admit(grantees(self._database, table.relation)).items():
            # An identity column of a table needs no privilege on its sequence. The default of a view does.
            for sequence in sequences if role in writers else []:
                self._relations.run(base, f"GRANT USAGE ON SEQUENCE {sequence} TO {name}")

    def admit(self, roles: set[str]) -> dict[str, str]:
        """Let roles call the functions that views of encrypted tables call.

        Args:
            roles: their OIDs; ``0`` is PUBLIC.

        Returns:
            Their names as SQL takes them, by their OIDs.
        """
        names = {}
        for role in sorted(roles):
            (row,) = self._database.query(
                f"SELECT coalesce(quote_ident({valid_name('rolname')}), 'PUBLIC') AS name,"
                " has_schema_privilege(coalesce(rolname, 'public'), $2::regnamespace::oid, 'USAGE')"
                " AS has_usage"
                " FROM (SELECT) AS one LEFT JOIN pg_roles ON oid = $1",
                ("oid", int(role)),
                ("text", self._database.schema),
            )
            # Sessions that grant on different tables would otherwise update the same catalog row of the schema at
            # once.
            if not row["has_usage"]:
                self._grant_usage(row["name"])
            names[role] = row["name"]
        return names

    def _grant_usage(self, role: str) -> None:
        """Let a role use the extension's schema, unless another transaction keeps the catalog row of the schema.

        A role that grants on an encrypted table of its own can keep it for any time.
        """
        grant = f"GRANT USAGE ON SCHEMA {self._database.schema} TO {role}"
        try:
            with self._relations.short_waits():
                self._database.as_owner(lambda: self._database.run(grant))
        except Exception as error:
            if not is_lock_timeout(error):
                raise
            self._database.warn(
                f"role {role} cannot use schema {self._database.schema} yet: another transaction is changing the "
                "privileges on it",
                "Call refresh_encrypted_view(), or let an administrator run: " + grant,
            )

    def drop_column(self, table: EncryptedTable, base: Table, name: str) -> None:
        """Drop a column of the base table, which the view has.

        Args:
            table: the table, which the caller has locked.
            base: its base table.
            name: the column's.

        Raises:
            UnsupportedError: an object uses the column, or cannot be created again for the view without it.
        """
        view = self._relations.described(table.relation)
        objects = self._objects.of_relation(table.relation)
        check(objects, [name])
        dropped = self._objects.drop(objects)
        self._relations.run(base, f"DROP VIEW {view.qualified}")
        self._relations.run(base, f"ALTER TABLE {base.qualified} DROP COLUMN {quote_name(name)}")
        table.relation = table.base
        table.columns = [each for each in table.columns if each != name]
        self.write(table)
        self.bring_back(table, dropped)

    def drop_functions(self, table: EncryptedTable) -> None:
        """Drop the functions of a table's triggers."""
        self.drop_functions_of(table.id)

    def drop_functions_of(self, table_id: int) -> None:
        """Drop the functions of the triggers of a table that is given by its id, as far as they exist."""

        def drop() -> None:
            names = [view_function(event, table_id) for event in VIEW_TRIGGERS.values()]
            names += [sealing_function(event, table_id) for event in SEALING_TRIGGERS.values()]
            for name in (*names, f"_check_{table_id}"):
                self._drop_function(name)

        self._database.as_owner(drop)

    def _drop_function(self, name: str) -> None:
        # A view of another role may call the function, and must not keep it from being dropped: hence CASCADE.
        for row in self._database.query(
            "SELECT p.oid::regprocedure::text AS function FROM pg_proc AS p"
            " WHERE p.pronamespace = '{s}'::regnamespace AND p.proname = $1",
            ("text", name),
        ):
            self._database.run(f"DROP FUNCTION {row['function']} CASCADE")
