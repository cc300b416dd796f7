"""``pgkeymgr metrics``: write the state of the databases as metrics for Prometheus."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ..agent.exposition import END, Family, write
from .failure import FAILED, message_and_hint, report, report_failures
from .state import COLUMN_STATES, STATES, STATUSES, ClusterState, DatabaseState
from .target import AllDatabases, Databases, Dsn, connects

EPILOG = "Exit status: 0, every database could be examined; 1, otherwise, and the metrics say so; 2, wrong usage."

_KEYS_MAX = 500
# The node exporter runs as another user. The file has names of keys and columns, and no secret.
_MODE = 0o644


@connects
def metrics(
    dsn: Dsn = "",
    database: Databases = None,
    all_databases: AllDatabases = False,
    textfile: Annotated[
        Path | None,
        typer.Option(
            help="The file to write, in the directory of the node exporter's textfile collector. Its name ends "
            "with .prom.",
            show_default="stdout",
        ),
    ] = None,
) -> None:
    """Write metrics of the keys, columns and findings of every database for Prometheus.

    A server or a database that cannot be examined has the value 0 in pgkeymgr_up or pgkeymgr_database_up. Every
    member of pgkeymgr_monitor may call the command.
    """
    import psycopg

    from ..errors import UndefinedError
    from .collect import collect
    from .files import replace

    with report_failures():
        try:
            cluster = collect(dsn, database, _KEYS_MAX, with_details=False, all_databases=all_databases)
        except (psycopg.Error, UndefinedError) as error:
            # The metrics are written nevertheless: without them, the last ones would look like the present state.
            is_up = isinstance(error, UndefinedError)
            cluster = ClusterState(datetime.now(UTC), is_up=is_up, failure=message_and_hint(error)[0])
        text = write(families(cluster)) + END
        if textfile is None:
            typer.echo(text, nl=False)
        else:
            replace(textfile, text.encode(), _MODE)
    problems = cluster.all_problems()
    for problem in problems:
        report(problem)
    if problems:
        raise typer.Exit(FAILED)


def families(cluster: ClusterState) -> list[Family]:
    """Return the metrics of a cluster.

    All are gauges, so that the text is valid in the formats of both Prometheus and OpenMetrics.

    Args:
        cluster: the state of the cluster.

    Returns:
        The metrics.
    """
    up = Family("pgkeymgr_up", "Whether the server could be examined.")
    up.add(cluster.is_up)
    collected = Family("pgkeymgr_collected_timestamp_seconds", "The time at which these metrics were read.")
    collected.add(round(cluster.taken.timestamp()))
    number = Family("pgkeymgr_databases", "The number of databases that have the extension and could be examined.")
    number.add(len(cluster.databases))
    database_up = Family("pgkeymgr_database_up", "Whether the database could be examined.")
    for name in cluster.problems:
        database_up.add(0, database=name)
    for database in cluster.databases:
        database_up.add(not database.problems, database=database.name)
    return [up, collected, number, database_up, *_of_databases(cluster)]


def _of_databases(cluster: ClusterState) -> list[Family]:
    found = {
        name: Family(f"pgkeymgr_{name}", text)
        for name, text in {
            "extension_info": "The version of the extension, as a label; the value is 1.",
            "root_key_ok": "Whether the server has all root keys that the database needs.",
            "root_key_info": "The fingerprint of the newest root key, as a label; the value is 1.",
            "root_keys_previous_needed": "The number of previous root keys that wraps are still made under.",
            "root_key_rotated_timestamp_seconds": "The time of the last rotation of the root key.",
            "keys": "The number of versions of keys, by state.",
            "keys_left_out": "The number of versions of keys that have no metrics of their own.",
            "oldest_key_age_seconds": "The age of the oldest of the current keys.",
            "next_key_expires_in_seconds": "The time until the first of the current keys expires.",
            "keys_destruction_scheduled": "The number of versions of keys whose destruction is scheduled.",
            "next_key_destruction_timestamp_seconds": "The time at which the first of these destructions is due.",
            "key_age_seconds": "The age of a current key.",
            "key_expires_in_seconds": "The time until a current or expired key expires; negative afterwards.",
            "columns": "The number of encrypted columns, by state.",
            "operation_rows_left": "The number of rows that an unfinished operation on a column still has to do.",
            "operation_rows": "The number of all rows of an unfinished operation on a column.",
            "operation_started_timestamp_seconds": "The time at which an unfinished operation began.",
            "doctor_findings": "The number of the doctor's findings, by status.",
            "doctor_check_status": "The worst status of a check: 0 is ok, 1 notice, 2 warning, 3 error.",
            "key_events": "The number of events in the audit trail.",
        }.items()
    }
    for database in cluster.databases:
        _add(found, cluster.taken, database)
    return list(found.values())


def _add(found: dict[str, Family], taken: datetime, state: DatabaseState) -> None:
    database = state.name
    found["extension_info"].add(1, database=database, version=state.version)
    if "root key" not in state.problems:
        found["root_key_ok"].add(state.root_key_error is None, database=database)
    if state.root_key is not None:
        found["root_key_info"].add(1, database=database, fingerprint=state.root_key.fingerprint)
        needed = {*state.root_key.still_needed} - {state.root_key.fingerprint}
        found["root_keys_previous_needed"].add(len(needed), database=database)
    if "keys" not in state.problems:
        _add_keys(found, taken, state)
    if "columns" not in state.problems:
        for column_state in COLUMN_STATES:
            count = sum(column.state == column_state for column in state.columns)
            found["columns"].add(count, database=database, state=column_state)
    for operation in state.operations:
        labels = {
            "database": database,
            "relation": operation.relation,
            "column": operation.column,
            "operation": operation.name,
        }
        found["operation_rows_left"].add(operation.rows_left, **labels)
        found["operation_rows"].add(operation.rows_total, **labels)
        found["operation_started_timestamp_seconds"].add(round(operation.started.timestamp()), **labels)
    if "doctor" not in state.problems:
        for status in STATUSES:
            count = sum(finding.status == status for finding in state.findings)
            found["doctor_findings"].add(count, database=database, status=status)
        worst: dict[str, int] = {}
        for finding in state.findings:
            level = len(STATUSES) - 1 - STATUSES.index(finding.status)
            worst[finding.check] = max(level, worst.get(finding.check, 0))
        for check, level in sorted(worst.items()):
            found["doctor_check_status"].add(level, database=database, check=check)
    if state.events_total is not None:
        found["key_events"].add(state.events_total, database=database)
    if state.last_root_rotation is not None:
        time = round(state.last_root_rotation.timestamp())
        found["root_key_rotated_timestamp_seconds"].add(time, database=database)


def _add_keys(found: dict[str, Family], taken: datetime, state: DatabaseState) -> None:
    database = state.name
    for key_state in STATES:
        found["keys"].add(state.count(key_state), database=database, state=key_state)
    if state.oldest is not None:
        age = round((taken - state.oldest).total_seconds())
        found["oldest_key_age_seconds"].add(max(age, 0), database=database)
    if state.next_expiry is not None:
        left = round((state.next_expiry - taken).total_seconds())
        found["next_key_expires_in_seconds"].add(left, database=database)
    found["keys_destruction_scheduled"].add(state.destructions, database=database)
    if state.next_destruction is not None:
        time = round(state.next_destruction.timestamp())
        found["next_key_destruction_timestamp_seconds"].add(time, database=database)
    listed = [key for key in state.keys if key.state in ("current", "expired") and not key.is_superseded]
    for key in listed:
        labels = {"database": database, "key": key.label, "id": key.id}
        if key.state == "current":
            age = round((taken - key.created).total_seconds())
            found["key_age_seconds"].add(max(age, 0), **labels)
        if key.expires is not None:
            left = round((key.expires - taken).total_seconds())
            found["key_expires_in_seconds"].add(left, **labels)
    found["keys_left_out"].add(state.keys_left_out, database=database)
