"""The root keys that are there: what a getkey script prints, run as the server would run it."""

import json
import os
import pwd
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import Error, GetkeyError
from ..root_key import getkey, memory

_BYTES_MAX = 2 * getkey.OUTPUT_BYTES_MAX


def run_getkey(path: Path) -> list[bytes]:
    """Run a getkey script as the user whom it, or a directory on the way to it, belongs to.

    Run as root, it would have more rights than whoever may change it.

    Args:
        path: the script's.

    Returns:
        The root keys, 32 bytes each, newest first.

    Raises:
        GetkeyError: it is refused, as the server would refuse it, or it failed.
    """
    memory.forbid_core_dumps()
    path = path.absolute()
    try:
        owner = _owner(path)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise GetkeyError(f'the getkey script "{path}" cannot be read: {reason}') from None
    if os.geteuid() != 0 or owner == 0:
        return _run(path)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        # Nothing of the parent's is to run in here: no handlers, no buffers.
        status = 1
        with suppress(BaseException):
            os.close(reader)
            _become(owner)
            with os.fdopen(writer, "w") as file:
                json.dump(_told(path), file)
            status = 0
        os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as file:
        answer = file.read(_BYTES_MAX)
    os.waitpid(child, 0)
    if not answer:
        raise GetkeyError(f'the getkey script "{path}" cannot be run as user id {owner}, to whom it belongs')
    told: dict[str, Any] = json.loads(answer)
    if "error" in told:
        raise GetkeyError(told["error"], told["hint"])
    return [bytes.fromhex(key) for key in told["keys"]]


def _owner(path: Path) -> int:
    real = Path(os.path.realpath(path, strict=True))
    owners = (each.stat().st_uid for each in (real, *real.parents, *path.parents))
    return next((owner for owner in owners if owner != 0), 0)


def _run(path: Path) -> list[bytes]:
    return getkey.parse(getkey.run(str(path)), str(path))


def _told(path: Path) -> dict[str, Any]:
    try:
        return {"keys": [key.hex() for key in _run(path)]}
    except Error as error:
        return {"error": error.message, "hint": error.hint}


def _become(user: int) -> None:
    entry = pwd.getpwuid(user)
    os.initgroups(entry.pw_name, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(user)
    # Where root is, its user may not.
    os.chdir("/")
    memory.forbid_core_dumps()
