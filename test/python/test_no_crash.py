"""No SQL by any role crashes the server, or leaves a session whose next call fails.

Functions are called where PostgreSQL raises errors in unusual places: in parallel queries, near the stack's limit,
on cancel and timeouts, on lock timeouts and deadlocks, and out of memory. A PostgreSQL error that jumped over
Python's frames would break the interpreter: the session's next call ends the server. So an honest call follows.

All functions that a role may execute go through parallel queries; honest calls go through all of it, and with
PGK_EXHAUSTIVE=1 all functions do, many times.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from cluster import Cluster
from conftest import Connection, rows, value
from pgkeymgr import client
from psycopg import errors

IS_EXHAUSTIVE = bool(os.environ.get("PGK_EXHAUSTIVE"))
ROLES = ("nc_public", "nc_user", "nc_admin")
SCHEMA = "pgkeymgr"

# Honest calls, which are tried in every way. They open, seal and search, read and change the key tables, make an
# offer, and one is a primitive.
HONEST = {
    "read": "(SELECT string_agg(ssn, '') FROM customer)",
    "token_encrypt": "token_encrypt('nc honest', 'x'::bytea)",
    "token_decrypt": "token_decrypt({token})",
    "token_info": "token_info({token})",
    "blind_index": "blind_index('customer', 'born', '2000-01-01')",
    "deterministic_tokens": "deterministic_tokens('customer', 'half', '1')",
    "_key_by": "_key_by({family}, 'a')",
    "_seal_text": "_seal_text({family}, 'x', 'y')",
    "crypto_aead_det_encrypt": "crypto_aead_det_encrypt('x'::bytea, 'y'::bytea, {uuid}::uuid)",
    "crypto_auth": "crypto_auth('x'::bytea, 1::bigint)",
    "exchange_offer": "exchange_offer()",
    "upsert": """upsert('customer', '{{"id": 1, "tenant": "a", "ssn": "1"}}')""",
    "create_data_key": "create_data_key('nc new')",
    "disable_data_key": "disable_data_key({disabled})",
}

SLOW = "pwhash|cryptokey"
"""Functions that stretch a password take a second each time, by design."""

# SQLSTATEs that say that something is wrong with pgkeymgr, and not with the call.
INSANE = ("XX000", "38000")


class Function(NamedTuple):
    """A function that a role may execute.

    Attributes:
        signature: for people.
        call: SQL that calls it, with arguments that lead far into it.
    """

    signature: str
    call: str


class Server:
    """A server with a database, three roles, encrypted columns and keys."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        with self.session() as connection:
            samples = _samples(connection)
            self.functions = {role: _functions(connection, role, samples) for role in ROLES}
            self.honest = [Function(name, f"({call})") for name, call in _honest(connection).items()]
        self.witness = cluster.connect("nocrash")
        self.started = value(self.witness, "SELECT pg_postmaster_start_time()")

    def typical(self, role: str) -> list[Function]:
        """Return the honest calls; if the test is to be exhaustive, with all functions of a role."""
        return self.honest + (self.functions[role] if IS_EXHAUSTIVE else [])

    @contextlib.contextmanager
    def session(self, role: str = "postgres") -> Iterator[Connection]:
        """Open a session in which errors are the test's own affair."""
        connection = self.cluster.connect("nocrash", user=role)
        rows(connection, "SET client_min_messages = error")
        rows(connection, "SET search_path = public, pgkeymgr")
        try:
            yield connection
        finally:
            connection.close()

    def check(self, connection: Connection, function: Function) -> None:
        """Make an honest call in a session: its interpreter is not broken, and the server has not restarted."""
        assert not connection.closed, f"the connection was lost in {function.signature}"
        with contextlib.suppress(psycopg.errors.InFailedSqlTransaction):
            rows(connection, "ROLLBACK")
        encoded = f"{SCHEMA}.sodium_base642bin({SCHEMA}.sodium_bin2base64('honest'))"
        assert value(connection, f"SELECT {encoded}") == b"honest", function.signature
        if connection.info.user != "nc_public":
            assert value(connection, "SELECT min(ssn) FROM plenty") == "1", function.signature
        assert self.is_alive(), function.signature

    def is_alive(self) -> bool:
        """Return whether no process of the server has crashed since it was started."""
        try:
            return bool(value(self.witness, "SELECT pg_postmaster_start_time()") == self.started)
        except psycopg.OperationalError:
            return False


