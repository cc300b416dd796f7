"""The log test: with everything logged, no passphrase and no key is in any file or statistics of the server.

Every function that takes or uses a secret is called, and made to fail, by three clients: psql, psycopg with
parameters, and psycopg with prepared statements. Then each secret, also those that only the server has, which the
test unwraps from the tables, is looked for in many forms; and so is one that was planted in each of these, to see
that it would be found.
"""

import base64
import contextlib
import re
import secrets
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from mmap import ACCESS_READ, mmap
from typing import Protocol

import psycopg
import pytest
from cluster import Cluster
from conftest import Connection, rows
from nacl import bindings
from pgkeymgr.errors import DataError
from pgkeymgr.key.passphrase import Stretching
from pgkeymgr.key.record import wrap_associated_data
from pgkeymgr.key.user_wrap import open_user_wrap
from pgkeymgr.root_key import LocalRootKey
from pgkeymgr.root_key.wrap import unwrap
from pgkeymgr.sealed.message import Offer, seal

SETTINGS = {
    "shared_preload_libraries": "pgaudit, auto_explain, pg_stat_statements",
    "logging_collector": "on",
    "log_statement": "all",
    "log_duration": "on",
    "log_min_duration_statement": "0",
    "log_parameter_max_length": "-1",
    "log_parameter_max_length_on_error": "-1",
    "log_min_error_statement": "debug5",
    "log_min_messages": "debug2",
    "log_error_verbosity": "verbose",
    "log_temp_files": "0",
    "log_connections": "on",
    "log_disconnections": "on",
    "debug_print_parse": "on",
    "debug_print_rewritten": "on",
    "debug_print_plan": "on",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_verbose": "on",
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_triggers": "on",
    "pg_stat_statements.track": "all",
    "pg_stat_statements.track_utility": "on",
    "pgaudit.log": "all",
    "pgaudit.log_catalog": "on",
    "pgaudit.log_parameter": "on",
    "track_activity_query_size": "100kB",
    "work_mem": "64kB",
    "wal_level": "logical",
}
SINCE_16 = {"auto_explain.log_parameter_max_length": "-1"}
ROOT_KEY = secrets.token_bytes(32)


# The three clients


class FailedError(Exception):
    """A statement failed, with this SQLSTATE."""


class Session(Protocol):
    """One session of a client."""

    def run(self, query: str, *arguments: bytes) -> list[list[str]]:
        """Run a query, ``{}`` in it standing for each argument; return its rows as psql shows them."""

    def close(self) -> None:
        """End it."""


