"""Random statements on ``t``, the same on both sides: there, it is a view."""

import json

from hypothesis import strategies as st

from .exclusions import Exclusion
from .kinds import literal, quoted
from .schema import Column, Draw, Schema, value_of
from .step import Step

SINGLY = frozenset({Exclusion.STATEMENT_TRIGGERS})
"""The exclusions of an INSERT or an UPDATE on the view."""
_NAMES_MAX = 3
_SHIFT = 10


def insert(draw: Draw, schema: Schema) -> Step:
    """Return an INSERT of some rows."""
    names, rows = rows_of(draw, schema, may_default=True)
    if not names:
        sql = "INSERT INTO t DEFAULT VALUES"
    else:
        sql = f"INSERT INTO t ({_list(names)}) VALUES {', '.join(rows)}"
    return _same("insert", sql + returning(draw, schema))


def insert_select(draw: Draw, schema: Schema) -> Step:
    """Return an INSERT of what a query on the table itself gives, under other keys."""
    columns = [c for c in schema.columns if c.takes_values and c not in schema.key]
    keys = [c for c in schema.key if c.takes_values]
    new_keys = [_other_key(schema, column) for column in keys]
    if any(key is None for key in new_keys):
        return insert(draw, schema)
    values = [*(str(key) for key in new_keys), *(column.name for column in columns)]
    order = f" ORDER BY {_list(schema.key)}" if schema.key else ""
    query = f"SELECT {', '.join(values)} FROM t{where(draw, schema)}{order} LIMIT 3"
    return _same("insert select", f"INSERT INTO t ({_list([*keys, *columns])}) {query}{returning(draw, schema)}")


def update(draw: Draw, schema: Schema) -> Step:
    """Return an UPDATE of columns that are not in the key."""
    sql = f"UPDATE t SET {assignments(draw, schema)}{where(draw, schema)}"
    return _same("update", sql + returning(draw, schema))


def update_from(draw: Draw, schema: Schema) -> Step:
    """Return an UPDATE whose new values come from a query on the table itself."""
    if not schema.key:
        return update(draw, schema)
    key = schema.key[0].name
    column = draw(st.sampled_from(schema.having("plain", "secret")))
    source = f"(SELECT {key} AS key, max({column.name}::text) AS text FROM t GROUP BY {key}) AS o"
    sql = f"UPDATE t SET note = md5(o.text), n = length(o.text) % 9 FROM {source} WHERE o.key = t.{key}"
    sql += returning(draw, schema)
    return Step("update from", sql, sql, excluded=SINGLY | {Exclusion.ORDER})


def update_key(draw: Draw, schema: Schema) -> Step:
    """Return an UPDATE of the key, and perhaps of more."""
    keys = [column for column in schema.key if column.takes_values]
    if not keys:
        return update(draw, schema)
    column = draw(st.sampled_from(keys))
    other = _other_key(schema, column)
    more = f", {assignments(draw, schema)}" if draw(st.booleans()) else ""
    if other is None or draw(st.booleans()):
        new = literal(value_of(draw, column), column.kind.type)
        condition = f" WHERE {_by_key(draw, schema)}"
    else:
        # Of many rows, none may get a key that another has had: which is written first is not the same.
        new, condition = other, where(draw, schema)
    return _same("update key", f"UPDATE t SET {column.name} = {new}{more}{condition}{returning(draw, schema)}")


def update_twice(draw: Draw, schema: Schema) -> Step:
    """Return an UPDATE that finds each row twice, as a join can."""
    if not schema.key or schema.changes_updates:
        return update(draw, schema)
    key = schema.key[0]
    values = ", ".join(f"({literal(value_of(draw, key), key.kind.type)})" for _ in range(2))
    source = f"(VALUES {values}, {values}) AS v (key)"
    new = assignments(draw, schema, is_constant=True)
    sql = f"UPDATE t SET {new} FROM {source} WHERE v.key = t.{key.name}"
    return Step("update twice", sql, sql, excluded=SINGLY | {Exclusion.COUNT, Exclusion.ORDER, Exclusion.TRIGGERS})


