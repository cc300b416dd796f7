"""Encrypted columns of partitioned tables behave as those of a plain partitioned table."""

import re
import threading
from typing import Any

import column_database
import pytest
from column_database import check_forgotten
from conftest import Connection, rows, value
from database_session import Database
from partitioned_database import KEY, PARTITIONS, make_partitioned, result
from psycopg import errors
from waiting import wait_until_blocked

server = column_database.server
database = column_database.database
admin = column_database.admin

STATEMENTS = (
    "INSERT INTO {t} VALUES (40, '2025-02-02', 'eu', 'new', 'x') RETURNING *",
    "INSERT INTO {t} VALUES (41, '2024-02-02', 'us', NULL, 'x'), (42, '2025-03-03', 'eu', '', 'x') RETURNING *",
    "UPDATE {t} SET ssn = ssn || '!' WHERE id % 3 = 0 RETURNING *",
    "UPDATE {t} SET note = 'moved', day = day + 365, region = 'eu' WHERE id BETWEEN 4 AND 9"
    " AND day < '2025-01-01' RETURNING *",
    "UPDATE {t} SET ssn = 'both', id = id + 101 WHERE id IN (10, 11) RETURNING *",
    "UPDATE {t} SET region = 'us' WHERE ssn = 's7' OR ssn = 'new'",
    "DELETE FROM {t} WHERE ssn IN ('s20', 's22') RETURNING *",
    "DELETE FROM {t} WHERE day > '2025-06-01' AND region = 'us'",
    "INSERT INTO {t} VALUES (2, '2024-07-01', 'eu', 'again', 'x')",
    "SELECT * FROM {t}",
    "SELECT region, count(ssn), max(ssn) FROM {t} GROUP BY region",
)


@pytest.mark.parametrize("has_key", [True, False], ids=["key", "no key"])
@pytest.mark.parametrize("kind", PARTITIONS)
def test_kinds(admin: Connection, kind: str, *, has_key: bool) -> None:
    """Half of the statements run before the migration, with rows that are not encrypted yet."""
    for name in ("t", "twin"):
        make_partitioned(admin, name, kind, KEY if has_key else "")
    rows(admin, "SELECT encrypt_column('t', 'ssn')")
    for number, statement in enumerate(STATEMENTS):
        if number == 4:
            rows(admin, "CALL migrate_column('t', 'ssn', 7)")
            assert value(admin, "SELECT count(*) FROM t_encrypted WHERE ssn IS NOT NULL") == 0
        if number == 7:
            rows(admin, "CALL rotate_column('t', 'ssn', 7)")
        assert result(admin, statement.format(t="t")) == result(admin, statement.format(t="twin")), statement
    assert rows(admin, "SELECT * FROM verify_column('t', 'ssn')") == []
    rows(admin, "SELECT add_blind_index('t', 'ssn')")
    found = rows(admin, "SELECT id FROM t WHERE ssn_bidx = blind_index('t', 'ssn', 'both') ORDER BY 1")
    assert found == rows(admin, "SELECT id FROM twin WHERE ssn = 'both' ORDER BY 1") != []
    leaves = "SELECT relname FROM pg_class WHERE relname ~ '^{t}' AND relkind = 'r' ORDER BY 1"
    sealed = "SELECT count(*) FROM ONLY {0} WHERE ssn IS NULL AND (note = 'x' OR ssn_encrypted IS NOT NULL)"
    for (leaf,) in rows(admin, leaves.format(t="t_")):
        assert value(admin, sealed.format(leaf)) == value(admin, f"SELECT count(*) FROM ONLY {leaf}"), leaf
    rows(admin, "CALL decrypt_column('t', 'ssn', 7)")
    assert result(admin, "SELECT * FROM t") == result(admin, "SELECT * FROM twin")
    assert value(admin, "SELECT relkind::text FROM pg_class WHERE relname = 't'") == "p"
    check_forgotten(admin)
    assert rows(admin, "SELECT 1 FROM encrypted_partition") == []


