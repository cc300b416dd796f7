"""The expressions of generated SQL: values of encrypted columns read and sealed, and rows compared.

A row is given by what the statement calls it: an alias, a record variable, NEW or OLD. Whether there is a value is
asked of the datum, ``IS DISTINCT FROM NULL``: ``IS NOT NULL`` is false for a composite value with a NULL in it.
PostgreSQL looks no operator up for that form, so it needs no qualification.
"""

from .catalog import Table
from .forms import BYTES, key_expression
from .place import place_prefix
from .quoting import bytes_literal, quote_literal, quote_name
from .registry import EncryptedColumn, EncryptedTable
from .transit import REWRITE

# Of keys of these encodings, equal values have equal bytes.
_COMPARED_AS_THEY_ARE = {"integer", "uuid", "boolean", "date", "timestamp", "timestamptz", "bytea"}
# A token's header, its nonce and some ciphertext are in them; of a large token, little has to be fetched.
_TELLING_BYTES = 64


def image(row: str, *names: str) -> str:
    """Return the record of some columns of a row, for comparisons of their images.

    A value can differ where its type calls it equal, as 1.0 and 1.00.
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
            table: as registered.
            base: the base table, as the catalog has it now.
            schema: the extension's, quoted.
        """
        self.table = table
        self.base = base
        self.schema = schema
        own = table.own_columns()
        self.plain = {column.name: column for column in base.columns if column.name not in own}
        self.blind = table.shown_blind_indexes()

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

        It is NULL if a column of the key is. For a deterministic column, the row has no part in it.
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
        function = "_open_bytes" if column.form.kind == BYTES else "_open_text"
        return (
            f"{self.schema}.{function}({row}.{quote_name(column.cipher)}, {self.place(column, row)},"
            f" {column.family})"
        )

    def opened(self, column: EncryptedColumn, row: str) -> str:
        """Return the expression for a decrypted value of a base table's row, of the column's type."""
        return column.form.decoded(self.open_raw(column, row), column.sql_type, self.schema)

    def read(self, column: EncryptedColumn, row: str) -> str:
        """Return the expression for a column's value, in whichever of the two columns of the base table it is.

        It never loses the second one: who has an old snapshot, on a standby too, sees rows from before a migration
        through the view as it is after it.
        """
        value = (
            f"CASE WHEN {row}.{quote_name(column.cipher)} IS NULL THEN {row}.{quote_name(column.name)}"
            f" ELSE {self.opened(column, row)} END"
        )
        return f"({value}) COLLATE {column.collation}" if column.collation else value

    def value(self, name: str, row: str) -> str:
        """Return the expression for a column of the view, from a row of the base table."""
        encrypted = self.table.encrypted.get(name)
        return self.read(encrypted, row) if encrypted else f"{row}.{quote_name(name)}"

    def seal_raw(self, column: EncryptedColumn, encoded: str, row: str) -> str:
        """Return the expression for the ciphertext of what ``Form.encoded`` gives; NULL if the row has no key."""
        function = "_seal_bytes" if column.form.kind == BYTES else "_seal_text"
        if column.deterministic:
            function = "_seal_deterministic"
            if column.form.kind != BYTES:
                encoded = f"pg_catalog.convert_to({encoded}, 'UTF8')"
        return f"{self.schema}.{function}({self.family(column, row)}, {encoded}, {self.place(column, row)})"

    def sealed(self, column: EncryptedColumn, row: str) -> str:
        """Return the expression for the ciphertext of the value that is in the plaintext column of a row."""
        encoded = column.form.encoded(f"{row}.{quote_name(column.name)}", self.schema)
        return self.seal_raw(column, encoded, row)

    def resealed(self, column: EncryptedColumn, row: str) -> str:
        """Return the expression for the ciphertext of a row, encrypted again for the same row.

        It is an error if it does not open there.
        """
        return (
            f"{self.schema}._reseal({self.family(column, row)}, {row}.{quote_name(column.cipher)},"
            f" {self.place(column, row)}, {column.family})"
        )

    def sent(self, column: EncryptedColumn, row: str) -> str:
        """Return the expression that leaves a value of the view's row for the base table's trigger to seal."""
        function = "_send_bytes" if column.form.kind == BYTES else "_send_text"
        encoded = column.form.encoded(f"{row}.{quote_name(column.name)}", self.schema)
        return f"{self.schema}.{function}({encoded})"

    def seal_sent(self, column: EncryptedColumn, row: str) -> str:
        """Return the expression for the ciphertext of a value that was sent."""
        function = "_seal_sent_deterministic" if column.deterministic else "_seal_sent"
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

    def blinded(self, column: EncryptedColumn, value: str) -> str:
        """Return the expression for the blind index of a value."""
        canonical = column.form.canonical(value, self.schema)
        normalization = quote_literal(column.normalization or "none")
        return f"{self.schema}._blind({column.blind_key}, {normalization}, {canonical})"

    def is_resealed(self, column: EncryptedColumn) -> str:
        """Return the condition that an UPDATE of the base table writes another ciphertext.

        It reads little of large ones, which are stored elsewhere. The first bytes have the nonce, and two
        ciphertexts with one nonce do not both open: a writer who keeps the nonce damages the value, and its reader
        gets an error.
        """
        new, old = (f"{row}.{quote_name(column.cipher)}" for row in ("NEW", "OLD"))
        lengths = (
            f"(pg_catalog.octet_length({new}) OPERATOR(pg_catalog.=) pg_catalog.octet_length({old})) IS NOT TRUE"
            f" AND ({new} IS NOT NULL OR {old} IS NOT NULL)"
        )
        starts = (
            f"pg_catalog.substr({new}, 1, {_TELLING_BYTES}) OPERATOR(pg_catalog.<>)"
            f" pg_catalog.substr({old}, 1, {_TELLING_BYTES})"
        )
        return f"({lengths} OR {starts})"

    def is_moved(self, column: EncryptedColumn) -> str | None:
        """Return the condition that an UPDATE changes what a ciphertext is bound to, or None if none can."""
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
            f"b.{quote_name(name)} OPERATOR(pg_catalog.=) {row}.{quote_name(name)}"
            for name in self.table.key_columns
        )

    def overriding(self) -> str:
        """Return the clause by which an INSERT may write an identity column that is GENERATED ALWAYS."""
        return " OVERRIDING SYSTEM VALUE" if any(c.identity == "a" for c in self.plain.values()) else ""
