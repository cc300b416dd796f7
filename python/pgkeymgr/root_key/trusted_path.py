"""Files and directories that nobody but root and one user could have made or exchanged.

A file is opened once. Its descriptor is checked, and the caller reads, runs or loads what that descriptor leads
to, so that another file that takes the name meanwhile is never used. A path is followed by hand, each directory
opened from the one before it, because the kernel alone would not say which directories and symbolic links it went
through.

The user is the process's own, unless the caller names another. Every function refuses:

==============================  ================================================================================
what it refuses                 because
==============================  ================================================================================
a directory of another user,    that user can put another file, or another directory, in the place of what is in
  up to the root                it
a directory that its group or   so can each of them. In a sticky directory, such as /tmp, they can exchange only
  others can write, unless it   what belongs to them, and the rest of this table refuses that
  is sticky, up to the root
a symbolic link of another      in a sticky directory, that user can have it lead elsewhere. The directories in
  user                          which links lie are checked like all others
==============================  ================================================================================

And each one refuses, of what is at the end of the path:

==================  ==========================  ================================================================
function            is for                      what it refuses, and why
==================  ==========================  ================================================================
``open_to_run``     getkey scripts              what is not a regular file, belongs to another user, or can be
                                                written by its group or others: they would decide what is run
``open_to_read``    agent.toml, libraries,      the same: they would decide what is done
                    certificates
``open_private``    root keys, PINs, TLS keys   the same, and a file that its group or others can read or run:
                                                it is a secret
``open_directory``  the agent's socket and      what is refused of every directory. ``any_owner`` trusts the
                    lock                        owner of the last one, for a client, which sees the user of
                                                the agent at the other end
==================  ==========================  ================================================================
"""

import errno
import os
import stat
from collections.abc import Callable

from ..errors import Error

Refuse = Callable[[str, str], Error]
"""Makes an error from a phrase that says what is wrong with the file, and a hint."""

_LINKS_MAX = 40
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
# A pipe would be waited for.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_PRIVATE = stat.S_IRWXG | stat.S_IRWXO

_Step = tuple[str, os.stat_result]


def open_to_run(path: str, refuse: Refuse, reader: str) -> int:
    """Open a script or program that is to be run through ``descriptor_path``.

    Args:
        path: the file's.
        refuse: makes the error.
        reader: who runs it, for the hints: "the server".

    Returns:
        A descriptor, which is good for nothing but that. The caller closes it.

    Raises:
        Error: what ``refuse`` made; see the table above.
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
        path: the file's.
        refuse: makes the error.
        reader: who reads it, for the hints.
        user: the user id that is trusted beside root; None for this process's own.

    Returns:
        A descriptor to read from. The caller closes it.
    """
    return _open_file(path, refuse, reader, _READ, _PRIVATE, user)


def open_directory(
    path: str, refuse: Refuse, reader: str, user: int | None = None, any_owner: bool = False
) -> int:
    """Open a directory, to make files in it or to learn whose it is; see ``open_to_run``.

    Args:
        path: the directory's.
        refuse: makes the error, which is about what lies in the directory.
        reader: who uses it, for the hints.
        user: the user id that is trusted beside root; None for this process's own.
        any_owner: trust the directory's owner, too.

    Returns:
        A descriptor. The caller closes it.

    Raises:
        Error: what ``refuse`` made; see the table above.
        OSError: it is not there, is not a directory, or cannot be searched.
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
    """Return a path under which this process can run, load or open what a descriptor leads to.

    Args:
        descriptor: of an open file.
        refuse: makes the error.

    Returns:
        The path, which is good as long as the descriptor is open.

    Raises:
        Error: what ``refuse`` made: the kernel's directory with such paths is not there.
    """
    path = f"/proc/self/fd/{descriptor}"
    if not os.path.exists(path):
        raise refuse(
            "cannot be used, because /proc is not mounted",
            "Mount /proc. Without it, another file could take the place of the one that was checked.",
        )
    return path


def describe_user(user: int) -> str:
    """Return a user's number, and the name if there is one, for a message."""
    import pwd  # for messages only

    try:
        return f"user id {user} ({pwd.getpwuid(user).pw_name})"
    except KeyError:
        return f"user id {user}"


def _describe_group(group: int) -> str:
    import grp  # for messages only

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
            # Before it is opened: a link of somebody else's could lead to a device for which that is a command.
            _check_steps(steps, trusted, refuse, reader)
            descriptor = os.open(name, flags, dir_fd=directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise refuse(
            f"cannot be read: {os.strerror(error.errno or 0)}",
            f"It must exist, and the user that {reader} runs as must be able to read it.",
        ) from None
    try:
        _check_file(path, os.fstat(descriptor), forbidden, trusted, refuse, reader)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _follow(path: str, enter: bool = False) -> tuple[int, str, list[_Step]]:
    """Go to where a path leads, as the kernel would.

    Args:
        path: to follow.
        enter: the path is a directory's, to be entered like those before it.

    Returns:
        A descriptor of the directory in which the path ends; the name of the file in there, which is no symbolic
        link; each directory and symbolic link that it went through, with its status.

    Raises:
        OSError: there is nothing, or it cannot be reached.
    """
    if not os.path.isabs(path):
        # Only then: the working directory need not be one that this user could name.
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
            # Otherwise it is one name of the path.
            error.filename = path
        raise
    return directory, ".", steps


def _names(path: str) -> list[str]:
    """Return the names that a path consists of, the last one first."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]


def _look(name: str, directory: int, is_last: bool) -> int:
    if not is_last:
        try:
            # This way, a file system that is mounted when it is needed is mounted.
            return os.open(name, _LOOK | os.O_DIRECTORY, dir_fd=directory)
        except NotADirectoryError:
            pass  # It is a symbolic link, or wrong.
    return os.open(name, _LOOK, dir_fd=directory)


def _check_file(
    path: str, status: os.stat_result, forbidden: int, trusted: set[int], refuse: Refuse, reader: str
) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise refuse("is not a regular file", "Put a file there.")
    if status.st_uid not in trusted:
        raise refuse(
            f"belongs to {describe_user(status.st_uid)}",
            f"Make it belong to root or to the user that {reader} runs as.",
        )
    if status.st_mode & forbidden:
        if forbidden == _PRIVATE:
            raise refuse("can be read, written or run by its group or by others", f"chmod go= {path}")
        raise refuse("can be written by its group or by others", f"chmod go-w {path}")


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
