"""Whether a file can be trusted: nobody but root and the own user may have written it."""

import os
import stat
from collections.abc import Callable

from .errors import Error


def check_file(path: str, refuse: Callable[[str, str], Error], reader: str) -> None:
    """Refuse a file that someone else than root or the own user could have written.

    Args:
        path: the file's.
        refuse: makes the error from what is wrong with it, and a hint.
        reader: who reads it, for the hints: "the server".

    Raises:
        Error: what ``refuse`` made: it is not a file, its owner or mode is wrong, or its directory lets anyone
            replace it.
    """
    try:
        status = os.stat(path)
        directory = os.path.dirname(os.path.realpath(path))
        directory_mode = os.stat(directory).st_mode
    except OSError as error:
        raise refuse(f"cannot be read: {error.strerror}", f"Let {reader}'s user read it.") from None
    if not stat.S_ISREG(status.st_mode):
        raise refuse("is not a regular file", "Put a file there.")
    if status.st_uid not in (0, os.geteuid()):
        raise refuse(
            f"belongs to user id {status.st_uid}", f"Make it belong to root or to the user that {reader} runs as."
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise refuse("can be written by its group or by others", f"chmod go-w {path}")
    if directory_mode & stat.S_IWOTH and not directory_mode & stat.S_ISVTX:
        raise refuse("lies in a directory that others can write", f"chmod o-w {directory}")
