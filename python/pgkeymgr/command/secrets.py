"""Reads secrets from files or from the terminal.

No secret is read from the arguments of the command, because every user of the machine can see those.
"""

import getpass
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

from ..errors import DataError, ParameterError, UnsupportedError
from ..sealed.message import SEALED_BYTES_MAX
from ..sealed.typed import secret_bytes


def read_secret(path: Path, exact: bool, hint: str) -> bytes:
    """Read a secret from a file.

    Args:
        path: the path of the file.
        exact: whether the secret is the exact bytes of the file. Otherwise it is text: a final newline is removed,
            and the rest is treated like a typed secret.
        hint: the remedy if the file is not UTF-8.

    Returns:
        The secret.

    Raises:
        ParameterError: the file cannot be read.
        DataError: the file is not UTF-8, and ``exact`` is false.
    """
    try:
        with path.open("rb") as file:
            # A longer secret cannot be sealed, and some files, such as devices, do not end.
            content = file.read(SEALED_BYTES_MAX + 1)
    except OSError as error:
        raise ParameterError(f"could not read {path}: {os.strerror(error.errno or 0)}") from None
    if exact:
        return content
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = None  # Raised below, outside this handler: this exception has the secret in it.
    if text is None:
        raise DataError(f"{path} is not UTF-8 text", hint=hint)
    return secret_bytes(re.sub(r"\r?\n\Z", "", text))


def ask_secrets(labels: Sequence[str], confirm: bool, hint: str = "Run the command on a terminal.") -> list[bytes]:
    """Ask for secrets on the terminal, without echo.

    Args:
        labels: a prompt for each secret.
        confirm: whether to ask for each secret twice.
        hint: the remedy if there is no terminal.

    Returns:
        The secrets.

    Raises:
        UnsupportedError: there is no terminal.
        DataError: the input is not text, or differs the second time.
    """
    secrets = []
    for label in labels:
        secret = _ask(f"{label}: ", hint)
        if confirm and _ask(f"{label}, again: ", hint) != secret:
            raise DataError(f"{label}: the two inputs differ")
        secrets.append(secret)
    return secrets


def _ask(prompt: str, hint: str) -> bytes:
    try:
        # The terminal is opened by its name, because psql runs this command with its own script as stdin.
        Path("/dev/tty").open("rb+", buffering=0).close()
        with warnings.catch_warnings():
            # getpass only warns if it cannot turn off the echo.
            warnings.simplefilter("error", getpass.GetPassWarning)
            return secret_bytes(getpass.getpass(prompt))
    except (OSError, getpass.GetPassWarning):
        raise UnsupportedError("could not ask for the secret: there is no terminal", hint=hint) from None
    except UnicodeDecodeError:
        pass  # Raised below, outside this handler: this exception has the secret in it.
    raise DataError("the input is not text in the encoding of this terminal")
