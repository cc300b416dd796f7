"""The bridge: all that SQL functions call, with plpy, GD and the session on this side of it only.

``GD`` is shared by every PL/Python function of a session, whoever wrote it. What it leads to here are
functions to be called, each safe for any caller that SQL let through; not the root key.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import plpy

from . import __version__, getkey, server
from .column.blind_index import BlindIndexes
from .column.cell import Cells
from .column.ddl import Ddl
from .column.decrypt_column import DecryptColumn
from .column.deterministic import Deterministic
from .column.encrypt_column import EncryptColumn
from .column.operation import Operations
from .column.relations import Relations
from .column.upsert import Upserts
from .column.verify_column import VerifyColumn
from .column.view import Views
from .compat.pg_kmgr import pg_decrypt, pg_encrypt
from .compat.pgcryptokey import Cryptokeys
from .compat.pgsodium import PgsodiumKeys, by_uuid_functions
from .crypto import (
    aead_det,
    aead_ietf,
    auth,
    box,
    generichash,
    hash,
    kdf,
    kx,
    pwhash,
    randombytes,
    secretbox,
    secretstream,
    shorthash,
    sign,
    signcrypt,
    stream_xchacha20,
    utils,
)
from .errors import DataError, Error, LibraryError, LimitError, PrivilegeError
from .key.audit import Audit
from .key.data_key import DataKeys
from .key.keyring import Record
from .key.passphrase_wrap import PassphraseWraps
from .key.root_rotation import RootRotation
from .key.table import KeyTable
from .key.token import Tokens, to_text
from .key.wrap_key import WrapKey
from .root_key import LocalRootKey, RootKey
from .sealed.exchange import Exchange
from .sealed.passphrase import Passphrases
from .sealed.session_keyring import SessionKeyring
from .sealed.sharing import Sharing
from .sealed.transport import Transport
from .sealed.user_key import UserKeys

if TYPE_CHECKING:
    from .agent.remote import RemoteRootKey

_PRIMITIVES = (
    aead_det,
    aead_ietf,
    auth,
    box,
    generichash,
    hash,
    kdf,
    kx,
    pwhash,
    randombytes,
    secretbox,
    secretstream,
    shorthash,
    sign,
    signcrypt,
    stream_xchacha20,
    utils,
)
_PYTHON_ONLY = (
    "ask_for_dependents",
    "encryptor",
    "knows_encryptor",
    "is_kept",
    "decryptor",
    "opened",
    "open",
    "forget_offer",
)
_COLUMN_FUNCTIONS = (
    "_open_text",
    "_open_bytes",
    "_seal_text",
    "_seal_bytes",
    "_seal_deterministic",
    "_reseal",
    "_problem",
    "_key_by",
    "_blind",
    "encrypt_column",
    "refresh_encrypted_view",
    "_after_ddl",
    "add_blind_index",
    "drop_blind_index",
    "blind_index",
    "deterministic_tokens",
    "migrate_column",
    "rotate_column",
    "decrypt_column",
    "upsert",
    "verify_column",
)
_PREFIXES = ("crypto_", "randombytes_", "sodium_")

_Function = Callable[..., Any]

_root_key: RootKey | None = None
_agent: "RemoteRootKey | None" = None


# PL/Python puts an exception's class before its message: by this name, and as if it were a built-in one,
# it reads "ERROR:  pgkeymgr: ...".
_SqlError = type("pgkeymgr", (plpy.Error,), {"__module__": "builtins"})


class _Functions:
    """The functions that SQL calls, each an attribute; GD['pgkeymgr'] is the only one of these."""

    def __getattr__(self, name: str) -> NoReturn:
        raise _sql_error(
            LibraryError(
                f"this session has loaded pgkeymgr {__version__}, which has no function {name}",
                hint="The extension was updated since. Reconnect.",
            )
        )


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
    functions = _Functions()
    for module in _PRIMITIVES:
        for name, function in vars(module).items():
            if name.startswith(_PREFIXES):
                setattr(functions, name, _guard(function))
    session = _Session(schema)
    table = KeyTable(session)
    data_keys = DataKeys(table)
    tokens = Tokens(table)
    relations = Relations(session)
    views = Views(relations)
    blind_indexes = BlindIndexes(relations, views, table)
    encrypt_column = EncryptColumn(relations, views, blind_indexes, table, data_keys)
    decrypt_column = DecryptColumn(relations, views, blind_indexes, encrypt_column, table)
    data_keys.ask_for_dependents(encrypt_column.dependents_of)
    passphrase_wraps = PassphraseWraps(table)
    exchange = Exchange(table)
    session_keyring = SessionKeyring(table, passphrase_wraps, exchange)
    others: list[_Function] = [derive_key, derive_key_under, *_by_id_functions()]
    for functions_of in (
        data_keys,
        tokens,
        WrapKey(table.root_wraps, session),
        RootRotation(table),
        exchange,
        Passphrases(table, passphrase_wraps, exchange),
        Transport(table, exchange),
        UserKeys(table, exchange),
        Sharing(table),
        session_keyring,
        Cryptokeys(table, passphrase_wraps),
        PgsodiumKeys(table, data_keys),
    ):
        others += _public_methods(functions_of)
    cells = Cells(tokens, table)
    for functions_of_columns in (
        cells,
        encrypt_column,
        blind_indexes,
        views,
        Ddl(relations, views),
        Operations(relations, encrypt_column, decrypt_column, table, data_keys),
        Deterministic(relations, table),
        Upserts(relations),
        VerifyColumn(relations),
    ):
        others += _functions_of_sql(functions_of_columns)
    others += by_uuid_functions(table.secret)
    others += [pg_encrypt_text, pg_decrypt_text]
    others += [session._take_key, session._load_latest_key, session._as_owner]
    others += [session_keyring._session_keyring]
    others += [table.audit.verify_key_events, table.audit._link_key_events, table.audit._read_last_key_event]
    others += [_Doctor(session, table.audit).doctor]
    for function in others:
        setattr(functions, function.__name__, _guard(function))
    for name, quick in cells.quick_functions().items():
        setattr(functions, name, quick(getattr(functions, name)))
    globals_["pgkeymgr"] = functions


def _self_test() -> None:
    # A cipher that does nothing, or another one, must not get to anyone's data. The answer is pgsodium's.
    key = kdf.crypto_kdf_derive_from_key(32, 1, b"pgsodium", b"\x10" * 32)
    nonce = bytes.fromhex("24540ab8aa32a1fc3c56ad65b3465b5b1547c2bfae4caed6")
    if secretbox.crypto_secretbox(b"", nonce, key).hex() != "d7960475357ddae097f8f45f5bffcecf":
        raise _sql_error(LibraryError("PyNaCl's secretbox does not give the known answer"))


def _functions_of_sql(functions_of: object) -> list[_Function]:
    return [function for name in _COLUMN_FUNCTIONS if (function := getattr(functions_of, name, None)) is not None]


def _public_methods(functions_of: object) -> list[_Function]:
    names = [name for name in vars(type(functions_of)) if not name.startswith("_") and name not in _PYTHON_ONLY]
    return [getattr(functions_of, name) for name in names]


def derive_key(key_id: int, key_len: int, context: bytes) -> bytes:
    """Derive a key from the root key.

    Args:
        key_id: any 64-bit integer, signed.
        key_len: 16 to 64 bytes.
        context: 8 bytes.

    Returns:
        ``key_len`` bytes.

    Raises:
        DataError: an argument is out of range.
        RootKeyError: there is no root key.
        GetkeyError: the getkey script was refused, or failed.
    """
    return (_root_key or _load_root_key()).derive(key_id, key_len, context)


def derive_key_under(key_id: int, key_len: int, context: bytes, root_key: str) -> bytes:
    """Derive a key from the root key of a fingerprint, the newest or a previous one; see ``derive_key``.

    Raises:
        DataError: the fingerprint is NULL or empty.
        RootKeyError: there is no root key of that fingerprint.
    """
    if not root_key:
        raise DataError(f"root_key must be a fingerprint, and is {'NULL' if root_key is None else 'empty'}")
    return (_root_key or _load_root_key()).derive(key_id, key_len, context, root_key)


def _load_root_key() -> RootKey:
    global _root_key, _agent  # noqa: PLW0603  # a backend has one session, and so one root key
    if _agent is not None:
        return _agent.anew()
    import os

    from . import process
    from .agent.remote import RemoteRootKey, find_socket

    agent_socket = find_socket(os.environ)
    if agent_socket is not None:
        process.forbid_core_dumps()  # for the data keys
        _agent = RemoteRootKey(agent_socket, server.is_canceled)
        return _agent.anew()
    path = getkey.find(os.environ, server.config_file(), server.share_directory())
    getkey.check(path)
    process.forbid_core_dumps()
    output = getkey.run(path, server.is_canceled)
    _root_key = LocalRootKey(getkey.parse(output, path), f"getkey {path}")
    return _root_key


def pg_encrypt_text(data: str | None, key: bytes) -> bytes | None:
    """Return ``pg_encrypt`` of a text as UTF-8; None gives None."""
    return None if data is None else pg_encrypt(data.encode(), key)


def pg_decrypt_text(data: bytes | None, key: bytes) -> str | None:
    """Return ``pg_decrypt`` as text; None gives None."""
    return None if data is None else to_text(pg_decrypt(data, key))


class _Operation:
    """Something to be run with the rights of the extension's owner, and what came of it."""

    def __init__(self, operation: Callable[[], Any]) -> None:
        self.operation = operation
        self.result: Any = None
        self.error: Exception | None = None


