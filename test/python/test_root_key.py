"""The root key in a real server: where it comes from, who can use it, and that it goes nowhere else."""

import base64
import os
import pwd
import re
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cluster import ROOT_KEY, Cluster, pg_config
from conftest import Connection, rows, value
from psycopg import errors
from waiting import wait_until

KEY = "c0ffee00" * 8
FINGERPRINT = "bcfeb5264e5a18c35f29399ef36dacb2"


@pytest.fixture(scope="module")
def bare() -> Iterator[Cluster]:
    """A cluster of its own without a getkey script, its log complete."""
    with Cluster(root_keys=None, settings={"log_statement": "all", "log_error_verbosity": "verbose"}) as cluster:
        cluster.create_database("test")
        yield cluster
        assert KEY not in cluster.log


def derive(cluster: Cluster, **more: Any) -> bytes:
    """Derive a key in a new session."""
    with cluster.connect("test", **more) as connection:
        derived = value(connection, "SELECT pgkeymgr.derive_key(1)")
        assert isinstance(derived, bytes)
        return derived


def test_status(cluster: Cluster, connection: Connection) -> None:
    row = connection.execute("SELECT * FROM root_key_status()").fetchone()
    assert row == (FINGERPRINT, f"getkey {cluster.getkey}", [], [])
    with Cluster(root_keys=[KEY, ROOT_KEY]) as rotated:
        rotated.create_database("test")
        with rotated.connect("test") as other:
            row = other.execute("SELECT * FROM pgkeymgr.root_key_status()").fetchone()
            assert row is not None
            assert row[0] != FINGERPRINT
            assert row[2] == [FINGERPRINT]
        assert derive(rotated) != derive(cluster)


def test_without_a_root_key_only_its_users_fail(bare: Cluster) -> None:
    with bare.connect("test") as connection:
        connection.execute("SET search_path = pgkeymgr")
        connection.execute("SELECT crypto_secretbox('', crypto_secretbox_noncegen(), crypto_secretbox_keygen())")
        for call in (
            "derive_key(1)",
            "root_key_status()",
            "crypto_auth('', 1::bigint)",
            "crypto_aead_det_encrypt('', '', 1::bigint)",
        ):
            with pytest.raises(errors.ObjectNotInPrerequisiteState) as missing:
                rows(connection, f"SELECT {call}")
            hint = missing.value.diag.message_hint
            assert hint is not None
            assert str(bare.getkey) in hint
            assert str(pg_config("sharedir") / "extension" / "pgkeymgr_getkey") in hint
            assert "PGKEYMGR_GETKEY" in hint


@pytest.mark.parametrize(
    ("body", "mode", "reason"),
    [
        (f"echo {KEY}", 0o400, "not executable"),
        (f"echo {KEY}", 0o522, "can be written"),
        (f"echo {KEY}; exit 1", 0o500, "exited with status 1"),
        (f"echo {KEY}x", 0o500, "65 characters on line 1"),
        (f"echo key={KEY}", 0o500, "68 characters on line 1"),
        ("echo " + "0" * 64, 0o500, "root key of zeros"),
        (f"echo {KEY} >&2", 0o500, "printed nothing"),
        (f"echo {KEY} >&2; echo {KEY} | cut -c 2-; kill -9 $$", 0o500, "signal 9"),
    ],
)
def test_refused_and_fixed_in_the_same_session(bare: Cluster, body: str, mode: int, reason: str) -> None:
    with bare.connect("test") as connection:
        bare.install_getkey("#!/bin/sh\n" + body + "\n", mode)
        try:
            with pytest.raises(errors.SystemError, match=reason) as refused:
                connection.execute("SELECT pgkeymgr.derive_key(1)")
            assert refused.value.sqlstate == "58000"
            assert KEY[:16] not in str(refused.value) + str(refused.value.diag.context)
            assert refused.value.diag.message_hint
            bare.install_getkey(f"#!/bin/sh\necho {ROOT_KEY}\n")
            connection.execute("SELECT pgkeymgr.derive_key(1)")
        finally:
            bare.getkey.unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories to other users")
