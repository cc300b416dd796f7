"""The getkey script: which file it is, and what it says.

It prints the root key as 64 hexadecimal characters on a line; on further lines, previous root keys,
newest first. Nothing that it prints, on either stream, goes into an error or a log.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from ..crypto.kdf import KEY_BYTES
from ..errors import CanceledError, Error, GetkeyError, RootKeyError
from . import trusted_path

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
"""How often to look whether it has ended, once it has closed its output."""


def find(environment: Mapping[str, str], config_file: str, share_directory: str) -> str:
    """Find the getkey script: the first of three places that has one.

    Args:
        environment: the server's.
        config_file: the path of postgresql.conf; the script may lie beside it.
        share_directory: where PostgreSQL's extensions' files are, without ``extension``.

    Returns:
        Its path.

    Raises:
        RootKeyError: there is none.
        GetkeyError: the environment names one, and it is not there.
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
                hint=f"Put it there, or correct {ENVIRONMENT} in the environment of the server.",
            )
        return named
    places = [
        os.path.join(os.path.dirname(config_file), FILE_NAME),
        os.path.join(share_directory, "extension", FILE_NAME),
    ]
    for place in places:
        if os.path.lexists(place):
            return place
    raise RootKeyError(
        "there is no root key",
        hint=f"Install a getkey script as {places[0]} or {places[1]}, or name one in {ENVIRONMENT} in "
        "the environment of the server; getkey.sample is one to start from.",
    )


def _refuse(path: str, reason: str, hint: str) -> GetkeyError:
    return GetkeyError(f'the getkey script "{path}" {reason}', hint=hint)


def run(
    path: str,
    is_canceled: Callable[[], bool] = lambda: False,
    timeout: float = TIMEOUT_SECONDS,
) -> bytes:
    """Run a getkey script, and return what it printed.

    The file that was checked is the one that is run, whatever its name leads to meanwhile. So the script is told
    that its name is ``/proc/self/fd/3``; ``readlink -f "$0"`` gives its path.

    Args:
        path: the script's.
        is_canceled: asked a hundred times a second; when it is true, the script is killed.
        timeout: how many seconds to wait for it.

    Returns:
        Its standard output, at most OUTPUT_BYTES_MAX bytes.

    Raises:
        GetkeyError: somebody else than root or the own user could have written it (see ``trusted_path``), it
            cannot be started, failed, printed too much, or took too long.
        CanceledError: ``is_canceled`` was true.
    """
    pid, pipe = _start(path)
    try:
        output = _collect(pid, pipe, path, is_canceled, timeout)
    finally:
        os.close(pipe)
        # Its children too: one that holds the pipe would outlive the script.
        os.killpg(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != 0:
        how = f"exited with status {status}" if status > 0 else f"was ended by signal {-status}"
        raise _refuse(path, how, "Run it by hand as the server's user, and see why.")
    return output


def _start(path: str) -> tuple[int, int]:
    """Check a script, and start it.

    Args:
        path: the script's.

    Returns:
        Its process, and what its output can be read from without blocking.

    Raises:
        GetkeyError: it is refused, or cannot be run.
    """

    def refuse(reason: str, hint: str) -> GetkeyError:
        return _refuse(path, reason, hint)

    script = trusted_path.open_to_run(path, refuse, "the server")
    try:
        if not os.access(trusted_path.descriptor_path(script, refuse), os.X_OK):
            raise refuse("is not executable by the server's user", f"chmod u+x {path}, and check its owner")
        return _spawn(script, path)
    except OSError as error:
        raise refuse(
            f"cannot be run: {error.strerror}", "Check its first line: it must name an interpreter that exists."
        ) from None
    finally:
        os.close(script)


def _spawn(script: int, path: str) -> tuple[int, int]:
    """Start a script in a session of its own; it inherits no file but itself and no signal that is ignored.

    Not with the module subprocess: to import it takes longer than most scripts do.

    Args:
        script: a descriptor of it.
        path: what ``ps`` shows for it, if it is no script but a program.

    Returns:
        See ``_start``.

    Raises:
        OSError: it cannot be run.
    """
    for file in set(map(int, os.listdir("/proc/self/fd"))).difference(_STANDARD_STREAMS):
        # What PostgreSQL before 16 would leave to any program that it runs.
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
                # By way of 2, because a duplicate of a descriptor to itself may still be closed by exec.
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
        # Asked before reading, so that what it printed last is still read.
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
                "Run it by hand as the server's user, without a terminal, and see what it waits for.",
            )
        if chunk is None:
            waiting.poll(_POLL_MILLISECONDS)
        elif not chunk:
            time.sleep(_END_SECONDS)


def _read(pipe: int) -> bytes | None:
    """Return what is there; nothing, at the end; None, if nothing is there yet."""
    try:
        return os.read(pipe, OUTPUT_BYTES_MAX)
    except BlockingIOError:
        return None


def _has_exited(pid: int) -> bool:
    # Not reaped yet, so that its number stays its own until its process group has been killed.
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def parse(output: bytes, path: str) -> list[bytes]:
    """Read what a getkey script printed.

    Args:
        output: its standard output.
        path: the script's, for the messages.

    Returns:
        The root keys, 32 bytes each, newest first; at least one.

    Raises:
        GetkeyError: a line is not a root key. The message tells its number and its length only.
    """
    return read_keys(output, lambda what, hint: _refuse(path, f"printed {what}", hint))


def read_keys(text: bytes, refuse: Callable[[str, str], Error]) -> list[bytes]:
    """Read root keys as they are written: in hexadecimal, a line each, the newest first.

    Args:
        text: the lines.
        refuse: makes the error for what is wrong, of a phrase that tells what is there, and a hint.

    Returns:
        The root keys, 32 bytes each, newest first; at least one.

    Raises:
        Error: what ``refuse`` made. It is told the number of a line and its length only.
    """
    lines = text.rstrip().split(b"\n") if text.strip() else []
    if not lines:
        raise refuse("nothing", f"It must be {2 * KEY_BYTES} hexadecimal characters.")
    keys = []
    for number, line in enumerate(lines, 1):
        digits = line.strip()
        if len(digits) != 2 * KEY_BYTES or digits.strip(_DIGITS):
            raise refuse(
                f"{len(digits)} characters on line {number}, which are not {2 * KEY_BYTES} hexadecimal ones",
                "Each line must be a root key in hexadecimal, the newest first.",
            )
        key = bytes.fromhex(digits.decode("ascii"))
        if not any(key):
            raise refuse(
                f"a root key of zeros on line {number}",
                "Make a random one, for instance with openssl rand -hex 32.",
            )
        keys.append(key)
    return keys
