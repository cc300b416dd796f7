"""The grants of keys: the rows of the table key_grant. Every statement that writes them is here."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ParameterError, UndefinedError
from .arguments import refuse_null

if TYPE_CHECKING:
    from .database import Database

USAGES = ("encrypt", "decrypt", "search", "masked")
"""The usage decrypt includes search and masked: a user who reads the values can compare and mask them."""


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
        self._check_role(role)
        self._database.execute(
            """
            WITH widened AS (
                UPDATE {s}.key_grant AS old
                SET usage = ARRAY(SELECT u FROM unnest($4) AS u WHERE u = ANY (old.usage || $3))
                WHERE family = $1 AND grantee = $2::regrole::oid
                RETURNING 1
            )
            INSERT INTO {s}.key_grant (family, grantee, usage, grantee_name)
            -- With session_replication_role = replica, the trigger name_role heeds only the name.
            SELECT $1, $2::regrole::oid, $3, (SELECT r.rolname FROM pg_roles AS r WHERE r.oid = $2::regrole::oid)
            WHERE NOT EXISTS (SELECT FROM widened)
            """,
            ("integer", family),
            ("text", role),
            ("text[]", [each for each in USAGES if each in usage]),
            ("text[]", list(USAGES)),
        )

    def add_missing(self, family: int, role: str, usage: Sequence[str]) -> None:
        """Grant the usages that a role does not have, in a row of their own, and change no other row.

        A row that came from another node is overwritten when that node changes it.

        Args:
            family: see ``add``.
            role: see ``add``.
            usage: see ``add``.

        Raises:
            UndefinedError: there is no such role.
        """
        self._check_role(role)
        self._database.execute(
            """
            INSERT INTO {s}.key_grant (family, grantee, usage, grantee_name)
            SELECT $1, r.oid, missing.usage, r.rolname
            FROM pg_roles AS r
            CROSS JOIN LATERAL (
                SELECT ARRAY(
                    SELECT u
                    FROM unnest($3) AS u
                    WHERE NOT EXISTS (
                        SELECT FROM {s}.key_grant AS g
                        WHERE g.family = $1 AND g.grantee = r.oid AND u = ANY (g.usage)
                    )
                ) AS usage
            ) AS missing
            WHERE r.oid = $2::regrole::oid AND cardinality(missing.usage) > 0
            """,
            ("integer", family),
            ("text", role),
            ("text[]", [each for each in USAGES if each in usage]),
        )

    def remove(self, family: int, role: str, usage: Sequence[str] = USAGES) -> None:
        """Revoke usages of a role; see ``add``."""
        arguments = (("integer", family), ("text", role), ("text[]", list(usage)))
        self._database.execute(
            """
            DELETE
            FROM {s}.key_grant
            WHERE family = $1 AND grantee = $2::regrole::oid AND usage <@ $3
            """,
            *arguments,
        )
        self._database.execute(
            """
            UPDATE {s}.key_grant
            SET usage = ARRAY(SELECT u FROM unnest(usage) AS u WHERE u <> ALL ($3))
            WHERE family = $1 AND grantee = $2::regrole::oid
            """,
            *arguments,
        )

    def adopt(self, name: str, role: str) -> tuple[int, int, int]:
        """Give a role the rows of a role that did not exist when a dump was restored.

        Args:
            name: the name of the other role.
            role: the role's name, quoted where it must be.

        Returns:
            The numbers of its new keys, grants and key pairs.

        Raises:
            UndefinedError: there is no such role.
        """
        self._check_role(role)
        arguments = (("text", name), ("text", role))
        keys = self._database.execute(
            """
            UPDATE {s}.key
            SET owner = $2::regrole::oid
            WHERE owner = 0 AND owner_name = $1
            RETURNING id
            """,
            *arguments,
        )
        grants = self._database.execute(
            """
            UPDATE {s}.key_grant
            SET grantee = $2::regrole::oid
            WHERE grantee = 0 AND grantee_name = $1
            RETURNING family
            """,
            *arguments,
        )
        # A role has one pair.
        pairs = self._database.execute(
            """
            UPDATE {s}.user_key
            SET role = $2::regrole::oid
            WHERE public = (
                SELECT u.public
                FROM {s}.user_key AS u
                WHERE u.role = 0
                    AND u.role_name = $1
                    AND NOT EXISTS (SELECT FROM {s}.user_key AS own WHERE own.role = $2::regrole::oid)
                ORDER BY u.created DESC
                LIMIT 1
            )
            RETURNING public
            """,
            *arguments,
        )
        return len(keys), len(grants), len(pairs)

    def _check_role(self, role: str) -> None:
        # The type regrole accepts any number, since a role may have had it as its OID.
        if not self._database.execute(
            "SELECT FROM pg_roles WHERE oid = $1::regrole::oid",
            ("text", role),
        ):
            raise UndefinedError(f"role {role} does not exist")


def check_usage(usage: Sequence[str]) -> None:
    """Refuse unknown usages.

    Raises:
        ParameterError: a usage is unknown, or the list is empty.
        DataError: the list is NULL.
    """
    refuse_null(usage=usage)
    if not usage or any(each not in USAGES for each in usage):
        raise ParameterError("usage must be some of encrypt, decrypt, search and masked")
