"""The agent and a real server: that a backend never holds the root key, and what its sessions see of the agent."""

import base64
import os
import re
import secrets
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path

import pytest
from agent_process import Agent
from cluster import Cluster
from conftest import Connection, rows, value
from pgkeymgr.key.record import wrap_associated_data
from pgkeymgr.root_key import LocalRootKey, fingerprint
from psycopg import errors

CHUNK = 1 << 24


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    """An agent that serves the server's user, with a root key of its own."""
    own = "postgres" if os.geteuid() == 0 else str(os.geteuid())
    with Agent([secrets.token_hex(32)], users=[own]) as running:
        yield running


@pytest.fixture(scope="module")
def server(agent: Agent) -> Iterator[Cluster]:
    """A cluster without a getkey script, whose environment names the agent."""
    with Cluster(environment={"PGKEYMGR_AGENT": str(agent.socket)}, root_keys=None) as cluster:
        cluster.create_database("test")
        yield cluster
        for form in forms(root_key_of(agent)).values():
            assert form not in cluster.log_file.read_bytes()


@pytest.fixture
def session(server: Cluster) -> Iterator[Connection]:
    """A new session, as superuser."""
    with server.connect("test") as connection:
        connection.execute("SET search_path = pgkeymgr, public")
        yield connection


def root_key_of(agent: Agent) -> bytes:
    """Return the newest root key that the agent's getkey script prints."""
    return bytes.fromhex(agent.getkey.read_text().splitlines()[1].removeprefix("echo "))


def forms(root_key: bytes) -> dict[str, bytes]:
    """Return what would give the root key away, in the notations that it might have in memory."""
    wrapping_key = blake2b(digest_size=32, key=root_key, person=b"pgkeymgrwrapping").digest()
    found = {}
    for name, key in (("root key", root_key), ("wrapping key", wrapping_key)):
        found[name] = key
        found[f"{name}, hex"] = key.hex().encode()
        found[f"{name}, HEX"] = key.hex().upper().encode()
        found[f"{name}, base64"] = base64.b64encode(key)
        found[f"{name}, repr"] = repr(key)[2:-1].encode()
    return found


def search_memory(pid: int, needles: dict[str, bytes]) -> set[str]:
    """Return the names of the needles that are anywhere in the readable memory of a process."""
    found = set()
    searched = 0
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, mode, *_ = line.split()
            if "r" not in mode or "[vvar" in line or "[vsyscall" in line:
                continue
            start, end = (int(address, 16) for address in span.split("-"))
            overlap = b""
            while start < end:
                memory.seek(start)
                try:
                    chunk = memory.read(min(CHUNK, end - start))
                except OSError:  # pages of a file that are not there
                    break
                if not chunk:
                    break
                searched += len(chunk)
                text = overlap + chunk
                found |= {name for name, needle in needles.items() if needle in text}
                overlap = text[-256:]
                start += len(chunk)
    assert searched > 1 << 24
    return found


def use_everything(connection: Connection) -> bytes:
    """Derive, make a data key, encrypt, decrypt, wrap and unwrap in a session; return the data key's name."""
    connection.execute("SELECT derive_key(1), pgkeymgr_derive(2)")
    name = f"key {secrets.token_hex(8)}"
    connection.execute("SELECT create_data_key(%s)", [name])
    token = connection.execute("SELECT token_encrypt_text(%s, 'plaintext')", [name]).fetchone()
    assert token is not None
    assert connection.execute("SELECT token_decrypt_text(%s)", token).fetchone() == ("plaintext",)
    assert value(connection, "SELECT unwrap_key(wrap_key('another secret'))") == b"another secret"
    connection.execute("SELECT exchange_fingerprint()")
    connection.execute("SELECT crypto_auth('message', 7::bigint)")
    assert value(connection, "SELECT fingerprint FROM root_key_status()")
    return name.encode()


