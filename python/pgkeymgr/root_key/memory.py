"""Protects the memory of a process that holds a root key or data keys.

Sources: prctl(2), core(5), mlockall(2)
"""

import ctypes
import os
import resource

from ..errors import AgentError

_PR_SET_DUMPABLE = 4
_MCL_CURRENT = 1
_MCL_FUTURE = 2
_BYTES_START = bytes.__basicsize__ - 1
"""The offset of the bytes in a bytes object of CPython."""


def forbid_core_dumps() -> None:
    """Keep this process's memory out of core dumps, and away from other processes of the same user.

    The limit prevents core files. The flag PR_SET_DUMPABLE prevents dumps into a program, which ignore the limit,
    and closes /proc/PID/mem and ptrace to every user but root. See prctl(2) and core(5).
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def lock_memory() -> None:
    """Keep all present and future memory of this process out of swap; see mlockall(2).

    Raises:
        AgentError: the kernel refuses.
    """
    if ctypes.CDLL(None, use_errno=True).mlockall(_MCL_CURRENT | _MCL_FUTURE):
        raise AgentError(
            f"could not lock the agent's memory: {os.strerror(ctypes.get_errno())}",
            hint="Set LimitMEMLOCK=infinity in the agent's systemd unit, or the ulimit memlock of its container, "
            "or give it the capability CAP_IPC_LOCK. With --no-lock-memory, the root key can get into swap.",
        )


def wipe(secret: bytes) -> None:
    """Overwrite a secret with zeros, in every place that refers to this object.

    Args:
        secret: a secret that is not needed again, and not a constant of the program. A secret of one byte is left
            alone, because Python shares such objects.
    """
    if len(secret) > 1:
        ctypes.memset(id(secret) + _BYTES_START, 0, len(secret))
