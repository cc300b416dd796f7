"""Computes the hashes of values for searches by the blind indexes that find equal values."""

from ..errors import KeyStateError, ParameterError, UndefinedError
from .blinding import Blinding, equality_options
from .encrypted_table import EncryptedColumn
from .relations import Relations


class EqualitySearches:
    """The searches for equal values of a database, for one session."""

    def __init__(self, relations: Relations, blinding: Blinding) -> None:
        self._relations = relations
        self._database = relations.database
        self._blinding = blinding
        self._found: dict[tuple[str, str], EncryptedColumn] = {}
        self._found_at: object = None

    def blind_index(self, relation: str, column_name: str, value: str | list[str | None] | None) -> bytes | None:
        """Return the hash of a value in the blind index of a column, or of several values in its compound index.

        Args:
            relation: the view, or the base table.
            column_name: the encrypted column; of a compound index, the first one of its columns.
            value: the text of a value of the column's type; or a list of the texts of values, in the order of the
                columns of the compound index. None, also in a list, gives None.

        Returns:
            16 bytes, or fewer with the option ``bits``.

        Raises:
            UndefinedError: the column has no such blind index.
            ParameterError: the compound index has another number of columns.
            KeyStateError: ``build_blind_index`` has not filled the blind index yet.
            PrivilegeError: the current user may neither search nor decrypt with the key of one of the columns.
        """
        if value is None:
            return None
        if isinstance(value, list):
            return self._compound_blind_index(relation, column_name, value)
        column = self.find_column(relation, column_name)
        if column.blind_key is None:
            raise UndefinedError(
                f'column "{column_name}" of {relation} has no blind index', hint="add_blind_index() makes one."
            )
        if not column.blind_is_filled:
            raise unfinished_error(relation, column_name)
        if not column.form.is_text:
            value = self._canonical(column, value)
        # column.equality would take a tenth of the whole call.
        options = column.normalization or "none"
        if column.blind_bits is not None:
            options = equality_options(options, column.blind_bits)
        return self._blinding.search_for(column.blind_key, options, value)

    def _compound_blind_index(self, relation: str, column_name: str, values: list[str | None]) -> bytes | None:
        column = self.find_column(relation, column_name)
        index = column.compound
        if index is None:
            raise UndefinedError(
                f'column "{column_name}" of {relation} has no blind index of kind compound',
                hint="add_blind_index(..., kind => 'compound') makes one.",
            )
        names = [column_name, *index.with_columns]
        if len(values) != len(names):
            raise ParameterError(
                f'the compound blind index "{index.name}" needs {len(names)} values: {", ".join(names)}'
            )
        if not index.is_filled:
            raise unfinished_error(relation, column_name)
        texts: list[str | None] = []
        for name, value in zip(names, values, strict=True):
            part = self.find_column(relation, name)
            texts.append(value if value is None or part.form.is_text else self._canonical(part, value))
        return self._blinding.search_for_compound(index.key, index.options, texts)

    def _canonical(self, column: EncryptedColumn, value: str) -> str:
        """Return the canonical text of a value of a column whose type is no text, by another text of it."""
        canonical = column.form.canonical(f"$1::pg_catalog.text::{column.sql_type}", self._database.schema)
        return self._relations.converted(canonical, value, column.type)

    def find_column(self, relation: str, column_name: str) -> EncryptedColumn:
        """Return an encrypted column, as the current statement finds it."""
        # The names are resolved once for all rows of a join, as long as nothing can have changed their meaning.
        database = self._database
        now = (
            database.user(),
            database.stamp(),
            database.transaction(),
            database.command(),
            database.setting("search_path"),
        )
        if now != self._found_at:
            self._found.clear()
            self._found_at = now
        found = self._found.get((relation, column_name))
        if found is None:
            _, found = self._relations.encrypted_column(relation, column_name)
            self._found[relation, column_name] = found
        return found


def unfinished_error(relation: str, column_name: str) -> KeyStateError:
    """Return the error for a search in a blind index that lacks rows."""
    return KeyStateError(
        f'the blind index of column "{column_name}" of {relation} is being built, and lacks rows',
        hint="Call build_blind_index() until it has completed.",
    )