class _Session:
    """This session's access to the key table; see ``pgkeymgr.key.database.Database``."""

    # Each is called for each row: C functions, which take no self.
    user = server.user_id
    stamp = server.statement_stamp
    transaction = server.transaction_stamp
    latest_snapshot = staticmethod(server.latest_snapshot)
    subtransaction = server.subtransaction_id

    def __init__(self, schema: str) -> None:
        self.schema = schema
        self._plans: dict[str, Any] = {}
        self._pending: list[_Operation] = []
        self._taken: Record | None = None

    def root_key(self) -> RootKey:
        return _root_key or _load_root_key()

    def reload_root_key(self) -> RootKey:
        return _load_root_key()

    def is_read_only(self) -> bool:
        return server.setting("transaction_read_only") == "on"

    def is_confidential(self) -> bool:
        # As the owner: after SET ROLE, pg_stat_ssl may not tell this session's own row.
        (row,) = self.as_owner(
            lambda: self.execute(
                "SELECT pg_catalog.inet_client_addr() IS NULL OR EXISTS (SELECT FROM pg_catalog.pg_stat_ssl"
                " WHERE pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() AND ssl) AS is_confidential"
            )
        )
        return bool(row["is_confidential"])

    def log(self, message: str) -> None:
        plpy.log(f"pgkeymgr: {message}")

    def warn(self, message: str, hint: str) -> None:
        plpy.warning(f"pgkeymgr: {message}", hint=hint)

    def execute(self, query: str, *arguments: tuple[str, Any]) -> list[dict[str, Any]]:
        types = [type_ for type_, _ in arguments]
        plan = self._plans.get(query)
        if plan is None:
            plan = self._plans[query] = plpy.prepare(query.replace("{s}", self.schema), types)
        return list(plpy.execute(plan, [value for _, value in arguments]))

    query = execute

    def run(self, statement: str) -> list[dict[str, Any]]:
        return list(plpy.execute(statement))

    def parse(self, query: str) -> None:
        plpy.prepare(query)

    def write(self, statement: str, *arguments: tuple[str, Any]) -> int:
        if not arguments:
            return int(plpy.execute(statement).nrows())
        plan = plpy.prepare(statement, [type_ for type_, _ in arguments])
        return int(plpy.execute(plan, [value for _, value in arguments]).nrows())

    def query_unkept(self, query: str, *arguments: tuple[str, Any]) -> list[dict[str, Any]]:
        plan = plpy.prepare(query, [type_ for type_, _ in arguments])
        return list(plpy.execute(plan, [value for _, value in arguments]))

    def can_query(self) -> bool:
        return not server.refuses_subtransactions()

    def commit(self) -> None:
        plpy.commit()

    def pause(self, seconds: float) -> None:
        self.execute("SELECT pg_catalog.pg_sleep($1)", ("double precision", seconds))

    def notice(self, message: str) -> None:
        plpy.notice(f"pgkeymgr: {message}")

    def setting(self, name: str) -> str | None:
        return server.setting(name)

    def mark_session(self, name: str, value: str, *, is_local: bool) -> None:
        server.define_superuser_setting(name, "set by pgkeymgr; ends what a session has unlocked")
        self.as_owner(
            lambda: self.execute(
                "SELECT pg_catalog.set_config($1, $2, $3)", ("text", name), ("text", value), ("boolean", is_local)
            )
        )

    def load_key(self, key_id: int, name: str, uuid: bytes, user: int) -> Record | None:
        self._taken = None
        if server.refuses_subtransactions():
            server.call_load_key(self.schema.strip('"'), key_id, name, uuid, user)
        else:
            function = "_load_latest_key" if server.has_old_snapshot() else "_load_key"
            uuid_type = "text" if server.has_old_snapshot() else "uuid"
            self.execute(
                f"SELECT {{s}}.{function}($1, $2, $3, $4)",
                ("integer", key_id),
                ("text", name),
                (uuid_type, uuid.hex()),
                ("oid", user),
            )
        return self._taken

    def _load_latest_key(self, key_id: int, name: str, uuid: str, user: int) -> None:
        with server.latest_snapshot():
            self.execute(
                "SELECT {s}._load_key($1, $2, $3, $4)",
                ("integer", key_id),
                ("text", name),
                ("uuid", uuid),
                ("oid", user),
            )

    def _take_key(
        self,
        key_id: int,
        uuid: bytes,
        family: int,
        name: str | None,
        key_type: str,
        state: str,
        is_expired: bool,
        superseded_by: int | None,
        derivation_id: int | None,
        context: bytes | None,
        may_encrypt: bool,
        may_decrypt: bool,
        root_wrap: bytes | None,
        fingerprint: str | None,
        other_wraps: list[str],
        user: int,
        passphrase_wrap: bytes | None,
        user_wrap: bytes | None,
    ) -> None:
        self._taken = Record(
            key_id,
            uuid,
            family,
            name,
            key_type,
            state,
            is_expired,
            superseded_by,
            derivation_id,
            context,
            may_encrypt,
            may_decrypt,
            root_wrap,
            fingerprint,
            tuple(other_wraps),
            user,
            passphrase_wrap,
            user_wrap,
        )

    def as_owner(self, operation: Callable[[], Any]) -> Any:
        pending = _Operation(operation)
        self._pending.append(pending)
        try:
            self.execute("SELECT {s}._as_owner()")
        except plpy.SPIError:
            # PL/Python made an SQL error of it on the way out of _as_owner.
            if pending.error is not None:
                raise pending.error from None
            raise
        finally:
            if pending in self._pending:
                self._pending.remove(pending)
        return pending.result

    def _as_owner(self) -> None:
        if not self._pending:
            raise PrivilegeError("_as_owner() is for the functions of pgkeymgr only")
        pending = self._pending.pop()
        try:
            pending.result = pending.operation()
        except Exception as error:
            pending.error = error
            raise


