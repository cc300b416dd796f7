"""A statement again, if it failed because another transaction had changed its row.

An UPDATE through a view with encrypted columns fails with SQLSTATE 40001 if its row has changed since the
statement began. A statement that was a transaction of its own has left nothing behind then, and can run again. A
statement within a transaction cannot: the rows that the transaction has read may have changed.
"""

import random
import re
import time
from collections.abc import Callable
from typing import TypeVar

SERIALIZATION_FAILURE = "40001"

STALE = frozenset({"42803", "42809", "42P01", "42P10", "42703", "42704"})
"""The errors of a statement that was written for a table as it no longer is: encrypted or decrypted since."""

ATTEMPTS = 100
"""The number of times that a statement runs at most."""

_LONGEST_PAUSE = 0.05
"""The time in seconds."""

_STATEMENT = re.compile(r"\s*(?:SELECT|INSERT|UPDATE|DELETE|MERGE|WITH)\b", re.IGNORECASE)
_NEXT_STATEMENT = re.compile(r";\s*\S")

_T = TypeVar("_T")


def is_single(statement: str) -> bool:
    """Return whether a text is a single statement that reads or writes rows, and commits nothing by itself."""
    return bool(_STATEMENT.match(statement)) and not _NEXT_STATEMENT.search(statement)


def retried(
    run: Callable[[], _T],
    may_retry: Callable[[BaseException], bool],
    pause: Callable[[float], None] = time.sleep,
) -> _T:
    """Run a statement, again and again while it may be retried.

    Args:
        run: runs the statement.
        may_retry: returns whether an error lets the statement run again.
        pause: waits for a time in seconds.

    Raises:
        Exception: the last exception of ``run``.
    """
    for attempt in range(1, ATTEMPTS):
        try:
            return run()
        except Exception as error:
            if not may_retry(error):
                raise
        # Sessions that conflict with each other must not all retry at the same time.
        pause(random.uniform(0, min(_LONGEST_PAUSE, 0.001 * attempt)))  # noqa: S311
    return run()
