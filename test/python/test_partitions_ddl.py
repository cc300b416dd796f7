"""Partitions of encrypted tables that are attached, detached and dropped."""

import re
import threading
from pathlib import Path

import column_database
import pytest
from cluster import Cluster
from column_database import check_forgotten, new_database
from conftest import Connection, rows, value
from database_session import Database
from partitioned_database import KEY, make_partitioned
from psycopg import errors
from waiting import wait_until

server = column_database.server
database = column_database.database
admin = column_database.admin

BOUND_2024 = "FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')"
BOUND_2030 = "FOR VALUES FROM ('2030-01-01') TO ('2031-01-01')"
NUMBER_IN_2024 = 14
LEFT = "SELECT count(*) FROM encrypted_relation WHERE base::oid <> 0"


def make(admin: Connection, kind: str = "range", more: str = KEY) -> None:
    """Make an encrypted partitioned table ``t``."""
    make_partitioned(admin, "t", kind, more)
    rows(admin, "SELECT encrypt_column('t', 'ssn')")
    rows(admin, "CALL migrate_column('t', 'ssn')")


def make_plain(admin: Connection, name: str = "plain", more: str = "", count: int = 50) -> None:
    """Make a plain table whose rows fit the bound ``BOUND_2030``."""
    columns = "note text, ssn text, region text NOT NULL, day date NOT NULL, id bigint NOT NULL"
    rows(admin, f"CREATE TABLE {name} ({columns}{more})")
    rows(
        admin,
        f"INSERT INTO {name} SELECT 'p', 'p' || g, 'eu', '2030-01-01'::date + g % 300, g"
        f" FROM generate_series(1, {count}) AS g",
    )


@pytest.mark.parametrize("how", ["", " CONCURRENTLY"])
def test_detached_partition(admin: Connection, how: str) -> None:
    """It stays readable and writable through a view of its own, keeps the key, and can be attached again."""
    make(admin)
    rows(admin, "SELECT add_blind_index('t', 'ssn')")
    rows(admin, "DROP TABLE t_rest")
    before = rows(admin, "SELECT id, day, region, ssn, note FROM t ORDER BY id")
    rows(admin, f"ALTER TABLE t_encrypted DETACH PARTITION t_2024{how}")
    assert value(admin, "SELECT count(*) FROM t") == len(before) - NUMBER_IN_2024
    found = "SELECT relation::text, state FROM encrypted_columns WHERE base_relation = 't_2024'::regclass"
    assert rows(admin, found) == [("t_2024_decrypted", "encrypted")]
    read = "SELECT id, day, region, ssn, note FROM t_2024_decrypted ORDER BY id"
    assert rows(admin, read) == [row for row in before if row[0] <= NUMBER_IN_2024]
    rows(admin, "UPDATE t_2024_decrypted SET ssn = 'changed' WHERE id = 1")
    rows(admin, "INSERT INTO t_2024 (id, day, region, ssn) VALUES (90, '2024-01-01', 'eu', 'direct')")
    assert (
        value(admin, "SELECT ssn FROM t_2024_decrypted WHERE ssn_bidx = blind_index('t', 'ssn', 'direct')")
        == "direct"
    )
    assert value(admin, "SELECT count(ssn) FROM t_2024") == 0
    assert rows(admin, "SELECT * FROM verify_column('t_2024', 'ssn')") == []
    # The other table does not need the old version of the key any more.
    rows(admin, "CALL rotate_column('t', 'ssn')")
    old = value(admin, "SELECT min(id) FROM key WHERE name = 'public.t.ssn'")
    with pytest.raises(errors.Error, match='column "ssn" of t_2024_decrypted has values under it'):
        rows(admin, f"SELECT destroy_data_key({old}, 'public.t.ssn')")
    # A key of a blind index that two tables have outlives one of them.
    rows(admin, "ALTER TABLE t_encrypted DETACH PARTITION t_2025")
    rows(admin, "SELECT drop_blind_index('t_2025_decrypted', 'ssn')")
    rows(admin, "CALL decrypt_column('t_2025_decrypted', 'ssn')")
    assert value(admin, "SELECT count(ssn) FROM t_2025") == len(before) - NUMBER_IN_2024
    rows(admin, f"ALTER TABLE t_encrypted ATTACH PARTITION t_2024 {BOUND_2024}")
    assert rows(
        admin, "SELECT to_regclass('t_2024_decrypted') IS NULL, ssn FROM t WHERE id IN (1, 90) ORDER BY id"
    ) == [
        (True, "changed"),
        (True, "direct"),
    ]
    rows(admin, "UPDATE t SET ssn = 'here' WHERE id = 2")
    assert (
        value(admin, "SELECT count(*) FROM pg_trigger WHERE tgrelid = 't_2024'::regclass AND tgname ~ '^zzzz'")
        == 2
    )
    assert rows(admin, "SELECT * FROM verify_column('t', 'ssn')") == []
    rows(admin, "CALL rotate_column('t', 'ssn')")
    rows(admin, f"SELECT destroy_data_key({old}, 'public.t.ssn')")
    rows(admin, "DROP TABLE t_encrypted CASCADE")
    assert value(admin, LEFT) == 0
    assert value(admin, "SELECT count(*) FROM encrypted_partition") == 0


