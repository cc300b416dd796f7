"""What a check gives, and what it is given."""

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
    """Something that a check has found.

    Attributes:
        status: ``ok``, ``notice``, ``warning`` or ``error``.
        object: what it is about, or None.
        message: what is the matter.
        hint: what to do; None for ``ok`` only.
    """

    status: str
    object: str | None
    message: str
    hint: str | None = None


class Context:
    """What checks look at: the session, and the root key, which is loaded once for all of them."""

    def __init__(self, database: Database, audit: Audit) -> None:
        self.database = database
        self.audit = audit
        self.root_key: RootKey | None = None
        self.root_key_error: Exception | None = None
        try:
            root_key = database.root_key()
            assert root_key.fingerprint  # an agent is asked for it
            self.root_key = root_key
        except Error as error:
            if error.sqlstate == "57014":
                raise
            self.root_key_error = error
        except Exception as error:
            self.root_key_error = error

    def rows(self, query: str, *arguments: tuple[str, object]) -> Rows:
        """Run a query with the rights of the extension's owner, {s} standing for the extension's schema."""
        return self.database.as_owner(lambda: self.database.execute(query, *arguments))

    def setting(self, name: str) -> str:
        """Return a setting of this session, in its own unit and without it; empty if there is none."""
        return self.database.setting(name) or ""

    def is_standby(self) -> bool:
        """Tell whether the server is in recovery."""
        return bool(self.rows("SELECT pg_catalog.pg_is_in_recovery() AS so")[0]["so"])


def explain(error: Exception) -> str:
    """Say why something failed, in words that can hold no secret.

    Args:
        error: of this package, of the operating system, of one of our queries, or any other.

    Returns:
        Its message, or only its kind where nobody knows what its message holds.
    """
    if isinstance(error, Error):
        return error.message
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    if hasattr(error, "sqlstate"):
        return str(error)
    return f"an error of the kind {type(error).__name__}"


def listed(names: list[str], most: int = 10) -> str:
    """Put names in a line, and no more of them than can be read."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