class Psql:
    """A session of psql: arguments are literals in its statements."""

    _END = "the end of this statement"

    def __init__(self, cluster: Cluster, dbname: str, user: str) -> None:
        self._process = subprocess.Popen(
            ["psql", "--no-align", "--tuples-only", "--quiet", "--username", user],
            env=cluster.client_environment(dbname) | {"PGOPTIONS": "-c search_path=public,pgkeymgr"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, query: str, *arguments: bytes) -> list[list[str]]:
        """Run a query; see ``Session.run``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        statement = query.format(*(f"'\\x{argument.hex()}'" for argument in arguments))
        self._process.stdin.write(f"{statement};\n\\echo {self._END} :SQLSTATE\n")
        self._process.stdin.flush()
        lines: list[list[str]] = []
        for line in self._process.stdout:
            if line.startswith(self._END):
                state = line.split()[-1]
                if state != "00000":
                    raise FailedError(state)
                return lines
            lines.append(line.rstrip("\n").split("|"))
        raise EOFError

    def close(self) -> None:
        """End psql."""
        self._process.communicate()


class Psycopg:
    """A session of psycopg: arguments are parameters of its statements, which may be prepared."""

    def __init__(self, cluster: Cluster, dbname: str, user: str, *, prepare: bool) -> None:
        self._prepare = prepare
        self._connection = cluster.connect(dbname, user=user, options="-c search_path=public,pgkeymgr")

    def run(self, query: str, *arguments: bytes) -> list[list[str]]:
        """Run a query; see ``Session.run``."""
        # In binary format where it is prepared, in text otherwise.
        place = "%b" if self._prepare else "%t"
        text = query.format(*[place] * len(arguments)).encode()
        try:
            cursor = self._connection.execute(text, arguments or None, prepare=self._prepare)
        except psycopg.Error as error:
            raise FailedError(error.sqlstate) from None
        found = cursor.fetchall() if cursor.description else []
        return [
            [f"\\x{one.hex()}" if isinstance(one, bytes) else "" if one is None else str(one) for one in row]
            for row in found
        ]

    def close(self) -> None:
        """End the session."""
        self._connection.close()


def open_session(client: str, cluster: Cluster, user: str) -> Session:
    """Open a session of one of the clients."""
    if client == "psql":
        return Psql(cluster, "logged", user)
    return Psycopg(cluster, "logged", user, prepare=client == "prepared")


CLIENTS = ("psql", "parameters", "prepared")


def from_hex(text: str) -> bytes:
    """Return the bytes that PostgreSQL shows in hexadecimal."""
    return bytes.fromhex(text.removeprefix("\\x"))


def sealed(session: Session, *parts: bytes) -> bytes:
    """Seal secrets to a new offer of a session, as the command ``pgkeymgr seal`` does."""
    ((pinned,),) = session.run("SELECT exchange_fingerprint()")
    (offer,) = session.run("SELECT * FROM exchange_offer()")
    return seal(Offer(*map(from_hex, offer)), pinned, parts)


def call(session: Session, query: str, *parts: bytes) -> list[list[str]]:
    """Run a query with the secrets, sealed, for its ``{}``."""
    return session.run(query, sealed(session, *parts))


@contextlib.contextmanager
def failing(state: str) -> Iterator[None]:
    """Check that what is run fails with a SQLSTATE."""
    with pytest.raises(FailedError) as failed:
        yield
    assert str(failed.value) == state


# What is secret


class Known:
    """The secrets by their names, with the wraps that they are to be got from."""

    def __init__(self) -> None:
        self.secrets: dict[str, bytes] = {"the root key": ROOT_KEY}
        self._key_wraps: dict[bytes, tuple[bytes, str, str, str, Stretching | None, str]] = {}
        self._user_keys: dict[bytes, tuple[bytes, Stretching, str]] = {}
        self._server_keys: dict[bytes, tuple[bytes, str]] = {}

    def new_passphrase(self, name: str) -> bytes:
        """Make a passphrase of its own; every second has more than ASCII in it."""
        ending = " Möhre 'n\" \\" if len(self.secrets) % 2 else ""
        passphrase = f"{secrets.token_hex(9)} horse {secrets.token_urlsafe(9)}{ending}".encode()
        self.secrets[f"passphrase {name}"] = passphrase
        return passphrase

    def new_key(self, name: str, length: int = 32) -> bytes:
        """Make bytes that are a key."""
        key = secrets.token_bytes(length)
        self.secrets[f"key {name}"] = key
        return key

    def look(self, admin: Connection) -> None:
        """Note the wraps that are in the tables now; some are gone later."""
        for uuid, key_type, kind, holder, salt, ops, mem, made_under, wrapped, name in rows(
            admin,
            "SELECT uuid_send(uuid), key_type, kind, holder, salt, opslimit, memlimit, fingerprint, wrapped, name"
            " FROM key_wrap JOIN key ON id = key_id",
        ):
            associated_data = wrap_associated_data(uuid, key_type)
            stretching = Stretching(salt, ops, mem) if kind == "passphrase" else None
            which = f"{name.split()[0]} data"
            self._key_wraps[wrapped] = (associated_data, kind, holder, made_under, stretching, which)
        for public, salt, ops, mem, wrapped, role in rows(
            admin, "SELECT public, salt, opslimit, memlimit, wrapped, role::regrole::text FROM user_key"
        ):
            who, _, client = role.partition("_")
            self._user_keys[wrapped] = (public, Stretching(salt, ops, mem), f"{client} {who}")
        for public, made_under, wrapped in rows(admin, "SELECT public, fingerprint, wrapped FROM server_key"):
            self._server_keys[wrapped] = (public, made_under)

    def open_all(self) -> None:
        """Open every wrap that was noted, and take what is in it, and what it was opened with, as secret."""
        root_key = LocalRootKey([ROOT_KEY], "the test")
        self.secrets |= {f"wrapping key {name}": key for name, key in root_key._wrapping_keys.items()}
        for wrapped, (public, made_under) in self._server_keys.items():
            signing_key = root_key.unwrap(wrapped, b"server key exchange" + public, made_under)
            self.secrets[f"exchange key {public.hex()}"] = signing_key[:32]
            curve_key = bindings.crypto_sign_ed25519_sk_to_curve25519(signing_key)
            self.secrets[f"exchange key {public.hex()} as a box key"] = curve_key

        def open_user(wrapped: bytes) -> tuple[bytes, bytes]:
            public, stretching, which = self._user_keys[wrapped]
            return public, self._by_passphrase(wrapped, b"user key" + public, stretching, which)

        with ThreadPoolExecutor() as threads:
            users = dict(threads.map(open_user, self._user_keys))
            data_keys = list(threads.map(lambda wrapped: self._open(root_key, users, wrapped), self._key_wraps))
        self.secrets |= {f"user key {public.hex()}": secret for public, secret in users.items()}
        self.secrets |= {f"data key {number}": secret for number, secret in enumerate(sorted(set(data_keys)))}

    def _open(self, root_key: LocalRootKey, users: dict[bytes, bytes], wrapped: bytes) -> bytes:
        associated_data, kind, holder, made_under, stretching, which = self._key_wraps[wrapped]
        if kind == "root":
            return root_key.unwrap(wrapped, associated_data, made_under)
        if stretching is not None:
            return self._by_passphrase(wrapped, associated_data, stretching, which)
        public = bytes.fromhex(holder)
        opened = open_user_wrap(wrapped, associated_data, public, users[public])
        assert opened is not None
        return opened

    def _by_passphrase(self, wrapped: bytes, associated_data: bytes, stretching: Stretching, which: str) -> bytes:
        for name, passphrase in list(self.secrets.items()):
            if name.startswith(f"passphrase {which}"):
                wrapping_key = stretching.wrapping_key(passphrase)
                with contextlib.suppress(DataError):
                    secret = unwrap(wrapped, associated_data, wrapping_key)
                    self.secrets[f"wrapping key of salt {stretching.salt.hex()}"] = wrapping_key
                    return secret
        raise AssertionError(f"a wrap does not open with any passphrase of {which}")


# What is done


def use_keys(client: str, boss: Session, alice: str, known: Known) -> None:
    """The key table's own paths: no secret goes in or out."""
    for query in (
        "SELECT create_data_key('{c} root', comment => 'of the test')",
        "SELECT create_data_key('{c} other', 64, now() + interval '1 day')",
        "SELECT token_decrypt(token_encrypt('{c} root', 'plaintext', 'bound'), 'bound')",
        "SELECT token_decrypt_text(token_reencrypt(token_encrypt_text('{c} root', 'plaintext'), '{c} root'))",
        "SELECT supersede_data_key('{c} root')",
        "SELECT grant_data_key('{c} root', '{a}', '{{{{decrypt}}}}')",
        "SELECT revoke_data_key('{c} root', '{a}')",
        "SELECT disable_data_key(id), enable_data_key(id) FROM data_keys WHERE name = '{c} root' AND"
        " superseded_by IS NULL",
        "SELECT * FROM data_keys",
        "SELECT * FROM key_events",
        "SELECT * FROM verify_key_events()",
    ):
        boss.run(query.format(c=client, a=alice))
    for state, query in (
        ("42710", "create_data_key('{c} root')"),
        ("22023", "create_data_key('{c} long', 65)"),
        ("22023", "destroy_data_key(1, 'wrong name')"),
        ("22000", "token_decrypt(token_encrypt('{c} root', 'plaintext'), 'not bound')"),
        ("42704", "token_encrypt('{c} none', 'plaintext'::bytea)"),
        ("22012", "token_encrypt('{c} root', 'plaintext'::bytea), 1 / (random() * 0)::integer"),
    ):
        with failing(state):
            boss.run(f"SELECT {query.format(c=client)}")
    assert known.secrets


def use_passphrases(client: str, boss: Session, alice: Session, known: Known, look: Callable[[], None]) -> None:
    """Keys under passphrases."""
    first, second, third = (known.new_passphrase(f"{client} data {number}") for number in (1, 2, 3))
    wrong = known.new_passphrase(f"wrong {client} data")
    key = f"{client} pass"
    boss.run(f"SELECT create_data_key('{key}')")
    call(boss, f"SELECT add_passphrase('{key}', {{}})", first)
    look()
    boss.run(f"SELECT grant_data_key('{key}', 'alice_{client}')")
    boss.run(f"SELECT drop_root_wrap('{key}')")
    call(alice, f"SELECT unlock_data_key('{key}', {{}})", first)
    token = from_hex(alice.run(f"SELECT token_encrypt_text('{key}', 'plaintext')")[0][0])
    assert alice.run("SELECT token_decrypt_text({})", token) == [["plaintext"]]
    assert len(alice.run("SELECT * FROM session_keyring")) == 1
    alice.run("SELECT lock()")
    with failing("55000"):
        alice.run("SELECT token_decrypt_text({})", token)
    alice.run("BEGIN")
    call(alice, f"SELECT unlock_data_key('{key}', {{}}, true)", first)
    assert alice.run("SELECT token_decrypt_text({})", token) == [["plaintext"]]
    alice.run("COMMIT")
    call(alice, f"SELECT change_passphrase('{key}', {{}})", first, second)
    look()
    for query, parts in (
        ("unlock_data_key('{}', {{}})", [wrong]),
        ("change_passphrase('{}', {{}})", [wrong, second]),
        ("supersede_data_key('{}', {{}})", [wrong]),
    ):
        with failing("28P01"):
            call(boss, f"SELECT {query.format(key)}", *parts)
    call(boss, f"SELECT supersede_data_key('{key}', {{}})", second)
    call(boss, f"SELECT unlock_data_key('{key}', {{}})", second)
    boss.run(f"SELECT add_root_wrap('{key}')")
    look()
    boss.run(f"SELECT drop_passphrase('{key}')")
    call(boss, f"SELECT add_passphrase('{key}', {{}})", third)
    look()
    fail_with_messages(key, alice, third, wrong)


def fail_with_messages(key: str, session: Session, right: bytes, wrong: bytes) -> None:
    """Messages that are refused, with secrets in them."""
    unlock = f"SELECT unlock_data_key('{key}', {{}})"
    message = sealed(session, wrong)
    with failing("28P01"):
        session.run(unlock, message)
    for again in (message, sealed(session, right)[:-1], secrets.token_bytes(99)):
        with failing("28000"):
            session.run(unlock, again)
    # Messages that are malformed inside, made by a client that gets the lengths wrong.
    for content in (right, len(right).to_bytes(4, "little") + right, b"\0\0\0\1" + right, b"\0\0\0\0" + right):
        (offer,) = session.run("SELECT public, challenge FROM exchange_offer()")
        public, challenge = map(from_hex, offer)
        with failing("22000"):
            session.run(unlock, bindings.crypto_box_seal(challenge + content, public))
    for state, query, parts in (
        ("22000", unlock, [right, wrong]),
        ("22000", unlock, [b"\xff\xfe" + right]),
        ("42501", "SELECT unlock_data_key('none', {})", [right]),
        ("42501", "SELECT unlock_data_key(0, {})", [right]),
        ("42501", f"SELECT add_passphrase('{key}', {{}})", [right]),
        ("22012", f"{unlock}, 1 / (random() * 0)::integer", [right]),
        ("42883", f"SELECT unlock_data_key('{key}', {{}}, 1, 2)", [right]),
    ):
        with failing(state):
            call(session, query, *parts)
    message = sealed(session, right, wrong)
    session.run("BEGIN READ ONLY")
    with failing("25006"):
        session.run(f"SELECT change_passphrase('{key}', {{}})", message)
    session.run("ROLLBACK")
    # Cancelled while it waits after a wrong one.
    message = sealed(session, wrong)
    session.run("SET statement_timeout = '50ms'")
    with failing("57014"):
        session.run(unlock, message)
    session.run("RESET statement_timeout")


def use_pairs(client: str, boss: Session, alice: Session, known: Known, look: Callable[[], None]) -> None:
    """Users' key pairs, keys that are shared to them, and an encrypted column under one."""
    of_boss = known.new_passphrase(f"{client} boss")
    first, second, third = (known.new_passphrase(f"{client} alice {number}") for number in (1, 2, 3))
    wrong = known.new_passphrase(f"wrong {client} alice")
    key, table = f"{client} user", f"note_{client}"
    call(boss, "SELECT create_user_key({})", of_boss)
    call(boss, "SELECT unlock_user_key({})", of_boss)
    boss.run(f"SELECT create_data_key('{key}', wrap => 'user')")
    call(alice, "SELECT create_user_key({})", first)
    with failing("42710"):
        call(alice, "SELECT create_user_key({})", wrong)
    boss.run(f"SELECT share_data_key('{key}', 'alice_{client}')")
    look()
    boss.run(f"CREATE TABLE {table} (id integer PRIMARY KEY, body text)")
    boss.run(f"INSERT INTO {table} VALUES (1, 'plaintext')")
    boss.run(f"SELECT encrypt_column('{table}', 'body', key => '{key}')")
    boss.run(f"CALL migrate_column('{table}', 'body')")
    boss.run(f"SELECT add_blind_index('{table}', 'body')")
    boss.run(f"INSERT INTO {table} SELECT i, 'more ' || i FROM generate_series(2, 50) AS i")
    boss.run(f"GRANT SELECT ON {table} TO alice_{client}")
    with failing("55000"):
        alice.run(f"SELECT * FROM {table}")
    call(alice, "SELECT unlock_user_key({})", first)
    assert len(alice.run(f"SELECT * FROM {table} ORDER BY body")) == 50
    search = f"SELECT id FROM {table} WHERE body_bidx = blind_index('{table}', 'body', 'more 7')"
    assert alice.run(search) == [["7"]]
    boss.run(f"SELECT supersede_data_key('{key}')")
    boss.run(f"CALL rotate_column('{table}', 'body')")
    call(alice, "SELECT change_user_passphrase({})", first, second)
    look()
    for query, parts in (
        ("unlock_user_key({})", [wrong]),
        ("change_user_passphrase({})", [wrong, second]),
        ("rotate_user_key({})", [wrong, second]),
    ):
        with failing("28P01"):
            call(alice, f"SELECT {query}", *parts)
    call(alice, "SELECT rotate_user_key({})", second, third)
    look()
    call(alice, "SELECT unlock_user_key({})", third)
    assert len(alice.run(f"SELECT * FROM {table} ORDER BY body")) == 50
    boss.run(f"UPDATE {table} SET body = body || '!' WHERE id < 9")
    boss.run(f"SELECT unshare_data_key('{key}', 'alice_{client}')")
    with failing("42501"):
        alice.run(f"SELECT * FROM {table}")
    boss.run(f"SELECT drop_user_key('alice_{client}')")


def carry_keys(client: str, boss: Session, known: Known, look: Callable[[], None]) -> None:
    """Keys that come and go; and the end of one."""
    passphrase = known.new_passphrase(f"{client} data 4")
    by_root, by_passphrase, by_user = (known.new_key(f"{client} imported {number}") for number in range(3))
    call(boss, f"SELECT import_data_key('{client} by root', {{}})", by_root)
    by_both = f"SELECT import_data_key('{client} by passphrase', {{}}, wrap => 'passphrase')"
    call(boss, by_both, by_passphrase, passphrase)
    call(boss, f"SELECT import_data_key('{client} by user', {{}}, wrap => 'user')", by_user)
    look()
    for state, name, key in (
        ("42710", "by root", known.new_key(f"{client} of a name that is taken")),
        ("22000", "too long", known.new_key(f"{client} too long", 65)),
        ("22023", "x" * 256, known.new_key(f"{client} of a name that is too long")),
    ):
        with failing(state):
            call(boss, f"SELECT import_data_key('{client} {name}', {{}})", key)
    with failing("22000"):  # the passphrase is missing
        call(boss, by_both, known.new_key(f"{client} without a passphrase"))
    # Exported to a recipient who has the key then, and whose own key the server never sees.
    public, secret = bindings.crypto_box_keypair()
    known.secrets[f"key {client} of the recipient"] = secret
    for name, key in (("by root", by_root), ("by user", by_user)):
        ((box,),) = boss.run(f"SELECT export_data_key('{client} {name}', {{}})", public)
        assert bindings.crypto_box_seal_open(from_hex(box), public, secret) == key
    for state, recipient in (("22000", public[:-1]), ("22000", bytes(32))):
        with failing(state):
            boss.run(f"SELECT export_data_key('{client} by root', {{}})", recipient)
    with failing("55000"):
        boss.run(f"SELECT export_data_key('{client} by passphrase', {{}})", public)
    boss.run(
        f"SELECT destroy_data_key(id, name) FROM data_keys WHERE name = '{client} other'",
    )
    boss.run("SELECT * FROM key_events")


def drive(client: str, cluster: Cluster, admin: Connection, known: Known) -> None:
    """Call everything with one of the clients."""

    def look() -> None:
        known.look(admin)

    boss, alice = (open_session(client, cluster, f"{who}_{client}") for who in ("boss", "alice"))
    try:
        use_keys(client, boss, f"alice_{client}", known)
        use_passphrases(client, boss, alice, known, look)
        use_pairs(client, boss, alice, known, look)
        carry_keys(client, boss, known, look)
        look()
    finally:
        boss.close()
        alice.close()


def rotate_exchange_key(client: str, cluster: Cluster) -> None:
    """Rotate it with one of the clients; the next message is sealed to an offer that the new one has signed."""
    boss = open_session(client, cluster, f"boss_{client}")
    boss.run("SELECT rotate_exchange_key()")
    sealed(boss, b"not a secret")
    boss.close()


def fail_without_root_key(cluster: Cluster) -> None:
    """No getkey script works. One prints the root key with something else, which must not be shown."""
    right = cluster.getkey.read_text()
    for text in ("#!/bin/sh\nexit 1\n", f"#!/bin/sh\necho {ROOT_KEY.hex()}0\necho {ROOT_KEY.hex()} >&2\nexit 3\n"):
        cluster.install_getkey(text)
        for client in CLIENTS:
            session = open_session(client, cluster, f"boss_{client}")
            for query in ("exchange_offer()", f"token_encrypt('{client} root', 'x'::bytea)"):
                with failing("58000"):
                    session.run(f"SELECT {query}")
            session.close()
    cluster.install_getkey(right)


# The search


def forms(secret: bytes) -> dict[str, bytes]:
    """Return what a secret looks like in a text or a file, by the names of the forms.

    Of a longer secret, its first 32 bytes: everything that has all of it has them.
    """
    secret = secret[:32]
    escaped = "".join(
        "\\\\" if byte == ord("\\") else chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}" for byte in secret
    )
    found = {
        "raw": secret,
        "hex": secret.hex().encode(),
        "HEX": secret.hex().upper().encode(),
        "bytea escape": escaped.encode(),
        "bytea escape in E''": escaped.replace("\\", "\\\\").encode(),
        "Python": repr(secret)[2:-1].encode(),
        "Python doubled": repr(secret)[2:-1].replace("\\", "\\\\").encode(),
        "numbers": ", ".join(map(str, secret)).encode(),
        # As debug_print_plan has it.
        "signed numbers": " ".join(str(byte - 256 if byte > 127 else byte) for byte in secret).encode(),
    }
    for before in range(3):
        # The digits that do not depend on the bytes before and after them.
        text = base64.b64encode(bytes(before) + secret)
        found[f"base64 at {before}"] = text[(before * 8 + 5) // 6 : (before + len(secret)) * 8 // 6]
    if secret.isascii() and secret.decode().isprintable():
        found = {name: form for name, form in found.items() if form != secret or name == "raw"}
    assert all(len(form) >= 16 for form in found.values())
    return found


Hits = dict[str, set[tuple[str, str]]]


def search(contents: Iterable[tuple[str, "bytes | mmap"]], secrets_by_name: Mapping[str, bytes]) -> Hits:
    """Look for secrets; return what was found by their names: the form, and where."""
    needles = {
        form: (name, which) for name, secret in secrets_by_name.items() for which, form in forms(secret).items()
    }
    hits: Hits = {}
    for where, content in contents:
        for needle, (name, form) in needles.items():
            if content.find(needle) >= 0:
                hits.setdefault(name, set()).add((form, where))
    return hits


def plant(connection: Connection, secret: bytes) -> None:
    """Put a secret into a query in each form."""
    for form in forms(secret).values():
        rows(connection, f"SELECT '{form.decode()}'")
    # Where pg_stat_statements does not replace it by a parameter.
    rows(connection, f"SELECT 1 /* {secret.hex()} */ + 1")


class Sampler:
    """Reads pg_stat_activity all the time."""

    def __init__(self, cluster: Cluster) -> None:
        self.texts: set[str] = set()
        self.samples = 0
        self._done = threading.Event()
        quiet = (
            "-c log_statement=none -c log_duration=off -c log_min_duration_statement=-1 -c log_min_messages=error"
        )
        off = " ".join(f"-c debug_print_{what}=off" for what in ("parse", "rewritten", "plan"))
        more = "-c auto_explain.log_min_duration=-1 -c pgaudit.log=none -c pg_stat_statements.track=none"
        self._connection = cluster.connect(options=f"{quiet} {off} {more}")
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.sample()
        self._done.set()
        self._thread.join()
        self._connection.close()

    def sample(self) -> None:
        """Read it once."""
        query = "SELECT concat_ws(' ', query, application_name, wait_event, backend_type) FROM pg_stat_activity"
        self.texts |= {text for (text,) in rows(self._connection, query)}
        self.samples += 1

    def _run(self) -> None:
        while not self._done.wait(0.005):
            self.sample()


@pytest.fixture(scope="module")
def logging() -> Iterator[Cluster]:
    """A server that logs everything, with a database ``logged``, and one to plant something in."""
    with Cluster(root_keys=[ROOT_KEY.hex()]) as cluster:
        cluster.create_database("logged")
        with cluster.connect("logged") as connection:
            for client in CLIENTS:
                rows(connection, f"CREATE ROLE boss_{client} LOGIN IN ROLE pgkeymgr_admin")
                rows(connection, f"CREATE ROLE alice_{client} LOGIN IN ROLE pgkeymgr_user")
                rows(connection, f"GRANT CREATE ON SCHEMA public TO boss_{client}")
            since_16 = connection.info.server_version >= 160000
        with cluster.connect() as connection:
            connection.execute("CREATE DATABASE planted")
        cluster.configure(SETTINGS | (SINCE_16 if since_16 else {}))
        cluster.stop()
        cluster.start()
        with cluster.connect() as connection:
            connection.execute("CREATE EXTENSION pg_stat_statements")
        with cluster.connect("logged") as connection:
            connection.execute("CREATE EXTENSION pgaudit")
        yield cluster


def test_no_secret_is_logged(logging: Cluster) -> None:
    known = Known()
    planted = f"pläntéd {secrets.token_hex(12)}".encode()
    with Sampler(logging) as sampler:
        with logging.connect("logged", options="-c search_path=pgkeymgr") as admin:
            with ThreadPoolExecutor(len(CLIENTS)) as threads:
                list(threads.map(lambda client: drive(client, logging, admin, known), CLIENTS))
            for client in CLIENTS:
                rotate_exchange_key(client, logging)
                known.look(admin)
            fail_without_root_key(logging)
        with logging.connect("planted") as connection:
            plant(connection, planted)
            sampler.sample()
        with logging.connect() as connection:
            statements = [text for (text,) in rows(connection, "SELECT query FROM pg_stat_statements")]
    logging.stop()
    known.open_all()
    texts = {"pg_stat_activity": "\n".join(sampler.texts), "pg_stat_statements": "\n".join(statements)}
    files = [
        path
        for path in sorted(logging.directory.rglob("*"))
        # The one file that is meant to have a secret.
        if path.is_file() and not path.is_symlink() and path != logging.getkey
    ]
    sizes = {path: path.stat().st_size for path in files}

    def contents() -> Iterator[tuple[str, bytes | mmap]]:
        for name, text in texts.items():
            yield name, text.encode()
        for path in files:
            if sizes[path]:
                with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
                    yield str(path.relative_to(logging.directory)), content

    began = time.monotonic()
    found = search(contents(), known.secrets | {"planted": planted})
    took = time.monotonic() - began
    print(
        f"searched {len(files)} files, {sum(sizes.values())} bytes,"
        f" {len(statements)} texts of pg_stat_statements and {len(sampler.texts)} of pg_stat_activity"
        f" (in {sampler.samples} samples) for {len(known.secrets)} secrets in {len(forms(planted))} forms:"
        f" {took:.1f} s"
    )
    check_planted(found.pop("planted", set()), set(forms(planted)))
    assert found == {}
    # It was a search of what was meant: all the calls were logged, with their messages and parameters.
    log = b"".join(path.read_bytes() for path in files if path.parent.name == "log").decode(errors="replace")
    for expected in (
        r"LOG:  00000: statement: SELECT unlock_data_key\('psql pass', '\\x[0-9a-f]{100,}'",
        r"DETAIL:  [Pp]arameters: \$1 = '\\x[0-9a-f]{100,}'",
        r"LOG:  00000: AUDIT: SESSION,.*unlock_user_key\(\$1\)",
        r"Query Text: SELECT .*token_decrypt_text",
        r"ERROR:  28P01: pgkeymgr: wrong passphrase for key \d+ \"psql pass\"",
        r"ERROR:  57014: .*",
        r"DEBUG:  ",
        r":constvalue \d+ \[ ",
    ):
        assert re.search(expected, log), expected
    assert len([text for text in statements if "INSERT INTO" in text and "key_wrap" in text]) > 0
    assert re.search(r"unlock_\w+_key\(.*'\\x[0-9a-f]{100,}'", texts["pg_stat_activity"])
    # And for what it was meant to be: 4 exchange keys, of each client 3 pairs of users, and so on.
    kinds = Counter(name.split()[0] for name in known.secrets if name != "the root key")
    assert kinds["exchange"] == 2 * (1 + len(CLIENTS))
    assert kinds["user"] == 3 * len(CLIENTS)
    assert kinds["passphrase"] == 10 * len(CLIENTS)
    assert kinds["data"] >= 10 * len(CLIENTS)
    assert kinds["wrapping"] > 8 * len(CLIENTS)


def check_planted(hits: set[tuple[str, str]], planted: set[str]) -> None:
    """Check that the search has found what was planted, in each form and in each place."""
    assert {form for form, _ in hits} == planted
    places = {where for _, where in hits}
    assert {"pg_stat_activity", "pg_stat_statements"} <= places
    assert any("/log/" in where for where in places)
    assert any(where.endswith("pg_stat_statements.stat") for where in places)
