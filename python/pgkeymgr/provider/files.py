"""Reads and writes the files of providers. Only the owner can ever read a file, and no file is overwritten."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import ProviderError, ProviderTakenError
from ..root_key import trusted_path
from ..root_key.getkey import OUTPUT_BYTES_MAX

FILE_BYTES_MAX = 4 * OUTPUT_BYTES_MAX
_MODE = 0o600
_READER = "this program"


def _write_error(path: str, error: OSError) -> ProviderError:
    return ProviderError(f'could not write file "{path}": {os.strerror(error.errno or 0)}')


def error_maker(noun: str, path: str) -> trusted_path.Refuse:
    """Return the function that makes the errors about a file, for ``trusted_path``.

    Args:
        noun: the noun for the file in the message, "file" or "library".
        path: the path of the file.
    """
    return lambda reason, hint: ProviderError(f'the {noun} "{path}" {reason}', hint=hint)


def read_private(path: str) -> bytes:
    """Return the content of a file that only its owner can read and that no other user could exchange.

    Args:
        path: the path of the file. For a symbolic link, the checks are those of its target; see ``trusted_path``.

    Returns:
        The content, at most FILE_BYTES_MAX bytes.

    Raises:
        ProviderError: the file could not be read, is too long, or is refused.
    """
    with os.fdopen(trusted_path.open_private(path, error_maker("file", path), _READER), "rb") as file:
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise ProviderError(f'file "{path}" must be at most {FILE_BYTES_MAX} bytes long')
    return content


@contextmanager
def open_checked(path: str, is_private: bool = False) -> Iterator[str]:
    """Open and check a file for a library that accepts only paths.

    Args:
        path: the path of the file.
        is_private: whether to refuse a file that others than its owner can read.

    Yields:
        A path that leads to the checked file, even if another file takes its name.

    Raises:
        ProviderError: the file could not be read, or is refused; see ``trusted_path``.
    """
    refuse = error_maker("file", path)
    open_file = trusted_path.open_private if is_private else trusted_path.open_to_read
    descriptor = open_file(path, refuse, _READER)
    try:
        yield trusted_path.descriptor_path(descriptor, refuse)
    finally:
        os.close(descriptor)


def read_line(path: str) -> bytes:
    """Return the PIN or token in a private file, without white space around it; see ``read_private``.

    Raises:
        ProviderError: the file is refused, or is empty.
    """
    line = read_private(path).strip()
    if not line:
        raise ProviderError(f'file "{path}" is empty')
    return line


def open_library(path: str) -> int:
    """Open a library that only root and this process's own user could have made or exchanged.

    Args:
        path: the path of the library.

    Returns:
        A descriptor. The caller closes it.

    Raises:
        ProviderError: the library could not be read, or is refused; see ``trusted_path``.
    """
    return trusted_path.open_to_read(path, error_maker("library", path), _READER)


def check_absent(path: str) -> None:
    """Refuse a path at which a file exists.

    Args:
        path: the path.

    Raises:
        ProviderTakenError: a file exists there.
    """
    if os.path.lexists(path):
        raise ProviderTakenError(
            f'file "{path}" already exists',
            hint="It may be the only copy of a root key. Move the file away, or ask to replace it.",
        )


def write_private(path: str, content: bytes, verify: Callable[[bytes], None], replace: bool) -> None:
    """Write a file that only its owner can read. The file is written completely or not at all.

    Args:
        path: the path of the file.
        content: the content of the file.
        verify: checks the content that was read back, and raises an error if it is wrong. Then nothing has
            changed.
        replace: whether to replace a present file, which is kept as FILE.old, or as FILE.old.2 and so on.

    Raises:
        ProviderTakenError: a file exists, and ``replace`` is false.
        ProviderError: the file could not be written.
    """
    if not replace:
        check_absent(path)
    # The name is random, so that two concurrent writers do not use the same temporary file.
    new = f"{path}.{secrets.token_hex(4)}.new"
    try:
        descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
    except OSError as error:
        raise _write_error(path, error) from None
    try:
        with os.fdopen(descriptor, "w+b") as file:
            # The umask may have removed the owner's own rights.
            os.fchmod(descriptor, _MODE)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
            file.seek(0)
            verify(file.read())
            if replace and os.path.exists(path):
                _keep_old(path)
                _keep_owner(path, descriptor)
                os.rename(new, path)
            else:
                # Unlike a rename, a link fails if another process has created the file in the meantime.
                os.link(new, path)
    except FileExistsError:
        check_absent(path)
        raise ProviderError(f'another process has written file "{path}"') from None
    except OSError as error:
        raise _write_error(path, error) from None
    finally:
        if os.path.lexists(new):
            os.unlink(new)
    _sync_directory(path)


def _keep_old(path: str) -> None:
    number = 1
    while True:
        old = f"{path}.old" if number == 1 else f"{path}.old.{number}"
        try:
            os.link(path, old)
            return
        except FileExistsError:
            number += 1


def _keep_owner(path: str, descriptor: int) -> None:
    # If root replaces a file of the agent's user, that user must be able to read the new file.
    status = os.stat(path)
    if os.geteuid() == 0 and status.st_uid != 0:
        os.fchown(descriptor, status.st_uid, status.st_gid)


def _sync_directory(path: str) -> None:
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
