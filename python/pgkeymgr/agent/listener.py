"""The agent's own socket: claims its path for one agent, and listens on it.

The lock on the file beside the socket decides which agent may use the path. A socket cannot decide this: its file
stays when an agent ends, so that sessions report the missing agent, and do not look for a getkey script.

Sources: unix(7), flock(2)
"""

import contextlib
import errno
import fcntl
import os
import socket
import stat

from ..errors import AgentError
from ..root_key import trusted_path

BACKLOG = 4096
"""The number of connections that can wait to be accepted."""


def claim(path: str) -> int:
    """Lock the path of the socket, so that no other agent uses it.

    Args:
        path: the path of the socket.

    Returns:
        The descriptor of the lock file. The process holds the lock until it closes the descriptor or ends. The
        kernel releases the lock in every case.

    Raises:
        AgentError: the path is not absolute, others can write a directory on it, another agent holds the lock, or
            the lock file belongs to another user.
    """
    directory_path = os.path.dirname(path)
    lock = f"{path}.lock"
    try:
        if not os.path.isabs(path):
            raise AgentError(f'the socket "{path}" is not an absolute path', hint="Specify an absolute path.")
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory_path, 0o755)
        directory = trusted_path.open_directory(
            directory_path,
            lambda reason, hint: AgentError(f'the socket "{path}" {reason}', hint=hint),
            "the agent",
        )
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(os.path.basename(lock), flags, 0o600, dir_fd=directory)
        finally:
            os.close(directory)
    except OSError as error:
        _refuse_foreign(lock, "lock file")
        raise AgentError(
            f"could not create a socket in {directory_path}: {error.strerror}",
            hint="The agent's user must be able to write this directory.",
        ) from None
    try:
        # Every user that can open the file can hold the lock, so it must belong to this user.
        _refuse_foreign(lock, "lock file")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise _socket_in_use(path) from None
    except AgentError:
        os.close(descriptor)
        raise
    return descriptor


def _refuse_foreign(path: str, noun: str) -> None:
    try:
        owner = os.lstat(path).st_uid
    except OSError:
        return
    if owner != os.geteuid():
        raise AgentError(
            f"the {noun} {path} belongs to {trusted_path.describe_user(owner)}, not to the agent's own user",
            hint=f"An agent of that user may be running. If not, it left the file: run rm {path}.",
        )


def _socket_in_use(path: str) -> AgentError:
    return AgentError(
        f"another agent serves {path}", hint="Stop the other agent first, or choose another --socket."
    )


def listen(path: str) -> socket.socket:
    """Create the socket that listens for clients, in place of the socket of an agent that has ended.

    Args:
        path: the path of the socket, which ``claim`` has locked.

    Returns:
        The listening socket, to which every user of the machine may connect.

    Raises:
        AgentError: the path leads to another file or to a socket in use, or the socket could not be created.
    """
    # The file stays when the agent ends. So sessions report the missing agent, and do not look for a getkey
    # script.
    if os.path.lexists(path) and not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise AgentError(f'"{path}" exists, but is not a socket', hint="Move it away, or choose another --socket.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            result = probe.connect_ex(path)
        except OSError as error:
            raise AgentError(
                f"could not use the socket {path}: {error}", hint="Choose another --socket."
            ) from None
    if result == errno.EACCES:
        _refuse_foreign(path, "socket")
    if result not in (errno.ECONNREFUSED, errno.ENOENT):
        raise _socket_in_use(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    new = f"{path}.new"
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
        listener.bind(new)
        os.chmod(new, 0o666)  # noqa: S103  # Every user may connect, because the agent checks each client itself.
        listener.listen(BACKLOG)
        # With a rename, the path leads to the old or the new socket at every moment.
        os.rename(new, path)
    except OSError as error:
        listener.close()
        for left in (new, path):
            _refuse_foreign(left, "socket")
        raise AgentError(f"could not create the socket {path}: {error.strerror or error}") from None
    return listener