def test_refused_where_others_could_exchange_it(bare: Cluster) -> None:
    """A script that is as it should be, in a directory of another user, and in one that a group can write."""
    above = bare.directory / "above"
    directory = above / "directory"
    directory.mkdir(parents=True)
    bare.install_getkey(f"#!/bin/sh\necho {KEY}\n", path=directory / "getkey")
    bare.getkey.symlink_to(directory / "getkey")
    daemon = pwd.getpwnam("daemon")
    try:
        with bare.connect("test") as connection:
            for place in (directory, above):
                for owner, mode, reason in (
                    (daemon.pw_uid, 0o755, rf"belongs to user id {daemon.pw_uid} \(daemon\)"),
                    (0, 0o775, "the group daemon can write"),
                    (0, 0o757, "others can write"),
                ):
                    os.chown(place, owner, daemon.pw_gid)
                    place.chmod(mode)
                    with pytest.raises(errors.SystemError, match=rf'the directory "{place}", which {reason}'):
                        connection.execute("SELECT pgkeymgr.derive_key(1)")
                os.chown(place, 0, 0)
                place.chmod(0o755)
            connection.execute("SELECT pgkeymgr.derive_key(1)")
    finally:
        bare.getkey.unlink()


def test_a_session_runs_getkey_once(bare: Cluster) -> None:
    count = bare.directory / "count"
    bare.install_getkey(f"#!/bin/sh\necho run >> {count}\necho {ROOT_KEY}\n")
    try:
        with bare.connect("test") as connection:
            connection.execute("SELECT pgkeymgr.crypto_hash_sha256('')")
            assert not count.exists()
            connection.execute("SELECT pgkeymgr.derive_key(i) FROM generate_series(1, 100) AS i")
            connection.execute("SELECT pgkeymgr.crypto_auth('', 1::bigint)")
            assert count.read_text() == "run\n"
    finally:
        bare.getkey.unlink()


def copy_of_postgresql(prefix: Path) -> Path:
    """Make a PostgreSQL at another place, which looks for its files there, with a SHAREDIR/extension of its own.

    Returns:
        Its BINDIR.
    """
    of = {name: pg_config(name) for name in ("bindir", "sharedir", "pkglibdir")}
    common = os.path.commonpath(of.values())
    at = {name: prefix / path.relative_to(common) for name, path in of.items()}
    at["bindir"].mkdir(parents=True)
    # Copied: where a server is, is where its program really is.
    for program in ("postgres", "pg_ctl"):
        shutil.copy2(of["bindir"] / program, at["bindir"])
    at["pkglibdir"].symlink_to(of["pkglibdir"])
    extension = at["sharedir"] / "extension"
    extension.mkdir(parents=True)
    for source, target in ((of["sharedir"], at["sharedir"]), (of["sharedir"] / "extension", extension)):
        for path in source.iterdir():
            if path.name not in ("extension", "pgkeymgr_getkey"):
                (target / path.name).symlink_to(path)
    return at["bindir"]


def test_search_order() -> None:
    """The environment of the server, then beside postgresql.conf, then SHAREDIR/extension."""
    with Cluster(root_keys=[KEY]) as cluster:
        cluster.create_database("test")
        named = cluster.install_getkey(f"#!/bin/sh\necho {'ab' * 32}\n", path=cluster.directory / "named")
        beside = derive(cluster)
        cluster.environment["PGKEYMGR_GETKEY"] = str(named)
        cluster.stop()
        cluster.start()
        assert derive(cluster) != beside
        # A session's own settings and connection options change nothing.
        assert derive(cluster, options=f"-c pgkeymgr.getkey={cluster.getkey}") != beside
        del cluster.environment["PGKEYMGR_GETKEY"]
        cluster.stop()
        cluster.bin = copy_of_postgresql(cluster.directory / "postgresql")
        (extension,) = (path for path in cluster.directory.glob("postgresql/**/extension") if path.is_dir())
        cluster.start()
        cluster.install_getkey(f"#!/bin/sh\necho {'cd' * 32}\n", path=extension / "pgkeymgr_getkey")
        assert derive(cluster) == beside
        cluster.getkey.unlink()
        assert derive(cluster) not in (beside, None)
        cluster.install_getkey(f"#!/bin/sh\necho {KEY}\n", path=extension / "pgkeymgr_getkey")
        assert derive(cluster) == beside