def together(draw: Draw, schema: Schema) -> Step:
    """Return a statement with a part that writes, whose rows the other part reads."""
    names = _list(schema.columns)
    parts = (
        f"UPDATE t SET {assignments(draw, schema)}{where(draw, schema)}",
        f"DELETE FROM t{where(draw, schema)}",
        insert(draw, schema).plain.partition(" RETURNING ")[0],
    )
    written = draw(st.sampled_from(parts))
    others = f"(SELECT count(*) FROM t{where(draw, schema)})"
    return _same("together", f"WITH w AS ({written} RETURNING {names}) SELECT w.*, {others} FROM w")


def block(draw: Draw, schema: Schema) -> Step:
    """Return a block of PL/pgSQL that goes on after errors, and writes row by row in a loop."""
    if not schema.key:
        return update(draw, schema)
    first = draw(st.sampled_from((insert, update, delete, update_key)))(draw, schema).plain
    first = first.partition(" RETURNING ")[0]
    key = schema.key[0].name
    new = assignments(draw, schema, is_constant=True)
    loop = f"FOR r IN SELECT {key} AS key FROM t{where(draw, schema)} LOOP UPDATE t SET {new} WHERE {key} = r.key"
    return _same(
        "block",
        f"DO $do$ DECLARE r record; BEGIN BEGIN {first}; EXCEPTION WHEN OTHERS THEN NULL; END;"
        f" {loop}; END LOOP; END $do$",
    )


def delete(draw: Draw, schema: Schema) -> Step:
    """Return a DELETE, which is PostgreSQL's own on both sides, statement triggers included."""
    sql = f"DELETE FROM t{where(draw, schema)}{returning(draw, schema)}"
    return Step("delete", sql, sql)


def copy(draw: Draw, schema: Schema) -> Step:
    """Return a COPY FROM STDIN."""
    names, lines = lines_of(draw, schema)
    sql = f"COPY t ({_list(names)}) FROM STDIN"
    return Step("copy", sql, sql, copy=lines, excluded=SINGLY | {Exclusion.COUNT})


def upsert(draw: Draw, schema: Schema) -> Step:
    """Return a call of ``upsert``, and what it stands for on a plain table."""
    if not schema.encrypted or not schema.key or not all(column.takes_values for column in schema.key):
        return insert(draw, schema)
    columns = [*schema.key, *_some(draw, [c for c in schema.having("plain", "secret") if c not in schema.key])]
    row = json.dumps({column.bare: value_of(draw, column) for column in columns})
    mode = draw(st.sampled_from(("update", "nothing")))
    source = f"jsonb_populate_record(NULL::t, {quoted(row)}) AS new"
    same = " AND ".join(f"target.{column.name} = new.{column.name}" for column in schema.key)
    others = ", ".join(f"{c.name} = new.{c.name}" for c in columns if c not in schema.key)
    find = f"PERFORM FROM t AS target, {source} WHERE {same}"
    first = f"UPDATE t AS target SET {others} FROM {source} WHERE {same}"
    if mode == "nothing" or not others:
        first = find
    insertion = f"INSERT INTO t ({_list(columns)}) SELECT {_list(columns)} FROM {source}"
    plain = (
        f"DO $$ BEGIN {first}; IF NOT FOUND THEN BEGIN {insertion}; EXCEPTION WHEN unique_violation THEN"
        f" {find}; IF NOT FOUND THEN RAISE; END IF; END; END IF; END $$"
    )
    encrypted = f"SELECT upsert('t', {quoted(row)}, on_conflict => '{mode}')"
    return Step("upsert", plain, encrypted, excluded=frozenset({Exclusion.RESULTS, Exclusion.TRIGGERS}))


