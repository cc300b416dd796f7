"""Random changes of the schema: DDL, and what pgkeymgr itself does to the columns."""

from collections.abc import Callable
from dataclasses import replace

from hypothesis import strategies as st

from .exclusions import Exclusion
from .kinds import KINDS, literal
from .schema import Column, Draw, Schema
from .step import Step

_SETTINGS = {
    "DateStyle": ("ISO, MDY", "SQL, DMY", "German", "Postgres, MDY"),
    "IntervalStyle": ("postgres", "iso_8601", "sql_standard"),
    "TimeZone": ("UTC", "Asia/Kathmandu", "America/St_Johns"),
    "extra_float_digits": ("1", "0", "-3"),
    "bytea_output": ("hex", "escape"),
    "array_nulls": ("on", "off"),
    "plan_cache_mode": ("auto", "force_generic_plan", "force_custom_plan"),
    "quote_all_identifiers": ("on", "off"),
    "default_transaction_isolation": ("read committed", "repeatable read", "serializable"),
}
_OWN = frozenset({Exclusion.RESULTS})


def encrypt(draw: Draw, schema: Schema) -> tuple[Step, Column] | None:
    """Return a call of ``encrypt_column`` and its column, or None if every column is encrypted."""
    candidates = [column for column in schema.having("secret") if not column.state]
    # Without a primary key, the unique column may be the one by which the encrypted table finds its rows.
    is_found_by_it = not schema.having("key") and len(candidates) < len(schema.having("secret"))
    if schema.refuses_blind or is_found_by_it:
        candidates = [column for column in candidates if "UNIQUE" not in column.clauses]
    if not candidates:
        return None
    column = draw(st.sampled_from(candidates))
    options = ""
    column.is_deterministic = False
    if draw(st.sampled_from((False, False, True))):
        options = ", key_by => 'org'"
    elif draw(st.sampled_from((False, False, False, True))):
        options = ", deterministic => true"
        column.is_deterministic = True
    return _own("encrypt", f"SELECT encrypt_column('{schema.base}', '{column.bare}'{options})"), column


def interrupted(draw: Draw, name: str, column: Column, schema: Schema) -> Step:
    """Return the call of a procedure that comes to a row which another session has locked, and is cancelled."""
    call = procedure(draw, name, column)
    offset = draw(st.integers(0, 2))
    blocker = f"SELECT FROM {schema.base} ORDER BY ctid OFFSET {offset} LIMIT 1 FOR UPDATE"
    # A row at a time, the others are done before.
    return replace(
        call,
        title=f"interrupted {name}",
        encrypted=f"CALL {name}_column('t', '{column.bare}', 1)",
        blocker=blocker,
    )


def blind(draw: Draw, column: Column) -> Step:
    """Return a call that gives a column a blind index, or takes it away."""
    if column.blind:
        return _own("drop blind index", f"SELECT drop_blind_index('t', '{column.bare}')")
    normalization = draw(st.sampled_from(("none", "casefold", "digits"))) if column.kind.is_text else "none"
    return _own("blind index", f"SELECT add_blind_index('t', '{column.bare}', '{normalization}', force => true)")


def procedure(draw: Draw, name: str, column: Column) -> Step:
    """Return the call of a procedure on an encrypted column."""
    size = draw(st.sampled_from(("", ", 1", ", 2")))
    return _own(name, f"CALL {name}_column('t', '{column.bare}'{size})", is_alone=True)


def _own(title: str, sql: str, *, is_alone: bool = False) -> Step:
    return Step(title, "", sql, is_alone=is_alone, is_change=True, excluded=_OWN)


def setting(draw: Draw) -> Step:
    """Return a change of a session's setting."""
    name = draw(st.sampled_from(sorted(_SETTINGS)))
    sql = f"SET {name} = '{draw(st.sampled_from(_SETTINGS[name]))}'"
    return Step("set", sql, sql)


