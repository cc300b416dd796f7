"""The state machine: what can be done to the two tables of an example, one step at a time."""

from collections.abc import Callable
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from . import base_writes, changes, statements
from .compare import OWNER, Comparison
from .pair import Pair
from .schema import Column, Draw, Schema, schema
from .step import Step
from .tally import Tally

_DATA = st.data()
_CHANGES_MAX = 8
"""The number of schema changes of an example, which take longer than other statements."""


def _statement(make: Callable[[Draw, Schema], Step]) -> Callable[..., None]:
    """Return a rule that runs a statement which leaves the schema as it is."""

    def run(self: "Machine", data: Any) -> None:
        self._run(make(data.draw, self._schema))

    run.__name__ = make.__name__
    return rule(data=_DATA)(run)


class Machine(RuleBasedStateMachine):
    """An encrypted table, and a plain one."""

    pair: ClassVar[Pair]
    tally: ClassVar[Tally]

    def __init__(self) -> None:
        super().__init__()
        self.tally.examples += 1
        self._comparison = Comparison(self.pair, self.tally.examples, self.tally)
        self._schema = Schema([], [])
        self._changes = 0

    def teardown(self) -> None:
        """Drop what the example has made."""
        self._comparison.drop()

    def _run(self, step: Step) -> bool:
        return self._comparison.run(step)

    @initialize(data=_DATA)
    def make(self, data: Any) -> None:
        """Make the tables, with some rows, and encrypt a column."""
        is_owner = data.draw(st.sampled_from((False, False, True)))
        if is_owner:
            authorization = f"SET SESSION AUTHORIZATION {OWNER}"
            self._run(Step("owner", authorization, authorization))
        self._schema, sql = schema(data.draw, is_owner=is_owner)
        self._run(Step("create", sql, sql, is_change=True))
        for _ in range(data.draw(st.integers(0, 2))):
            self._run(statements.insert(data.draw, self._schema))
        self._encrypt(data)
        if data.draw(st.booleans()):
            self._encrypt(data)

    def _encrypt(self, data: Any) -> None:
        found = changes.encrypt(data.draw, self._schema)
        if found is None:
            return
        step, column = found
        self._run(step)
        column.state = "migrating"
        column.cipher = f'"{column.bare}_encrypted"'
        self._schema.base = "t_encrypted"
        if data.draw(st.booleans()):
            self._migrate(data, column)

    def _migrate(self, data: Any, column: Column) -> None:
        self._run(changes.procedure(data.draw, "migrate", column))
        column.state = "encrypted"

    insert = _statement(statements.insert)
    insert_select = _statement(statements.insert_select)
    update = _statement(statements.update)
    another_update = _statement(statements.update)
    update_from = _statement(statements.update_from)
    update_key = _statement(statements.update_key)
    update_twice = _statement(statements.update_twice)
    together = _statement(statements.together)
    block = _statement(statements.block)
    delete = _statement(statements.delete)
    copy = _statement(statements.copy)
    upsert = _statement(statements.upsert)
    select = _statement(statements.select)
    search = _statement(statements.search)
    transaction = _statement(statements.transaction)
    base_insert = _statement(base_writes.base_insert)
    base_copy = _statement(base_writes.base_copy)
    base_update = _statement(base_writes.base_update)
    base_delete = _statement(base_writes.base_delete)
    base_upsert = _statement(base_writes.base_upsert)
    base_merge = _statement(base_writes.base_merge)
    parent = precondition(lambda self: self._schema.parent_of is not None)(_statement(statements.parent))
    child = precondition(lambda self: self._schema.has_child)(_statement(statements.child))

    @precondition(lambda self: self._changes < _CHANGES_MAX)
    @rule(data=_DATA)
    def encrypt(self, data: Any) -> None:
        """Encrypt one more column."""
        self._changes += 1
        self._encrypt(data)

    @precondition(lambda self: self._changes < _CHANGES_MAX)
    @rule(data=_DATA)
    def operate(self, data: Any) -> None:
        """Run a procedure on an encrypted column."""
        self._changes += 1
        encrypted = self._schema.encrypted
        if not encrypted:
            return
        column = data.draw(st.sampled_from(encrypted))
        names = {"migrating": ("migrate",), "rotating": ("rotate",), "decrypting": ("decrypt",)}
        name = data.draw(st.sampled_from(names.get(column.state, ("rotate", "decrypt"))))
        if data.draw(st.sampled_from((False, False, True))):
            is_done = self._run(changes.interrupted(data.draw, name, column, self._schema))
        else:
            is_done = self._run(changes.procedure(data.draw, name, column))
        if not is_done:
            column.state = {"migrate": "migrating", "rotate": "rotating", "decrypt": "decrypting"}[name]
        elif name == "decrypt":
            column.state = column.blind = ""
            if not self._schema.encrypted:
                self._schema.base = "t"
        else:
            column.state = "encrypted"

    @precondition(lambda self: self._changes < _CHANGES_MAX)
    @rule(data=_DATA)
    def change(self, data: Any) -> None:
        """Run DDL."""
        self._changes += 1
        step, effect = changes.ddl(data.draw, self._schema)
        if self._run(step):
            effect()

    @precondition(lambda self: self._changes < _CHANGES_MAX)
    @rule(data=_DATA)
    def blind(self, data: Any) -> None:
        """Add a blind index, or drop it."""
        candidates = [c for c in self._schema.encrypted if c.kind.is_unique and "UNIQUE" not in c.clauses]
        candidates = [c for c in candidates if c.state != "decrypting"]
        if self._schema.refuses_blind or not candidates:
            return
        self._changes += 1
        column = data.draw(st.sampled_from(candidates))
        step = changes.blind(data.draw, column)
        self._run(step)
        column.blind = "" if column.blind else step.encrypted.split("'")[-2]
        column.blind_column = f'"{column.bare}_bidx"'

    @rule(data=_DATA)
    def setting(self, data: Any) -> None:
        """Change a setting."""
        self._run(changes.setting(data.draw))
