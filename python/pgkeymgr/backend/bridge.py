"""The bridge between SQL and Python. SQL functions call it, and it raises errors as PostgreSQL's errors.

All PL/Python functions of a session share ``GD``, also those of other authors. The bridge puts only functions into
it, which are safe for every caller that SQL admits. The root key cannot be reached from there.

Source: https://www.postgresql.org/docs/current/plpython-sharing.html and plpython-util.html
"""

from __future__ import annotations

import os
from collections.abc import Callable
from ctypes import ArgumentError

import plpy

from .. import __version__
from ..crypto import kdf, secretbox
from ..errors import DataError, Error, LibraryError, LimitError
from .functions import Functions
from .session import Session

TYPE_CHECKING = False  # see key/named_tuple.py
if TYPE_CHECKING:
    from typing import Any

    _Function = Callable[..., Any]

_RECONNECT = "The extension has been updated since this session began. Reconnect."


_BUILD_FILE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "build.txt")

_NAME = "pgkeymgr"
_PREFIX = f"{_NAME}: "

# PL/Python puts the name of an exception's class before its message. With this name and without a module, the
# message reads "ERROR:  pgkeymgr: ...".
_SqlError = type(_NAME, (plpy.Error,), {"__module__": "builtins"})


class _SqlFunctions:
    """The functions that SQL calls, as attributes. GD has one such object for each schema of the extension.

    The first call of a function sets its attribute, and its entry in GD: SQL finds the entry in half the time.
    """

    def __init__(self, functions: Functions, enter: Callable[[str, _Function], None]) -> None:
        self._find = functions.find
        self._speed_up = functions.speed_up
        self._enter = enter

    def __getattr__(self, name: str) -> _Function:
        try:
            function = self._find(name)
        except Error as error:
            raise _sql_error(error) from None
        except ImportError as error:
            raise _sql_error(_import_failure(error)) from None
        except MemoryError:
            raise _sql_error(LimitError(f"{name}: out of memory")) from None
        if function is None:
            raise _sql_error(
                LibraryError(
                    f"pgkeymgr {__version__}, which this session has loaded, has no function {name}",
                    hint=_RECONNECT,
                )
            )
        guarded = _guard(function)
        speed_up = self._speed_up(name)
        called = guarded if speed_up is None else speed_up(guarded)
        setattr(self, name, called)
        self._enter(name, called)
        return called


def install(globals_: dict[str, Any], version: str, schema: str, build: str) -> None:
    """Make the functions available to the session.

    Args:
        globals_: PL/Python's GD.
        version: the version of the extension's SQL script, which must be the version of this package.
        schema: the extension's schema as a quoted identifier.
        build: the hash of the SQL script, which must be that of the script that was built with this package.

    Raises:
        plpy.Error: the versions or the hashes differ, or a cipher gives a wrong answer.
    """
    if version != __version__:
        raise _sql_error(
            LibraryError(
                f"the extension's SQL has version {version}, but its Python package has version {__version__}",
                hint="Reconnect. If the error stays, run pgkeymgr upgrade or make install.",
            )
        )
    if build != _read_build():
        raise _sql_error(
            LibraryError(
                f"the extension's SQL and its Python package are two builds of version {version}, which differ",
                hint="Reconnect. If the error stays, run make install of the commit that made the extension.",
            )
        )
    _self_test()

    def enter(name: str, function: _Function) -> None:
        globals_[f"pgkeymgr.{build}.{schema}.{name}"] = function

    globals_[f"pgkeymgr.{schema}"] = _SqlFunctions(Functions(Session(schema)), enter)
    globals_[f"pgkeymgr.{schema}.build"] = build


