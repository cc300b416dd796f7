"""doctor() reports nothing in a healthy cluster, and reports each planted fault until it is fixed."""

import os
import re
import resource
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from cluster import ROOT_KEY, Cluster
from conftest import Connection, rows, value
from pgkeymgr.doctor import CHECKS
from pgkeymgr.doctor.connections import is_local
from pgkeymgr.doctor.finding import ERROR, NOTICE, OK, WARNING
from pgkeymgr.doctor.machine import core_limit, is_encrypted, swap_areas
from pgkeymgr.doctor.root_key import archive_directories, key_files
from pgkeymgr.root_key import fingerprint
from psycopg import errors
from waiting import wait_until

OTHER_ROOT_KEY = "20" * 32
SEARCH_PATH = "SET search_path = public, pgkeymgr"
USUAL = {("logging", NOTICE, "log_min_error_statement"), ("logging", NOTICE, "log_error_verbosity")}
DOCUMENT = Path(__file__).parents[2] / "docs" / "doctor.md"


class Finding(NamedTuple):
    """A row of doctor()."""

    check: str
    status: str
    object: str | None
    message: str
    hint: str | None


def findings(connection: Connection) -> list[Finding]:
    found = [Finding(*row) for row in rows(connection, "SELECT * FROM pgkeymgr.doctor()")]
    text = repr(found)
    for secret in (ROOT_KEY, OTHER_ROOT_KEY):
        assert secret not in text
        assert repr(bytes.fromhex(secret))[2:-1] not in text
    statuses = [finding.status for finding in found]
    assert statuses == sorted(statuses, key=[ERROR, WARNING, NOTICE, OK].index)
    assert {finding.check for finding in found} == set(CHECKS)
    assert all(finding.hint for finding in found if finding.status != OK)
    return found


def named(found: list[Finding], *statuses: str) -> set[tuple[str, str, str | None]]:
    """Return the findings without their texts, and without the swap of this machine."""
    return {
        finding[:3]
        for finding in found
        if finding.status in (statuses or (ERROR, WARNING))
        and not (finding.check == "swap" and finding.object in swap_areas())
    }


def one(found: list[Finding], check: str, object_: str | None = None) -> Finding:
    (finding,) = (each for each in found if each.check == check and object_ in (None, each.object))
    return finding


def documented(heading: str) -> set[str]:
    """Return the rows of the table after a line of docs/doctor.md, without what differs from run to run."""
    table = DOCUMENT.read_text(encoding="utf-8").partition(heading)[2].partition("|---|\n")[2].partition("\n\n")[0]
    return {without_numbers(line) for line in table.splitlines() if not line.startswith("| swap ")}


def as_documented(found: list[Finding], server: "Server") -> set[str]:
    """Return findings as rows of such a table."""
    lines = (
        f"| {each.check} | {each.status} | {f'`{each.object}`' if each.object else ''} | {each.message} |"
        for each in found
        if each.check != "swap"
    )
    return {without_numbers(line.replace(str(server.directory), "/srv/pg")) for line in lines}


def without_numbers(line: str) -> str:
    """Replace the numbers in a line, but not those of fingerprints."""
    return re.sub(r"\b\d+\b", "0", line)


class Server(Cluster):
    """A cluster whose getkey script lies beside the data directory, and whose sessions cannot dump core."""

    def __init__(self, **more: Any) -> None:
        super().__init__(root_keys=None, **more)
        self.script = self.directory / "getkey"
        self.environment["PGKEYMGR_GETKEY"] = str(self.script)
        self.install_getkey(f"#!/bin/sh\necho {ROOT_KEY}\n", path=self.script)

    def start(self) -> None:
        """Start the server with a limit of 0 for core dumps, which it has from this process."""
        soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
        try:
            self._pg_ctl("start", f"--options=-k {self.directory} -p {self.port}")
        finally:
            resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))

    def start_with_core_files(self) -> None:
        """Start the server as all other tests do."""
        super().start()

    @property
    def postmaster(self) -> int:
        """The number of the server's first process."""
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def write(self, path: Path, text: str, mode: int = 0o600) -> Path:
        """Write a file that belongs to the server's user."""
        path.write_text(text)
        self.give_to_server(path)
        path.chmod(mode)
        return path

    def doctor(self, user: str = "postgres") -> list[Finding]:
        """Ask the doctor in a new session."""
        with self.connect("test", user) as connection:
            return findings(connection)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        running.create_database("test")
        yield running


@pytest.fixture
def admin(server: Server) -> Iterator[Connection]:
    with server.connect("test") as connection:
        connection.execute(SEARCH_PATH)
        yield connection


