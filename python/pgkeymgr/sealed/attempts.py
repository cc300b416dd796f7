"""Wrong passphrases: the log and the audit trail receive a report of each, and the answer comes a little later."""

from collections.abc import Callable
from typing import TypeVar

from ..errors import DataError, PassphraseError
from ..key.table import KeyTable

DELAY_SECONDS = 0.1
"""The pause adds to the cost of Argon2id, which each guess has."""

_Result = TypeVar("_Result")


def attempt(
    table: KeyTable, event: str, key_id: int | None, key_name: str | None, operation: Callable[[], _Result]
) -> _Result:
    """Run something that needs the right passphrase.

    Args:
        table: the key table.
        event: the name of the failure in the log and the trail.
        key_id: the key's id, or None for a user's pair.
        key_name: its name, or None.
        operation: the function to run.

    Returns:
        The result of the operation.

    Raises:
        PassphraseError: the passphrase was wrong.
    """
    try:
        return operation()
    except PassphraseError:
        table.audit.record_failure(event, key_id, key_name)
        table.database.pause(DELAY_SECONDS)
        raise


def check_passphrase(passphrase: bytes) -> bytes:
    """Return a passphrase that is text.

    Raises:
        DataError: it is not UTF-8.
    """
    try:
        passphrase.decode()
    except UnicodeDecodeError:
        raise DataError("a passphrase must be UTF-8") from None
    return passphrase