def _read_build() -> str:
    # make install puts the file into the package. An earlier package of this version has no such file.
    try:
        with open(_BUILD_FILE, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _self_test() -> None:
    # No data may be encrypted with a cipher that does nothing, or with another cipher. The answer is pgsodium's.
    key = kdf.crypto_kdf_derive_from_key(32, 1, b"pgsodium", b"\x10" * 32)
    nonce = bytes.fromhex("24540ab8aa32a1fc3c56ad65b3465b5b1547c2bfae4caed6")
    if secretbox.crypto_secretbox(b"", nonce, key).hex() != "d7960475357ddae097f8f45f5bffcecf":
        raise _sql_error(LibraryError("PyNaCl's secretbox does not give the known answer"))


def _guard(function: _Function) -> _Function:
    """Return a function that calls the given one and raises its errors as PostgreSQL's."""
    count = function.__code__.co_argcount - hasattr(function, "__self__")
    return _GUARDS.get(count, _guard_any)(function)


def _guard_any(function: _Function) -> _Function:
    def guarded(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            raise _sql_error(_explain(error, function, arguments)) from None

    return guarded


# The functions with fixed numbers of arguments are for calls that are made for each row: *arguments costs a tenth
# of a microsecond, which is a tenth of the whole call.


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
    if isinstance(error, TypeError | AttributeError) and (fault := _argument_fault(function, arguments)):
        return DataError(f"{name}: {fault}")
    if isinstance(error, ImportError):
        return _import_failure(error)
    if isinstance(error, MemoryError | RecursionError | ArgumentError):
        # The types of our arguments are right: ctypes lacks stack or memory to convert one, and names the reason.
        is_memory = isinstance(error, MemoryError) or MemoryError.__name__ in str(error)
        why = "out of memory" if is_memory else "calls are nested too deeply"
        return LimitError(f"{name}: {why}")
    # The text of an unexpected error could hold an argument, so the message has only its type.
    return Error(f"{name}: internal error of type {type(error).__name__}")


def _argument_fault(function: _Function, arguments: tuple[Any, ...]) -> str | None:
    """Return a phrase for an argument that is not of its Python type, or None.

    The functions do not check for that, so such an argument causes an error somewhere inside.
    """
    for (parameter, type_), argument in zip(function.__annotations__.items(), arguments, strict=False):
        if argument is None and "None" not in str(type_):
            return f"{parameter} must not be NULL"
        # PL/Python makes lists in a list of an array of several dimensions.
        if isinstance(argument, list) and any(isinstance(each, list) for each in argument):
            return f"{parameter} must be an array of one dimension"
    return None


def _sqlstate(error: Any) -> str:
    # PL/Python's exceptions have an attribute with the SQLSTATE only if the SQLSTATE is one of PostgreSQL's own.
    # All errors that PostgreSQL has raised have it in a number, with six bits for each character.
    # An error that PL/Python itself has raised, about a COMMIT in a statement for instance, has no such number.
    spidata = getattr(error, "spidata", None)
    if not spidata:
        return str(getattr(error, "sqlstate", Error.sqlstate))
    packed: int = spidata[0]
    return "".join(chr((packed >> 6 * place & 0x3F) + ord("0")) for place in range(5))


def _import_failure(error: ImportError) -> LibraryError:
    return LibraryError(f"this session can no longer import {error.name}", hint=_RECONNECT)


class _ServerError(Error):
    """An error of PostgreSQL or of another function of pgkeymgr, in a query that this package has run.

    It keeps the message and the hint. DETAIL is dropped, since PostgreSQL shows rows there.
    """

    def __init__(self, error: Any) -> None:
        # spidata is a tuple of the SQLSTATE, DETAIL, HINT and more.
        spidata = getattr(error, "spidata", None)
        super().__init__(str(error).removeprefix(_PREFIX), hint=spidata[2] if spidata else None)
        self.sqlstate = _sqlstate(error)  # type: ignore[misc]  # One class serves all SQLSTATEs.


def _sql_error(error: Error) -> Exception:
    sql_error: Exception = _SqlError(error.message)
    sql_error.sqlstate = error.sqlstate  # type: ignore[attr-defined]  # PL/Python reads both attributes.
    sql_error.hint = error.hint  # type: ignore[attr-defined]
    return sql_error
