"""The files of providers: nobody but their owner can read them, at any moment, and none is written over."""

import os
import secrets
import stat
from collections.abc import Callable

from ..errors import ProviderError, ProviderTakenError
from ..getkey import OUTPUT_BYTES_MAX

FILE_BYTES_MAX = 4 * OUTPUT_BYTES_MAX
_MODE = 0o600
_PRIVATE = stat.S_IRWXG | stat.S_IRWXO


def _failed(path: str, error: OSError, what: str) -> ProviderError:
    return ProviderError(f'the file "{path}" cannot be {what}: {os.strerror(error.errno or 0)}')


def read_private(path: str) -> bytes:
    """Read a file that nobody but its owner can read.

    Args:
        path: the file's; a link is judged by what it leads to.

    Returns:
        Its content, at most FILE_BYTES_MAX bytes.

    Raises:
        ProviderError: it cannot be read, is too long, or others can read or write it.
    """
    try:
        # A pipe would be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _failed(path, error, "read") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ProviderError(f'"{path}" is not a regular file')
        if status.st_uid not in (0, os.geteuid()):
            raise ProviderError(
                f'the file "{path}" belongs to user id {status.st_uid}',
                hint="Make it belong to root or to the user that runs this.",
            )
        if status.st_mode & _PRIVATE:
            raise ProviderError(
                f'the file "{path}" can be read, written or run by its group or by others',
                hint=f"chmod go= {path}",
            )
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(FILE_BYTES_MAX + 1)
    finally:
        os.close(descriptor)
    if len(content) > FILE_BYTES_MAX:
        raise ProviderError(f'the file "{path}" has more than {FILE_BYTES_MAX} bytes')
    return content


def read_line(path: str) -> bytes:
    """Read a PIN or the like from a private file, without white space around it; see ``read_private``.

    Raises:
        ProviderError: the file is refused, or there is nothing in it.
    """
    line = read_private(path).strip()
    if not line:
        raise ProviderError(f'the file "{path}" is empty')
    return line


def check_library(path: str) -> None:
    """Refuse a library that someone else than root or this process's own user could have written.

    Args:
        path: the library's.

    Raises:
        ProviderError: it is not a file, or its owner or mode is wrong.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise _failed(path, error, "read") from None
    if not stat.S_ISREG(status.st_mode):
        raise ProviderError(f'"{path}" is not a regular file')
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ProviderError(
            f'the library "{path}" can be written by others than root and the user that runs this',
            hint=f"chown root {path}; chmod go-w {path}",
        )


def check_absent(path: str) -> None:
    """Refuse to go on where there is a file already.

    Args:
        path: the file's.

    Raises:
        ProviderTakenError: there is one.
    """
    if os.path.lexists(path):
        raise ProviderTakenError(
            f'the file "{path}" is there already',
            hint="What it holds may be the only copy of a root key. Move it away, or ask to replace it.",
        )


def write_private(path: str, content: bytes, verify: Callable[[bytes], None], replace: bool) -> None:
    """Write a file that nobody but its owner can read, whole or not at all.

    Args:
        path: the file's.
        content: what to write.
        verify: is given what was read back, and raises an error if it is not good: then it is as if never written.
        replace: a file that is there is kept as FILE.old, or as FILE.old.2 and so on: none is written over.

    Raises:
        ProviderError: it cannot be written, or there is one already and it is not to be replaced.
    """
    if not replace:
        check_absent(path)
    # A name of its own, so that two of these do not get at each other's.
    new = f"{path}.{secrets.token_hex(4)}.new"
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
    except OSError as error:
        raise _failed(path, error, "written") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            # The umask may have taken away the owner's own rights.
            os.fchmod(descriptor, _MODE)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
            verify(read_private(new))
            if replace and os.path.exists(path):
                _keep_old(path)
                _keep_owner(path, descriptor)
                os.rename(new, path)
            else:
                # A link fails where a rename would write over a file that has come meanwhile.
                os.link(new, path)
    except FileExistsError:
        check_absent(path)
        raise ProviderError(f'the file "{path}" was written by somebody else meanwhile') from None
    except OSError as error:
        raise _failed(path, error, "written") from None
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
    # Root may have been asked to renew a file of the user that the agent runs as.
    status = os.stat(path)
    if os.geteuid() == 0 and status.st_uid != 0:
        os.fchown(descriptor, status.st_uid, status.st_gid)


def _sync_directory(path: str) -> None:
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
