"""Finds statements that compare an encrypted column with a value, and not its blind index."""

import re
from collections.abc import Iterator

from ..key.database import Rows
from .finding import NOTICE, Context, Finding, join_names

# How a statement compares the column itself, by the kind of the blind index that would serve it.
_OPERATORS = {
    "equality": r"=(?!>)|IN\b|IS\s+NOT\s+DISTINCT\s+FROM\b",
    "text": r"(?:NOT\s+)?I?LIKE\b|!?~~\*?|\^@",
    "range": r"<=?|>=?|BETWEEN\b|<<=?",
    "json": r"@>|\?[|&]?",
}
# Casts, and the parentheses of functions, may stand between the column and the operator. Each text matches in one
# way only: with two ways for each cast, a statement of many casts would take hours.
_TYPE_WORD = r"(?!(?:NOT|I?LIKE|IN|IS|BETWEEN|AND|OR)\b)[\w.]+"
_BETWEEN = rf"(?:\s*::\s*{_TYPE_WORD}(?:\s+{_TYPE_WORD})*(?:\s*\(\d+\))?|\s*\))*\s*"
_SEARCH = {
    "equality": "blind_index({relation}, {column}, ...)",
    "text": "search_like({relation}, {column}, {index}, {name}, ...)",
    "range": "search_within({relation}, {column}, {index}, {name}, ...)",
    "json": "search_json({relation}, {column}, {index}, {name}, ...)",
}
_STATEMENTS_MAX = 5
_NOT_PRELOADED = "55000"  # as after LOAD
_NO_PRIVILEGE = "42501"


def check_searches(context: Context) -> Iterator[Finding]:
    """Find statements that decrypt all rows although the column has a blind index for them.

    The statements are those that pg_stat_statements shows to the caller. A statement is recognized by its text: it
    names the table and compares the column, without the column of the blind index. No finding has the text of a
    statement.
    """
    view = _view(context)
    if view is None:
        return
    indexed = _indexed_columns(context)
    statements = _statements(context, view) if indexed else []
    for column in indexed:
        looked_for = (column["relation_name"], column["name"], column["index"], column["kind"])
        found = [each for each in statements if compares(each["query"], *looked_for)]
        if not found:
            continue
        calls = sum(each["calls"] for each in found)
        seconds = sum(each["milliseconds"] for each in found) / 1000
        ids = join_names([each["id"] for each in found[:_STATEMENTS_MAX] if each["id"]])
        search = _SEARCH[column["kind"]].format(
            relation=column["literal"],
            column=column["column_literal"],
            index=column["quoted_index"],
            name=column["quoted"],
        )
        wanted = f"{column['quoted_index']} = {search}" if column["kind"] == "equality" else search
        yield Finding(
            NOTICE,
            f"{column['relation']}.{column['name']}",
            f"statements compare the column and not its {column['kind']} blind index, and decrypt every row: "
            f"{calls:,} {'call' if calls == 1 else 'calls'}, {seconds:,.1f} s in all; query ids: {ids}",
            f"Write WHERE {wanted}, as docs/search.md says.",
        )


def _indexed_columns(context: Context) -> Rows:
    """Return the encrypted columns with a blind index in their view, a row for each of these blind indexes."""
    return context.rows(
        """
        SELECT
            v.relname::text AS relation_name, v.oid::regclass::text AS relation, c.column_name::text AS name,
            quote_literal(v.oid::regclass::text) AS literal, quote_literal(c.column_name::text) AS column_literal,
            quote_ident(c.column_name::text) AS quoted, n.name::text AS index,
            quote_ident(n.name::text) AS quoted_index, n.kind
        FROM {s}.encrypted_column AS c
        JOIN {s}.encrypted_relation AS r ON r.id = c.relation_id
        JOIN pg_class AS v ON v.oid = r.relation::oid
        LEFT JOIN {s}.encrypted_terms AS t ON t.column_id = c.id AND NOT t.is_successor AND t.kind <> 'compound'
        CROSS JOIN LATERAL (
            VALUES (c.blind_column, c.blind_is_shown, 'equality'), (t.terms_column, t.is_shown, t.kind)
        ) AS n (name, is_shown, kind)
        WHERE n.is_shown
        ORDER BY c.id, n.kind
        """
    )


def _statements(context: Context, view: str) -> Rows:
    """Return the statements of this database that the caller may see, those first that took the most time.

    Args:
        context: the session that is checked.
        view: the view pg_stat_statements, qualified.

    Returns:
        The statements; none if PostgreSQL does not collect them, or the caller may not read the view.
    """
    try:
        # The query has the rights of the caller, who sees the statements of others only with pg_read_all_stats.
        return context.database.run(
            "SELECT s.query, s.queryid::pg_catalog.text AS id, s.calls, s.total_exec_time AS milliseconds"
            f" FROM {view} AS s JOIN pg_catalog.pg_database AS d ON d.oid OPERATOR(pg_catalog.=) s.dbid"
            " WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() AND s.query IS NOT NULL"
            " ORDER BY s.total_exec_time DESC"
        )
    except Exception as error:
        if getattr(error, "sqlstate", None) in (_NOT_PRELOADED, _NO_PRIVILEGE):
            return []
        raise


def _view(context: Context) -> str | None:
    """Return the name of the view of pg_stat_statements, if its extension is there and its library was loaded."""
    if context.setting("pg_stat_statements.track") in ("", "none"):
        return None
    # A view of this name that does not belong to the extension is somebody's code.
    found = context.rows(
        """
        SELECT v.oid::regclass::text AS name
        FROM pg_class AS v
        JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = v.oid AND d.deptype = 'e'
        JOIN pg_extension AS e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
        WHERE e.extname = 'pg_stat_statements' AND v.relname = 'pg_stat_statements'
        """
    )
    return str(found[0]["name"]) if found else None


def compares(query: str, relation_name: str, name: str, index: str, kind: str) -> bool:
    """Return whether a statement compares an encrypted column without its blind index, by its text.

    Args:
        query: the statement, with parameters in the place of constants.
        relation_name: the name of the table, without its schema.
        name: the column.
        index: the column of its blind index.
        kind: the kind of the blind index.
    """
    # An assignment of an UPDATE stands before WHERE.
    conditions = re.split(r"\bWHERE\b", query, maxsplit=1, flags=re.IGNORECASE)[1:]
    if not conditions or _named(index).search(query) or not _named(relation_name).search(query):
        return False
    # The operator is optional, so that a search begins where the last match has ended. Any role writes statements,
    # and nothing stops a session while it looks for a pattern.
    compared = re.compile(f"{_named(name).pattern}{_BETWEEN}(?P<operator>{_OPERATORS[kind]})?", re.IGNORECASE)
    return any(each["operator"] for each in compared.finditer(conditions[0]))


def _named(name: str) -> re.Pattern[str]:
    """Return the pattern for a name in a statement, quoted or not."""
    return re.compile(rf'(?<![\w$])"?{re.escape(name)}(?![\w$])"?', re.IGNORECASE)
