"""The server's side of the exchange: offers, and the sealed messages that answer them."""

import os

from nacl import bindings

from ..errors import ChallengeError, DataError, KeyStateError
from ..key.arguments import refuse_null
from ..key.database import Database
from ..key.root_wrap import server_key_associated_data
from ..key.table import KeyTable
from . import message
from .message import Offer

# Only the owner of a database, or a superuser, may set this for it; a session's own SET does not count.
PLAIN_SETTING = "pgkeymgr.allow_plain_connections"
_TRUE = ("on", "true", "yes", "1")

# The mark ends an offer together with the unlocked keys, at DISCARD ALL, say; see key/unlocked.py.
OFFER_MARK = "pgkeymgr.offer"

_MARK_BYTES = 16


def allows_plain(database: Database) -> bool:
    """Return whether this database takes sealed secrets over connections without TLS; in ``Database.as_owner``."""
    rows = database.execute(
        """
        SELECT FROM pg_db_role_setting AS s, unnest(s.setconfig) AS one
        WHERE s.setrole = 0
            AND s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND lower(one) = ANY ($1)
        """,
        ("text[]", [f"{PLAIN_SETTING}={value}" for value in _TRUE]),
    )
    return bool(rows)


class _Pending:
    """The offer that this session has made and nobody has answered, with its user."""

    __slots__ = ("challenge", "mark", "public", "secret_key", "user")

    def __init__(self, public: bytes, secret_key: bytes, challenge: bytes, user: int, mark: str) -> None:
        self.public = public
        self.secret_key = secret_key
        self.challenge = challenge
        self.user = user
        self.mark = mark

    def __reduce__(self) -> str:
        raise TypeError("a key must not be copied or written anywhere")


class Exchange:
    """The exchange of sealed messages, for one session."""

    def __init__(self, table: KeyTable) -> None:
        self._table = table
        self._database = table.database
        self._pending: _Pending | None = None

    def exchange_offer(self) -> Offer:
        """Make an offer for one sealed message from the current user; it replaces the offer before.

        Returns:
            The offer; see ``pgkeymgr.sealed.message``.

        Raises:
            ChallengeError: the connection is neither TLS nor a Unix socket.
            RootKeyError: there is no root key.
            KeyStateError: there is no exchange key yet, and this session cannot make one: the transaction is
                read-only, or another node makes the keys.
        """
        self._pending = None
        self._check_connection()
        self._table.audit.flush()
        signing_key = self._signing_key()
        public, secret_key = bindings.crypto_box_keypair()
        challenge = os.urandom(message.CHALLENGE_BYTES)
        mark = os.urandom(_MARK_BYTES).hex()
        self._database.mark_session(OFFER_MARK, mark, is_local=False)
        self._pending = _Pending(public, secret_key, challenge, self._database.user(), mark)
        return message.sign_offer(public, challenge, signing_key)

    def open(self, sealed: bytes, *counts: int) -> list[bytes]:
        """Open a message that was sealed to the present offer. The offer ends, even if the message does not open.

        Args:
            sealed: the message.
            counts: the numbers of secrets that are allowed.

        Returns:
            The secrets, none of them empty.

        Raises:
            ChallengeError: it is not for the present offer of this session and role, or the connection is neither
                TLS nor a Unix socket.
            DataError: it is malformed, or has another number of secrets.
        """
        pending, self._pending = self._pending, None
        refuse_null(sealed=sealed)
        self._check_connection()
        if pending is None or self._database.setting(OFFER_MARK) != pending.mark:
            raise ChallengeError(
                "this session has no open offer: a sealed message is good for one call",
                hint="Call exchange_offer(), and seal to what it returns.",
            )
        if pending.user != self._database.user():
            raise message.foreign()
        secrets = message.open_sealed(sealed, pending.public, pending.secret_key, pending.challenge)
        if len(secrets) not in counts:
            wanted = " or ".join(map(str, counts))
            raise DataError(f"the sealed message must have {wanted} secrets in it, not {len(secrets)}")
        if not all(secrets):
            raise DataError("a sealed secret must not be empty")
        return secrets

    def exchange_fingerprint(self) -> str:
        """Return the fingerprint of the server's exchange key, for clients to pin; make the key if there is none.

        Returns:
            64 hexadecimal digits.

        Raises:
            RootKeyError: there is no root key.
            KeyStateError: there is no exchange key yet, and this session cannot make one: the transaction is
                read-only, or another node makes the keys.
        """
        return message.fingerprint(self._signing_key()[-message.SERVER_KEY_BYTES :])

    def rotate_exchange_key(self) -> str:
        """Make a new exchange key in place of the present one; clients must pin its fingerprint.

        Returns:
            The new fingerprint.

        Raises:
            RootKeyError: there is no root key.
            KeyStateError: another node makes the keys.
        """
        self._pending = None
        self._table.nodes.begin_change()
        public = self._database.as_owner(
            lambda: self._insert(
                """
                INSERT INTO {s}.server_key (purpose, public, fingerprint, wrapped)
                VALUES ('exchange', $1, $2, $3)
                ON CONFLICT (purpose) DO UPDATE
                SET
                    public = excluded.public, fingerprint = excluded.fingerprint, wrapped = excluded.wrapped,
                    created = clock_timestamp()
                """
            )
        )
        fingerprint = message.fingerprint(public)
        self._table.audit.record("rotate_exchange_key", None, None, fingerprint)
        return fingerprint

    def forget_offer(self) -> None:
        """Forget the offer that nobody has answered."""
        self._pending = None

    def _check_connection(self) -> None:
        if not self._database.is_confidential() and not self._database.as_owner(
            lambda: allows_plain(self._database)
        ):
            raise ChallengeError(
                "secrets are not accepted over this connection, which is neither TLS nor a Unix socket",
                hint="Connect with sslmode=verify-full.",
            )

    def _signing_key(self) -> bytes:
        key = self._database.as_owner(self._read)
        if key is None:
            if self._database.is_read_only():
                raise KeyStateError(
                    "there is no exchange key yet, and this transaction is read-only",
                    hint="Call exchange_fingerprint() once where the database can be written.",
                )
            self._table.nodes.begin_change()
            self._database.as_owner(
                lambda: self._insert(
                    """
                    INSERT INTO {s}.server_key (purpose, public, fingerprint, wrapped)
                    VALUES ('exchange', $1, $2, $3)
                    ON CONFLICT (purpose) DO NOTHING
                    """
                )
            )
            key = self._database.as_owner(self._read)
        if key is None:
            raise KeyStateError("the exchange key was concurrently made", hint="Try again.")
        return key

    def _read(self) -> bytes | None:
        rows = self._database.execute(
            "SELECT public, fingerprint, wrapped FROM {s}.server_key WHERE purpose = 'exchange'"
        )
        if not rows:
            return None
        (row,) = rows
        return self._table.root_wraps.unwrap(
            row["wrapped"], server_key_associated_data("exchange", row["public"]), row["fingerprint"]
        )

    def _insert(self, statement: str) -> bytes:
        public, signing_key = bindings.crypto_sign_keypair()
        fingerprint, wrapped = self._table.root_wraps.wrap(
            signing_key, server_key_associated_data("exchange", public)
        )
        self._database.execute(statement, ("bytea", public), ("text", fingerprint), ("bytea", wrapped))
        return public
