"""Opens files and directories that only root and one user could have made or exchanged.

A file is opened once, and its descriptor is checked. The caller reads, runs or loads the file behind that
descriptor, so another file that takes the same name in between is never used. This module follows a path step by
step and opens each directory from the one before it, because the kernel does not report the directories and
symbolic links on the way.

The trusted user is the process's own, unless the caller names another. Every function refuses:

==============================  ================================================================================
refused                         reason
==============================  ================================================================================
a directory of another user     The user could put another file or directory in the place of an entry. This
                                holds for every directory up to the root.
a directory that its group or   Each of them could do the same. In a sticky directory, such as /tmp, they can
others can write, unless it     exchange only their own entries, and the other rows refuse those.
is sticky
a symbolic link of another      In a sticky directory, the user could let the link lead elsewhere. The
user                            directories that contain links are checked like all others.
==============================  ================================================================================

Each function also refuses some files and directories at the end of the path:

==================  ==========================  ================================================================
function            purpose                     refused, and the reason
==================  ==========================  ================================================================
``open_to_run``     getkey scripts              a file that is not regular, that belongs to another user, or
                                                that its group or others can write. They would decide what is
                                                run.
``open_to_read``    agent.toml, libraries,      the same files, for the same reason
                    certificates
``open_private``    root keys, PINs, TLS keys   the same files, and a file that its group or others can read
                                                or run, since its content is secret
``open_directory``  the agent's socket and      the directories of the table above. With ``any_owner``, the
                    lock                        owner of the last directory is trusted. This is for a client,
                                                which checks the user of the agent at the other end.
==================  ==========================  ================================================================

Sources: open(2) on O_PATH and O_NOFOLLOW, path_resolution(7)
"""

import errno
import os
import stat
from collections.abc import Callable

from ..errors import Error

Refuse = Callable[[str, str], Error]
"""Makes an error from a phrase about the file, and a hint."""

_LINKS_MAX = 40
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO would block.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_PRIVATE = stat.S_IRWXG | stat.S_IRWXO

_Step = tuple[str, os.stat_result]


def open_to_run(path: str, refuse: Refuse, reader: str) -> int:
    """Open a script or a program, to run it through ``descriptor_path``.

    Args:
        path: the path of the file.
        refuse: makes the error.
        reader: the name of the program that runs the file, for the hints, such as "the server".

    Returns:
        A descriptor that cannot be read and only serves to run the file. The caller closes it.

    Raises:
        Error: a result of ``refuse``; see the tables above.
    """
    return _open_file(path, refuse, reader, _LOOK, _OTHERS_WRITE, None)


def open_to_read(path: str, refuse: Refuse, reader: str) -> int:
    """Open a file that anyone may read; see ``open_to_run``.

    Returns:
        A descriptor to read from. The caller closes it.
    """
    return _open_file(path, refuse, reader, _READ, _OTHERS_WRITE, None)


def open_private(path: str, refuse: Refuse, reader: str, user: int | None = None) -> int:
    """Open a file with a secret in it; see ``open_to_run``.

    Args:
        path: the path of the file.
        refuse: makes the error.
        reader: the name of the program that reads the file, for the hints.
        user: the user id that is trusted beside root; None for this process's own user.

    Returns:
        A descriptor to read from. The caller closes it.
    """
    return _open_file(path, refuse, reader, _READ, _PRIVATE, user)


def open_directory(
    path: str, refuse: Refuse, reader: str, user: int | None = None, any_owner: bool = False
) -> int:
    """Open a directory, to make files in it or to get its owner; see ``open_to_run``.

    Args:
        path: the path of the directory.
        refuse: makes the error, which is about a file in the directory.
        reader: the name of the program that uses the directory, for the hints.
        user: the user id that is trusted beside root; None for this process's own user.
        any_owner: also trust the owner of the directory.

    Returns:
        A descriptor. The caller closes it.

    Raises:
        Error: a result of ``refuse``; see the tables above.
        OSError: the path does not exist, is not a directory, or cannot be searched.
    """
    directory, _, steps = _follow(path, enter=True)
    try:
        trusted = _trusted(user)
        if any_owner:
            trusted |= {os.fstat(directory).st_uid}
        _check_steps(steps, trusted, refuse, reader)
    except BaseException:
        os.close(directory)
        raise
    return directory


def descriptor_path(descriptor: int, refuse: Refuse) -> str:
    """Return a path under which this process can run, load or open the file of a descriptor.

    Args:
        descriptor: a descriptor of an open file.
        refuse: makes the error.

    Returns:
        The path, which is valid as long as the descriptor is open.

    Raises:
        Error: a result of ``refuse``, because /proc is not mounted.
    """
    path = f"/proc/self/fd/{descriptor}"
    if not os.path.exists(path):
        raise refuse(
            "cannot be used, because /proc is not mounted",
            "Mount /proc. Without it, another file could take the place of the one that was checked.",
        )
    return path