def test_detached_subtree(admin: Connection) -> None:
    """A partition that is partitioned itself is detached with its partitions, and gives one of them away."""
    make(admin, "sub")
    count = value(admin, "SELECT count(*) FROM t")
    rows(admin, "ALTER TABLE t_encrypted DETACH PARTITION t_2025")
    assert value(admin, "SELECT count(ssn) FROM t_2025_decrypted") == count - NUMBER_IN_2024
    rows(admin, "ALTER TABLE t_2025 DETACH PARTITION t_2025_0")
    parts = [value(admin, f"SELECT count(ssn) FROM {name}_decrypted") for name in ("t_2025", "t_2025_0")]
    assert sum(parts) == count - NUMBER_IN_2024
    rows(admin, "ALTER TABLE t_2025 ATTACH PARTITION t_2025_0 FOR VALUES WITH (MODULUS 2, REMAINDER 0)")
    rows(admin, "ALTER TABLE t_encrypted ATTACH PARTITION t_2025 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')")
    assert value(admin, "SELECT count(ssn) FROM t") == count
    # A partition of a partition goes back to the root through the procedure, whose triggers have the same names.
    rows(admin, "ALTER TABLE t_encrypted DETACH PARTITION t_2024")
    rows(admin, "ALTER TABLE t_2024 DETACH PARTITION t_2024_eu")
    rows(admin, f"CALL attach_encrypted_partition('t', 't_2024_eu', $${BOUND_2024}$$)")
    assert value(admin, "SELECT count(ssn) FROM t") == count - value(
        admin, "SELECT count(*) FROM t_2024_decrypted"
    )
    assert rows(admin, "SELECT * FROM verify_column('t', 'ssn')") == []
    rows(admin, "DROP TABLE t_2024 CASCADE")
    rows(admin, "DROP TABLE t_2024_eu")
    assert value(admin, LEFT) == 1


def test_half_migrated(admin: Connection) -> None:
    """A partition that is detached in the middle of a migration is migrated by itself, and attached again."""
    make_partitioned(admin, "t", "range")
    rows(admin, "SELECT encrypt_column('t', 'ssn')")
    rows(admin, "ALTER TABLE t_encrypted DETACH PARTITION t_2024")
    rows(admin, "CALL migrate_column('t', 'ssn')")
    assert value(admin, "SELECT count(ssn) FROM t_2024_decrypted") == NUMBER_IN_2024
    with pytest.raises(errors.Error):
        rows(admin, f"ALTER TABLE t_encrypted ATTACH PARTITION t_2024 {BOUND_2024}")
    rows(admin, f"CALL attach_encrypted_partition('t', 't_2024', $${BOUND_2024}$$)")
    assert value(admin, "SELECT count(ssn) FROM t") == 30
    assert value(admin, "SELECT count(ssn) FROM t_encrypted") == 0
    # A partition that is sealed is attached to a table that is being decrypted.
    rows(admin, "ALTER TABLE t_encrypted DETACH PARTITION t_2024")
    rows(admin, "CALL decrypt_column('t', 'ssn')")
    assert value(admin, "SELECT count(ssn) FROM t_2024_decrypted") == NUMBER_IN_2024
    with pytest.raises(errors.Error):
        rows(admin, f"ALTER TABLE t ATTACH PARTITION t_2024 {BOUND_2024}")
    rows(admin, "CALL decrypt_column('t_2024', 'ssn')")
    rows(admin, f"ALTER TABLE t ATTACH PARTITION t_2024 {BOUND_2024}")
    assert value(admin, "SELECT count(ssn) FROM t") == 30
    check_forgotten(admin)


