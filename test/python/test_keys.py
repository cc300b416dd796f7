"""The key table in real sessions: who may use a key, when others learn of a change, and what a dump has in it."""

import contextlib
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from cluster import ROOT_KEY, Cluster
from conftest import Connection, rows, value
from psycopg import errors

OTHER_ROOT_KEY = "20" * 32


@pytest.fixture(scope="module")
def keys(cluster: Cluster) -> Iterator[Cluster]:
    """The shared cluster, with a database ``keys`` and an application role ``app`` in it."""
    cluster.create_database("keys")
    with cluster.connect("keys") as connection:
        connection.execute("CREATE ROLE app LOGIN IN ROLE pgkeymgr_user")
        connection.execute("CREATE ROLE other LOGIN IN ROLE pgkeymgr_user")
        connection.execute("CREATE ROLE nobody LOGIN")
        connection.execute("GRANT USAGE ON SCHEMA pgkeymgr TO nobody")
    yield cluster
    with cluster.connect() as connection:
        connection.execute("DROP DATABASE keys")
        connection.execute("DROP ROLE app, other, nobody")


@pytest.fixture
def admin(keys: Cluster) -> Iterator[Connection]:
    """A superuser's session in a key table that is empty but for the key ``k``, which app may use."""
    with session(keys, "postgres") as connection:
        connection.execute("DELETE FROM key")
        connection.execute("DELETE FROM key_grant")
        connection.execute("SELECT create_data_key('k')")
        connection.execute("SELECT grant_data_key('k', 'app')")
        yield connection


@contextlib.contextmanager
def session(cluster: Cluster, user: str, dbname: str = "keys") -> Iterator[Connection]:
    """Open a session with the extension's schema in its path."""
    with cluster.connect(dbname, user=user) as connection:
        connection.execute("SET search_path = pgkeymgr, public")
        yield connection


@pytest.fixture
def app(keys: Cluster, admin: Connection) -> Iterator[Connection]:
    """The application's session, warm: it has used the key ``k``."""
    with session(keys, "app") as connection:
        connection.execute("SELECT token_decrypt(token_encrypt('k', 'x'))")
        yield connection


def key_id(admin: Connection, name: str = "k") -> int:
    """Return the id of a name's current version."""
    found = value(admin, f"SELECT max(id) FROM key WHERE name = '{name}'")
    assert isinstance(found, int)
    return found


# A change by another session takes effect here at the next statement.

