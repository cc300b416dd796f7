"""Finds and runs the getkey script, and reads the root keys from its output.

The script prints the root key as a line of 64 hexadecimal characters. Further lines are previous root keys, newest
first. Neither of the script's output streams gets into an error or a log.
"""

import os
import select
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from ..crypto.kdf import KEY_BYTES
from ..errors import CanceledError, Error, GetkeyError, ParameterError, RootKeyError
from . import trusted_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    # It has the same numbers. The module signal makes enumerations of them, which is slow.
    import _signal as signal

ENVIRONMENT = "PGKEYMGR_GETKEY"
FILE_NAME = "pgkeymgr_getkey"
TIMEOUT_SECONDS = 30
OUTPUT_BYTES_MAX = 65536

_STANDARD_STREAMS = (0, 1, 2)
_SCRIPT = 3
"""The descriptor through which the interpreter reads the script."""

_DIGITS = b"0123456789ABCDEFabcdef"
_POLL_MILLISECONDS = 10
_END_SECONDS = 0.001
"""The time between two checks whether a script that has closed its output has ended."""


def find(environment: Mapping[str, str], config_file: str, share_directory: str) -> str:
    """Return the path of the getkey script, which is in the first of three places that has a file.

    Args:
        environment: the server's environment, whose ``PGKEYMGR_GETKEY`` is the first place.
        config_file: the path of postgresql.conf; the second place is beside it.
        share_directory: PostgreSQL's share directory; the third place is below it, in ``extension``.

    Returns:
        The path of the script.

    Raises:
        RootKeyError: there is no script.
        GetkeyError: the environment names a script that does not exist, or a relative path.
    """
    named = environment.get(ENVIRONMENT)
    if named:
        if not os.path.isabs(named):
            raise GetkeyError(
                f'the getkey script "{named}" is not an absolute path',
                hint=f"Correct {ENVIRONMENT} in the environment of the server, and restart it.",
            )
        if not os.path.lexists(named):
            raise GetkeyError(
                f'the getkey script "{named}" does not exist',
                hint=f"Install it there, or correct {ENVIRONMENT} in the environment of the server.",
            )
        return named
    places = [
        os.path.join(os.path.dirname(config_file), FILE_NAME),
        os.path.join(share_directory, "extension", FILE_NAME),
    ]
    for place in places:
        if os.path.lexists(place):
            return place
    # Only a session without a root key needs it.
    from ..documents import sample

    raise RootKeyError(
        "there is no root key",
        hint=f"Install a getkey script as {places[0]} or {places[1]}, or name it in {ENVIRONMENT} in "
        f"the environment of the server. The file {sample('getkey.sample')} is an example.",
    )


def _refuse(path: str, reason: str, hint: str) -> GetkeyError:
    return GetkeyError(f'the getkey script "{path}" {reason}', hint=hint)


def run(
    path: str,
    is_canceled: Callable[[], bool] = lambda: False,
    timeout: float = TIMEOUT_SECONDS,
) -> bytes:
    """Run a getkey script, and return its output.

    The kernel runs the very file that was checked, even if another file has taken its name in between. For this,
    the script gets ``/proc/self/fd/3`` as its name; ``readlink -f "$0"`` gives its path.

    Args:
        path: the path of the script.
        is_canceled: returns whether to give up. It is called a hundred times a second.
        timeout: the time that the script has, in seconds.

    Returns:
        The standard output of the script, at most OUTPUT_BYTES_MAX bytes.

    Raises:
        GetkeyError: a user other than root and the process's own could have written the script (see
            ``trusted_path``); or the script could not be started, failed, printed too much or took too long.
        CanceledError: ``is_canceled`` returned true; the script was killed.
    """
    pid, pipe = _start(path)
    try:
        output = _collect(pid, pipe, path, is_canceled, timeout)
    finally:
        os.close(pipe)
        # The signal also ends the script's children: a child that holds the pipe would outlive the script.
        os.killpg(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != 0:
        how = f"exited with status {status}" if status > 0 else f"was ended by signal {-status}"
        raise _refuse(path, how, "Run it by hand as the server's user to see the reason.")
    return output


def _start(path: str) -> tuple[int, int]:
    """Check a script, and start it.

    Args:
        path: the path of the script.

    Returns:
        The process id, and a descriptor that reads the script's output without blocking.

    Raises:
        GetkeyError: the script is refused, or could not be run.
    """

    def refuse(reason: str, hint: str) -> GetkeyError:
        return _refuse(path, reason, hint)

    script = trusted_path.open_to_run(path, refuse, "the server")
    try:
        if not os.access(trusted_path.descriptor_path(script, refuse), os.X_OK):
            raise refuse("is not executable by the server's user", f"Run chmod u+x {path}, and check its owner.")
        return _spawn(script, path)
    except OSError as error:
        raise refuse(
            f"could not be run: {error.strerror}", "Its first line must name an interpreter that exists."
        ) from None
    finally:
        os.close(script)


def _spawn(script: int, path: str) -> tuple[int, int]:
    """Start a script in a session of its own. It inherits no file but itself, and no ignored signal.

    This does not use the module subprocess, whose import takes longer than most scripts.

    Args:
        script: a descriptor of the script.
        path: the name that ``ps`` shows, if the file is a program and not a script.

    Returns:
        See ``_start``.

    Raises:
        OSError: the script could not be run.
    """
    for file in set(map(int, os.listdir("/proc/self/fd"))).difference(_STANDARD_STREAMS):
        # PostgreSQL before 16 leaves its open files to the programs that it runs.
        with suppress(OSError):
            os.set_inheritable(file, False)
    pipe, end = os.pipe()
    os.set_blocking(pipe, False)
    try:
        pid = os.posix_spawn(
            f"/proc/self/fd/{_SCRIPT}",
            [path],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, end, 1),
                # The descriptor goes through 2, because exec could close a duplicate of a descriptor to itself.
                (os.POSIX_SPAWN_DUP2, script, 2),
                (os.POSIX_SPAWN_DUP2, 2, _SCRIPT),
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
            setsid=True,
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        )
    except BaseException:
        os.close(pipe)
        raise
    finally:
        os.close(end)
    return pid, pipe