def encrypted_table(admin: Connection, name: str, count: int = 100, key: str | None = None) -> None:
    rows(admin, f"CREATE TABLE {name} (id integer PRIMARY KEY, secret text, open text)")
    rows(admin, f"INSERT INTO {name} SELECT i, 'secret ' || i, 'open' FROM generate_series(1, {count}) AS i")
    rows(admin, f"SELECT encrypt_column('{name}', 'secret'" + (f", key => '{key}')" if key else ")"))


def test_healthy(server: Server, admin: Connection) -> None:
    encrypted_table(admin, "customer")
    rows(admin, "CALL migrate_column('customer', 'secret')")
    rows(admin, "VACUUM FULL customer_encrypted")
    found = server.doctor()
    assert named(found) == set()
    assert not [finding for finding in found if "could not be checked" in finding.message]
    # The default settings of PostgreSQL, and no more.
    assert named(found, NOTICE) == USUAL
    assert one(found, "root_key").message == f"the root key {fingerprint(bytes.fromhex(ROOT_KEY))} is loaded"
    assert {finding.check for finding in found if finding.status == OK} >= set(CHECKS) - {"logging", "swap"}
    assert as_documented(found, server) == documented("In a healthy cluster")


def test_the_doctor_writes_nothing(server: Server, admin: Connection) -> None:
    admin.execute("SET default_transaction_read_only = on")
    assert named(findings(admin)) == set()
    with admin.transaction():
        admin.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        assert named(findings(admin)) == set()
        assert value(admin, "SELECT pg_current_xact_id_if_assigned()") is None


def test_an_administrator_of_keys_calls_the_doctor(server: Server, admin: Connection) -> None:
    """A member of pgkeymgr_admin sees all findings, and nothing of the content of files."""
    rows(admin, "CREATE ROLE boss LOGIN; CREATE ROLE app LOGIN; GRANT pgkeymgr_user TO app")
    rows(admin, "GRANT pgkeymgr_admin TO boss")
    server.write(server.data / "note", f"{ROOT_KEY} in a file\n")
    server.install_getkey(f"#!/bin/sh\n# marker in the script\ncut -c-64 {server.data}/note\n", path=server.script)
    with server.connect("test", "boss") as boss:
        found = findings(boss)
        assert value(boss, "SELECT current_user") == "boss"
        with pytest.raises(errors.InsufficientPrivilege):
            boss.execute("SELECT FROM pgkeymgr.key")
    assert found == server.doctor()
    assert "marker" not in repr(found)
    assert "in a file" not in repr(found)
    assert not [finding for finding in found if "could not be checked" in finding.message]
    assert named(found) == {("root_key_location", ERROR, f"{server.data}/note")}
    assert "boss" in one(found, "roles", "pgkeymgr_admin").message
    assert "app" in one(found, "roles", "pgkeymgr_user").message
    with server.connect("test", "app") as app, pytest.raises(errors.InsufficientPrivilege):
        app.execute("SELECT * FROM pgkeymgr.doctor()")


# The root key


def test_root_key_is_not_loaded(server: Server) -> None:
    """A script that is refused, and one that is not there."""
    server.script.chmod(0o520)
    found = server.doctor()
    assert named(found, ERROR) == {("root_key", ERROR, str(server.script))}
    finding = one(found, "root_key")
    assert "can be written by its group" in finding.message
    assert finding.hint == f"Run chmod go-w {server.script}."
    server.script.chmod(0o500)
    if os.geteuid() == 0:
        os.chown(server.script, 1, -1)
        found = server.doctor()
        assert named(found, ERROR) == {("root_key", ERROR, str(server.script))}
        assert "belongs to user id 1" in one(found, "root_key").message
        server.give_to_server(server.script)
    assert named(server.doctor()) == set()
    server.script.rename(server.directory / "elsewhere")
    assert "does not exist" in one(server.doctor(), "root_key").message


def test_a_pipe_in_the_place_of_the_script(server: Server, admin: Connection) -> None:
    """It is refused, and not waited for."""
    server.script.unlink()
    os.mkfifo(server.script, 0o500)
    server.give_to_server(server.script)
    with server.connect("test") as connection:
        connection.execute("SET statement_timeout = '30s'")
        found = findings(connection)
    assert "is not a regular file" in one(found, "root_key").message
    assert "is not a regular file" in one(found, "root_key_location").message


