"""Calls into the PostgreSQL server's own C functions, for facts that a query cannot or need not fetch.

A query through ``plpy`` begins a subtransaction, which PostgreSQL 15 and 16 refuse in parallel queries, and
settings such as ``config_file`` are hidden from ordinary users; the server's own exported functions and
variables are neither. A PostgreSQL error in one of these calls would jump over the interpreter's frames, after
which the next call crashes the server. So only functions are called here that raise none, and the comments say
why those that could do not.
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
_interrupts_held = ctypes.c_uint32.in_dll(_server, "InterruptHoldoffCount")


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Let cancels and timeouts wait: the server raises their errors after each message that it writes."""
    _interrupts_held.value += 1
    try:
        yield
    finally:
        _interrupts_held.value -= 1


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

_is_transaction_block = _server.IsTransactionBlock
_is_transaction_block.restype = ctypes.c_bool
_is_transaction_block.argtypes = ()
_SAME_REQUEST_MICROSECONDS = 1000


def has_old_transaction() -> bool:
    """Return whether the present transaction began before the present statement.

    A transaction that the server began for one statement is a few microseconds older: it begins with the client's
    message Bind, and the statement with the message Execute that follows in the same request.
    """
    if _is_transaction_block():
        return bool(transaction_stamp() != statement_stamp())
    age: int = statement_stamp() - transaction_stamp()
    return age >= _SAME_REQUEST_MICROSECONDS


_current_command_id = _server.GetCurrentCommandId
_current_command_id.restype = ctypes.c_uint32
_current_command_id.argtypes = (ctypes.c_bool,)


def command_id() -> int:
    """Return how many commands that changed something the present transaction has run; DDL is one."""
    command: int = _current_command_id(False)
    return command


_transaction_xmin = ctypes.c_uint32.in_dll(_server, "TransactionXmin")
_FIRST_NORMAL_XID = 3
_HALF = 0x7FFFFFFF


def precedes_snapshots(xid: int) -> bool:
    """Return whether a transaction had ended before the oldest snapshot in use by this transaction was taken.

    Args:
        xid: the number of a transaction that has committed, as a row version has it: 32 bits.

    Returns:
        True if it certainly had.
    """
    xmin = _transaction_xmin.value
    if xmin < _FIRST_NORMAL_XID:
        return False
    # Numbers are in a circle; what is more than half of it away comes before.
    return _FIRST_NORMAL_XID <= xid != xmin and (xid - xmin) & 0xFFFFFFFF > _HALF


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
    # A cancel or a timeout that came meanwhile would be raised as an error after the warning.
    with _interrupts_wait():
        define(kept[1], kept[2], None, ctypes.addressof(kept[0]), b"", _PGC_SUSET, 0, None, None, None)


_is_in_parallel_mode = _server.IsInParallelMode
_is_in_parallel_mode.restype = ctypes.c_bool
_is_in_parallel_mode.argtypes = ()
_SUBTRANSACTIONS_IN_PARALLEL = 170000


def is_parallel() -> bool:
    """Return whether this process takes part in a parallel query."""
    return bool(_is_in_parallel_mode())


_log_min_error_statement = ctypes.c_int.in_dll(_server, "log_min_error_statement")
_log_error_verbosity = ctypes.c_int.in_dll(_server, "Log_error_verbosity")
_PANIC = 23
_TERSE = 0


@contextmanager
def plain_log_lines() -> Iterator[None]:
    """Let the server log a message as it is, without the statement and its parameters.

    The variables of two settings are changed for the moment, behind PostgreSQL's back: in a parallel query no
    query could do so, and nothing else runs meanwhile that could see it.
    """
    before = _log_min_error_statement.value, _log_error_verbosity.value
    _log_min_error_statement.value, _log_error_verbosity.value = _PANIC, _TERSE
    try:
        yield
    finally:
        _log_min_error_statement.value, _log_error_verbosity.value = before


def version() -> int:
    """Return the server's version number, 150004 for 15.4."""
    return int(setting("server_version_num") or 0)


_begins_subtransactions_in_parallel = version() >= _SUBTRANSACTIONS_IN_PARALLEL


def refuses_subtransactions() -> bool:
    """Return whether a query through plpy would fail, as it does in parallel queries before PostgreSQL 17."""
    return not _begins_subtransactions_in_parallel and bool(_is_in_parallel_mode())


_exit_parallel_mode = _server.ExitParallelMode
_exit_parallel_mode.restype = None
_exit_parallel_mode.argtypes = ()
_enter_parallel_mode = _server.EnterParallelMode
_enter_parallel_mode.restype = None
_enter_parallel_mode.argtypes = ()
_worker_number = ctypes.c_int.in_dll(_server, "ParallelWorkerNumber")
# A server that was built for its own developers asserts that a parallel query does not leave parallel mode.
_checks_itself = setting("debug_assertions") == "on"


@contextmanager
def parallel_mode_suspended() -> Iterator[None]:
    """Let queries that only read run in the leader of a parallel query before PostgreSQL 17, too.

    In parallel mode, PostgreSQL refuses the subtransaction of a query through plpy there, because it could write
    what the workers do not know of. From version 17 on it refuses the writing only. So the queries must be such
    that cannot write. In a worker, they stay refused. The two functions only count, and raise no error.
    """
    levels = 0
    if not _begins_subtransactions_in_parallel and _worker_number.value < 0 and not _checks_itself:
        while _is_in_parallel_mode():
            _exit_parallel_mode()
            levels += 1
    try:
        yield
    finally:
        for _ in range(levels):
            _enter_parallel_mode()


