"""Finds encrypted columns with an unfinished procedure, and plaintext that remains beside encrypted columns."""

from collections.abc import Iterator
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any

from .. import __version__
from ..column.catalog import OWN_TRIGGERS, describe
from ..column.derived_plaintext import Copy, derived_plaintext
from ..column.quoting import quote_literal
from ..column.registry import Registry
from ..column.unregistered import unregistered_tables
from ..documents import page
from ..key.database import Database
from ..key.shared_names import valid_name
from .finding import ERROR, NOTICE, WARNING, Context, Finding, join_names

_PROCEDURES = {
    "migrating": "migrate_column",
    "rotating": "rotate_column",
    "decrypting": "decrypt_column",
    "indexing": "build_blind_index",
    "reindexing": "rotate_blind_index",
}

_STATES = {"indexing": "the blind index is being built", "reindexing": "the blind index gets another key"}
"""How a state is described, where its name does not say it."""

_DOCUMENT = f"{page('encrypted-columns.md')}, What is left of the old plaintext"


def check_unfinished(context: Context) -> Iterator[Finding]:
    """Find the columns whose procedure must be called again, and the tables that an update has left."""
    yield from _find_views_of_other_versions(context)
    is_standby = context.is_standby()
    for row in context.rows(
        """
        SELECT
            c.id, c.column_name::text AS name,
            CASE WHEN c.state::text <> 'encrypted' THEN c.state::text
                WHEN n.column_id IS NOT NULL THEN 'reindexing' ELSE 'indexing' END AS state,
            CASE WHEN c.state::text = 'encrypted' THEN coalesce(n.kind, CASE WHEN NOT t.is_filled THEN t.kind END)
                END AS kind,
            coalesce(v.oid::regclass::text, r.base::text) AS relation,
            quote_literal(coalesce(v.oid::regclass::text, r.base::text)) AS literal,
            quote_literal(c.column_name::text) AS column_literal, o.rows_done,
            GREATEST(o.rows_total, o.rows_done) AS rows_total,
            date_trunc('second', clock_timestamp() - o.started)::text AS age
        FROM {s}.encrypted_column AS c
        JOIN {s}.encrypted_relation AS r ON r.id = c.relation_id
        JOIN pg_class AS b ON b.oid = r.base::oid
        LEFT JOIN pg_class AS v ON v.oid = r.relation::oid
        LEFT JOIN {s}.column_operation AS o ON o.column_id = c.id
        LEFT JOIN {s}.encrypted_terms AS t ON t.column_id = c.id AND NOT (t.is_successor OR t.is_filled)
        LEFT JOIN {s}.encrypted_terms AS n ON n.column_id = c.id AND n.is_successor
        WHERE c.state::text <> 'encrypted' OR NOT c.blind_is_filled OR NOT t.is_filled OR n.column_id IS NOT NULL
        ORDER BY c.id
        """
    ):
        procedure = _PROCEDURES[row["state"]]
        kind = f", kind => '{row['kind']}'" if row["kind"] not in (None, "equality") else ""
        call = f"CALL {procedure}({row['literal']}, {row['column_literal']}{kind});"
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
            f"{_STATES.get(row['state'], 'the column is ' + row['state'])}: {progress}",
            "Wait until the procedure has finished."
            if sessions
            else f"On the primary: {call}"
            if is_standby
            else call,
        )


def _find_views_of_other_versions(context: Context) -> Iterator[Finding]:
    for row in context.rows(
        """
        SELECT coalesce(v.oid::regclass::text, r.base::text) AS relation, r.made_by
        FROM {s}.encrypted_relation AS r
        JOIN pg_class AS b ON b.oid = r.base::oid
        LEFT JOIN pg_class AS v ON v.oid = r.relation::oid
        WHERE r.made_by <> $1
        ORDER BY r.id
        """,
        ("text", __version__),
    ):
        yield Finding(
            ERROR,
            row["relation"],
            f"its view and triggers are those of version {row['made_by']}: the update of the extension is not "
            "finished",
            "SELECT finish_update();",
        )


