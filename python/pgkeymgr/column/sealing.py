"""The triggers of a base table that seal the values written to it, as PL/pgSQL.

PostgreSQL fires the BEFORE triggers of a table in the order of their names, and these fire last. So they seal a
value for the row as it is stored, after all changes by defaults, other triggers and referential actions.
PostgreSQL computes generated columns later still, so they cannot be part of a key.

A value comes in by one of these ways:

* a value in the plaintext column, by an INSERT, an UPDATE or a COPY of the base table itself;
* a value that the view's trigger has sent: the ciphertext column has its ticket, see ``column/transit.py``;
* a row that gets another primary key or another ``key_by`` value, and still has the ciphertext for the former one;
* a ciphertext from elsewhere, which is sealed again if it opens in this row, and otherwise is an error. Where
  ``session_replication_role`` is ``replica``, it comes from the same table in another database, and is kept;
* ``REWRITE`` in ciphertext columns, from one of the procedures: the changes of other triggers to the row are
  undone, and the values of these columns are written as the columns' states demand.

The triggers also fire in replicas (ENABLE ALWAYS). Only the table's owner can disable them, with ALTER TABLE.
"""

from .constraints import Constraints
from .encrypted_table import BlindIndex, ColumnState, EncryptedColumn
from .expressions import Expressions, differs, image, is_there
from .plpgsql import VARIABLE, body, if_chain, if_then, indent
from .quoting import quote_name

_IS_REPLICA = "pg_catalog.current_setting('session_replication_role') OPERATOR(pg_catalog.=) 'replica'"
_IS_CHECKED = f"{VARIABLE}is_checked"
_MARKED = f"{VARIABLE}marked"
_ORDINARY = f"{VARIABLE}ordinary"


