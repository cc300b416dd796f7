"""Protection of the memory of the process that holds a root key."""

import ctypes
import os
import resource

from ..errors import AgentError

_PR_SET_DUMPABLE = 4
_MCL_CURRENT = 1
_MCL_FUTURE = 2
_BYTES_START = bytes.__basicsize__ - 1
"""Where in a bytes object of CPython its bytes begin."""


def forbid_core_dumps() -> None:
    """Keep this process's memory out of core dumps, and from other processes of the same user.

    Both are needed: the limit says so to the kernel's own dumps, the flag to programs that the kernel
    pipes dumps into, and it closes /proc/PID/mem and ptrace to all but root.
    See prctl(2), PR_SET_DUMPABLE, and core(5).
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def lock_memory() -> None:
    """Keep all memory of this process, also what it will get, out of swap: mlockall(2).

    Raises:
        AgentError: the kernel refuses.
    """
    if ctypes.CDLL(None, use_errno=True).mlockall(_MCL_CURRENT | _MCL_FUTURE):
        raise AgentError(
            f"cannot lock the agent's memory: {os.strerror(ctypes.get_errno())}",
            hint="Give it LimitMEMLOCK=infinity in its systemd unit, or the ulimit memlock of its container, "
            "or the capability CAP_IPC_LOCK. With --no-lock-memory it runs, and the root key can get into swap.",
        )


def wipe(secret: bytes) -> None:
    """Overwrite a secret with zeros, for all who have this same object.

    Args:
        secret: nobody needs it any more. Not a constant of the program; those of one byte, which Python
            shares, are left alone.
    """
    if len(secret) > 1:
        ctypes.memset(id(secret) + _BYTES_START, 0, len(secret))