def test_rows_of_two_partitions_with_the_same_place(admin: Connection) -> None:
    """By ctid alone, an UPDATE would make both rows copies of one, and a DELETE would remove both."""
    rows(admin, "CREATE TABLE t (day integer, ssn text) PARTITION BY LIST (day)")
    rows(admin, "CREATE TABLE t_1 PARTITION OF t FOR VALUES IN (1)")
    rows(admin, "CREATE TABLE t_2 PARTITION OF t FOR VALUES IN (2)")
    rows(admin, "SELECT encrypt_column('t', 'ssn')")
    rows(admin, "INSERT INTO t VALUES (1, 'a'), (2, 'a')")
    assert value(admin, "SELECT count(DISTINCT ctid) FROM t_encrypted") == 1
    rows(admin, "UPDATE t SET ssn = 'b' WHERE day = 2")
    assert rows(admin, "SELECT * FROM t ORDER BY 1") == [(1, "a"), (2, "b")]
    rows(admin, "DELETE FROM t WHERE ssn = 'a'")
    assert rows(admin, "SELECT * FROM t") == [(2, "b")]
    rows(admin, "SET session_replication_role = replica")
    rows(admin, "UPDATE t_encrypted SET ssn_encrypted = set_byte(ssn_encrypted, 20, 255)")
    ((place, _),) = rows(admin, "SELECT * FROM verify_column('t', 'ssn')")
    assert re.fullmatch(r"(public\.)?t_2 \(0,\d+\)", place)


def test_trigger_of_a_partition(admin: Connection) -> None:
    """RETURNING shows what it has made of a row, and it fires for a column that changes."""
    for name in ("t", "twin"):
        make_partitioned(admin, name, "range")
    rows(
        admin,
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.note := NEW.note || '+'; RETURN NEW; END $$",
    )
    rows(admin, "SELECT encrypt_column('t', 'ssn')")
    for name in ("t", "twin"):
        rows(
            admin,
            f"CREATE TRIGGER f BEFORE INSERT OR UPDATE OF note ON {name}_2024 FOR EACH ROW EXECUTE FUNCTION f()",
        )
    for statement in (
        "INSERT INTO {t} VALUES (60, '2024-05-05', 'eu', 'x', 'a'), (61, '2025-05-05', 'us', 'x', 'a')"
        " RETURNING note",
        "UPDATE {t} SET ssn = 'y' WHERE id >= 60 RETURNING note, ssn",
        "UPDATE {t} SET note = 'b' WHERE id >= 60 RETURNING note, ssn",
    ):
        assert result(admin, statement.format(t="t")) == result(admin, statement.format(t="twin")) != []


def test_key_by_the_partition_key(admin: Connection) -> None:
    """A row that moves to another partition is encrypted under the key of its new value."""
    make_partitioned(admin, "t", "list")
    rows(admin, "SELECT encrypt_column('t', 'ssn', key_by => 'region')")
    rows(admin, "CALL migrate_column('t', 'ssn')")
    rows(admin, "UPDATE t SET region = 'asia' WHERE id = 2")
    keys = rows(admin, "SELECT name FROM key WHERE name LIKE '%:%' ORDER BY name")
    assert keys == [("public.t.ssn:asia",), ("public.t.ssn:eu",), ("public.t.ssn:us",)]
    under = (
        "SELECT name FROM key WHERE id = (SELECT (token_info(ssn_encrypted)).key_id FROM t_encrypted WHERE id = 2)"
    )
    assert value(admin, under) == "public.t.ssn:asia"
    assert value(admin, "SELECT ssn FROM t WHERE id = 2") == "s2"
    rows(admin, "SELECT destroy_data_key(id, name, force => true) FROM key WHERE name = 'public.t.ssn:us'")
    assert value(admin, "SELECT count(ssn) FROM t WHERE region <> 'us'") == 15
    with pytest.raises(errors.Error):
        rows(admin, "SELECT ssn FROM t WHERE region = 'us'")


