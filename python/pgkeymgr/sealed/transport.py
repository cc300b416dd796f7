"""The import and export of data keys; the keys travel sealed both ways."""

from nacl import bindings

from ..errors import DataError, ParameterError, wrong_length
from ..key.arguments import refuse_null, shorten
from ..key.cipher import SECRET_BYTES_MAX, SECRET_BYTES_MIN
from ..key.ids import GIVEN_ID_MAX
from ..key.maker import NewKey
from ..key.table import TOKEN_KEY_TYPE, KeyTable
from ..key.user_wrap import PUBLIC_KEY_BYTES
from .attempts import check_passphrase
from .exchange import Exchange

WRAPS = ("root", "user", "passphrase")


class Transport:
    """The import and export of data keys, for one session."""

    def __init__(self, table: KeyTable, exchange: Exchange) -> None:
        self._table = table
        self._exchange = exchange

    def import_data_key(
        self,
        name: str,
        sealed: bytes,
        expires: str | None,
        comment: str | None,
        wrap: str,
        key_id: int | None,
        key_uuid: str | None,
    ) -> int:
        """Make a data key of given bytes, owned by the current user.

        Args:
            name: 1 to 255 characters; no other enabled key has it.
            sealed: the key's 16 to 64 bytes, and the passphrase, if the key is to be wrapped under one.
            expires: the expiry, as a timestamp's text; None for never.
            comment: a comment for people, or None.
            wrap: ``root``, ``user`` (the current user's key pair), or ``passphrase``.
            key_id: the id that the key has on another node, whose tokens can be read here then, at most
                2,000,000,000; None for the next id.
            key_uuid: the uuid of the key there, as text; None for a random one.

        Returns:
            Its id.

        Raises:
            DataError: an argument is NULL, or the length of the key is out of range.
            ChallengeError: the message is not for this session's present offer.
            ParameterError: an argument is out of range.
            DuplicateKeyError: the name, the id or the uuid is taken.
            UndefinedError: the current user has no key pair.
        """
        secret, *passphrases = self._exchange.open(sealed, 2 if wrap == "passphrase" else 1)
        refuse_null(wrap=wrap)
        if wrap not in WRAPS:
            raise ParameterError(f'wrap must be root, user or passphrase, not "{shorten(wrap)}"')
        if not SECRET_BYTES_MIN <= len(secret) <= SECRET_BYTES_MAX:
            raise DataError(
                f"the key must be {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes long, not {len(secret)}"
            )
        if key_id is not None and not 1 <= key_id <= GIVEN_ID_MAX:
            raise ParameterError(f"key_id must be 1 to {GIVEN_ID_MAX}, not {key_id}")
        uuid = None if key_uuid is None else bytes.fromhex(key_uuid.replace("-", ""))
        if uuid is not None and not any(uuid):
            raise ParameterError("key_uuid must not be the uuid of zeros")
        new = NewKey(
            name,
            secret,
            expires=expires,
            comment=comment,
            id=key_id,
            uuid=uuid,
            passphrase=check_passphrase(passphrases[0]) if passphrases else None,
            holders=[self._table.maker.user_public(self._table.database.user())] if wrap == "user" else [],
        )
        return self._table.maker.create(new, event="import")

    def export_data_key(self, key: str | int, recipient_public: bytes) -> bytes:
        """Seal a key to a recipient.

        Args:
            key: name or id; the current user may decrypt with it, and this session can open it.
            recipient_public: an X25519 public key, 32 bytes.

        Returns:
            A libsodium sealed box of the key's bytes.

        Raises:
            UndefinedError: there is no such key.
            PrivilegeError: the current user may not decrypt with it.
            KeyStateError: the key is disabled, destroyed, expired or locked.
            DataError: the public key has the wrong length, or gives no shared secret.
        """
        if len(recipient_public) != PUBLIC_KEY_BYTES:
            raise wrong_length("recipient_public", recipient_public, PUBLIC_KEY_BYTES)
        record = self._table.find(key)
        record.check_type(TOKEN_KEY_TYPE)
        record.check_usage(encrypt=False)
        record.check_state()
        secret = self._table.keyring.secret(record, self._table.unlock)
        try:
            sealed = bindings.crypto_box_seal(secret, recipient_public)
        except RuntimeError:
            raise DataError("recipient_public is not an acceptable public key") from None
        self._table.audit.record(
            "export", record.id, record.name, f"to {recipient_public.hex()}", even_if_undone=True
        )
        return sealed
