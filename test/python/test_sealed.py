"""Sealed secrets on real servers: TLS, attacks, guesses, poolers, standbys, dumps, and many sessions at once."""

import contextlib
import itertools
import os
import re
import secrets
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from certificates import make_ca, make_certificate
from cluster import ROOT_KEY, Cluster
from conftest import Connection, rows, value
from nacl import bindings
from nacl.exceptions import CryptoError
from pgkeymgr.errors import ChallengeError, DataError, FingerprintError
from pgkeymgr.root_key import LocalRootKey
from pgkeymgr.sealed.attempts import DELAY_SECONDS
from pgkeymgr.sealed.message import Offer, check_offer, fingerprint, open_sealed, seal, sign_offer
from psycopg import errors

# Each costs half a second of a core, on purpose: 1,000 of them take as long as all other tests. That many by hand.
GUESSES = int(os.environ.get("PGKEYMGR_GUESSES", "100"))
GUESSERS = 4
SETTINGS = {
    "log_statement": "all",
    "log_parameter_max_length_on_error": "-1",
    "autovacuum": "off",
}
TEMPLATE = "sealed_template"
ROLES = {
    "alice": "pgkeymgr_user",
    "bob": "pgkeymgr_user",
    "boss": "pgkeymgr_admin",
    "escrow": "pgkeymgr_admin",
}
_DATABASES = itertools.count(1)


class Database:
    """A database with the extension, of one test."""

    def __init__(self, server: Cluster, name: str) -> None:
        self.server = server
        self.name = name

    @contextlib.contextmanager
    def session(self, user: str = "postgres") -> Iterator[Connection]:
        """Open a session that ends with the block, the extension's schema behind ``public`` in its path."""
        connection = self.server.connect(self.name, user=user, options="-c search_path=public,pgkeymgr")
        try:
            yield connection
        finally:
            connection.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A server with some roles, and a template database with the extension."""
    with Cluster(settings=SETTINGS) as running:
        running.create_database(TEMPLATE)
        with running.connect() as connection:
            for role, group in ROLES.items():
                rows(connection, f"CREATE ROLE {role} LOGIN IN ROLE {group}")
        yield running


@pytest.fixture
def database(server: Cluster) -> Iterator[Database]:
    """A new database with the extension."""
    name = f"sealed_{next(_DATABASES)}"
    with server.database_copy(TEMPLATE, name):
        with server.connect() as connection:
            rows(connection, f"GRANT CREATE ON DATABASE {name} TO boss")
        yield Database(server, name)


@pytest.fixture
def admin(database: Database) -> Iterator[Connection]:
    """A superuser's session in it."""
    with database.session() as connection:
        yield connection


def offer_to(connection: Connection) -> Offer:
    """Return a new offer of a session."""
    row = connection.execute("SELECT * FROM pgkeymgr.exchange_offer()").fetchone()
    assert row is not None
    return Offer(*row)


def fingerprint_of(connection: Connection) -> str:
    """Return the fingerprint of the exchange key, as a client pins it."""
    return str(value(connection, "SELECT pgkeymgr.exchange_fingerprint()"))


def sealed(connection: Connection, *parts: str | bytes) -> bytes:
    """Seal secrets to a new offer of a session."""
    pinned = fingerprint_of(connection)
    return seal(offer_to(connection), pinned, [p.encode() if isinstance(p, str) else p for p in parts])


def call(connection: Connection, query: str, *parts: str | bytes) -> Any:
    """Run a query whose ``%s`` is the secrets, sealed; return the first column of its row."""
    row = connection.execute(query.encode(), (sealed(connection, *parts),)).fetchone()
    assert row is not None
    return row[0]


def passphrase_key(admin: Connection, name: str = "k") -> None:
    """Make a key that opens with the passphrase ``first`` only, which alice may use."""
    rows(admin, f"SELECT create_data_key('{name}')")
    call(admin, f"SELECT add_passphrase('{name}', %s)", "first")
    rows(admin, f"SELECT drop_root_wrap('{name}')")
    rows(admin, f"SELECT grant_data_key('{name}', 'alice')")


def user_pair(connection: Connection, passphrase: str, *, unlock: bool = True) -> None:
    """Make the key pair of a session's role."""
    call(connection, "SELECT create_user_key(%s)", passphrase)
    if unlock:
        call(connection, "SELECT unlock_user_key(%s)", passphrase)


def token_of(connection: Connection, key: str) -> str:
    """Encrypt ``x``, and return the token as a literal."""
    token = value(connection, f"SELECT token_encrypt_text('{key}', 'x')")
    return f"'\\x{token.hex()}'::bytea"


def decrypt(token: str) -> str:
    """Return the query that decrypts a token."""
    return f"SELECT token_decrypt_text({token})"


def events(connection: Connection, event: str) -> list[tuple[Any, ...]]:
    """Return what the audit trail has of a kind of event: role and detail."""
    return rows(connection, f"SELECT role, detail FROM key_events WHERE event = '{event}' ORDER BY link")


def check_chain(connection: Connection) -> int:
    """Check the audit trail's chain, and that no link is left out; return how many events it has."""
    ((count, broken, reason, _),) = rows(connection, "SELECT * FROM verify_key_events()")
    assert (broken, reason) == (None, None)
    assert rows(connection, "SELECT min(link), max(link), count(*) FROM key_events") == [(1, count, count)]
    assert isinstance(count, int)
    return count


LOCKED = pytest.raises(errors.ObjectNotInPrerequisiteState, match="is locked: it has no wrap under the root key")
STALE = pytest.raises(errors.InvalidAuthorizationSpecification, match="is good for one call")
FOREIGN = pytest.raises(
    errors.InvalidAuthorizationSpecification, match="not for the present offer of this session"
)


# TLS, and connections that are neither TLS nor a Unix socket


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Path]]:
    """A server that speaks TLS on 127.0.0.1, and the directory with two authorities: its own, and another one."""
    directory = tmp_path_factory.mktemp("tls")
    for name in ("ca", "wrong"):
        make_ca(directory, name)
    make_certificate(directory, "server", "subjectAltName = DNS:localhost")
    with Cluster(settings={"listen_addresses": "127.0.0.1"}, port=free_port()) as running:
        for name in ("server.key", "server.crt"):
            copy = running.data / name
            copy.write_bytes((directory / name).read_bytes())
            copy.chmod(0o600)
            running.give_to_server(copy)
        running.configure({"ssl": "on"})
        (running.data / "pg_hba.conf").write_text(
            "local all all trust\nhostssl all all 127.0.0.1/32 trust\nhostnossl all all 127.0.0.1/32 trust\n"
        )
        running.stop()
        running.start()
        running.create_database("test")
        with running.connect("test") as connection:
            connection.execute("CREATE ROLE alice LOGIN IN ROLE pgkeymgr_user")
            connection.execute("SET search_path = pgkeymgr")
            passphrase_key(connection)
        yield running, directory


@contextlib.contextmanager
def over_tcp(tls: tuple[Cluster, Path], ca: str = "ca", **more: str) -> Iterator[Connection]:
    """Connect as alice over TCP; by default with TLS and everything verified."""
    cluster, directory = tls
    options = {
        "host": "localhost",
        "hostaddr": "127.0.0.1",
        "port": str(cluster.port),
        "dbname": "test",
        "user": "alice",
        "sslmode": "verify-full",
        "sslrootcert": str(directory / f"{ca}.crt"),
        "options": "-c search_path=public,pgkeymgr",
    }
    connection: Connection = psycopg.connect(**{**options, **more}, autocommit=True)  # type: ignore[arg-type]
    try:
        yield connection
    finally:
        connection.close()