class _Doctor:
    """The doctor, imported when somebody calls it."""

    def __init__(self, session: _Session, audit: Audit) -> None:
        self._session = session
        self._audit = audit

    def doctor(self) -> list[tuple[str, str, str | None, str, str | None]]:
        from .doctor import Doctor

        return Doctor(self._session, self._audit).doctor()


def _by_id_functions() -> list[_Function]:
    """Make, for each primitive with a secret key, its variant with the number of a derived key."""
    return [
        _by_id_1(auth.crypto_auth),
        _by_id_2(auth.crypto_auth_verify),
        _by_id_1(auth.crypto_auth_hmacsha256),
        _by_id_2(auth.crypto_auth_hmacsha256_verify),
        _by_id_1(auth.crypto_auth_hmacsha512),
        _by_id_2(auth.crypto_auth_hmacsha512_verify),
        _by_id_1(shorthash.crypto_shorthash, shorthash.KEY_BYTES),
        _by_id_2(secretbox.crypto_secretbox),
        _by_id_2(secretbox.crypto_secretbox_open),
        _by_id_3(aead_ietf.crypto_aead_ietf_encrypt),
        _by_id_3(aead_ietf.crypto_aead_ietf_decrypt),
        _by_id_2(stream_xchacha20.crypto_stream_xchacha20),
        _by_id_2(stream_xchacha20.crypto_stream_xchacha20_xor),
        _by_id_3(stream_xchacha20.crypto_stream_xchacha20_xor_ic),
        crypto_generichash_by_id,
        crypto_aead_det_encrypt_by_id,
        crypto_aead_det_decrypt_by_id,
    ]


