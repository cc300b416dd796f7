"""Adopts copies of tables with encrypted columns that were dropped, and forgets such tables.

Some tools build a copy of a table, drop the table, and give its name to the copy. The registry keeps the
definition of the dropped table, because no ciphertext of the copy can be decrypted without it.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from ..errors import DuplicateKeyError, Error, KeyStateError, PrivilegeError, UndefinedError, UnsupportedError
from ..key.arguments import refuse_null
from ..key.table import KeyTable
from .base_table import base_table_obstacles
from .catalog import Table, describe
from .definition import Definition
from .encrypted_table import EncryptedColumn, EncryptedTable, LostTable
from .partitions import tree_of
from .postgres_index import PostgresIndexes
from .quoting import new_name, quote_literal, quote_name
from .relations import Relations
from .structure import Structures
from .unregistered import possible_copies
from .view import Views

_SAMPLE = 1000
"""The number of values of each column that have to open, or to be reported."""
_KEYS_NAMED = 5


class Adoption:
    """The adoption of copies of dropped tables, for one session."""

    def __init__(
        self, relations: Relations, views: Views, postgres_indexes: PostgresIndexes, keys: KeyTable
    ) -> None:
        self._relations = relations
        self._views = views
        self._postgres_indexes = postgres_indexes
        self._keys = keys
        self._database = relations.database
        self._registry = relations.registry
        self._structures = Structures(relations.database)

    def adopt_encrypted_table(self, relation: str) -> str:
        """Make a table the base table of encrypted columns whose own table does not exist any more.

        Args:
            relation: the table.

        Returns:
            The view.

        Raises:
            DuplicateKeyError: the table is registered.
            UndefinedError: no dropped table has such columns.
            PrivilegeError: the current user does not own the table, is no member of the owner of the dropped
                table, or may not decrypt with the key; or the table's owner may not use the key.
            UnsupportedError: the ciphertexts of the table are not those of the columns.
        """
        oid = self._relations.resolve(relation)
        with self._relations.busy(oid):
            base = self._relations.lock(oid)
            if (table := self._registry.find(oid)) is not None:
                raise DuplicateKeyError(
                    f"{table.name} is registered as a table with encrypted columns",
                    hint="refresh_encrypted_view() creates its view again.",
                )
            table, unreadable = self._find(base)
            self._put_back(table, base)
        for column, trial in unreadable:
            self._database.warn(
                f'{trial.values - trial.opened} of {trial.values} values of column "{column.name}" cannot be '
                "decrypted: "
                f"{trial.problem}",
                f"verify_column({quote_literal(table.name)}, {quote_literal(column.name)}) names their rows.",
            )
        return str(table.relation)

    def _find(self, base: Table) -> tuple[EncryptedTable, list[tuple[EncryptedColumn, "_Trial"]]]:
        """Find the dropped table of which a table is a copy, and the columns some of whose values do not open."""
        names = [column.name for column in base.columns]
        alike = [lost for lost in self._registry.lost_tables() if lost.is_like(names)]
        if not alike:
            raise UndefinedError(
                f"no dropped table had encrypted columns like those of {base}",
                hint="dropped_encrypted_columns lists the tables that can be adopted.",
            )
        (row,) = self._database.query(
            "SELECT format('%I.%I', $1, $2) AS name", ("text", base.schema), ("text", base.name)
        )
        alike.sort(key=lambda lost: lost.base != row["name"])
        reasons: list[tuple[LostTable, Error]] = []
        for lost in alike:
            try:
                self._check_owner(lost)
                table = self._registry.find_lost(lost.id, base.oid)
                if table is None:
                    continue
                table.relation = self._view_of(lost, base) or table.base
                trials = list(self._try(table, base, has_name=lost.base == row["name"]))
            except (UnsupportedError, PrivilegeError, KeyStateError) as error:
                reasons.append((lost, error))
                continue
            return table, [(column, trial) for column, trial in trials if trial.opened < trial.values]
        if not reasons:
            raise UndefinedError(f"the definition of {base} was deleted concurrently")
        lost, reason = reasons[0]
        raise type(reason)(f"{base} is not a copy of dropped {lost}: {reason.message}", hint=reason.hint)

    def _check_owner(self, lost: LostTable) -> None:
        """Refuse a user who was not a member of the owner of the dropped table."""
        (row,) = self._database.query(
            "SELECT coalesce((SELECT pg_has_role(r.oid, 'USAGE') FROM pg_roles AS r WHERE r.rolname = $1),"
            " (SELECT u.rolsuper FROM pg_roles AS u WHERE u.rolname = current_user)) AS may",
            ("text", lost.owner),
        )
        if not row["may"]:
            raise PrivilegeError(
                f'must be a member of its owner, "{lost.owner}"' if lost.owner else "must be superuser",
                hint="A superuser can adopt a copy of any table, and forget any table.",
            )

    def _try(
        self, table: EncryptedTable, base: Table, *, has_name: bool
    ) -> Iterator[tuple[EncryptedColumn, "_Trial"]]:
        """Check that the ciphertexts of a table are those of the columns of a dropped one.

        Args:
            table: the dropped table, as it was registered.
            base: the table.
            has_name: whether the table has the name of the dropped table.

        Yields:
            Each column, and the trial of its values.

        Raises:
            UnsupportedError: they are not; or the table has no ciphertexts, and another name.
        """
        self._relations.check_base(table, base)
        for column in table.encrypted.values():
            if (there := base.column(column.name)).sql_type != column.sql_type:
                raise UnsupportedError(f'column "{column.name}" is of type {there.type}, not {column.type}')
        self._structures.check(table, base)
        obstacles = base_table_obstacles(self._database, table, base)
        if obstacles:
            raise UnsupportedError("; ".join(obstacles))
        values = 0
        for column in table.encrypted.values():
            self._keys.find_current(column.family).check_usage(encrypt=False)
            self._relations.check_owners_key(self._keys, base, column, ("encrypt", "decrypt"))
            self._check_keys(column, base)
            trial = self._open_some(table, column, base)
            if trial.values and not trial.opened:
                raise UnsupportedError(f'no value of column "{column.name}" can be decrypted: {trial.problem}')
            values += trial.values
            yield column, trial
        if not values and not has_name:
            raise UnsupportedError("it has no ciphertext, and another name")

    def _check_keys(self, column: EncryptedColumn, base: Table) -> None:
        """Refuse ciphertexts under a key that is not the column's."""
        cipher = quote_name(column.cipher)
        with self._relations.owners_rights(base, all_rows=True):
            rows = self._database.run(
                f"SELECT DISTINCT pg_catalog.substr(b.{cipher}, 2, 4) AS id FROM {base.only} AS b"
                f" WHERE b.{cipher} IS NOT NULL"
            )
        found = [int.from_bytes(row["id"], "big", signed=True) for row in rows]
        foreign = self._database.as_owner(
            lambda: self._database.execute(
                "SELECT f.id FROM unnest($1) AS f (id) WHERE NOT EXISTS"
                " (SELECT FROM {s}.key AS k WHERE k.id = f.id AND $2 IN (k.family, k.parent_family)) ORDER BY 1",
                ("integer[]", found),
                ("integer", column.family),
            )
        )
        if foreign:
            named = ", ".join(str(row["id"]) for row in foreign[:_KEYS_NAMED])
            raise UnsupportedError(
                f'column "{column.cipher}" has ciphertexts under key {named}, which is not a key of '
                f'"{column.name}"'
            )

    def _open_some(self, table: EncryptedTable, column: EncryptedColumn, base: Table) -> "_Trial":
        definition = Definition(table, base, self._database.schema)
        cipher = f"b.{quote_name(column.cipher)}"
        with self._relations.owners_rights(base, all_rows=True):
            (row,) = self._database.run(
                "SELECT pg_catalog.count(*) AS values,"
                " pg_catalog.count(*) OPERATOR(pg_catalog.-) pg_catalog.count(t.problem) AS opened,"
                " pg_catalog.min(t.problem) AS problem FROM ("
                f"SELECT {self._database.schema}._problem({cipher}, {definition.place(column, 'b')},"
                f" {column.family}) AS problem FROM {base.only} AS b WHERE {cipher} IS NOT NULL LIMIT {_SAMPLE}"
                ") AS t"
            )
        return _Trial(**row)

    def _put_back(self, table: EncryptedTable, base: Table) -> None:
        has_view = table.relation != table.base
        self._registry.put_back(table)
        self._registry.note_partitions(table, set(tree_of(self._database, base)) - {base.oid})
        for column in table.encrypted.values():
            self._complete(base, column)
        base = self._relations.described(base.oid)
        for column in table.encrypted.values():
            if column.is_settled:
                column.not_null = base.column(column.cipher).not_null
                self._registry.save_column(column)
        self._views.write(table)
        self._views.guard(table)
        if has_view:
            self._views.follow_privileges(table)
        else:
            self._views.grant_schema(table)
        for constraint in table.constraints:
            if constraint.kind == "u" and not self._has_unique(table, constraint.columns):
                self._postgres_indexes.write_unique(base, table, constraint.name, constraint.columns)

    def _view_of(self, lost: LostTable, base: Table) -> int | None:
        """Return the OID of the view that a tool has created again from the text of the former one, or None."""
        rows = self._database.query(
            "SELECT c.oid::bigint AS oid FROM pg_class AS c WHERE c.oid = to_regclass($1) AND c.relkind = 'v'"
            " AND c.relowner = $3 AND EXISTS (SELECT FROM pg_rewrite AS r JOIN pg_depend AS d"
            "  ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid WHERE r.ev_class = c.oid"
            "  AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $2)",
            ("text", lost.relation),
            ("oid", base.oid),
            ("oid", base.owner_oid),
        )
        return self._relations.lock(rows[0]["oid"]).oid if rows else None

    def _complete(self, base: Table, column: EncryptedColumn) -> None:
        """Add the constraints, indexes and triggers that a copy of a table may lack."""
        cipher, plain = quote_name(column.cipher), quote_name(column.name)
        changes = [
            f"ALTER COLUMN {cipher} SET STORAGE EXTERNAL",
            f"ALTER COLUMN {plain} DROP DEFAULT",
            f"ALTER COLUMN {plain} DROP NOT NULL",
        ]
        function = "_is_deterministic_token" if column.deterministic else "_is_token"
        (row,) = self._database.query(
            "SELECT EXISTS (SELECT FROM pg_constraint AS k JOIN pg_depend AS d"
            " ON d.classid = 'pg_constraint'::regclass AND d.objid = k.oid AND d.refclassid = 'pg_proc'::regclass"
            " JOIN pg_proc AS p ON p.oid = d.refobjid AND p.proname = $3"
            "  AND p.pronamespace = $4::regnamespace::oid"
            " JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attname = $2"
            " WHERE k.conrelid = $1 AND k.conkey = ARRAY[a.attnum]) AS is_checked",
            ("oid", base.oid),
            ("text", column.cipher),
            ("text", function),
            ("text", self._database.schema),
        )
        if not row["is_checked"]:
            check = new_name(column.cipher, "_check", self._relations.names_of_constraints(base))
            is_token = f"{self._database.schema}.{function}({cipher})"
            changes.append(f"ADD CONSTRAINT {quote_name(check)} CHECK ({is_token}) NOT VALID")
        self._relations.run(base, f"ALTER TABLE {base.qualified} {', '.join(changes)}")

    def _has_unique(self, table: EncryptedTable, columns: tuple[str, ...]) -> bool:
        """Return whether a unique index stands for a UNIQUE constraint on some columns."""
        names = []
        for name in columns:
            encrypted = table.encrypted.get(name)
            names.append((encrypted.blind if encrypted else None) or name)
        rows = self._database.query(
            "SELECT FROM pg_index AS i WHERE i.indrelid = $1 AND i.indisunique AND i.indpred IS NULL"
            " AND ARRAY(SELECT a.attname::text FROM pg_attribute AS a WHERE a.attrelid = i.indrelid"
            "  AND a.attnum = ANY (i.indkey::int2[]) ORDER BY 1) = ARRAY(SELECT unnest($2) ORDER BY 1) LIMIT 1",
            ("oid", table.base),
            ("text[]", names),
        )
        return bool(rows)

    def forget_dropped_table(self, table_id: int) -> None:
        """Delete the definition of a table that does not exist.

        Args:
            table_id: its id in ``dropped_encrypted_columns``.

        Raises:
            DataError: an argument is NULL.
            UndefinedError: no dropped table has the id.
            PrivilegeError: the current user is not a member of the owner of the table.
            KeyStateError: a table that is not registered can be its copy.
        """
        refuse_null(id=table_id)
        for lost in self._registry.lost_tables():
            if lost.id == table_id:
                break
        else:
            raise UndefinedError(f"there is no dropped table with the id {table_id}")
        try:
            self._check_owner(lost)
        except PrivilegeError as error:
            error.message = f"cannot forget {lost}: {error.message}"
            raise

        def may_use(role: int) -> bool:
            return any(self._keys.is_known_to(role, family=family) for family in lost.families)

        for copy in possible_copies(self._database, may_use):
            described = self._database.as_owner(partial(describe, self._database, copy.oid))
            if described is not None and lost.is_like(column.name for column in described.columns):
                raise KeyStateError(
                    f"{copy} can be a copy of dropped {lost}, and nobody could read it any more",
                    hint="Adopt it with adopt_encrypted_table(), or drop it.",
                )
        self._registry.forget_lost(table_id)
        self._views.drop_functions_of(table_id)


class _Trial(NamedTuple):
    """The result of opening some values of a column.

    Attributes:
        values: the number of values that were tried.
        opened: the number of values that opened.
        problem: the reason why a value did not open, or None.
    """

    values: int
    opened: int
    problem: str | None
