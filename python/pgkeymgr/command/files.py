"""Creates files: completely or not at all. Files with secrets in them never replace another file."""

import errno
import os
import pwd
import secrets
import stat
from pathlib import Path

from ..errors import ParameterError


def create(path: Path, content: bytes, mode: int, owner: int | None = None) -> None:
    """Create a file. It appears with all its content, its mode and its owner, or not at all.

    Args:
        path: the path of the file, which must not exist.
        content: the content of the file.
        mode: the permissions of the file.
        owner: the user id of the owner; None for the current user.

    Raises:
        FileExistsError: the path exists.
        OSError: the file cannot be created.
    """
    directory = path.parent
    try:
        # The file has no name until it is complete, so it vanishes if this process ends before.
        descriptor = os.open(directory, os.O_TMPFILE | os.O_WRONLY, 0o600)
        unfinished = None
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):
            raise
        # This file system does not support O_TMPFILE.
        unfinished = directory / f".{path.name}.{secrets.token_hex(8)}"
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if owner is not None and owner != os.geteuid():
                os.fchown(descriptor, owner, pwd.getpwuid(owner).pw_gid)
            os.fchmod(descriptor, mode)
            file.flush()
            os.fsync(descriptor)
            # A link fails if the path exists, while a rename would replace that file. Python follows the link in
            # /proc/self/fd only if it is given the descriptor of a directory.
            anchor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.link(unfinished or f"/proc/self/fd/{descriptor}", path, src_dir_fd=anchor)
                os.fsync(anchor)
            finally:
                os.close(anchor)
    finally:
        if unfinished is not None:
            unfinished.unlink()


def replace(path: Path, content: bytes, mode: int) -> None:
    """Create a file, or replace it. At every moment, the path leads to all of the old or all of the new content.

    Args:
        path: the path of the file. If it exists, it must be a regular file.
        content: the content of the file.
        mode: the permissions of the file.

    Raises:
        ParameterError: the path is something else than a regular file. A link, a pipe or a device would be lost.
        OSError: the file cannot be written.
    """
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        raise ParameterError(
            f'"{path}" is not a regular file', hint="Name a file, or leave out the option to write to stdout."
        )
    unfinished = path.parent / f".{path.name}.{secrets.token_hex(8)}"
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        # The user knows the name of the file, and not that of the unfinished one.
        error.filename = str(path)
        raise
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(descriptor, mode)
            file.flush()
            os.fsync(descriptor)
        os.rename(unfinished, path)
    except BaseException:
        unfinished.unlink()
        raise


def user_id(name: str) -> int:
    """Return the number of a user.

    Args:
        name: the name of the user.

    Returns:
        The user id.

    Raises:
        ParameterError: the user does not exist.
    """
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ParameterError(f'user "{name}" does not exist on this machine') from None


def data_directory_above(path: Path) -> Path | None:
    """Return the data directory of PostgreSQL that a path is in, since base backups include all files in it.

    Args:
        path: the path of a file, which need not exist.

    Returns:
        The data directory, or None if the path is in none.
    """
    # Path.resolve() raises a RuntimeError for a loop of links.
    parent = Path(os.path.realpath(path.parent))
    return next((each for each in (parent, *parent.parents) if (each / "PG_VERSION").exists()), None)
