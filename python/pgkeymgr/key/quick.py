"""The quick forms of the functions of tokens that are called for each row.

Each form tries the cipher of the last use directly, if the user is still the same: one more call would add a
hundredth to the cost of each row. At the first row of a statement, the form asks whether the cipher carries over
from the statement before. After any failure, for NULL for instance, the form calls the function itself, which
reports the fault. The forms repeat the same code on purpose, also those of ``column/quick.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

from .cipher import CIPHERTEXT_START, HEADER_BYTES, NONCE_BYTES
from .table import KeyTable
from .token import Tokens

TYPE_CHECKING = False  # see key/named_tuple.py
if TYPE_CHECKING:
    from typing import Any

    Function = Callable[..., Any]
    Quicken = Callable[[Function], Function]

_INTERVENTION = "57"  # the class of SQLSTATEs: the statement was cancelled, or the session is to end


def pass_on_intervention(error: Exception) -> None:
    """Raise an error again that ends the statement; the function itself finds any other fault.

    The function would do its work again, and PostgreSQL reports a cancel or a timeout only once.
    """
    if str(getattr(error, "sqlstate", "")).startswith(_INTERVENTION):
        raise error


START = Struct(f"{HEADER_BYTES}s{NONCE_BYTES}s")
"""The first bytes of a token of suite 1."""


def quick_tokens(table: KeyTable, tokens: Tokens) -> dict[str, Quicken]:  # noqa: PLR0915  # a closure for each form
    """Return a maker of the quick form for each function of tokens that has one, by name.

    A maker receives the function itself, and returns its quick form.
    """
    keyring = table.keyring
    current_user, current_stamp = table.database.user, table.database.stamp
    unpack_start = START.unpack_from
    carries_over = table.uses.carries_over

    def next_opener(stamp: int, token: bytes) -> Any:
        header, user, _, decrypt, is_lasting = keyring.opener
        if not (is_lasting and carries_over(stamp)):
            return tokens.decryptor(token).decrypt_raw
        keyring.opener = header, user, stamp, decrypt, True
        return decrypt

    def next_sealer(stamp: int) -> Any:
        key, user, _, cipher, is_lasting = keyring.sealer
        if not (is_lasting and carries_over(stamp)):
            return tokens.encryptor(key)
        keyring.sealer = key, user, stamp, cipher, True
        return cipher

    def open_bytes(otherwise: Function) -> Function:
        def quick(token: bytes, associated_data: bytes) -> Any:
            header, user, stamp, decrypt, _ = keyring.opener
            try:
                its_header, nonce = unpack_start(token)
                if its_header == header and current_user() == user:
                    if (now := current_stamp()) != stamp:
                        decrypt = next_opener(now, token)
                    return decrypt(nonce, token[CIPHERTEXT_START:], header + associated_data)
            except Exception as error:
                pass_on_intervention(error)
            return otherwise(token, associated_data)

        return quick

    def open_text(otherwise: Function) -> Function:
        def quick(token: bytes, associated_data: bytes) -> Any:
            header, user, stamp, decrypt, _ = keyring.opener
            try:
                its_header, nonce = unpack_start(token)
                if its_header == header and current_user() == user:
                    if (now := current_stamp()) != stamp:
                        decrypt = next_opener(now, token)
                    text = decrypt(nonce, token[CIPHERTEXT_START:], header + associated_data).decode()
                    if "\0" not in text:
                        return text
            except Exception as error:
                pass_on_intervention(error)
            return otherwise(token, associated_data)

        return quick

    def encrypt_bytes(otherwise: Function) -> Function:
        def quick(key: str | int, plaintext: bytes, associated_data: bytes, deterministic: bool) -> Any:
            which, user, stamp, cipher, _ = keyring.sealer
            try:
                if key == which and deterministic is False and current_user() == user:
                    if (now := current_stamp()) != stamp:
                        cipher = next_sealer(now)
                    return cipher.encrypt(plaintext, associated_data)
            except Exception as error:
                pass_on_intervention(error)
            return otherwise(key, plaintext, associated_data, deterministic)

        return quick

    def encrypt_text(otherwise: Function) -> Function:
        def quick(key: str | int, plaintext: str, associated_data: bytes, deterministic: bool) -> Any:
            which, user, stamp, cipher, _ = keyring.sealer
            try:
                if key == which and deterministic is False and current_user() == user:
                    if (now := current_stamp()) != stamp:
                        cipher = next_sealer(now)
                    return cipher.encrypt(plaintext.encode(), associated_data)
            except Exception as error:
                pass_on_intervention(error)
            return otherwise(key, plaintext, associated_data, deterministic)

        return quick

    return {
        "token_decrypt": open_bytes,
        "token_decrypt_text": open_text,
        "token_encrypt": encrypt_bytes,
        "token_encrypt_text": encrypt_text,
    }
