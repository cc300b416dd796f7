"""The expressions of generated SQL: values of encrypted columns read and sealed, and rows compared.

The functions get a row by its name in the statement: an alias, a record variable, NEW or OLD. The expressions test
for a value with ``IS DISTINCT FROM NULL``, because ``IS NOT NULL`` is false for a composite value with a NULL in
it. PostgreSQL looks up no operator for that form, so it needs no qualification.
"""

from collections.abc import Callable

from .catalog import Table
from .encrypted_table import BlindIndex, EncryptedColumn, EncryptedTable
from .forms import BYTES, key_expression
from .index_kinds import COMPOUND
from .mask_forms import MASKS
from .place import place_prefix
from .quoting import bytes_literal, quote_literal, quote_name
from .transit import REWRITE

# Equal values of these encodings have equal bytes.
_COMPARED_AS_THEY_ARE = {"integer", "uuid", "boolean", "date", "timestamp", "timestamptz", "bytea"}
# The first bytes of a token: its header, its nonce and some ciphertext. Little of a large token is fetched.
_DISTINCT_BYTES = 64


def image(row: str, *names: str) -> str:
    """Return the record of some columns of a row, for comparisons of their images.

    Two values can differ although their type calls them equal, as 1.0 and 1.00.
    """
    return "ROW(" + ", ".join(f"{row}.{quote_name(name)}" for name in names) + ")::pg_catalog.record"


def differs(name: str, one: str, other: str) -> str:
    """Return the condition that a column differs between two rows."""
    return f"{image(one, name)} OPERATOR(pg_catalog.*<>) {image(other, name)}"


def is_there(row: str, name: str) -> str:
    """Return the condition that a column is not the NULL datum."""
    return f"{row}.{quote_name(name)} IS DISTINCT FROM NULL"