def test_another_normalization(admin: Connection) -> None:
    """Hashes under one given key are those of other texts then, and a search would overlook rows."""
    make_partitioned(admin, "t", "range")
    rows(admin, "SELECT encrypt_column('t', 'ssn')")
    rows(admin, "CALL migrate_column('t', 'ssn')")
    rows(admin, "SELECT create_data_key('shared')")
    rows(admin, "SELECT add_blind_index('t', 'ssn', key => 'shared')")
    rows(admin, "ALTER TABLE t_encrypted DETACH PARTITION t_2024")
    rows(admin, "SELECT drop_blind_index('t', 'ssn')")
    rows(admin, "SELECT add_blind_index('t', 'ssn', 'casefold', key => 'shared')")
    with pytest.raises(errors.FeatureNotSupported, match="its own encrypted columns"):
        rows(admin, f"ALTER TABLE t_encrypted ATTACH PARTITION t_2024 {BOUND_2024}")
    rows(admin, "SELECT drop_blind_index('t_2024', 'ssn')")
    rows(admin, "SELECT add_blind_index('t_2024', 'ssn', 'casefold', key => 'shared')")
    rows(admin, f"ALTER TABLE t_encrypted ATTACH PARTITION t_2024 {BOUND_2024}")
    assert value(admin, "SELECT count(ssn) FROM t WHERE ssn_bidx = blind_index('t', 'ssn', upper(ssn))") == 30


def test_attach(admin: Connection) -> None:
    """A plain table is refused, with the statement that works."""
    make(admin)
    rows(admin, "SELECT add_blind_index('t', 'ssn')")
    make_plain(admin)
    for parent in ("t", "t_encrypted", "public.t_encrypted"):
        with pytest.raises(errors.FeatureNotSupported) as refused:
            rows(admin, f"alter table {parent}\n attach partition plain {BOUND_2030};")
        hint = refused.value.diag.message_hint or ""
    with pytest.raises(errors.Error):
        rows(
            admin, f"DO $$ BEGIN EXECUTE $x$ALTER TABLE t_encrypted ATTACH PARTITION plain {BOUND_2030}$x$; END $$"
        )
    call = re.match(r"CALL .*\)(?= encrypts)", hint)
    assert call
    rows(admin, call[0])
    assert value(admin, "SELECT count(ssn) FROM t") == 80
    assert rows(admin, "SELECT id FROM t WHERE ssn_bidx = blind_index('t', 'ssn', 'p7')") == [(7,)]
    assert value(admin, "SELECT count(*) FROM plain WHERE ssn IS NOT NULL OR ssn_encrypted IS NULL") == 0
    assert rows(admin, "SELECT * FROM verify_column('t', 'ssn')") == []
    rows(admin, call[0])  # nothing is left to do
    rows(admin, "INSERT INTO t VALUES (99, '2030-05-05', 'eu', 'new', 'x')")
    assert value(admin, "SELECT count(*) FROM encrypted_relation") == 1