def test_another_root_key(server: Server, admin: Connection) -> None:
    rows(admin, "SELECT create_data_key('one'), create_data_key('two'), exchange_fingerprint()")
    mine, other = (fingerprint(bytes.fromhex(key)) for key in (ROOT_KEY, OTHER_ROOT_KEY))
    server.install_getkey(f"#!/bin/sh\necho {OTHER_ROOT_KEY}\n", path=server.script)
    found = server.doctor()
    assert named(found) == {("root_key_fingerprint", ERROR, mine)}
    message = one(found, "root_key_fingerprint").message
    assert message.startswith("3 wraps of this database")
    assert mine in message
    assert other in message
    # The remedy of the hint: both root keys.
    server.install_getkey(f"#!/bin/sh\necho {OTHER_ROOT_KEY}\necho {ROOT_KEY}\n", path=server.script)
    found = server.doctor()
    assert named(found) == {("root_key_fingerprint", WARNING, mine)}
    assert "rotate_root_key()" in str(one(found, "root_key_fingerprint").hint)
    # A previous root key that nothing needs.
    server.install_getkey(f"#!/bin/sh\necho {ROOT_KEY}\necho {OTHER_ROOT_KEY}\n", path=server.script)
    found = server.doctor()
    assert named(found) == set()
    assert one(found, "root_key_fingerprint", other).status == NOTICE


def test_on_a_standby(server: Server, admin: Connection) -> None:
    rows(admin, "SELECT create_data_key('one')")
    standby = Server(initialize=False)
    backup = ["--write-recovery-conf", "--checkpoint=fast", f"--pgdata={standby.data}"]
    name = "application_name=cellar"
    standby.run_as_server([server.bin / "pg_basebackup", *backup, f"--dbname={server.dsn()} {name}"])
    standby.script.unlink()
    with standby:
        found = standby.doctor()
        assert named(found) == {("root_key", ERROR, None), ("standby", WARNING, "this standby")}
        standby.install_getkey(f"#!/bin/sh\necho {OTHER_ROOT_KEY}\n", path=standby.script)
        found = standby.doctor()
        assert named(found) == {("root_key_fingerprint", ERROR, fingerprint(bytes.fromhex(ROOT_KEY)))}
        standby.install_getkey(f"#!/bin/sh\necho {ROOT_KEY}\n", path=standby.script)
        found = standby.doctor()
        assert named(found) == set()
        assert one(found, "standby").status == OK
        # The primary names it.
        wait_until(
            lambda: rows(admin, "SELECT pid FROM pg_stat_replication WHERE state = 'streaming'"), "streaming"
        )
        found = server.doctor()
        assert named(found) == set()
        finding = one(found, "standby", "cellar")
        assert finding.status == NOTICE
        assert "doctor()" in str(finding.hint)


# All at once


class Fault(NamedTuple):
    """A planted fault: the expected finding, and its remedy; None stands for the hint, run as SQL."""

    finding: tuple[str, str, str]
    fix: Callable[[], object] | None = None


