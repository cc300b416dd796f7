"""Sets the masks of encrypted columns; ``masking.py`` makes the masked values."""

from ..errors import KeyStateError, ParameterError, PrivilegeError, UndefinedError, UnsupportedError
from ..key.arguments import refuse_null
from ..key.table import KeyTable
from .catalog import Table
from .encrypted_table import EncryptedColumn
from .kept_functions import KeptFunctions
from .mask_forms import MASKS, TYPES
from .relations import Relations
from .view import Views


class Masks:
    """The masks of columns, for one session."""

    def __init__(self, relations: Relations, views: Views, keys: KeyTable) -> None:
        self._relations = relations
        self._views = views
        self._keys = keys
        self._database = relations.database
        self._registry = relations.registry
        self._functions = KeptFunctions(relations.database)

    def set_mask(
        self, relation: str, column_name: str, mask: str | None, function: str | None, without_grant: bool
    ) -> None:
        """Set the mask of an encrypted column, which a role reads that may not decrypt the column.

        Args:
            relation: the view, or the base table.
            column_name: an encrypted column.
            mask: a name of ``MASKS``, or None.
            function: a function of the table's owner, or None. Without both, the column has no mask.
            without_grant: whether roles without a grant on the key read the mask, too.

        Raises:
            DataError: an argument is NULL.
            ParameterError: no mask has that name, or the function does not fit.
            UndefinedError: the column is not encrypted, or the function does not exist.
            PrivilegeError: the current user does not own the table, or its owner does not own the function.
            KeyStateError: the base table can have plaintext of the column.
            UnsupportedError: the mask does not fit the type of the column.
        """
        refuse_null(relation=relation, column_name=column_name, without_grant=without_grant)
        if mask is not None and mask not in MASKS:
            raise ParameterError(
                f'mask must be a function, or one of {", ".join(MASKS)}, not "{mask}"',
                hint="A function is given as 'name(type)'::regprocedure.",
            )
        self._relations.lock_table(relation)
        table, column = self._relations.encrypted_column(relation, column_name)
        if mask is not None or function is not None:
            if not column.is_settled:
                raise KeyStateError(
                    f'column "{column_name}" of {table.name} is {column.state}: its base table has plaintext',
                    hint="Call migrate_column() first.",
                )
            if mask is not None:
                self._check_type(mask, column, table.name)
            else:
                described = self._relations.described(table.base)
                self._check_function(str(function), column, described)
                self._functions.fix(self._relations, str(function), column.sql_type, described)
        self._keys.note_change()
        self._registry.set_mask(column, mask, function, without_grant=without_grant)
        # A partition that was detached has the column, too. The views name the function that shows a value.
        for base in self._registry.relations_of_column(column):
            self._views.refresh_encrypted_view(str(base))
        everybody = ", without a grant" if without_grant else ""
        detail = f'column "{column_name}" of {table.name}: {mask or function or "none"}{everybody}'
        self._keys.audit.record("set_mask", column.family, column.key, detail, even_if_undone=True)

    @staticmethod
    def _check_type(mask: str, column: EncryptedColumn, table_name: str) -> None:
        types = TYPES[mask]
        if types is not None and column.form.base not in types:
            raise UnsupportedError(
                f'the mask "{mask}" is for the types {", ".join(sorted(types))}, and column "{column.name}" of '
                f"{table_name} is of type {column.type}"
            )

    def _check_function(self, function: str, column: EncryptedColumn, base: Table) -> None:
        rows = self._database.read_as_owner(
            lambda: self._database.execute(
                """
                SELECT
                    p.prokind = 'f'
                        AND NOT p.proretset
                        AND p.prorettype = $2::regtype
                        AND p.pronargs = 1
                        AND p.proargtypes[0] = $2::regtype AS fits,
                    p.proowner = $3 AS is_owners
                FROM pg_proc AS p
                WHERE p.oid = $1::regprocedure
                """,
                ("text", function),
                ("text", column.sql_type),
                ("oid", base.owner_oid),
            )
        )
        if not rows:
            raise UndefinedError(f"function with OID {function} does not exist")
        (row,) = rows
        if not row["fits"]:
            raise ParameterError(
                f'the mask function {function} must have one argument of the type of column "{column.name}", '
                "and return one value of that type"
            )
        if not row["is_owners"]:
            raise PrivilegeError(
                f"the mask function {function} must belong to the owner of {base}, with whose rights it runs"
            )