def test_writes_to_a_partition(admin: Connection) -> None:
    """They are sealed as those to the base table, in a later partition, too."""
    make_partitioned(admin, "t", "range")
    rows(admin, "SELECT encrypt_column('t', 'ssn')")
    rows(admin, "CALL migrate_column('t', 'ssn')")
    rows(admin, "CREATE TABLE t_2030 PARTITION OF t_encrypted FOR VALUES FROM ('2030-01-01') TO ('2031-01-01')")
    rows(admin, "INSERT INTO t_2030 (id, day, region, ssn) VALUES (50, '2030-02-02', 'eu', 'inserted')")
    with admin.cursor().copy("COPY t_2024 (id, day, region, ssn) FROM STDIN") as copy:
        copy.write_row((51, "2024-02-02", "eu", "copied"))
    rows(admin, "UPDATE t_2025 SET ssn = 'updated' WHERE id = 20")
    rows(admin, "SET session_replication_role = replica")
    rows(admin, "INSERT INTO t_2030 (id, day, region, ssn) VALUES (52, '2030-02-02', 'eu', 'replica')")
    rows(admin, "RESET session_replication_role")
    assert rows(admin, "SELECT id, ssn FROM t WHERE id >= 50 OR id = 20 ORDER BY 1") == [
        (20, "updated"),
        (50, "inserted"),
        (51, "copied"),
        (52, "replica"),
    ]
    assert value(admin, "SELECT count(*) FROM t_encrypted WHERE ssn IS NOT NULL") == 0
    rows(admin, "ALTER TABLE t_2030 DISABLE TRIGGER zzzz_pgkeymgr_insert")
    with pytest.raises(errors.CheckViolation):
        rows(admin, "INSERT INTO t_2030 (id, day, region, ssn) VALUES (53, '2030-02-02', 'eu', 'plain')")
    found = rows(admin, "SELECT object FROM doctor() WHERE message LIKE '%not enabled ALWAYS%'")
    assert found == [("public.t_2030",)]
    rows(admin, "SELECT refresh_encrypted_view('t')")
    rows(admin, "INSERT INTO t_2030 (id, day, region, ssn) VALUES (53, '2030-02-02', 'eu', 'plain')")
    assert rows(admin, "SELECT object FROM doctor() WHERE message LIKE '%not enabled ALWAYS%'") == []


@pytest.mark.parametrize(
    "second", ["UPDATE {t} SET ssn = 'b' WHERE id = 1", "UPDATE {t} SET day = '2025-05-05' WHERE id = 1"]
)
def test_concurrent_move(database: Database, admin: Connection, second: str) -> None:
    """A statement that waits for a row that is moved fails as on a plain partitioned table."""
    states = {}
    for name in ("t", "twin"):
        make_partitioned(admin, name, "range", ", PRIMARY KEY (id, day)")
    rows(admin, "SELECT encrypt_column('t', 'ssn')")
    rows(admin, "CALL migrate_column('t', 'ssn')")
    for name in ("t", "twin"):
        with database.session() as first, database.session() as other:
            outcome: list[Any] = []
            first.autocommit = False
            rows(first, f"UPDATE {name} SET day = '2025-04-04' WHERE id = 1")
            wait = threading.Thread(target=lambda: outcome.append(result(other, second.format(t=name))))  # noqa: B023
            wait.start()
            wait_until_blocked(admin, wait, outcome)
            first.commit()
            wait.join()
            (states[name],) = outcome
    assert states["t"] == states["twin"] == "40001"
    assert rows(admin, "SELECT * FROM t ORDER BY id") == rows(admin, "SELECT * FROM twin ORDER BY id")


def test_pruning(admin: Connection) -> None:
    """The plans read the same partitions as those of a plain table."""
    for name in ("t", "twin"):
        make_partitioned(admin, name, "sub")
    rows(admin, "SELECT encrypt_column('t', 'ssn')")
    rows(admin, "CALL migrate_column('t', 'ssn')")
    rows(admin, "ANALYZE")
    for query in (
        "SELECT ssn FROM {t} WHERE day = '2024-07-01'",
        "SELECT ssn FROM {t} WHERE day = '2024-07-01' AND region = 'eu'",
        "SELECT * FROM {t} WHERE day >= '2025-01-01' AND id = 9",
        "DELETE FROM {t} WHERE day = '2024-07-01' AND region = 'eu'",
        "UPDATE {t} SET note = 'y' WHERE day >= '2025-01-01' AND id = 9",
        "SELECT count(*) FROM {t}",
    ):
        plans = []
        for name in ("t", "twin"):
            plan = "\n".join(line for (line,) in rows(admin, "EXPLAIN (COSTS OFF) " + query.format(t=name)))
            plans.append(sorted(set(re.findall(r" on (?:t|twin)(_\w+)", plan)) - {"_encrypted"}))
        assert plans[0] == plans[1], query
        assert len(plans[0]) >= 1


