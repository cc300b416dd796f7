"""Finds the configuration of pg_partman for a table, which knows the table by its name."""

from .catalog import Table, describe
from .quoting import quote_literal, quote_name
from .relations import Relations


def partman_update(relations: Relations, schema: str, old: str, new: str) -> str | None:
    """Return the statement that gives pg_partman the new name of a table.

    Args:
        relations: the relations of the session.
        schema: the schema of the table.
        old: the name under which pg_partman may know the table.
        new: the new name of the table.

    Returns:
        The statement, or None if pg_partman does not manage the table, or if the current user may not see it.
    """
    database = relations.database
    rows = database.query(
        "SELECT c.oid::bigint AS oid FROM pg_extension AS e JOIN pg_depend AS d"
        " ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'"
        " JOIN pg_class AS c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid AND c.relkind = 'r'"
        " WHERE e.extname = 'pg_partman' AND c.relname = 'part_config'"
        " AND has_table_privilege(c.oid, 'SELECT')"
    )
    config: Table | None = describe(database, rows[0]["oid"]) if rows else None
    if config is None:
        return None
    was, now = (quote_literal(f"{schema}.{name}") for name in (old, new))
    condition = f"WHERE {quote_name('parent_table')} OPERATOR(pg_catalog.=) {was}"
    if not relations.run(config, f"SELECT FROM {config.qualified} {condition}"):
        return None
    return f"UPDATE {config} SET parent_table = {now} WHERE parent_table = {was}"
