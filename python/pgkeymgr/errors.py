"""The errors of pgkeymgr, each with its SQLSTATE and its meaning.

Messages follow PostgreSQL's error style guide. A message never holds a key, a plaintext, a passphrase or the
output of a getkey script.

Sources: https://www.postgresql.org/docs/current/error-style-guide.html and, for the SQLSTATEs,
https://www.postgresql.org/docs/current/errcodes-appendix.html

The classes and their SQLSTATEs:

    Error                       XX000
        DataError               22000
            InvalidValueError   22000
        ParameterError          22023
        PassphraseError         28P01
        ChallengeError          28000
        FingerprintError        28000
        PrivilegeError          42501
        UndefinedError          42704
        UndefinedColumnError    42703
        DuplicateKeyError       42710
        KeyStateError           55000
        LimitError              54000
        UnsupportedError        0A000
        RootKeyError            55000
        GetkeyError             58000
        AgentError              58000
        ProviderError           58000
            ProviderTakenError  58000
        LibraryError            58P01
        CanceledError           57014
"""

from __future__ import annotations

TYPE_CHECKING = False  # see key/named_tuple.py
if TYPE_CHECKING:
    from typing import ClassVar


class Error(Exception):
    """The root of all errors below.

    Args:
        message: the fault and the object that has it.
        hint: the remedy, or None.
    """

    sqlstate: ClassVar[str] = "XX000"

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class DataError(Error):
    """A value is NULL, has the wrong length, is malformed, or cannot be decrypted."""

    sqlstate = "22000"


class InvalidValueError(DataError):
    """A value is not valid for its type.

    This error replaces an error of PostgreSQL whose message would show the value, and has the SQLSTATE of that
    error.
    """

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate  # type: ignore[misc]  # Each type has SQLSTATEs of its own.


class ParameterError(Error):
    """An argument of pgkeymgr's own API is out of range."""

    sqlstate = "22023"


class PassphraseError(Error):
    """The passphrase is wrong."""

    sqlstate = "28P01"


class ChallengeError(Error):
    """The connection is not confidential, or a sealed message is stale or was made for another session."""

    sqlstate = "28000"


class FingerprintError(Error):
    """The server's exchange key differs from the key that the client has pinned, or has not signed the offer."""

    sqlstate = "28000"


class PrivilegeError(Error):
    """The current user has no grant on the key."""

    sqlstate = "42501"


class UndefinedError(Error):
    """The key or the role does not exist."""

    sqlstate = "42704"


class UndefinedColumnError(Error):
    """The column does not exist."""

    sqlstate = "42703"


class DuplicateKeyError(Error):
    """An object of this name already exists."""

    sqlstate = "42710"


class KeyStateError(Error):
    """The key is disabled, destroyed, expired, superseded or locked."""

    sqlstate = "55000"


class LimitError(Error):
    """A value or a result is larger than PostgreSQL can hold."""

    sqlstate = "54000"


class UnsupportedError(Error):
    """This machine lacks something that the function needs."""

    sqlstate = "0A000"


class RootKeyError(Error):
    """There is no root key, or the operation needs another root key."""

    sqlstate = "55000"


class GetkeyError(Error):
    """The getkey script was refused, failed, or did not print a root key."""

    sqlstate = "58000"


class AgentError(Error):
    """The agent could not be reached, is locked, or did not answer."""

    sqlstate = "58000"


class ProviderError(Error):
    """A key provider did not return the root key, or could not store it."""

    sqlstate = "58000"


class ProviderTakenError(ProviderError):
    """A key provider already has root keys, and the caller did not ask to replace them."""


class LibraryError(Error, ImportError):
    """A Python library of this session is missing, or has another version than pgkeymgr's own."""

    sqlstate = "58P01"


class CanceledError(Error):
    """The statement was canceled while it waited for a script, a program, the agent or the function of a mask."""

    sqlstate = "57014"


def wrong_length(name: str, value: bytes, *expected: int) -> DataError:
    """Return the error for an argument that has the wrong length.

    Args:
        name: the argument's name.
        value: the argument; the message has only its length.
        expected: the lengths that are right, in bytes.

    Returns:
        The error, which the caller raises.

    Raises:
        TypeError: ``value`` has no length.
    """
    right = " or ".join(str(length) for length in expected)
    return DataError(f"{name} must be {right} bytes long, not {len(value)}")


def not_authentic(name: str) -> DataError:
    """Return the error for a ciphertext or a signature that does not verify.

    Args:
        name: the argument's name.

    Returns:
        The error, which the caller raises. Its message names no reason, since none is known.
    """
    return DataError(
        f"{name} is not authentic: it was altered or truncated, or the key, nonce or additional data is wrong"
    )
