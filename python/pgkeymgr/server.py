"""What the PostgreSQL server that this process is tells without a query.

A query through ``plpy`` starts a subtransaction, which PostgreSQL 15 and 16 refuse in parallel workers, and
settings such as ``config_file`` are hidden from ordinary users; the server's own exported functions and
variables are neither. Only those are used here that raise no PostgreSQL error, which would jump over the
Python frames between.
"""

import ctypes

_PATH_BYTES_MAX = 1024

_server = ctypes.PyDLL(None)
_server.GetConfigOption.restype = ctypes.c_char_p
_server.GetConfigOption.argtypes = (ctypes.c_char_p, ctypes.c_bool, ctypes.c_bool)
_server.get_share_path.restype = None
_server.get_share_path.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
_cancel_pending = ctypes.c_int.in_dll(_server, "QueryCancelPending")
_die_pending = ctypes.c_int.in_dll(_server, "ProcDiePending")


def config_file() -> str:
    """Return the path of postgresql.conf."""
    value: bytes | None = _server.GetConfigOption(b"config_file", True, False)
    return (value or b"").decode(errors="surrogateescape")


def share_directory() -> str:
    """Return the directory of PostgreSQL's shared files, above ``extension``."""
    executable = (ctypes.c_char * _PATH_BYTES_MAX).in_dll(_server, "my_exec_path")
    path = ctypes.create_string_buffer(_PATH_BYTES_MAX)
    _server.get_share_path(executable.value, path)
    return path.value.decode(errors="surrogateescape")


def is_canceled() -> bool:
    """Tell whether the statement, or the whole session, was asked to stop."""
    return bool(_cancel_pending.value or _die_pending.value)