# One for each number of arguments before the key; see _guard_1 for why.


def _by_id_1(function: _Function, key_len: int = 32) -> _Function:
    def by_id(one: Any, key_id: int, context: bytes) -> Any:
        return function(one, derive_key(key_id, key_len, context))

    return _name_by_id(by_id, function)


def _by_id_2(function: _Function, key_len: int = 32) -> _Function:
    def by_id(one: Any, two: Any, key_id: int, context: bytes) -> Any:
        return function(one, two, derive_key(key_id, key_len, context))

    return _name_by_id(by_id, function)


def _by_id_3(function: _Function, key_len: int = 32) -> _Function:
    def by_id(one: Any, two: Any, three: Any, key_id: int, context: bytes) -> Any:
        return function(one, two, three, derive_key(key_id, key_len, context))

    return _name_by_id(by_id, function)


def _name_by_id(by_id: _Function, function: _Function) -> _Function:
    by_id.__name__ = function.__name__ + "_by_id"
    by_id.__annotations__ = {
        **dict(list(function.__annotations__.items())[: by_id.__code__.co_argcount - 2]),
        "key_id": int,
        "context": bytes,
    }
    return by_id


def crypto_generichash_by_id(message: bytes, key: int | None, context: bytes) -> bytes:
    """Return ``crypto_generichash`` under a derived key, or without a key where its number is None."""
    if key is None:
        return generichash.crypto_generichash(message)
    return generichash.crypto_generichash(message, derive_key(key, generichash.KEY_BYTES, context))