def _find_sessions(context: Context, column_id: int, procedure: str) -> list[str]:
    # A procedure has locked a column's turn and the table during a batch. Between two batches, only its text
    # identifies it.
    return [
        str(row["pid"])
        for row in context.rows(
            """
            SELECT a.pid
            FROM pg_stat_activity AS a
            WHERE a.datname = current_database()
                AND a.pid <> pg_backend_pid()
                AND ((a.state = 'active' AND strpos(lower(a.query), $2) > 0) OR (
                    EXISTS (
                        SELECT FROM pg_locks AS l
                        WHERE l.pid = a.pid
                            AND l.relation = '{s}.column_turn'::regclass
                            AND l.mode = 'RowShareLock'
                    )
                    AND EXISTS (
                        SELECT FROM pg_locks AS l
                        JOIN {s}.encrypted_column AS c ON c.id = $1
                        JOIN {s}.encrypted_relation AS r ON r.id = c.relation_id
                        WHERE l.pid = a.pid AND r.base::oid IN (l.relation, pg_partition_root(l.relation)::oid)
                    )
                ))
            ORDER BY 1
            """,
            ("integer", column_id),
            ("text", procedure),
        )
    ]


def check_blind_indexes(context: Context) -> Iterator[Finding]:
    """Find the blind indexes for which PostgreSQL has no index, so that a search reads the whole table."""
    for row in context.rows(
        """
        SELECT
            coalesce(v.oid::regclass::text, r.base::text) AS relation, c.column_name::text AS name,
            quote_literal(coalesce(v.oid::regclass::text, r.base::text)) AS literal,
            quote_literal(c.column_name::text) AS column_literal, n.kind
        FROM {s}.encrypted_column AS c
        JOIN {s}.encrypted_relation AS r ON r.id = c.relation_id
        CROSS JOIN LATERAL (
            SELECT c.blind_column, c.blind_is_shown, 'equality' UNION ALL
            SELECT t.terms_column, t.is_shown, t.kind FROM {s}.encrypted_terms AS t
            WHERE t.column_id = c.id AND NOT t.is_successor
        ) AS n (name, is_shown, kind)
        JOIN pg_attribute AS a ON a.attrelid = r.base::oid AND a.attname = n.name
        LEFT JOIN pg_class AS v ON v.oid = r.relation::oid
        WHERE n.is_shown AND NOT EXISTS (
            SELECT FROM pg_index AS i WHERE i.indrelid = r.base::oid AND i.indkey[0] = a.attnum AND i.indisvalid
        )
        ORDER BY c.id, n.kind
        """
    ):
        yield Finding(
            NOTICE,
            f"{row['relation']}.{row['name']}",
            f"its {'' if row['kind'] == 'equality' else row['kind'] + ' '}blind index has no index: each search"
            " reads the whole table",
            f"In psql: SELECT blind_index_statements({row['literal']}, {row['column_literal']}) \\gexec",
        )


def check_tables(context: Context) -> Iterator[Finding]:
    """Find encrypted tables that do not exist here, and tables with ciphertext that are not registered."""
    lost_tables = Registry(context.database).lost_tables()
    for lost in lost_tables:
        # A dropped table is not a fault: dropped_encrypted_columns lists it.
        if not lost.is_dropped:
            yield Finding(
                NOTICE,
                f"table {lost.name}",
                f"the base table {lost.base} does not exist: a dump had other tables only, or the table was "
                "dropped where event triggers do not fire; the keys of its columns are not destroyed without "
                "force",
                "Restore a dump of the whole database. If nothing needs the values of the table any more: "
                f"SELECT forget_dropped_table({lost.id});",
            )
    for oid, found in groupby(unregistered_tables(context.database), key=attrgetter("oid")):
        tables = list(found)
        base = context.database.as_owner(partial(describe, context.database, oid))
        names = [column.name for column in base.columns] if base is not None else []
        alike = [lost for lost in lost_tables if lost.is_like(names)]
        columns = [table.cipher for table in tables]
        ciphers = [name for name in columns if any(name in lost.ciphers for lost in alike)] or columns
        views = [table.view for table in tables if table.view]
        unless = f", but for {views[0]}, which has lost its triggers: do not write through it" if views else ""
        yield Finding(
            WARNING,
            tables[0].name,
            f"the table has ciphertext in {join_names(ciphers)}, and is not registered as an encrypted table: no "
            f"view decrypts it{unless}",
            f"If a tool has put it in the place of the dropped table {alike[0].base}: "
            f"SELECT adopt_encrypted_table({quote_literal(tables[0].name)}); If it is a copy that nobody needs, "
            "drop it."
            if alike
            else "If it is a copy that nobody needs, drop it.",
        )