def test_attach_of_a_table_with_the_columns(admin: Connection) -> None:
    """An empty table is accepted, as tools make it. A table with rows is not, even during the migration."""
    make_partitioned(admin, "t", "range")
    rows(admin, "SELECT encrypt_column('t', 'ssn')")
    rows(admin, "CREATE TABLE copy (LIKE t_encrypted INCLUDING ALL)")
    rows(admin, "INSERT INTO copy (id, day, region, ssn) VALUES (1, '2030-01-01', 'eu', 'plain')")
    rows(admin, "ALTER TABLE copy VALIDATE CONSTRAINT ssn_encrypted_check")
    with pytest.raises(errors.FeatureNotSupported, match="its rows are not encrypted for t"):
        rows(admin, f"ALTER TABLE t_encrypted ATTACH PARTITION copy {BOUND_2030}")
    rows(admin, "DELETE FROM copy")
    rows(admin, f"ALTER TABLE t_encrypted ATTACH PARTITION copy {BOUND_2030}")
    rows(admin, "INSERT INTO copy (id, day, region, ssn) VALUES (70, '2030-01-01', 'eu', 'plain')")
    assert value(admin, "SELECT ssn FROM copy") is None
    assert value(admin, "SELECT ssn FROM t WHERE id = 70") == "plain"
    rows(admin, "CALL migrate_column('t', 'ssn')")
    # DDL in the transaction that makes a partition takes its rows for what they are.
    with admin.transaction():
        rows(
            admin, "CREATE TABLE t_2040 PARTITION OF t_encrypted FOR VALUES FROM ('2040-01-01') TO ('2041-01-01')"
        )
        rows(admin, "INSERT INTO t VALUES (71, '2040-01-01', 'eu', 'x', 'x')")
        rows(admin, "ALTER TABLE t_encrypted ADD COLUMN more text")
    assert value(admin, "SELECT count(more) FROM t WHERE id = 71") == 0


def test_attach_refuses(database: Database, admin: Connection) -> None:
    """All reasons are in one message, and nothing has changed."""
    make(admin)
    make_plain(admin, "plain", ", more integer, CONSTRAINT odd CHECK (ssn <> ''), UNIQUE (ssn)")
    rows(admin, "ALTER TABLE plain ALTER id TYPE integer")
    rows(admin, "CREATE INDEX lower ON plain (lower(ssn))")
    rows(admin, "CREATE VIEW seen AS SELECT ssn FROM plain")
    with pytest.raises(errors.FeatureNotSupported) as refused:
        rows(admin, f"CALL attach_encrypted_partition('t', 'plain', $${BOUND_2030}$$)")
    for reason in (
        'column "id" is of type integer, not bigint',
        'has no column "more"',
        "t does not have constraint odd",
        "t does not have unique constraint plain_ssn_key",
        "index public.lower",
        "view public.seen reads it",
    ):
        assert reason in str(refused.value)
    assert value(admin, "SELECT count(ssn) FROM plain") == 50
    assert value(admin, "SELECT count(*) FROM encrypted_relation") == 1
    rows(admin, "CREATE TABLE own (LIKE t)")
    rows(admin, "INSERT INTO own VALUES (1, '2030-01-01', 'eu', 'x', 'x')")
    rows(admin, "SELECT encrypt_column('own', 'ssn')")
    rows(admin, "CALL migrate_column('own', 'ssn')")
    for call, error in (
        (f"CALL attach_encrypted_partition('t', 'own', $${BOUND_2030}$$)", errors.FeatureNotSupported),
        ("CALL attach_encrypted_partition('t', 'plain', 'TO (1)')", errors.InvalidParameterValue),
        (f"CALL attach_encrypted_partition('plain', 't_2024', $${BOUND_2030}$$)", errors.FeatureNotSupported),
        (f"ALTER TABLE t_encrypted ATTACH PARTITION own_encrypted {BOUND_2030}", errors.Error),
    ):
        with pytest.raises(error):
            rows(admin, call)
    rows(admin, "GRANT pgkeymgr_admin TO col_other")
    with database.session("col_other") as other, pytest.raises(errors.InsufficientPrivilege):
        rows(other, f"CALL attach_encrypted_partition('t', 'plain', $${BOUND_2030}$$)")
    rows(admin, "CREATE TABLE theirs (LIKE t)")
    rows(admin, "ALTER TABLE theirs OWNER TO col_other")
    with pytest.raises(errors.FeatureNotSupported, match="belongs to another role"):
        rows(admin, f"CALL attach_encrypted_partition('t', 'theirs', $${BOUND_2030}$$)")