def test_ordinary_users_find_it_too(cluster: Cluster) -> None:
    """The path of postgresql.conf is hidden from them, and needed to find the script."""
    with cluster.connect("test") as connection:
        connection.execute("CREATE ROLE app LOGIN IN ROLE pgkeymgr_user")
    try:
        with cluster.connect("test", user="app") as connection:
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute("SHOW config_file")
            row = connection.execute(
                "SELECT pgkeymgr.crypto_auth_verify(pgkeymgr.crypto_auth('x', 1::bigint), 'x', 1::bigint)"
            ).fetchone()
            assert row == (True,)
            for call in ("derive_key(1)", "pgkeymgr_derive(1)", "root_key_status()"):
                with pytest.raises(errors.InsufficientPrivilege):
                    rows(connection, f"SELECT pgkeymgr.{call}")
    finally:
        with cluster.connect("test") as connection:
            connection.execute("DROP ROLE app")


def test_waiting_can_be_canceled(bare: Cluster) -> None:
    started = bare.directory / "started"
    bare.install_getkey(f"#!/bin/sh\necho $$ > {started}\nexec sleep 1000\n")
    try:
        with bare.connect("test") as connection, ThreadPoolExecutor(1) as pool:
            call = pool.submit(connection.execute, "SELECT pgkeymgr.derive_key(1)")
            try:
                script = wait_until(lambda: started.exists() and started.read_text().strip(), "the script runs")
            finally:
                connection.cancel()
            with pytest.raises(errors.QueryCanceled):
                call.result()
            assert not Path(f"/proc/{script}").exists()
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        bare.getkey.unlink()


def test_parallel_workers_have_it(connection: Connection) -> None:
    query = (
        "SELECT sum(length(crypto_secretbox('', decode(repeat('00', 24), 'hex'), i))),"
        " bit_xor(hashtext(derive_key(i)::text)) FROM many"
    )
    connection.execute("CREATE TABLE many AS SELECT i::bigint AS i FROM generate_series(1, 20000) AS i")
    try:
        connection.execute("ANALYZE many")
        connection.execute("SET max_parallel_workers_per_gather = 0")
        expected = rows(connection, query)
        connection.execute("SET max_parallel_workers_per_gather = 2")
        for setting in ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size"):
            rows(connection, f"SET {setting} = 0")
        connection.execute("SET parallel_leader_participation = off")
        plan = "".join(row[0] for row in rows(connection, "EXPLAIN (ANALYZE) " + query))
        assert re.search("Workers Launched: [12]", plan)
        assert rows(connection, query) == expected
    finally:
        connection.execute("DROP TABLE many")


def _owner_of_memory(pid: int) -> int:
    return Path(f"/proc/{pid}/mem").stat().st_uid