def test_many_faults(server: Server, admin: Connection) -> None:  # noqa: PLR0915  # a list
    def sql(statements: str) -> Callable[[], object]:
        return lambda: [rows(admin, statement) for statement in statements.split(";")]

    def restart() -> None:
        nonlocal admin
        admin.close()
        server.stop()
        server.start()
        admin = server.connect("test")
        admin.execute(SEARCH_PATH)

    faults = []
    # Files: one in the data directory, one that everybody can read.
    kept, previous = server.data / "root_key", server.directory / "previous"
    server.write(kept, ROOT_KEY + "\n")
    server.write(previous, OTHER_ROOT_KEY + "\n", 0o644)

    def move() -> None:
        kept.rename(server.directory / "root_key")
        script = f"#!/bin/sh\ncat '{server.directory}/root_key' {previous}\n"
        server.install_getkey(script, path=server.script, mode=0o555)

    server.install_getkey(f"#!/bin/sh\ncat '{kept}' {previous}\n", path=server.script, mode=0o500)
    faults.append(Fault(("root_key_location", ERROR, str(kept)), move))
    faults.append(Fault(("root_key_location", ERROR, str(previous)), lambda: previous.chmod(0o600)))
    server.script.chmod(0o555)
    faults.append(Fault(("root_key_location", WARNING, str(server.script)), lambda: server.script.chmod(0o500)))
    # Settings.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        server.port = probe.getsockname()[1]
    server.configure({"listen_addresses": "0.0.0.0"})  # noqa: S104  # pg_hba.conf lets nobody in from there
    hba = server.data / "pg_hba.conf"
    lines = hba.read_text()
    hba.write_text(lines + "host all nobody 10.0.0.0/8 scram-sha-256\n")
    line = len((lines + "x").splitlines())
    restart()

    def require_tls() -> None:
        hba.write_text(lines + "hostssl all nobody 10.0.0.0/8 scram-sha-256\n")

    def listen_locally() -> None:
        server.configure({"listen_addresses": "localhost"})
        restart()

    faults.append(Fault(("tls", WARNING, f"pg_hba.conf line {line}"), require_tls))
    rows(admin, "ALTER DATABASE test SET pgkeymgr.allow_plain_connections = on")
    faults.append(Fault(("tls", WARNING, "pgkeymgr.allow_plain_connections")))
    rows(admin, "ALTER SYSTEM SET log_statement = 'all'")
    rows(admin, "ALTER SYSTEM SET debug_print_plan = on")
    rows(admin, "SELECT pg_reload_conf()")

    def reset(name: str) -> Callable[[], object]:
        def fix() -> None:
            rows(admin, f"ALTER SYSTEM RESET {name}")
            server.reload()

        return fix

    faults.append(Fault(("logging", WARNING, "log_statement"), reset("log_statement")))
    faults.append(Fault(("logging", WARNING, "debug_print_plan"), reset("debug_print_plan")))
    # Keys.
    gone = value(admin, "SELECT create_data_key('gone', expires => now() + interval '1 hour')")
    rows(admin, f"UPDATE key SET expires = now() - interval '1 hour' WHERE id = {gone}")
    faults.append(
        Fault(("key_expiry", ERROR, f"key {gone} (gone)"), sql(f"UPDATE key SET expires = NULL WHERE id = {gone}"))
    )
    soon = value(admin, "SELECT create_data_key('soon', expires => now() + interval '20 days')")
    rows(admin, "SELECT create_data_key('later', expires => now() + interval '40 days')")
    encrypted_table(admin, "invoice", key="soon")
    rows(admin, "CALL migrate_column('invoice', 'secret')")
    faults.append(
        Fault(
            ("key_expiry", WARNING, f"key {soon} (soon)"), sql(f"UPDATE key SET expires = NULL WHERE id = {soon}")
        )
    )
    rows(admin, "UPDATE pg_class SET reltuples = 5e9 WHERE relname = 'invoice_encrypted'")
    faults.append(Fault(("key_use", WARNING, "key soon"), sql("ANALYZE invoice_encrypted")))
    rows(
        admin,
        "SELECT import_pgsodium_key(gen_random_uuid(), 'valid', 'auth', 'numbered', 7, 'pgsodium');"
        "SELECT create_key('auth', 'without a number')",
    )
    numbered = value(admin, "SELECT id FROM key WHERE name = 'numbered'")
    faults.append(
        Fault(
            ("key_numbers", WARNING, f"key {numbered} (numbered)"),
            sql(f"SELECT destroy_data_key({numbered}, 'numbered', force => true)"),
        )
    )
    # Columns.
    faults.append(
        Fault(("plaintext_left", WARNING, "public.invoice_encrypted"), sql("VACUUM FULL invoice_encrypted"))
    )
    rows(admin, "CREATE MATERIALIZED VIEW report AS SELECT upper(secret) FROM invoice")
    faults.append(Fault(("plaintext_left", WARNING, "public.report"), sql("DROP MATERIALIZED VIEW report")))
    half_migrated(server, admin)
    # Both are refused where event triggers fire.
    rows(admin, "SET session_replication_role = replica")
    rows(admin, "CREATE INDEX by_secret ON customer_encrypted (secret)")
    rows(admin, "CREATE STATISTICS together ON secret, open FROM customer_encrypted")
    rows(admin, "RESET session_replication_role")
    faults.append(Fault(("plaintext_left", WARNING, "public.by_secret")))
    faults.append(Fault(("plaintext_left", WARNING, "public.together")))
    faults.append(Fault(("columns_unfinished", WARNING, "public.customer.secret")))
    # Roles.
    rows(admin, "GRANT EXECUTE ON FUNCTION derive_key TO PUBLIC")
    faults.append(Fault(("roles", ERROR, "pgkeymgr.derive_key(bigint,integer,bytea)")))
    rows(admin, "GRANT SELECT ON key_wrap TO PUBLIC")
    faults.append(Fault(("roles", ERROR, "pgkeymgr.key_wrap")))
    rows(admin, "CREATE ROLE loader LOGIN; GRANT pg_read_server_files TO loader")
    faults.append(Fault(("roles", WARNING, "loader"), sql("REVOKE pg_read_server_files FROM loader")))
    rows(admin, "GRANT CREATE ON SCHEMA pgkeymgr TO loader")
    faults.append(Fault(("roles", WARNING, "schema pgkeymgr")))
    shared = value(admin, "SELECT create_data_key('shared')")
    rows(admin, "CREATE ROLE leaver; SELECT grant_data_key('shared', 'leaver'); DROP ROLE leaver")
    faults.append(Fault(("roles", WARNING, f"key {shared} (shared)")))
    owned = value(admin, "SELECT create_data_key('owned')")
    rows(admin, "CREATE ROLE leaver")
    rows(admin, f"UPDATE key SET owner = 'leaver'::regrole WHERE id = {owned}; DROP ROLE leaver")
    faults.append(
        Fault(
            ("roles", WARNING, f"key {owned} (owned)"),
            sql(f"UPDATE key SET owner = 'postgres'::regrole WHERE id = {owned}"),
        )
    )
    rows(admin, "UPDATE pg_language SET lanpltrusted = true WHERE lanname = 'plpython3u'")
    faults.append(Fault(("roles", ERROR, "language plpython3u")))
    # The trail.
    rows(admin, "ALTER TABLE key_event DISABLE TRIGGER only_grow")
    rows(admin, "UPDATE key_event SET role = 'somebody' WHERE link = 2")
    faults.append(
        Fault(("audit_trail", ERROR, "link 2"), sql("UPDATE key_event SET role = 'postgres' WHERE link = 2"))
    )
    faults.append(Fault(("audit_trail", WARNING, "trigger only_grow")))
    faults.append(Fault(("tls", WARNING, "ssl"), listen_locally))

    # Exactly these faults are found. Each vanishes when it is fixed, and no other does.
    left = {fault.finding for fault in faults}
    assert len(left) == len(faults) >= 25
    found = server.doctor()
    for finding in found:
        print(" | ".join(str(field) for field in finding))
    assert named(found) == left
    assert not [finding for finding in found if "could not be checked" in finding.message]
    assert as_documented(found, server) == documented("The tables leave out the hints")
    soon_finding = one(found, "key_expiry", f"key {soon} (soon)")
    assert "public.invoice.secret" in soon_finding.message
    assert "estimate" in one(found, "key_use").message
    assert "5,000,000,000" in one(found, "key_use").message
    for fault in faults:
        if fault.fix is None:
            rows(admin, str(one(found, fault.finding[0], fault.finding[2]).hint))
        else:
            fault.fix()
        left.remove(fault.finding)
        # The end of a migration leaves plaintext in the table's file.
        if fault.finding[0] == "columns_unfinished":
            assert value(admin, "SELECT state FROM encrypted_columns WHERE relation = 'customer'::regclass") == (
                "encrypted"
            )
            rows(admin, "VACUUM FULL customer_encrypted")
        found = server.doctor()
        assert named(found) == left, fault.finding
    assert left == set()
    admin.close()