def select(draw: Draw, schema: Schema) -> Step:
    """Return a query that groups and joins by any column."""
    column = draw(st.sampled_from(schema.having("plain", "secret")))
    if not column.kind.has_equality:
        sql = f"SELECT count(*), count({column.name}), min({column.name}::text) FROM t{where(draw, schema)}"
    else:
        # Equal values can have several texts, of which a group shows any.
        name = column.name
        shown = f"a.{name}" if column.kind.is_text else "NULL"
        sql = (
            f"SELECT {shown}, count(*), sum(a.n) FROM t AS a LEFT JOIN t AS b ON a.{name} = b.{name}"
            f" GROUP BY a.{name}"
        )
    return Step("select", sql, sql)


def search(draw: Draw, schema: Schema) -> Step:
    """Return a search by a blind index, which finds what the value finds."""
    candidates = [column for column in schema.columns if column.blind == "none" and column.kind.is_text]
    if not candidates:
        return select(draw, schema)
    column = draw(st.sampled_from(candidates))
    value = draw(st.sampled_from(column.kind.values))
    plain = f"SELECT count(*) FROM t WHERE {column.name} = {literal(value, 'text')}"
    index = f"blind_index('t', '{column.bare}', {quoted(value)})"
    return Step("search", plain, f"SELECT count(*) FROM t WHERE {column.blind_column} = {index}")


def transaction(draw: Draw, schema: Schema) -> Step:
    """Return a transaction in which some of the statements are rolled back."""
    makers = (insert, update, delete, update_key, update, insert_select)
    parts = []
    for _ in range(draw(st.integers(2, 3))):
        sql = draw(st.sampled_from(makers))(draw, schema).plain
        parts.append(f"SAVEPOINT s; {sql}; ROLLBACK TO s" if draw(st.booleans()) else sql)
    sql = f"BEGIN; {'; '.join(parts)}; {draw(st.sampled_from(('COMMIT', 'COMMIT', 'ROLLBACK')))}"
    return _same("transaction", sql)


def parent(draw: Draw, schema: Schema) -> Step:
    """Return a statement on the table that ``t`` refers to, whose referential actions change ``t``."""
    old, new = draw(st.integers(0, 9)), draw(st.integers(0, 12))
    texts = (f"UPDATE p SET id = {new} WHERE id = {old}", f"DELETE FROM p WHERE id = {old}",
             f"UPDATE p SET id = id + {_far(schema)}", f"INSERT INTO p VALUES ({new}, 'new')")  # fmt: skip
    return _same("parent", draw(st.sampled_from(texts)))


def child(draw: Draw, schema: Schema) -> Step:
    """Return a statement on the table that refers to ``t``."""
    keys = _list(schema.key)
    texts = (
        f"INSERT INTO c (id, {keys}) SELECT 1, {keys} FROM t{where(draw, schema)}",
        "DELETE FROM c WHERE id = 1",
    )
    return _same("child", draw(st.sampled_from(texts)))


def rows_of(draw: Draw, schema: Schema, *, may_default: bool) -> tuple[list[Column], list[str]]:
    """Draw the columns of an INSERT, and the lists of their values."""
    columns = _inserted(draw, schema)
    rows = []
    for _ in range(draw(st.sampled_from((1, 1, 2, 3)))):
        values = []
        for column in columns:
            is_default = may_default and draw(st.sampled_from((False,) * 9 + (True,)))
            values.append("DEFAULT" if is_default else literal(value_of(draw, column), column.kind.type))
        rows.append(f"({', '.join(values)})")
    return columns, rows


def lines_of(draw: Draw, schema: Schema) -> tuple[list[Column], str]:
    """Draw the columns of a COPY, and its lines."""
    columns = _inserted(draw, schema) or [c for c in schema.columns if c.takes_values][:1]
    lines = []
    for _ in range(draw(st.integers(1, 4))):
        lines.append("\t".join(_copied(value_of(draw, column)) for column in columns) + "\n")
    return columns, "".join(lines)


