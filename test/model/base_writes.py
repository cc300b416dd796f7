"""Random writes to the base table itself, and what they are on the plain table."""

from hypothesis import strategies as st

from .exclusions import Exclusion
from .kinds import literal
from .schema import Column, Draw, Schema, value_of
from .statements import assignments, lines_of, rows_of, where
from .step import Step


def base_insert(draw: Draw, schema: Schema) -> Step:
    """Return an INSERT into the base table, one statement there."""
    columns, rows = rows_of(draw, schema, may_default=False)
    if any(column.state and column.has_default and column not in columns for column in schema.columns):
        return base_update(draw, schema)
    names = ", ".join(column.name for column in columns)
    if not names:
        return base_update(draw, schema)
    plain = [column.name for column in schema.columns if not column.state]
    returning = draw(st.sampled_from(("", f" RETURNING {', '.join(plain)}")))
    rest = f"({names}) VALUES {', '.join(rows)}{returning}"
    return Step("base insert", f"INSERT INTO t {rest}", f"INSERT INTO {schema.base} {rest}")


def base_copy(draw: Draw, schema: Schema) -> Step:
    """Return a COPY into the base table."""
    columns, lines = lines_of(draw, schema)
    if any(column.state and column.has_default and column not in columns for column in schema.columns):
        return base_update(draw, schema)
    rest = f"({', '.join(column.name for column in columns)}) FROM STDIN"
    return Step("base copy", f"COPY t {rest}", f"COPY {schema.base} {rest}", copy=lines)


def base_update(draw: Draw, schema: Schema) -> Step:
    """Return an UPDATE of the base table."""
    new = assignments(draw, schema, is_base=True)
    condition = where(draw, schema, is_base=True)
    plain = new
    for column in schema.encrypted:
        plain = plain.replace(f", {column.cipher} = NULL", "")
    return Step("base update", f"UPDATE t SET {plain}{condition}", f"UPDATE {schema.base} SET {new}{condition}")


def base_delete(draw: Draw, schema: Schema) -> Step:
    """Return a DELETE from the base table."""
    condition = where(draw, schema, is_base=True)
    return Step("base delete", f"DELETE FROM t{condition}", f"DELETE FROM {schema.base}{condition}")


def base_upsert(draw: Draw, schema: Schema) -> Step:
    """Return an INSERT ... ON CONFLICT into the base table."""
    columns, rows = rows_of(draw, schema, may_default=False)
    is_partial = any(column.state and column.has_default and column not in columns for column in schema.columns)
    if is_partial or not schema.key or not all(key in columns for key in schema.key):
        return base_update(draw, schema)
    # A second row for the same key is an error on both sides.
    names, keys = (", ".join(column.name for column in each) for each in (columns, schema.key))
    action = draw(st.sampled_from(("DO NOTHING", "DO UPDATE SET note = EXCLUDED.note, n = EXCLUDED.n", "secret")))
    plain = encrypted = action
    if action == "secret":
        secrets = schema.having("secret")
        plain = "DO UPDATE SET " + ", ".join(f"{column.name} = EXCLUDED.{column.name}" for column in secrets)
        encrypted = "DO UPDATE SET " + ", ".join(_excluded(column) for column in secrets)
    values = f"({names}) VALUES {', '.join(rows)} ON CONFLICT ({keys})"
    return Step(
        "base upsert", f"INSERT INTO t {values} {plain}", f"INSERT INTO {schema.base} {values} {encrypted}"
    )


def base_merge(draw: Draw, schema: Schema) -> Step:
    """Return a MERGE into the base table."""
    columns = [column for column in schema.columns if column.takes_values]
    if not schema.key or not all(key in columns for key in schema.key):
        return base_update(draw, schema)
    # Each key once: a join gives the rows in any order, and so which of them is refused first.
    rows = {}
    for _ in range(draw(st.integers(1, 3))):
        values = [literal(value_of(draw, column), column.kind.type) for column in columns]
        rows[values[columns.index(schema.key[0])].casefold()] = f"({', '.join(values)})"
    names = ", ".join(column.name for column in columns)
    same = " AND ".join(f"b.{key.name} = v.{key.name}" for key in schema.key)
    secret = draw(st.sampled_from(schema.having("secret")))
    value = literal(draw(st.sampled_from(secret.kind.values)), secret.kind.type)
    actions = ("UPDATE SET note = v.note, n = v.n", f"UPDATE SET n = v.n, {secret.name} = {value}", "DELETE")
    rest = (
        f"AS b USING (VALUES {', '.join(rows.values())}) AS v ({names}) ON {same}"
        f" WHEN MATCHED AND b.n < 3 THEN DO NOTHING WHEN MATCHED THEN {draw(st.sampled_from(actions))}"
        f" WHEN NOT MATCHED THEN INSERT ({names}) VALUES ({', '.join(f'v.{c.name}' for c in columns)})"
    )
    excluded = frozenset({Exclusion.ORDER})
    return Step("base merge", f"MERGE INTO t {rest}", f"MERGE INTO {schema.base} {rest}", excluded=excluded)


def _excluded(column: Column) -> str:
    if column.state == "decrypting":
        # The procedure may have been cancelled before it changed the state. Either column is NULL.
        return f"{column.name} = EXCLUDED.{column.name}, {column.cipher} = EXCLUDED.{column.cipher}"
    if not column.state:
        return f"{column.name} = EXCLUDED.{column.name}"
    return f"{column.name} = NULL, {column.cipher} = EXCLUDED.{column.cipher}"
