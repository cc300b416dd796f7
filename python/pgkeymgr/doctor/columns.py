"""Finds encrypted columns with an unfinished procedure, and plaintext that remains beside encrypted columns."""

from collections.abc import Iterator
from typing import Any

from ..column.catalog import SEALING_TRIGGERS
from .finding import NOTICE, WARNING, Context, Finding, join_names

_PROCEDURES = {"migrating": "migrate_column", "rotating": "rotate_column", "decrypting": "decrypt_column"}

_DOCUMENT = "docs/encrypted-columns.md, What is left of the old plaintext"


def check_unfinished(context: Context) -> Iterator[Finding]:
    """Find the columns whose procedure must be called again."""
    is_standby = context.is_standby()
    for row in context.rows(
        "SELECT c.id, c.column_name::text AS name, c.state::text AS state,"
        " coalesce(v.oid::pg_catalog.regclass::text, r.base::text) AS relation,"
        " pg_catalog.quote_literal(coalesce(v.oid::pg_catalog.regclass::text, r.base::text)) AS literal,"
        " pg_catalog.quote_literal(c.column_name::text) AS column_literal,"
        " o.rows_done, GREATEST(o.rows_total, o.rows_done) AS rows_total,"
        " pg_catalog.date_trunc('second', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) o.started)::text"
        " AS age"
        " FROM {s}.encrypted_column AS c JOIN {s}.encrypted_relation AS r"
        " ON r.id OPERATOR(pg_catalog.=) c.relation_id"
        " JOIN pg_catalog.pg_class AS b ON b.oid OPERATOR(pg_catalog.=) r.base::pg_catalog.oid"
        " LEFT JOIN pg_catalog.pg_class AS v ON v.oid OPERATOR(pg_catalog.=) r.relation::pg_catalog.oid"
        " LEFT JOIN {s}.column_operation AS o ON o.column_id OPERATOR(pg_catalog.=) c.id"
        " WHERE c.state::text OPERATOR(pg_catalog.<>) 'encrypted' ORDER BY c.id"
    ):
        procedure = _PROCEDURES[row["state"]]
        call = f"CALL {procedure}({row['literal']}, {row['column_literal']});"
        if row["rows_total"] is None:
            progress = f"{procedure}() has not been called"
        else:
            progress = f"{row['rows_done']:,} of {row['rows_total']:,} rows, started {row['age']} ago"
        sessions = [] if is_standby else _find_sessions(context, row["id"], procedure)
        if sessions:
            progress += f"; session {join_names(sessions)} seems to run the procedure"
        elif not is_standby:
            progress += "; no session runs the procedure"
        yield Finding(
            NOTICE if sessions or is_standby else WARNING,
            f"{row['relation']}.{row['name']}",
            f"the column is {row['state']}: {progress}",
            "Wait until the procedure has finished."
            if sessions
            else f"On the primary: {call}"
            if is_standby
            else call,
        )


def _find_sessions(context: Context, column_id: int, procedure: str) -> list[str]:
    # A procedure holds the column's lock during a batch. Between two batches, only its text identifies it.
    return [
        str(row["pid"])
        for row in context.rows(
            "SELECT a.pid FROM pg_catalog.pg_stat_activity AS a WHERE a.datname OPERATOR(pg_catalog.=)"
            " pg_catalog.current_database() AND a.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid() AND ("
            " (a.state OPERATOR(pg_catalog.=) 'active' AND pg_catalog.strpos(pg_catalog.lower(a.query), $2)"
            "  OPERATOR(pg_catalog.>) 0) OR EXISTS (SELECT FROM pg_catalog.pg_locks AS l"
            "  WHERE l.pid OPERATOR(pg_catalog.=) a.pid AND l.locktype OPERATOR(pg_catalog.=) 'advisory'"
            "  AND l.classid::bigint OPERATOR(pg_catalog.=)"
            "   (pg_catalog.hashtext('pgkeymgr encrypted_column')::bigint OPERATOR(pg_catalog.&) 4294967295)"
            "  AND l.objid::bigint OPERATOR(pg_catalog.=) $1 AND l.objsubid OPERATOR(pg_catalog.=) 2)) ORDER BY 1",
            ("integer", column_id),
            ("text", procedure),
        )
    ]


