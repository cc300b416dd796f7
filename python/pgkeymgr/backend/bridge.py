"""The bridge: all that SQL functions call, with plpy, GD and the session on this side of it only.

``GD`` is shared by every PL/Python function of a session, whoever wrote it. What it leads to here are
functions to be called, each safe for any caller that SQL let through; not the root key.
"""

from collections.abc import Callable
from typing import Any

import plpy

from .. import __version__
from ..crypto import kdf, secretbox
from ..errors import DataError, Error, LibraryError, LimitError
from .functions import Functions
from .session import Session

_RECONNECT = "The extension was updated since. Reconnect."

_Function = Callable[..., Any]


_NAME = "pgkeymgr"
_PREFIX = f"{_NAME}: "

# PL/Python puts an exception's class before its message: by this name, and as if it were a built-in one,
# it reads "ERROR:  pgkeymgr: ...".
_SqlError = type(_NAME, (plpy.Error,), {"__module__": "builtins"})


class _SqlFunctions:
    """The functions that SQL calls, each an attribute; GD['pgkeymgr'] is the only one of these.

    One is an attribute from its first call on.
    """

    def __init__(self, functions: Functions) -> None:
        self._find = functions.find
        self._speed_up = functions.speed_up

    def __getattr__(self, name: str) -> _Function:
        try:
            function = self._find(name)
        except Error as error:
            raise _sql_error(error) from None
        except ImportError as error:
            raise _sql_error(_gone(error)) from None
        except MemoryError:
            raise _sql_error(LimitError(f"{name}: out of memory")) from None
        if function is None:
            raise _sql_error(
                LibraryError(
                    f"this session has loaded pgkeymgr {__version__}, which has no function {name}",
                    hint=_RECONNECT,
                )
            )
        guarded = _guard(function)
        speed_up = self._speed_up(name)
        called = guarded if speed_up is None else speed_up(guarded)
        setattr(self, name, called)
        return called


def install(globals_: dict[str, Any], version: str, schema: str) -> None:
    """Make the functions available to the session.

    Args:
        globals_: PL/Python's GD.
        version: the version of the extension's SQL script, which must be this package's.
        schema: the extension's schema, quoted where it must be.

    Raises:
        plpy.Error: the versions differ, or a cipher does not give the known answer.
    """
    if version != __version__:
        raise _sql_error(
            LibraryError(
                f"the extension's SQL is of version {version}, its Python package of {__version__}",
                hint="Reconnect; if that does not help, ALTER EXTENSION pgkeymgr UPDATE, or make install.",
            )
        )
    _self_test()
    globals_["pgkeymgr"] = _SqlFunctions(Functions(Session(schema)))


def _self_test() -> None:
    # A cipher that does nothing, or another one, must not get to anyone's data. The answer is pgsodium's.
    key = kdf.crypto_kdf_derive_from_key(32, 1, b"pgsodium", b"\x10" * 32)
    nonce = bytes.fromhex("24540ab8aa32a1fc3c56ad65b3465b5b1547c2bfae4caed6")
    if secretbox.crypto_secretbox(b"", nonce, key).hex() != "d7960475357ddae097f8f45f5bffcecf":
        raise _sql_error(LibraryError("PyNaCl's secretbox does not give the known answer"))


def _guard(function: _Function) -> _Function:
    """Make the function that SQL calls: the same, its errors as PostgreSQL's."""
    count = function.__code__.co_argcount - hasattr(function, "__self__")
    return _GUARDS.get(count, _guard_any)(function)


def _guard_any(function: _Function) -> _Function:
    def guarded(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            raise _sql_error(_explain(error, function, arguments)) from None

    return guarded


# The same for the numbers of arguments of the calls that are made for each row: *arguments costs a tenth of
# a microsecond, which is a tenth of the whole call.


def _guard_1(function: _Function) -> _Function:
    def guarded(one: Any) -> Any:
        try:
            return function(one)
        except Exception as error:
            raise _sql_error(_explain(error, function, (one,))) from None

    return guarded


def _guard_2(function: _Function) -> _Function:
    def guarded(one: Any, two: Any) -> Any:
        try:
            return function(one, two)
        except Exception as error:
            raise _sql_error(_explain(error, function, (one, two))) from None

    return guarded


def _guard_3(function: _Function) -> _Function:
    def guarded(one: Any, two: Any, three: Any) -> Any:
        try:
            return function(one, two, three)
        except Exception as error:
            raise _sql_error(_explain(error, function, (one, two, three))) from None

    return guarded


def _guard_4(function: _Function) -> _Function:
    def guarded(one: Any, two: Any, three: Any, four: Any) -> Any:
        try:
            return function(one, two, three, four)
        except Exception as error:
            raise _sql_error(_explain(error, function, (one, two, three, four))) from None

    return guarded


_GUARDS = {1: _guard_1, 2: _guard_2, 3: _guard_3, 4: _guard_4}


def _explain(error: Exception, function: _Function, arguments: tuple[Any, ...]) -> Error:
    name = function.__name__.removesuffix("_by_id")
    if isinstance(error, Error):
        if isinstance(error, DataError | LimitError) and not name.startswith("_"):
            error.message = f"{name}: {error.message}"
        return error
    if isinstance(error, plpy.SPIError):
        return _ServerError(error)
    # The functions are typed, so a None that is not allowed ends in one of these somewhere inside.
    if isinstance(error, TypeError | AttributeError):
        for (parameter, type_), argument in zip(function.__annotations__.items(), arguments, strict=False):
            if argument is None and "None" not in str(type_):
                return DataError(f"{name}: {parameter} must not be NULL")
    if isinstance(error, ImportError):
        return _gone(error)
    if isinstance(error, MemoryError | RecursionError):
        why = "out of memory" if isinstance(error, MemoryError) else "calls are nested too deeply"
        return LimitError(f"{name}: {why}")
    # Of an error that nobody thought of, only the kind: its text could hold any of the arguments.
    return Error(f"{name}: internal error of the kind {type(error).__name__}")


def _sqlstate(error: Any) -> str:
    # PL/Python's exceptions have theirs as an attribute if it is one of PostgreSQL's own. Packed in a number, six
    # bits for each character, all of those that PostgreSQL raised have it.
    if not error.spidata:
        return str(getattr(error, "sqlstate", Error.sqlstate))
    packed: int = error.spidata[0]
    return "".join(chr((packed >> 6 * place & 0x3F) + ord("0")) for place in range(5))


def _gone(error: ImportError) -> LibraryError:
    return LibraryError(f"this session cannot import {error.name} any more", hint=_RECONNECT)


class _ServerError(Error):
    """An error in a query of ours, of PostgreSQL's own or of another function of pgkeymgr.

    It keeps the message and the hint. DETAIL is dropped, since PostgreSQL shows rows there.
    """

    def __init__(self, error: Any) -> None:
        # spidata: SQLSTATE, DETAIL, HINT and more.
        super().__init__(str(error).removeprefix(_PREFIX), hint=error.spidata[2] if error.spidata else None)
        self.sqlstate = _sqlstate(error)  # type: ignore[misc]  # one class for all of them


def _sql_error(error: Error) -> Exception:
    sql_error: Exception = _SqlError(error.message)
    sql_error.sqlstate = error.sqlstate  # type: ignore[attr-defined]  # PL/Python reads these two
    sql_error.hint = error.hint  # type: ignore[attr-defined]
    return sql_error