PLAIN = pytest.raises(errors.InvalidAuthorizationSpecification, match="neither TLS nor a Unix socket")
SEALED_CALLS = (
    "unlock_data_key('k', '\\x00')",
    "unlock_user_key('\\x00')",
    "change_passphrase('k', '\\x00')",
    "create_user_key('\\x00')",
    "change_user_passphrase('\\x00')",
    "rotate_user_key('\\x00')",
)


def test_over_tls(tls: tuple[Cluster, Path]) -> None:
    with over_tcp(tls) as connection:
        assert connection.info.host == "localhost"
        assert rows(connection, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == [(True,)]
        check_offer(offer_to(connection), fingerprint_of(connection))
        call(connection, "SELECT unlock_data_key('k', %s)", "first")
        assert value(connection, "SELECT token_decrypt_text(token_encrypt_text('k', 'x'))") == "x"
    # The trail says from where.
    with tls[0].connect("test") as connection:
        (client,) = rows(
            connection, "SELECT client FROM pgkeymgr.key_events WHERE event = 'unlock' AND role = 'alice'"
        )
        assert re.fullmatch(r"127\.0\.0\.1:\d+", client[0])


def test_over_plain_tcp(tls: tuple[Cluster, Path]) -> None:
    """Refused, whatever the session sets; only who owns the database may allow it."""
    with over_tcp(tls, sslmode="disable") as connection:
        assert rows(connection, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == [(False,)]
        for setting in ("on", "off"):
            rows(connection, f"SET pgkeymgr.allow_plain_connections = {setting}")
            for refused in ("exchange_offer()", *SEALED_CALLS):
                with PLAIN as error:
                    rows(connection, f"SELECT {refused}")
                assert error.value.diag.message_hint == "Connect with sslmode=verify-full."
    options = "-c search_path=public,pgkeymgr -c pgkeymgr.allow_plain_connections=on"
    with over_tcp(tls, sslmode="disable", options=options) as connection, PLAIN:
        offer_to(connection)
    with tls[0].connect("test") as owner:
        owner.execute("ALTER ROLE alice SET pgkeymgr.allow_plain_connections = on")
        try:
            with over_tcp(tls, sslmode="disable") as connection, PLAIN:
                offer_to(connection)
        finally:
            owner.execute("ALTER ROLE alice RESET pgkeymgr.allow_plain_connections")
        owner.execute("ALTER DATABASE test SET pgkeymgr.allow_plain_connections = on")
        try:
            with over_tcp(tls, sslmode="disable") as connection:
                call(connection, "SELECT unlock_data_key('k', %s)", "first")
                assert value(connection, "SELECT token_decrypt_text(token_encrypt_text('k', 'x'))") == "x"
        finally:
            owner.execute("ALTER DATABASE test RESET pgkeymgr.allow_plain_connections")
    with over_tcp(tls, sslmode="disable") as connection, PLAIN:
        offer_to(connection)


def test_a_server_with_another_certificate(tls: tuple[Cluster, Path]) -> None:
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"), over_tcp(tls, ca="wrong"):
        pass
    with pytest.raises(psycopg.OperationalError, match="does not match host name"), over_tcp(tls, host="other"):
        pass


# Attacks


def test_a_sealed_message_is_good_for_one_call(database: Database, admin: Connection) -> None:
    passphrase_key(admin)
    with database.session("alice") as alice, database.session("alice") as other:
        unlock = "SELECT unlock_data_key('k', %s)"
        message = sealed(alice, "first")
        alice.execute(unlock, (message,))
        token = token_of(alice, "k")
        rows(alice, "SELECT lock()")
        with STALE:
            alice.execute(unlock, (message,))
        offer_to(alice)
        with FOREIGN:
            alice.execute(unlock, (message,))
        with STALE:
            other.execute(unlock, (message,))
        offer_to(other)
        with FOREIGN:
            other.execute(unlock, (message,))
        for connection in (alice, other):
            with LOCKED:
                rows(connection, decrypt(token))


@pytest.mark.parametrize("rolled_back", [False, True])
def test_a_message_that_was_used_in_a_transaction_that_is_rolled_back(
    database: Database, admin: Connection, rolled_back: bool
) -> None:
    """What is burnt is not a row: no rollback brings it back."""
    passphrase_key(admin)
    with database.session("alice") as alice:
        message = sealed(alice, "first")
        alice.execute("BEGIN")
        alice.execute("SELECT unlock_data_key('k', %s)", (message,))
        token = token_of(alice, "k")
        alice.execute("ROLLBACK" if rolled_back else "COMMIT")
        with STALE:
            alice.execute("SELECT unlock_data_key('k', %s)", (message,))
        if rolled_back:
            with LOCKED:
                rows(alice, decrypt(token))
        else:
            assert value(alice, decrypt(token)) == "x"


def test_a_message_that_failed_is_burnt(database: Database, admin: Connection) -> None:
    passphrase_key(admin)
    unlock = "SELECT unlock_data_key('k', %s)"
    with database.session("alice") as alice:
        wrong = sealed(alice, "wrong")
        with pytest.raises(errors.InvalidPassword):
            alice.execute(unlock, (wrong,))
        with STALE:
            alice.execute(unlock, (wrong,))
        # Nor is the offer there after something else than a message for it: the right one is too late.
        failures: dict[bytes, type[psycopg.Error]] = {
            b"": errors.InvalidAuthorizationSpecification,
            secrets.token_bytes(100): errors.InvalidAuthorizationSpecification,
            bytes(70000): errors.DataException,
        }
        for garbage, error in failures.items():
            right = sealed(alice, "first")
            with pytest.raises(error):
                alice.execute(unlock, (garbage,))
            with STALE:
                alice.execute(unlock, (right,))
        right = sealed(alice, "first")
        with pytest.raises(errors.DataException, match="sealed must not be NULL"):
            alice.execute("SELECT unlock_data_key('k', NULL)")
        with STALE:
            alice.execute(unlock, (right,))
    assert events(admin, "unlock") == []


def test_messages_that_are_malformed_within(database: Database, admin: Connection) -> None:
    passphrase_key(admin)
    contents = {
        b"\0\0\0\6first": "a secret is shorter than its length says",
        b"\xff\xff\xff\xfffirst": "a secret is shorter than its length says",
        b"\0\0": "a secret is shorter than its length says",
        b"": "must have 1 secrets in it, not 0",
        b"\0\0\0\5first\0\0\0\5first": "must have 1 secrets in it, not 2",
        b"\0\0\0\0": "must not be empty",
        b"\0\0\0\5firs\xff": "a passphrase must be UTF-8",
    }
    with database.session("alice") as alice:
        for content, message in contents.items():
            offer = offer_to(alice)
            box = bindings.crypto_box_seal(offer.challenge + content, offer.public)
            with pytest.raises(errors.DataException, match=message):
                alice.execute("SELECT unlock_data_key('k', %s)", (box,))
        offer = offer_to(alice)
        box = bindings.crypto_box_seal(bytes(32) + b"\0\0\0\5first", offer.public)
        with FOREIGN:
            alice.execute("SELECT unlock_data_key('k', %s)", (box,))
        # The same, made like that, with the right content.
        offer = offer_to(alice)
        box = bindings.crypto_box_seal(offer.challenge + b"\0\0\0\5first", offer.public)
        alice.execute("SELECT unlock_data_key('k', %s)", (box,))


def test_sealed_to_another_session(database: Database, admin: Connection) -> None:
    passphrase_key(admin)
    unlock = "SELECT unlock_data_key('k', %s)"
    with database.session("alice") as mine, database.session("alice") as theirs:
        message = sealed(mine, "first")
        with STALE:
            theirs.execute(unlock, (message,))
        offer_to(theirs)
        with FOREIGN:
            theirs.execute(unlock, (message,))
        # That did not take it from the session that it is for.
        mine.execute(unlock, (message,))
        # And an offer that another took the place of is gone, though it was signed.
        old = sealed(mine, "first")
        offer_to(mine)
        with FOREIGN:
            mine.execute(unlock, (old,))


def test_sealed_by_one_role_and_presented_by_another(database: Database, admin: Connection) -> None:
    passphrase_key(admin)
    unlock = "SELECT unlock_data_key('k', %s)"
    for first, second in (("RESET ROLE", "SET ROLE alice"), ("SET ROLE alice", "RESET ROLE")):
        rows(admin, first)
        message = sealed(admin, "first")
        rows(admin, second)
        with FOREIGN:
            admin.execute(unlock, (message,))
        rows(admin, first)
        with STALE:
            admin.execute(unlock, (message,))
    # What one role has unlocked is not there for the other one in the same session.
    rows(admin, "SET ROLE alice")
    call(admin, unlock, "first")
    token = token_of(admin, "k")
    rows(admin, "RESET ROLE")
    with LOCKED:
        rows(admin, decrypt(token))
    rows(admin, "SET ROLE alice")
    assert value(admin, decrypt(token)) == "x"


def test_a_client_refuses_an_offer_of_somebody_else(admin: Connection) -> None:
    pinned = fingerprint_of(admin)
    offer = offer_to(admin)
    check_offer(offer, pinned)
    check_offer(offer, ":".join(re.findall("..", pinned.upper())))
    their_public, their_signing_key = bindings.crypto_sign_keypair()
    their_box_key, _ = bindings.crypto_box_keypair()
    theirs = sign_offer(offer.public, offer.challenge, their_signing_key)
    check_offer(theirs, fingerprint(their_public))
    with pytest.raises(FingerprintError, match="and the pinned one is"):
        check_offer(theirs, pinned)
    forged = {
        "a bit of the signature": offer._replace(signature=bytes([offer.signature[0] ^ 1]) + offer.signature[1:]),
        "no signature": offer._replace(signature=bytes(64)),
        "their signature": offer._replace(signature=theirs.signature),
        "their key to seal to": offer._replace(public=their_box_key),
        "another challenge": offer._replace(challenge=bytes(32)),
        "another offer's signature": offer._replace(signature=offer_to(admin).signature),
    }
    for each in forged.values():
        with pytest.raises(FingerprintError, match="the signature of the offer is not the server's"):
            seal(each, pinned, [b"first"])
    with pytest.raises(DataError, match="signature must be 64 bytes long"):
        check_offer(offer._replace(signature=b""), pinned)


def test_a_stolen_exchange_key_opens_no_recorded_message(database: Database, admin: Connection) -> None:
    """Nor does the root key: the secret half of an offer's key was in its session's memory only."""
    passphrase_key(admin)
    with database.session("alice") as alice:
        pinned = fingerprint_of(alice)
        offer = offer_to(alice)
        recorded = seal(offer, pinned, [b"first"])
        alice.execute("SELECT unlock_data_key('k', %s)", (recorded,))
    # The thief has the database's rows and the root key.
    ((public, made_under, wrapped),) = rows(admin, "SELECT public, fingerprint, wrapped FROM server_key")
    root_key = bytes.fromhex(ROOT_KEY)
    signing_key = LocalRootKey([root_key], "the thief").unwrap(
        wrapped, b"server key exchange" + public, made_under
    )
    assert sign_offer(offer.public, offer.challenge, signing_key) == offer  # it is the real one
    box_secret = bindings.crypto_sign_ed25519_sk_to_curve25519(signing_key)
    box_public = bindings.crypto_sign_ed25519_pk_to_curve25519(public)
    pairs = {
        "the exchange key": (box_public, box_secret),
        "the root key": (bindings.crypto_scalarmult_base(root_key), root_key),
        "the exchange key's seed": (bindings.crypto_scalarmult_base(signing_key[:32]), signing_key[:32]),
    }
    for their_public, secret in pairs.values():
        # As it would open what was sealed to it:
        to_it = bindings.crypto_box_seal(offer.challenge + b"\0\0\0\5first", their_public)
        assert open_sealed(to_it, their_public, secret, offer.challenge) == [b"first"]
        for pretended in (offer.public, their_public):
            with pytest.raises(ChallengeError):
                open_sealed(recorded, pretended, secret, offer.challenge)
            with pytest.raises(CryptoError):
                bindings.crypto_box_seal_open(recorded, pretended, secret)
    # With the exchange key, the thief can answer for the server from now on, until it is rotated.
    rows(admin, "SELECT rotate_exchange_key()")
    with database.session("alice") as alice, pytest.raises(FingerprintError):
        seal(offer_to(alice), pinned, [b"first"])


def test_a_rotated_exchange_key(database: Database, admin: Connection) -> None:
    passphrase_key(admin)
    with database.session("alice") as alice:
        old = fingerprint_of(alice)
        before = sealed(alice, "first")
        with pytest.raises(errors.InsufficientPrivilege):
            alice.execute("SELECT rotate_exchange_key()")
        new = value(admin, "SELECT rotate_exchange_key()")
        assert new != old
        assert fingerprint_of(alice) == new
        assert ("postgres", new) in events(admin, "rotate_exchange_key")
        # An offer from before is good still: its signature was checked then.
        alice.execute("SELECT unlock_data_key('k', %s)", (before,))
        offer = offer_to(alice)
        with pytest.raises(FingerprintError, match=f"has the fingerprint {new}, and the pinned one is {old}"):
            seal(offer, old, [b"first"])
        alice.execute("SELECT unlock_data_key('k', %s)", (seal(offer, new, [b"first"]),))
    assert rows(admin, "SELECT count(*) FROM server_key") == [(1,)]


def test_guessing_a_passphrase(server: Cluster, database: Database, admin: Connection) -> None:
    """Many guesses in four sessions: each costs its Argon2id and a delay, and is counted, and not told."""
    passphrase_key(admin, "guessed")
    rows(admin, "SELECT exchange_offer()")
    (number,) = rows(admin, "SELECT max(id) FROM key")[0]
    with database.session("alice") as alice:
        message = sealed(alice, "first")
        began = time.monotonic()
        alice.execute("SELECT unlock_data_key('guessed', %s)", (message,))
        one_unlock = time.monotonic() - began
    each = GUESSES // GUESSERS
    guesses = [[f"guess-{secrets.token_hex(12)}" for _ in range(each)] for _ in range(GUESSERS)]
    sessions = [server.connect(database.name, "alice", options="-c search_path=pgkeymgr") for _ in guesses]
    log_before = len(server.log)

    def guess(session: Connection, mine: list[str]) -> int:
        for passphrase in mine:
            with pytest.raises(errors.InvalidPassword, match=r'wrong passphrase for key \d+ "guessed"'):
                call(session, "SELECT unlock_data_key('guessed', %s)", passphrase)
        return len(mine)

    began = time.monotonic()
    with ThreadPoolExecutor(GUESSERS) as threads:
        assert sum(threads.map(guess, sessions, guesses)) == GUESSES
    took = time.monotonic() - began
    at_least = each * (one_unlock * 0.5 + DELAY_SECONDS)
    print(
        f"{GUESSES} wrong passphrases in {GUESSERS} sessions: {took:.1f} s, {took / each * 1000:.0f} ms each"
        f" (at least {at_least:.1f} s; one right one took {one_unlock * 1000:.0f} ms)"
    )
    assert took >= at_least
    log = server.log[log_before:]
    assert "exchange_offer" in log
    told = re.findall(
        rf'LOG:  pgkeymgr: failed_unlock key {number} "guessed" by alice from \[local\]'
        r" \(attempt (\d+) of this session\)",
        log,
    )
    counts = sorted([*range(1, each + 1)] * GUESSERS)
    assert sorted(map(int, told)) == counts
    assert log.count("failed_unlock") == GUESSES
    assert "guess-" not in log
    assert not [passphrase for mine in guesses for passphrase in mine if passphrase in log]
    # In the trail, too, but for the last of each session, which its next call writes.
    last = ("alice", f"attempt {each} of this session")
    written = events(admin, "failed_unlock")
    assert len(written) == GUESSES - GUESSERS
    assert last not in written
    for session in sessions:
        offer_to(session)
        session.close()
    written = events(admin, "failed_unlock")
    details = [("alice", f"attempt {count} of this session") for count in counts]
    assert sorted(written) == sorted(details)
    assert check_chain(admin) >= GUESSES
    assert "guess-" not in str(rows(admin, "SELECT * FROM key_events"))


# Failures outlive the transaction that they end


def test_a_failure_outlives_a_rollback(server: Cluster, database: Database, admin: Connection) -> None:
    passphrase_key(admin)
    log_before = len(server.log)

    def fail(connection: Connection) -> None:
        with pytest.raises(errors.InvalidPassword):
            call(connection, "SELECT unlock_data_key('k', %s)", "wrong")

    with database.session("alice") as alice:
        alice.execute("BEGIN")
        fail(alice)
        alice.execute("ROLLBACK")
        first = ("alice", "attempt 1 of this session")
        assert events(admin, "failed_unlock") == []
        for _ in range(2):  # two that are rolled back, too
            alice.execute("BEGIN")
            offer_to(alice)
            alice.execute("ROLLBACK")
            assert events(admin, "failed_unlock") == []
        # And one that is rolled back to a savepoint, in a transaction that is not.
        alice.execute("BEGIN")
        alice.execute("SAVEPOINT s")
        offer_to(alice)
        alice.execute("ROLLBACK TO s")
        offer_to(alice)
        offer_to(alice)
        assert events(admin, "failed_unlock") == []
        alice.execute("COMMIT")
        assert events(admin, "failed_unlock") == [first]
        offer_to(alice)
        offer_to(alice)
        assert events(admin, "failed_unlock") == [first]
        # A transaction that cannot write leaves it for the next.
        fail(alice)
        alice.execute("BEGIN READ ONLY")
        offer_to(alice)
        alice.execute("COMMIT")
        assert events(admin, "failed_unlock") == [first]
        # Any event writes those before it, as a right passphrase does.
        call(alice, "SELECT unlock_data_key('k', %s)", "first")
        second = ("alice", "attempt 2 of this session")
        assert events(admin, "failed_unlock") == [first, second]
        alice.execute("BEGIN")
        fail(alice)
    # The last one's session has ended: only the log tells of it.
    assert events(admin, "failed_unlock") == [first, second]
    log = server.log[log_before:]
    assert re.findall(r"failed_unlock .*\((attempt \d) of this session\)", log) == [
        "attempt 1",
        "attempt 2",
        "attempt 3",
    ]
    check_chain(admin)


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_failure_is_written_once_at_any_isolation_level(
    database: Database, admin: Connection, isolation: str
) -> None:
    passphrase_key(admin)
    with database.session("alice") as alice:
        rows(alice, f"SET default_transaction_isolation = '{isolation}'")
        for _ in range(2):
            with pytest.raises(errors.InvalidPassword):
                call(alice, "SELECT unlock_data_key('k', %s)", "wrong")
        call(alice, "SELECT unlock_data_key('k', %s)", "first")
        offer_to(alice)
    details = [("alice", f"attempt {count} of this session") for count in (1, 2)]
    assert events(admin, "failed_unlock") == details
    check_chain(admin)


def test_every_kind_of_failure_is_in_the_trail(database: Database, admin: Connection) -> None:
    passphrase_key(admin)
    user_pair(admin, "mine")
    failing = {
        "failed_unlock": ("unlock_data_key('k', %s)", ["wrong"]),
        "failed_change_passphrase": ("change_passphrase('k', %s)", ["wrong", "new"]),
        "failed_supersede": ("supersede_data_key('k', %s)", ["wrong"]),
        "failed_unlock_user_key": ("unlock_user_key(%s)", ["wrong"]),
        "failed_change_user_passphrase": ("change_user_passphrase(%s)", ["wrong", "new"]),
        "failed_rotate_user_key": ("rotate_user_key(%s)", ["wrong", "new"]),
    }
    for query, parts in failing.values():
        with pytest.raises(errors.InvalidPassword):
            call(admin, f"SELECT {query}", *parts)
    offer_to(admin)
    assert rows(admin, "SELECT event FROM key_events WHERE event LIKE 'failed%' ORDER BY link") == [
        (event,) for event in failing
    ]
    # Nothing changed: the passphrases are the old ones.
    call(admin, "SELECT unlock_data_key('k', %s)", "first")
    call(admin, "SELECT unlock_user_key(%s)", "mine")


# Connection pools


@contextlib.contextmanager
def pooled(database: Database, mode: str, reset: str) -> Iterator[Callable[[], Connection]]:
    """Run PgBouncer with one connection to the server for alice, over its Unix socket; give what connects."""
    cluster = database.server
    directory = cluster.directory / f"pool-{database.name}"
    directory.mkdir()
    cluster.give_to_server(directory)
    (directory / "users").write_text('"alice" ""\n')
    port = 6432
    (directory / "pgbouncer.ini").write_text(
        "[databases]\n"
        f"{database.name} = host={cluster.directory} port={cluster.port}\n"
        "[pgbouncer]\n"
        "listen_addr =\n"
        f"listen_port = {port}\n"
        f"unix_socket_dir = {directory}\n"
        "auth_type = trust\n"
        f"auth_file = {directory / 'users'}\n"
        f"pool_mode = {mode}\n"
        "default_pool_size = 1\n"
        f"server_reset_query = {reset}\n"
        "ignore_startup_parameters = extra_float_digits\n"
    )
    for file in directory.iterdir():
        cluster.give_to_server(file)

    def connect() -> Connection:
        return psycopg.connect(
            f"host={directory} port={port} dbname={database.name} user=alice",
            autocommit=True,
            prepare_threshold=None,
        )

    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program is not None
    who: dict[str, Any] = {}
    if os.geteuid() == 0:
        who = {"user": cluster.user, "group": cluster.user, "extra_groups": []}
    with (directory / "log").open("w") as log:
        pooler = subprocess.Popen(
            [program, directory / "pgbouncer.ini"], cwd=directory, stdout=log, stderr=log, **who
        )
        try:
            deadline = time.monotonic() + 30
            while not (directory / f".s.PGSQL.{port}").exists():
                assert pooler.poll() is None, (directory / "log").read_text()
                assert time.monotonic() < deadline
            yield connect
        finally:
            pooler.terminate()
            pooler.wait()


def pool_keys(database: Database, admin: Connection) -> dict[str, str]:
    """Make a key under a passphrase, and one that is shared to alice's key pair; return a token of each."""
    passphrase_key(admin)
    user_pair(admin, "mine")
    rows(admin, "SELECT create_data_key('u', wrap => 'user')")
    with database.session("alice") as alice:
        user_pair(alice, "alice's", unlock=False)
    rows(admin, "SELECT share_data_key('u', 'alice')")
    call(admin, "SELECT unlock_data_key('k', %s)", "first")
    return {key: decrypt(token_of(admin, key)).replace("token_", "pgkeymgr.token_") for key in ("k", "u")}


def pool_unlock(connection: Connection, more: str = "") -> None:
    """Unlock both."""
    call(connection, f"SELECT pgkeymgr.unlock_data_key('k', %s{more})", "first")
    call(connection, f"SELECT pgkeymgr.unlock_user_key(%s{more})", "alice's")


@pytest.mark.parametrize("reset", ["DISCARD ALL", "SELECT pgkeymgr.lock()", ""])
def test_a_pool_in_session_mode(database: Database, admin: Connection, reset: str) -> None:
    """What one client has unlocked is gone for the next, thanks to the reset query: without one, it is not."""
    reads = pool_keys(database, admin)
    with pooled(database, "session", reset) as connect:
        with contextlib.closing(connect()) as first:
            pid = value(first, "SELECT pg_backend_pid()")
            pool_unlock(first)
            message = sealed(first, "first")
            assert [value(first, read) for read in reads.values()] == ["x", "x"]
            assert len(rows(first, "SELECT * FROM pgkeymgr.session_keyring")) == 2
        with contextlib.closing(connect()) as second:
            assert value(second, "SELECT pg_backend_pid()") == pid
            if reset:
                for read in reads.values():
                    with LOCKED:
                        rows(second, read)
                assert rows(second, "SELECT * FROM pgkeymgr.session_keyring") == []
            else:
                assert [value(second, read) for read in reads.values()] == ["x", "x"]
            if reset:
                # The first client's open offer, and the message that it did not send, are of no use any more.
                with STALE:
                    second.execute("SELECT pgkeymgr.unlock_data_key('k', %s)", (message,))
            pool_unlock(second)
            assert [value(second, read) for read in reads.values()] == ["x", "x"]


def test_what_has_ended_cannot_be_brought_back(database: Database, admin: Connection) -> None:
    """By a client that knows the marks of the one before it, on the same connection and as the same role."""
    passphrase_key(admin)
    call(admin, "SELECT unlock_data_key('k', %s)", "first")
    token = token_of(admin, "k")
    with database.session("alice") as alice:

        def brought_back(setting: str, mark: str) -> None:
            with pytest.raises(errors.InsufficientPrivilege, match="permission denied to set parameter"):
                rows(alice, f"SET {setting} = '{mark}'")
            with LOCKED:
                rows(alice, decrypt(token))

        # What was there before pgkeymgr was is no mark.
        rows(alice, "SET pgkeymgr.unlocked = 'known'")
        with alice.transaction():
            call(alice, "SELECT unlock_data_key('k', %s, true)", "first")
            assert value(alice, decrypt(token)) == "x"
            mark = value(alice, "SHOW pgkeymgr.unlocked_in_transaction")
        brought_back("pgkeymgr.unlocked_in_transaction", mark)
        call(alice, "SELECT unlock_data_key('k', %s)", "first")
        assert value(alice, decrypt(token)) == "x"
        mark = value(alice, "SHOW pgkeymgr.unlocked")
        assert "known" not in mark
        rows(alice, "DISCARD ALL")
        rows(alice, "SET search_path = public, pgkeymgr")
        brought_back("pgkeymgr.unlocked", mark)


def test_a_pool_in_transaction_mode(database: Database, admin: Connection) -> None:
    """An unlock for the transaction ends with it, though nothing resets the connection."""
    reads = pool_keys(database, admin)
    with (
        pooled(database, "transaction", "DISCARD ALL") as connect,
        contextlib.closing(connect()) as first,
        contextlib.closing(connect()) as second,
    ):
        for end in ("COMMIT", "ROLLBACK"):
            first.execute("BEGIN")
            pid = value(first, "SELECT pg_backend_pid()")
            pool_unlock(first, ", true")
            assert [value(first, read) for read in reads.values()] == ["x", "x"]
            assert rows(first, "SELECT kind, until FROM pgkeymgr.session_keyring ORDER BY 1") == [
                ("data key", "transaction"),
                ("user key", "transaction"),
            ]
            rows(first, end)
            for other in (second, first):
                assert value(other, "SELECT pg_backend_pid()") == pid
                for read in reads.values():
                    with LOCKED:
                        rows(other, read)
                assert rows(other, "SELECT * FROM pgkeymgr.session_keyring") == []


# Keys that only users can open


def test_escrow(database: Database, admin: Connection) -> None:
    """When the only other holder's key pair is gone, the escrow role, set up before, opens the key for others."""
    with database.session("boss") as boss, database.session("escrow") as escrow:
        user_pair(boss, "boss's")
        user_pair(escrow, "escrow's", unlock=False)
        rows(boss, "CREATE SCHEMA vault")
        rows(boss, "CREATE TABLE vault.note (id integer PRIMARY KEY, body text)")
        rows(boss, "SELECT create_data_key('case', wrap => 'user'), create_data_key('lost', wrap => 'user')")
        rows(boss, "SELECT encrypt_column('vault.note', 'body', key => 'case')")
        rows(boss, "INSERT INTO vault.note VALUES (1, 'the will')")
        rows(boss, "GRANT USAGE ON SCHEMA vault TO escrow, bob; GRANT SELECT ON vault.note TO escrow, bob")
        lost = token_of(boss, "lost")
        drop = "SELECT drop_user_key('boss')"
        with pytest.raises(
            errors.ObjectNotInPrerequisiteState, match=r'the user wrap of key \d "case", .* is its last'
        ):
            rows(admin, drop)
        rows(boss, "SELECT share_data_key('case', 'escrow')")
        # The other key has no holder but boss: that would be lost, and takes force.
        with pytest.raises(
            errors.ObjectNotInPrerequisiteState, match=r'the user wrap of key \d "lost" is its last'
        ):
            rows(admin, drop)
        rows(admin, "SELECT drop_user_key('boss', force => true)")
        ((dropper, detail),) = events(admin, "drop_user_key")
        assert dropper == "postgres"
        assert re.fullmatch(r"role boss; [0-9a-f]{64}; key \d is lost", detail)
        read = "SELECT body FROM vault.note WHERE id = 1"
        for connection in (boss, admin, escrow):
            with LOCKED:
                rows(connection, read)
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match="has no wrap: it cannot be opened"):
            rows(boss, decrypt(lost))
        call(escrow, "SELECT unlock_user_key(%s)", "escrow's")
        assert value(escrow, read) == "the will"
        with database.session("bob") as bob:
            user_pair(bob, "bob's")
            with pytest.raises(errors.InsufficientPrivilege):
                rows(bob, read)
            rows(escrow, "SELECT share_data_key('case', 'bob')")
            assert value(bob, read) == "the will"
        # The owner comes back with a new pair.
        user_pair(boss, "boss's second")
        with LOCKED:
            rows(boss, read)
        rows(escrow, "SELECT share_data_key('case', 'boss')")
        assert value(boss, read) == "the will"
        assert events(admin, "share")[-1] == ("escrow", "to role boss")
    check_chain(admin)


READ = "SELECT id, body FROM vault.note ORDER BY id"
NOTES = [*((number, f"old {number}") for number in range(1, 21)), (21, "new")]


def make_notes(boss: Connection) -> int:
    """Encrypt a column under a key of boss's own, migrate it, and return the key's id."""
    user_pair(boss, "boss's")
    rows(boss, "CREATE SCHEMA vault")
    rows(boss, "CREATE TABLE vault.note (id integer PRIMARY KEY, body text)")
    rows(boss, "INSERT INTO vault.note SELECT i, 'old ' || i FROM generate_series(1, 20) AS i")
    key_id = value(boss, "SELECT create_data_key('case', wrap => 'user')")
    rows(boss, "SELECT encrypt_column('vault.note', 'body', key => 'case')")
    rows(boss, "INSERT INTO vault.note VALUES (21, 'new')")
    rows(boss, "CALL migrate_column('vault.note', 'body', 7)")
    rows(boss, "GRANT USAGE ON SCHEMA vault TO alice, bob; GRANT SELECT ON vault.note TO alice, bob")
    assert rows(boss, READ) == NOTES
    return int(key_id)


def check_closed_to_superuser(admin: Connection, *queries: str) -> None:
    """Check that queries fail in a superuser's session, as the column's owner, too."""
    for role in ("RESET ROLE", "SET ROLE boss"):
        rows(admin, role)
        for query in queries:
            with LOCKED:
                rows(admin, query)
        assert value(admin, "SELECT count(id) >= 21 FROM vault.note")
    rows(admin, "RESET ROLE")


def test_a_column_under_a_key_of_users(database: Database, admin: Connection) -> None:
    """It is closed to the superuser's own SQL; its holders migrate and rotate it."""
    closed = (
        READ,
        "INSERT INTO vault.note VALUES (99, 'no')",
        "UPDATE vault.note SET body = 'no' WHERE id = 1",
        "CALL rotate_column('vault.note', 'body')",
        "SELECT share_data_key('case', 'alice')",
        "SELECT export_data_key('case', decode(repeat('09', 32), 'hex'))",
        "SELECT add_root_wrap('case')",
        "SELECT supersede_data_key('case')",
    )
    with database.session("boss") as boss, database.session("alice") as alice:
        old_id = make_notes(boss)
        user_pair(alice, "alice's", unlock=False)
        check_closed_to_superuser(admin, *closed)
        # Shared, and then rotated: the new version is sealed to the same holders.
        rows(boss, "SELECT share_data_key('case', 'alice')")
        with LOCKED:
            rows(alice, READ)
        call(alice, "SELECT unlock_user_key(%s)", "alice's")
        assert rows(alice, READ) == NOTES
        rows(boss, "SELECT supersede_data_key('case')")
        assert rows(alice, READ) == NOTES
        check_closed_to_superuser(admin, *closed)
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match="is still needed"):
            rows(boss, f"SELECT destroy_data_key({old_id}, 'case')")
        rows(boss, "CALL rotate_column('vault.note', 'body', 7)")
        assert rows(alice, READ) == NOTES
        # Nothing depends on the old version any more.
        rows(boss, f"SELECT destroy_data_key({old_id}, 'case')")
        assert rows(alice, READ) == NOTES
        check_closed_to_superuser(admin, *closed)
        rows(boss, "SELECT lock()")
        with LOCKED:
            rows(boss, READ)
    check_chain(admin)


