"""Gets the present root keys from a getkey script, with the rights that the server would run it with."""

import json
import os
import pwd
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import Error, GetkeyError
from ..root_key import getkey, memory
from .failure import message_and_hint

_BYTES_MAX = 2 * getkey.OUTPUT_BYTES_MAX


def run_getkey(path: Path) -> list[bytes]:
    """Run a getkey script as the user that owns the script or a directory on its path.

    If root ran it with its own rights, that user, who can change the script, would get the rights of root.

    Args:
        path: the path of the script.

    Returns:
        The root keys, 32 bytes each, newest first.

    Raises:
        GetkeyError: the script failed, or the server would refuse it.
    """
    memory.forbid_core_dumps()
    path = path.absolute()
    result = run_as(owner_of(path), path, lambda: {"keys": [key.hex() for key in _run(path)]})
    return [bytes.fromhex(key) for key in result["keys"]]


def owner_of(path: Path) -> int:
    """Return the user id as which a getkey script is run: the owner of the script or of a directory on its path.

    Args:
        path: the path of the script.

    Returns:
        The first of them that is not root, or 0.

    Raises:
        GetkeyError: the script does not exist, or cannot be looked at.
    """
    try:
        real = Path(os.path.realpath(path, strict=True))
        owners = (each.stat().st_uid for each in (real, *real.parents, *path.parents))
        return next((owner for owner in owners if owner != 0), 0)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise GetkeyError(f'could not read getkey script "{path}": {reason}') from None


def run_as(owner: int, path: Path, operation: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do something with a getkey script, with the rights of its owner if this process has those of root.

    Args:
        owner: the user id of the owner.
        path: the path of the script.
        operation: does it. In a process of its own, it must not print.

    Returns:
        The result of the operation, which JSON can hold.

    Raises:
        Error: the operation failed.
    """
    if os.geteuid() != 0 or owner == 0:
        return operation()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        # No exit handlers and no buffers of the parent may run in the child, so it ends with os._exit.
        status = 1
        with suppress(BaseException):
            os.close(reader)
            _become(owner)
            with os.fdopen(writer, "w") as file:
                json.dump(_result_or_error(operation), file)
            status = 0
        os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as file:
        answer = file.read(_BYTES_MAX)
    os.waitpid(child, 0)
    if not answer:
        raise GetkeyError(f'could not run getkey script "{path}" as user id {owner}, its owner')
    result: dict[str, Any] = json.loads(answer)
    if "error" in result:
        raise GetkeyError(result["error"], result["hint"])
    return result


def _run(path: Path) -> list[bytes]:
    return getkey.parse(getkey.run(str(path)), str(path))


def _result_or_error(operation: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return operation()
    except (Error, OSError) as error:
        text, hint = message_and_hint(error)
        return {"error": text, "hint": hint}


def _become(user: int) -> None:
    entry = pwd.getpwuid(user)
    os.initgroups(entry.pw_name, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(user)
    # The user may not have access to root's current directory.
    os.chdir("/")
    memory.forbid_core_dumps()