def _inserted(draw: Draw, schema: Schema) -> list[Column]:
    columns = [column for column in schema.columns if column.takes_values]
    if draw(st.booleans()):
        return columns
    left_out = _some(draw, [column for column in columns if column not in schema.key or column.has_default])
    # A NOT NULL column is seldom left without a value.
    is_careless = draw(st.sampled_from((False,) * 7 + (True,)))
    left_out = [c for c in left_out if is_careless or c.has_default or "NOT NULL" not in c.clauses]
    return [column for column in columns if column not in left_out]


def _copied(value: str | None) -> str:
    if value is None:
        return r"\N"
    return value.replace("\\", r"\\").replace("\n", r"\n").replace("\t", r"\t")


def assignments(draw: Draw, schema: Schema, *, is_base: bool = False, is_constant: bool = False) -> str:
    """Draw the assignments of an UPDATE.

    Args:
        draw: draws.
        schema: of the table.
        is_base: only what means the same on the base table: values for encrypted columns that are not NULL.
        is_constant: no expression with columns.
    """
    texts = []
    for column in _some(draw, schema.having("plain", "secret")):
        value = value_of(draw, column)
        new = literal(value, column.kind.type)
        is_secret = bool(column.state) and is_base
        if not is_secret and not is_constant:
            numbers = ("n + 1", "n") if column.name == "n" else ()
            texts_ = ("note || 'x'", "note", "md5(note)") if column.name == "note" else ()
            new = draw(st.sampled_from((new, new, new, column.name, "DEFAULT", *numbers, *texts_)))
        texts.append(f"{column.name} = {new}")
        if is_secret and value is None:
            texts.append(f"{column.cipher} = NULL")
    return ", ".join(texts)


def where(draw: Draw, schema: Schema, *, is_base: bool = False) -> str:
    """Draw a condition; on the base table, one about plain columns."""
    conditions = ["n < 5", "n = 2 OR n IS NULL", "note LIKE '%x%'", "org IS NOT NULL", "false"]
    conditions += [_by_key(draw, schema)] * 3
    secret = draw(st.sampled_from([c for c in schema.columns if c.role == "secret"]))
    if not is_base:
        conditions += [
            f"{secret.name} IS NULL",
            f"{secret.name} IS DISTINCT FROM NULL",
            f"{secret.name}::text LIKE '%e%'",
        ]
        if secret.kind.has_equality:
            value = literal(draw(st.sampled_from(secret.kind.values)), secret.kind.type)
            conditions += [
                f"{secret.name} = {value}",
                f"{secret.name} IN (SELECT {secret.name} FROM t WHERE n < 5)",
            ]
    return draw(st.sampled_from(("", f" WHERE {draw(st.sampled_from(conditions))}")))  # type: ignore[no-any-return]


def returning(draw: Draw, schema: Schema) -> str:
    """Draw a RETURNING clause, or none."""
    every = _list(schema.columns)
    return draw(st.sampled_from(("", "", f" RETURNING {every}", f" RETURNING {schema.columns[-1].name}")))  # type: ignore[no-any-return]


def _same(title: str, sql: str) -> Step:
    return Step(title, sql, sql, excluded=SINGLY)


def _list(columns: list[Column]) -> str:
    return ", ".join(column.name for column in columns)


def _some(draw: Draw, columns: list[Column]) -> list[Column]:
    found: list[Column] = draw(
        st.lists(st.sampled_from(columns), min_size=1, max_size=_NAMES_MAX, unique_by=lambda column: column.name)
    )
    return found


def _by_key(draw: Draw, schema: Schema) -> str:
    if not schema.key:
        return "n = 1"
    column = schema.key[0]
    return f"{column.name} = {literal(value_of(draw, column), column.kind.type)}"


def _far(schema: Schema) -> int:
    # Above all sums of the distances before, so that no row gets a key that another has had.
    return _SHIFT << min(schema.next(), 26)


def _other_key(schema: Schema, column: Column) -> str | None:
    """Return an expression for another key of the same row, that no row has had, or None for other types."""
    if column.kind.type == "integer":
        return f"{column.name} + {_far(schema)}"
    if column.kind.type == "text":
        return f"{column.name} || '.{schema.next()}'"
    return None
