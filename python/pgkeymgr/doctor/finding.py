"""The input (``Context``) and the output (``Finding``) of a check."""

from typing import NamedTuple

from ..errors import Error
from ..key.audit import Audit
from ..key.database import Database, Rows
from ..root_key import RootKey

OK = "ok"
NOTICE = "notice"
WARNING = "warning"
ERROR = "error"


class Finding(NamedTuple):
    """A finding of a check.

    Attributes:
        status: ``ok``, ``notice``, ``warning`` or ``error``.
        object: the name of the object that the finding is about, or None.
        message: the finding.
        hint: the remedy; None for ``ok`` only.
    """

    status: str
    object: str | None
    message: str
    hint: str | None = None


class Context:
    """The session that the checks examine, and the root key, which is loaded once for all checks."""

    def __init__(self, database: Database, audit: Audit) -> None:
        self.database = database
        self.audit = audit
        self.root_key: RootKey | None = None
        self.root_key_error: Exception | None = None
        try:
            root_key = database.root_key()
            assert root_key.fingerprint  # This calls the agent, if there is one.
            self.root_key = root_key
        except Error as error:
            if error.sqlstate == "57014":
                raise
            self.root_key_error = error
        except Exception as error:
            self.root_key_error = error

    def rows(self, query: str, *arguments: tuple[str, object]) -> Rows:
        """Run a query with the rights of the extension's owner. ``{s}`` stands for the extension's schema."""
        return self.database.as_owner(lambda: self.database.execute(query, *arguments))

    def setting(self, name: str) -> str:
        """Return the value of a setting of this session, without its unit; "" if the setting does not exist."""
        return self.database.setting(name) or ""

    def is_standby(self) -> bool:
        """Return whether the server is in recovery."""
        return bool(self.rows("SELECT pg_is_in_recovery() AS so")[0]["so"])


def explain(error: Exception) -> str:
    """Return the reason of a failure, in words that can hold no secret.

    Args:
        error: an error of this package, of the operating system, of a query of ours, or any other error.

    Returns:
        The message of the error; for any other error only its class, since its message may hold anything.
    """
    if isinstance(error, Error):
        return error.message
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    if hasattr(error, "sqlstate"):
        return str(error)
    return f"unexpected error {type(error).__name__}"


def join_names(names: list[str], most: int = 10) -> str:
    """Join names with commas. Only the number of the names after the first ``most`` is given."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
