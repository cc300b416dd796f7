"""The quick forms of the functions that are called for each row.

Each form tries the cipher of the last use directly, if user and statement are still the same: one more call would
add a hundredth to the cost of each row. After any failure, for NULL for instance, the form calls the function
itself, which reports the fault. The forms repeat the same code on purpose.
"""

from collections.abc import Callable
from struct import Struct
from typing import Any

from .cipher import CIPHERTEXT_START, HEADER_BYTES, NONCE_BYTES
from .keyring import Keyring

_START = Struct(f"{HEADER_BYTES}s{NONCE_BYTES}s")

_Function = Callable[..., Any]
_Quicken = Callable[[_Function], _Function]


def quick_functions(  # noqa: PLR0915  # the function has one closure for each form
    keyring: Keyring, current_user: Callable[[], int], current_stamp: Callable[[], int]
) -> dict[str, _Quicken]:
    """Return a maker of the quick form for each function that has one, by name.

    A maker receives the function itself, and returns its quick form.

    Args:
        keyring: the keyring, with the ciphers of the last uses.
        current_user: ``Database.user``.
        current_stamp: ``Database.stamp``.

    Returns:
        The makers, by the names of the functions.
    """
    unpack_start = _START.unpack_from

    def open_bytes(otherwise: _Function) -> _Function:
        def quick(token: bytes, associated_data: bytes) -> Any:
            header, user, stamp, cipher = keyring.opener
            try:
                its_header, nonce = unpack_start(token)
                if its_header == header and current_user() == user and current_stamp() == stamp:
                    return cipher.decrypt_raw(nonce, token[CIPHERTEXT_START:], header + associated_data)
            except Exception:  # noqa: S110  # the function itself finds the fault
                pass
            return otherwise(token, associated_data)

        return quick

    def open_text(otherwise: _Function) -> _Function:
        def quick(token: bytes, associated_data: bytes) -> Any:
            header, user, stamp, cipher = keyring.opener
            try:
                its_header, nonce = unpack_start(token)
                if its_header == header and current_user() == user and current_stamp() == stamp:
                    text = cipher.decrypt_raw(nonce, token[CIPHERTEXT_START:], header + associated_data).decode()
                    if "\0" not in text:
                        return text
            except Exception:  # noqa: S110  # the function itself finds the fault
                pass
            return otherwise(token, associated_data)

        return quick

    def open_cell_bytes(otherwise: _Function) -> _Function:
        def quick(token: bytes, place: bytes, family: int) -> Any:
            of_family, header, user, stamp, cipher = keyring.cell_opener
            try:
                its_header, nonce = unpack_start(token)
                if (
                    its_header == header
                    and family == of_family
                    and current_user() == user
                    and current_stamp() == stamp
                ):
                    return cipher.decrypt_raw(nonce, token[CIPHERTEXT_START:], header + place)
            except Exception:  # noqa: S110  # the function itself finds the fault
                pass
            return otherwise(token, place, family)

        return quick

    def open_cell_text(otherwise: _Function) -> _Function:
        def quick(token: bytes, place: bytes, family: int) -> Any:
            of_family, header, user, stamp, cipher = keyring.cell_opener
            try:
                its_header, nonce = unpack_start(token)
                if (
                    its_header == header
                    and family == of_family
                    and current_user() == user
                    and current_stamp() == stamp
                ):
                    text = cipher.decrypt_raw(nonce, token[CIPHERTEXT_START:], header + place).decode()
                    if "\0" not in text:
                        return text
            except Exception:  # noqa: S110  # the function itself finds the fault
                pass
            return otherwise(token, place, family)

        return quick

    def seal_bytes(otherwise: _Function) -> _Function:
        def quick(family: int, plaintext: bytes, place: bytes) -> Any:
            of_family, user, stamp, cipher = keyring.cell_sealer
            try:
                if family == of_family and current_user() == user and current_stamp() == stamp:
                    return cipher.encrypt(plaintext, place)
            except Exception:  # noqa: S110  # the function itself finds the fault
                pass
            return otherwise(family, plaintext, place)

        return quick

    def seal_text(otherwise: _Function) -> _Function:
        def quick(family: int, plaintext: str, place: bytes) -> Any:
            of_family, user, stamp, cipher = keyring.cell_sealer
            try:
                if family == of_family and current_user() == user and current_stamp() == stamp:
                    return cipher.encrypt(plaintext.encode(), place)
            except Exception:  # noqa: S110  # the function itself finds the fault
                pass
            return otherwise(family, plaintext, place)

        return quick

    def encrypt_bytes(otherwise: _Function) -> _Function:
        def quick(key: str | int, plaintext: bytes, associated_data: bytes, deterministic: bool) -> Any:
            which, user, stamp, cipher = keyring.sealer
            try:
                if key == which and deterministic is False and current_user() == user and current_stamp() == stamp:
                    return cipher.encrypt(plaintext, associated_data)
            except Exception:  # noqa: S110  # the function itself finds the fault
                pass
            return otherwise(key, plaintext, associated_data, deterministic)

        return quick

    def encrypt_text(otherwise: _Function) -> _Function:
        def quick(key: str | int, plaintext: str, associated_data: bytes, deterministic: bool) -> Any:
            which, user, stamp, cipher = keyring.sealer
            try:
                if key == which and deterministic is False and current_user() == user and current_stamp() == stamp:
                    return cipher.encrypt(plaintext.encode(), associated_data)
            except Exception:  # noqa: S110  # the function itself finds the fault
                pass
            return otherwise(key, plaintext, associated_data, deterministic)

        return quick

    return {
        "token_decrypt": open_bytes,
        "token_decrypt_text": open_text,
        "token_encrypt": encrypt_bytes,
        "token_encrypt_text": encrypt_text,
        "_open_bytes": open_cell_bytes,
        "_open_text": open_cell_text,
        "_seal_bytes": seal_bytes,
        "_seal_text": seal_text,
    }