def test_foreign_keys(admin: Connection) -> None:
    """They refer to the table and from it. A row that a foreign key changes moves, and opens."""
    make_partitioned(admin, "t", "range", ", PRIMARY KEY (id, day)")
    rows(admin, "CREATE TABLE near (id bigint, day date, FOREIGN KEY (id, day) REFERENCES t ON UPDATE CASCADE)")
    rows(admin, "CREATE TABLE far (day date PRIMARY KEY)")
    rows(admin, "INSERT INTO far SELECT DISTINCT day FROM t")
    rows(admin, "ALTER TABLE t ADD FOREIGN KEY (day) REFERENCES far ON UPDATE CASCADE ON DELETE CASCADE")
    rows(admin, "INSERT INTO near SELECT id, day FROM t WHERE id = 2")
    rows(admin, "SELECT encrypt_column('t', 'ssn')")
    rows(admin, "CALL migrate_column('t', 'ssn')")
    rows(admin, "UPDATE far SET day = '2025-12-12' WHERE day = (SELECT day FROM t WHERE id = 2)")
    assert rows(admin, "SELECT day::text, ssn FROM t WHERE id = 2") == [("2025-12-12", "s2")]
    assert value(admin, "SELECT tableoid::regclass::text FROM t_encrypted WHERE id = 2") == "t_2025"
    assert value(admin, "SELECT day::text FROM near") == "2025-12-12"
    with pytest.raises(errors.ForeignKeyViolation):
        rows(admin, "DELETE FROM t WHERE id = 2")
    with pytest.raises(errors.ForeignKeyViolation):
        rows(admin, "INSERT INTO t VALUES (60, '2024-01-01', 'eu', 'x')")
    rows(admin, "DELETE FROM far WHERE day = (SELECT day FROM t WHERE id = 3)")
    assert rows(admin, "SELECT 1 FROM t WHERE id = 3") == []


def test_unique_blind_index(admin: Connection) -> None:
    """It includes the partition key, and so do the UNIQUE constraints that a blind index stands for."""
    make_partitioned(admin, "t", "sub", ", UNIQUE (ssn, id, day, region)")
    rows(admin, "SELECT encrypt_column('t', 'ssn')")
    rows(admin, "CALL migrate_column('t', 'ssn')")
    with pytest.raises(errors.UniqueViolation):
        rows(admin, "INSERT INTO t SELECT * FROM t WHERE id = 1")
    notices: list[str] = []
    admin.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    rows(admin, "SELECT add_blind_index('t', 'ssn', is_unique => true)")
    assert any('unique together with its partition key ("day", "id", "region") only' in each for each in notices)
    rows(admin, "CREATE TABLE e (id integer, ssn text) PARTITION BY LIST (abs(id))")
    rows(admin, "SELECT encrypt_column('e', 'ssn')")
    with pytest.raises(errors.FeatureNotSupported, match="an expression is in the partition key"):
        rows(admin, "SELECT add_blind_index('e', 'ssn', is_unique => true)")
    rows(admin, "SELECT add_blind_index('e', 'ssn')")
    rows(admin, "SELECT drop_blind_index('e', 'ssn')")


def test_merge(admin: Connection) -> None:
    if admin.info.server_version < 170000:
        pytest.skip("PostgreSQL has MERGE on views from 17 on")
    for name in ("t", "twin"):
        make_partitioned(admin, name, "sub")
    rows(admin, "SELECT encrypt_column('t', 'ssn')")
    rows(admin, "CALL migrate_column('t', 'ssn')")
    for name in ("t", "twin"):
        rows(
            admin,
            f"MERGE INTO {name} AS t USING (SELECT g AS id, '2024-06-01'::date + g * 15 AS day FROM"
            " generate_series(20, 35) AS g) AS s ON t.id = s.id AND t.day = s.day"
            " WHEN MATCHED THEN UPDATE SET ssn = 'merged', day = t.day - 200"
            " WHEN NOT MATCHED THEN INSERT VALUES (s.id, '2025-12-12', 'eu', 'made', 'x')",
        )
    assert result(admin, "SELECT * FROM t") == result(admin, "SELECT * FROM twin") != []


def test_upsert_and_policies(database: Database, admin: Connection) -> None:
    make_partitioned(admin, "t", "range", ", PRIMARY KEY (id, day)")
    rows(admin, "ALTER TABLE t ENABLE ROW LEVEL SECURITY")
    rows(admin, "CREATE POLICY mine ON t USING (region = 'eu')")
    rows(admin, "GRANT SELECT, INSERT, UPDATE, DELETE ON t TO col_app")
    rows(admin, "SELECT encrypt_column('t', 'ssn')")
    rows(admin, "CALL migrate_column('t', 'ssn')")
    row = '{"id": 1, "day": "2024-06-16", "region": "us", "ssn": "%s"}'
    rows(admin, f"SELECT upsert('t', '{row % 'changed'}')")
    assert value(admin, "SELECT ssn FROM t WHERE id = 1") == "changed"
    with database.session("col_app") as app:
        assert rows(app, "SELECT DISTINCT region FROM t") == [("eu",)]
        rows(app, "UPDATE t SET day = day + 400, ssn = 'app' WHERE id < 6")
        with pytest.raises(errors.InsufficientPrivilege):
            rows(app, "INSERT INTO t VALUES (70, '2024-02-02', 'us', 'x')")
        with pytest.raises(errors.InsufficientPrivilege):
            rows(app, "SELECT * FROM t_2024")
    assert rows(admin, "SELECT id FROM t WHERE ssn = 'app' ORDER BY 1") == [(2,), (4,)]


