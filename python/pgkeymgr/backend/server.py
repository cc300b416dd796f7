"""Calls into the PostgreSQL server's own C functions, for facts that a query cannot or need not fetch.

A query through ``plpy`` begins a subtransaction, which PostgreSQL 15 and 16 refuse in parallel queries. Ordinary
users cannot see settings such as ``config_file``. Neither restriction holds for the server's exported functions
and variables.

A PostgreSQL error in one of these calls would jump over the interpreter's frames, after which the next call
crashes the server. So this module calls only functions that raise no error. Where a function could raise an error,
a comment says why it does not here.

Sources: src/include and src/backend of PostgreSQL, where each function is documented; elog.h and plpy_elog.c on
errors
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

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
    """Defer cancels and timeouts, whose errors the server could raise after each message that it writes."""
    _interrupts_held.value += 1
    try:
        yield
    finally:
        _interrupts_held.value -= 1


def setting(name: str) -> str | None:
    """Return the value of a setting, or None if no setting has that name. Hidden settings are included."""
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
    """Return whether the statement or the session has been asked to stop."""
    return bool(_cancel_pending.value or _die_pending.value)


# These names are the bare function objects of ctypes. They are called for each row, and a Python function around
# each would double the cost.

user_id = _server.GetUserId
"""Return the OID of the current user, which SET ROLE and SECURITY DEFINER functions change."""
user_id.restype = ctypes.c_uint
user_id.argtypes = ()

statement_stamp = _server.GetCurrentStatementStartTimestamp
"""Return the time at which the client's present message arrived, in microseconds. It differs for each
statement."""
statement_stamp.restype = ctypes.c_int64
statement_stamp.argtypes = ()

transaction_stamp = _server.GetCurrentTransactionStartTimestamp
"""Return the time at which the present transaction began, in microseconds. A procedure's COMMIT also changes
it."""
transaction_stamp.restype = ctypes.c_int64
transaction_stamp.argtypes = ()

subtransaction_id = _server.GetCurrentSubTransactionId
"""Return the number of the present subtransaction, which is unique within its transaction."""
subtransaction_id.restype = ctypes.c_uint32
subtransaction_id.argtypes = ()

_is_transaction_block = _server.IsTransactionBlock
_is_transaction_block.restype = ctypes.c_bool
_is_transaction_block.argtypes = ()
_SAME_REQUEST_MICROSECONDS = 1000


def has_old_transaction(statement: int, transaction: int) -> bool:
    """Return whether the present transaction began before the present statement.

    If the server began a transaction for a single statement, the transaction is a few microseconds older. It
    begins with the client's message Bind, and the statement begins with the message Execute of the same request.

    Args:
        statement: the result of ``statement_stamp``.
        transaction: the result of ``transaction_stamp``.
    """
    if transaction == statement:
        return False
    return statement - transaction >= _SAME_REQUEST_MICROSECONDS or bool(_is_transaction_block())


_current_command_id = _server.GetCurrentCommandId
_current_command_id.restype = ctypes.c_uint32
_current_command_id.argtypes = (ctypes.c_bool,)


def command_id() -> int:
    """Return the number of commands in the present transaction that have changed something, DDL included."""
    command: int = _current_command_id(False)
    return command


_transaction_xmin = ctypes.c_uint32.in_dll(_server, "TransactionXmin")
_FIRST_NORMAL_XID = 3
_HALF = 0x7FFFFFFF


def precedes_snapshots(xid: int) -> bool:
    """Return whether a transaction had ended before the oldest snapshot in use by this transaction was taken.

    Args:
        xid: the 32-bit number of a committed transaction, as in a row version.

    Returns:
        True if the transaction had certainly ended.
    """
    xmin = _transaction_xmin.value
    if xmin < _FIRST_NORMAL_XID:
        return False
    # The numbers form a circle: a number that is more than half of the circle away comes before.
    return _FIRST_NORMAL_XID <= xid != xmin and (xid - xmin) & 0xFFFFFFFF > _HALF


_PGC_SUSET = 5
_defined: list[tuple[ctypes.c_char_p, bytes, bytes]] = []


def define_superuser_setting(name: str, description: str) -> None:
    """Define a setting in this process that only a superuser can set. RESET ALL and DISCARD ALL reset it.

    DefineCustomStringVariable raises an error if the setting has been defined before, which this function
    prevents, or if the process is out of memory. If an ordinary user has given the name a value before, PostgreSQL
    drops the value with a warning.

    Args:
        name: the name of the setting, with a dot in it.
        description: the purpose of the setting.
    """
    if any(name.encode() == known for _, known, _ in _defined):
        return
    # The server keeps pointers to these values, so they must not be freed.
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
    # Otherwise a cancel or a timeout in the meantime would raise an error after the warning.
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
    """Let the server log a message without the statement and its parameters.

    This changes the variables of two settings directly and restores them, because a query cannot set them in a
    parallel query. No other code runs in between that could see the change.
    """
    before = _log_min_error_statement.value, _log_error_verbosity.value
    _log_min_error_statement.value, _log_error_verbosity.value = _PANIC, _TERSE
    try:
        yield
    finally:
        _log_min_error_statement.value, _log_error_verbosity.value = before


def version() -> int:
    """Return the server's version as a number, such as 150004 for 15.4."""
    return int(setting("server_version_num") or 0)


