"""Relations with encrypted columns: found, locked, described, for those who own them.

A user's table can have code of its owner's in it: CHECK constraints, domains, casts, index expressions, policies.
So a statement on it runs with the rights of the table's owner, whoever the caller is, and never with those of the
extension's owner.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ..errors import DataError, InvalidValueError, PrivilegeError, UndefinedError, UnsupportedError
from ..key.database import Database, Rows
from ..key.table import TOKEN_KEY_TYPE, KeyTable
from .catalog import SEALING_TRIGGERS, Table, describe
from .quoting import quote_literal, quote_name
from .registry import EncryptedColumn, EncryptedTable, Registry

_BYTEA_OID = 17
_SHOWS_VALUES = {
    "22003",  # numeric_value_out_of_range
    "22007",  # invalid_datetime_format
    "22008",  # datetime_field_overflow
    "22009",  # invalid_time_zone_displacement_value
    "22015",  # interval_field_overflow
    "22018",  # invalid_character_value_for_cast
    "22021",  # character_not_in_repertoire
    "2200L", "2200M", "2200N", "2200S", "2200T",  # of XML
    "22030", "22032", "22033", "22034", "22035", "22036", "22037", "22038", "22039", "2203A", "2203G",  # of JSON
    "22P02",  # invalid_text_representation
    "22P03",  # invalid_binary_representation
    "22P05",  # untranslatable_character
}  # fmt: skip
"""The SQLSTATEs of PostgreSQL's complaints about a value in whose messages the value stands."""


@contextmanager
def without_values(message: str) -> Iterator[None]:
    """Put a message of our own in the place of PostgreSQL's complaints about a value, which show the value.

    Args:
        message: what is wrong, without the value.

    Raises:
        InvalidValueError: in the place of such a complaint, with its SQLSTATE.
    """
    try:
        yield
    except Exception as error:
        sqlstate = getattr(error, "sqlstate", None)
        if sqlstate not in _SHOWS_VALUES:
            raise
        raise InvalidValueError(message, sqlstate) from None


