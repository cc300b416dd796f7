"""Data keys that are shared to users: each user has a sealed copy, which only that user can open."""

from ..errors import KeyStateError, UndefinedError
from ..key.arguments import refuse_null
from ..key.record import Record
from ..key.table import TOKEN_KEY_TYPE, KeyTable

_USAGE = ("encrypt", "decrypt")


class Sharing:
    """The sharing of data keys, for one session."""

    def __init__(self, table: KeyTable) -> None:
        self._table = table

    def share_data_key(self, key: str | int, role: str) -> None:
        """Seal a key, all its versions and the keys of its blind indexes to a role's key pair, and grant the key.

        Args:
            key: name or id. Each version must be unlocked, or have a wrap under the root key.
            role: the role's name, quoted where it must be.

        Raises:
            UndefinedError: there is no such key, or the role has no key pair.
            PrivilegeError: the current user may not use the key.
            KeyStateError: the key is disabled or destroyed, or a version of it is locked.
        """
        record = self._find(key, role)
        record.check_usage(encrypt=False)
        record.check_state(allow_expired=True)
        secrets = [
            (each, self._table.keyring.secret(each, self._table.unlock)) for each in self._table.related(record)
        ]

        def insert() -> None:
            public = self._lock_public(role)
            wraps = self._table.wrap_rows.of_all([each for each, _ in secrets])
            for each, (_, secret) in zip(wraps, secrets, strict=True):
                each.set_user(secret, public)
            self._table.grants.add(record.family, role, _USAGE)

        self._table.change(insert)
        self._table.audit.record("share", record.id, record.name, f"to role {role}", even_if_undone=True)

    def unshare_data_key(self, key: str | int, role: str) -> None:
        """Remove a role's sealed copies of a key and its versions, and its grant.

        Args:
            key: name or id.
            role: the role's name, quoted where it must be.

        Raises:
            UndefinedError: there is no such key, or the role has no key pair.
            KeyStateError: the key is not shared to the role, or has no other wrap.
        """
        record = self._find(key, role)
        related = [each.id for each in self._table.related(record, also_destroyed=True)]

        def delete() -> None:
            public = self._lock_public(role)
            if not self._table.wrap_rows.remove(related, "user", public):
                raise KeyStateError(f"{record} is not shared to role {role}")
            self._table.grants.remove(record.family, role)

        self._table.change(delete)
        self._table.audit.record("unshare", record.id, record.name, f"from role {role}")

    def _find(self, key: str | int, role: str) -> Record:
        record = self._table.find(key)
        record.check_type(TOKEN_KEY_TYPE)
        refuse_null(role=role)
        return record

    def _lock_public(self, role: str) -> bytes:
        # A rotation of the pair at the same time would miss the new wrap, so the pair is locked.
        public = self._table.user_key_rows.public_of_role(role)
        if public is None:
            raise UndefinedError(
                f"role {role} has no key pair", hint="The role can make one with create_user_key()."
            )
        return public
