"""The grants of keys: the rows of the table key_grant. Every statement that writes them is here."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import DataError, ParameterError, UndefinedError

if TYPE_CHECKING:
    from .database import Database

USAGES = ("encrypt", "decrypt", "search")
"""The usage decrypt includes search: a user who reads the values can compare them."""


class Grants:
    """The grants of keys, for one session; to be used within ``KeyTable.change``."""

    def __init__(self, database: "Database") -> None:
        self._database = database

    def add(self, family: int, role: str, usage: Sequence[str]) -> None:
        """Grant usages to a role, in addition to the usages that it has.

        Args:
            family: the family of the key.
            role: the role's name, quoted where it must be.
            usage: some of ``USAGES``.

        Raises:
            UndefinedError: there is no such role.
        """
        # The type regrole accepts any number, since a role may have had it as its OID.
        if not self._database.execute(
            "SELECT FROM pg_catalog.pg_roles WHERE oid OPERATOR(pg_catalog.=) $1::pg_catalog.regrole::oid",
            ("text", role),
        ):
            raise UndefinedError(f"there is no role {role}")
        self._database.execute(
            "INSERT INTO {s}.key_grant AS old (family, grantee, usage)"
            " VALUES ($1, $2::pg_catalog.regrole, $3) ON CONFLICT (family, grantee) DO UPDATE SET usage ="
            " ARRAY(SELECT u FROM pg_catalog.unnest($4) AS u WHERE u OPERATOR(pg_catalog.=)"
            " ANY (old.usage OPERATOR(pg_catalog.||) excluded.usage))",
            ("integer", family),
            ("text", role),
            ("text[]", [each for each in USAGES if each in usage]),
            ("text[]", list(USAGES)),
        )

    def remove(self, family: int, role: str, usage: Sequence[str] = USAGES) -> None:
        """Revoke usages of a role; see ``add``."""
        arguments = (("integer", family), ("text", role), ("text[]", list(usage)))
        self._database.execute(
            "DELETE FROM {s}.key_grant WHERE family OPERATOR(pg_catalog.=) $1"
            " AND grantee = $2::pg_catalog.regrole AND usage OPERATOR(pg_catalog.<@) $3",
            *arguments,
        )
        self._database.execute(
            "UPDATE {s}.key_grant SET usage = ARRAY(SELECT u FROM pg_catalog.unnest(usage) AS u"
            " WHERE u OPERATOR(pg_catalog.<>) ALL ($3)) WHERE family OPERATOR(pg_catalog.=) $1"
            " AND grantee = $2::pg_catalog.regrole",
            *arguments,
        )


def check_usage(usage: Sequence[str]) -> None:
    """Refuse unknown usages.

    Raises:
        ParameterError: a usage is unknown, or the list is empty.
        DataError: the list is NULL.
    """
    if usage is None:
        raise DataError("usage must not be NULL")
    if not usage or any(each not in USAGES for each in usage):
        raise ParameterError("usage must be of encrypt, decrypt and search")