class Sealing:
    """The sealing triggers of one base table."""

    def __init__(self, expressions: Expressions, constraints: Constraints) -> None:
        self._expressions = expressions
        self._constraints = constraints
        self._table = expressions.table
        self._columns = list(expressions.table.encrypted.values())
        self._checked = [column for column in self._columns if constraints.is_checked(column)]
        self._compounds = self._table.compound_indexes()
        needed = [*self._checked, *(part for _, parts in self._compounds for part in parts)]
        self._needed = [column for column in self._columns if column in needed]

    def insert_function(self) -> str:
        """Return the body of the function of the BEFORE INSERT trigger."""
        statements = []
        for column in self._columns:
            statements += if_chain(self._arrivals(column, is_update=False))
            statements += self._constraints.require(column)
        for index, parts in self._compounds:
            statements += self._compound(index, parts, f"NOT {_IS_REPLICA}")
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
            # The comparison must come before the values are sealed.
            statements.append(f"{_IS_CHECKED} := {' OR '.join(changed)};")
        for index, parts in self._compounds:
            statements.append(f"{self._is_compounded(index)} := {' OR '.join(map(self._is_written, parts))};")
        for column in self._columns:
            branches = [(self._expressions.is_rewrite(column, "NEW"), [f"EXIT {_ORDINARY};"])]
            branches += self._arrivals(column, is_update=True)
            conditions = [self._is_written(column)]
            if (moved := self._expressions.is_moved(column)) is not None:
                is_moved = f"NEW.{quote_name(column.cipher)} IS NOT NULL AND {moved}"
                branches.append((is_moved, self._move(column)))
                conditions.append(moved)
            lines = if_chain(branches)
            if column.companions:
                empty = [f"NEW.{quote_name(name)} := NULL;" for name in column.companions]
                lines += if_then(self._is_empty(column), empty)
            # Most rows keep most values. One condition skips the rest of the checks for them.
            statements += if_then(" OR ".join(conditions), [*lines, *self._constraints.require(column)])
        for index, parts in self._compounds:
            statements += self._compound(index, parts, f"{self._is_compounded(index)} AND NOT {_IS_REPLICA}")
        statements += self._check(f"{_IS_CHECKED} AND NOT {_IS_REPLICA}")
        ordinary = [f"<<{_ORDINARY}>>", "BEGIN", *indent([*statements, "RETURN NEW;"]), "END;"]
        return body([*self._declarations(), f"{_MARKED} pg_catalog.record;"], [*ordinary, *self._rewrites()])

    def _check(self, condition: str) -> list[str]:
        if not self._checked:
            return []
        return if_then(condition, [*self._values_of(self._checked), *self._constraints.check()])

    def _compound(self, index: BlindIndex, parts: list[EncryptedColumn], condition: str) -> list[str]:
        """Return the statements that give a row its value in a compound index, after its values were sealed.

        A statement need not write all columns of the index: the values of the others are decrypted.
        """
        value = self._expressions.compounded(index, parts, self._constraints.variable)
        return if_then(condition, [*self._values_of(parts), f"NEW.{quote_name(index.name)} := {value};"])

    def _is_compounded(self, index: BlindIndex) -> str:
        number = [each.name for each, _ in self._compounds].index(index.name)
        return f"{VARIABLE}is_compounded_{number}"

    def _declarations(self) -> list[str]:
        lines = [f"{self._is_compounded(index)} pg_catalog.bool;" for index, _ in self._compounds]
        if self._checked:
            lines += [f"{VARIABLE}violated pg_catalog.text;", f"{_IS_CHECKED} pg_catalog.bool;"]
        for column in self._needed:
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
            # A value from before the encryption counts, too: it is sealed if its row is written anyway.
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
        """Return the statements for each way in which a value can come in."""
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
                (
                    elsewhere,
                    [
                        f"{plain} := {expressions.opened(column, 'NEW')};",
                        f"{cipher} := NULL;",
                        *self._blind(column),
                    ],
                ),
            ]
        if column.state is ColumnState.MIGRATING:
            # A replica receives the plaintext of rows that its publisher has not migrated. It may have no root
            # key.
            given += f" AND NOT {_IS_REPLICA}"
        seal_sent = [f"{cipher} := {expressions.seal_sent(column, 'NEW')};"]
        if column in self._needed:
            take = f"{plain} := {expressions.taken(column, 'NEW')};"
            seal_sent = [take, *self._remember(column), *self._seal(column)]
        has_key = self._constraints.require_key(column)
        return [
            (given, [*self._remember(column), *self._blind(column), *self._seal(column), *has_key]),
            (sent, [*seal_sent, *has_key]),
            (
                elsewhere,
                [*self._blind_opened(column), f"{cipher} := {expressions.resealed(column, 'NEW')};", *has_key],
            ),
        ]

    def _seal(self, column: EncryptedColumn) -> list[str]:
        return [
            f"NEW.{quote_name(column.cipher)} := {self._expressions.sealed(column, 'NEW')};",
            f"NEW.{quote_name(column.name)} := NULL;",
        ]

    def _blind(self, column: EncryptedColumn) -> list[str]:
        return self._blind_value(column, f"NEW.{quote_name(column.name)}")

    def _blind_opened(self, column: EncryptedColumn) -> list[str]:
        return self._blind_value(column, self._expressions.opened(column, "NEW"))

    def _blind_value(self, column: EncryptedColumn, value: str) -> list[str]:
        return [
            f"NEW.{quote_name(index.name)} := {self._expressions.indexed(column, index, value)};"
            for index in column.own_indexes
        ]

    def _remember(self, column: EncryptedColumn) -> list[str]:
        if column not in self._needed:
            return []
        return [
            f"{self._constraints.variable(column)} := NEW.{quote_name(column.name)};",
            f"{self._is_known(column)} := true;",
        ]

    def _move(self, column: EncryptedColumn) -> list[str]:
        """Return the statements that encrypt a ciphertext again after its row's key has changed."""
        expressions = self._expressions
        if column.state is ColumnState.DECRYPTING:
            return [
                f"NEW.{quote_name(column.name)} := {expressions.opened(column, 'OLD')};",
                f"NEW.{quote_name(column.cipher)} := NULL;",
            ]
        moved = expressions.seal_raw(column, expressions.open_raw(column, "OLD"), "NEW")
        return [f"NEW.{quote_name(column.cipher)} := {moved};", *self._constraints.require_key(column)]

    def _rewrites(self) -> list[str]:
        """Return the statements for a row in which a procedure has marked columns."""
        # The other columns stay as they are, including values that are not encrypted yet.
        lines = [f"{_MARKED} := NEW;", "NEW := OLD;"]
        for index, parts in self._compounds:
            migrated = [
                f"({self._expressions.is_rewrite(part, _MARKED)} AND {is_there('OLD', part.name)})"
                for part in parts
                if part.state is ColumnState.MIGRATING
            ]
            if migrated:
                value = self._expressions.compounded(index, parts, self._read_old)
                lines += if_then(" OR ".join(migrated), [f"NEW.{quote_name(index.name)} := {value};"])
        for column in self._columns:
            lines += if_then(self._expressions.is_rewrite(column, _MARKED), self._rewrite(column))
        return [*lines, "RETURN NEW;"]

    def _rewrite(self, column: EncryptedColumn) -> list[str]:
        """Return the statements for a column that a procedure has marked."""
        cipher, plain = f"NEW.{quote_name(column.cipher)}", f"NEW.{quote_name(column.name)}"
        if column.state is ColumnState.DECRYPTING:
            return [f"{plain} := {self._expressions.opened(column, 'OLD')};", f"{cipher} := NULL;"]
        if column.state is ColumnState.MIGRATING:
            return if_then(is_there("OLD", column.name), [*self._blind(column), *self._seal(column)])
        return [f"{cipher} := {self._expressions.resealed(column, 'OLD')};"]

    def _read_old(self, column: EncryptedColumn) -> str:
        return self._expressions.read(column, "OLD")

    def _values_of(self, columns: list[EncryptedColumn]) -> list[str]:
        """Return the statements after which the variables of columns have their values."""
        lines = []
        for column in columns:
            read = f"{self._constraints.variable(column)} := {self._expressions.read(column, 'NEW')};"
            lines += if_then(f"NOT {self._is_known(column)}", [read])
        return lines