def test_a_blind_index_under_a_key_of_users(database: Database, admin: Connection) -> None:
    """It has a key of its own, which opens for the same holders, and for later ones."""
    search = "SELECT id FROM vault.note WHERE body_bidx = blind_index('vault.note', 'body', 'OLD 7')"
    with database.session("boss") as boss, database.session("alice") as alice, database.session("bob") as bob:
        make_notes(boss)
        user_pair(alice, "alice's")
        user_pair(bob, "bob's")
        rows(boss, "SELECT share_data_key('case', 'alice')")
        check_closed_to_superuser(admin, "SELECT add_blind_index('vault.note', 'body')")
        rows(boss, "SELECT add_blind_index('vault.note', 'body', 'casefold')")
        for connection in (boss, alice):
            assert rows(connection, search) == [(7,)]
        check_closed_to_superuser(admin, search)
        for query in (READ, search):
            with pytest.raises(errors.InsufficientPrivilege):
                rows(bob, query)
        rows(boss, "SELECT share_data_key('case', 'bob')")
        assert rows(bob, READ) == NOTES
        assert rows(bob, search) == [(7,)]
        rows(boss, "SELECT unshare_data_key('case', 'bob')")
        for query in (READ, search):
            with pytest.raises(errors.InsufficientPrivilege):
                rows(bob, query)
        rows(boss, "INSERT INTO vault.note VALUES (22, 'Old 7')")
        assert rows(alice, f"{search} ORDER BY id") == [(7,), (22,)]
        for left in ("key_wrap", "key_grant"):
            assert value(admin, f"SELECT count(*) FROM {left}") > 0
        # Nothing is left of bob's copies.
        assert rows(
            admin,
            "SELECT count(*) FROM key_wrap JOIN user_key ON holder = encode(public, 'hex')"
            " WHERE role = 'bob'::regrole",
        ) == [(0,)]
    check_chain(admin)


