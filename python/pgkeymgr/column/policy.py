"""Policies for rotating keys and destroying their old versions.

A policy belongs to the family of a key. One procedure carries out all policies. It supersedes a key, rotates the
key's columns in batches, and schedules the destruction of old versions; each step is a transaction. The tables
show the remaining steps, so the next call continues where the last one was stopped. The row of a policy is locked
while its key is superseded, so that two calls do not supersede a key twice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..errors import Error, KeyStateError, ParameterError
from ..key.arguments import refuse_null
from ..key.data_key import DataKeys
from ..key.database import Rows
from ..key.lifecycle import Lifecycle
from ..key.record import Record
from ..key.table import KeyTable
from .operation import Operations
from .server_errors import is_intervention
from .walk import commit_first

_OWN_PREFIX = "pgkeymgr: "
"""Errors of ours begin with it when they come back through a query."""
_NOT_ENDED = "the last run has not ended, or was stopped"


class Policies:
    """The policies of keys, for one session."""

    def __init__(self, keys: KeyTable, data_keys: DataKeys, lifecycle: Lifecycle, operations: Operations) -> None:
        self._keys = keys
        self._database = keys.database
        self._data_keys = data_keys
        self._lifecycle = lifecycle
        self._operations = operations
        self._problems: list[str] = []

    def set_key_policy(
        self, key: str | int, rotate_every: str | None, keep_versions: int | None, destroy_after: str
    ) -> None:
        """Set the policy of a key, in place of any other one.

        Args:
            key: name or id.
            rotate_every: the text of the interval after which a version is superseded, or None.
            keep_versions: the number of the newest versions that stay, with the current one, or None to keep all.
            destroy_after: the text of the interval after which other versions are destroyed.

        Raises:
            DataError: an argument is NULL.
            UndefinedError: the key does not exist.
            ParameterError: an argument is out of range.
        """
        refuse_null(destroy_after=destroy_after)
        if keep_versions is not None and keep_versions < 1:
            raise ParameterError(f"keep_versions must be at least 1, not {keep_versions}")
        record = self._keys.find(key)
        for name, interval in (("rotate_every", rotate_every), ("destroy_after", destroy_after)):
            self._check_positive(name, interval)

        def write() -> None:
            self._database.execute("DELETE FROM {s}.key_policy WHERE family = $1", ("integer", record.family))
            if rotate_every is None and keep_versions is None:
                return
            self._database.execute(
                """
                INSERT INTO {s}.key_policy (family, rotate_every, keep_versions, destroy_after)
                VALUES ($1, $2, $3, $4)
                """,
                ("integer", record.family),
                ("interval", rotate_every),
                ("integer", keep_versions),
                ("interval", destroy_after),
            )

        self._database.as_owner(write)
        if rotate_every is None and keep_versions is None:
            detail = "none"
        else:
            detail = f"rotate every {rotate_every}, keep {keep_versions}, destroy after {destroy_after}"
        self._keys.audit.record("set_key_policy", record.id, record.name, detail)

    def _check_positive(self, name: str, interval: str | None) -> None:
        def is_positive() -> Rows:
            return self._database.execute("SELECT WHERE $1 IS NULL OR now() + $1 > now()", ("interval", interval))

        if not self._database.read_as_owner(is_positive):
            raise ParameterError(f"{name} must be a positive interval, not {interval}")

    def run_key_policies(self, batch_size: int) -> None:
        """Carry out all policies, and all destructions that are due.

        Args:
            batch_size: the number of rows that are encrypted, and locked, at a time.

        Raises:
            DataError: an argument is NULL.
            KeyStateError: a step failed; all other steps were done.
            UnsupportedError: it is called in a transaction.
        """
        refuse_null(batch_size=batch_size)
        commit_first(self._database)
        self._problems = []
        for key_id in self._lifecycle.due():
            self._attempt(f"key {key_id}", partial(self._lifecycle.destroy_due, key_id))
        families = self._database.read_as_owner(
            lambda: self._database.execute(
                "SELECT family FROM {s}.key_policy ORDER BY last_run NULLS FIRST, family"
            )
        )
        for row in families:
            self._run(row["family"], batch_size)
        if self._problems:
            count = len(self._problems)
            problems, self._problems = "; ".join(self._problems), []
            raise KeyStateError(
                f"{count} {'step' if count == 1 else 'steps'} of the key policies failed: {problems}",
                hint="All other steps were done. The next call tries these again.",
            )

    def _run(self, family: int, batch_size: int) -> None:
        """Carry out the policy of one family; see ``run_key_policies``."""
        before = len(self._problems)
        name = self._name(family)
        # Code of a table's owner can end the call, as a cancel does. Then the next call begins with other keys.
        self._attempt(name, lambda: self._note_run(family, _NOT_ENDED))
        # A key that cannot be superseded now may have columns that are still to be rotated.
        self._attempt(name, lambda: self._supersede_if_due(family))
        if (current := self._version_to_rotate_to(family)) is not None:
            rotate = partial(self._operations.rotate_columns, batch_size=batch_size, supersede=False)
            done = [
                self._attempt(name, partial(rotate, base, columns))
                for base, columns in self._operations.relations_under(family)
            ]
            if all(done):
                self._attempt(name, lambda: self._end_rotation(family, current))
        self._attempt(name, lambda: self._prune(family))
        problems = "; ".join(self._problems[before:]) or None
        self._attempt(name, lambda: self._note_run(family, problems))

    def _attempt(self, name: str, step: Callable[[], None]) -> bool:
        """Do a step in transactions of its own, and return whether it succeeded; note why it did not."""
        try:
            step()
            self._database.commit()
            return True
        except Exception as error:
            if is_intervention(error):
                raise
            self._database.rollback()
            self._keys.forget_checks()
            problem = f"{name}: {problem_of(error)}"
            self._problems.append(problem)
            self._database.warn(problem, hint="run_key_policies() goes on with the other steps.")
            return False

    def _name(self, family: int) -> str:
        rows = self._database.read_as_owner(
            lambda: self._database.execute(
                "SELECT name FROM {s}.key WHERE family = $1 LIMIT 1", ("integer", family)
            )
        )
        return f'key "{rows[0]["name"]}"' if rows else f"key {family}"

    def _supersede_if_due(self, family: int) -> None:
        """Supersede a key, and the keys for values of its columns, if the policy says so now."""
        if not self._is_due(family):
            return
        record = self._keys.find_current(family)
        for each in self._with_children(record):
            self._data_keys.supersede_data_key(each)
        self._database.as_owner(
            lambda: self._database.execute(
                "UPDATE {s}.key_policy SET is_rotating = true WHERE family = $1", ("integer", family)
            )
        )

    def _is_due(self, family: int) -> bool:
        """Return whether a key is to be superseded now, and let no other call do it until the transaction ends."""

        def lock() -> bool:
            self._database.execute("SELECT FROM {s}.key_policy WHERE family = $1 FOR UPDATE", ("integer", family))
            # Another call may have superseded the key until the row was locked, so this is another query.
            return bool(
                self._database.execute(
                    """
                    SELECT
                    FROM {s}.key_policy AS p
                    JOIN {s}.key AS k ON k.family = p.family AND k.superseded_by IS NULL
                    WHERE p.family = $1 AND k.created + p.rotate_every <= clock_timestamp()
                    """,
                    ("integer", family),
                )
            )

        return self._database.as_owner(lock)

    def _with_children(self, record: Record) -> list[int]:
        """Return the ids of the current versions of a key, and of the keys for values of its columns."""
        has_children = self._database.read_as_owner(
            lambda: self._database.execute(
                "SELECT FROM {s}.encrypted_column WHERE key_family = $1 AND key_by IS NOT NULL LIMIT 1",
                ("integer", record.family),
            )
        )
        return [record.id, *(self._keys.children(record) if has_children else [])]

    def _version_to_rotate_to(self, family: int) -> int | None:
        """Return the id of the current version if columns may have values under older ones, or None."""
        rows = self._database.read_as_owner(
            lambda: self._database.execute(
                """
                SELECT k.id
                FROM {s}.key_policy AS p
                JOIN {s}.key AS k ON k.family = p.family AND k.superseded_by IS NULL
                WHERE p.family = $1 AND p.is_rotating
                """,
                ("integer", family),
            )
        )
        return rows[0]["id"] if rows else None

    def _end_rotation(self, family: int, current: int) -> None:
        self._database.as_owner(
            lambda: self._database.execute(
                """
                UPDATE {s}.key_policy AS p
                SET is_rotating = false
                FROM {s}.key AS k
                -- Another call may have superseded the key since.
                WHERE p.family = $1 AND k.family = $1 AND k.id = $2 AND k.superseded_by IS NULL
                """,
                ("integer", family),
                ("integer", current),
            )
        )

    def _prune(self, family: int) -> None:
        """Schedule the destruction of old versions that nothing needs, unless columns are being rotated."""
        rows = self._database.as_owner(
            lambda: self._database.execute(
                """
                SELECT keep_versions, destroy_after::text AS destroy_after
                FROM {s}.key_policy
                WHERE family = $1 AND keep_versions IS NOT NULL AND NOT is_rotating
                FOR UPDATE
                """,
                ("integer", family),
            )
        )
        for row in rows:
            self._lifecycle.prune_family(family, row["keep_versions"], row["destroy_after"])

    def _note_run(self, family: int, problems: str | None) -> None:
        self._database.as_owner(
            lambda: self._database.execute(
                "UPDATE {s}.key_policy SET last_run = clock_timestamp(), last_error = $2 WHERE family = $1",
                ("integer", family),
                ("text", problems),
            )
        )


def problem_of(error: Exception) -> str:
    """Return the text that ``key_policies`` keeps of an error. The text has no value of a column in it.

    Rotation runs code of the owners of tables, whose errors can show values.
    """
    if isinstance(error, Error):
        return error.message
    message = str(error).partition("\n")[0]
    if message.startswith(_OWN_PREFIX):
        return message.removeprefix(_OWN_PREFIX)
    state = getattr(error, "sqlstate", None) or "unknown"
    return f"an error of PostgreSQL or of code of the table, with SQLSTATE {state}: rotate_columns() shows it"
