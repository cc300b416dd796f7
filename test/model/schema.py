"""A random schema: the table ``t``, which gets encrypted columns, with a parent ``p`` and a child ``c``."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from .kinds import KINDS, Kind, literal
from .triggers import triggers

Draw = Any
"""``data.draw`` of Hypothesis."""

_NUMBER = Kind("integer", tuple(str(number) for number in range(10)))
_KEY = Kind("integer", tuple(str(number) for number in range(30)))
_TEXT = Kind("text", ("", "x", "note"), is_text=True)
_ACTIONS = ("NO ACTION", "RESTRICT", "CASCADE", "SET NULL", "SET DEFAULT")


@dataclass(eq=False)
class Column:
    """A column of ``t``.

    Attributes:
        name: its name at present.
        kind: its type.
        role: ``key``, ``plain``, ``secret`` or ``generated``.
        clauses: of its definition, after the type.
        has_default: whether it gets a value by itself.
        takes_values: whether a statement may give a value; not so for a GENERATED ALWAYS identity.
        state: of a secret column that is encrypted at present: ``encrypted`` or ``migrating``; otherwise empty.
        cipher: of such a column, the one with its ciphertext in the base table.
        blind: the normalization of its blind index, or empty.
        blind_column: the column with that index.
        key_by: whether it has a key for each value of another column.
        is_pinned: whether a trigger, a constraint or another table has its name.
    """

    name: str
    kind: Kind
    role: str
    clauses: str = ""
    has_default: bool = False
    takes_values: bool = True
    state: str = ""
    cipher: str = ""
    blind: str = ""
    blind_column: str = ""
    is_deterministic: bool = False
    is_pinned: bool = False

    @property
    def bare(self) -> str:
        """The name without quotes."""
        return self.name.strip('"')


@dataclass
class Schema:
    """The schema of an example, as it is at present.

    Attributes:
        columns: of ``t``.
        key: the columns that tell its rows apart, or none.
        base: the name of the table that the rows are in.
        changes_updates: whether it has UPDATE row triggers.
        refuses_blind: whether nobody but a superuser may add a blind index, for the triggers that would fire.
        constraints: CHECKs that can be dropped, and whether one is about an encrypted column.
        made: how many names and numbers this example has used up.
    """

    columns: list[Column]
    key: list[Column]
    parent_of: Column | None = None
    has_child: bool = False
    changes_updates: bool = False
    refuses_blind: bool = False
    constraints: dict[str, bool] = field(default_factory=dict)
    base: str = "t"
    made: int = 0

    def having(self, *roles: str) -> list[Column]:
        """Return the columns that have one of some roles."""
        return [column for column in self.columns if column.role in roles]

    @property
    def encrypted(self) -> list[Column]:
        """The columns that are encrypted at present."""
        return [column for column in self.columns if column.state]

    def column(self, name: str) -> Column | None:
        """Return a column by its name, or None."""
        return next((column for column in self.columns if column.name == name), None)

    def next(self) -> int:
        """Return a number that was not returned before."""
        self.made += 1
        return self.made


def value_of(draw: Draw, column: Column) -> str | None:
    """Draw a value of a column as text, or None for NULL."""
    chances = 20 if "NOT NULL" in column.clauses else 5
    if column.role != "key" and draw(st.integers(0, chances)) == chances:
        return None
    return draw(st.sampled_from(column.kind.values))  # type: ignore[no-any-return]


def schema(draw: Draw, *, is_owner: bool) -> tuple[Schema, str]:
    """Draw a schema.

    Args:
        draw: draws.
        is_owner: whether no superuser makes it.

    Returns:
        The schema, and the statements that make it.
    """
    key, key_clause = _key(draw)
    columns = list(key)
    secrets = [_secret(draw, number) for number in range(1, draw(st.integers(1, 3)) + 1)]
    plain = [Column("n", _NUMBER, "plain", is_pinned=True), Column("note", _TEXT, "plain", is_pinned=True)]
    org_kind = draw(st.sampled_from((_NUMBER, _TEXT)))
    plain.append(Column("org", org_kind, "plain", is_pinned=True))
    if draw(st.booleans()):
        plain[0].clauses, plain[0].has_default = "DEFAULT 5", True
    if draw(st.booleans()):
        plain[1].clauses = "NOT NULL" + draw(st.sampled_from(("", " DEFAULT 'none'")))
        plain[1].has_default = "DEFAULT" in plain[1].clauses
    others = [*plain, *secrets]
    if draw(st.booleans()):
        made = "coalesce(n, 0) * 2" if draw(st.booleans()) else "n + 1"
        generated = Column("made", _NUMBER, "generated", f"GENERATED ALWAYS AS ({made}) STORED", True, False)
        others.append(generated)
    columns += draw(st.permutations(others))
    found = Schema(columns, key)
    parent, table_clauses = _parent(draw, found)
    table_clauses = [*key_clause, *table_clauses, *_checks(draw, found)]
    definitions = [f"{column.name} {column.kind.type} {column.clauses}".rstrip() for column in columns]
    statements = [*parent, f"CREATE TABLE t ({', '.join([*definitions, *table_clauses])})", *_child(draw, found)]
    made_triggers = triggers(draw, found, is_owner=is_owner)
    found.changes_updates = any(" UPDATE" in each and "EACH ROW" in each for each in made_triggers)
    found.refuses_blind = is_owner and found.changes_updates
    return found, ";\n".join([*statements, *made_triggers])


def _key(draw: Draw) -> tuple[list[Column], list[str]]:
    shape = draw(
        st.sampled_from(
            ("plain", "serial", "default", "always", "two", "text", "uuid", "numeric", "timestamptz", "mood",
             "unique", "bytea", "none")
        )
    )  # fmt: skip
    first = Column("k", _KEY, "key", is_pinned=True)
    if shape == "serial":
        first.clauses, first.has_default = "DEFAULT nextval('keys')", True
    elif shape in ("default", "always"):
        word = "BY DEFAULT" if shape == "default" else "ALWAYS"
        first.clauses, first.has_default = f"GENERATED {word} AS IDENTITY", True
        first.takes_values = shape == "default"
    elif shape == "text":
        first.kind = Kind("text", ("a", "A", "b ", "", "ç", "long" * 100), is_text=True)
    elif shape == "uuid":
        first.kind = Kind("uuid", tuple(f"00000000-0000-0000-0000-{number:012}" for number in range(6)))
    elif shape == "numeric":
        first.kind = Kind("numeric", ("1.0", "1.00", "2", "0", "NaN", "-3.50"))
    elif shape == "timestamptz":
        first.kind = Kind("timestamptz", ("2026-11-29 00:00+00", "infinity", "1999-01-01 12:00+05"))
    elif shape == "mood":
        first.kind = Kind("kinds.mood", ("sad", "ok"))
    elif shape == "bytea":
        first.kind = Kind("bytea", ("", r"\x00", r"\x0001"))
    if shape == "none":
        first.role, first.is_pinned = "plain", True
        return [], []
    if shape == "two":
        second = Column("k2", draw(st.sampled_from((_NUMBER, _TEXT))), "key", is_pinned=True)
        return [first, second], ["PRIMARY KEY (k, k2)"]
    if shape == "unique":
        first.clauses = "NOT NULL UNIQUE"
        return [first], []
    return [first], ["PRIMARY KEY (k)"]


def _secret(draw: Draw, number: int) -> Column:
    column = Column(f"s{number}", draw(st.sampled_from(KINDS)), "secret")
    values = column.kind.values
    if draw(st.sampled_from((False, False, True))):
        column.clauses, column.has_default = f"DEFAULT {literal(values[0], column.kind.type)}", True
    if draw(st.sampled_from((False, False, True))):
        column.clauses += " NOT NULL"
    if column.kind.is_unique and draw(st.sampled_from((False, False, False, True))):
        column.clauses, column.is_pinned = f"{column.clauses} UNIQUE", True
    return column


def _parent(draw: Draw, found: Schema) -> tuple[list[str], list[str]]:
    statements = ["CREATE SEQUENCE keys", "CREATE SEQUENCE made START 1000"]
    candidates = [c for c in found.columns if c.name in ("k", "k2", "org", "n") and c.kind.type == "integer"]
    candidates = [c for c in candidates if c.takes_values]
    if not candidates or not draw(st.booleans()):
        return statements, []
    column = draw(st.sampled_from(candidates))
    found.parent_of = column
    column.kind = _NUMBER
    update, delete = draw(st.sampled_from(_ACTIONS)), draw(st.sampled_from(_ACTIONS))
    deferred = draw(st.sampled_from(("", " DEFERRABLE INITIALLY DEFERRED")))
    statements += [
        "CREATE TABLE p (id integer PRIMARY KEY, label text)",
        f"INSERT INTO p SELECT i, 'p' || i FROM generate_series(0, {draw(st.integers(6, 9))}) AS i",
    ]
    if not column.has_default and "SET DEFAULT" in (update, delete):
        column.clauses = f"{column.clauses} DEFAULT 0"
        column.has_default = True
    clause = f"REFERENCES p ON UPDATE {update} ON DELETE {delete}{deferred}"
    return statements, [f"FOREIGN KEY ({column.name}) {clause}"]


def _child(draw: Draw, found: Schema) -> list[str]:
    if not found.key or not draw(st.sampled_from((False, False, True))):
        return []
    found.has_child = True
    names = ", ".join(column.name for column in found.key)
    columns = ", ".join(f"{column.name} {column.kind.type}" for column in found.key)
    update, delete = draw(st.sampled_from(_ACTIONS)), draw(st.sampled_from(_ACTIONS))
    return [
        f"CREATE TABLE c (id integer, {columns},"
        f" FOREIGN KEY ({names}) REFERENCES t ({names}) ON UPDATE {update} ON DELETE {delete})"
    ]


def _checks(draw: Draw, found: Schema) -> list[str]:
    secrets = found.having("secret")
    first = secrets[0]
    candidates = {
        "n_is_small": "n < 9",
        "s_or_n": f"{first.name} IS DISTINCT FROM NULL OR n > 2",
    }
    if first.kind.has_equality:
        candidates["s_differs"] = f"{first.name} IS DISTINCT FROM {literal(first.kind.values[0], first.kind.type)}"
    if found.having("generated"):
        candidates["s_made"] = f"made IS DISTINCT FROM 4 OR num_nulls({first.name}) = 1"
    if len(secrets) > 1:
        candidates["s_both"] = f"num_nonnulls({first.name}, {secrets[1].name}) < 2 OR note <> 'x'"
    names = draw(st.lists(st.sampled_from(sorted(candidates)), max_size=2, unique=True))
    for name in names:
        found.constraints[name] = name.startswith("s_")
        if name.startswith("s_"):
            for secret in secrets[:2]:
                secret.is_pinned = True
    return [f"CONSTRAINT {name} CHECK ({candidates[name]})" for name in names]
