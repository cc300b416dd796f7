"""Where a subcommand gets secrets from: files, or the terminal. Never its arguments, which every user can read."""

import getpass
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

from ..errors import DataError, ParameterError, UnsupportedError
from ..sealed.message import SEALED_BYTES_MAX
from ..sealed.typed import secret_bytes


def read_secret(path: Path, exact: bool) -> bytes:
    """Read a secret from a file.

    Args:
        path: of the file.
        exact: take it byte for byte. Otherwise it is text, as an editor writes it: a newline at its end is not of
            the secret, and the rest is as if it were typed.

    Returns:
        The secret.

    Raises:
        ParameterError: the file cannot be read.
        DataError: it is not UTF-8, and not to be taken byte for byte.
    """
    try:
        with path.open("rb") as file:
            # More is not sealed anyway, and some files do not end.
            content = file.read(SEALED_BYTES_MAX + 1)
    except OSError as error:
        raise ParameterError(f"cannot read {path}: {os.strerror(error.errno or 0)}") from None
    if exact:
        return content
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = None  # and raised below: this exception has the secret in it
    if text is None:
        raise DataError(
            f"{path} is not UTF-8 text", hint="With --exact, it is taken byte for byte, its last newline too."
        )
    return secret_bytes(re.sub(r"\r?\n\Z", "", text))


def ask_secrets(labels: Sequence[str], confirm: bool) -> list[bytes]:
    """Ask for secrets on the terminal, without echo.

    Args:
        labels: what to ask for, one secret each.
        confirm: ask for each a second time.

    Returns:
        The secrets.

    Raises:
        UnsupportedError: there is no terminal.
        DataError: what was typed is not text, or not the same the second time.
    """
    secrets = []
    for label in labels:
        secret = _ask(f"{label}: ")
        if confirm and _ask(f"{label}, again: ") != secret:
            raise DataError(f"{label}: the two are not the same")
        secrets.append(secret)
    return secrets


def _ask(prompt: str) -> bytes:
    try:
        # It is the terminal that is asked, whatever stdin is: psql runs this with its own script there.
        Path("/dev/tty").open("rb+", buffering=0).close()
        with warnings.catch_warnings():
            # Where it cannot turn the echo off, getpass warns and goes on.
            warnings.simplefilter("error", getpass.GetPassWarning)
            return secret_bytes(getpass.getpass(prompt))
    except (OSError, getpass.GetPassWarning):
        raise UnsupportedError(
            "there is no terminal to ask for the secret on", hint="Give it in a file: --secret-file."
        ) from None
    except UnicodeDecodeError:
        pass  # raised below: this exception has the secret in it
    raise DataError("what was typed is not text in the encoding of this terminal")