_begins_subtransactions_in_parallel = version() >= _SUBTRANSACTIONS_IN_PARALLEL


def refuses_subtransactions() -> bool:
    """Return whether a query through plpy would fail: in a parallel query before PostgreSQL 17, it does."""
    return not _begins_subtransactions_in_parallel and bool(_is_in_parallel_mode())


_exit_parallel_mode = _server.ExitParallelMode
_exit_parallel_mode.restype = None
_exit_parallel_mode.argtypes = ()
_enter_parallel_mode = _server.EnterParallelMode
_enter_parallel_mode.restype = None
_enter_parallel_mode.argtypes = ()
_worker_number = ctypes.c_int.in_dll(_server, "ParallelWorkerNumber")
# A server with assertions enabled requires that a parallel query does not leave parallel mode.
_checks_itself = setting("debug_assertions") == "on"


@contextmanager
def parallel_mode_suspended() -> Iterator[None]:
    """Allow read-only queries in the leader of a parallel query before PostgreSQL 17.

    Before version 17, PostgreSQL refuses the subtransaction of a query through plpy in parallel mode, because the
    workers would not know of its changes. From version 17 on, it only refuses the changes. So the caller must run
    only queries that cannot write. In a worker, queries stay refused. The two functions only change a counter, and
    raise no error.
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
    """Refuse to go on if the process is about to run out of memory.

    Raises:
        MemoryError: less than 256 kB are free. The server allocates less than this in the places where PL/Python
            cannot catch its errors.
    """
    block = _libc_malloc(_SPARE_BYTES)
    if not block:
        raise MemoryError
    _libc_free(block)


_client_min_messages = ctypes.c_int.in_dll(_server, "client_min_messages")
_log_min_messages = ctypes.c_int.in_dll(_server, "log_min_messages")
_DEBUG4 = 11


def prepare_query() -> None:
    """Keep PostgreSQL from raising an error where PL/Python cannot catch it: when the subtransaction begins.

    With a setting of ``debug5``, the server writes messages about a subtransaction that begins, and raises the
    error of a cancel or a timeout after each. So such a setting becomes ``debug4``: only messages about
    transactions have the level that is lost.

    Raises:
        MemoryError: as of ``check_memory``.
    """
    _client_min_messages.value = max(_client_min_messages.value, _DEBUG4)
    _log_min_messages.value = max(_log_min_messages.value, _DEBUG4)
    check_memory()


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
    """Let read-only queries see all changes that are committed by now.

    This holds at every isolation level, and below an old cursor. PostgreSQL checks its own privileges and foreign
    keys in the same way. GetLatestSnapshot raises an error in parallel mode, so a parallel query keeps the
    snapshot of its statement. It also raises an error without memory, which is checked before.
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
    """Return whether ``latest_snapshot`` has no effect now, as in a parallel query from PostgreSQL 17 on.

    Before version 17, only the leader runs queries, and it suspends parallel mode for them.
    """
    return _begins_subtransactions_in_parallel and bool(_is_in_parallel_mode())


