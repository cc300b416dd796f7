"""The doctor: looks at what a database's keys depend on, and says what is wrong and what to do about it.

Nothing here writes, neither to the database nor to a file. Each check is a function that gives findings; one that
fails is told of, and the others go on. No finding has a secret in it, nor what stands in a getkey script or in a
key file.
"""

from collections.abc import Callable, Iterable

from ..errors import CanceledError
from ..key.audit import Audit
from ..key.database import Database
from . import columns, connections, keys, log, machine, replication, roles, root_key, software, trail
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
    "key_expiry": keys.check_expiry,
    "key_use": keys.check_use,
    "key_numbers": keys.check_numbers,
    "columns_unfinished": columns.check_unfinished,
    "column_writes": columns.check_writes,
    "plaintext_left": columns.check_plaintext,
    "standby": replication.check_standby,
    "roles": roles.check_roles,
    "audit_trail": trail.check_trail,
}
"""The checks by name, in the order in which they are made."""

_SEVERITIES = (ERROR, WARNING, NOTICE, OK)
_STOPS = ("57014", "57P01", "57P02", "57P03")


class Doctor:
    """The checks, for one session."""

    def __init__(self, database: Database, audit: Audit) -> None:
        self._database = database
        self._audit = audit

    def doctor(self) -> list[tuple[str, str, str | None, str, str | None]]:
        """Make all checks.

        Returns:
            Name of the check, status, object, message and hint of each finding, the worst first, and a row with
            the status ``ok`` for each check that has found nothing worse.

        Raises:
            CanceledError: the statement was cancelled.
        """
        context = Context(self._database, self._audit)
        found = [
            (name, finding.status, finding.object, finding.message, finding.hint)
            for name, check in CHECKS.items()
            for finding in _made(check, context)
        ]
        return sorted(found, key=lambda row: _SEVERITIES.index(row[1]))


def _made(check: Check, context: Context) -> list[Finding]:
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
                getattr(error, "hint", None) or "Call doctor() again when that is mended.",
            )
        ]