_SPARE_BYTES = 1 << 18
_libc_malloc = _server.malloc
_libc_malloc.restype = ctypes.c_void_p
_libc_malloc.argtypes = (ctypes.c_size_t,)
_libc_free = _server.free
_libc_free.restype = None
_libc_free.argtypes = (ctypes.c_void_p,)


def check_memory() -> None:
    """Refuse to go on where the process is about to run out of memory.

    Raises:
        MemoryError: 256 kB, which is more than the server allocates where PL/Python cannot catch its errors, are
            not there.
    """
    block = _libc_malloc(_SPARE_BYTES)
    if not block:
        raise MemoryError
    _libc_free(block)


_get_latest_snapshot = _server.GetLatestSnapshot
_get_latest_snapshot.restype = ctypes.c_void_p
_get_latest_snapshot.argtypes = ()
_push_active_snapshot = _server.PushActiveSnapshot
_push_active_snapshot.restype = None
_push_active_snapshot.argtypes = (ctypes.c_void_p,)
_pop_active_snapshot = _server.PopActiveSnapshot
_pop_active_snapshot.restype = None
_pop_active_snapshot.argtypes = ()


@contextmanager
def latest_snapshot() -> Iterator[None]:
    """Let read-only queries see what is committed by now, whatever the isolation level and however old a cursor.

    PostgreSQL checks its own privileges and foreign keys in the same way. GetLatestSnapshot raises an error in
    parallel mode, and if there is no memory: so the snapshot of a parallel query stays that of its statement.
    """
    if _is_in_parallel_mode():
        yield
        return
    check_memory()
    _push_active_snapshot(_get_latest_snapshot())
    try:
        yield
    finally:
        _pop_active_snapshot()


def misses_latest_snapshot() -> bool:
    """Return whether ``latest_snapshot`` does nothing now: in a parallel query from PostgreSQL 17 on.

    Before, queries run in the leader only, which suspends parallel mode for them.
    """
    return _begins_subtransactions_in_parallel and bool(_is_in_parallel_mode())


_PLAN_MAGIC = 569278163
_plan_is_valid = _server.SPI_plan_is_valid
_plan_is_valid.restype = ctypes.c_bool
_plan_is_valid.argtypes = (ctypes.c_void_p,)


def is_plan_valid(plan: object) -> bool:
    """Return whether PostgreSQL has not invalidated a plan of ``plpy.prepare``.

    The server's plan is the first field of PL/Python's object, and begins with a number that it is recognized by.
    In a version of PL/Python where this does not hold, no plan counts as valid.

    Args:
        plan: the plan.
    """
    address = ctypes.c_void_p.from_address(id(plan) + object.__basicsize__).value
    if not address or ctypes.c_int.from_address(address).value != _PLAN_MAGIC:
        return False
    return bool(_plan_is_valid(address))


_invalidate_relation = _server.CacheInvalidateRelcacheByRelid
_invalidate_relation.restype = None
_invalidate_relation.argtypes = (ctypes.c_uint,)


def invalidate_relation(oid: int) -> None:
    """Have all sessions forget what they have cached of a relation, when this transaction commits.

    CacheInvalidateRelcacheByRelid raises an error if there is no such relation, if there is no memory, or if the
    transaction around this subtransaction has invalidations that PostgreSQL has not processed. So the caller must
    just have read the relation in a query, before which PostgreSQL processes them.

    Args:
        oid: the relation's OID.
    """
    check_memory()
    with _interrupts_wait():
        _invalidate_relation(oid)


_get_user_and_context = _server.GetUserIdAndSecContext
_get_user_and_context.restype = None
_get_user_and_context.argtypes = (ctypes.POINTER(ctypes.c_uint32), ctypes.POINTER(ctypes.c_int))
_set_user_and_context = _server.SetUserIdAndSecContext
_set_user_and_context.restype = None
_set_user_and_context.argtypes = (ctypes.c_uint32, ctypes.c_int)
_new_guc_nest_level = _server.NewGUCNestLevel
_new_guc_nest_level.restype = ctypes.c_int
_new_guc_nest_level.argtypes = ()
_end_guc_nest_level = _server.AtEOXact_GUC
_end_guc_nest_level.restype = None
_end_guc_nest_level.argtypes = (ctypes.c_bool, ctypes.c_int)
_LOCAL_USERID_CHANGE = 1
_RESTRICTED_OPERATION = 2
_NOFORCE_RLS = 4


@contextmanager
def acting_as(role: int, *, past_policies: bool) -> Iterator[None]:
    """Run the block with the rights of another role, as VACUUM and REINDEX do with those of a table's owner.

    SET ROLE would not do: code of that role could RESET it. Here it can neither change the current user nor leave
    anything behind for later, such as a setting, a temporary table or a deferred trigger. The server's functions
    that this calls assign variables, and raise no error; if a query in the block fails, the abort of its
    subtransaction brings back the user that it began with, and the end of the block the one before.

    Args:
        role: the role's OID.
        past_policies: FORCE ROW LEVEL SECURITY does not bind the role to the policies of its own tables.

    Yields:
        Nothing.
    """
    user, context = ctypes.c_uint32(), ctypes.c_int()
    _get_user_and_context(ctypes.byref(user), ctypes.byref(context))
    changed = context.value | _LOCAL_USERID_CHANGE | _RESTRICTED_OPERATION | (_NOFORCE_RLS if past_policies else 0)
    _set_user_and_context(role, changed)
    level = _new_guc_nest_level()
    try:
        yield
    finally:
        _end_guc_nest_level(False, level)
        _set_user_and_context(user, context)