def test_attach_is_resumed(database: Database, admin: Connection) -> None:
    """A call that was killed goes on where it stopped."""
    make(admin)
    make_plain(admin, count=3000)
    call = f"CALL attach_encrypted_partition('t', 'plain', $${BOUND_2030}$$, {{}})"
    outcome: list[str | None] = []
    with database.session() as killed:
        worker = threading.Thread(target=lambda: outcome.append(_sqlstate(killed, call.format(1))))
        worker.start()
        wait_until(
            lambda: value(admin, "SELECT max(rows_done) > 5 FROM column_progress"), "some rows are encrypted"
        )
        rows(admin, f"SELECT pg_terminate_backend({killed.info.backend_pid})")
        worker.join()
    assert outcome == ["57P01"]
    assert 0 < value(admin, "SELECT count(ssn_encrypted) FROM plain") < 3000
    assert value(admin, "SELECT count(ssn) FROM plain_decrypted") == 3000
    assert value(admin, "SELECT count(*) FROM t") == 30
    rows(admin, call.format(5000))
    assert value(admin, "SELECT count(ssn) FROM t") == 3030
    assert value(admin, "SELECT count(ssn) FROM plain") == 0


def _sqlstate(connection: Connection, statement: str) -> str | None:
    try:
        rows(connection, statement)
    except errors.Error as error:
        return error.sqlstate
    return None


def test_owner_of_a_partition(database: Database, admin: Connection) -> None:
    """A partition of another role would run its code with the rights of the table's owner."""
    make(admin)
    rows(admin, "ALTER TABLE t_encrypted OWNER TO col_owner")
    rows(admin, "GRANT CREATE ON SCHEMA public TO col_owner, col_other")
    rows(admin, "SELECT grant_data_key('public.t.ssn', 'col_owner')")
    for name in ("t_2024", "t_2025", "t_rest"):
        rows(admin, f"ALTER TABLE {name} OWNER TO col_owner")
    with pytest.raises(errors.FeatureNotSupported, match="who has not the rights of its owner"):
        rows(admin, "ALTER TABLE t_2024 OWNER TO col_other")
    with database.session("col_other") as other:
        rows(other, "CREATE TABLE mine (id integer)")
        with pytest.raises(errors.Error):
            rows(other, f"ALTER TABLE t_encrypted ATTACH PARTITION mine {BOUND_2030}")
    with database.session("col_owner") as owner:
        rows(owner, "ALTER TABLE t_encrypted DETACH PARTITION t_2024")
        assert value(owner, "SELECT count(ssn) FROM t_2024_decrypted") == NUMBER_IN_2024
    assert (
        value(admin, "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 't_2024_decrypted'")
        == "col_owner"
    )
    with database.session("col_app") as app, pytest.raises(errors.InsufficientPrivilege):
        rows(app, "SELECT FROM t_2024_decrypted")


