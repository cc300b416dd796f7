"""Operations for migrations.

    class Migration(migrations.Migration):
        dependencies = [("shop", "0007_customer")]
        operations = [EncryptColumn("customer", "ssn")]

    class Migration(migrations.Migration):
        dependencies = [("shop", "0008_encrypt_ssn")]
        atomic = False                                  # it commits in batches
        operations = [MigrateColumn("customer", "ssn")]

None of them changes the state of the models: a model does not know that its columns are encrypted.
"""

import json
from typing import Any

from django.db import NotSupportedError
from django.db.migrations.operations.base import Operation, OperationCategory

from ..adapter.ddl import PLAIN_INDEXES
from .names import base_name


class _ColumnOperation(Operation):
    category = OperationCategory.SQL
    atomic = False

    def __init__(self, model_name: str, name: str) -> None:
        self.model_name = model_name
        self.name = name

    @property
    def reversed(self) -> "_ColumnOperation | None":
        """The operation that undoes this, or None if there is nothing to do."""
        return None

    def state_forwards(self, app_label: str, state: Any) -> None:
        """Leave the state of the models as it is."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Alter the database."""
        model = to_state.apps.get_model(app_label, self.model_name)
        connection = schema_editor.connection
        if connection.vendor == "postgresql" and self.allow_migrate_model(connection.alias, model):
            self.run(schema_editor, model)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Undo it."""
        operation = self.reversed
        if operation is not None:
            operation.database_forwards(app_label, schema_editor, from_state, to_state)

    def run(self, schema_editor: Any, model: Any) -> None:
        """Alter the table of a model."""
        raise NotImplementedError

    def call(self, schema_editor: Any, model: Any, function: str, **arguments: Any) -> None:
        """Call a function of pgkeymgr for the column.

        Args:
            schema_editor: runs the statement.
            model: the model that has the field.
            function: its name, after ``SELECT`` or ``CALL``.
            arguments: more arguments by name; None leaves the default.
        """
        verb, _, name = function.partition(" ")
        given = {key: value for key, value in arguments.items() if value is not None}
        # Quoted, since NORMALIZE is a keyword.
        names = "".join(f', "{key}" => %s' for key in given)
        quote = schema_editor.connection.ops.quote_name
        column = model._meta.get_field(self.name).column
        schema_editor.execute(
            f"{verb} {quote(extension_schema(schema_editor.connection))}.{name}(%s::regclass, %s{names})",
            [quote(model._meta.db_table), column, *given.values()],
        )
        if hasattr(schema_editor.connection, "forget_encrypted_tables"):
            schema_editor.connection.forget_encrypted_tables()

    def check_not_atomic(self, schema_editor: Any) -> None:
        """Refuse a procedure in a transaction.

        Raises:
            NotSupportedError: the migration is atomic.
        """
        if schema_editor.connection.in_atomic_block:
            raise NotSupportedError(
                f"{type(self).__name__} commits in batches: set atomic = False in the class Migration, and leave"
                " other operations to other migrations"
            )


class EncryptColumn(_ColumnOperation):
    """Encrypt the values that are written to the column of a field from now on.

    Indexes on this column alone that are not unique are dropped before. Django makes such an index with
    ``varchar_pattern_ops`` for each text field that is indexed or unique. The reverse operation decrypts the
    column, which commits in batches: it needs a migration that is not atomic.
    """

    def __init__(
        self,
        model_name: str,
        name: str,
        key: str | None = None,
        key_by: str | None = None,
        deterministic: bool = False,
        compression: str | None = None,
    ) -> None:
        super().__init__(model_name, name)
        self.key = key
        self.key_by = key_by
        self.deterministic = deterministic
        self.compression = compression

    @property
    def reversed(self) -> _ColumnOperation:
        """Decryption."""
        return DecryptColumn(self.model_name, self.name)

    def run(self, schema_editor: Any, model: Any) -> None:
        """Drop the indexes, and encrypt."""
        table = model._meta.db_table
        column = model._meta.get_field(self.name).column
        _run_deferred(schema_editor, table, column)
        for index in _plain_indexes(schema_editor.connection, table, column):
            schema_editor.execute(f"DROP INDEX {index}", None)
        key_by = model._meta.get_field(self.key_by).column if self.key_by else None
        self.call(
            schema_editor,
            model,
            "SELECT encrypt_column",
            key=self.key,
            key_by=key_by,
            deterministic=self.deterministic or None,
            compression=self.compression,
        )

    def describe(self) -> str:
        """Return the description of the operation."""
        return f"Encrypt the column of {self.name} on {self.model_name}"


class MigrateColumn(_ColumnOperation):
    """Encrypt the rows that were there before, in batches that are committed. The migration must not be atomic."""

    def __init__(self, model_name: str, name: str, batch_size: int | None = None) -> None:
        super().__init__(model_name, name)
        self.batch_size = batch_size

    def run(self, schema_editor: Any, model: Any) -> None:
        """Call the procedure."""
        self.check_not_atomic(schema_editor)
        self.call(schema_editor, model, "CALL migrate_column", batch_size=self.batch_size)

    def describe(self) -> str:
        """Return the description of the operation."""
        return f"Encrypt the rows of {self.model_name} in {self.name}"


class DecryptColumn(_ColumnOperation):
    """Make the column plain again, in batches that are committed. The migration must not be atomic.

    Then it makes the indexes that Django makes for the field by itself. The reverse operation encrypts the column
    with a key of its own, and the rows that are there.
    """

    def __init__(self, model_name: str, name: str, batch_size: int | None = None) -> None:
        super().__init__(model_name, name)
        self.batch_size = batch_size

    @property
    def reversed(self) -> _ColumnOperation:
        """Encryption."""
        return _Encrypted(self.model_name, self.name, self.batch_size)

    def run(self, schema_editor: Any, model: Any) -> None:
        """Call the procedure, and make the indexes."""
        self.check_not_atomic(schema_editor)
        self.call(schema_editor, model, "CALL decrypt_column", batch_size=self.batch_size)
        for statement in schema_editor._field_indexes_sql(model, model._meta.get_field(self.name)):
            schema_editor.execute(statement)

    def describe(self) -> str:
        """Return the description of the operation."""
        return f"Decrypt the column of {self.name} on {self.model_name}"


class _Encrypted(MigrateColumn):
    """Encryption of a column and its rows."""

    def run(self, schema_editor: Any, model: Any) -> None:
        """Do both."""
        self.check_not_atomic(schema_editor)
        EncryptColumn(self.model_name, self.name).run(schema_editor, model)
        super().run(schema_editor, model)


class AddBlindIndex(_ColumnOperation):
    """Give an encrypted column a blind index.

    With the kind ``equality``, the lookup ``blind`` finds equal values, and with ``compound``, the condition
    ``Blinds``; with ``text``, ``range`` or ``json``, Django's own lookups use it. ``options`` are those of
    add_blind_index().
    """

    def __init__(
        self,
        model_name: str,
        name: str,
        normalize: str = "none",
        is_unique: bool = False,
        kind: str = "equality",
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(model_name, name)
        self.normalize = normalize
        self.is_unique = is_unique
        self.kind = kind
        self.options = options

    @property
    def reversed(self) -> _ColumnOperation:
        """Its removal."""
        return RemoveBlindIndex(
            self.model_name, self.name, self.normalize, self.is_unique, self.kind, self.options
        )

    def run(self, schema_editor: Any, model: Any) -> None:
        """Call the function."""
        self.call(
            schema_editor,
            model,
            "SELECT add_blind_index",
            normalize=self.normalize,
            is_unique=self.is_unique,
            kind=self.kind,
            options=None if self.options is None else json.dumps(self.options),
        )

    def describe(self) -> str:
        """Return the description of the operation."""
        return f"Add a blind index of {self.name} on {self.model_name}"


class RemoveBlindIndex(AddBlindIndex):
    """Remove the blind index of an encrypted column. The arguments are for the reverse operation."""

    @property
    def reversed(self) -> _ColumnOperation:
        """The blind index again."""
        return AddBlindIndex(self.model_name, self.name, self.normalize, self.is_unique, self.kind, self.options)

    def run(self, schema_editor: Any, model: Any) -> None:
        """Call the function."""
        self.call(schema_editor, model, "SELECT drop_blind_index", kind=self.kind)

    def describe(self) -> str:
        """Return the description of the operation."""
        return f"Remove the blind index of {self.name} on {self.model_name}"


def extension_schema(connection: Any) -> str:
    """Return the name of the schema that pgkeymgr is in.

    Raises:
        NotSupportedError: the database does not have the extension.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT n.nspname FROM pg_catalog.pg_extension AS e JOIN pg_catalog.pg_namespace AS n"
            " ON n.oid = e.extnamespace WHERE e.extname = 'pgkeymgr'"
        )
        row = cursor.fetchone()
    if row is None:
        raise NotSupportedError("the database has no extension pgkeymgr")
    schema: str = row[0]
    return schema


def _run_deferred(schema_editor: Any, table: str, column: str) -> None:
    # A schema editor makes indexes and constraints at its end: on a view, that would be too late.
    for statement in list(schema_editor.deferred_sql):
        if hasattr(statement, "references_column") and statement.references_column(table, column):
            schema_editor.deferred_sql.remove(statement)
            schema_editor.execute(statement, None)


def _plain_indexes(connection: Any, table: str, column: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            PLAIN_INDEXES.format(table="%s", column="%s"),
            [connection.ops.quote_name(base_name(connection, table)), column],
        )
        return [row[0] for row in cursor.fetchall()]