def check_writes(context: Context) -> Iterator[Finding]:
    """Find the settings and triggers because of which the triggers of encrypted tables do not fire."""
    if not context.rows("SELECT FROM {s}.encrypted_relation WHERE dropped IS NULL LIMIT 1"):
        return
    hint = (
        "An INSERT, an UPDATE or a COPY through the view of an encrypted table is reported as done, and stores "
        "nothing. Write to the base table there, which seals what it gets."
    )
    for row in context.rows(
        f"""
        SELECT DISTINCT coalesce(
            'role ' || {valid_name("r.rolname")}, 'database ' || {valid_name("d.datname")}, 'all roles'
        ) AS who
        FROM pg_db_role_setting AS s
        LEFT JOIN pg_roles AS r ON r.oid = s.setrole
        LEFT JOIN pg_database AS d ON d.oid = s.setdatabase
        WHERE (s.setdatabase = 0 OR d.datname = current_database())
            AND 'session_replication_role=replica' = ANY (s.setconfig)
        ORDER BY 1
        """
    ):
        yield Finding(WARNING, row["who"], "session_replication_role is replica: triggers do not fire", hint)
    if context.setting("session_replication_role") == "replica":
        yield Finding(WARNING, "this session", "session_replication_role is replica: triggers do not fire", hint)
    for row in context.rows(
        """
        SELECT b.oid::regclass::text AS name, r.base::text AS base
        FROM {s}.encrypted_relation AS r
        JOIN pg_class AS b ON b.oid = r.base::oid OR b.oid IN (
            SELECT p.partition FROM {s}.encrypted_partition AS p WHERE p.relation_id = r.id
        )
        WHERE (
            SELECT count(*)
            FROM pg_trigger AS t
            WHERE t.tgrelid = b.oid AND t.tgname = ANY ($1::text[]::name[]) AND t.tgenabled = 'A'
        ) <> 2
        ORDER BY 1
        """,
        ("text[]", list(OWN_TRIGGERS)),
    ):
        yield Finding(
            WARNING,
            row["name"],
            "the triggers that encrypt its values are not enabled ALWAYS: where they do not fire, new values are "
            "refused, and the values of a row whose key changes cannot be decrypted",
            f"SELECT refresh_encrypted_view('{row['base']}');",
        )


def check_plaintext(context: Context) -> Iterator[Finding]:
    """Find the places where plaintext of encrypted columns is, or may still be, outside of the columns."""
    yield from _find_indexes_and_statistics(context)
    yield from _find_old_files(context)
    yield from _find_materialized_views(context)
    yield from _find_copies(context)