CHANGES = {
    "disable": ("SELECT disable_data_key({id})", errors.ObjectNotInPrerequisiteState, "is disabled"),
    "destroy": ("SELECT destroy_data_key({id}, 'k')", errors.ObjectNotInPrerequisiteState, "was destroyed"),
    "revoke": ("SELECT revoke_data_key('k', 'app')", errors.InsufficientPrivilege, "permission denied for key"),
    "expire": (
        "UPDATE key SET expires = now() WHERE id = {id}",
        errors.ObjectNotInPrerequisiteState,
        "is expired",
    ),
    "drop": ("DELETE FROM key WHERE id = {id}", errors.InsufficientPrivilege, "permission denied for key"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("isolation", [None, "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("prepared", [False, True])
def test_a_change_elsewhere_takes_effect_at_once(
    admin: Connection, app: Connection, change: str, isolation: str | None, prepared: bool
) -> None:
    """In a session that has just used the key: in a transaction of any level too, and in prepared statements."""
    statement, error, message = CHANGES[change]
    token = value(app, "SELECT token_encrypt('k', 'secret')")
    if isolation:
        app.execute(f"BEGIN ISOLATION LEVEL {isolation}".encode())
    decrypt, encrypt = "SELECT token_decrypt(%s)", "SELECT token_encrypt('k', 'x')"
    for _ in range(7):  # more than the five after which a plan is kept
        assert app.execute(decrypt, (token,), prepare=prepared).fetchone() == (b"secret",)
        app.execute(encrypt, prepare=prepared)
    rows(admin, statement.format(id=key_id(admin)))
    for use, arguments in ((decrypt, (token,)), (encrypt, None)):
        with app.transaction(), pytest.raises(error, match=message), app.transaction():
            app.execute(use, arguments, prepare=prepared)
    with contextlib.suppress(psycopg.Error):
        app.execute("ROLLBACK")


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ"])
def test_a_supersede_elsewhere_takes_effect_at_once(admin: Connection, app: Connection, isolation: str) -> None:
    app.execute(f"BEGIN ISOLATION LEVEL {isolation}".encode())
    token = value(app, "SELECT token_encrypt('k', 'secret')")
    old = value(app, "SELECT (token_info(token_encrypt('k', 'x'))).key_id")
    new = value(admin, "SELECT supersede_data_key('k')")
    assert new != old
    assert value(app, "SELECT (token_info(token_encrypt('k', 'x'))).key_id") == new
    assert app.execute("SELECT token_decrypt(%s)", (token,)).fetchone() == (b"secret",)
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="was superseded by"):
        rows(app, f"SELECT token_encrypt({old}, 'x')")
    app.execute("ROLLBACK")


def test_uncommitted_changes_are_not_seen(keys: Cluster, admin: Connection, app: Connection) -> None:
    admin.execute("BEGIN")
    admin.execute("SELECT revoke_data_key('k', 'app')")
    app.execute("SELECT token_encrypt('k', 'x')")
    admin.execute("ROLLBACK")
    app.execute("SELECT token_encrypt('k', 'x')")


def test_a_key_that_was_rolled_back_encrypts_nothing(admin: Connection) -> None:
    """Within one statement: a token of a key that never was could never be decrypted."""
    with pytest.raises(errors.UndefinedObject, match='key "temporary" does not exist'):
        admin.execute(
            """
            DO $$
            DECLARE
                token bytea;
            BEGIN
                BEGIN
                    PERFORM pgkeymgr.create_data_key('temporary');
                    token := pgkeymgr.token_encrypt('temporary', 'x'::bytea);
                    RAISE EXCEPTION 'never mind';
                EXCEPTION WHEN raise_exception THEN
                    NULL;
                END;
                token := pgkeymgr.token_encrypt('temporary', 'x'::bytea);
            END
            $$
            """
        )


def test_created_and_used_in_one_transaction(admin: Connection) -> None:
    with admin.transaction():
        admin.execute("SELECT create_data_key('new')")
        assert value(admin, "SELECT token_decrypt_text(token_encrypt_text('new', 'x'))") == "x"
        admin.execute("SELECT supersede_data_key('new')")
        assert value(admin, "SELECT token_decrypt_text(token_encrypt_text('new', 'x'))") == "x"


# Who may use a key

USES = [
    "token_encrypt('k', 'x'::bytea)",
    "token_encrypt_text('k', 'x')",
    "token_encrypt({id}, 'x'::bytea)",
    "token_decrypt('{token}')",
    "token_decrypt_text('{token}')",
    "token_try_decrypt('{token}')",
    "token_reencrypt('{token}', 'k')",
    "token_reencrypt('{token}', {id})",
]


def uses(admin: Connection) -> list[str]:
    """Return every call that uses the key ``k``."""
    token = value(admin, "SELECT token_encrypt('k', 'x')").hex()
    return [use.format(id=key_id(admin), token="\\x" + token) for use in USES]


@pytest.mark.parametrize("role", ["other", "nobody"])
def test_without_a_grant(keys: Cluster, admin: Connection, role: str) -> None:
    with session(keys, role) as connection:
        for use in uses(admin):
            with pytest.raises(errors.InsufficientPrivilege):
                rows(connection, f"SELECT {use}")
        for table in ("key", "key_wrap", "key_grant", "key_id_seq"):
            with pytest.raises(errors.InsufficientPrivilege):
                rows(connection, f"SELECT * FROM {table}")
        if role == "other":
            assert rows(connection, "SELECT * FROM data_keys") == []
            info = rows(connection, f"SELECT (token_info({uses(admin)[3][14:-1]})).*")
            assert info == [(1, "aes-256-gcm-siv", key_id(admin), None, None)]


def test_set_role_with_a_warm_cache(keys: Cluster, admin: Connection) -> None:
    """A key that the session has unlocked as one role is not there for the next role."""
    calls = uses(admin)
    for call in calls:
        rows(admin, f"SELECT {call}")
    admin.execute("SET ROLE other")
    for call in calls:
        with pytest.raises(errors.InsufficientPrivilege, match="permission denied for key"):
            rows(admin, f"SELECT {call}")
    admin.execute("RESET ROLE")
    for call in calls:
        rows(admin, f"SELECT {call}")


def test_the_role_changes_within_a_statement(admin: Connection) -> None:
    """The check is for the user of each call: in one query, one call runs as app and the next as other."""
    token = "\\x" + value(admin, "SELECT token_encrypt('k', 'x')").hex()
    body = "SELECT pgkeymgr.token_decrypt($1)"
    try:
        for role in ("app", "other"):
            rows(
                admin,
                f"CREATE FUNCTION public.as_{role}(bytea) RETURNS bytea LANGUAGE sql SECURITY DEFINER AS '{body}';"
                f"ALTER FUNCTION public.as_{role}(bytea) OWNER TO {role}",
            )
        assert value(admin, f"SELECT as_app('{token}')") == b"x"
        for query in (f"SELECT as_app('{token}'), as_other('{token}')", f"SELECT as_other('{token}')"):
            with pytest.raises(errors.InsufficientPrivilege, match="permission denied"):
                rows(admin, query)
        # And the other way round: who has no grant can be lent one, as everywhere in PostgreSQL.
        admin.execute("GRANT EXECUTE ON FUNCTION public.as_app TO other")
        admin.execute("SET ROLE other")
        assert value(admin, f"SELECT public.as_app('{token}')") == b"x"
    finally:
        admin.execute("RESET ROLE")
        admin.execute("DROP FUNCTION IF EXISTS public.as_app, public.as_other")


def test_membership_with_and_without_inherit(admin: Connection) -> None:
    """As with PostgreSQL's own privileges: a role that one would have to SET ROLE to does not count yet."""
    token = "\\x" + value(admin, "SELECT token_encrypt('k', 'x')").hex()
    admin.execute("CREATE ROLE heir IN ROLE app, pgkeymgr_user")
    admin.execute("CREATE ROLE outsider NOINHERIT IN ROLE app, pgkeymgr_user")
    admin.execute("GRANT EXECUTE ON FUNCTION token_decrypt(bytea, bytea) TO outsider")
    admin.execute("GRANT USAGE ON SCHEMA pgkeymgr TO outsider")
    try:
        admin.execute("SET ROLE heir")
        assert value(admin, f"SELECT token_decrypt('{token}')") == b"x"
        admin.execute("RESET ROLE")
        admin.execute("SET ROLE outsider")
        with pytest.raises(errors.InsufficientPrivilege, match="permission denied"):
            rows(admin, f"SELECT token_decrypt('{token}')")
    finally:
        admin.execute("RESET ROLE")
        admin.execute("DROP OWNED BY heir, outsider")
        admin.execute("DROP ROLE heir, outsider")


def test_internal_functions_give_nothing(keys: Cluster, admin: Connection) -> None:
    """Called directly, they neither tell a record, nor lend a permission, nor run anything."""
    token = "\\x" + value(admin, "SELECT token_encrypt('k', 'x')").hex()
    superuser = value(admin, "SELECT oid FROM pg_roles WHERE rolname = 'postgres'")
    with session(keys, "other") as connection:
        nil = "00000000-0000-0000-0000-000000000000"
        for call in (
            f"_load_key({key_id(admin)}, '', '{nil}', 0, {superuser}, true)",
            "_as_owner()",
            "_read_as_owner()",
            "_invalidate_keys()",
            "_take_key(" + ", ".join(["NULL"] * 26) + ")",
            f"token_decrypt('{token}')",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                rows(connection, f"SELECT {call}")


def test_parallel_workers_check_too(admin: Connection) -> None:
    """Each worker loads the key for itself, for the user of the query."""
    admin.execute(
        "CREATE TABLE public.many AS SELECT token_encrypt('k', i::text::bytea) AS token"
        " FROM generate_series(1, 20000) AS i"
    )
    admin.execute("GRANT SELECT ON public.many TO app, other")
    try:
        admin.execute("ANALYZE public.many")
        for name in ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size"):
            rows(admin, f"SET {name} = 0")
        query = "SELECT count(DISTINCT token_decrypt(token)) FROM public.many"
        scan = "SELECT sum(length(token_decrypt(token))) FROM public.many"
        assert value(admin, query) == 20000
        admin.execute("SET ROLE app")
        for leader in ("on", "off"):
            rows(admin, f"SET parallel_leader_participation = {leader}")
            plan = "".join(row[0] for row in rows(admin, "EXPLAIN (ANALYZE) " + scan))
            assert re.search("Workers Launched: [12]", plan)
            admin.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            assert value(admin, scan) == 88894
            admin.execute("COMMIT")
            assert value(admin, scan) == 88894
            admin.execute("SET ROLE other")
            with pytest.raises(errors.InsufficientPrivilege, match="permission denied"):
                rows(admin, scan)
            admin.execute("SET ROLE app")
    finally:
        admin.execute("RESET ROLE")
        admin.execute("DROP TABLE public.many")


def test_views_and_prepared_plans_check_their_user(keys: Cluster, admin: Connection) -> None:
    """A view lends its owner's right to the table; the key is checked for the one who reads."""
    admin.execute("CREATE TABLE public.vault AS SELECT token_encrypt('k', 'x') AS token")
    admin.execute("CREATE VIEW public.opened AS SELECT pgkeymgr.token_decrypt(token) AS plain FROM public.vault")
    admin.execute("GRANT SELECT ON public.opened TO app, other")
    try:
        admin.execute("PREPARE read AS SELECT plain FROM public.opened")
        for role in ("app", "other"):
            rows(admin, f"SET ROLE {role}")
            for query in ("EXECUTE read", "SELECT plain FROM public.opened"):
                if role == "app":
                    assert value(admin, query) == b"x"
                else:
                    with pytest.raises(errors.InsufficientPrivilege, match="permission denied"):
                        rows(admin, query)
    finally:
        admin.execute("RESET ROLE")
        admin.execute("DROP TABLE public.vault CASCADE")


# Passphrase wraps below the functions that take sealed passphrases, in a session; see also test_sealed_users.py.

PASSPHRASES = """
    CREATE OR REPLACE FUNCTION public.passphrases(step text) RETURNS text LANGUAGE plpython3u AS $$
        wraps = GD['pgkeymgr.pgkeymgr']._find.__self__.passphrase_wraps
        table = wraps._table
        record = table.find('k')
        if step == 'add':
            wraps.add_passphrase(record, table.keyring.secret(record, table.unlock), b'horse')
        elif step == 'open':
            return wraps.open_with_passphrase(record, b'horse').hex()
        elif step == 'wrong':
            return wraps.open_with_passphrase(record, b'cow').hex()
        elif step == 'change':
            wraps.add_passphrase(record, wraps.open_with_passphrase(record, b'horse'), b'cow')
        elif step == 'add root':
            wraps.add_root_wrap(record, wraps.open_with_passphrase(record, b'horse'))
        elif step == 'lock':
            wraps.clear()
        else:
            wraps.drop_wrap(record, step)
    $$
"""


def test_a_key_under_root_key_passphrase_or_both(keys: Cluster, admin: Connection) -> None:
    token = "\\x" + value(admin, "SELECT token_encrypt('k', 'x')").hex()
    decrypt = f"SELECT token_decrypt('{token}')"
    wraps = "SELECT wraps FROM data_keys WHERE name = 'k'"
    rows(admin, PASSPHRASES)

    def step(name: str) -> Any:
        return value(admin, f"SELECT passphrases('{name}')")

    with pytest.raises(psycopg.Error, match="has no passphrase"):
        step("open")
    step("add")
    assert value(admin, wraps) == ["root", "passphrase"]
    secret = step("open")
    assert len(secret) == 64
    # A second time from memory, where the first was kept; not for another passphrase.
    assert step("open") == secret
    with pytest.raises(psycopg.Error, match="wrong passphrase for key"):
        step("wrong")
    assert value(admin, decrypt) == b"x"
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="has a passphrase, which a new version needs"):
        admin.execute("SELECT supersede_data_key('k')")
    # Under the passphrase only: the server cannot open it any more, this session neither.
    step("root")
    assert value(admin, wraps) == ["passphrase"]
    with session(keys, "postgres") as other:
        for connection in (admin, other):
            with pytest.raises(errors.ObjectNotInPrerequisiteState, match="is locked") as locked:
                rows(connection, decrypt)
            assert str(locked.value.diag.message_hint).startswith("Call unlock_data_key()")
    with pytest.raises(psycopg.Error, match="is its last"):
        step("passphrase")
    step("add root")
    assert value(admin, decrypt) == b"x"
    step("lock")
    assert step("open") == secret
    step("change")
    with pytest.raises(psycopg.Error, match="wrong passphrase for key"):
        step("open")
    assert step("wrong") == secret
    step("passphrase")
    assert value(admin, wraps) == ["root"]
    assert value(admin, decrypt) == b"x"
    admin.execute("DROP FUNCTION passphrases")


# Dumps, restores, standbys


def secrets_of(cluster: Cluster, dbname: str) -> list[Any]:
    """Return what the tokens of the table ``kept`` hold."""
    with session(cluster, "postgres", dbname) as connection:
        return rows(
            connection, "SELECT id, token_decrypt_text(token, id::text::bytea) FROM public.kept ORDER BY id"
        )


@pytest.fixture
def source(keys: Cluster) -> Iterator[str]:
    """A database with keys of every kind, and tokens."""
    keys.create_database("source")
    with session(keys, "postgres", "source") as connection:
        connection.execute("SELECT create_data_key('a'), create_data_key('b', expires => now() + '1 day')")
        connection.execute("SELECT grant_data_key('a', 'app', '{decrypt}')")
        connection.execute(
            "CREATE TABLE public.kept AS"
            " SELECT id, token_encrypt_text('a', 'number ' || id, id::text::bytea) AS token"
            " FROM generate_series(1, 50) AS id"
        )
        connection.execute("SELECT supersede_data_key('a')")
        connection.execute(
            "INSERT INTO public.kept SELECT id, token_encrypt_text('a', 'number ' || id, id::text::bytea)"
            " FROM generate_series(51, 99) AS id"
        )
        connection.execute("SELECT create_key('secretbox', 's'), create_cryptokey('c', 16, 'password')")
    yield "source"
    with keys.connect() as connection:
        connection.execute("DROP DATABASE source")


MODES = {
    "plain": (["--format=plain"], []),
    "custom": (["--format=custom"], ["--jobs=1"]),
    "directory": (["--format=directory", "--jobs=4"], ["--jobs=4"]),
}


@pytest.mark.parametrize("mode", [*MODES, "schema, then data"])
def test_dump_and_restore(keys: Cluster, source: str, mode: str) -> None:
    expected = secrets_of(keys, source)
    assert len(expected) == 99
    with keys.connect() as connection:
        connection.execute("CREATE DATABASE target")
    dump = keys.directory / "dump"
    try:
        if mode in MODES:
            options, restore = MODES[mode]
            keys.client(["pg_dump", *options, f"--file={dump}", source])
            if mode == "plain":
                keys.client(["psql", "--set=ON_ERROR_STOP=1", f"--file={dump}"], dbname="target")
            else:
                keys.client(["pg_restore", "--exit-on-error", *restore, "--dbname=target", dump])
        else:
            for part in ("--schema-only", "--data-only"):
                text = keys.client(["pg_dump", part, source]).stdout
                keys.client(["psql", "--set=ON_ERROR_STOP=1"], dbname="target", input=text)
        assert secrets_of(keys, "target") == expected
        with session(keys, "postgres", "target") as connection:
            tables = (
                "SELECT * FROM key ORDER BY id",
                "SELECT * FROM key_wrap ORDER BY 1, 2",
                "SELECT * FROM key_grant",
            )
            with session(keys, "postgres", source) as original:
                for table in tables:
                    assert rows(original, table)
                    assert rows(connection, table) == rows(original, table)
            # The sequences go on where they were.
            assert value(connection, "SELECT create_data_key('later')") == 6
            assert value(connection, "SELECT length(get_cryptokey('c', 'password'))") == 32
    finally:
        subprocess.run(["rm", "-rf", dump], check=True)
        with keys.connect() as connection:
            connection.execute("DROP DATABASE target")


def test_a_single_table_of_a_dump(keys: Cluster, source: str) -> None:
    """The user's table restored into a database that has the keys already."""
    expected = secrets_of(keys, source)
    dump = keys.client(["pg_dump", "--table=public.kept", source]).stdout
    with session(keys, "postgres", source) as connection:
        connection.execute("DROP TABLE public.kept")
    keys.client(["psql", "--set=ON_ERROR_STOP=1"], dbname=source, input=dump)
    assert secrets_of(keys, source) == expected


def test_no_dump_has_a_secret(keys: Cluster, source: str) -> None:
    with session(keys, "postgres", source) as connection:
        secret = value(connection, "SELECT get_cryptokey('c', 'password')")
    text = keys.client(["pg_dump", source]).stdout + keys.client(["pg_dumpall", "--globals-only"]).stdout
    assert "number 7" not in text
    assert secret not in text
    assert ROOT_KEY not in text


def test_a_restore_under_another_root_key_says_so(keys: Cluster, source: str) -> None:
    with session(keys, "postgres", source) as connection:
        mine = value(connection, "SELECT fingerprint FROM root_key_status()")
        expected = secrets_of(keys, source)
    dump = keys.client(["pg_dump", "--no-privileges", source]).stdout
    with Cluster(root_keys=[OTHER_ROOT_KEY]) as elsewhere:
        with elsewhere.connect() as connection:
            connection.execute("CREATE DATABASE restored")
            connection.execute("CREATE ROLE app")
        elsewhere.client(["psql", "--set=ON_ERROR_STOP=1"], dbname="restored", input=dump)
        with session(elsewhere, "postgres", "restored") as connection:
            theirs = value(connection, "SELECT fingerprint FROM root_key_status()")
        with pytest.raises(errors.ObjectNotInPrerequisiteState) as wrong:
            secrets_of(elsewhere, "restored")
        assert mine in str(wrong.value)
        assert theirs in str(wrong.value)
        assert "key 1" in str(wrong.value)
        # With the right root key as a previous one, all is well, and new keys are under the newest.
        elsewhere.install_getkey(f"#!/bin/sh\necho {OTHER_ROOT_KEY}\necho {ROOT_KEY}\n")
        assert secrets_of(elsewhere, "restored") == expected


def test_on_a_standby(keys: Cluster, source: str) -> None:
    """A standby decrypts, and learns of a revoke when its rows arrive."""
    expected = secrets_of(keys, source)
    standby = Cluster(initialize=False)
    backup = ["--write-recovery-conf", "--checkpoint=fast", f"--pgdata={standby.data}"]
    standby.run_as_server([keys.bin / "pg_basebackup", *backup, f"--dbname={keys.dsn()}"])
    with standby, session(standby, "app", source) as reader, session(keys, "postgres", source) as primary:
        assert secrets_of(standby, source) == expected
        token = value(primary, "SELECT token_encrypt('a', 'x')").hex()
        read = f"SELECT token_decrypt('\\x{token}')"
        assert value(reader, read) == b"x"
        with pytest.raises(errors.ReadOnlySqlTransaction), session(standby, "postgres", source) as there:
            there.execute("SELECT create_data_key('no')")
        primary.execute("SELECT revoke_data_key('a', 'app')")
        position = value(primary, "SELECT pg_current_wal_flush_lsn()")
        with session(standby, "postgres", source) as watcher:
            while not value(watcher, f"SELECT pg_last_wal_replay_lsn() >= '{position}'"):
                pass
        with pytest.raises(errors.InsufficientPrivilege, match="permission denied"):
            rows(reader, read)


# Bounds


def test_the_cache_has_a_bound(admin: Connection) -> None:
    # A bound that fewer keys reach.
    admin.execute(
        """
        CREATE FUNCTION pg_temp.bound(to_be integer) RETURNS integer LANGUAGE plpython3u AS $$
            import sys
            ring = GD['pgkeymgr.pgkeymgr']._find.__self__.table.keyring
            module = sys.modules[type(ring).__module__]
            was, module.BYTES_MAX = module.BYTES_MAX, to_be
            return was
        $$
        """
    )
    bound = value(admin, "SELECT pg_temp.bound(4 * 1024 * 1024)")
    admin.execute("SELECT create_data_key('many ' || i) FROM generate_series(1, 1500) AS i")
    admin.execute(
        "CREATE TABLE public.tokens AS SELECT token_encrypt_text('many ' || i, i::text) AS token"
        " FROM generate_series(1, 1500) AS i"
    )
    try:
        assert value(admin, "SELECT sum(token_decrypt_text(token)::int) FROM public.tokens") == 1125750
        admin.execute(
            """
            CREATE FUNCTION pg_temp.kept() RETURNS integer LANGUAGE plpython3u AS $$
                ring = GD['pgkeymgr.pgkeymgr']._find.__self__.table.keyring
                assert ring._bytes <= 4 * 1024 * 1024, ring._bytes
                return len(ring)
            $$
            """
        )
        assert 500 < value(admin, "SELECT pg_temp.kept()") < 1500
        assert value(admin, "SELECT sum(token_decrypt_text(token)::int) FROM public.tokens") == 1125750
    finally:
        admin.execute(f"SELECT pg_temp.bound({bound})")
        admin.execute("DROP TABLE public.tokens")


def test_concurrent_creation_of_one_name(keys: Cluster, admin: Connection) -> None:
    """The second waits for the first, and then finds the name taken or free."""
    with session(keys, "postgres") as one, session(keys, "postgres") as two:
        one.execute("BEGIN")
        one.execute("SELECT create_data_key('wanted')")
        two.execute("SET lock_timeout = '100ms'")
        with pytest.raises(errors.LockNotAvailable):
            two.execute("SELECT create_data_key('wanted')")
        one.execute("COMMIT")
        with pytest.raises(errors.DuplicateObject, match='an enabled key "wanted" already exists'):
            two.execute("SELECT create_data_key('wanted')")


def test_nothing_secret_is_logged(keys: Cluster) -> None:
    """Every management function and its failures, with everything logged; then the log has no key in it."""
    settings = {
        "log_statement": "all",
        "log_min_duration_statement": "0",
        "log_error_verbosity": "verbose",
        "log_min_messages": "debug1",
        "session_preload_libraries": "auto_explain",
        "auto_explain.log_min_duration": "0",
        "auto_explain.log_nested_statements": "on",
        "auto_explain.log_verbose": "on",
    }
    with Cluster(settings=settings) as logged:
        logged.create_database("keys")
        with session(logged, "postgres") as connection:
            # The only way to see a data key's bytes: as the owner, in Python, with the root key at hand.
            connection.execute("SELECT create_data_key('a')")
            connection.execute("SELECT token_decrypt(token_encrypt('a', 'x'))")
            connection.execute("SELECT supersede_data_key('a'), supersede_data_key('a')")
            for failing in ("create_data_key('a')", "destroy_data_key(1, 'b')", "token_decrypt('\\x0100000001')"):
                with pytest.raises(psycopg.Error):
                    rows(connection, f"SELECT {failing}")
            connection.execute(
                """
                CREATE FUNCTION pg_temp.peek() RETURNS bytea[] LANGUAGE plpython3u AS $$
                    keys = GD['pgkeymgr.pgkeymgr']._find.__self__.tokens
                    return [unlocked.secret for unlocked in keys._table.keyring._unlocked.values()]
                $$
                """
            )
            connection.execute("CREATE TABLE found AS SELECT 1 WHERE false")
            secrets = connection.execute("SELECT pg_temp.peek()", binary=True).fetchone()
            assert secrets is not None
            assert len(secrets[0]) >= 2
        needles = [form for secret in secrets[0] for form in (secret, secret.hex().encode())]
        log = logged.log_file.read_bytes()
        assert b"create_data_key" in log
        assert not [needle for needle in needles if needle in log]
        for file in logged.data.rglob("*"):
            if file.is_file():
                content = file.read_bytes()
                assert not [needle for needle in needles if needle in content], file