def check_writes(context: Context) -> Iterator[Finding]:
    """Find what keeps the triggers of encrypted tables from firing."""
    if not context.rows("SELECT FROM {s}.encrypted_relation LIMIT 1"):
        return
    hint = (
        "An INSERT, an UPDATE or a COPY through the view of an encrypted table is reported as done, and stores "
        "nothing. Write to the base table there, which seals what it gets."
    )
    for row in context.rows(
        "SELECT DISTINCT coalesce('role ' OPERATOR(pg_catalog.||) r.rolname::text,"
        " 'database ' OPERATOR(pg_catalog.||) d.datname::text, 'all roles') AS who"
        " FROM pg_catalog.pg_db_role_setting AS s LEFT JOIN pg_catalog.pg_roles AS r"
        " ON r.oid OPERATOR(pg_catalog.=) s.setrole LEFT JOIN pg_catalog.pg_database AS d"
        " ON d.oid OPERATOR(pg_catalog.=) s.setdatabase WHERE (s.setdatabase OPERATOR(pg_catalog.=) 0"
        "  OR d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())"
        " AND 'session_replication_role=replica' OPERATOR(pg_catalog.=) ANY (s.setconfig) ORDER BY 1"
    ):
        yield Finding(WARNING, row["who"], "session_replication_role is replica: triggers do not fire", hint)
    if context.setting("session_replication_role") == "replica":
        yield Finding(WARNING, "this session", "session_replication_role is replica: triggers do not fire", hint)
    for row in context.rows(
        "SELECT r.base::text AS name FROM {s}.encrypted_relation AS r JOIN pg_catalog.pg_class AS b"
        " ON b.oid OPERATOR(pg_catalog.=) r.base::pg_catalog.oid WHERE (SELECT pg_catalog.count(*)"
        " FROM pg_catalog.pg_trigger AS t WHERE t.tgrelid OPERATOR(pg_catalog.=) b.oid"
        " AND t.tgname OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.text[]::pg_catalog.name[])"
        " AND t.tgenabled OPERATOR(pg_catalog.=) 'A') OPERATOR(pg_catalog.<>) pg_catalog.cardinality($1)"
        " ORDER BY 1",
        ("text[]", list(SEALING_TRIGGERS)),
    ):
        yield Finding(
            WARNING,
            row["name"],
            "the triggers that seal its values are not enabled ALWAYS: what they would have sealed is refused",
            f"SELECT refresh_encrypted_view('{row['name']}');",
        )


def check_plaintext(context: Context) -> Iterator[Finding]:
    """Find the places where plaintext of encrypted columns is, or may still be, outside of the columns."""
    yield from _find_indexes_and_statistics(context)
    yield from _find_old_files(context)
    yield from _find_materialized_views(context)


def _find_indexes_and_statistics(context: Context) -> Iterator[Finding]:
    """Find indexes and statistics on plaintext columns that have not been dropped yet."""
    for column in context.rows(
        "SELECT r.base::pg_catalog.oid::bigint AS base, r.base::text AS base_name, a.attnum::integer AS number,"
        " a.attname::text AS name"
        " FROM {s}.encrypted_column AS c JOIN {s}.encrypted_relation AS r"
        " ON r.id OPERATOR(pg_catalog.=) c.relation_id JOIN pg_catalog.pg_attribute AS a"
        " ON a.attrelid OPERATOR(pg_catalog.=) r.base::pg_catalog.oid"
        " AND a.attname OPERATOR(pg_catalog.=) c.column_name AND NOT a.attisdropped"
        " WHERE c.state::text OPERATOR(pg_catalog.=) 'migrating' ORDER BY c.id"
    ):
        called = f"{column['base_name']}.{column['name']}"
        arguments: tuple[tuple[str, Any], ...] = (("oid", column["base"]), ("integer", column["number"]))
        for row in context.rows(
            "SELECT d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass AS is_index,"
            " CASE d.classid WHEN 'pg_catalog.pg_class'::pg_catalog.regclass"
            "  THEN d.objid::pg_catalog.regclass::text"
            "  ELSE (SELECT pg_catalog.format('%I.%I', n.nspname, s.stxname)"
            "  FROM pg_catalog.pg_statistic_ext AS s JOIN pg_catalog.pg_namespace AS n"
            "  ON n.oid OPERATOR(pg_catalog.=) s.stxnamespace"
            "  WHERE s.oid OPERATOR(pg_catalog.=) d.objid) END AS name"
            " FROM (SELECT DISTINCT classid, objid FROM pg_catalog.pg_depend"
            "  WHERE refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
            "  AND refobjid OPERATOR(pg_catalog.=) $1 AND refobjsubid OPERATOR(pg_catalog.=) $2) AS d"
            " LEFT JOIN pg_catalog.pg_class AS i"
            " ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
            " AND i.oid OPERATOR(pg_catalog.=) d.objid AND i.relkind OPERATOR(pg_catalog.=) 'i'"
            " WHERE i.oid IS NOT NULL OR d.classid OPERATOR(pg_catalog.=)"
            "  'pg_catalog.pg_statistic_ext'::pg_catalog.regclass ORDER BY 2",
            *arguments,
        ):
            what, drop = (
                ("the index", "DROP INDEX") if row["is_index"] else ("the statistics object", "DROP STATISTICS")
            )
            yield Finding(
                WARNING,
                row["name"],
                f"{what} on the plaintext column {called} also holds plaintext",
                f"{drop} {row['name']};",
            )
        if context.rows(
            "SELECT FROM pg_catalog.pg_statistic WHERE starelid OPERATOR(pg_catalog.=) $1"
            " AND staattnum OPERATOR(pg_catalog.=) $2 LIMIT 1",
            *arguments,
        ):
            yield Finding(
                NOTICE,
                called,
                "pg_statistic holds values of the plaintext column",
                f"The end of the migration deletes them. For the plaintext that then remains on the disk, see "
                f"{_DOCUMENT}.",
            )