FUNCTION = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN {} END'"
IN_THE_WAY = {
    "an index": (
        ["CREATE INDEX odd ON t_2024 (ssn)"],
        "index public.odd is about the column in partition public.t_2024 only",
    ),
    "a CHECK": (["ALTER TABLE t_2024 ADD CONSTRAINT odd CHECK (ssn <> '')"], "constraint odd"),
    "NOT NULL": (["ALTER TABLE t_2024 ALTER COLUMN ssn SET NOT NULL"], "NOT NULL in partition public.t_2024 only"),
    "a trigger": (
        [
            FUNCTION.format("PERFORM NEW.ssn; RETURN NULL;"),
            "CREATE TRIGGER odd AFTER UPDATE OF ssn ON t_2024 FOR EACH ROW EXECUTE FUNCTION f()",
        ],
        'trigger "odd" mentions the column',
    ),
    "a late trigger": (
        [
            FUNCTION.format("RETURN NEW;"),
            "CREATE TRIGGER zzzzz BEFORE INSERT ON t_2024 FOR EACH ROW EXECUTE FUNCTION f()",
        ],
        "must sort before",
    ),
    "a foreign table": (
        [
            "CREATE FOREIGN DATA WRAPPER w",
            "CREATE SERVER s FOREIGN DATA WRAPPER w",
            "DROP TABLE t_rest",
            "CREATE FOREIGN TABLE odd PARTITION OF {t} DEFAULT SERVER s",
        ],
        "partition public.odd is a foreign table",
    ),
    "an owner": (["ALTER TABLE t_2024 OWNER TO col_other"], 't_2024 belongs to another role, "col_other"'),
}


@pytest.mark.parametrize("name", IN_THE_WAY)
def test_objects_of_a_single_partition_are_refused(admin: Connection, name: str) -> None:
    """An object of a single partition is in the way of encrypt_column, and is refused after it."""
    statements, message = IN_THE_WAY[name]
    make_partitioned(admin, "t", "range", "")
    with admin.transaction(force_rollback=True):
        for statement in statements:
            rows(admin, statement.format(t="t"))
        with pytest.raises(errors.FeatureNotSupported, match=re.escape(message)), admin.transaction():
            rows(admin, "SELECT encrypt_column('t', 'ssn')")
        found = rows(admin, "SELECT detail FROM plan_encrypt_column('t', 'ssn') WHERE kind = 'obstacle'")
        assert any(message in detail for (detail,) in found)
    rows(admin, "SELECT encrypt_column('t', 'ssn')")
    rows(admin, "CALL migrate_column('t', 'ssn')")
    for statement in statements[:-1]:
        rows(admin, statement)
    with pytest.raises((errors.FeatureNotSupported, errors.NotNullViolation)):
        rows(admin, statements[-1].format(t="t_encrypted"))


def test_refused_relations(admin: Connection) -> None:
    rows(admin, "CREATE TABLE t (id integer, day date, ssn text) PARTITION BY RANGE (day, lower(ssn))")
    rows(admin, "CREATE TABLE t_1 PARTITION OF t DEFAULT PARTITION BY LIST (id)")
    for relation, column, message in (
        ("t", "day", "it is in the partition key"),
        ("t", "ssn", "it is in the partition key"),
        ("t", "id", "it is in the partition key"),
        ("t_1", "ssn", "it is a partition"),
    ):
        with pytest.raises(errors.FeatureNotSupported, match=message):
            rows(admin, f"SELECT encrypt_column('{relation}', '{column}')")
    rows(admin, "ALTER TABLE t ADD note text")
    rows(admin, "CREATE VIEW of_partition AS SELECT note FROM t_1")
    with pytest.raises(errors.FeatureNotSupported, match=r"view public\.of_partition"):
        rows(admin, "SELECT encrypt_column('t', 'note')")
    rows(admin, "DROP VIEW of_partition")
    rows(admin, "SELECT encrypt_column('t', 'note')")
    with pytest.raises(errors.FeatureNotSupported, match="in a partition key"):
        rows(admin, "CREATE TABLE t_2 PARTITION OF t_1 FOR VALUES IN (1) PARTITION BY LIST (note)")