# What another session changes is so here at the next statement.


def open_keys(admin: Connection, alice: Connection) -> dict[str, str]:
    """Make a key of each kind, unlock both as alice, and return a token of each."""
    passphrase_key(admin)
    user_pair(admin, "mine")
    user_pair(alice, "alice's")
    rows(admin, "SELECT create_data_key('u', wrap => 'user')")
    rows(admin, "SELECT share_data_key('u', 'alice')")
    call(alice, "SELECT unlock_data_key('k', %s)", "first")
    return {key: token_of(alice, key) for key in ("k", "u")}


def change_passphrase(admin: Connection, _: Connection) -> None:
    call(admin, "SELECT change_passphrase('k', %s)", "first", "second")


def drop_passphrase(admin: Connection, _: Connection) -> None:
    call(admin, "SELECT unlock_data_key('k', %s)", "first")
    rows(admin, "SELECT share_data_key('k', 'postgres')")
    rows(admin, "SELECT drop_passphrase('k')")


def revoke(admin: Connection, _: Connection) -> None:
    rows(admin, "SELECT revoke_data_key('k', 'alice')")


def disable(admin: Connection, _: Connection) -> None:
    rows(admin, "SELECT disable_data_key(id) FROM data_keys WHERE name = 'k'")


def unshare(admin: Connection, _: Connection) -> None:
    rows(admin, "SELECT unshare_data_key('u', 'alice')")