class Expressions:
    """The expressions about one table with encrypted columns."""

    def __init__(self, table: EncryptedTable, base: Table, schema: str) -> None:
        """Describe the table.

        Args:
            table: the table as it is registered.
            base: the base table, as the catalog has it now.
            schema: the schema of the extension, quoted.
        """
        self.table = table
        self.base = base
        self.schema = schema
        own = table.own_columns()
        self.plain = {column.name: column for column in base.columns if column.name not in own}
        self.blind = table.shown_blind_indexes()
        # The columns by which the view's triggers find a row. Ciphertexts are bound to the key's columns in any
        # case, but without its index these may be the same in several rows.
        self.keys = table.key_columns if base.is_identified_by(table.key_columns) else []

    @property
    def columns(self) -> list[str]:
        """The view's columns: those that it has had, then the base table's new ones."""
        new = [name for name in self.plain if name not in self.table.columns]
        new += [name for name in self.blind if name not in self.table.columns]
        there = self.plain.keys() | self.table.encrypted.keys() | self.blind.keys()
        return [name for name in self.table.columns if name in there] + new

    @property
    def base_oid(self) -> str:
        """The expression for the base table as a regclass."""
        return f"{quote_literal(self.base.qualified)}::pg_catalog.regclass"

    def place(self, column: EncryptedColumn, row: str) -> str:
        """Return the expression of type bytea for the place that a ciphertext is bound to.

        The place is NULL if a column of the key is NULL. The place of a deterministic column does not include the
        row.
        """
        parts = [bytes_literal(place_prefix(column.uuid))]
        if not column.deterministic:
            for name, encoding in zip(self.table.key_columns, self.table.key_encodings, strict=True):
                parts.append(key_expression(encoding, f"{row}.{quote_name(name)}"))
        return " OPERATOR(pg_catalog.||) ".join(parts)

    def family(self, column: EncryptedColumn, row: str) -> str:
        """Return the expression for the family of the key under which the value of a row belongs."""
        if column.key_by is None:
            return str(column.family)
        value = f"{row}.{quote_name(column.key_by)}"
        return f"{self.schema}._key_by({column.family}, ({value})::pg_catalog.text)"

    def open_raw(self, column: EncryptedColumn, row: str) -> str:
        """Return the expression for a decrypted value of a base table's row, text or bytea."""
        return self._from_cipher("_open_bytes" if column.form.kind == BYTES else "_open_text", column, row)

    def _from_cipher(self, function: str, column: EncryptedColumn, row: str) -> str:
        return (
            f"{self.schema}.{function}({row}.{quote_name(column.cipher)}, {self.place(column, row)},"
            f" {column.family})"
        )

    def opened(self, column: EncryptedColumn, row: str) -> str:
        """Return the expression for a decrypted value of a base table's row, of the column's type."""
        return column.form.decoded(self.open_raw(column, row), column.sql_type, self.schema)

    def read(self, column: EncryptedColumn, row: str) -> str:
        """Return the expression for a column's value, in whichever of the two columns of the base table it is.

        The view keeps both columns after a migration: a transaction with an old snapshot, also on a standby, still
        sees rows from before the migration through it.
        """
        return self._in_either(column, row, self.opened(column, row))

    def shown(self, column: EncryptedColumn, row: str) -> str:
        """Return the expression ``read``, or the mask of the column for roles that may not decrypt it."""
        if column.mask is None:
            return self.read(column, row)
        computed = "" if column.mask in MASKS else "_computed"
        function = f"_show{computed}_bytes" if column.form.kind == BYTES else f"_show{computed}_text"
        raw = self._from_cipher(function, column, row)
        return self._in_either(column, row, column.form.decoded(raw, column.sql_type, self.schema))

    def _in_either(self, column: EncryptedColumn, row: str, opened: str) -> str:
        value = (
            f"CASE WHEN {row}.{quote_name(column.cipher)} IS NULL THEN {row}.{quote_name(column.name)}"
            f" ELSE {opened} END"
        )
        return f"({value}) COLLATE {column.collation}" if column.collation else value

    def value(self, name: str, row: str) -> str:
        """Return the expression for a column of the view, from a row of the base table.

        A role that may not decrypt a column gets its mask there, if it has one.
        """
        encrypted = self.table.encrypted.get(name)
        return self.shown(encrypted, row) if encrypted else f"{row}.{quote_name(name)}"

    def check_reads(self, column: EncryptedColumn, row: str) -> str:
        """Return the expression that refuses a role that reads a column of a view's row masked."""
        value = f"({row}.{quote_name(column.key_by)})::pg_catalog.text" if column.key_by else "NULL"
        return f"{self.schema}._check_reads({column.family}, {value})"

    def seal_raw(self, column: EncryptedColumn, encoded: str, row: str) -> str:
        """Return the expression for the ciphertext of a result of ``Form.encoded``; NULL if the row has no key."""
        function = "_seal_bytes" if column.form.kind == BYTES else "_seal_text"
        if column.deterministic or column.is_compressed:
            function = "_seal_deterministic" if column.deterministic else "_seal_compressed"
            if column.form.kind != BYTES:
                encoded = f"pg_catalog.convert_to({encoded}, 'UTF8')"
        return f"{self.schema}.{function}({self.family(column, row)}, {encoded}, {self.place(column, row)})"

    def sealed(self, column: EncryptedColumn, row: str) -> str:
        """Return the expression for the ciphertext of the value that is in the plaintext column of a row."""
        encoded = column.form.encoded(f"{row}.{quote_name(column.name)}", self.schema)
        return self.seal_raw(column, encoded, row)

    def sealed_value(self, column: EncryptedColumn, row: str) -> str:
        """Return the expression for the ciphertext of a value of the view's row, or NULL if it has none."""
        return f"CASE WHEN {is_there(row, column.name)} THEN {self.sealed(column, row)} END"

    def resealed(self, column: EncryptedColumn, row: str) -> str:
        """Return the expression for the ciphertext of a row, encrypted again for the same row.

        The expression raises an error if the ciphertext does not open there.
        """
        function = "_reseal_compressed" if column.is_compressed else "_reseal"
        return (
            f"{self.schema}.{function}({self.family(column, row)}, {row}.{quote_name(column.cipher)},"
            f" {self.place(column, row)}, {column.family})"
        )

    def sent(self, column: EncryptedColumn, row: str) -> str:
        """Return the expression that leaves a value of the view's row for the base table's trigger to seal."""
        function = "_send_bytes" if column.form.kind == BYTES else "_send_text"
        encoded = column.form.encoded(f"{row}.{quote_name(column.name)}", self.schema)
        return f"{self.schema}.{function}({encoded})"

    def seal_sent(self, column: EncryptedColumn, row: str) -> str:
        """Return the expression for the ciphertext of a value that was sent."""
        function = "_seal_sent"
        if column.deterministic or column.is_compressed:
            function = "_seal_sent_deterministic" if column.deterministic else "_seal_sent_compressed"
        return (
            f"{self.schema}.{function}({self.family(column, row)}, {row}.{quote_name(column.cipher)},"
            f" {self.place(column, row)})"
        )

    def taken(self, column: EncryptedColumn, row: str) -> str:
        """Return the expression for a value that was sent, of the column's type."""
        function = "_take_bytes" if column.form.kind == BYTES else "_take_text"
        raw = f"{self.schema}.{function}({row}.{quote_name(column.cipher)})"
        return column.form.decoded(raw, column.sql_type, self.schema)

    def is_sent(self, column: EncryptedColumn, row: str) -> str:
        """Return the condition that a ciphertext column has a value that was sent."""
        cipher = f"{row}.{quote_name(column.cipher)}"
        return f"pg_catalog.substr({cipher}, 1, 1) OPERATOR(pg_catalog.=) {bytes_literal(REWRITE)}"

    def is_rewrite(self, column: EncryptedColumn, row: str) -> str:
        """Return the condition that a procedure wants the value of a row rewritten."""
        return f"{row}.{quote_name(column.cipher)} OPERATOR(pg_catalog.=) {bytes_literal(REWRITE)}"

    def indexed(self, column: EncryptedColumn, index: BlindIndex, value: str) -> str:
        """Return the expression for the hash or the terms of a value in one of the blind indexes of its column."""
        canonical = column.form.canonical(value, self.schema)
        return f"{self.schema}.{index.function}({index.key}, {quote_literal(index.options)}, {canonical})"

    def compounded(
        self, index: BlindIndex, parts: list[EncryptedColumn], value: Callable[[EncryptedColumn], str]
    ) -> str:
        """Return the expression for what the values of several columns have in a compound index.

        Args:
            index: the compound index.
            parts: its columns, in their order.
            value: returns the expression for the value of a column.
        """
        # The columns may have different collations, which one array cannot have.
        texts = ", ".join(
            f'(({part.form.canonical(value(part), self.schema)})::pg_catalog.text COLLATE pg_catalog."default")'
            for part in parts
        )
        options = quote_literal(index.options)
        return f"{self.schema}.{index.function}({index.key}, {options}, ARRAY[{texts}])"

    def index_value(self, column: EncryptedColumn, index: BlindIndex, row: str) -> str:
        """Return the expression for the value that a row of the base table must have in a blind index."""
        if index.kind != COMPOUND:
            return self.indexed(column, index, self.read(column, row))
        parts = self.table.parts(column, index.with_columns)
        return self.compounded(index, parts, lambda part: self.read(part, row))

    def has_value(self, column: EncryptedColumn, row: str) -> str:
        """Return the condition that a row of the base table has a value in a column."""
        return f"({' OR '.join(is_there(row, name) for name in (column.cipher, column.name))})"

    def filling(self, column: EncryptedColumn, index: BlindIndex) -> tuple[str, str]:
        """Return the condition that a row ``b`` lacks its value in a blind index, and the value."""
        parts = (self.has_value(part, "b") for part in self.table.parts(column, index.with_columns))
        lacks = " AND ".join([f"b.{quote_name(index.name)} IS NULL", *parts])
        return lacks, self.index_value(column, index, "b")

    def is_resealed(self, column: EncryptedColumn) -> str:
        """Return the condition that an UPDATE of the base table writes another ciphertext.

        The condition compares only the first bytes, since large ciphertexts are stored out of line. The first
        bytes have the nonce. A writer who changes a ciphertext and keeps the nonce damages the value, and its
        reader gets an error.
        """
        new, old = (f"{row}.{quote_name(column.cipher)}" for row in ("NEW", "OLD"))
        lengths = (
            f"(pg_catalog.octet_length({new}) OPERATOR(pg_catalog.=) pg_catalog.octet_length({old})) IS NOT TRUE"
            f" AND ({new} IS NOT NULL OR {old} IS NOT NULL)"
        )
        starts = (
            f"pg_catalog.substr({new}, 1, {_DISTINCT_BYTES}) OPERATOR(pg_catalog.<>)"
            f" pg_catalog.substr({old}, 1, {_DISTINCT_BYTES})"
        )
        return f"({lengths} OR {starts})"

    def is_moved(self, column: EncryptedColumn) -> str | None:
        """Return the condition that an UPDATE changes the place or key of a ciphertext, or None if none can."""
        conditions = []
        if not column.deterministic:
            for name, encoding in zip(self.table.key_columns, self.table.key_encodings, strict=True):
                new, old = (f"{row}.{quote_name(name)}" for row in ("NEW", "OLD"))
                if encoding not in _COMPARED_AS_THEY_ARE:
                    new, old = (f"({key_expression(encoding, each)})" for each in (new, old))
                conditions.append(f"({new} OPERATOR(pg_catalog.=) {old}) IS NOT TRUE")
        if column.key_by is not None:
            conditions.append(differs(column.key_by, "NEW", "OLD"))
        return f"({' OR '.join(conditions)})" if conditions else None

    def same_key(self, row: str) -> str:
        """Return the condition that a row of the base table, called ``b``, has the key of another row."""
        return " AND ".join(
            f"b.{quote_name(name)} OPERATOR(pg_catalog.=) {row}.{quote_name(name)}" for name in self.keys
        )

    def overriding(self) -> str:
        """Return the clause by which an INSERT may write an identity column that is GENERATED ALWAYS."""
        return " OVERRIDING SYSTEM VALUE" if any(c.identity == "a" for c in self.plain.values()) else ""