def crypto_aead_det_encrypt_by_id(
    message: bytes, additional: bytes | None, key_id: int, context: bytes, nonce: bytes | None
) -> bytes:
    """Return ``crypto_aead_det_encrypt`` under a derived key."""
    key = derive_key(key_id, aead_det.KEY_BYTES, context)
    return aead_det.crypto_aead_det_encrypt(message, additional, key, nonce)


def crypto_aead_det_decrypt_by_id(
    message: bytes, additional: bytes | None, key_id: int, context: bytes, nonce: bytes | None
) -> bytes:
    """Return ``crypto_aead_det_decrypt`` under a derived key."""
    key = derive_key(key_id, aead_det.KEY_BYTES, context)
    return aead_det.crypto_aead_det_decrypt(message, additional, key, nonce)


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
        return _ServerError(str(error), error.sqlstate)
    # The functions are typed, so a None that is not allowed ends in one of these somewhere inside.
    if isinstance(error, TypeError | AttributeError):
        for (parameter, type_), argument in zip(function.__annotations__.items(), arguments, strict=False):
            if argument is None and "None" not in str(type_):
                return DataError(f"{name}: {parameter} must not be NULL")
    if isinstance(error, MemoryError):
        return LimitError(f"{name}: out of memory")
    # Of an error that nobody thought of, only the kind: its text could hold any of the arguments.
    return Error(f"{name}: internal error of the kind {type(error).__name__}")


class _ServerError(Error):
    """An error of PostgreSQL's own in a query of ours, none of which has a secret in its text."""

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate  # type: ignore[misc]  # one class for all of PostgreSQL's


def _sql_error(error: Error) -> Exception:
    sql_error: Exception = _SqlError(error.message)
    sql_error.sqlstate = error.sqlstate  # type: ignore[attr-defined]  # PL/Python reads these two
    sql_error.hint = error.hint  # type: ignore[attr-defined]
    return sql_error