def rotate_user_key(_: Connection, other: Connection) -> None:
    call(other, "SELECT rotate_user_key(%s)", "alice's")


def drop_user_key(admin: Connection, _: Connection) -> None:
    rows(admin, "SELECT drop_user_key('alice')")


TWO = {
    change_passphrase: ("k", errors.ObjectNotInPrerequisiteState, "is locked"),
    drop_passphrase: ("k", errors.ObjectNotInPrerequisiteState, "is locked"),
    revoke: ("k", errors.InsufficientPrivilege, "permission denied"),
    disable: ("k", errors.ObjectNotInPrerequisiteState, "is disabled"),
    unshare: ("u", errors.InsufficientPrivilege, "permission denied"),
    rotate_user_key: ("u", errors.ObjectNotInPrerequisiteState, "is locked"),
    drop_user_key: ("u", errors.ObjectNotInPrerequisiteState, "is locked"),
}


@pytest.mark.parametrize("change", TWO, ids=lambda change: change.__name__)
@pytest.mark.parametrize("isolation", [None, "REPEATABLE READ"])
def test_a_change_elsewhere_takes_effect_at_once(
    database: Database,
    admin: Connection,
    change: Callable[[Connection, Connection], None],
    isolation: str | None,
) -> None:
    """In a session that has the key unlocked, in prepared statements and in a transaction of any level."""
    key, error, message = TWO[change]
    with database.session("alice") as alice, database.session("alice") as other:
        alice.prepare_threshold = None  # else psycopg deallocates all at a ROLLBACK TO
        tokens = open_keys(admin, alice)
        if isolation:
            rows(alice, f"BEGIN ISOLATION LEVEL {isolation}")
        for each in ("k", "u"):
            rows(alice, f"PREPARE read_{each} AS SELECT token_decrypt_text({tokens[each]})")
            rows(alice, f"PREPARE write_{each} AS SELECT token_encrypt_text('{each}', 'y')")
            for _ in range(7):  # more than the five after which a plan is kept
                assert value(alice, f"EXECUTE read_{each}") == "x"
                rows(alice, f"EXECUTE write_{each}")
        change(admin, other)
        for use in (f"EXECUTE read_{key}", f"EXECUTE write_{key}", decrypt(tokens[key])):
            if isolation:
                rows(alice, "SAVEPOINT before")
            with pytest.raises(error, match=message):
                rows(alice, use)
            if isolation:
                rows(alice, "ROLLBACK TO before")
        # The other one is still open.
        assert value(alice, f"EXECUTE read_{'u' if key == 'k' else 'k'}") == "x"