def test_other_ddl(admin: Connection) -> None:
    make(admin)
    with pytest.raises(errors.FeatureNotSupported, match="would be useless"):
        rows(admin, "CREATE INDEX ON t_2024 (ssn_encrypted)")
    with pytest.raises(errors.FeatureNotSupported, match="t_odd"):
        rows(admin, f"CREATE TABLE t_odd PARTITION OF t_encrypted (ssn NOT NULL) {BOUND_2030}")
    rows(admin, f"CREATE TABLE t_2030 PARTITION OF t_encrypted {BOUND_2030} PARTITION BY LIST (region)")
    rows(admin, "CREATE TABLE t_2030_eu PARTITION OF t_2030 DEFAULT")
    rows(admin, "INSERT INTO t VALUES (80, '2030-01-01', 'eu', 'x', 'y')")
    assert rows(admin, "SELECT ssn, note FROM t_2030_eu") == [(None, "y")]
    rows(admin, "ALTER TABLE t_2030_eu RENAME TO t_2030_all")
    rows(admin, "ALTER VIEW t RENAME COLUMN ssn TO number")
    assert value(admin, "SELECT number FROM t WHERE id = 80") == "x"
    # Where no partitions are noted, as they may be after a restore, none of them counts as attached just now.
    rows(admin, "DELETE FROM encrypted_partition")
    rows(admin, "ALTER TABLE t_encrypted ADD COLUMN more integer DEFAULT 5")
    assert value(admin, "SELECT count(*) FROM encrypted_partition") == 5
    rows(admin, "DROP TABLE t_2030")
    assert value(admin, "SELECT count(number) FROM t WHERE more = 5") == 30
    assert rows(admin, "SELECT object, message FROM doctor() WHERE message LIKE '%not registered%'") == []


def test_ddl_beside_readers(database: Database, admin: Connection) -> None:
    """A partition is attached while a transaction reads the table."""
    make(admin)
    rows(admin, "DROP TABLE t_rest")
    with database.session() as reader:
        reader.autocommit = False
        assert value(reader, "SELECT count(*) FROM t WHERE day < '2025-01-01'") == NUMBER_IN_2024
        rows(admin, "SET lock_timeout = '5s'")
        rows(admin, "CREATE TABLE t_2030 (LIKE t_encrypted INCLUDING ALL)")
        rows(admin, f"ALTER TABLE t_encrypted ATTACH PARTITION t_2030 {BOUND_2030}")
        rows(admin, "INSERT INTO t VALUES (90, '2030-02-02', 'eu', 'x', 'x')")
    assert value(admin, "SELECT count(*) FROM t WHERE ssn = 'x'") == 1


def test_dump(server: Cluster, database: Database, admin: Connection, tmp_path: Path) -> None:
    """A restored table is one whose partitions can be attached and detached."""
    make(admin, "sub")
    rows(admin, "SELECT add_blind_index('t', 'ssn')")
    make_partitioned(admin, "half", "range", "")
    rows(admin, "SELECT encrypt_column('half', 'ssn')")
    rows(admin, "UPDATE half SET ssn = 'new' WHERE id = 3")
    rows(admin, "ALTER TABLE t_2025 DETACH PARTITION t_2025_0")
    queries = [f"SELECT * FROM {name} ORDER BY id" for name in ("t", "half", "t_2025_0_decrypted")]
    expected = [rows(admin, query) for query in queries]
    dump = tmp_path / "dump"
    server.client(["pg_dump", "-Fc", "-f", dump], database.name)
    for options in ([], ["-j", "2"], ["--single-transaction"]):
        with new_database(server, "template0") as restored:
            server.client(["pg_restore", "-d", restored.name, "--exit-on-error", *options, dump])
            with restored.session() as session:
                assert [rows(session, query) for query in queries] == expected
                partitions = "SELECT count(*) FROM encrypted_partition"
                assert value(session, partitions) == value(admin, partitions)
                rows(session, "INSERT INTO t VALUES (100, '2024-05-05', 'eu', 'restored', 'x')")
                rows(session, "ALTER TABLE t_2024 DETACH PARTITION t_2024_eu")
                assert value(session, "SELECT max(ssn) FROM t_2024_eu_decrypted WHERE id = 100") == "restored"
                rows(session, "ALTER TABLE t_2024 ATTACH PARTITION t_2024_eu FOR VALUES IN ('eu')")
                rows(
                    session,
                    "ALTER TABLE t_2025 ATTACH PARTITION t_2025_0 FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
                )
                assert value(session, "SELECT count(ssn) FROM t") == 31
                rows(session, "CALL migrate_column('half', 'ssn')")
                rows(session, "CALL rotate_column('t', 'ssn')")
                assert rows(session, "SELECT * FROM verify_column('t', 'ssn')") == []
