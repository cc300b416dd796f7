"""Runs the steps of an example on both sides, and raises ``DifferenceError`` at the first that differs."""

from typing import Any

from .exclusions import Exclusion
from .kinds import MARKER, quoted
from .pair import CANCELLED, Outcome, Pair
from .step import Step, write
from .tally import Tally

OWNER = "model_owner"
"""A role that owns the tables of some examples."""
LOG = "CREATE TABLE log (level text, entry text)"
"""The table that the triggers of an example write to."""

_Result = tuple[str, list[tuple[Any, ...]]]
_RESET = "RESET SESSION AUTHORIZATION; RESET ALL; SET client_min_messages = error"
_BEFORE = "DELETE FROM log;\n"
_CHECKS = 2
"""The results of the queries that both sides run after a step: the contents and the log."""
_SHOWN = 4
_FOREIGN_KEY_VIOLATION = "23503"


class DifferenceError(AssertionError):
    """The two sides differ, or the encrypted one is not as it must be."""

    def __init__(self, what: str, steps: list[Step]) -> None:
        super().__init__(f"{what}\n\nThe example, as a file of test/model/cases:\n\n{write(steps)}")


class Comparison:
    """One example: a schema of its own in both databases, which is dropped at the end."""

    def __init__(self, pair: Pair, number: int, tally: Tally) -> None:
        self._pair = pair
        self._schema = f"m{number}"
        self._tally = tally
        self._steps: list[Step] = []
        self._contents = self._invariants = ""
        start = f"{_RESET}; CREATE SCHEMA {self._schema}; SET search_path = {self._schema}, public, pgkeymgr"
        self._both(f"{start}; {LOG}; GRANT ALL ON SCHEMA {self._schema} TO {OWNER}; GRANT ALL ON log TO {OWNER}")
        pair.other.run(f"SET search_path = {self._schema}, public, pgkeymgr")

    def drop(self) -> None:
        """Drop the schemas."""
        self._both(f"{_RESET}; DROP SCHEMA {self._schema} CASCADE")

    def run(self, step: Step) -> bool:
        """Run a step on both sides.

        Returns:
            Whether it succeeded, as it then did on both.

        Raises:
            DifferenceError: the sides differ.
        """
        self._steps.append(step)
        if step.blocker:
            return self._interrupt(step)
        is_apart = step.is_alone or step.is_change
        before, after = ("", "") if is_apart else (_BEFORE, f";\n{self._contents}")
        plain, encrypted = self._pair.run(
            self._placed(before + step.plain + after),
            self._placed(before + step.encrypted + after + ("" if is_apart else self._invariants)),
            step.copy,
        )
        has_failed = self._compare_success(step, plain, encrypted)
        self._tally.count(step, has_failed=has_failed)
        if has_failed:
            self._align_sequences()
            return False
        if is_apart:
            self._compare_results(step, plain.results, encrypted.results)
            if step.is_change:
                self._refresh()
            plain, encrypted = self._pair.run(self._contents, self._contents + self._invariants)
            self._compare_success(step, plain, encrypted)
            self._compare_checks(step, plain.results, encrypted.results, is_logged=False)
        else:
            # The first result is that of the DELETE, the last are the checks'.
            own = len(plain.results) - _CHECKS
            self._compare_results(step, plain.results[1:own], encrypted.results[1:own])
            self._compare_checks(step, plain.results[own:], encrypted.results[own:])
        return True

    def _interrupt(self, step: Step) -> bool:
        """Run a procedure that is cancelled; return whether it came to its end all the same."""
        outcome = self._pair.interrupt(step.blocker, step.encrypted)
        if outcome.sqlstate not in ("", CANCELLED):
            raise self._differ(f"not cancelled, but: {outcome.message}")
        self._tally.count(step, has_failed=False)
        self._refresh()
        plain, encrypted = self._pair.run(self._contents, self._contents + self._invariants)
        self._compare_success(step, plain, encrypted)
        self._compare_checks(step, plain.results, encrypted.results, is_logged=False)
        return not outcome.sqlstate

    def _placed(self, sql: str) -> str:
        return sql.replace("{schema}", self._schema)

    def _both(self, sql: str) -> None:
        for outcome in self._pair.run(sql, sql):
            assert not outcome.sqlstate, f"{outcome.message}\n{sql}"

    def _differ(self, what: str) -> DifferenceError:
        return DifferenceError(f"{self._steps[-1].title}: {what}", self._steps)

    def _compare_success(self, step: Step, plain: Outcome, encrypted: Outcome) -> bool:
        """Return whether the step failed, as it may if it did on both sides alike."""
        if step.refused:
            if encrypted.sqlstate != step.refused:
                raise self._differ(f"not refused with {step.refused}, but: {encrypted.message or 'success'}")
            return True
        # Which of several constraints is named first is not the same.
        is_alike = plain.sqlstate[:2] == encrypted.sqlstate[:2]
        # Foreign keys are checked after each row, and so before a later row is refused for another reason.
        is_alike |= bool(plain.sqlstate) and encrypted.sqlstate == _FOREIGN_KEY_VIOLATION
        is_alike |= bool(plain.sqlstate and encrypted.sqlstate) and Exclusion.ORDER in step.excluded
        if not is_alike:
            raise self._differ(f"plain: {plain.message or 'success'}\nencrypted: {encrypted.message or 'success'}")
        return bool(plain.sqlstate)

    def _compare_results(self, step: Step, plain: list[_Result], encrypted: list[_Result]) -> None:
        if Exclusion.RESULTS in step.excluded:
            return
        for one, other in zip(plain, encrypted, strict=True):
            if one[0] != other[0] and Exclusion.COUNT not in step.excluded:
                raise self._differ(f"plain: {one[0]}\nencrypted: {other[0]}")
            # The order of rows depends on where they are stored.
            self._compare_rows("the result", one[1], other[1])

    def _compare_rows(self, what: str, plain: list[tuple[Any, ...]], encrypted: list[tuple[Any, ...]]) -> None:
        def key(row: tuple[bytes | None, ...]) -> tuple[tuple[bool, bytes], ...]:
            return tuple((value is None, value or b"") for value in row)

        one, other = sorted(plain, key=key), sorted(encrypted, key=key)
        if one != other:
            only = [row for row in one if row not in other][:_SHOWN]
            extra = [row for row in other if row not in one][:_SHOWN]
            raise self._differ(
                f"{what} differs in {len(one)} and {len(other)} rows\nplain: {only}\nencrypted: {extra}"
            )

    def _compare_checks(
        self, step: Step, plain: list[_Result], encrypted: list[_Result], *, is_logged: bool = True
    ) -> None:
        self._compare_rows("the contents", plain[0][1], encrypted[0][1])
        if wrong := [row for _, rows in encrypted[_CHECKS:] for row in rows]:
            raise self._differ(f"{wrong[:_SHOWN]}")
        if not is_logged or Exclusion.TRIGGERS in step.excluded:
            return
        kept = [plain[1][1], encrypted[1][1]]
        if Exclusion.STATEMENT_TRIGGERS in step.excluded:
            kept = [[row for row in rows if row[0] == b"ROW"] for rows in kept]
        self._compare_rows("the triggers' log", *kept)

    def _align_sequences(self) -> None:
        """Let both sides go on with the same numbers: a statement that fails may stop at another row."""
        own = f"schemaname = '{self._schema}'"
        query = f"SELECT sequencename, last_value FROM pg_sequences WHERE {own} ORDER BY 1"
        plain, encrypted = (outcome.results[0][1] for outcome in self._pair.run(query, query))
        last: dict[bytes, int] = {}
        for name, value in plain + encrypted:
            last[name] = max(last.get(name, 0), int(value or 0))
        changes = [f"SELECT setval('{name.decode()}', {value})" for name, value in last.items() if value]
        if plain != encrypted and changes:
            self._both("; ".join(changes))

    def _refresh(self) -> None:
        """Look at the catalog after a change."""
        shown = self._columns(self._pair.plain.rows(_COLUMNS.format(quoted(self._schema))))
        encrypted = self._columns(self._pair.encrypted.rows(_ENCRYPTED_COLUMNS.format(quoted(self._schema))))
        if shown != encrypted:
            raise self._differ(f"columns\nplain: {shown}\nencrypted: {encrypted}")
        tables = [
            f"SELECT '{table}', ROW({', '.join(name for name, _ in columns)})::text FROM {table}"
            for table, columns in shown.items()
        ]
        self._contents = f"{' UNION ALL '.join(tables) or 'SELECT'};\nSELECT level, entry FROM log;\n"
        self._invariants = self._invariant_queries()

    @staticmethod
    def _columns(rows: list[tuple[bytes, ...]]) -> dict[str, list[tuple[str, str]]]:
        found: dict[str, list[tuple[str, str]]] = {}
        for table, name, type_ in rows:
            found.setdefault(table.decode(), []).append((name.decode(), type_.decode()))
        return found

    def _invariant_queries(self) -> str:
        """Return a query that gives a row for each thing that is wrong on the encrypted side."""
        queries = []
        for row in self._pair.other.rows(_STATES.format(quoted(self._schema))):
            view, base, name, name_literal, cipher, state, key, key_by = (value.decode() for value in row)
            call = f"verify_column({quoted(view)}, {name_literal})"
            queries.append(f"SELECT 'verify_column: ' || v.problem FROM {call} AS v")
            if state in ("encrypted", "rotating"):
                queries.append(f"SELECT 'plaintext' FROM {base} WHERE {name} IS DISTINCT FROM NULL")
            queries.append(
                f"SELECT 'plaintext sealed' FROM {base} WHERE position('{MARKER}'::bytea IN {cipher}) > 0"
            )
            key_id = f"('x' || encode(substr(b.{cipher}, 2, 4), 'hex'))::bit(32)::integer"
            tenant = f"coalesce(':' || b.{key_by}, '')" if key_by else "''"
            queries.append(
                f"SELECT 'under the key of another tenant' FROM {base} AS b JOIN data_keys AS k ON k.id = {key_id}"
                f" WHERE k.name <> {key} || {tenant}"
            )
        return " UNION ALL ".join(queries)