def test_what_has_changed_is_unlocked_anew(database: Database, admin: Connection) -> None:
    with database.session("alice") as alice, database.session("alice") as other:
        tokens = open_keys(admin, alice)
        change_passphrase(admin, other)
        with pytest.raises(errors.InvalidPassword):
            call(alice, "SELECT unlock_data_key('k', %s)", "first")
        with LOCKED:
            rows(alice, decrypt(tokens["k"]))
        call(alice, "SELECT unlock_data_key('k', %s)", "second")
        assert value(alice, decrypt(tokens["k"])) == "x"
        rotate_user_key(admin, other)
        with LOCKED:
            rows(alice, decrypt(tokens["u"]))
        call(alice, "SELECT unlock_user_key(%s)", "alice's")
        assert value(alice, decrypt(tokens["u"])) == "x"
        # A rotation in this session keeps it open, and one that is rolled back, too.
        call(alice, "SELECT rotate_user_key(%s)", "alice's", "alice's second")
        assert value(alice, decrypt(tokens["u"])) == "x"
        alice.execute("BEGIN")
        call(alice, "SELECT rotate_user_key(%s)", "alice's second", "never")
        assert value(alice, decrypt(tokens["u"])) == "x"
        alice.execute("ROLLBACK")
        assert value(alice, decrypt(tokens["u"])) == "x"
        with pytest.raises(errors.InvalidPassword):
            call(alice, "SELECT unlock_user_key(%s)", "never")
        call(alice, "SELECT unlock_user_key(%s)", "alice's second")