def describe_user(user: int) -> str:
    """Return a user's number and, if there is a name, the name, for a message."""
    import pwd  # Only messages need this module.

    try:
        return f"user id {user} ({pwd.getpwuid(user).pw_name})"
    except KeyError:
        return f"user id {user}"


def _describe_group(group: int) -> str:
    import grp  # Only messages need this module.

    try:
        return f"the group {grp.getgrgid(group).gr_name}"
    except KeyError:
        return f"group id {group}"


def _trusted(user: int | None) -> set[int]:
    return {0, os.geteuid() if user is None else user}


def _open_file(path: str, refuse: Refuse, reader: str, flags: int, forbidden: int, user: int | None) -> int:
    trusted = _trusted(user)
    try:
        directory, name, steps = _follow(path)
        try:
            # The check comes before the file is opened: another user's link could lead to a device that acts on
            # it.
            _check_steps(steps, trusted, refuse, reader)
            descriptor = os.open(name, flags, dir_fd=directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise refuse(
            f"could not be read: {os.strerror(error.errno or 0)}",
            f"It must exist, and the user that {reader} runs as must be able to read it.",
        ) from None
    try:
        _check_file(path, os.fstat(descriptor), forbidden, trusted, refuse, reader)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _follow(path: str, enter: bool = False) -> tuple[int, str, list[_Step]]:
    """Follow a path as the kernel would.

    Args:
        path: the path.
        enter: whether the path leads to a directory, which is entered like the directories before it.

    Returns:
        A descriptor of the directory in which the path ends; the name of the file in that directory, which is no
        symbolic link; and the directories and symbolic links on the way, each with its status.

    Raises:
        OSError: the path does not exist, or cannot be reached.
    """
    if not os.path.isabs(path):
        # An absolute path does not need the working directory, which this user may not be able to name.
        path = os.path.join(os.getcwd(), path)
    names = _names(path)
    place, directory = "/", os.open("/", _LOOK | os.O_DIRECTORY)
    steps = [(place, os.fstat(directory))]
    links = 0
    try:
        while names:
            name = names.pop()
            here = os.path.dirname(place) if name == ".." else os.path.join(place, name)
            is_last = not names and not enter
            new = _look(name, directory, is_last)
            status = os.fstat(new)
            if stat.S_ISLNK(status.st_mode):
                try:
                    target = os.readlink("", dir_fd=new)
                finally:
                    os.close(new)
                links += 1
                if links > _LINKS_MAX:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                steps.append((here, status))
                names += _names(target)
                if not target.startswith("/"):
                    continue
                here, new = "/", os.open("/", _LOOK | os.O_DIRECTORY)
                status = os.fstat(new)
            elif is_last:
                os.close(new)
                return directory, name, steps
            os.close(directory)
            place, directory = here, new
            steps.append((place, status))
        if not stat.S_ISDIR(os.fstat(directory).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    except BaseException as error:
        os.close(directory)
        if isinstance(error, OSError):
            # Without this, the error has a single name of the path.
            error.filename = path
        raise
    return directory, ".", steps


def _names(path: str) -> list[str]:
    """Return the names in a path, the last name first."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]


def _look(name: str, directory: int, is_last: bool) -> int:
    if not is_last:
        try:
            # O_DIRECTORY lets the kernel mount a file system that is mounted on demand.
            return os.open(name, _LOOK | os.O_DIRECTORY, dir_fd=directory)
        except NotADirectoryError:
            pass  # The name is a symbolic link, or the path is wrong.
    return os.open(name, _LOOK, dir_fd=directory)


def _check_file(
    path: str, status: os.stat_result, forbidden: int, trusted: set[int], refuse: Refuse, reader: str
) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise refuse("is not a regular file", "Put a regular file in its place.")
    if status.st_uid not in trusted:
        raise refuse(
            f"belongs to {describe_user(status.st_uid)}",
            f"Its owner must be root or the user that {reader} runs as.",
        )
    if status.st_mode & forbidden:
        if forbidden == _PRIVATE:
            raise refuse("can be read, written or run by its group or by others", f"Run chmod go= {path}.")
        raise refuse("can be written by its group or by others", f"Run chmod go-w {path}.")


def _check_steps(steps: list[_Step], trusted: set[int], refuse: Refuse, reader: str) -> None:
    better = (
        f"a place where only root and the user that {reader} runs as can write, such as a new directory in /etc"
    )
    for place, status in steps:
        is_link = stat.S_ISLNK(status.st_mode)
        where = f'is reached by the symbolic link "{place}"' if is_link else f'lies in the directory "{place}"'
        if status.st_uid not in trusted:
            raise refuse(f"{where}, which belongs to {describe_user(status.st_uid)}", f"Choose {better}.")
        if is_link or status.st_mode & stat.S_ISVTX:
            continue
        if status.st_mode & stat.S_IWOTH:
            raise refuse(f"{where}, which others can write", f"Run chmod o-w {place}, or choose {better}.")
        if status.st_mode & stat.S_IWGRP:
            group = _describe_group(status.st_gid)
            raise refuse(f"{where}, which {group} can write", f"Run chmod g-w {place}, or choose {better}.")