def test_no_core_dump() -> None:
    """A backend that crashes leaves its memory in a core file, but not one that holds the root key."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    with Cluster(root_keys=[KEY]) as cluster:
        cluster.create_database("test")
        for call, protected in (("pgkeymgr.crypto_hash_sha256('')", False), ("pgkeymgr.derive_key(1)", True)):
            connection, witness = cluster.connect("test"), cluster.connect("test")
            rows(connection, f"SELECT {call}")
            pid = connection.info.backend_pid
            if os.geteuid() == 0:
                assert (_owner_of_memory(pid) == 0) is protected
            os.kill(pid, signal.SIGSEGV)
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT pg_sleep(60)")
            connection.close()
            cluster.wait_until_recovered(witness)
            if "/" not in pattern and "|" not in pattern:
                # The data directory is where a server's processes work, and so where its cores go.
                assert bool(list(cluster.data.glob("core*"))) is not protected
                for core in cluster.data.glob("core*"):
                    core.unlink()


NEEDLES = [
    bytes.fromhex(ROOT_KEY),
    ROOT_KEY.encode(),
    base64.b64encode(bytes.fromhex(ROOT_KEY)),
    repr(bytes.fromhex(ROOT_KEY))[2:-1].encode(),
]

ARGUMENTS: dict[str, list[str]] = {
    "bytea": [
        "''",
        "'pgsodium'",
        "'\\x" + "00" * 24 + "'",
        "'\\x" + "42" * 32 + "'",
        "'\\x" + "42" * 64 + "'",
        "NULL",
    ],
    "bigint": ["0", "1", "-1", "32", "NULL"],
    "integer": ["0", "16", "32", "-1", "NULL"],
    "text": ["''", "'abcd'", "'data'", "NULL"],
    "character varying": ["''", "'abcd'", "NULL"],
    "boolean": ["true", "false", "NULL"],
    "oid": ["10", "0"],
    "oid[]": ["'{10}'", "'{}'", "NULL"],
    "regrole": ["'pgkeymgr_user'", "'pgkeymgr_admin'"],
    "text[]": ["'{decrypt}'", "'{}'", "NULL"],
    "timestamp with time zone": ["'infinity'", "NULL"],
    "uuid": ["'00000000-0000-0000-0000-000000000000'", "'11111111-1111-1111-1111-111111111111'", "NULL"],
    "jsonb": ["'{}'", "NULL"],
    "key_type": ["'secretbox'", "'data'", "NULL"],
    "regclass": ["'public.hunted'", "'pg_class'", "NULL"],
    "name": ["'value'", "'other'", "'id'", "NULL"],
    "name[]": ["'{id}'", "'{}'", "NULL"],
    "xid": ["'3'", "NULL"],
    "anyelement": ["'abcd'::text", "42", "NULL::text"],
    "anyrange": ["int4range(1, 9)", "int4range(NULL, NULL)", "NULL::int4range"],
    "inet": ["'10.1.2.3'", "'::1'", "NULL"],
    "smallint[]": ["'{1}'", "'{}'", "NULL"],
    "integer[]": ["'{1}'", "'{}'", "NULL"],
    "interval": ["'1 day'", "NULL"],
    "real": ["0.3", "NULL"],
    "regprocedure": ["'pg_catalog.now()'", "NULL"],
}


def test_no_function_returns_the_root_key(cluster: Cluster, connection: Connection) -> None:
    """Call every function of the extension with many arguments, as superuser, and search what comes back."""
    functions = rows(
        connection,
        """
        SELECT p.oid::regproc::text, p.proargtypes::regtype[]::text[]
        FROM pg_depend AS d JOIN pg_proc AS p ON d.objid = p.oid
        WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
          AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pgkeymgr')
          AND p.proname NOT LIKE 'crypto\\_pwhash%' AND p.proname NOT LIKE '%cryptokey%'
        """,
    )
    assert len(functions) > 90
    searched = results = refusals = 0
    # Keys for the functions that use one, and Argon2id spared.
    connection.execute("SELECT create_data_key('data'), create_key('secretbox', 'abcd')")
    connection.execute("SET client_min_messages = error")
    connection.execute("CREATE TABLE public.hunted (id integer PRIMARY KEY, value text, other text)")
    connection.execute("SELECT encrypt_column('hunted', 'value')")
    for name, types in functions:
        for choice in range(6):
            values = [ARGUMENTS[t][(choice + i * (choice // 2)) % len(ARGUMENTS[t])] for i, t in enumerate(types)]
            call = ", ".join(v if t.startswith("any") else f"{v}::{t}" for v, t in zip(values, types, strict=True))
            try:
                found = str(rows(connection, f"SELECT {name}({call})::text")).encode()
                results += 1
            except psycopg.Error as error:
                found = (str(error) + str(error.diag.context) + str(error.diag.message_hint)).encode()
                refusals += 1
            searched += len(found)
            for needle in NEEDLES:
                assert needle not in found, name
    connection.execute("DROP TABLE public.hunted_encrypted CASCADE")
    assert results > 150
    assert refusals > 150
    assert searched > 10_000
    for needle in NEEDLES:
        assert needle not in cluster.log_file.read_bytes()


def test_gd_holds_functions_only(connection: Connection) -> None:
    """Another PL/Python function of the session sees GD: it finds calls there, and no key."""
    connection.execute("SELECT derive_key(1)")
    connection.execute(
        """
        CREATE FUNCTION pg_temp.peek() RETURNS text LANGUAGE plpython3u AS $$
            functions = GD['pgkeymgr.pgkeymgr']
            assert all(callable(value) for value in vars(functions).values())
            return repr(GD) + repr(vars(functions))
        $$
        """
    )
    seen = value(connection, "SELECT pg_temp.peek()")
    for needle in NEEDLES:
        assert needle.decode() not in seen