def _find_old_files(context: Context) -> Iterator[Finding]:
    """Find base tables whose files are older than their encryption.

    Files and objects get their numbers from the same counter. The function of the view's trigger was created at
    the first encryption, and has only been replaced since then. So a table whose file has a smaller number than
    this function has not been rewritten since the encryption. This cannot distinguish a VACUUM FULL during a
    migration from one after it.
    """
    for row in context.rows(
        "SELECT b.oid::pg_catalog.regclass::text AS name, pg_catalog.pg_relation_size(b.oid) AS bytes"
        " FROM {s}.encrypted_relation AS r JOIN pg_catalog.pg_class AS b"
        " ON b.oid OPERATOR(pg_catalog.=) r.base::pg_catalog.oid"
        " WHERE EXISTS (SELECT FROM {s}.encrypted_column AS c WHERE c.relation_id OPERATOR(pg_catalog.=) r.id"
        "  AND c.had_plaintext AND c.state::text OPERATOR(pg_catalog.<>) 'migrating')"
        " AND (pg_catalog.pg_relation_filenode(b.oid) OPERATOR(pg_catalog.=) b.oid"
        "  OR EXISTS (SELECT FROM pg_catalog.pg_proc AS p WHERE p.pronamespace OPERATOR(pg_catalog.=)"
        "   '{s}'::pg_catalog.regnamespace::pg_catalog.oid AND p.proname OPERATOR(pg_catalog.=)"
        "   ('_insert_' OPERATOR(pg_catalog.||) r.id::text) AND pg_catalog.pg_relation_filenode(b.oid)"
        "   OPERATOR(pg_catalog.<) p.oid)) ORDER BY r.id"
    ):
        if row["bytes"]:
            yield Finding(
                WARNING,
                row["name"],
                "its file has not been rewritten since its columns were encrypted: it may still hold plaintext in "
                "dead rows",
                f"VACUUM FULL {row['name']}; for the rest of the data directory, see {_DOCUMENT}.",
            )


def _find_materialized_views(context: Context) -> Iterator[Finding]:
    """Find materialized views that depend on an encrypted column of a view, directly or through other views."""
    for row in context.rows(
        "WITH RECURSIVE used (oid, relation) AS ("
        " SELECT w.ev_class, r.relation::text FROM {s}.encrypted_relation AS r"
        "  JOIN {s}.encrypted_column AS c ON c.relation_id OPERATOR(pg_catalog.=) r.id"
        "  JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) r.relation::pg_catalog.oid"
        "  AND a.attname OPERATOR(pg_catalog.=) c.column_name"
        "  JOIN pg_catalog.pg_depend AS d ON d.refobjid OPERATOR(pg_catalog.=) a.attrelid"
        "  AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
        "  AND d.refobjsubid OPERATOR(pg_catalog.=) a.attnum"
        "  AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass"
        "  JOIN pg_catalog.pg_rewrite AS w ON w.oid OPERATOR(pg_catalog.=) d.objid"
        "  AND w.ev_class OPERATOR(pg_catalog.<>) a.attrelid"
        " UNION SELECT w.ev_class, used.relation FROM used"
        "  JOIN pg_catalog.pg_depend AS d ON d.refobjid OPERATOR(pg_catalog.=) used.oid"
        "  AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
        "  AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass"
        "  JOIN pg_catalog.pg_rewrite AS w ON w.oid OPERATOR(pg_catalog.=) d.objid"
        "  AND w.ev_class OPERATOR(pg_catalog.<>) used.oid)"
        " SELECT DISTINCT m.oid::pg_catalog.regclass::text AS name, used.relation FROM used"
        " JOIN pg_catalog.pg_class AS m ON m.oid OPERATOR(pg_catalog.=) used.oid"
        " WHERE m.relkind OPERATOR(pg_catalog.=) 'm' ORDER BY 1, 2"
    ):
        yield Finding(
            WARNING,
            row["name"],
            f"the materialized view depends on {row['relation']}: it, its indexes and its statistics hold "
            "decrypted values",
            f"DROP MATERIALIZED VIEW {row['name']}; or create it again without the encrypted columns.",
        )
