"""Data keys shared to users: a sealed copy for each, which only that user can open."""

from ..errors import DataError, KeyStateError, UndefinedError
from ..key.data_key import USAGES
from ..key.record import Record
from ..key.table import TOKEN_KEY_TYPE, KeyTable, check_type


class Sharing:
    """The sharing of data keys, for one session."""

    def __init__(self, table: KeyTable) -> None:
        self._table = table
        self._database = table.database

    def share_data_key(self, key: str | int, role: str) -> None:
        """Seal a key to a role's key pair, with all its versions and the keys of its blind indexes, and grant it.

        Args:
            key: name or id. Each version must be unlocked, or have a wrap under the root key.
            role: the role's name, quoted where it must be.

        Raises:
            UndefinedError: there is no such key, or the role has no key pair.
            PrivilegeError: the current user may not use the key.
            KeyStateError: it is disabled or destroyed, or a version of it is locked.
        """
        record = self._find(key, role)
        record.check_usage(encrypt=False)
        record.check_state(allow_expired=True)
        secrets = [
            (each, self._table.keyring.secret(each, self._table.unlock)) for each in self._table.related(record)
        ]

        def insert() -> None:
            public = self._lock_public(role)
            for each, secret in secrets:
                self._table.insert_user_wrap(each.id, secret, each.associated_data, public)
            self._database.execute(
                "INSERT INTO {s}.key_grant (family, grantee, usage) VALUES ($1, $2::pg_catalog.regrole, $3)"
                " ON CONFLICT (family, grantee) DO UPDATE SET usage = excluded.usage",
                ("integer", record.family),
                ("text", role),
                ("text[]", list(USAGES)),
            )

        self._table.change(insert)
        self._table.audit.record("share", record.id, record.name, f"to role {role}")

    def unshare_data_key(self, key: str | int, role: str) -> None:
        """Remove a role's sealed copies of a key and its versions, and its grant.

        Args:
            key: name or id.
            role: the role's name, quoted where it must be.

        Raises:
            UndefinedError: there is no such key, or the role has no key pair.
            KeyStateError: it is not shared to the role, or nothing else could open it.
        """
        record = self._find(key, role)
        related = [each.id for each in self._table.related(record, also_destroyed=True)]

        def delete() -> None:
            public = self._lock_public(role)
            if not self._table.delete_wraps(related, "user", public.hex()):
                raise KeyStateError(f"{record} is not shared to role {role}")
            self._database.execute(
                "DELETE FROM {s}.key_grant WHERE family OPERATOR(pg_catalog.=) $1"
                " AND grantee = $2::pg_catalog.regrole",
                ("integer", record.family),
                ("text", role),
            )

        self._table.change(delete)
        self._table.audit.record("unshare", record.id, record.name, f"from role {role}")

    def _find(self, key: str | int, role: str) -> Record:
        record = self._table.find(key)
        check_type(record, TOKEN_KEY_TYPE)
        if role is None:
            raise DataError("role must not be NULL")
        return record

    def _lock_public(self, role: str) -> bytes:
        # No rotation of the pair meanwhile: it would miss the wrap to come.
        self._database.execute("LOCK TABLE {s}.user_key IN SHARE MODE")
        rows = self._database.execute(
            "SELECT public FROM {s}.user_key WHERE role = $1::pg_catalog.regrole", ("text", role)
        )
        if not rows:
            raise UndefinedError(f"role {role} has no key pair", hint="It makes one with create_user_key().")
        public: bytes = rows[0]["public"]
        return public
