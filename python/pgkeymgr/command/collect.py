"""Reads the state of the databases of a cluster, for ``report`` and ``metrics``.

All queries of the two commands are here. They read the views for the role pgkeymgr_monitor, and no table of a
user.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from .connection import Database, each_database
from .failure import message_and_hint
from .state import (
    AGES,
    KEY_STATE,
    ClusterState,
    Column,
    DatabaseState,
    Deadline,
    Finding,
    Grants,
    Key,
    Operation,
    Policy,
    RootKey,
)

_CONNECT_SECONDS = 10
_STATEMENT_SECONDS = 60
_GRANTED_KEYS_MAX = 12
_TABLES_MAX = 1000

_COUNTS = f"""
    SELECT {KEY_STATE} AS state, pg_catalog.width_bucket(pg_catalog.now() - k.created, %s::interval[]) AS age,
        count(*) AS count, min(k.created) AS oldest, min(k.expires) AS next_expiry,
        count(k.destroy_after) AS destructions, min(k.destroy_after) AS next_destruction
    FROM {{s}}.key_versions AS k
    GROUP BY 1, 2
"""  # noqa: S608
_KEYS = f"""
    SELECT k.id, k.name, {KEY_STATE} AS state, NOT k.is_current AS is_superseded, k.created, k.expires,
        k.owner::text AS owner, k.wraps,
        ARRAY(
            SELECT DISTINCT u.relation || '.' || u.column_name FROM {{s}}.key_usage AS u
            WHERE u.key_id = k.id ORDER BY 1
        ) AS columns
    FROM {{s}}.key_versions AS k
    -- The keys of values and of blind indexes come last: a column can have a key for each of many values.
    ORDER BY k.parent_family IS NOT NULL, k.state, NOT k.is_current, k.expires, k.name, k.id DESC
    LIMIT %s
"""  # noqa: S608
_DEADLINES = """
    SELECT k.id, k.name, d.is_destruction, d.time
    FROM {s}.key_versions AS k
    CROSS JOIN LATERAL (VALUES (false, k.encrypts_until), (true, k.destroy_after)) AS d (is_destruction, time)
    WHERE d.time IS NOT NULL AND k.state <> 'destroyed'
    ORDER BY d.time, k.id
    LIMIT %s
"""
_POLICIES = """
    SELECT p.name, p.rotate_every::text AS rotate_every, p.next_rotation, p.keep_versions,
        p.destroy_after::text AS destroy_after, p.is_rotating, p.last_run, p.last_error IS NOT NULL AS has_failed
    FROM {s}.key_policies AS p
    ORDER BY p.next_rotation, p.name
    LIMIT %s
"""
_COLUMNS = """
    SELECT coalesce(c.relation, c.base_relation)::text AS relation, c.column_name::text AS name, c.data_type,
        c.key_name AS key, c.mode, c.key_by::text AS key_by, c.blind_index::text AS blind_index,
        c.state::text AS state,
        (
            SELECT sum(leaf.reltuples) FROM pg_catalog.pg_class AS leaf
            -- pg_partition_tree() has no rows for a table that is not partitioned.
            WHERE (leaf.oid = c.base_relation OR leaf.oid IN (
                SELECT p.relid FROM pg_catalog.pg_partition_tree(c.base_relation) AS p
            )) AND leaf.relkind <> 'p' AND leaf.reltuples >= 0
        )::bigint AS rows,
        c.mask, coalesce(c.mask_without_grant, false) AS mask_without_grant
    FROM {s}.encrypted_columns AS c
    ORDER BY 1, 2
"""
_OPERATIONS = """
    SELECT p.relation::text AS relation, p.column_name::text AS column, p.operation AS name, p.rows_done,
        p.rows_total, p.started, p.eta, p.partitions_done, p.partitions_total
    FROM {s}.column_progress AS p
    ORDER BY 1, 2
"""
_EVENTS = """
    SELECT (e.at AT TIME ZONE 'UTC')::date AS day, e.event, count(*) AS count
    FROM {s}.key_events AS e
    WHERE e.at >= pg_catalog.now() - '1 year'::interval
    GROUP BY 1, 2
"""
_EVENTS_TOTAL = """
    SELECT count(*) AS count, max(e.at) FILTER (WHERE e.event = 'rotate_root_key') AS last_root_rotation
    FROM {s}.key_events AS e
"""
_GRANTS = """
    SELECT g.role::text AS role, g.can_login, g.usage::text[] AS usage, g.source, g.through::text AS through,
        count(*) AS count,
        (pg_catalog.array_agg(coalesce(g.key_name, 'key ' || g.key_id) ORDER BY g.key_name, g.key_id))[:%s] AS keys
    FROM {s}.key_grants AS g
    GROUP BY 1, 2, 3, 4, 5
    ORDER BY 1, 4, 5
    LIMIT %s