def half_migrated(server: Server, admin: Connection) -> None:
    """Kill a migration when it has come to the last row, and see that it was known to run."""
    encrypted_table(admin, "customer", 500)
    unfinished = one(server.doctor(), "columns_unfinished")
    assert "migrate_column() has not been called" in unfinished.message
    with server.connect("test") as holder, closing(server.connect("test")) as migrating, holder.transaction():
        rows(holder, "SELECT FROM customer_encrypted WHERE id = 500 FOR UPDATE")
        pid = migrating.info.backend_pid
        migrating.execute(SEARCH_PATH)
        migrating.pgconn.send_query(b"CALL migrate_column('customer', 'secret', 100)")
        progress = "SELECT rows_done FROM column_progress WHERE rows_done >= 400"
        wait_until(lambda: rows(admin, progress), "the migration")
        running = one(server.doctor(), "columns_unfinished")
        assert running.status == NOTICE
        assert f"session {pid} seems to run the procedure" in running.message
        rows(admin, f"SELECT pg_terminate_backend({pid}, 60000)")
    stopped = one(server.doctor(), "columns_unfinished")
    assert stopped.status == WARNING
    assert "of 500 rows" in stopped.message
    assert "no session runs the procedure" in stopped.message
    assert stopped.hint == "CALL migrate_column('public.customer', 'secret');"


def test_only_a_rewrite_after_the_encryption_counts(server: Server, admin: Connection) -> None:
    rows(admin, "CREATE TABLE customer (id integer PRIMARY KEY, secret text, open text)")
    rows(admin, "INSERT INTO customer VALUES (1, 'secret 1', 'open')")
    rows(admin, "VACUUM FULL customer")
    rows(admin, "SELECT encrypt_column('customer', 'secret')")
    rows(admin, "CALL migrate_column('customer', 'secret')")
    left = {("plaintext_left", WARNING, "public.customer_encrypted")}
    assert named(server.doctor()) == left
    # A rewrite of the view does not count.
    rows(admin, "ALTER TABLE customer_encrypted ADD COLUMN more text")
    rows(admin, "SELECT refresh_encrypted_view('customer')")
    assert named(server.doctor()) == left
    rows(admin, "VACUUM FULL customer_encrypted")
    assert named(server.doctor()) == set()
    rows(admin, "SELECT refresh_encrypted_view('customer')")
    assert named(server.doctor()) == set()
    # Nothing was ever in this one.
    encrypted_table(admin, "empty", 0)
    rows(admin, "CALL migrate_column('empty', 'secret')")
    assert named(server.doctor()) == set()


# This machine, and this session


