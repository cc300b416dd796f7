"""The triggers of a base table that seal what comes into it, as PL/pgSQL.

PostgreSQL fires the BEFORE triggers of a table in the order of their names, and these come last: so a value is
sealed for the row as it is stored, whatever statement made the row and whatever defaults, triggers or referential
actions have changed in it. Generated columns come later still, and are therefore in no key.

What comes in is one of these:

* a value in the plaintext column, by an INSERT, an UPDATE or a COPY of the base table itself;
* a value that the view's trigger has sent: the ciphertext column has its ticket, see ``column/transit.py``;
* a row that moves: another key or another ``key_by`` value, and the ciphertext that it had;
* a ciphertext from elsewhere, which is sealed again if it opens in this row, and otherwise is an error. Where
  ``session_replication_role`` is ``replica``, it comes from the same table in another database, and stays;
* ``REWRITE`` in the ciphertext column, by one of the procedures: all that other triggers have done to the row is
  undone, and the value is written as the column's state demands.

The triggers fire in replicas, too (ENABLE ALWAYS): nothing gets past them but by their owner's ALTER TABLE.
"""

from .constraints import Constraints
from .expressions import Expressions, differs, image, is_there
from .plpgsql import VARIABLE, body, if_chain, if_then
from .quoting import quote_name
from .registry import ColumnState, EncryptedColumn

_IS_REPLICA = "pg_catalog.current_setting('session_replication_role') OPERATOR(pg_catalog.=) 'replica'"
_IS_CHECKED = f"{VARIABLE}is_checked"