def _collect(
    pid: int,
    pipe: int,
    path: str,
    is_canceled: Callable[[], bool],
    timeout: float,
) -> bytes:
    waiting = select.poll()
    waiting.register(pipe, select.POLLIN)
    deadline = time.monotonic() + timeout
    output = b""
    while True:
        # This question comes before the read, so that the last output of the script is not lost.
        exited = _has_exited(pid)
        chunk = _read(pipe)
        if exited and not chunk:
            return output
        output += chunk or b""
        if len(output) > OUTPUT_BYTES_MAX:
            raise _refuse(
                path,
                f"printed more than {OUTPUT_BYTES_MAX} bytes",
                "It must print the root key and nothing else.",
            )
        if is_canceled():
            raise CanceledError(f'canceled while waiting for the getkey script "{path}"')
        if time.monotonic() > deadline:
            raise _refuse(
                path,
                f"did not answer in {timeout:g} seconds",
                "Run it by hand as the server's user, without a terminal, to see what it waits for.",
            )
        if chunk is None:
            waiting.poll(_POLL_MILLISECONDS)
        elif not chunk:
            time.sleep(_END_SECONDS)


def _read(pipe: int) -> bytes | None:
    """Return the bytes that have arrived, an empty value at the end, or None if nothing has arrived yet."""
    try:
        return os.read(pipe, OUTPUT_BYTES_MAX)
    except BlockingIOError:
        return None


def _has_exited(pid: int) -> bool:
    # WNOWAIT leaves the process a zombie, so that no other process gets its number before its group is killed.
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def parse(output: bytes, path: str) -> list[bytes]:
    """Return the root keys in the output of a getkey script.

    Args:
        output: the standard output of the script.
        path: the path of the script, for the messages.

    Returns:
        At least one root key, 32 bytes each, newest first.

    Raises:
        GetkeyError: a line is not a root key. The message has only the number and the length of the line.
    """
    return read_keys(output, lambda what, hint: _refuse(path, f"printed {what}", hint))


def parse_file(text: bytes, path: str) -> list[bytes]:
    """Return the root keys in a file that a getkey script prints.

    Args:
        text: the content of the file.
        path: the path of the file, for the messages.

    Returns:
        At least one root key, 32 bytes each, newest first.

    Raises:
        ParameterError: a line is not a root key. The message has only the number and the length of the line.
    """
    return read_keys(text, lambda what, hint: ParameterError(f"{path} holds {what}", hint=hint))


def read_keys(text: bytes, refuse: Callable[[str, str], Error]) -> list[bytes]:
    """Return the root keys in a text with a root key of 64 hexadecimal characters on each line, newest first.

    Args:
        text: the lines.
        refuse: makes the error from a phrase that describes the text, and a hint. The phrase has only the number
            and the length of a line.

    Returns:
        At least one root key, 32 bytes each, newest first.

    Raises:
        Error: a result of ``refuse``, because a line is not a root key.
    """
    lines = text.rstrip().split(b"\n") if text.strip() else []
    if not lines:
        raise refuse("nothing", f"A root key has {2 * KEY_BYTES} hexadecimal characters.")
    keys = []
    for number, line in enumerate(lines, 1):
        digits = line.strip()
        if len(digits) != 2 * KEY_BYTES or digits.strip(_DIGITS):
            raise refuse(
                f"{len(digits)} characters on line {number}, not {2 * KEY_BYTES} hexadecimal ones",
                "Each line must be a root key in hexadecimal, the newest first.",
            )
        key = bytes.fromhex(digits.decode("ascii"))
        if not any(key):
            raise refuse(
                f"a root key of zeros on line {number}",
                "Make a random root key, for instance with openssl rand -hex 32.",
            )
        keys.append(key)
    return keys
