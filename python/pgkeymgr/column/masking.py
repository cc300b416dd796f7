"""Masks: the part of a value that a role reads which may not decrypt an encrypted column.

The column's uuid, by which the mask is found, is part of the place that the ciphertext is bound to. So a caller,
who passes ciphertext and place, cannot use the mask of another column: the ciphertext would not open. The value is
decrypted and masked here, and SQL never sees it. Only a mask that is a function of the table's owner gets the
value in SQL. It runs with the rights of the owner, and under settings that reveal nothing to the reader.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import CanceledError, DataError, Error, KeyStateError, PrivilegeError
from ..key.cipher import HEADER_BYTES, TokenCipher, read_header
from ..key.database import Database
from ..key.record import Record
from ..key.table import TOKEN_KEY_TYPE, KeyTable
from ..key.token import to_text
from ..key.use_cache import Conditions
from .catalog import sql_type
from .forms import BYTES, form_of
from .kept_functions import READ_BY, KeptFunctions
from .mask_forms import MASKS
from .place import PLACE_PREFIX_BYTES, place_prefix
from .server_errors import is_intervention

_NO_UUID = bytes(16)

# With other settings, the reader's session would be sent the plans of the function, with the value in them, or its
# messages; and it would choose the objects that the function means, the meaning of a backslash in its constants,
# and the form of a value as text.
_SETTINGS = READ_BY | {
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "client_min_messages": "error",
    "debug_print_parse": "off",
    "debug_print_rewritten": "off",
    "debug_print_plan": "off",
    "plan_cache_mode": "auto",
}
_SET = "SELECT " + ", ".join(
    f"pg_catalog.set_config('{name}', '{setting}', true)" for name, setting in _SETTINGS.items()
)


class Mask(NamedTuple):
    """The mask of a column.

    Attributes:
        column: the column, as messages name it.
        without_grant: whether roles without a grant on the key read it.
        name: a name of ``MASKS``, or None for a function.
        owner: the OID of the owner of the function and the table.
        function: the OID of the function, or 0.
        type: the OID of the type of the column, or 0.
        query: calls the function with one argument, and returns what is encrypted of its result.
        query_type: the type of the argument.
    """

    column: str
    without_grant: bool
    name: str | None
    owner: int
    function: int
    type: int
    query: str
    query_type: str


Allowed = tuple[TokenCipher, Mask]
"""The cipher and the mask that make the mask of a value for a user who may read it."""


class Masking:
    """The masked values of encrypted columns, for one session."""

    def __init__(self, keys: KeyTable) -> None:
        self._keys = keys
        self._database: Database = keys.database
        self._uses = keys.uses
        self._functions = KeptFunctions(keys.database)

    def known(self, token: bytes, place: bytes, family: int) -> Allowed | None:
        """Return the answer of ``allow`` that was given before, if it still holds, or None."""
        known: Allowed | None = self._uses.get(self._which(token, place, family))
        return known

    def _which(self, token: bytes, place: bytes, family: int) -> tuple[Any, ...]:
        return "mask", family, token[1:HEADER_BYTES], place[:PLACE_PREFIX_BYTES], self._database.user()

    def allow(self, token: bytes, place: bytes, family: int, refusal: PrivilegeError) -> Allowed:
        """Return the mask of a column for the current user, who may not decrypt the column.

        Args:
            token: the ciphertext of the value.
            place: the column and the row that the ciphertext is bound to.
            family: the family of the column's key.
            refusal: the error for a user who may not read the mask either.

        Raises:
            PrivilegeError: ``refusal``; or the owner of a function may not decrypt.
            KeyStateError: the key or the function cannot be used.
        """
        mask = self._find(place[:PLACE_PREFIX_BYTES])
        if mask is None:
            raise refusal
        _, key_id = read_header(token)
        record = self._keys.lookup(key_id, with_wraps=False)
        if record is None or family not in (record.family, record.parent_family):
            raise refusal
        if not (record.may_read_masked or mask.without_grant):
            raise refusal
        self._check_state(record, mask)
        conditions = Conditions.of(record)
        if mask.name is None:
            self._check_owner(record, mask)
            self._functions.check(mask.function, mask.type, mask.column)
            # The function can be dropped, replaced, and get another owner, and no change of the keys is reported.
            conditions = conditions._replace(is_for_statement=True)
        allowed = self._keys.cipher(record), mask
        self._uses.put(self._which(token, place, family), allowed, conditions)
        return allowed

    def masked(self, allowed: Allowed, token: bytes, place: bytes) -> Any:
        """Return the mask of a value.

        Args:
            allowed: the result of ``allow`` or ``known`` for the same value.
            token: the ciphertext of the value.
            place: the column and the row that the ciphertext is bound to.

        Returns:
            A text, the bytes of a bytea column, or None.

        Raises:
            DataError: the value does not open, or the function that masks it has failed.
            CanceledError: the statement was canceled while the function ran.
        """
        cipher, mask = allowed
        if mask.name == "null":
            return None
        plaintext = cipher.decrypt(token, place)
        if mask.name is None:
            return self._computed(mask, plaintext)
        return MASKS[mask.name](to_text(plaintext))

    @staticmethod
    def _check_state(record: Record, mask: Mask) -> None:
        try:
            record.check_state()
            record.check_type(TOKEN_KEY_TYPE)
        except Error as error:
            if record.has_usage:
                raise
            # A role without a grant learns nothing else of the key.
            raise KeyStateError(f"the key of {mask.column} cannot be used now") from error

    def _check_owner(self, record: Record, mask: Mask) -> None:
        its_record = self._database.load_key(record.id, "", _NO_UUID, mask.owner, with_wraps=False)
        if its_record is None or not its_record.may_decrypt:
            raise PrivilegeError(
                f"the owner of the mask function of {mask.column} may not decrypt with the key of the column",
                hint="An administrator of keys can grant it, with grant_data_key().",
            )

    def _find(self, prefix: bytes) -> Mask | None:
        """Return the mask of a column, given by the first bytes of its places, or None."""
        column_uuid = prefix[len(place_prefix(b"")) :]
        if place_prefix(column_uuid) != prefix:
            return None
        rows = self._database.read_as_owner(
            lambda: self._database.execute(
                f"""
                SELECT
                    m.mask, m.without_grant, c.column_name::text AS name, r.name::text AS relation,
                    c.data_type::oid::bigint AS type_oid, {sql_type("c.data_type", "c.type_modifier")} AS sql_type,
                    p.proowner::bigint AS owner, p.oid::bigint AS function_oid,
                    quote_ident(n.nspname) || '.' || quote_ident(p.proname) AS function
                FROM {{s}}.column_mask AS m
                JOIN {{s}}.encrypted_column AS c ON c.uuid = m.column_id
                JOIN {{s}}.encrypted_relation AS r ON r.id = c.relation_id
                LEFT JOIN pg_class AS b ON b.oid = r.base::oid
                LEFT JOIN pg_proc AS p
                    ON p.oid = to_regprocedure(m.mask_function)
                    AND p.proowner = b.relowner
                    AND p.prokind = 'f'
                    AND NOT p.proretset
                    AND p.pronargs = 1
                    AND p.proargtypes[0] = c.data_type::oid
                    AND p.prorettype = c.data_type::oid
                LEFT JOIN pg_namespace AS n ON n.oid = p.pronamespace
                WHERE uuid_send(m.column_id) = $1
                ORDER BY p.oid IS NULL, c.id
                LIMIT 1
                """,
                ("bytea", column_uuid),
            )
        )
        if not rows:
            return None
        (row,) = rows
        column = f'column "{row["name"]}" of "{row["relation"]}"'
        if row["mask"] is not None:
            return Mask(column, row["without_grant"], row["mask"], 0, 0, 0, "", "")
        if row["function"] is None:
            raise KeyStateError(
                f"the mask function of {column} does not exist any more, or does not belong to the table's owner",
                hint="The owner of the table can set another mask with set_mask().",
            )
        form = form_of(self._database, row["type_oid"])
        if form is None:
            raise KeyStateError(f"the type of {column} does not exist any more")
        schema = self._database.schema
        argument = form.decoded("$1", row["sql_type"], schema)
        call = f"{row['function']}({argument})"
        query = f"SELECT {form.encoded(call, schema)} AS masked"
        query_type = "bytea" if form.kind == BYTES else "text"
        oids = row["owner"], row["function_oid"], row["type_oid"]
        return Mask(column, row["without_grant"], None, *oids, query, query_type)

    def _computed(self, mask: Mask, plaintext: bytes) -> Any:
        value = plaintext if mask.query_type == "bytea" else to_text(plaintext)
        try:
            with self._database.acting_as(mask.owner):
                self._database.query(_SET)
                (row,) = self._database.query(mask.query, (mask.query_type, value))
        except Exception as error:
            if isinstance(error, Error):
                raise
            # The message could show the value, also that of an error that looks like a cancellation.
            if is_intervention(error):
                raise CanceledError(f"the mask function of {mask.column} was canceled") from None
            state = getattr(error, "sqlstate", None) or "unknown"
            raise DataError(
                f"the mask function failed, with SQLSTATE {state}",
                hint="The owner of the table can repair the function, or set another mask with set_mask().",
            ) from None
        return row["masked"]