# Parallel queries


def test_parallel_queries(admin: Connection) -> None:
    """No worker has what the session has unlocked: so none is started, for a plan that was made before either."""
    passphrase_key(admin)
    call(admin, "SELECT unlock_data_key('k', %s)", "first")
    rows(
        admin,
        "CREATE TABLE many AS"
        " SELECT token_encrypt('k', i::text::bytea) AS token FROM generate_series(1, 5000) AS i",
    )
    rows(admin, "ANALYZE many")
    rows(admin, "SELECT lock()")
    rows(admin, "RESET ALL")
    rows(admin, "SET search_path = public, pgkeymgr")
    debug = "debug_parallel_query" if admin.info.server_version >= 160000 else "force_parallel_mode"
    zero = ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size")
    for setting in (*(f"{name} = 0" for name in zero), f"{debug} = on", "plan_cache_mode = force_generic_plan"):
        rows(admin, f"SET {setting}")
    scan = "SELECT sum(length(token_decrypt(token))) FROM many"
    expected = sum(len(str(number)) for number in range(1, 5001))
    rows(admin, f"PREPARE scan AS {scan}")

    def plan(query: str) -> str:
        return "\n".join(row[0] for row in rows(admin, query))

    workers = value(admin, "SHOW max_parallel_workers")
    assert int(workers) > 0
    assert re.search("Workers Planned: [12]", plan("EXPLAIN EXECUTE scan"))
    with LOCKED:
        rows(admin, "EXECUTE scan")

    def check_open() -> None:
        for query in ("EXECUTE scan", scan, "SELECT token_decrypt(token) IS NULL FROM many LIMIT 1"):
            assert value(admin, query) in (expected, False)
        analyzed = plan("EXPLAIN (ANALYZE) EXECUTE scan")
        assert re.search("Workers Planned: [12]", analyzed)  # it is the plan from before
        assert "Workers Launched: 0" in analyzed
        assert not re.search("Workers Launched: [1-9]", plan(f"EXPLAIN (ANALYZE) {scan}"))

    with admin.transaction():
        call(admin, "SELECT unlock_data_key('k', %s, true)", "first")
        check_open()
    # Workers are for this session again.
    assert value(admin, "SHOW max_parallel_workers") == workers
    with LOCKED:
        rows(admin, "EXECUTE scan")
    call(admin, "SELECT unlock_data_key('k', %s)", "first")
    check_open()


# Standbys and dumps


def test_on_a_standby(server: Cluster, database: Database, admin: Connection) -> None:
    """Keys are unlocked there, too; its log tells of it, where no trail can be written."""
    passphrase_key(admin)
    user_pair(admin, "mine")
    with database.session("alice") as alice:
        user_pair(alice, "alice's", unlock=False)
    rows(admin, "SELECT create_data_key('u', wrap => 'user')")
    rows(admin, "SELECT share_data_key('u', 'alice')")
    call(admin, "SELECT unlock_data_key('k', %s)", "first")
    tokens = {key: token_of(admin, key) for key in ("k", "u")}
    pinned = fingerprint_of(admin)
    trail = check_chain(admin)
    standby = Cluster(initialize=False)
    backup = ["--write-recovery-conf", "--checkpoint=fast", f"--pgdata={standby.data}"]
    standby.run_as_server([server.bin / "pg_basebackup", *backup, f"--dbname={server.dsn()}"])
    with standby, Database(standby, database.name).session("alice") as reader:
        assert value(reader, "SELECT pg_is_in_recovery()") is True
        assert fingerprint_of(reader) == pinned
        for token in tokens.values():
            with LOCKED:
                rows(reader, decrypt(token))
        with pytest.raises(errors.InvalidPassword):
            call(reader, "SELECT unlock_data_key('k', %s)", "wrong")
        call(reader, "SELECT unlock_data_key('k', %s)", "first")
        call(reader, "SELECT unlock_user_key(%s)", "alice's")
        assert [value(reader, decrypt(token)) for token in tokens.values()] == ["x", "x"]
        with reader.transaction():
            call(reader, "SELECT unlock_data_key('k', %s, true)", "first")
        told = re.findall(r"LOG:  pgkeymgr: (.*)", standby.log)
        number = value(admin, "SELECT id FROM data_keys WHERE name = 'k'")
        assert told == [
            f'failed_unlock key {number} "k" by alice from [local] (attempt 1 of this session)',
            f'unlock key {number} "k" by alice from [local] (for the session)',
            "unlock_user_key by alice from [local] (for the session)",
            f'unlock key {number} "k" by alice from [local] (for the transaction)',
        ]
        with pytest.raises(errors.ReadOnlySqlTransaction):
            call(reader, "SELECT change_passphrase('k', %s)", "first", "second")
        with Database(standby, database.name).session() as there:
            assert check_chain(there) == trail