class Relations:
    """The relations of a database, for one session.

    Attributes:
        database: the session's.
        registry: the tables that say what is encrypted.
        is_busy: whether the DDL that runs is our own, and not to be followed.
        is_following: whether an event trigger calls, which has greater rights than the statement's user.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.registry = Registry(database)
        self.is_busy = False
        self.is_following = False

    def resolve(self, relation: str) -> int:
        """Return the OID of a relation, which PL/Python gives as text or as a number in text."""
        if relation is None:
            raise DataError("relation must not be NULL")
        if relation.isdigit():
            return int(relation)
        (row,) = self.database.query(
            "SELECT $1::pg_catalog.regclass::pg_catalog.oid::pg_catalog.int8 AS oid", ("text", relation)
        )
        return int(row["oid"])

    def encrypted_table(self, relation: str) -> EncryptedTable:
        """Find a table with encrypted columns.

        Raises:
            UndefinedError: the relation has none.
        """
        table = self.registry.find(self.resolve(relation))
        if table is None:
            raise UndefinedError(f"{relation} has no encrypted columns")
        return table

    def encrypted_column(self, relation: str, column_name: str) -> tuple[EncryptedTable, EncryptedColumn]:
        """Find an encrypted column.

        Raises:
            UndefinedError: it is not one.
        """
        if column_name is None:
            raise DataError("column_name must not be NULL")
        table = self.encrypted_table(relation)
        column = table.encrypted.get(column_name)
        if column is None:
            raise UndefinedError(f'column "{column_name}" of {table.name} is not encrypted')
        return table, column

    def described(self, oid: int) -> Table:
        """Read what the catalog says of a relation that is there.

        Raises:
            UndefinedError: it is not.
        """
        table = describe(self.database, oid)
        if table is None:
            raise UndefinedError(f"there is no relation with OID {oid} any more")
        return table

    def check_owner(self, oid: int) -> None:
        """Refuse who does not own a relation.

        Raises:
            PrivilegeError: the current user is not its owner, nor a member of it.
        """
        (row,) = self.database.query(
            "SELECT pg_has_role(c.relowner, 'USAGE') AS is_owner FROM pg_class AS c WHERE c.oid = $1", ("oid", oid)
        )
        if not row["is_owner"]:
            raise PrivilegeError(f"must be owner of {self.described(oid)}")

    def fault(self, table: EncryptedTable, base: Table) -> str | None:
        """Return in which way a base table is not what pgkeymgr made of it, or None.

        Args:
            table: as registered.
            base: its base table.

        Returns:
            A phrase.
        """
        if base.kind not in "rp":
            return f"{base} is not a table any more"
        kinds = {column.name: column.type_oid for column in base.columns}
        for column in table.encrypted.values():
            for name in (column.cipher, column.blind):
                if name is None:
                    continue
                if name not in kinds:
                    return f'column "{name}" of {base} is gone'
                if kinds[name] != _BYTEA_OID:
                    return f'column "{name}" of {base} is not of type bytea any more'
        return None

    def check_base(self, table: EncryptedTable, base: Table) -> None:
        """Refuse a base table that is not what pgkeymgr made of it.

        Raises:
            UnsupportedError: it is no table, or a column of pgkeymgr's own is gone or of another type.
        """
        fault = self.fault(table, base)
        if fault is not None:
            raise UnsupportedError(fault)

    @contextmanager
    def owners_rights(self, base: Table, *, all_rows: bool = False) -> Iterator[None]:
        """Run the block with the rights of a table's owner, as PostgreSQL's maintenance commands do.

        Args:
            base: the table.
            all_rows: whatever policies there are; otherwise, those that bind the caller bind the owner, too, if
                they are to bind owners.

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

        It runs with the rights of the table's owner, or if the owner may create nothing in the schema, with those
        of the caller, who may: PostgreSQL calls for nobody's code in such statements.

        Raises:
            PrivilegeError: the owner may not, and it is an event trigger that would.
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
        """Refuse an owner who may not use a column's key: rows are sealed and opened with the owner's rights.

        Args:
            keys: the key table.
            base: the table.
            column: an encrypted one.
            usages: of ``encrypt`` and ``decrypt``.

        Raises:
            PrivilegeError: the owner may not.
        """
        self.admit(base)
        if self.database.user() == base.owner_oid:
            return
        with self.owners_rights(base):
            for usage in usages:
                try:
                    keys.usable(column.key, TOKEN_KEY_TYPE, encrypt=usage == "encrypt", with_wraps=False)
                except PrivilegeError:
                    raise PrivilegeError(
                        f'the owner of {base}, "{base.owner}", may not {usage} with the key of column '
                        f'"{column.name}", and this is done with the rights of the owner',
                        hint=f"SELECT {self.database.schema}.grant_data_key({quote_literal(column.key)}, "
                        f"{quote_literal(quote_name(base.owner))});",
                    ) from None

    def admit(self, base: Table) -> None:
        """Let a table's owner call what seals and opens values: that takes USAGE on the extension's schema."""
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
            What the catalog says of it after that.

        Raises:
            PrivilegeError: the current user does not own it.
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
            What is registered of it, and what the catalog says of its base table, after that.

        Raises:
            UndefinedError: it has no encrypted columns.
            PrivilegeError: the current user does not own it.
            UnsupportedError: it is not what pgkeymgr made of it.
        """
        table = self.encrypted_table(relation)
        # The view first, as those who use it do.
        if describe(self.database, table.relation) is not None:
            self.lock(table.relation)
        base = self.lock(table.base)
        table = self.encrypted_table(str(table.base))
        self.check_base(table, base)
        return table, base

    @contextmanager
    def without_triggers(self, base: Table, *, are_undone: bool = False) -> Iterator[None]:
        """Keep the user's triggers from firing on rows that stay what they are.

        Args:
            base: the table.
            are_undone: whether the table's own trigger undoes what BEFORE triggers have done to a row; then these
                may fire, where the current user cannot keep them from it.

        Raises:
            UnsupportedError: there are some that nothing keeps from it.
            PrivilegeError: there are some, and the current user may not keep them from it.
        """
        (row,) = self.database.query(
            # tgtype: 1 row, 2 before, 16 update
            "SELECT coalesce(bool_or(t.tgenabled = 'O'), false) AS fire,"
            " coalesce(bool_or(t.tgenabled = 'O' AND NOT (t.tgtype & 2 = 2 AND $2)), false) AS matter,"
            " coalesce(bool_or(t.tgenabled = 'A' AND NOT (t.tgtype & 2 = 2 AND $2)), false) AS always,"
            " coalesce(bool_or(t.tgenabled = 'R' AND NOT (t.tgtype & 2 = 2 AND $2)), false) AS replica,"
            " has_parameter_privilege('session_replication_role', 'SET') AS may,"
            " current_setting('session_replication_role') AS role"
            " FROM pg_trigger AS t WHERE t.tgrelid = $1 AND NOT t.tgisinternal AND t.tgtype & 17 = 17"
            " AND t.tgname <> ALL ($3::text[]::name[])",
            ("oid", base.oid),
            ("boolean", are_undone),
            ("text[]", list(SEALING_TRIGGERS)),
        )
        is_replica = row["role"] == "replica"
        if row["always"] or (row["replica"] and (row["matter"] or is_replica)):
            raise UnsupportedError(
                f"{base} has triggers enabled as ALWAYS or REPLICA, which nothing keeps from firing for rows that "
                "stay what they are",
                hint="ALTER TABLE ... ENABLE TRIGGER, without the word, until this is done.",
            )
        if row["matter"] and not (row["may"] or is_replica):
            raise PrivilegeError(
                f"the triggers of {base} would fire for each row, and only who may set session_replication_role "
                "can keep them from it",
                hint="Call it as a superuser, or GRANT SET ON PARAMETER session_replication_role.",
            )
        if is_replica or not row["fire"] or not row["may"] or row["replica"]:
            yield
            return
        self.set_local({"session_replication_role": "replica"})
        yield
        self.set_local({"session_replication_role": row["role"]})

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Run DDL of our own."""
        was_busy, self.is_busy = self.is_busy, True
        try:
            yield
        finally:
            self.is_busy = was_busy

    @contextmanager
    def following(self) -> Iterator[None]:
        """Run the work of an event trigger: DDL of our own, with greater rights than the statement's user has."""
        was_following, self.is_following = self.is_following, True
        try:
            with self.busy():
                yield
        finally:
            self.is_following = was_following

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
            expression: for the text.
            value: the value's text.
            type_name: the value's type, for the error.

        Raises:
            DataError: the value is none of the type; the message does not show it.
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
