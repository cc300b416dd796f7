"""Checks whether the machine can write memory to a disk, as a core dump or as swap."""

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
    """Check whether this session, which has loaded the root key, and other sessions can dump core."""
    if context.root_key is not None:
        if ctypes.CDLL(None).prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) != 0:
            yield Finding(
                ERROR,
                "this session",
                "the session has loaded the root key, and its memory can be dumped, or read by other processes "
                "of the same user",
                "A function of this session has undone PR_SET_DUMPABLE. Find the function that calls prctl, and "
                "reconnect.",
            )
        elif resource.getrlimit(resource.RLIMIT_CORE)[0] != 0:
            yield Finding(
                WARNING,
                "this session",
                "the session has loaded the root key, and its limit for core dumps is not 0; only PR_SET_DUMPABLE "
                "prevents a core dump",
                "A function of this session has raised RLIMIT_CORE. Find the function that calls setrlimit, and "
                "reconnect.",
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
            f'"{pattern}"), with the rows in their memory; sessions that have loaded it cannot',
            "Set LimitCORE=0 in the service of the server, or run ulimit -c 0 before it starts.",
        )
    if context.root_key is None:
        yield Finding(
            NOTICE, "this session", "could not be checked: there is no root key", "See the check root_key."
        )


def core_limit(process: int, proc: str = "/proc") -> str:
    """Return the soft limit of a process for the size of core dumps.

    Args:
        process: the number of the process.
        proc: the directory of the proc file system.

    Returns:
        The number of bytes, or ``unlimited``.

    Raises:
        OSError: the limit cannot be read.
    """
    with open(f"{proc}/{process}/limits") as file:
        match = _LIMIT.search(file.read())
    if match is None:
        raise OSError(None, "no limit for core dumps found", f"{proc}/{process}/limits")
    return match[1]


def check_swap(_context: Context) -> Iterator[Finding]:
    """Find swap areas that are not encrypted."""
    areas = swap_areas()
    if not areas:
        yield Finding(OK, None, "there is no swap")
    for path in areas:
        verdict = _is_safe(path)
        if verdict is None:
            yield Finding(
                NOTICE,
                path,
                "could not be checked: the kernel does not report whether the device of this swap area is "
                "encrypted",
                "Check it with cryptsetup status.",
            )
        elif not verdict:
            yield Finding(
                WARNING,
                path,
                "the swap area is not encrypted: keys and plaintexts can get from memory onto the disk",
                f"Run swapoff {path}, and encrypt the area (crypttab, option swap) or use zram.",
            )


def swap_areas(proc: str = "/proc") -> list[str]:
    """Return the files and devices of the active swap areas.

    Args:
        proc: the directory of the proc file system.

    Raises:
        OSError: the list cannot be read.
    """
    with open(f"{proc}/swaps") as file:
        lines = file.read().splitlines()[1:]
    # The kernel escapes a space in a name as an octal number.
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
    """Return whether a block device is in memory only, or it or all devices below it are encrypted by dm-crypt.

    Args:
        directory: the directory of the device in /sys.
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
