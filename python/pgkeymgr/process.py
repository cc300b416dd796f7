"""Protection of the memory of the process that holds a root key."""

import ctypes
import resource

_PR_SET_DUMPABLE = 4


def forbid_core_dumps() -> None:
    """Keep this process's memory out of core dumps, and from other processes of the same user.

    Both are needed: the limit says so to the kernel's own dumps, the flag to programs that the kernel
    pipes dumps into, and it closes /proc/PID/mem and ptrace to all but root.
    See prctl(2), PR_SET_DUMPABLE, and core(5).
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
