"""Where the machine would write memory to a disk: core dumps and swap."""

import ctypes
import os
import re
import resource
import stat
from collections.abc import Iterator

from .finding import ERROR, NOTICE, OK, WARNING, Context, Finding

_PR_GET_DUMPABLE = 3
_LIMIT = re.compile(r"^Max core file size\s+(\S+)\s+(\S+)", re.MULTILINE)


def check_core_dumps(context: Context) -> Iterator[Finding]:
    """See whether this session, which has the root key now, and the others could dump core."""
    if context.root_key is not None:
        if ctypes.CDLL(None).prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) != 0:
            yield Finding(
                ERROR,
                "this session",
                "it has loaded the root key, and its memory can be dumped, or read by other processes of the "
                "same user",
                "Some function of this session has undone PR_SET_DUMPABLE. Look for what calls prctl, reconnect.",
            )
        elif resource.getrlimit(resource.RLIMIT_CORE)[0] != 0:
            yield Finding(
                WARNING,
                "this session",
                "it has loaded the root key, and its limit for core dumps is not 0; only PR_SET_DUMPABLE is in "
                "the way of one",
                "Some function of this session has raised RLIMIT_CORE. Look for what calls setrlimit, reconnect.",
            )
    postmaster = os.getppid()
    limit = core_limit(postmaster)
    if limit != "0":
        with open("/proc/sys/kernel/core_pattern", errors="replace") as file:
            pattern = file.read().strip()
        yield Finding(
            NOTICE,
            f"postmaster {postmaster}",
            f"sessions that have not loaded the root key can dump core (limit {limit}, kernel.core_pattern "
            f'"{pattern}"), with the rows they work on; one that has loaded it cannot',
            "LimitCORE=0 in the service of the server, or ulimit -c 0 before it starts.",
        )
    if context.root_key is None:
        yield Finding(NOTICE, "this session", "could not be checked: there is no root key", "See root_key.")


def core_limit(process: int, proc: str = "/proc") -> str:
    """Return the present limit of a process for core dumps.

    Args:
        process: its number.
        proc: where the kernel's files are.

    Returns:
        The bytes, or ``unlimited``.

    Raises:
        OSError: it cannot be read.
    """
    with open(f"{proc}/{process}/limits") as file:
        match = _LIMIT.search(file.read())
    if match is None:
        raise OSError(None, "has no limit for core dumps", f"{proc}/{process}/limits")
    return match[1]


def check_swap(_context: Context) -> Iterator[Finding]:
    """Find swap on a disk that is not encrypted."""
    areas = swap_areas()
    if not areas:
        yield Finding(OK, None, "there is no swap")
    for path in areas:
        verdict = _is_safe(path)
        if verdict is None:
            yield Finding(
                NOTICE,
                path,
                "could not be checked: swap on a device of which the kernel does not tell whether it is encrypted",
                "See that it is: cryptsetup status tells.",
            )
        elif not verdict:
            yield Finding(
                WARNING,
                path,
                "swap that is not encrypted: keys and plaintexts in memory can come to lie on the disk",
                f"swapoff {path}, and encrypt it (crypttab, option swap) or use zram.",
            )


def swap_areas(proc: str = "/proc") -> list[str]:
    """Return the files and devices of the active swap.

    Args:
        proc: where the kernel's files are.

    Raises:
        OSError: it cannot be read.
    """
    with open(f"{proc}/swaps") as file:
        lines = file.read().splitlines()[1:]
    # The kernel writes spaces in names as octal numbers.
    return [
        re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), line.split()[0])
        for line in lines
        if line.strip()
    ]


def _is_safe(path: str, sys: str = "/sys") -> bool | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    device = status.st_rdev if stat.S_ISBLK(status.st_mode) else status.st_dev
    directory = f"{sys}/dev/block/{os.major(device)}:{os.minor(device)}"
    return is_encrypted(directory) if os.path.isdir(directory) else None


def is_encrypted(directory: str) -> bool:
    """Tell whether a block device is in memory only, or encrypted by dm-crypt, itself or all below it.

    Args:
        directory: its directory in /sys.
    """
    directory = os.path.realpath(directory)
    if os.path.basename(directory).startswith("zram"):
        return _first_line(f"{directory}/backing_dev") in ("", "none")
    if _first_line(f"{directory}/dm/uuid").startswith("CRYPT-"):
        return True
    if os.path.exists(f"{directory}/partition"):
        return is_encrypted(os.path.dirname(directory))
    below = f"{directory}/slaves"
    slaves = os.listdir(below) if os.path.isdir(below) else []
    return bool(slaves) and all(is_encrypted(f"{below}/{slave}") for slave in slaves)


def _first_line(path: str) -> str:
    try:
        with open(path) as file:
            return file.readline().strip()
    except OSError:
        return ""