SETUP = (
    "CREATE ROLE nc_public LOGIN",
    "CREATE ROLE nc_user LOGIN IN ROLE pgkeymgr_user",
    "CREATE ROLE nc_admin LOGIN IN ROLE pgkeymgr_admin",
    "GRANT USAGE, CREATE ON SCHEMA public TO PUBLIC",
    "GRANT USAGE ON SCHEMA pgkeymgr TO PUBLIC",
    "SET search_path = public, pgkeymgr",
    "CREATE TABLE customer (id integer PRIMARY KEY, tenant text, ssn text, half text, born date)",
    "INSERT INTO customer SELECT i, 'a', i, i, date '2000-01-01' + i FROM generate_series(1, 20) AS i",
    "SELECT encrypt_column('customer', 'ssn')",
    "CALL migrate_column('customer', 'ssn')",
    "SELECT add_blind_index('customer', 'ssn')",
    "SELECT encrypt_column('customer', 'half', deterministic => true)",
    "SELECT encrypt_column('customer', 'born', key_by => 'tenant')",
    "CALL migrate_column('customer', 'born')",
    "SELECT add_blind_index('customer', 'born')",
    "GRANT ALL ON customer TO nc_public, nc_user, nc_admin",
    "ALTER VIEW customer OWNER TO nc_admin",
    "SELECT create_data_key(name) FROM unnest('{nc honest,nc sample,nc disabled}'::text[]) AS name",
    "SELECT create_key('aead-det', 'nc det')",
    "CREATE TABLE plenty (id integer PRIMARY KEY, tenant text, ssn text)",
    "INSERT INTO plenty SELECT i, 'a', i FROM generate_series(1, 2000) AS i",
    "SELECT encrypt_column('plenty', 'ssn')",
    "CALL migrate_column('plenty', 'ssn')",
    "GRANT SELECT ON plenty TO nc_user, nc_admin",
    "ANALYZE plenty_encrypted",
    "SELECT grant_data_key(name, role) FROM data_keys, unnest('{nc_user,nc_admin}'::regrole[]) AS role",
    "CREATE TABLE big (i integer, t text)",
    "INSERT INTO big SELECT i, i FROM generate_series(1, 400) AS i",
    "GRANT SELECT ON big TO PUBLIC",
    "ANALYZE big",
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The server, which must not have crashed at the end either."""
    with Cluster({"autovacuum": "off", "max_worker_processes": "8", "deadlock_timeout": "20ms"}) as cluster:
        cluster.create_database("nocrash")
        with cluster.connect("nocrash") as connection:
            for statement in SETUP:
                rows(connection, statement)
        made = Server(cluster)
        yield made
        assert made.is_alive()
        made.witness.close()
        assert "terminated by signal" not in cluster.log


def _samples(connection: Connection) -> dict[str, str]:
    key, uuid = rows(connection, "SELECT id, uuid FROM data_keys WHERE name = 'nc sample'")[0]
    token = value(connection, "SELECT ssn_encrypted FROM customer_encrypted ORDER BY id LIMIT 1")
    return {
        "text": "nc sample",
        "bytea": f"\\x{token.hex()}",
        "int4": key,
        "int8": key,
        "uuid": uuid,
        "oid": "10",
        "bool": "false",
        "regclass": "customer",
        "name": "ssn",
        "xid": "1",
        "_name": "{id}",
        "_text": "{nc_user}",
        "_bytea": f'{{"\\\\x{token.hex()}"}}',
        "regrole": "nc_user",
        "jsonb": '{"id": 1, "ssn": "x"}',
        "timestamptz": "2100-01-01",
        "key_type": "aead-det",
    }


def _honest(connection: Connection) -> dict[str, str]:
    token = value(connection, "SELECT token_encrypt('nc honest', 'x'::bytea)").hex()
    uuid = value(connection, "SELECT uuid FROM data_keys WHERE name = 'nc det'")
    found = {
        "family": value(connection, "SELECT id FROM data_keys WHERE name = 'public.customer.born'"),
        "token": f"'\\x{token}'::bytea",
        "uuid": f"'{uuid}'",
        "disabled": value(connection, "SELECT id FROM data_keys WHERE name = 'nc disabled'"),
    }
    return {name: call.format_map(found) for name, call in HONEST.items()}


def _functions(connection: Connection, role: str, samples: dict[str, str]) -> list[Function]:
    found = rows(
        connection,
        f"""
        SELECT format('%I.%I', n.nspname, p.proname), p.oid::regprocedure::text,
            ARRAY(
                SELECT format('%I.%I', tn.nspname, t.typname)
                FROM unnest(p.proargtypes) WITH ORDINALITY AS a (type, i)
                JOIN pg_type AS t ON t.oid = a.type JOIN pg_namespace AS tn ON tn.oid = t.typnamespace ORDER BY i
            )
        FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
        WHERE n.nspname = '{SCHEMA}' AND p.prokind = 'f'
            AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
            AND 'internal'::regtype <> ALL (p.proargtypes) AND has_function_privilege('{role}', p.oid, 'EXECUTE')
            AND p.proname !~ '{"^$" if IS_EXHAUSTIVE else SLOW}'
        ORDER BY 2
        """,
    )
    functions = []
    for name, signature, types in found:
        given = []
        for type_ in types:
            sample = samples.get(type_.partition(".")[2].strip('"'))
            given.append(
                "'x'::text" if type_.endswith("anyelement") else f"'{sample}'::{type_}" if sample else "NULL"
            )
        functions.append(Function(signature, f"{name}({', '.join(given)})"))
    return functions


def attempt(connection: Connection, statement: str, function: Function) -> psycopg.Error | None:
    """Run a statement; return its error, which must be a sensible one."""
    found = None
    try:
        rows(connection, statement)
    except psycopg.Error as error:
        found = error
    assert not connection.closed, f"the connection was lost in {function.signature}"
    if found is not None:
        message = found.diag.message_primary or ""
        # PostgreSQL's own complaints of these kinds have such states.
        theirs = ("during a parallel operation", "could not compile", "MemoryError", "RecursionError")
        is_theirs = any(text in message for text in theirs)
        is_sane = found.sqlstate not in INSANE or is_theirs
        assert is_sane, (function.signature, found)
        assert "internal error" not in message, (function.signature, found)
    return found


def wrap(connection: Connection, function: Function, name: str = "wrapped") -> str:
    """Make a function that is falsely declared PARALLEL SAFE and calls another one; return a call of it."""
    rows(
        connection,
        f"CREATE OR REPLACE FUNCTION pg_temp.{name}(i integer) RETURNS integer LANGUAGE plpgsql PARALLEL SAFE AS"
        f" $_$ BEGIN PERFORM {function.call}; RETURN i; END $_$",
    )
    return f"pg_temp.{name}(i)"


# Parallel queries

_EAGER = {
    "parallel_setup_cost": "0",
    "parallel_tuple_cost": "0",
    "min_parallel_table_scan_size": "0",
    "max_parallel_workers_per_gather": "2",
}
IN_LEADER = _EAGER | {"max_parallel_workers": "0"}
IN_WORKERS = _EAGER | {"parallel_leader_participation": "off"}


def force_parallel(connection: Connection, settings: dict[str, str]) -> None:
    """Make every query a parallel one, as any role may."""
    name = "force_parallel_mode" if connection.info.server_version < 160000 else "debug_parallel_query"
    for setting, text in {**settings, name: "on"}.items():
        rows(connection, f"SET {setting} = '{text}'")


@pytest.mark.parametrize("role", ROLES)
def test_in_the_leader_of_a_parallel_query(server: Server, role: str) -> None:
    """Without workers, the leader does it all: under the functions' own declaration, and a false one."""
    with server.session(role) as connection:
        force_parallel(connection, IN_LEADER)
        for function in server.functions[role]:
            calls = (function.call, wrap(connection, function))
            for call in calls:
                # An interpreter that was broken the first time crashes the second time.
                for _ in range(20 if IS_EXHAUSTIVE else 2):
                    attempt(connection, f"SELECT count(*) FROM big WHERE i < 3 AND ({call}) IS NULL", function)
            server.check(connection, function)


def test_in_workers(server: Server) -> None:
    """Real workers, and no leader: each begins with a new interpreter."""
    role = "nc_admin"
    with server.session(role) as connection:
        force_parallel(connection, IN_WORKERS)
        for function in server.typical(role):
            for call in (function.call, wrap(connection, function)):
                attempt(connection, f"SELECT count(*) FROM big WHERE i < 3 AND ({call}) IS NULL", function)
            server.check(connection, function)


@pytest.mark.parametrize("role", ROLES[1:])
def test_queries_without_keys_stay_parallel(server: Server, role: str) -> None:
    """A query that touches no encrypted column has a parallel plan, also on a table that has some."""
    with server.session(role) as connection:
        for setting, text in _EAGER.items():
            rows(connection, f"SET {setting} = '{text}'")
        for query in (
            "SELECT count(i) FROM big",
            "SELECT count(crypto_cmp(t, t)) FROM big",
            "SELECT count(crypto_auth(t::bytea, 1::bigint)) FROM big",
            "SELECT count(*) FROM plenty",
            "SELECT count(tenant) FROM plenty WHERE id % 7 = 1",
        ):
            plan = rows(connection, f"EXPLAIN {query}")
            assert any("Parallel Seq Scan" in line for (line,) in plan), (query, plan)


def test_decryption_in_the_leader(server: Server) -> None:
    """A scan may be parallel, and the leader decrypts what it finds, also in a session that has no key yet.

    Keys that are granted, revoked or changed count as they do elsewhere.
    """
    query = "SELECT array_agg(DISTINCT ssn) FROM plenty WHERE id % 100 = 1"
    expected = [str(i) for i in range(1, 2000, 100)]
    with server.session() as admin, server.session("nc_user") as connection:
        for setting, text in _EAGER.items():
            rows(connection, f"SET {setting} = '{text}'")
        plan = rows(connection, f"EXPLAIN (ANALYZE, VERBOSE) {query}")
        assert any("Parallel Seq Scan" in line for (line,) in plan), plan
        for isolation in ("READ COMMITTED", "REPEATABLE READ"):
            rows(connection, f"BEGIN ISOLATION LEVEL {isolation}")
            assert sorted(value(connection, query), key=int) == expected
            rows(admin, "SELECT revoke_data_key('public.plenty.ssn', 'nc_user')")
            if isolation == "READ COMMITTED" or connection.info.server_version < 170000:
                with pytest.raises(errors.InsufficientPrivilege):
                    rows(connection, query)
            else:
                # Workers see what the transaction's snapshot has. The session does not keep it.
                rows(connection, query)
            rows(connection, "ROLLBACK")
            for _ in range(2):
                with pytest.raises(errors.InsufficientPrivilege):
                    rows(connection, query)
            rows(admin, "SELECT grant_data_key('public.plenty.ssn', 'nc_user')")
            assert sorted(value(connection, query), key=int) == expected
        # The parallel mode is as it was: PostgreSQL refuses to write in the middle of it.
        rows(
            connection,
            "CREATE FUNCTION pg_temp.writes(t text) RETURNS text LANGUAGE plpgsql PARALLEL RESTRICTED AS"
            " $_$ BEGIN CREATE TEMP TABLE IF NOT EXISTS w (); RETURN t; END $_$",
        )
        with pytest.raises(errors.Error, match="during a parallel operation"):
            rows(connection, "SELECT ssn, pg_temp.writes(ssn) FROM plenty WHERE id % 100 = 1")
        assert sorted(value(connection, query), key=int) == expected


# The stack's limit


@pytest.mark.parametrize("is_parallel", [False, True])
def test_at_the_limit_of_the_stack(server: Server, is_parallel: bool) -> None:
    """The limit is reached at every place: where a function of PL/pgSQL calls itself before, as deep as it can."""
    role = "nc_user"
    for function in server.typical(role) if IS_EXHAUSTIVE else server.honest[::3]:
        with server.session() as connection:
            # Less than the default, so that fewer calls reach it.
            rows(connection, "SET max_stack_depth = '400kB'")
            rows(connection, f"SET ROLE {role}")
            rows(
                connection,
                "CREATE FUNCTION pg_temp.deep(depth integer) RETURNS integer LANGUAGE plpgsql PARALLEL SAFE AS"
                f" $_$ BEGIN IF depth = 0 THEN PERFORM {function.call}; RETURN 0; END IF;"
                " RETURN pg_temp.deep(depth - 1); END $_$",
            )
            if is_parallel:
                force_parallel(connection, IN_LEADER)

            def is_too_deep(
                depth: int, connection: Connection = connection, function: Function = function
            ) -> bool:
                error = attempt(connection, f"SELECT max(pg_temp.deep({depth})) FROM big WHERE i = 1", function)
                return error is not None and error.sqlstate == "54001"

            low, high = 1, 6000
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if is_too_deep(middle) else (middle, high)
            for _ in range(20 if IS_EXHAUSTIVE else 2):
                for depth in range(low - 3, high + 3):
                    is_too_deep(depth)
            server.check(connection, function)


def test_with_little_stack(server: Server) -> None:
    """A limit that a superuser has set, reached at each place inside the functions."""
    for role in ROLES if IS_EXHAUSTIVE else ROLES[2:]:
        for function in server.typical(role):
            for kilobytes in range(100, 200, 4 if IS_EXHAUSTIVE else 20):
                with server.session() as connection:
                    rows(connection, f"SET max_stack_depth = '{kilobytes}kB'")
                    rows(connection, f"SET ROLE {role}")
                    attempt(connection, f"SELECT {function.call}", function)
                    attempt(connection, f"SELECT {function.call}", function)
                    rows(connection, "RESET ROLE")
                    rows(connection, "SET max_stack_depth = '2MB'")
                    server.check(connection, function)


# Interrupts


def end_timeout(connection: Connection) -> None:
    """Let statements take their time again. On a busy machine, the timeout cancels this statement, too."""
    while True:
        with contextlib.suppress(errors.QueryCanceled):
            rows(connection, "SET statement_timeout = 0")
            return


def test_timeouts_of_statements(server: Server) -> None:
    """They come wherever a function happens to be."""
    role = "nc_admin"
    with server.session(role) as connection:
        for function in server.typical(role):
            rows(connection, "SET statement_timeout = 1")
            for _ in range(50 if IS_EXHAUSTIVE else 10):
                attempt(connection, f"SELECT {function.call} FROM generate_series(1, 100)", function)
            end_timeout(connection)
            server.check(connection, function)


def test_cancel(server: Server) -> None:
    """Another session cancels again and again."""
    role = "nc_user"
    done = threading.Event()
    with server.session(role) as connection, server.session() as other:
        pid = connection.info.backend_pid

        def cancel() -> None:
            while not done.is_set():
                rows(other, f"SELECT pg_cancel_backend({pid}), pg_sleep(random() * 0.002)")

        thread = threading.Thread(target=cancel)
        thread.start()
        try:
            for function in server.typical(role):
                for _ in range(50 if IS_EXHAUSTIVE else 10):
                    attempt(connection, f"SELECT {function.call} FROM generate_series(1, 100)", function)
        finally:
            done.set()
            thread.join()
        server.check(connection, function)


def test_a_timeout_before_a_warning(server: Server) -> None:
    """A timeout while a passphrase is stretched is raised as an error when PostgreSQL next looks.

    That would be after a warning of its own, about a setting that the user has given pgkeymgr's name.
    """
    with server.session() as admin:
        rows(admin, "SELECT create_data_key('nc slow'), grant_data_key('nc slow', 'nc_user')")
        fingerprint = client.fetch_fingerprint(admin)
        client.Client(admin, fingerprint).add_passphrase("nc slow", "secret")
    function = Function("unlock_data_key", "")
    with server.session("nc_user") as connection:
        rows(connection, "SET pgkeymgr.unlocked = 'mine'")
        calls = client.Client(connection, fingerprint)
        rows(connection, "SELECT exchange_offer()")
        # The stretching takes longer by a factor; all else takes less.
        rows(connection, "SET statement_timeout = '100ms'")
        with pytest.raises(errors.QueryCanceled):
            calls.unlock_data_key("nc slow", "secret")
        end_timeout(connection)
        server.check(connection, function)
        calls.unlock_data_key("nc slow", "secret")


# Locks

_TABLES = "pgkeymgr.key, pgkeymgr.key_grant, pgkeymgr.key_wrap, pgkeymgr.encrypted_relation, customer_encrypted"


def test_timeouts_of_locks(server: Server) -> None:
    """Another session has all tables that the functions read."""
    role = "nc_admin"
    for function in server.typical(role):
        with server.session() as other, server.session(role) as connection:
            rows(other, f"BEGIN; LOCK TABLE {_TABLES} IN ACCESS EXCLUSIVE MODE")
            rows(connection, "SET lock_timeout = 5")
            for _ in range(3):
                attempt(connection, f"SELECT {function.call}", function)
            rows(other, "COMMIT")
            server.check(connection, function)


def test_deadlocks(server: Server) -> None:
    """The session of the function is the one that PostgreSQL picks: its lock is the last of the circle."""
    role = "nc_admin"
    with server.session() as admin:
        rows(admin, "CREATE TABLE IF NOT EXISTS deadlock (); GRANT ALL ON deadlock TO PUBLIC")
    for function in server.typical(role):
        with server.session() as other, server.session(role) as connection:
            rows(other, "SET deadlock_timeout = '1h'")
            rows(connection, "BEGIN; LOCK TABLE deadlock IN ACCESS EXCLUSIVE MODE")
            rows(other, f"BEGIN; LOCK TABLE {_TABLES} IN ACCESS EXCLUSIVE MODE")
            thread = threading.Thread(target=rows, args=(other, "LOCK TABLE deadlock"))
            thread.start()
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = "
            deadline = time.monotonic() + 30
            while not value(server.witness, f"{waiting}{other.info.backend_pid}"):
                assert time.monotonic() < deadline
            attempt(connection, f"SELECT {function.call}", function)
            rows(connection, "ROLLBACK")
            thread.join()
            rows(other, "ROLLBACK")
            server.check(connection, function)


# Memory


def limit_memory(server: Server, pid: int, most: str) -> None:
    """Limit the address space of a session's process, in bytes."""
    server.cluster.run_as_server(["prlimit", f"--as={most}:unlimited", f"--pid={pid}"])


@pytest.mark.parametrize("is_first", [True, False])
def test_out_of_memory(server: Server, is_first: bool) -> None:
    """The process has no memory left, then a little more for each call, whether the function was called before."""
    role = "nc_admin"
    for function in server.typical(role):
        with server.session(role) as connection:
            connection.prepare_threshold = None
            if not is_first:
                attempt(connection, f"SELECT {function.call}", function)
            pid = connection.info.backend_pid
            status = Path(f"/proc/{pid}/status").read_text()
            size = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmSize"))
            limit_memory(server, pid, str(size * 1024 + (1 << 21)))
            # Prepared statements stay after the error.
            count = 0
            while attempt(connection, f"PREPARE p{count} AS SELECT {count}", function) is None:
                count += 1
            for number in reversed(range(max(0, count - 150), count)):
                with contextlib.suppress(errors.OutOfMemory):
                    rows(connection, f"DEALLOCATE p{number}")
                if IS_EXHAUSTIVE or number % 3 == 0:
                    attempt(connection, f"SELECT {function.call}", function)
            limit_memory(server, pid, "unlimited")
            server.check(connection, function)


# Code of the users', which pgkeymgr's queries reach


def test_recursion_through_users_code(server: Server) -> None:
    """A type whose CHECK searches for its own values."""
    with server.session() as connection:
        for statement in (
            "CREATE FUNCTION nc_endless(date) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN true; END $$",
            "CREATE DOMAIN nc_date AS date CHECK (nc_endless(VALUE))",
            "CREATE TABLE endless (id integer PRIMARY KEY, c nc_date)",
            "SELECT encrypt_column('endless', 'c')",
            "SELECT add_blind_index('endless', 'c')",
            "CREATE OR REPLACE FUNCTION nc_endless(date) RETURNS boolean LANGUAGE plpgsql AS"
            " $$ BEGIN RETURN blind_index('endless', 'c', $1::text) IS NOT NULL; END $$",
        ):
            rows(connection, statement)
        function = Function("blind_index", "blind_index('endless', 'c', '2000-01-01')")
        for kilobytes in (500, 2000):
            rows(connection, f"SET max_stack_depth = '{kilobytes}kB'")
            # PostgreSQL's limit, or Python's, which may be reached before a function of pgkeymgr can say so.
            error = attempt(connection, f"SELECT {function.call}", function)
            assert error is not None
            assert error.sqlstate in ("54000", "54001", "38000")
            assert str(error).count("pgkeymgr:") == 1
            server.check(connection, function)


def test_errors_of_users_code_keep_their_state(server: Server) -> None:
    """PL/Python knows the SQLSTATEs of PostgreSQL's own errors only."""
    with server.session() as connection:
        for statement in (
            "CREATE FUNCTION nc_refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE 'refused' USING ERRCODE = 'NC001'; END $$",
            "CREATE TABLE refusing (id integer PRIMARY KEY, c text)",
            "SELECT encrypt_column('refusing', 'c')",
            "CREATE TRIGGER refuse BEFORE INSERT ON refusing_encrypted FOR EACH ROW EXECUTE FUNCTION nc_refuse()",
        ):
            rows(connection, statement)
        with pytest.raises(errors.DatabaseError, match="refused") as caught:
            rows(connection, """SELECT upsert('refusing', '{"id": 1, "c": "x"}')""")
        assert caught.value.sqlstate == "NC001"
