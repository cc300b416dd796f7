"""Every error of pgkeymgr: its class, its SQLSTATE and what it means.

The messages name what is wrong and where, start in lower case, and never hold a key, a plaintext, a
passphrase or what a getkey script printed.

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

from typing import ClassVar


class Error(Exception):
    """The root of all errors below.

    Args:
        message: what is wrong, with which object.
        hint: what to do about it.
    """

    sqlstate: ClassVar[str] = "XX000"

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class DataError(Error):
    """A value is NULL, has the wrong length, is malformed, or does not open."""

    sqlstate = "22000"


class InvalidValueError(DataError):
    """A value is not valid for its type.

    It stands in the place of an error of PostgreSQL whose message would show the value, and has its SQLSTATE.
    """

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate  # type: ignore[misc]  # one class for the SQLSTATEs of many types


class ParameterError(Error):
    """An argument of pgkeymgr's own API is out of range."""

    sqlstate = "22023"


class PassphraseError(Error):
    """The passphrase is wrong."""

    sqlstate = "28P01"


class ChallengeError(Error):
    """The connection is not confidential, or a sealed message is stale or was sealed for somebody else."""

    sqlstate = "28000"


class FingerprintError(Error):
    """The server's exchange key is not the one that the client has pinned, or has not signed the offer."""

    sqlstate = "28000"


class PrivilegeError(Error):
    """The current user has no grant on the key."""

    sqlstate = "42501"


class UndefinedError(Error):
    """There is no such key, or no such role."""

    sqlstate = "42704"


class UndefinedColumnError(Error):
    """There is no such column."""

    sqlstate = "42703"


class DuplicateKeyError(Error):
    """The name is taken."""

    sqlstate = "42710"


class KeyStateError(Error):
    """The key is disabled, destroyed, expired, superseded or locked."""

    sqlstate = "55000"


class LimitError(Error):
    """A value is, or would become, larger than PostgreSQL can hold."""

    sqlstate = "54000"


class UnsupportedError(Error):
    """This machine lacks something that the function needs."""

    sqlstate = "0A000"


class RootKeyError(Error):
    """There is no root key, or it is not the one that is needed."""

    sqlstate = "55000"


class GetkeyError(Error):
    """The getkey script was refused, or did not give a root key."""

    sqlstate = "58000"


class AgentError(Error):
    """The agent cannot be reached, is locked, or did not answer."""

    sqlstate = "58000"


class ProviderError(Error):
    """A key provider did not give the root key, or could not store it."""

    sqlstate = "58000"


class ProviderTakenError(ProviderError):
    """A key provider has root keys already, and was not asked to replace them."""


class LibraryError(Error, ImportError):
    """A Python library of this session is missing, or is another version than pgkeymgr's own."""

    sqlstate = "58P01"


class CanceledError(Error):
    """The statement was cancelled while it waited for something outside PostgreSQL."""

    sqlstate = "57014"


def wrong_length(name: str, value: bytes, *expected: int) -> DataError:
    """Make the error for an argument that has the wrong length.

    Args:
        name: the argument's name.
        value: what was given; only its length is told.
        expected: the lengths that are right, in bytes.

    Returns:
        The error, to be raised.

    Raises:
        TypeError: ``value`` has no length.
    """
    right = " or ".join(str(length) for length in expected)
    return DataError(f"{name} must be {right} bytes long, not {len(value)}")


def not_authentic(name: str) -> DataError:
    """Make the error for a ciphertext or a signature that does not verify.

    Args:
        name: the argument's name.

    Returns:
        The error, to be raised. Why it does not verify is not known, and is not told.
    """
    return DataError(
        f"{name} is not authentic: it was altered or truncated, or this is not the key, nonce or "
        "additional data that it was made with"
    )
