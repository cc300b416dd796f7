"""Files with secrets in them: made whole or not at all, and never over others."""

import errno
import os
import pwd
import secrets
from pathlib import Path

from ..errors import ParameterError


def create(path: Path, content: bytes, mode: int, owner: int | None = None) -> None:
    """Make a file, which is there with all its content, its mode and its owner, or is not there.

    Args:
        path: where; nothing may be there yet.
        content: what is in it.
        mode: its permissions.
        owner: the user id that it is to belong to; None for whoever runs this.

    Raises:
        FileExistsError: something is there.
        OSError: it cannot be made.
    """
    directory = path.parent
    try:
        # Without a name until it is complete: it is gone with this process.
        descriptor = os.open(directory, os.O_TMPFILE | os.O_WRONLY, 0o600)
        unfinished = None
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):
            raise
        # This file system has no such files.
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
            # A link fails where a rename would write over what is there. With a directory's descriptor Python
            # follows the link that /proc/self/fd has.
            anchor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.link(unfinished or f"/proc/self/fd/{descriptor}", path, src_dir_fd=anchor)
                os.fsync(anchor)
            finally:
                os.close(anchor)
    finally:
        if unfinished is not None:
            unfinished.unlink()


def user_id(name: str) -> int:
    """Return the number of a user.

    Args:
        name: the user's.

    Returns:
        The user id.

    Raises:
        ParameterError: there is no such user.
    """
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ParameterError(f'there is no user "{name}" on this machine') from None


def data_directory_above(path: Path) -> Path | None:
    """Tell whether a path is in a data directory of PostgreSQL, where base backups would have it.

    Args:
        path: of a file, which need not exist.

    Returns:
        The data directory, or None.
    """
    parent = path.parent.resolve()
    return next((each for each in (parent, *parent.parents) if (each / "PG_VERSION").exists()), None)
