"""Finishes an update of the extension: makes the views and triggers of encrypted tables again.

The script of ALTER EXTENSION UPDATE cannot do this, since PostgreSQL lets it replace members of the extension
only. Until it is done, the functions that the old views and triggers call raise an error: no value is lost.

All statements on a table run with the rights of its owner.
"""

from ..errors import UnsupportedError
from ..key.database import Database
from .base_table import base_table_obstacles
from .catalog import Table
from .comments import Comments
from .encrypted_table import EncryptedTable
from .layout_0_1_0 import VERSION, Layout
from .relations import Relations
from .structure import Structures
from .view import Views

LEFTOVER = "pgkeymgr: finish_update() drops it"
"""The comment of a function of an older version that objects of users still call; see sql/updates/end.sql.in."""


class FinishUpdate:
    """The second part of an update, for one session."""

    def __init__(self, relations: Relations, views: Views) -> None:
        self._relations = relations
        self._views = views
        self._comments = Comments(relations)
        self._database: Database = relations.database
        self._registry = relations.registry
        self._structures = Structures(relations.database)
        self._layout = Layout(relations)

    def finish_update(self) -> int:
        """Make the views and triggers of the tables again that an older version has made.

        Returns:
            The number of these tables.

        Raises:
            UnsupportedError: this version does not support a table. Nothing was changed.
        """
        self._admit_roles()
        bases = self._registry.made_by_others()
        for base in bases:
            self._update(base)
        self._drop_leftovers()
        self._registry.note_version()
        return len(bases)

    def _admit_roles(self) -> None:
        # The script of an update must not GRANT on the schema: PostgreSQL would take all privileges on it for the
        # extension's, and a dump would have none of them.
        rows = self._database.query(
            "SELECT r.oid::bigint AS oid FROM pg_roles AS r"
            " WHERE r.rolname IN ('pgkeymgr_user', 'pgkeymgr_monitor')"
        )
        self._views.admit({str(row["oid"]) for row in rows})

    def _update(self, oid: int) -> None:
        table = self._registry.find(oid)
        assert table is not None  # made_by_others() has listed it
        view = self._views.described(table)
        # Lock the view first, as all statements on the view do.
        if view is not None:
            self._relations.lock(view.oid)
        base = self._relations.lock(table.base)
        with self._relations.busy(table.base):
            self._relations.admit(base)
            if table.made_by == VERSION:
                self._layout.change(table, base, view)
            base = self._relations.described(table.base)
            self._relations.check_base(table, base)
            self._structures.check(table, base)
            self._refuse_obstacles(table, base)
            is_new = view is None
            if is_new:
                table.relation = table.base
            self._views.write(table)
            self._views.guard(table)
            self._comments.describe(table)
            self._views.grant_schema(table) if is_new else self._views.follow_privileges(table)

    def _refuse_obstacles(self, table: EncryptedTable, base: Table) -> None:
        obstacles = base_table_obstacles(self._database, table, base)
        if obstacles:
            raise UnsupportedError(
                f"cannot update {table.name}, which has encrypted columns: {'; '.join(obstacles)}",
                hint="Run ROLLBACK. Change this, and then run ALTER EXTENSION UPDATE again.",
            )

    def _drop_leftovers(self) -> None:
        database = self._database
        for row in database.as_owner(
            lambda: database.execute(
                "SELECT p.oid::regprocedure::text AS function FROM pg_proc AS p"
                " WHERE p.pronamespace = '{s}'::regnamespace AND obj_description(p.oid, 'pg_proc') = $1"
                # Others may have made a function with the comment.
                " AND EXISTS (SELECT FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid"
                "  WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'"
                "  AND d.refclassid = 'pg_extension'::regclass AND e.extname = 'pgkeymgr')"
                " ORDER BY 1",
                ("text", LEFTOVER),
            )
        ):
            function = row["function"]

            def drop(function: str = function) -> None:
                database.run(f"ALTER EXTENSION pgkeymgr DROP ROUTINE {function}")
                database.run(f"DROP ROUTINE {function}")

            try:
                database.as_owner(drop)
            except Exception as error:
                if getattr(error, "sqlstate", None) != "2BP01":  # dependent_objects_still_exist
                    raise
                database.warn(
                    f"function {function} of an older version stays, since other objects depend on it",
                    "Drop those, and call finish_update() again.",
                )
