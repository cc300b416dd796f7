"""Tokens in SQL: encrypted and decrypted with the keys of the table."""

from ..errors import DataError, KeyStateError, UndefinedError
from .cipher import DETERMINISTIC, HEADER_BYTES, SUITES, TokenCipher, read_header
from .table import TOKEN_KEY_TYPE, KeyTable


class Tokens:
    """The functions of tokens, for one session."""

    def __init__(self, table: KeyTable) -> None:
        self._table = table
        self._keyring = table.keyring
        # Looked at for each row.
        self._encryptors = table.keyring.encryptors
        self._decryptors = table.keyring.decryptors
        self._user = table.database.user
        self._stamp = table.database.stamp

    def encryptor(self, key: str | int) -> TokenCipher:
        """Return what encrypts under a key, for the current user and in this statement; see ``token_encrypt``."""
        user, stamp = self._user(), self._stamp()
        known = self._encryptors.get((key, user))
        if known is None or known[0] != stamp:
            cipher = self._table.remembered(self._encryptors, (key, user)) or self._find_encryptor(key)
            known = self._encryptors.get((key, user))
            if known is None or known[0] != stamp:  # in a transaction that has changed keys
                return cipher
        self._keyring.sealer = key, user, stamp, known[1]
        return known[1]

    def _find_encryptor(self, key: str | int) -> TokenCipher:
        record = self._table.usable(key, TOKEN_KEY_TYPE, encrypt=True, with_wraps=False)
        if record.superseded_by is not None:
            raise KeyStateError(
                f"{record} was superseded by key {record.superseded_by}: it decrypts only",
                hint="Encrypt with the key's name, which means its current version.",
            )
        cipher = self._table.cipher(record)
        self._table.remember(self._encryptors, (key, self._user()), cipher)
        return cipher

    def deterministic_encryptor(self, key: str | int) -> TokenCipher:
        """Return what encrypts under a key, for a user who may compare what it gives; see ``token_encrypt``."""
        self._table.check_search(key, TOKEN_KEY_TYPE)
        return self.encryptor(key)

    def decryptor(self, token: bytes) -> TokenCipher:
        """Return what decrypts a token, for the current user and in this statement; see ``token_decrypt``."""
        user, stamp = self._user(), self._stamp()
        which = (token[1:HEADER_BYTES], user)
        known = self._decryptors.get(which)
        if known is None or known[0] != stamp:
            cipher = self._table.remembered(self._decryptors, which) or self._find_decryptor(token)
            known = self._decryptors.get(which)
            if known is None or known[0] != stamp:  # in a transaction that has changed keys
                return cipher
        self._keyring.opener = known[1].header, user, stamp, known[1]
        return known[1]

    def _find_decryptor(self, token: bytes) -> TokenCipher:
        _, key_id = read_header(token)
        record = self._table.usable(key_id, TOKEN_KEY_TYPE, encrypt=False, with_wraps=False)
        cipher = self._table.cipher(record)
        self._table.remember(self._decryptors, (token[1:HEADER_BYTES], self._user()), cipher)
        return cipher

    def knows_encryptor(self, key: str) -> bool:
        """Tell whether ``encryptor`` has been asked for a key in this statement."""
        known = self._encryptors.get((key, self._user()))
        if known is not None and known[0] == self._stamp():
            return True
        return self._table.remembered(self._encryptors, (key, self._user())) is not None

    def token_encrypt(
        self, key: str | int, plaintext: bytes | None, associated_data: bytes, deterministic: bool
    ) -> bytes | None:
        """Encrypt to a token.

        Args:
            key: name or id.
            plaintext: of any length; None gives None.
            associated_data: authenticated with it, and needed to decrypt.
            deterministic: give the same token for the same plaintext and associated data.

        Returns:
            The token.

        Raises:
            UndefinedError: there is no such key.
            PrivilegeError: the current user may not encrypt with it; or, for a deterministic token, neither search
                nor decrypt.
            KeyStateError: it is disabled, destroyed, expired, superseded or locked.
            LimitError: the token would not fit into a bytea.
        """
        if plaintext is None:
            return None
        if deterministic:
            return self.deterministic_encryptor(key).encrypt_deterministic(plaintext, associated_data)
        cipher = self.encryptor(key)
        if deterministic is None:
            raise DataError("deterministic must not be NULL")
        return cipher.encrypt(plaintext, associated_data)

    def token_decrypt(self, token: bytes | None, associated_data: bytes) -> bytes | None:
        """Verify and decrypt a token.

        Args:
            token: from ``token_encrypt``; None gives None.
            associated_data: what it was made with.

        Returns:
            The plaintext.

        Raises:
            DataError: it is not a token, or does not verify.
            UndefinedError: there is no such key any more.
            PrivilegeError: the current user may not decrypt with it.
            KeyStateError: it is disabled, destroyed, expired or locked.
        """
        if token is None:
            return None
        return self.decryptor(token).decrypt(token, associated_data)

    def token_encrypt_text(
        self, key: str | int, plaintext: str | None, associated_data: bytes, deterministic: bool
    ) -> bytes | None:
        """Encrypt a text, as UTF-8; see ``token_encrypt``."""
        if plaintext is None:
            return None
        return self.token_encrypt(key, plaintext.encode(), associated_data, deterministic)

    def token_decrypt_text(self, token: bytes | None, associated_data: bytes) -> str | None:
        """Decrypt a text; see ``token_decrypt``.

        Raises:
            DataError: the plaintext is not text, or see there.
        """
        plaintext = self.token_decrypt(token, associated_data)
        return None if plaintext is None else to_text(plaintext)

    def token_try_decrypt(self, token: bytes | None, associated_data: bytes) -> bytes | None:
        """Decrypt a token, or give None for one that does not open; see ``token_decrypt``.

        Raises:
            PrivilegeError: the current user may not decrypt with the key, which is not the token's fault.
        """
        try:
            return self.token_decrypt(token, associated_data)
        except (DataError, UndefinedError, KeyStateError):
            return None

    def token_reencrypt(self, token: bytes | None, key: str | int, associated_data: bytes) -> bytes | None:
        """Decrypt a token and encrypt it under another key, in the same suite.

        Args:
            token: None gives None.
            key: name or id of the other key.
            associated_data: what the token was made with, and is made with again.

        Returns:
            The new token.

        Raises:
            Error: see ``token_decrypt`` and ``token_encrypt``.
        """
        if token is None:
            return None
        plaintext = self.decryptor(token).decrypt(token, associated_data)
        if token[0] == DETERMINISTIC:
            return self.deterministic_encryptor(key).encrypt_deterministic(plaintext, associated_data)
        return self.encryptor(key).encrypt(plaintext, associated_data)

    def token_info(self, token: bytes | None) -> tuple[int, str, int, str | None, str | None] | None:
        """Tell what a token says of itself; nothing is verified.

        Args:
            token: None gives None.

        Returns:
            Format, suite, the key's id, and its name and state if the current user may use it or owns it.

        Raises:
            DataError: it is not a token.
        """
        if token is None:
            return None
        suite, key_id = read_header(token)
        record = self._table.lookup(key_id)
        if record is None or not record.has_usage:
            return 1, SUITES[suite], key_id, None, None
        return 1, SUITES[suite], key_id, record.name, record.state


def to_text(plaintext: bytes) -> str:
    """Read a plaintext as text.

    Raises:
        DataError: it is not one that PostgreSQL can hold: not UTF-8, or with a zero in it.
    """
    try:
        text = plaintext.decode()
    except UnicodeDecodeError:
        raise DataError("the plaintext is not text") from None
    if "\0" in text:
        raise DataError("the plaintext is not text: it has a zero byte")
    return text