def data_key(connection: Connection, name: bytes, root_key: bytes) -> bytes:
    """Return the secret of a data key, unwrapped by the test."""
    row = connection.execute(
        "SELECT k.*, w.wrapped FROM key AS k JOIN key_wrap AS w ON w.key_id = k.id WHERE k.name = %s",
        [name.decode()],
    )
    columns = [column.name for column in row.description or ()]
    (values,) = row.fetchall()
    record = dict(zip(columns, values, strict=True))
    associated_data = wrap_associated_data(record["uuid"].bytes, record["key_type"])
    return LocalRootKey([root_key], "").unwrap(record["wrapped"], associated_data, fingerprint(root_key))


def test_status(session: Connection, agent: Agent) -> None:
    row = session.execute("SELECT fingerprint, source FROM root_key_status()").fetchone()
    assert row == (fingerprint(root_key_of(agent)), f"agent {agent.socket} (getkey {agent.getkey})")


def test_a_backend_never_holds_the_root_key(server: Cluster, session: Connection, agent: Agent) -> None:
    root_key = root_key_of(agent)
    name = use_everything(session)
    pid = session.info.backend_pid
    with server.connect("test") as other:
        other.execute("SET search_path = pgkeymgr, public")
        needles = forms(root_key) | {"data key": data_key(other, name, root_key)}
    # The search finds what is there: the session's data key. And of the root key, nothing.
    assert search_memory(pid, needles) == {"data key"}
    # Nor in the server's other processes, those that begin later included.
    postmaster = int((server.data / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    for process in (postmaster, *map(int, children)):
        assert search_memory(process, forms(root_key)) == set()
    # It is in the agent.
    assert {"root key", "wrapping key"} <= search_memory(agent.pid, needles)


def test_with_getkey_a_backend_holds_it() -> None:
    """The same search in a session that runs getkey itself: there it finds the root key."""
    root_key = secrets.token_bytes(32)
    with Cluster(root_keys=[root_key.hex()]) as cluster:
        cluster.create_database("test")
        with cluster.connect("test") as connection:
            connection.execute("SET search_path = pgkeymgr, public")
            use_everything(connection)
            assert {"root key", "wrapping key"} <= search_memory(connection.info.backend_pid, forms(root_key))


def test_a_locked_agent_holds_it_no_more() -> None:
    root_key = secrets.token_bytes(32)
    with Agent([root_key.hex()]) as agent:
        agent.root_key().derive(1, 32, b"pgsodium")
        agent.root_key().wrap(b"secret", b"")
        assert {"root key", "wrapping key"} <= search_memory(agent.pid, forms(root_key))
        agent.control().lock()
        assert search_memory(agent.pid, forms(root_key)) == set()


def test_a_backend_with_the_agent_is_closed_to_others(session: Connection) -> None:
    if os.geteuid() == 0:
        session.execute("SELECT derive_key(1)")
        assert Path(f"/proc/{session.info.backend_pid}/mem").stat().st_uid == 0


def test_gone_and_back(session: Connection, server: Cluster, agent: Agent) -> None:
    """Unlocked keys go on working; calls that need the root key report that the agent is gone."""
    session.execute("SELECT create_data_key('kept'), create_data_key('not unlocked')")
    tokens = {
        name: value(session, f"SELECT token_encrypt_text('{name}', 'plaintext')")
        for name in ("kept", "not unlocked")
    }
    derived = value(session, "SELECT derive_key(1)")
    with server.connect("test") as other:
        other.execute("SET search_path = pgkeymgr, public")
        other.execute("SELECT token_decrypt_text(%s)", [tokens["kept"]])
        agent.stop(signal.SIGKILL)
        for connection in (session, other):
            for _ in range(2):
                with pytest.raises(errors.SystemError, match=f"the agent at {agent.socket} ") as gone:
                    connection.execute("SELECT derive_key(1)")
                assert gone.value.sqlstate == "58000"
                assert "Start it" in str(gone.value.diag.message_hint)
            row = connection.execute("SELECT token_decrypt_text(%s)", [tokens["kept"]]).fetchone()
            assert row == ("plaintext",)
        with pytest.raises(errors.SystemError, match="the agent at"):
            other.execute("SELECT token_decrypt_text(%s)", [tokens["not unlocked"]])
        # A new session, too: it does not look for a getkey script.
        with server.connect("test") as new, pytest.raises(errors.SystemError, match="the agent at"):
            new.execute("SELECT pgkeymgr.derive_key(1)")
        agent.start()
        for connection in (session, other):
            assert value(connection, "SELECT derive_key(1)") == derived
            row = connection.execute("SELECT token_decrypt_text(%s)", [tokens["not unlocked"]]).fetchone()
            assert row == ("plaintext",)


def test_no_fall_back_to_getkey(server: Cluster, agent: Agent) -> None:
    server.install_getkey(f"#!/bin/sh\necho {'ab' * 32}\n")
    try:
        agent.stop()
        with server.connect("test") as connection, pytest.raises(errors.SystemError, match="the agent at"):
            connection.execute("SELECT pgkeymgr.derive_key(1)")
    finally:
        server.getkey.unlink()
        agent.start()


def test_locked(session: Connection, agent: Agent) -> None:
    derived = value(session, "SELECT derive_key(1)")
    agent.control().lock()
    with pytest.raises(errors.SystemError, match=f"the agent at {agent.socket} is locked") as locked:
        session.execute("SELECT derive_key(1)")
    assert "pgkeymgr agent unlock" in str(locked.value.diag.message_hint)
    agent.control().unlock(lambda prompt: b"")
    assert value(session, "SELECT derive_key(1)") == derived


def test_a_key_by_number_is_asked_for_once_in_a_statement(session: Connection, agent: Agent) -> None:
    def derived(query: str) -> int:
        before: int = agent.control().status()["operations"].get("derive", 0)
        session.execute(query)
        after: int = agent.control().status()["operations"]["derive"]
        return after - before

    session.execute("SELECT derive_key(1)")
    many = "SELECT count(DISTINCT crypto_auth(i::text::bytea, {key})) FROM generate_series(1, 500) AS i"
    assert derived(many.format(key="7::bigint")) == 1
    # Not kept for the next statement, and not taken for another number, length or context.
    assert derived(many.format(key="7::bigint")) == 1
    assert derived(many.format(key="i::bigint")) == 500
    both = "SELECT crypto_auth('', 1::bigint) = crypto_auth('', 1::bigint, 'another_')"
    assert value(session, both) is False
    assert derived(f"{both}, crypto_shorthash('', 1::bigint)") == 3
    # Nor after the agent was locked in the meantime.
    agent.control().lock()
    with pytest.raises(errors.SystemError, match="is locked"):
        session.execute(many.format(key="7::bigint"))
    agent.control().unlock(lambda prompt: b"")


def test_an_agent_for_another_user_refuses_the_server(server: Cluster) -> None:
    """The agent serves somebody else."""
    with (
        Agent([secrets.token_hex(32)], users=["daemon"]) as other,
        Cluster(environment={"PGKEYMGR_AGENT": str(other.socket)}, root_keys=None) as cluster,
    ):
        cluster.create_database("test")
        with cluster.connect("test") as connection:
            with pytest.raises(errors.SystemError, match="does not serve user id"):
                connection.execute("SELECT pgkeymgr.derive_key(1)")
            other.directory.chmod(0o777)
            with pytest.raises(errors.SystemError, match="which others can write"):
                connection.execute("SELECT pgkeymgr.derive_key(1)")


def test_a_newer_root_key(session: Connection, server: Cluster, agent: Agent) -> None:
    """Sessions follow a reload; what they store has the fingerprint that it was made under."""
    old = root_key_of(agent)
    session.execute("SELECT create_data_key('before')")
    token = value(session, "SELECT token_encrypt_text('before', 'plaintext')")
    wrapped = value(session, "SELECT wrap_key('secret')")
    new = secrets.token_bytes(32)
    agent.set_keys([new.hex(), old.hex()])
    agent.control().reload(lambda prompt: b"")
    session.execute("SELECT create_data_key('after')")
    query = "SELECT k.name, w.fingerprint FROM key AS k JOIN key_wrap AS w ON w.key_id = k.id WHERE name = ANY(%s)"
    found = session.execute(query, [["before", "after"]]).fetchall()
    assert dict(found) == {"before": fingerprint(old), "after": fingerprint(new)}
    with server.connect("test") as other:
        other.execute("SET search_path = pgkeymgr, public")
        row = other.execute("SELECT token_decrypt_text(%s), unwrap_key(%s)", [token, wrapped]).fetchone()
        assert row == ("plaintext", b"secret")
        row = other.execute("SELECT fingerprint, previous FROM root_key_status()").fetchone()
        assert row == (fingerprint(new), [fingerprint(old)])
        assert data_key(other, b"after", new)


def test_waiting_can_be_canceled(server: Cluster, agent: Agent) -> None:
    with server.connect("test", options="-c statement_timeout=500") as connection:
        os.kill(agent.pid, signal.SIGSTOP)
        try:
            with pytest.raises(errors.QueryCanceled):
                connection.execute("SELECT pgkeymgr.derive_key(1)")
        finally:
            os.kill(agent.pid, signal.SIGCONT)
        assert value(connection, "SELECT 1") == 1
        connection.execute("SET statement_timeout = 0")
        connection.execute("SELECT pgkeymgr.derive_key(1)")


def test_large_secrets(session: Connection) -> None:
    secret = bytes(1 << 20)
    row = session.execute("SELECT unwrap_key(wrap_key(%s)) = %s", [secret, secret]).fetchone()
    assert row == (True,)
    with pytest.raises(errors.ProgramLimitExceeded, match="too large for the agent"):
        session.execute("SELECT wrap_key(%s)", [secret + b"x"])


def test_errors_are_those_of_getkey(session: Connection) -> None:
    for call, kind in (
        ("derive_key(1, 8)", errors.DataException),
        ("unwrap_key('\\x" + "00" * 100 + "')", errors.ObjectNotInPrerequisiteState),
        ("unwrap_key('\\x00')", errors.DataException),
    ):
        with pytest.raises(kind):
            rows(session, f"SELECT {call}")


def test_first_call_imports_little(session: Connection) -> None:
    """Modules that a session with the agent does not need are not loaded."""
    session.execute("SELECT derive_key(1)")
    session.execute(
        "CREATE FUNCTION pg_temp.loaded() RETURNS text LANGUAGE plpython3u AS"
        " $$ import sys; return ' '.join(sys.modules) $$"
    )
    loaded = value(session, "SELECT pg_temp.loaded()").split()
    assert "pgkeymgr.agent.remote" in loaded
    for name in ("asyncio", "subprocess", "typer", "tomllib", "json", "pgkeymgr.agent.service"):
        assert name not in loaded


def test_parallel_workers_use_it(session: Connection) -> None:
    session.execute("CREATE TABLE many AS SELECT i::bigint AS i FROM generate_series(1, 3000) AS i")
    try:
        query = "SELECT bit_xor(hashtext(derive_key(i)::text)) FROM many"
        session.execute("SET max_parallel_workers_per_gather = 0")
        expected = rows(session, query)
        session.execute("SET max_parallel_workers_per_gather = 2")
        for setting in ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size"):
            rows(session, f"SET {setting} = 0")
        session.execute("SET parallel_leader_participation = off")
        plan = "".join(row[0] for row in rows(session, "EXPLAIN (ANALYZE) " + query))
        assert re.search("Workers Launched: [12]", plan)
        assert rows(session, query) == expected
    finally:
        session.execute("DROP TABLE many")


def test_a_session_ends_while_it_waits(server: Cluster, agent: Agent) -> None:
    os.kill(agent.pid, signal.SIGSTOP)
    try:
        with server.connect("test") as admin, ThreadPoolExecutor(1) as pool:
            waiting = server.connect("test")
            pid = waiting.info.backend_pid
            answer = pool.submit(waiting.execute, "SELECT pgkeymgr.derive_key(1)")
            while value(admin, f"SELECT state FROM pg_stat_activity WHERE pid = {pid}") != "active":
                pass
            assert value(admin, f"SELECT pg_terminate_backend({pid}, 5000)") is True
            with pytest.raises((errors.QueryCanceled, errors.AdminShutdown)):
                answer.result()
            waiting.close()
    finally:
        os.kill(agent.pid, signal.SIGCONT)
