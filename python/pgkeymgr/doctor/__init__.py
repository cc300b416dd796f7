"""The doctor checks the root key, the settings, the machine, the roles and the columns that keys depend on.

Each check is a function that yields findings, each with a hint. If a check fails, a finding reports that, and the
other checks run. The doctor writes neither to the database nor to a file. No finding contains a secret, or the
content of a getkey script or a key file.
"""

from collections.abc import Callable, Iterable

from ..errors import CanceledError
from ..key.audit import Audit
from ..key.database import Database
from . import (
    columns,
    connections,
    event_triggers,
    keys,
    log,
    machine,
    nodes,
    replication,
    roles,
    root_key,
    searches,
    software,
    trail,
)
from .finding import ERROR, NOTICE, OK, WARNING, Context, Finding, explain

Check = Callable[[Context], Iterable[Finding]]

CHECKS: dict[str, Check] = {
    "root_key": root_key.check_root_key,
    "root_key_fingerprint": root_key.check_fingerprint,
    "root_key_location": root_key.check_location,
    "logging": log.check_logging,
    "core_dumps": machine.check_core_dumps,
    "swap": machine.check_swap,
    "tls": connections.check_tls,
    "libraries": software.check_libraries,
    "encoding": software.check_encoding,
    "key_expiry": keys.check_expiry,
    "key_use": keys.check_use,
    "key_numbers": keys.check_numbers,
    "key_nodes": nodes.check_nodes,
    "columns_unfinished": columns.check_unfinished,
    "blind_indexes": columns.check_blind_indexes,
    "searches": searches.check_searches,
    "column_tables": columns.check_tables,
    "column_writes": columns.check_writes,
    "event_triggers": event_triggers.check_event_triggers,
    "plaintext_left": columns.check_plaintext,
    "standby": replication.check_standby,
    "roles": roles.check_roles,
    "audit_trail": trail.check_trail,
}
"""The checks by name, in the order in which they run."""

_SEVERITIES = (ERROR, WARNING, NOTICE, OK)
_STOPS = ("57014", "57P01", "57P02", "57P03")


class Doctor:
    """Runs the checks for one session."""

    def __init__(self, database: Database, audit: Audit) -> None:
        self._database = database
        self._audit = audit

    def doctor(self) -> list[tuple[str, str, str | None, str, str | None]]:
        """Run all checks.

        Returns:
            Rows of check, status, object, message and hint, the worst status first. A check without a problem has
            rows with the status ``ok``.

        Raises:
            CanceledError: the statement was cancelled.
        """
        context = Context(self._database, self._audit)
        found = [
            (name, finding.status, finding.object, finding.message, finding.hint)
            for name, check in CHECKS.items()
            for finding in _run(check, context)
        ]
        return sorted(found, key=lambda row: _SEVERITIES.index(row[1]))


def _run(check: Check, context: Context) -> list[Finding]:
    try:
        found = list(check(context)) or [Finding(OK, None, "nothing found")]
        return [finding for finding in found if finding.status != OK] or found
    except Exception as error:
        if isinstance(error, CanceledError) or getattr(error, "sqlstate", None) in _STOPS:
            raise
        return [
            Finding(
                NOTICE,
                None,
                f"could not be checked: {explain(error)}",
                getattr(error, "hint", None) or "Fix the problem, and call doctor() again.",
            )
        ]