def _find_indexes_and_statistics(context: Context) -> Iterator[Finding]:
    """Find indexes and statistics on plaintext columns that have not been dropped yet."""
    for column in context.rows(
        """
        SELECT
            a.attrelid::bigint AS base, a.attrelid::regclass::text AS base_name, a.attnum::integer AS number,
            a.attname::text AS name
        FROM {s}.encrypted_column AS c
        JOIN {s}.encrypted_relation AS r ON r.id = c.relation_id
        JOIN pg_attribute AS a ON (a.attrelid = r.base::oid OR a.attrelid IN (
            SELECT p.partition FROM {s}.encrypted_partition AS p WHERE p.relation_id = r.id
        )) AND a.attname = c.column_name AND NOT a.attisdropped
        WHERE c.state::text = 'migrating'
        ORDER BY c.id
        """
    ):
        called = f"{column['base_name']}.{column['name']}"
        arguments: tuple[tuple[str, Any], ...] = (("oid", column["base"]), ("integer", column["number"]))
        for row in context.rows(
            """
            SELECT
                d.classid = 'pg_class'::regclass AS is_index,
                CASE d.classid WHEN 'pg_class'::regclass THEN d.objid::regclass::text ELSE (
                    SELECT format('%I.%I', n.nspname, s.stxname)
                    FROM pg_statistic_ext AS s
                    JOIN pg_namespace AS n ON n.oid = s.stxnamespace
                    WHERE s.oid = d.objid
                ) END AS name
            FROM (
                SELECT DISTINCT classid, objid
                FROM pg_depend
                WHERE refclassid = 'pg_class'::regclass AND refobjid = $1 AND refobjsubid = $2
            ) AS d
            LEFT JOIN pg_class AS i ON d.classid = 'pg_class'::regclass AND i.oid = d.objid AND i.relkind = 'i'
            WHERE i.oid IS NOT NULL OR d.classid = 'pg_statistic_ext'::regclass
            ORDER BY 2
            """,
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
            "SELECT FROM pg_statistic WHERE starelid = $1 AND staattnum = $2 LIMIT 1",
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
        """
        SELECT b.oid::regclass::text AS name, pg_relation_size(b.oid) AS bytes
        FROM {s}.encrypted_relation AS r
        JOIN pg_class AS b ON b.relkind = 'r' AND (b.oid = r.base::oid OR b.oid IN (
            SELECT p.partition FROM {s}.encrypted_partition AS p WHERE p.relation_id = r.id
        ))
        WHERE EXISTS (
            SELECT FROM {s}.encrypted_column AS c
            WHERE c.relation_id = r.id AND c.had_plaintext AND c.state::text <> 'migrating'
        )
            -- A partition can be younger than the encryption.
            AND ((b.oid = r.base::oid AND pg_relation_filenode(b.oid) = b.oid) OR EXISTS (
                SELECT FROM pg_proc AS p
                WHERE p.pronamespace = '{s}'::regnamespace::oid
                    AND p.proname = ('_insert_' || r.id::text)
                    AND pg_relation_filenode(b.oid) < p.oid
            ))
        ORDER BY r.id
        """
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
        """
        WITH RECURSIVE used (oid, relation) AS (
            SELECT w.ev_class, r.relation::text
            FROM {s}.encrypted_relation AS r
            JOIN {s}.encrypted_column AS c ON c.relation_id = r.id
            JOIN pg_attribute AS a ON a.attrelid = r.relation::oid AND a.attname = c.column_name
            JOIN pg_depend AS d ON d.refobjid = a.attrelid
                AND d.refclassid = 'pg_class'::regclass
                AND d.refobjsubid = a.attnum
                AND d.classid = 'pg_rewrite'::regclass
            JOIN pg_rewrite AS w ON w.oid = d.objid AND w.ev_class <> a.attrelid
            UNION
            SELECT w.ev_class, used.relation
            FROM used
            JOIN pg_depend AS d ON d.refobjid = used.oid
                AND d.refclassid = 'pg_class'::regclass
                AND d.classid = 'pg_rewrite'::regclass
            JOIN pg_rewrite AS w ON w.oid = d.objid AND w.ev_class <> used.oid
        )
        SELECT DISTINCT m.oid::regclass::text AS name, used.relation
        FROM used
        JOIN pg_class AS m ON m.oid = used.oid
        WHERE m.relkind = 'm'
        ORDER BY 1, 2
        """
    ):
        yield Finding(
            WARNING,
            row["name"],
            f"the materialized view depends on {row['relation']}: it, its indexes and its statistics hold "
            "decrypted values",
            f"DROP MATERIALIZED VIEW {row['name']}; or create it again without the encrypted columns.",
        )


def _find_copies(context: Context) -> Iterator[Finding]:
    """Find columns of the base tables that look like copies of encrypted columns, or of words in them."""
    for row in context.rows("SELECT base::pg_catalog.oid::bigint AS oid FROM {s}.encrypted_relation ORDER BY id"):
        for copy in context.database.as_owner(partial(_copies_in, context.database, row["oid"])):
            yield Finding(NOTICE, copy.object, copy.detail, copy.hint)


def _copies_in(database: Database, oid: int) -> list[Copy]:
    table, base = Registry(database).find(oid), describe(database, oid)
    if table is None or base is None:
        return []
    return [copy for name in table.encrypted for copy in derived_plaintext(database, base, table, name, [])]
