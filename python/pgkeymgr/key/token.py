"""The SQL functions that encrypt and decrypt tokens with the keys of the table."""

from ..errors import DataError, KeyStateError, UndefinedError
from .cipher import DETERMINISTIC, HEADER_BYTES, SUITES, TokenCipher, read_header
from .record import Record
from .table import TOKEN_KEY_TYPE, KeyTable
from .use_cache import Conditions


class Tokens:
    """The functions of tokens, for one session."""

    def __init__(self, table: KeyTable) -> None:
        self._table = table
        self._keyring = table.keyring
        self._uses = table.uses
        self._user = table.database.user

    def encryptor(self, key: str | int) -> TokenCipher:
        """Return the cipher that encrypts under a key, for the current user; see ``token_encrypt``."""
        user = self._user()
        which = ("encrypt", key, user)
        cipher: TokenCipher | None = self._uses.get(which)
        if cipher is None:
            record = self._table.usable(key, TOKEN_KEY_TYPE, encrypt=True, with_wraps=False)
            check_current(record)
            cipher = self._table.cipher(record)
            self._uses.put(which, cipher, Conditions.of(record, encrypt=True))
        if self._uses.is_quick:
            self._keyring.sealer = key, user, self._uses.stamp, cipher, self._uses.is_lasting
        return cipher

    def deterministic_encryptor(self, key: str | int) -> TokenCipher:
        """Return the cipher of a key, for a user who may compare plaintexts; see ``token_encrypt``."""
        self._table.check_search(key, TOKEN_KEY_TYPE)
        return self.encryptor(key)

    def decryptor(self, token: bytes) -> TokenCipher:
        """Return the cipher that decrypts a token, for the current user; see ``token_decrypt``."""
        user = self._user()
        which = ("decrypt", token[1:HEADER_BYTES], user)
        cipher: TokenCipher | None = self._uses.get(which)
        if cipher is None:
            _, key_id = read_header(token)
            record = self._table.usable(key_id, TOKEN_KEY_TYPE, encrypt=False, with_wraps=False)
            cipher = self._table.cipher(record)
            self._uses.put(which, cipher, Conditions.of(record))
        if self._uses.is_quick:
            uses = self._uses
            self._keyring.opener = cipher.header, user, uses.stamp, cipher.decrypt_raw, uses.is_lasting
        return cipher

    def token_encrypt(
        self, key: str | int, plaintext: bytes | None, associated_data: bytes, deterministic: bool
    ) -> bytes | None:
        """Encrypt to a token.

        Args:
            key: name or id.
            plaintext: the plaintext, of any length; None gives None.
            associated_data: data that is authenticated with the plaintext, and needed to decrypt.
            deterministic: whether to give the same token for the same plaintext and associated data.

        Returns:
            The token.

        Raises:
            UndefinedError: there is no such key.
            PrivilegeError: the current user may not encrypt with the key; or, for a deterministic token, may
                neither search nor decrypt with it.
            KeyStateError: the key is disabled, destroyed, expired, superseded or locked.
            DataError: ``deterministic`` is NULL.
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
            associated_data: the associated data that the token was made with.

        Returns:
            The plaintext.

        Raises:
            DataError: the argument is not a token, or does not verify.
            UndefinedError: the key does not exist any more.
            PrivilegeError: the current user may not decrypt with it.
            KeyStateError: the key is disabled, destroyed, expired or locked.
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
            DataError: the plaintext is not text; for other causes, see ``token_decrypt``.
        """
        plaintext = self.token_decrypt(token, associated_data)
        return None if plaintext is None else to_text(plaintext)

    def token_try_decrypt(self, token: bytes | None, associated_data: bytes) -> bytes | None:
        """Decrypt a token, or return None if the token does not open; see ``token_decrypt``.

        Raises:
            PrivilegeError: the current user may not decrypt with the key; the token itself may be intact.
        """
        try:
            return self.token_decrypt(token, associated_data)
        except (DataError, UndefinedError, KeyStateError):
            return None

    def token_reencrypt(self, token: bytes | None, key: str | int, associated_data: bytes) -> bytes | None:
        """Decrypt a token and encrypt it under another key, in the same way.

        Args:
            token: the token; None gives None.
            key: name or id of the other key.
            associated_data: the associated data of both tokens.

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
        return self.encryptor(key).encrypt_like(token, plaintext, associated_data)

    def token_info(self, token: bytes | None) -> tuple[int, str, int, str | None, str | None] | None:
        """Return the contents of a token's header, unverified.

        Args:
            token: the token; None gives None.

        Returns:
            Format, suite, the key's id, and its name and state if the current user may use it or owns it.

        Raises:
            DataError: the argument is not a token.
        """
        if token is None:
            return None
        suite, key_id = read_header(token)
        record = self._table.lookup(key_id)
        if record is None or not record.has_usage:
            return 1, SUITES[suite], key_id, None, None
        return 1, SUITES[suite], key_id, record.name, record.state


def check_current(record: Record) -> None:
    """Refuse to encrypt with a superseded version of a key.

    Raises:
        KeyStateError: the version was superseded.
    """
    if record.superseded_by is not None:
        raise KeyStateError(
            f"{record} was superseded by key {record.superseded_by} and only decrypts",
            hint="Encrypt with the key's name, which means its current version.",
        )


def to_text(plaintext: bytes) -> str:
    """Read a plaintext as text.

    Raises:
        DataError: PostgreSQL cannot store the text: it is not UTF-8, or has a zero byte.
    """
    try:
        text = plaintext.decode()
    except UnicodeDecodeError:
        raise DataError("the plaintext is not text") from None
    if "\0" in text:
        raise DataError("the plaintext is not text: it has a zero byte")
    return text