def test_core_dumps(server: Server) -> None:
    assert core_limit(server.postmaster) == "0"
    server.stop()
    server.start_with_core_files()
    limit = core_limit(server.postmaster)
    assert limit != "0", "the hard limit of this machine is 0"
    finding = one(server.doctor(), "core_dumps")
    assert finding[1:3] == (NOTICE, f"postmaster {server.postmaster}")
    assert f"(limit {limit}, kernel.core_pattern" in finding.message
    server.stop()
    server.start()
    assert one(server.doctor(), "core_dumps").status == OK


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("import ctypes; ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)", ERROR),
        ("import resource as r; r.setrlimit(r.RLIMIT_CORE, (4096, r.getrlimit(r.RLIMIT_CORE)[1]))", WARNING),
    ],
)
def test_a_session_that_is_open_again(admin: Connection, code: str, status: str) -> None:
    rows(admin, "SELECT * FROM root_key_status()")
    rows(admin, f"DO LANGUAGE plpython3u $$ {code} $$")
    assert named(findings(admin)) == {("core_dumps", status, "this session")}


@pytest.mark.parametrize(
    ("name", "files", "expected"),
    [
        ("sda", {}, False),
        ("sda/sda2", {"partition": "2"}, False),
        ("dm-0", {"dm/uuid": "CRYPT-LUKS2-0123-swap"}, True),
        ("dm-1", {"dm/uuid": "LVM-0123"}, False),
        ("zram0", {}, True),
        ("zram0", {"backing_dev": "none"}, True),
        ("zram0", {"backing_dev": "/dev/sda3"}, False),
    ],
)
def test_swap_devices(tmp_path: Path, name: str, files: dict[str, str], expected: bool) -> None:
    device = tmp_path / name
    device.mkdir(parents=True)
    for path, text in files.items():
        (device / path).parent.mkdir(exist_ok=True)
        (device / path).write_text(text + "\n")
    assert is_encrypted(str(device)) is expected


def test_swap_on_lvm_on_a_crypt(tmp_path: Path) -> None:
    for name, uuid in (("dm-0", "CRYPT-LUKS2-0123-disk"), ("dm-1", "LVM-0123")):
        (tmp_path / name / "dm").mkdir(parents=True)
        (tmp_path / name / "dm" / "uuid").write_text(uuid + "\n")
    slaves = tmp_path / "dm-1" / "slaves"
    slaves.mkdir()
    (slaves / "dm-0").symlink_to(tmp_path / "dm-0")
    assert is_encrypted(str(tmp_path / "dm-1"))
    (tmp_path / "sdb").mkdir()
    (slaves / "sdb").symlink_to(tmp_path / "sdb")
    assert not is_encrypted(str(tmp_path / "dm-1")), "half of it lies on another disk"


def test_swap_areas(tmp_path: Path) -> None:
    (tmp_path / "swaps").write_text(
        "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
        "/dev/dm-1                               partition\t999420\t\t0\t\t-2\n"
        "/swap\\040file                           file\t\t999420\t\t0\t\t-3\n"
    )
    assert swap_areas(str(tmp_path)) == ["/dev/dm-1", "/swap file"]


@pytest.mark.parametrize(
    ("address", "netmask", "expected"),
    [
        ("localhost", None, True),
        ("127.0.0.1", "255.255.255.255", True),
        ("127.0.0.0", "255.0.0.0", True),
        ("::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", True),
        ("samehost", None, True),
        ("*", None, False),
        ("0.0.0.0", None, False),  # noqa: S104  # it is what is refused
        ("::", None, False),
        ("all", None, False),
        ("samenet", None, False),
        ("127.0.0.1", "0.0.0.0", False),  # noqa: S104
        ("10.1.2.3", "255.255.0.0", False),
        ("db.example.org", None, False),
    ],
)
def test_local_addresses(address: str, netmask: str | None, expected: bool) -> None:
    assert is_local(address, netmask) is expected


def test_files_in_scripts(tmp_path: Path) -> None:
    key, program = tmp_path / "root.key", tmp_path / "unwrap"
    key.write_text(ROOT_KEY)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    script = f"#!/bin/sh\n/usr/bin/openssl dec -in '{key}' </etc/passwd | {program} {tmp_path}/none {tmp_path}\n"
    assert key_files(script.encode()) == sorted(["/etc/passwd", str(key)])
    assert key_files(b"\x00\xff/\xff \x00/" + bytes(range(256))) == []


