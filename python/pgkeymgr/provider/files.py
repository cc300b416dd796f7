"""The files of providers: nobody but their owner can read them, at any moment, and none is written over."""

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


def _failed(path: str, error: OSError, what: str) -> ProviderError:
    return ProviderError(f'the file "{path}" cannot be {what}: {os.strerror(error.errno or 0)}')


def refuser(called: str, path: str) -> trusted_path.Refuse:
    """Return what makes the error about a file, for ``trusted_path``.

    Args:
        called: what the file is: "file", "library".
        path: the file's.
    """
    return lambda reason, hint: ProviderError(f'the {called} "{path}" {reason}', hint=hint)


def read_private(path: str) -> bytes:
    """Read a file that nobody but its owner can read, and that nobody else could exchange; see ``trusted_path``.

    Args:
        path: the file's; a link is judged by what it leads to.

    Returns:
        Its content, at most FILE_BYTES_MAX bytes.

    Raises:
        ProviderError: it cannot be read, is too long, or is refused.
    """
    with os.fdopen(trusted_path.open_private(path, refuser("file", path), _READER), "rb") as file:
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise ProviderError(f'the file "{path}" has more than {FILE_BYTES_MAX} bytes')
    return content


@contextmanager
def opened(path: str, is_private: bool = False) -> Iterator[str]:
    """Open a file for a library that takes no descriptor, but a path.

    Args:
        path: the file's.
        is_private: nobody but its owner may be able to read it.

    Yields:
        A path that leads to the file that was checked, whatever the other one leads to meanwhile.

    Raises:
        ProviderError: it cannot be read, or is refused; see ``trusted_path``.
    """
    refuse = refuser("file", path)
    open_file = trusted_path.open_private if is_private else trusted_path.open_to_read
    descriptor = open_file(path, refuse, _READER)
    try:
        yield trusted_path.descriptor_path(descriptor, refuse)
    finally:
        os.close(descriptor)


def read_line(path: str) -> bytes:
    """Read a PIN or the like from a private file, without white space around it; see ``read_private``.

    Raises:
        ProviderError: the file is refused, or there is nothing in it.
    """
    line = read_private(path).strip()
    if not line:
        raise ProviderError(f'the file "{path}" is empty')
    return line


def open_library(path: str) -> int:
    """Open a library that nobody but root and this process's own user could have made or exchanged.

    Args:
        path: the library's.

    Returns:
        A descriptor.

    Raises:
        ProviderError: it cannot be read, or is refused; see ``trusted_path``.
    """
    return trusted_path.open_to_read(path, refuser("library", path), _READER)


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
        descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
    except OSError as error:
        raise _failed(path, error, "written") from None
    try:
        with os.fdopen(descriptor, "w+b") as file:
            # The umask may have taken away the owner's own rights.
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