@pytest.mark.parametrize("mode", ["plain", "directory"])
def test_dump_and_restore(
    server: Cluster, database: Database, admin: Connection, tmp_path: Path, mode: str
) -> None:
    passphrase_key(admin)
    user_pair(admin, "mine")
    rows(admin, "SELECT create_data_key('u', wrap => 'user')")
    with database.session("alice") as alice:
        user_pair(alice, "alice's", unlock=False)
        rows(admin, "SELECT share_data_key('u', 'alice')")
        with pytest.raises(errors.InvalidPassword):
            call(alice, "SELECT unlock_data_key('k', %s)", "wrong")
        call(alice, "SELECT unlock_data_key('k', %s)", "first")
        tokens = [token_of(alice, "k"), token_of(admin, "u")]
    pinned = fingerprint_of(admin)
    trail = rows(admin, "SELECT * FROM key_events ORDER BY link")
    verified = rows(admin, "SELECT * FROM verify_key_events()")
    assert len(trail) >= 8
    with server.connect() as connection:
        rows(connection, "CREATE DATABASE restored")
    try:
        dump = tmp_path / "dump"
        if mode == "plain":
            server.client(["pg_dump", f"--file={dump}", database.name])
            server.client(["psql", "--set=ON_ERROR_STOP=1", f"--file={dump}"], dbname="restored")
        else:
            server.client(["pg_dump", "--format=directory", "--jobs=4", f"--file={dump}", database.name])
            server.client(["pg_restore", "--exit-on-error", "--jobs=4", "--dbname=restored", dump])
        restored = Database(server, "restored")
        with restored.session() as connection, restored.session("alice") as alice:
            assert rows(connection, "SELECT * FROM key_events ORDER BY link") == trail
            assert rows(connection, "SELECT * FROM verify_key_events()") == verified
            assert fingerprint_of(alice) == pinned
            for token in tokens:
                with LOCKED:
                    rows(alice, decrypt(token))
            alice.execute("SELECT unlock_data_key('k', %s)", (seal(offer_to(alice), pinned, [b"first"]),))
            call(alice, "SELECT unlock_user_key(%s)", "alice's")
            assert [value(alice, decrypt(token)) for token in tokens] == ["x", "x"]
            # The chain goes on where it was.
            assert check_chain(connection) == len(trail) + 2
    finally:
        with server.connect() as connection:
            rows(connection, "DROP DATABASE restored WITH (FORCE)")


# Several sessions at once


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ"])
def test_events_of_many_sessions(database: Database, admin: Connection, isolation: str) -> None:
    sessions, each = 8, 50
    barrier = threading.Barrier(sessions)

    def work(number: int) -> int:
        """Make keys, two in each transaction, every fifth of which is rolled back."""
        made = 0
        with database.session("boss") as boss:
            barrier.wait()
            for first in range(0, each, 2):
                rows(boss, f"BEGIN ISOLATION LEVEL {isolation}")
                for name in (first, first + 1):
                    rows(boss, f"SELECT create_data_key('{number} {name}')")
                if first % 10 == 8:
                    rows(boss, "ROLLBACK")
                    for name in (first, first + 1):
                        rows(boss, f"SELECT create_data_key('{number} {name}')")
                else:
                    rows(boss, "COMMIT")
                made += 2
        return made

    with ThreadPoolExecutor(sessions) as threads:
        assert list(threads.map(work, range(sessions))) == [each] * sessions
    assert check_chain(admin) == sessions * each
    assert rows(admin, "SELECT count(*), count(DISTINCT key_name) FROM key_events WHERE event = 'create'") == [
        (sessions * each, sessions * each)
    ]
    # In the chain, the events of a session are in the order of the session.
    chained = rows(admin, "SELECT key_name FROM key_events ORDER BY link")
    for number in range(sessions):
        mine = [int(name.split()[1]) for (name,) in chained if name.startswith(f"{number} ")]
        assert mine == list(range(each))


def test_sharing_while_the_holder_rotates(database: Database, admin: Connection) -> None:
    """Whatever is shared while the key pair changes can be opened with the pair that is there in the end."""
    rotations = 8
    done = threading.Event()
    with database.session("boss") as boss, database.session("alice") as alice:
        user_pair(boss, "boss's")
        user_pair(alice, "alice's", unlock=False)
        rows(boss, "SELECT create_data_key('old', wrap => 'user')")
        rows(boss, "SELECT share_data_key('old', 'alice')")
        tokens = {"old": token_of(boss, "old")}

        def share() -> int:
            number = 0
            while not done.is_set():
                number += 1
                name = f"shared {number}"
                rows(boss, f"SELECT create_data_key('{name}', wrap => 'user')")
                rows(boss, f"SELECT share_data_key('{name}', 'alice')")
                tokens[name] = token_of(boss, name)
                if number % 10 == 0:
                    rows(boss, "SELECT supersede_data_key('old')")
                    tokens[f"old {number}"] = token_of(boss, "old")
                if number % 10 == 5:
                    rows(boss, f"SELECT unshare_data_key('{name}', 'alice')")
                    rows(boss, f"SELECT share_data_key('{name}', 'alice')")
            return number

        with ThreadPoolExecutor(1) as threads:
            sharing = threads.submit(share)
            try:
                for number in range(rotations):
                    call(alice, "SELECT rotate_user_key(%s)", *(["alice's"] * (1 + number % 2)))
            finally:
                done.set()
            shared = sharing.result()
    assert shared > 2 * rotations
    with database.session("alice") as alice:
        call(alice, "SELECT unlock_user_key(%s)", "alice's")
        for name, token in tokens.items():
            assert value(alice, decrypt(token)) == "x", name
    # No wrap is left of the pairs before.
    assert rows(
        admin,
        "SELECT count(DISTINCT holder), count(*) FILTER (WHERE holder NOT IN (SELECT encode(public, 'hex')"
        " FROM user_key)) FROM key_wrap WHERE kind = 'user'",
    ) == [(2, 0)]
    check_chain(admin)


def test_two_rotations_at_once(database: Database, admin: Connection) -> None:
    """One may be refused; whatever comes of it, the pair opens with the passphrase, and it opens the keys."""
    user_pair(admin, "mine")
    rows(admin, "SELECT create_data_key('u', wrap => 'user')")
    token = token_of(admin, "u")
    with database.session("alice") as one, database.session("alice") as two:
        user_pair(one, "alice's", unlock=False)
        rows(admin, "SELECT share_data_key('u', 'alice')")
        for _ in range(3):
            barrier = threading.Barrier(2)

            def rotate(connection: Connection, barrier: threading.Barrier = barrier) -> bool:
                message = sealed(connection, "alice's")
                barrier.wait()
                try:
                    connection.execute("SELECT rotate_user_key(%s)", (message,))
                except errors.ObjectNotInPrerequisiteState as error:
                    assert "by another session meanwhile" in str(error)  # noqa: PT017  # one of two may raise it
                    return False
                return True

            with ThreadPoolExecutor(2) as threads:
                assert any(threads.map(rotate, (one, two)))
            with database.session("alice") as alice:
                call(alice, "SELECT unlock_user_key(%s)", "alice's")
                assert value(alice, decrypt(token)) == "x"
    check_chain(admin)