"""


def collect(
    dsn: str,
    names: Sequence[str] | None,
    keys_max: int,
    with_details: bool,
    *,
    all_databases: bool = False,
) -> ClusterState:
    """Read the state of the databases that have the extension.

    Args:
        dsn: a connection string, or "", to any database of the cluster.
        names: the names of the databases; None for the database that the connection string names, or for all
            databases that have the extension.
        keys_max: the number of keys to read of each database, at most.
        with_details: whether to read the grants, and the events by day, which only the report shows.
        all_databases: whether all databases are meant, even if the connection string names one.

    Returns:
        The state. The databases that could not be examined are in its problems, as are the parts of a database.

    Raises:
        psycopg.Error: the server cannot be reached.
        UndefinedError: no database has the extension.
    """
    # A server that does not answer would otherwise keep a job of cron forever.
    os.environ.setdefault("PGCONNECT_TIMEOUT", str(_CONNECT_SECONDS))
    cluster = ClusterState(datetime.now(UTC))
    for database in each_database(dsn, names, cluster.problems, all_databases=all_databases):
        try:
            database.query(f"SET statement_timeout = '{_STATEMENT_SECONDS}s'")
            cluster.server_version = database.connection.info.parameter_status("server_version")
            cluster.databases.append(_read(database, keys_max, with_details))
        except psycopg.Error as error:
            # Only a broken connection: each part handles its own errors.
            cluster.problems[database.name] = message_and_hint(error)[0]
    cluster.is_up = bool(cluster.databases)
    return cluster


def _read(database: Database, keys_max: int, with_details: bool) -> DatabaseState:
    state = DatabaseState(database.name, database.version)
    with _part(database, state, "root key"):
        _read_root_key(database, state)
    with _part(database, state, "keys"):
        _read_keys(database, state, keys_max)
    with _part(database, state, "columns"):
        state.columns = [Column(**row) for row in database.query(_COLUMNS)]
    with _part(database, state, "operations"):
        state.operations = [Operation(**row) for row in database.query(_OPERATIONS)]
    with _part(database, state, "doctor"):
        rows = database.query("SELECT check_name AS check, status, object, message, hint FROM {s}.doctor()")
        state.findings = [Finding(**row) for row in rows]
    with _part(database, state, "events"):
        (row,) = database.query(_EVENTS_TOTAL)
        state.events_total, state.last_root_rotation = row["count"], row["last_root_rotation"]
        if with_details:
            state.events = {(row["day"], row["event"]): row["count"] for row in database.query(_EVENTS)}
    if with_details:
        with _part(database, state, "dates of keys"):
            state.deadlines = [Deadline(**row) for row in database.query(_DEADLINES, _TABLES_MAX)]
        with _part(database, state, "policies"):
            state.policies = [Policy(**row) for row in database.query(_POLICIES, _TABLES_MAX)]
        with _part(database, state, "grants"):
            rows = database.query(_GRANTS, _GRANTED_KEYS_MAX, _TABLES_MAX)
            state.grants = [Grants(**_tuples(row)) for row in rows]
    return state


@contextmanager
def _part(database: Database, state: DatabaseState, name: str) -> Iterator[None]:
    """Note an error as a problem of a part, unless the connection is broken."""
    try:
        yield
    except psycopg.Error as error:
        if database.connection.closed:
            raise
        state.problems[name] = message_and_hint(error)[0]


def _read_root_key(database: Database, state: DatabaseState) -> None:
    try:
        (row,) = database.query("SELECT fingerprint, source, previous, still_needed FROM {s}.root_key_status()")
    except psycopg.Error as error:
        if isinstance(error, psycopg.errors.InsufficientPrivilege) or database.connection.closed:
            raise
        # The database could be examined, and has no root key: no script, another key, or a locked agent.
        state.root_key_error = message_and_hint(error)[0]
        return
    root_key = RootKey(
        row["fingerprint"], row["source"], tuple(row["previous"] or ()), tuple(row["still_needed"] or ())
    )
    state.root_key = root_key
    if root_key.missing:
        missing = ", ".join(root_key.missing)
        state.root_key_error = f"the server does not have the root key {missing}, which this database needs"


def _read_keys(database: Database, state: DatabaseState, keys_max: int) -> None:
    ends = [end for _, end in AGES if end is not None]
    total = 0
    for row in database.query(_COUNTS, [timedelta(), *ends]):
        # The clocks of two sessions can differ a little, so an age can be negative.
        age, _ = AGES[max(row["age"] - 1, 0)]
        state.counts[row["state"], age] = state.counts.get((row["state"], age), 0) + row["count"]
        total += row["count"]
        state.destructions += row["destructions"]
        state.next_destruction = min(filter(None, [state.next_destruction, row["next_destruction"]]), default=None)
        if row["state"] == "current":
            state.oldest = min(filter(None, [state.oldest, row["oldest"]]))
            state.next_expiry = min(filter(None, [state.next_expiry, row["next_expiry"]]), default=None)
    state.keys = [Key(**_tuples(row)) for row in database.query(_KEYS, keys_max)]
    state.keys_left_out = total - len(state.keys)


def _tuples(row: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
