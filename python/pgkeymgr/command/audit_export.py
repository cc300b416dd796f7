"""``pgkeymgr audit export``: write the events of the audit trail as JSON lines, for another system."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import __version__
from .failure import report_failures
from .target import Dsn, OneDatabase

if TYPE_CHECKING:
    from .connection import Database

EPILOG = "Exit status: 0, success; 1, failure; 2, wrong usage."

_BATCH = 1000
_OCSF_VERSION = "1.3.0"
_EVENTS = """
    SELECT link, id::text AS id, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US') AS at, event,
        key_id, key_name, role, session_role, client, detail, encode(hash, 'hex') AS hash
    FROM {s}.key_events
    WHERE link > %s
    ORDER BY link
    LIMIT %s
"""
_SOURCE = """
    SELECT s.system_identifier::text AS system, current_database()::text AS database
    FROM pg_control_system() AS s
"""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
# OCSF's class Entity Management, the captions of its activities, and the ids of others: see OCSF 1.3.0,
# events/iam/entity_management.json, includes/classification.json and dictionary.json.
_ENTITY_MANAGEMENT = 3004
_IDENTITY_AND_ACCESS = 3
_CAPTIONS = {1: "Create", 2: "Read", 3: "Update", 4: "Delete", 8: "Enable", 9: "Disable", 10: "Activate"}
_OTHER = 99
_SUCCESS, _FAILURE = (1, "Success"), (2, "Failure")
_INFORMATIONAL, _MEDIUM = (1, "Informational"), (3, "Medium")
_ACTIVITIES = {
    **dict.fromkeys(("create", "import", "create_user_key"), 1),
    **dict.fromkeys(("derive", "export", "get_cryptokey", "set_cryptokey", "reencrypt_data"), 2),
    **dict.fromkeys(
        (
            *("supersede", "move_expiry", "limit_encryption", "cancel_destroy", "set_key_policy", "set_mask"),
            *("grant", "revoke", "share", "unshare", "adopt_role"),
            *("set_passphrase", "add_root_wrap", "drop_root_wrap", "drop_passphrase_wrap"),
            *("change_passphrase", "change_cryptokey_password", "change_user_passphrase", "rotate_user_key"),
            *("rotate_root_key", "rotate_exchange_key", "supersede_cryptokey"),
            *("set_key_node", "follow_key_source", "make_keys_here"),
        ),
        3,
    ),
    **dict.fromkeys(("destroy", "drop", "drop_user_key", "drop_cryptokey"), 4),
    "enable": 8,
    **dict.fromkeys(("disable", "schedule_destroy"), 9),
    **dict.fromkeys(("unlock", "unlock_user_key"), 10),
}
"""The activity of each event. A failed attempt has that of the event, and all other events have "Other"."""
_FAILED = "failed_"


class ExportFormat(StrEnum):
    """The formats of ``--format``."""

    JSONL = "jsonl"
    OCSF = "ocsf"


def source(database: "Database") -> dict[str, str]:
    """Return the system identifier of the cluster and the name of the database.

    Args:
        database: the database.
    """
    (row,) = database.query(_SOURCE)
    return row


def events(database: "Database", after: int, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield the events of an audit trail in their order.

    Args:
        database: the database.
        after: the number of the event before the first one.
        limit: the largest number of events, or None.

    Yields:
        The fields of ``key_events``, with the time as text in UTC, and the hash in hexadecimal.
    """
    while limit is None or limit > 0:
        batch = database.query(_EVENTS, after, _BATCH if limit is None else min(limit, _BATCH))
        yield from batch
        if len(batch) < _BATCH:
            return
        after = batch[-1]["link"]
        limit = None if limit is None else limit - len(batch)


def export(
    dsn: Dsn = "",
    database: OneDatabase = None,
    format_: Annotated[
        ExportFormat, typer.Option("--format", help="The format of a line: the fields of the event, or OCSF.")
    ] = ExportFormat.JSONL,
    after: Annotated[
        int, typer.Option(min=0, metavar="CURSOR", help="Export only events with a greater number than this.")
    ] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Export at most this many events.")] = None,
) -> None:
    """Print the events of the audit trail of a database, one JSON document on each line.

    The number of an event, "link" or "metadata.sequence", is the cursor: give the last one to --after to get the
    events after it. An export that begins with the first event can be checked with audit verify.
    """
    from .connection import open_database

    with report_failures(), open_database(dsn, database) as opened:
        origin = source(opened)
        for event in events(opened, after, limit):
            line = _ocsf(event, origin) if format_ == ExportFormat.OCSF else _jsonl(event, origin)
            typer.echo(json.dumps(line))


def _jsonl(event: dict[str, Any], origin: dict[str, str]) -> dict[str, Any]:
    return {**event, "at": f"{event['at']}Z", **origin}


def _ocsf(event: dict[str, Any], origin: dict[str, str]) -> dict[str, Any]:
    """Return an event of OCSF's class Entity Management; see https://schema.ocsf.io/1.3.0/classes/entity_management."""
    name = event["event"]
    activity = _ACTIVITIES.get(name.removeprefix(_FAILED), _OTHER)
    is_failure = name.startswith(_FAILED)
    severity_id, severity = _MEDIUM if is_failure else _INFORMATIONAL
    status_id, status = _FAILURE if is_failure else _SUCCESS
    where = f"{origin['system']}/{origin['database']}"
    document = {
        "category_uid": _IDENTITY_AND_ACCESS,
        "class_uid": _ENTITY_MANAGEMENT,
        "activity_id": activity,
        # The name of an activity that the class does not have is the source's own.
        "activity_name": _CAPTIONS.get(activity, name),
        "type_uid": _ENTITY_MANAGEMENT * 100 + activity,
        "time": (datetime.fromisoformat(f"{event['at']}+00:00") - _EPOCH) // _MILLISECOND,
        "severity_id": severity_id,
        "severity": severity,
        "status_id": status_id,
        "status": status,
        "actor": {"user": {"name": event["role"]}},
        "entity": _entity(event, where, origin["database"]),
        "metadata": {
            "version": _OCSF_VERSION,
            "product": {"name": "pgkeymgr", "vendor_name": "pgkeymgr", "version": __version__},
            "log_name": "key_events",
            "log_provider": where,
            "event_code": name,
            "uid": event["id"],
            "sequence": event["link"],
            "original_time": f"{event['at']}Z",
        },
        "unmapped": {"session_role": event["session_role"], "hash": event["hash"], "client": event["client"]},
    }
    if event["detail"] is not None:
        document["message"] = event["detail"]
    host, colon, port = event["client"].rpartition(":")
    if colon and port.isdecimal():
        document["src_endpoint"] = {"ip": host, "port": int(port)}
    return document


def _entity(event: dict[str, Any], where: str, database: str) -> dict[str, Any]:
    """Return the key of an event; the database for an event about no key of the key table."""
    if event["key_id"] is None:
        return {"type_id": _OTHER, "type": "Database", "uid": where, "name": database}
    entity = {"type_id": _OTHER, "type": "Key", "uid": str(event["key_id"])}
    return entity if event["key_name"] is None else {**entity, "name": event["key_name"]}