_PLAN_MAGIC = 569278163
_plan_is_valid = _server.SPI_plan_is_valid
_plan_is_valid.restype = ctypes.c_bool
# Without argtypes, ctypes takes the pointer that ``validity`` has made as it is, which is less work.


def validity(plan: object) -> Callable[[], bool]:
    """Return the function that says whether a plan of ``plpy.prepare`` is still valid.

    PostgreSQL invalidates the plans of tables that have changed. The function is called for each statement, and
    the caller must keep the plan as long as the function.

    The first field of PL/Python's object points to the server's plan, which begins with a magic number. If another
    version of PL/Python has another layout, the number differs, and the plan never counts as valid.

    Args:
        plan: the plan.
    """
    address = ctypes.c_void_p.from_address(id(plan) + object.__basicsize__)
    if not address or ctypes.c_int.from_address(address.value or 0).value != _PLAN_MAGIC:
        return never
    return partial(_plan_is_valid, ctypes.c_void_p(address.value))


def never() -> bool:
    """Return False."""
    return False


_invalidate_relation = _server.CacheInvalidateRelcacheByRelid
_invalidate_relation.restype = None
_invalidate_relation.argtypes = (ctypes.c_uint,)


def invalidate_relation(oid: int) -> None:
    """Invalidate the cached catalog entry of a relation in all sessions, when this transaction commits.

    CacheInvalidateRelcacheByRelid raises an error if the relation does not exist, if the process is out of memory,
    or if the transaction around this subtransaction has pending invalidations. So the caller must read the
    relation in a query directly before this call: PostgreSQL processes the invalidations at the start of that
    query.

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
def _restored_user() -> Iterator[tuple[int, int]]:
    """Restore the current user and the security context at the end of the block, which gets both."""
    user, context = ctypes.c_uint32(), ctypes.c_int()
    _get_user_and_context(ctypes.byref(user), ctypes.byref(context))
    try:
        yield user.value, context.value
    finally:
        _set_user_and_context(user, context)


@contextmanager
def acting_as(role: int, *, past_policies: bool) -> Iterator[None]:
    """Run the block with the rights of another role, as VACUUM and REINDEX do with the rights of a table's owner.

    SET ROLE is not enough, because code of that role could RESET it. In this block, the code can neither change
    the current user nor leave a setting, a temporary table or a deferred trigger behind. The called functions of
    the server only assign variables, and raise no error. If a query in the block fails, the abort of its
    subtransaction restores the user at its beginning, and the end of the block restores the user before the block.

    Args:
        role: the OID of the role.
        past_policies: whether the role ignores the policies of its own tables, even with FORCE ROW LEVEL SECURITY.

    Yields:
        Nothing.
    """
    added = _LOCAL_USERID_CHANGE | _RESTRICTED_OPERATION | (_NOFORCE_RLS if past_policies else 0)
    with _restored_user() as (_, context):
        _set_user_and_context(role, context | added)
        level = _new_guc_nest_level()
        try:
            yield
        finally:
            with _interrupts_wait():
                _end_guc_nest_level(False, level)


@contextmanager
def unrestricted() -> Iterator[None]:
    """Allow the block to queue deferred triggers, in spite of ``acting_as`` around it.

    The block must run no code of a user's.

    Yields:
        Nothing.
    """
    with _restored_user() as (user, context):
        _set_user_and_context(user, context & ~_RESTRICTED_OPERATION)
        yield