class Sealing:
    """The sealing triggers of one base table."""

    def __init__(self, expressions: Expressions, constraints: Constraints) -> None:
        self._expressions = expressions
        self._constraints = constraints
        self._table = expressions.table
        self._columns = list(expressions.table.encrypted.values())
        self._checked = [column for column in self._columns if constraints.is_checked(column)]

    def insert_function(self) -> str:
        """Return the body of the function of the BEFORE INSERT trigger."""
        statements = []
        for column in self._columns:
            statements += if_chain(self._arrivals(column, is_update=False))
            statements += self._constraints.require(column)
        statements += self._check(f"NOT {_IS_REPLICA}")
        return body(self._declarations(), [*statements, "RETURN NEW;"])

    def update_function(self) -> str:
        """Return the body of the function of the BEFORE UPDATE trigger."""
        statements: list[str] = []
        if self._checked:
            plain = [name for name in self._constraints.checked_columns() if name not in self._table.encrypted]
            changed = [self._is_written(column) for column in self._checked]
            if plain:
                changed.append(f"{image('NEW', *plain)} OPERATOR(pg_catalog.*<>) {image('OLD', *plain)}")
            # Before the values are sealed.
            statements.append(f"{_IS_CHECKED} := {' OR '.join(changed)};")
        for column in self._columns:
            # Other columns, whose values may be left in the clear, stay as they are, too.
            rewrite = [*self._rewrite(column), "RETURN NEW;"]
            branches = [(self._expressions.is_rewrite(column, "NEW"), rewrite)]
            branches += self._arrivals(column, is_update=True)
            conditions = [self._is_written(column)]
            if (moved := self._expressions.is_moved(column)) is not None:
                is_moved = f"NEW.{quote_name(column.cipher)} IS NOT NULL AND {moved}"
                branches.append((is_moved, self._move(column)))
                conditions.append(moved)
            lines = if_chain(branches)
            if column.blind:
                lines += if_then(self._is_empty(column), [f"NEW.{quote_name(column.blind)} := NULL;"])
            # Most rows keep the values of most columns: one condition tells.
            statements += if_then(" OR ".join(conditions), [*lines, *self._constraints.require(column)])
        statements += self._check(f"{_IS_CHECKED} AND NOT {_IS_REPLICA}")
        return body(self._declarations(), [*statements, "RETURN NEW;"])

    def _check(self, condition: str) -> list[str]:
        if not self._checked:
            return []
        return if_then(condition, [*self._values_to_check(), *self._constraints.check()])

    def _declarations(self) -> list[str]:
        if not self._checked:
            return []
        lines = [f"{VARIABLE}violated pg_catalog.text;", f"{_IS_CHECKED} pg_catalog.bool;"]
        for column in self._checked:
            lines.append(f"{self._constraints.variable(column)} {column.sql_type};")
            lines.append(f"{self._is_known(column)} pg_catalog.bool := false;")
        return lines

    @staticmethod
    def _is_known(column: EncryptedColumn) -> str:
        return f"{VARIABLE}is_known_{column.id}"

    def _is_written(self, column: EncryptedColumn) -> str:
        """Return the condition that an UPDATE writes a column."""
        if column.state is ColumnState.DECRYPTING:
            is_given = differs(column.name, "NEW", "OLD")
        else:
            # Left from before the encryption, too: a row that is written anyway is sealed.
            is_given = is_there("NEW", column.name)
            if column.state is ColumnState.MIGRATING:
                is_given += f" OR {is_there('OLD', column.name)}"
        return f"{is_given} OR {self._expressions.is_resealed(column)}"

    @staticmethod
    def _is_empty(column: EncryptedColumn) -> str:
        return (
            f"NEW.{quote_name(column.cipher)} IS NULL AND NEW.{quote_name(column.name)} IS NOT DISTINCT FROM NULL"
        )

    def _arrivals(self, column: EncryptedColumn, *, is_update: bool) -> list[tuple[str, list[str]]]:
        """Return what to do with a value that comes in, by the way that it comes."""
        expressions = self._expressions
        cipher, plain = f"NEW.{quote_name(column.cipher)}", f"NEW.{quote_name(column.name)}"
        given = is_there("NEW", column.name)
        sent = expressions.is_sent(column, "NEW")
        elsewhere = f"{cipher} IS NOT NULL AND NOT {_IS_REPLICA}"
        if is_update:
            elsewhere = f"{cipher} IS NOT NULL AND {expressions.is_resealed(column)} AND NOT {_IS_REPLICA}"
        if column.state is ColumnState.DECRYPTING:
            if is_update:
                given += f" AND ({cipher} IS NOT NULL OR {differs(column.name, 'NEW', 'OLD')})"
            return [
                (sent, [f"{plain} := {expressions.taken(column, 'NEW')};", f"{cipher} := NULL;"]),
                (given, [f"{cipher} := NULL;", *self._blind(column)]),
                (elsewhere, [f"{plain} := {expressions.opened(column, 'NEW')};", f"{cipher} := NULL;"]),
            ]
        if column.state is ColumnState.MIGRATING:
            # A replica gets the plaintext of rows that its publisher has not migrated, and may have no root key.
            given += f" AND NOT {_IS_REPLICA}"
        seal_sent = [f"{cipher} := {expressions.seal_sent(column, 'NEW')};"]
        if column in self._checked:
            take = f"{plain} := {expressions.taken(column, 'NEW')};"
            seal_sent = [take, *self._remember(column), *self._seal(column)]
        has_key = self._constraints.require_key(column)
        return [
            (given, [*self._remember(column), *self._blind(column), *self._seal(column), *has_key]),
            (sent, [*seal_sent, *has_key]),
            (elsewhere, [f"{cipher} := {expressions.resealed(column, 'NEW')};", *has_key]),
        ]

    def _seal(self, column: EncryptedColumn) -> list[str]:
        return [
            f"NEW.{quote_name(column.cipher)} := {self._expressions.sealed(column, 'NEW')};",
            f"NEW.{quote_name(column.name)} := NULL;",
        ]

    def _blind(self, column: EncryptedColumn) -> list[str]:
        if not column.blind:
            return []
        blinded = self._expressions.blinded(column, f"NEW.{quote_name(column.name)}")
        return [f"NEW.{quote_name(column.blind)} := {blinded};"]

    def _remember(self, column: EncryptedColumn) -> list[str]:
        if column not in self._checked:
            return []
        return [
            f"{self._constraints.variable(column)} := NEW.{quote_name(column.name)};",
            f"{self._is_known(column)} := true;",
        ]

    def _move(self, column: EncryptedColumn) -> list[str]:
        """Return what to do with a ciphertext that is bound to what the row was."""
        expressions = self._expressions
        if column.state is ColumnState.DECRYPTING:
            return [
                f"NEW.{quote_name(column.name)} := {expressions.opened(column, 'OLD')};",
                f"NEW.{quote_name(column.cipher)} := NULL;",
            ]
        moved = expressions.seal_raw(column, expressions.open_raw(column, "OLD"), "NEW")
        return [f"NEW.{quote_name(column.cipher)} := {moved};", *self._constraints.require_key(column)]

    def _rewrite(self, column: EncryptedColumn) -> list[str]:
        """Return what to do to a row for a procedure."""
        cipher, plain = f"NEW.{quote_name(column.cipher)}", f"NEW.{quote_name(column.name)}"
        undone = "NEW := OLD;"
        if column.state is ColumnState.DECRYPTING:
            return [undone, f"{plain} := {self._expressions.opened(column, 'OLD')};", f"{cipher} := NULL;"]
        if column.state is ColumnState.MIGRATING:
            is_left = is_there("OLD", column.name)
            return [undone, *if_then(is_left, [*self._blind(column), *self._seal(column)])]
        return [undone, f"{cipher} := {self._expressions.resealed(column, 'OLD')};"]

    def _values_to_check(self) -> list[str]:
        lines = []
        for column in self._checked:
            read = f"{self._constraints.variable(column)} := {self._expressions.read(column, 'NEW')};"
            lines += if_then(f"NOT {self._is_known(column)}", [read])
        return lines
