"""What the PostgreSQL server that this process is tells without a query.

A query through ``plpy`` starts a subtransaction, which PostgreSQL 15 and 16 refuse in parallel workers, and
settings such as ``config_file`` are hidden from ordinary users; the server's own exported functions and
variables are neither. Only those are used here that raise no PostgreSQL error, which would jump over the
Python frames between; the one exception says why it may.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_PATH_BYTES_MAX = 1024

_server = ctypes.PyDLL(None)
_server.GetConfigOption.restype = ctypes.c_char_p
_server.GetConfigOption.argtypes = (ctypes.c_char_p, ctypes.c_bool, ctypes.c_bool)
_server.get_share_path.restype = None
_server.get_share_path.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
_cancel_pending = ctypes.c_int.in_dll(_server, "QueryCancelPending")
_die_pending = ctypes.c_int.in_dll(_server, "ProcDiePending")


def setting(name: str) -> str | None:
    """Return a setting, hidden ones too, or None if there is none of that name."""
    value: bytes | None = _server.GetConfigOption(name.encode(), True, False)
    return None if value is None else value.decode(errors="surrogateescape")


def config_file() -> str:
    """Return the path of postgresql.conf."""
    return setting("config_file") or ""


def share_directory() -> str:
    """Return the directory of PostgreSQL's shared files, above ``extension``."""
    executable = (ctypes.c_char * _PATH_BYTES_MAX).in_dll(_server, "my_exec_path")
    path = ctypes.create_string_buffer(_PATH_BYTES_MAX)
    _server.get_share_path(executable.value, path)
    return path.value.decode(errors="surrogateescape")


def is_canceled() -> bool:
    """Tell whether the statement, or the whole session, was asked to stop."""
    return bool(_cancel_pending.value or _die_pending.value)


# Called for each row: the bare function objects, since a Python function around each would cost as much again.

user_id = _server.GetUserId
"""Return the current user's OID: that of SET ROLE and of SECURITY DEFINER functions."""
user_id.restype = ctypes.c_uint
user_id.argtypes = ()

statement_stamp = _server.GetCurrentStatementStartTimestamp
"""Return when the client's present message arrived, in microseconds: another number for each statement."""
statement_stamp.restype = ctypes.c_int64
statement_stamp.argtypes = ()

transaction_stamp = _server.GetCurrentTransactionStartTimestamp
"""Return when the present transaction began, in microseconds; it changes at a procedure's COMMIT too."""
transaction_stamp.restype = ctypes.c_int64
transaction_stamp.argtypes = ()

subtransaction_id = _server.GetCurrentSubTransactionId
"""Return the number of the present subtransaction; none comes twice in a transaction."""
subtransaction_id.restype = ctypes.c_uint32
subtransaction_id.argtypes = ()

_current_command_id = _server.GetCurrentCommandId
_current_command_id.restype = ctypes.c_uint32
_current_command_id.argtypes = (ctypes.c_bool,)


def command_id() -> int:
    """Return how many commands that changed something the present transaction has run; DDL is one."""
    command: int = _current_command_id(False)
    return command


_PGC_SUSET = 5
_defined: list[tuple[ctypes.c_char_p, bytes, bytes]] = []


def define_superuser_setting(name: str, description: str) -> None:
    """Make a setting that only a superuser can set, and RESET ALL and DISCARD ALL reset, in this process.

    DefineCustomStringVariable raises an error, over the Python frames between, only if a setting of this name
    was defined before, which happens once here, or if there is no memory for it. A value that an ordinary user
    has given to the name before is dropped, with a warning.

    Args:
        name: with a dot in it.
        description: what it is for.
    """
    if any(name.encode() == known for _, known, _ in _defined):
        return
    # The server keeps pointers to these.
    kept = (ctypes.c_char_p(None), name.encode(), description.encode())
    _defined.append(kept)
    define = _server.DefineCustomStringVariable
    define.restype = None
    define.argtypes = (
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_void_p,
    )
    define(kept[1], kept[2], None, ctypes.addressof(kept[0]), b"", _PGC_SUSET, 0, None, None, None)


_is_in_parallel_mode = _server.IsInParallelMode
_is_in_parallel_mode.restype = ctypes.c_bool
_is_in_parallel_mode.argtypes = ()
_isolation_level = ctypes.c_int.in_dll(_server, "XactIsoLevel")
_interrupt_holdoff = ctypes.c_uint32.in_dll(_server, "InterruptHoldoffCount")
_REPEATABLE_READ = 2
_SUBTRANSACTIONS_IN_PARALLEL = 170000


def version() -> int:
    """Return the server's version number, 150004 for 15.4."""
    return int(setting("server_version_num") or 0)


def refuses_subtransactions() -> bool:
    """Tell whether a query through plpy would fail, as it does in parallel queries before PostgreSQL 17."""
    return bool(_is_in_parallel_mode()) and version() < _SUBTRANSACTIONS_IN_PARALLEL


def has_old_snapshot() -> bool:
    """Tell whether queries see the database as it was when the transaction began."""
    return _isolation_level.value >= _REPEATABLE_READ and not _is_in_parallel_mode()


@contextmanager
def latest_snapshot() -> Iterator[None]:
    """Let read-only queries see what is committed by now, whatever the isolation level.

    That is how PostgreSQL's own privileges and foreign keys are checked. GetLatestSnapshot fails in parallel
    mode only, which ``has_old_snapshot`` rules out.
    """
    _server.GetLatestSnapshot.restype = ctypes.c_void_p
    _server.GetLatestSnapshot.argtypes = ()
    _server.PushActiveSnapshot.restype = None
    _server.PushActiveSnapshot.argtypes = (ctypes.c_void_p,)
    _server.PopActiveSnapshot.restype = None
    _server.PopActiveSnapshot.argtypes = ()
    _server.PushActiveSnapshot(_server.GetLatestSnapshot())
    try:
        yield
    finally:
        _server.PopActiveSnapshot()


def call_load_key(schema: str, key_id: int, name: str, uuid: bytes, user: int, with_wraps: bool) -> None:
    """Call ``_load_key(integer, text, uuid, oid, boolean)`` without a query, for ``refuses_subtransactions``.

    An error in it would jump over the Python frames between. The likely one, a cancel, is held off for the
    fraction of a millisecond that it takes; after any other, a parallel worker exits anyway.
    """
    server = ctypes.PyDLL(None)
    for function in ("makeString", "lappend", "cstring_to_text"):
        getattr(server, function).restype = ctypes.c_void_p
    server.makeString.argtypes = server.cstring_to_text.argtypes = (ctypes.c_char_p,)
    server.lappend.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    server.LookupFuncName.restype = ctypes.c_uint
    server.LookupFuncName.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_bool)
    server.OidFunctionCall5Coll.restype = ctypes.c_void_p
    server.OidFunctionCall5Coll.argtypes = (
        ctypes.c_uint,
        ctypes.c_uint,
        ctypes.c_size_t,
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_size_t,
    )
    schema_name, function_name = schema.encode(), b"_load_key"
    path = server.lappend(None, server.makeString(schema_name))
    path = server.lappend(path, server.makeString(function_name))
    _interrupt_holdoff.value += 1
    try:
        function = server.LookupFuncName(path, -1, None, True)
        if function:
            text = server.cstring_to_text(name.encode())
            server.OidFunctionCall5Coll(function, 0, key_id, text, uuid, user, with_wraps)
    finally:
        _interrupt_holdoff.value -= 1