_COLUMNS = """
    SELECT c.relname, quote_ident(a.attname), format_type(a.atttypid, a.atttypmod)
    FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = {0}::regnamespace AND c.relkind IN ('r', 'v') AND c.relname <> 'log'
    ORDER BY c.relname, a.attnum
"""
_STATES = """
    SELECT r.relation, r.base, quote_ident(e.column_name), quote_literal(e.column_name),
        quote_ident(e.cipher_column), e.state, quote_literal(e.key_name), coalesce(quote_ident(e.key_by), '')
    FROM pgkeymgr.encrypted_column AS e JOIN pgkeymgr.encrypted_relation AS r ON r.id = e.relation_id
    WHERE (SELECT relnamespace FROM pg_class WHERE oid = r.base) = {0}::regnamespace ORDER BY e.id
"""
_ENCRYPTED_COLUMNS = """
    SELECT c.relname, quote_ident(a.attname), format_type(a.atttypid, a.atttypmod)
    FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = {0}::regnamespace AND c.relkind IN ('r', 'v') AND c.relname <> 'log'
        AND c.oid NOT IN (SELECT base_relation FROM pgkeymgr.encrypted_columns)
        AND (c.oid, a.attname) NOT IN (
            SELECT relation, blind_index FROM pgkeymgr.encrypted_columns
            WHERE relation IS NOT NULL AND blind_index IS NOT NULL
        )
    ORDER BY c.relname, a.attnum
"""