def test_directories_of_archive_commands(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    assert archive_directories(f"test ! -f {archive}/%f && /bin/cp %p {archive}/%f") == [str(archive)]
    assert archive_directories(f"SECRET=abc /usr/bin/wal-g wal-push '{archive}'") == [str(archive)]
    assert archive_directories("/usr/bin/true") == []


# What a check needs


def test_a_script_in_the_archive(server: Server, admin: Connection) -> None:
    archive = server.directory / "archive"
    archive.mkdir()
    server.give_to_server(archive)
    rows(admin, "ALTER SYSTEM SET archive_command = 'token=marker cp %p {}/%f'".format(archive))  # noqa: UP032
    server.reload()
    assert named(server.doctor()) == set()
    server.script.rename(archive / "getkey")
    server.script.symlink_to(archive / "getkey")
    found = server.doctor()
    assert named(found) == {("root_key_location", WARNING, str(server.script))}
    assert str(archive) in one(found, "root_key_location").message
    assert "marker" not in repr(found)


def test_a_script_in_a_tablespace(server: Server, admin: Connection) -> None:
    space = server.directory / "space"
    space.mkdir()
    server.give_to_server(space)
    rows(admin, f"CREATE TABLESPACE fast LOCATION '{space}'")
    assert named(server.doctor()) == set()
    server.script.rename(space / "getkey")
    server.script.symlink_to(space / "getkey")
    found = server.doctor()
    assert named(found) == {("root_key_location", WARNING, str(server.script))}
    assert "the tablespace fast" in one(found, "root_key_location").message


def test_settings_that_log_statements_are_found(admin: Connection) -> None:
    """Each setting alone, in this session."""
    rows(admin, "LOAD 'auto_explain'")
    rows(admin, "LOAD 'pg_stat_statements'")
    # pg_stat_statements keeps nothing unless shared_preload_libraries has it.
    assert named(findings(admin), WARNING, NOTICE) == USUAL
    parameters = ("logging", NOTICE, "log_parameter_max_length")
    for setting, expected in {
        "log_statement = mod": {("logging", WARNING, "log_statement"), parameters},
        "log_statement = ddl": set(),
        "log_min_duration_statement = 0": {("logging", WARNING, "log_min_duration_statement"), parameters},
        "log_min_duration_statement = '2s'": {("logging", NOTICE, "log_min_duration_statement"), parameters},
        "log_min_duration_sample = 0": {("logging", NOTICE, "log_min_duration_sample"), parameters},
        "log_statement_sample_rate = 0.5": set(),
        "log_transaction_sample_rate = 0.5": {("logging", NOTICE, "log_transaction_sample_rate"), parameters},
        "log_parameter_max_length_on_error = -1": {("logging", WARNING, "log_parameter_max_length_on_error")},
        "debug_print_parse = on": {("logging", WARNING, "debug_print_parse")},
        "debug_print_rewritten = on": {("logging", WARNING, "debug_print_rewritten")},
        "auto_explain.log_min_duration = 0": {("logging", WARNING, "auto_explain.log_min_duration")},
        "auto_explain.log_min_duration = 100": {("logging", NOTICE, "auto_explain.log_min_duration")},
    }.items():
        name = setting.partition(" ")[0]
        rows(admin, f"SET {setting}")
        assert named(findings(admin), WARNING, NOTICE) == USUAL | expected, setting
        rows(admin, f"RESET {name}")
    rows(admin, "SET log_min_error_statement = fatal")
    assert named(findings(admin), WARNING, NOTICE) == {("logging", NOTICE, "log_error_verbosity")}
    rows(admin, "SET log_error_verbosity = terse")
    assert one(findings(admin), "logging").status == OK
    rows(admin, "RESET log_min_error_statement; RESET log_error_verbosity; SET log_min_messages = fatal")
    assert one(findings(admin), "logging").status == OK


def fail_to_copy(loader: Connection, secret: str, options: str) -> None:
    """COPY two rows with the same key, the second with a value of the encrypted column."""
    with loader.cursor().copy(f"COPY customer (id, secret) FROM STDIN {options}".encode()) as copy:
        copy.set_types(["int4", "text"])
        copy.write_row((1, "first"))
        copy.write_row((1, secret))


def test_the_log_has_the_line_of_a_failed_copy() -> None:
    """The log has the lines that docs/encrypted-columns.md and doctor() report."""
    settings = {"logging_collector": "on", "log_destination": "stderr,csvlog", "log_filename": "it"}
    verbosity, destination = ("logging", NOTICE, "log_error_verbosity"), ("logging", NOTICE, "log_destination")
    with Server(settings=settings) as server:
        server.create_database("test")
        files = {"stderr": server.data / "log" / "it", "csvlog": server.data / "log" / "it.csv"}
        with server.connect("test") as loader:
            loader.execute(SEARCH_PATH)
            encrypted_table(loader, "customer", 0)

            def logged(number: int, options: str = "") -> set[str]:
                secret = f"confidential{number}"
                with pytest.raises(errors.UniqueViolation):
                    fail_to_copy(loader, secret, options)
                rows(loader, f"DO $$ BEGIN RAISE LOG 'after %', {number}; END $$")

                def is_complete() -> bool:
                    return all(f"after {number}" in file.read_text() for file in files.values())

                wait_until(is_complete, "the log")
                return {name for name, file in files.items() if secret in file.read_text()}

            found = named(findings(loader), NOTICE)
            assert found == USUAL | {destination}
            assert logged(1) == {"stderr", "csvlog"}
            assert logged(2, "(FORMAT binary)") == set()
            rows(loader, "SET log_error_verbosity = terse")
            assert logged(3) == {"csvlog"}
            assert named(findings(loader), NOTICE) == found - {verbosity}
        # If the verbosity makes no difference, doctor() does not report it.
        server.configure({"log_destination": "csvlog"})
        server.reload()
        wait_until(lambda: verbosity not in named(server.doctor(), NOTICE), "the reload")
        assert destination in named(server.doctor(), NOTICE)


def test_modules_that_keep_statements_are_found() -> None:
    modules = {"shared_preload_libraries": "pg_stat_statements, pgaudit", "pgaudit.log": "write"}
    with Server(settings=modules) as server:
        server.create_database("test")
        found = server.doctor()
        assert named(found, WARNING) == set()
        statements = ("logging", NOTICE, "pg_stat_statements.track_utility")
        assert named(found, NOTICE) >= {statements, ("logging", NOTICE, "pgaudit.log")}
        server.configure({"pgaudit.log_parameter": "on", "pg_stat_statements.track_utility": "off"})
        server.reload()
        found = server.doctor()
        assert named(found, WARNING) == {("logging", WARNING, "pgaudit.log_parameter")}
        assert statements not in named(found, NOTICE)


def test_another_library(server: Server, admin: Connection) -> None:
    """A lock file that does not fit, in a copy of the tree; and a module that was loaded from elsewhere."""
    source = value(admin, "SELECT pg_get_functiondef('doctor()'::regprocedure)")
    installed = source.partition("directory = '")[2].partition("'")[0]
    tree = server.directory / "tree"
    shutil.copytree(installed % sys.version_info[:2], tree)
    lock = tree / "pgkeymgr" / "requirements.txt"
    lines = lock.read_text()
    lock.write_text(lines.replace("pynacl==", "pynacl==0."))
    copy = source.replace("pgkeymgr.doctor(", "public.doctor(").replace(
        f"'{installed}' % sys.version_info[:2]", f"'{tree}'"
    )
    assert str(tree) in copy
    rows(admin, copy)

    def of_the_copy() -> set[tuple[str, str, str | None]]:
        with server.connect("test") as connection:
            return named([Finding(*row) for row in rows(connection, "SELECT * FROM public.doctor()")])

    assert of_the_copy() == {
        ("libraries", ERROR, "pynacl"),
        ("libraries", ERROR, "nacl in this session"),
    }
    lock.write_text(lines)
    assert of_the_copy() == set()
    lock.unlink()
    with server.connect("test") as connection:
        found = [Finding(*row) for row in rows(connection, "SELECT * FROM public.doctor()")]
    assert one(found, "libraries")[1:4] == (
        NOTICE,
        None,
        f"could not be checked: {lock}: No such file or directory",
    )
    assert named(found) == set()


def test_a_check_that_fails_takes_no_other_down(server: Server, admin: Connection) -> None:
    rows(admin, "ALTER TABLE server_key RENAME TO away")
    found = server.doctor()
    assert named(found) == set()
    failed = [finding for finding in found if "could not be checked" in finding.message]
    assert [(finding.check, finding.status) for finding in failed] == [("root_key_fingerprint", NOTICE)]
    assert "server_key" in failed[0].message
    rows(admin, "ALTER TABLE away RENAME TO server_key")
    assert one(server.doctor(), "root_key_fingerprint").status == OK


def test_the_doctor_can_be_cancelled(server: Server, admin: Connection) -> None:
    """A cancellation is never reported as a finding."""
    with server.connect("test") as holder, holder.transaction():
        rows(holder, "LOCK TABLE pgkeymgr.key_wrap")
        admin.execute("SET statement_timeout = '300ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            admin.execute("SELECT * FROM doctor()")
    admin.execute("RESET statement_timeout")
    assert named(findings(admin)) == set()


def test_other_sessions_do_not_import_the_doctor(admin: Connection) -> None:
    rows(admin, "SELECT crypto_hash_sha256('')")
    loaded = "import sys; plpy.notice([n for n in sys.modules if n.startswith('pgkeymgr.doctor')])"
    notices: list[str | None] = []
    admin.add_notice_handler(lambda diagnostic: notices.append(diagnostic.message_primary))
    rows(admin, f"DO LANGUAGE plpython3u $$ {loaded} $$")
    assert notices == ["[]"]