def ddl(draw: Draw, schema: Schema) -> tuple[Step, "Effect"]:
    """Return a statement that changes the table, and what it does to the schema if it succeeds."""
    makers = (_add_column, _drop_column, _rename, _rename, _not_null, _drop_constraint, _default, _default, _index)
    return draw(st.sampled_from(makers))(draw, schema)  # type: ignore[no-any-return]


Effect = Callable[[], None]


def _add_column(draw: Draw, schema: Schema) -> tuple[Step, Effect]:
    kind = draw(st.sampled_from(KINDS))
    column = Column(f"x{schema.next()}", kind, draw(st.sampled_from(("plain", "secret"))))
    default = ""
    if draw(st.booleans()):
        default, column.has_default = f" DEFAULT {literal(kind.values[0], kind.type)}", True
    step = _alter("add column", schema.base, f"ADD COLUMN {column.name} {kind.type}{default}")
    return step, lambda: schema.columns.append(column)


def _drop_column(draw: Draw, schema: Schema) -> tuple[Step, Effect]:
    candidates = [column for column in schema.columns if column.name[0] in "xz" and not column.state]
    if not candidates:
        return _add_column(draw, schema)
    column = draw(st.sampled_from(candidates))
    return _alter("drop column", schema.base, f"DROP COLUMN {column.name} CASCADE"), lambda: schema.columns.remove(
        column
    )


def _rename(draw: Draw, schema: Schema) -> tuple[Step, Effect]:
    candidates = [column for column in schema.columns if not column.is_pinned and column.role != "generated"]
    if not candidates:
        return _add_column(draw, schema)
    column = draw(st.sampled_from(candidates))
    # A name of pgkeymgr's own, or one that needs quotes, is a name as any other.
    name = draw(st.sampled_from((f"z{schema.next()}", f'"Z {schema.next()}"', f'"select{schema.next()}"')))
    on_view = bool(column.state) or draw(st.booleans())
    step = _alter("rename", "t" if on_view else schema.base, f"RENAME COLUMN {column.name} TO {name}")

    def renamed() -> None:
        column.name = name

    return step, renamed


def _not_null(draw: Draw, schema: Schema) -> tuple[Step, Effect]:
    column = draw(st.sampled_from([c for c in schema.columns if c.role in ("plain", "secret") and not c.state]))
    action = draw(st.sampled_from(("SET", "DROP")))
    return _alter("not null", schema.base, f"ALTER COLUMN {column.name} {action} NOT NULL"), _nothing


def _drop_constraint(draw: Draw, schema: Schema) -> tuple[Step, Effect]:
    # pgkeymgr keeps those of encrypted columns.
    is_kept = bool(schema.encrypted)
    names = [name for name, is_about_secret in schema.constraints.items() if not (is_about_secret and is_kept)]
    if not names:
        return _not_null(draw, schema)
    name = draw(st.sampled_from(names))
    return _alter("drop constraint", schema.base, f"DROP CONSTRAINT {name}"), lambda: _drop(schema, name)


def _drop(schema: Schema, name: str) -> None:
    del schema.constraints[name]


def _default(draw: Draw, schema: Schema) -> tuple[Step, Effect]:
    column = draw(st.sampled_from(schema.having("secret")))
    value = literal(draw(st.sampled_from(column.kind.values)), column.kind.type)
    action = draw(st.sampled_from((f"SET DEFAULT {value}", "DROP DEFAULT")))
    step = _alter("default", "t" if column.state else schema.base, f"ALTER COLUMN {column.name} {action}")

    def changed() -> None:
        column.has_default = action != "DROP DEFAULT"

    return step, changed


def _index(draw: Draw, schema: Schema) -> tuple[Step, Effect]:
    columns = draw(st.sampled_from(("n", "org, n", "upper(note)")))
    return Step("index", f"CREATE INDEX ON t ({columns})", f"CREATE INDEX ON {schema.base} ({columns})"), _nothing


def _alter(title: str, table: str, action: str) -> Step:
    return Step(title, f"ALTER TABLE t {action}", f"ALTER TABLE {table} {action}", is_change=True)


def _nothing() -> None:
    pass
