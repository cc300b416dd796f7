"""Search terms for searches in encrypted columns, by blind indexes of kinds other than equality.

The terms find candidates, and the query compares the decrypted values of these; see sql/column/search.sql.
PostgreSQL may call a function for each row, so the terms of the last searches are kept.
"""

from typing import TypeVar

from ..errors import DataError, UndefinedError
from .blinding import Blinding
from .encrypted_table import EncryptedColumn
from .equality_search import EqualitySearches, unfinished_error
from .index_kinds import JSON, RANGE, TEXT
from .relations import Relations
from .term_index import SIMILAR, JsonTerms, RangeTerms, TextTerms, text_similarity

_KEPT_MAX = 1000
_BOUNDS_READ_BY = ("DateStyle", "TimeZone", "timezone_abbreviations")

_Terms = TypeVar("_Terms", TextTerms, RangeTerms, JsonTerms)
_Arguments = tuple[object, ...]


class Searches:
    """The search terms of a database, for one session."""

    def __init__(self, relations: Relations, equality_searches: EqualitySearches, blinding: Blinding) -> None:
        self._relations = relations
        self._database = relations.database
        self._equality_searches = equality_searches
        self._blinding = blinding
        self._kept: dict[_Arguments, tuple[object, list[int]]] = {}
        self._reported: set[_Arguments] = set()
        self._reported_in = -1

    def search_terms(
        self, relation: str, column_name: str, pattern: str | None, operator: str | None
    ) -> list[int] | None:
        """Return the terms of a search for a part of a text.

        Args:
            relation: the view, or the base table.
            column_name: an encrypted column with a text index.
            pattern: the pattern, or the part; None gives None.
            operator: ``like``, ``ilike``, ``prefix``, ``suffix``, ``contains`` or ``similar``.

        Returns:
            The terms that a row has if it matches; no terms if all rows have to be compared. For ``similar``, a
            row has at least one of them.

        Raises:
            UndefinedError: the column has no text index.
            KeyStateError: ``build_blind_index`` has not filled the index yet.
            ParameterError: the operator does not exist.
            UnsupportedError: the options of the index do not allow the operator.
            PrivilegeError: the current user may neither search nor decrypt with the column's key.
        """
        if pattern is None or operator is None:
            return None
        terms, _ = self._find(relation, column_name, TEXT, TextTerms)
        which = (relation, column_name, operator, pattern)
        if (kept := self._get(which, terms)) is not None:
            return kept
        made = terms.of_pattern(pattern, operator) or []
        return self._keep(which, terms, made, reports_scan=operator != SIMILAR)

    @staticmethod
    def text_similarity(one: str, other: str) -> float:
        """Return how similar two texts are; see ``term_index.text_similarity``."""
        return text_similarity(one, other)

    def search_range_terms(
        self, relation: str, column_name: str, low: str | None, high: str | None
    ) -> list[int] | None:
        """Return the terms of an interval.

        Args:
            relation: the view, or the base table.
            column_name: an encrypted column with a range index.
            low: the text of the first value of the interval; None for no bound.
            high: the text of the last value.

        Returns:
            The terms of which a row in the interval has at least one.

        Raises:
            DataError: a bound is not a value of the column's type.
            UndefinedError: the column has no range index.
            KeyStateError: ``build_blind_index`` has not filled the index yet.
            PrivilegeError: the current user may neither search nor decrypt with the column's key.
        """
        terms, column = self._find(relation, column_name, RANGE, RangeTerms)
        # The bounds are read like other texts of the session: by its settings, and "today" by its transaction.
        read_by = (self._database.transaction(), *map(self._database.setting, _BOUNDS_READ_BY))
        which = (relation, column_name, low, high, *read_by)
        if (kept := self._get(which, terms)) is not None:
            return kept
        low, high = (None if bound is None else self._canonical(column, bound) for bound in (low, high))
        return self._keep(which, terms, terms.of_interval(low, high), reports_scan=False)

    def search_json_terms(self, relation: str, column_name: str, part: str | None) -> list[int] | None:
        """Return the terms of a JSON value that others contain.

        Args:
            relation: the view, or the base table.
            column_name: an encrypted column with a json index.
            part: the text of the value; None gives None.

        Returns:
            The terms that a row has if it matches.

        Raises:
            UndefinedError: the column has no json index.
            KeyStateError: ``build_blind_index`` has not filled the index yet.
            PrivilegeError: the current user may neither search nor decrypt with the column's key.
        """
        if part is None:
            return None
        terms, _ = self._find(relation, column_name, JSON, JsonTerms)
        which = (relation, column_name, "part", part)
        if (kept := self._get(which, terms)) is not None:
            return kept
        return self._keep(which, terms, terms.of_part(part) or [])

    def search_key_terms(self, relation: str, column_name: str, json_key: str | None) -> list[int] | None:
        """Return the terms of a key at the top of a JSON value; see ``search_json_terms``."""
        if json_key is None:
            return None
        terms, _ = self._find(relation, column_name, JSON, JsonTerms)
        which = (relation, column_name, "key", json_key)
        if (kept := self._get(which, terms)) is not None:
            return kept
        return self._keep(which, terms, terms.of_key(json_key))

    def search_path_terms(
        self, relation: str, column_name: str, path: list[str | None] | None, expected: str | None
    ) -> list[int] | None:
        """Return the terms of a value at a path of a JSON value; see ``search_json_terms``.

        Args:
            relation: the view, or the base table.
            column_name: an encrypted column with a json index.
            path: the names on the path; if it or a name is None, the result is None.
            expected: the text of the value there; None gives None.
        """
        if path is None or expected is None:
            return None
        names = [name for name in path if name is not None]
        if len(names) < len(path):
            return None
        terms, _ = self._find(relation, column_name, JSON, JsonTerms)
        which = (relation, column_name, "path", expected, *names)
        if (kept := self._get(which, terms)) is not None:
            return kept
        return self._keep(which, terms, terms.of_path(names, expected) or [])

    def _find(
        self, relation: str, column_name: str, kind: str, kind_of_terms: type[_Terms]
    ) -> tuple[_Terms, EncryptedColumn]:
        """Return the maker of the terms of an index of a column, for the current user, and the column."""
        if column_name is None:
            raise DataError("column_name must not be NULL")
        column = self._equality_searches.find_column(relation, column_name)
        index = column.terms
        if index is None or index.kind != kind:
            raise UndefinedError(
                f'column "{column_name}" of {relation} has no blind index of kind {kind}',
                hint=f"add_blind_index(..., kind => '{kind}') makes one.",
            )
        if not index.is_filled:
            raise unfinished_error(relation, column_name)
        terms = self._blinding.terms_of(index.key, index.options, is_search=True)
        assert isinstance(terms, kind_of_terms)
        return terms, column

    def _get(self, which: _Arguments, terms: object) -> list[int] | None:
        kept = self._kept.get(which)
        return kept[1] if kept is not None and kept[0] is terms else None

    def _keep(self, which: _Arguments, terms: object, made: list[int], *, reports_scan: bool = True) -> list[int]:
        if len(self._kept) >= _KEPT_MAX:
            del self._kept[next(iter(self._kept))]
        self._kept[which] = (terms, made)
        if not made and reports_scan:
            self._report_scan(which)
        return made

    def _report_scan(self, which: _Arguments) -> None:
        """Send a notice that a search decrypts all rows, once a transaction."""
        if self._database.transaction() != self._reported_in:
            self._reported.clear()
            self._reported_in = self._database.transaction()
        if which not in self._reported:
            self._reported.add(which)
            self._database.notice(
                f'the search in column "{which[1]}" of {which[0]} has no search terms for the blind index, and '
                "decrypts all rows"
            )

    def _canonical(self, column: EncryptedColumn, value: str) -> str:
        # The type without its length: a bound may have more digits than a value, or be a greater integer.
        type_name = "int8" if column.form.base in ("int2", "int4") else column.form.base
        expression = column.form.canonical(f"$1::pg_catalog.text::pg_catalog.{type_name}", self._database.schema)
        return self._relations.converted(expression, value, column.form.base)
