"""pg_partman manages a partitioned table before and after its column is encrypted."""

import column_database
import pytest
from conftest import Connection, rows, value
from psycopg import errors

server = column_database.server
database = column_database.database
admin = column_database.admin


@pytest.fixture
def managed(admin: Connection) -> Connection:
    """A session in a database with a plain table that pg_partman manages, with 9 rows."""
    if not rows(admin, "SELECT 1 FROM pg_available_extensions WHERE name = 'pg_partman'"):
        pytest.skip("pg_partman is not installed: apt-get install postgresql-15-partman")
    if not value(
        admin, "SELECT default_version LIKE '4.%' FROM pg_available_extensions WHERE name = 'pg_partman'"
    ):
        pytest.skip("the test calls functions of pg_partman 4")
    rows(admin, "CREATE SCHEMA partman")
    rows(admin, "CREATE EXTENSION pg_partman SCHEMA partman")
    rows(
        admin,
        "CREATE TABLE q (id bigint NOT NULL, day date NOT NULL, ssn text, PRIMARY KEY (id, day))"
        " PARTITION BY RANGE (day)",
    )
    rows(
        admin,
        "SELECT partman.create_parent('public.q', 'day', 'native', 'monthly', p_premake => 2,"
        " p_start_partition => (now() - interval '3 months')::date::text)",
    )
    rows(admin, "INSERT INTO q SELECT g, now()::date - 10 * g, 's' || g FROM generate_series(0, 8) AS g")
    return admin


def partitions(connection: Connection) -> list[str]:
    """Return the names of the partitions."""
    found = rows(
        connection,
        "SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = to_regclass('q_encrypted') ORDER BY 1",
    )
    return [name for (name,) in found]


def encrypt(connection: Connection) -> None:
    """Encrypt the column, and run the statement of the notice."""
    plan = rows(connection, "SELECT statement FROM plan_encrypt_column('q', 'ssn') WHERE kind = 'tool'")
    notices: list[str] = []
    connection.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    rows(connection, "SELECT encrypt_column('q', 'ssn')")
    ((statement,),) = plan
    assert any(statement in notice for notice in notices)
    rows(connection, "CALL migrate_column('q', 'ssn')")
    rows(connection, statement)


def test_maintenance(managed: Connection) -> None:
    """It goes on after the statement of the notice, and makes partitions that seal their rows."""
    with managed.transaction(force_rollback=True):
        rows(managed, "SELECT encrypt_column('q', 'ssn')")
        with pytest.raises(errors.Error), managed.transaction():
            rows(managed, "SELECT partman.run_maintenance('public.q')")
    encrypt(managed)
    before = partitions(managed)
    rows(managed, "UPDATE partman.part_config SET premake = 5, infinite_time_partitions = true")
    rows(managed, "SELECT partman.run_maintenance('public.q_encrypted')")
    new = set(partitions(managed)) - set(before)
    assert len(new) >= 3
    rows(managed, "INSERT INTO q SELECT 50, (now() + interval '3 months')::date, 'premade'")
    ((leaf, plain),) = rows(managed, "SELECT tableoid::regclass::text, ssn FROM q_encrypted WHERE id = 50")
    assert leaf in new
    assert plain is None
    assert value(managed, "SELECT ssn FROM q WHERE id = 50") == "premade"
    assert value(managed, "SELECT count(*) FROM encrypted_partition") == len(partitions(managed))


def test_rows_of_the_default(managed: Connection) -> None:
    """They are moved into partitions of their own, and open there."""
    rows(managed, "INSERT INTO q VALUES (9, now()::date + 200, 's9')")
    encrypt(managed)
    default = [name for name in partitions(managed) if name.endswith("default")]
    assert value(managed, f"SELECT count(*) FROM {default[0]}") == 1
    rows(managed, "CALL partman.partition_data_proc('public.q_encrypted')")
    assert value(managed, f"SELECT count(*) FROM {default[0]}") == 0
    assert value(managed, "SELECT ssn FROM q WHERE id = 9") == "s9"
    assert value(managed, "SELECT count(ssn) FROM q_encrypted") == 0
    assert rows(managed, "SELECT * FROM verify_column('q', 'ssn')") == []


@pytest.mark.parametrize("keeps", ["table", "schema", "nothing"])
def test_retention(managed: Connection, keeps: str) -> None:
    """Old partitions are detached, with a view that decrypts them, or dropped."""
    encrypt(managed)
    rows(managed, "CREATE SCHEMA old")
    rows(
        managed,
        "UPDATE partman.part_config SET retention = '1 month', retention_keep_table = "
        + ("false" if keeps == "nothing" else "true")
        + (", retention_schema = 'old'" if keeps == "schema" else ""),
    )
    before = value(managed, "SELECT count(*) FROM q")
    rows(managed, "SELECT partman.run_maintenance('public.q_encrypted')")
    gone = before - value(managed, "SELECT count(*) FROM q")
    assert gone > 0
    detached = rows(
        managed, "SELECT relation::text, base_relation::text FROM encrypted_columns WHERE relation::text <> 'q'"
    )
    if keeps == "nothing":
        assert detached == []
    else:
        assert sum(value(managed, f"SELECT count(ssn) FROM {view}") for view, _ in detached) == gone
        assert all(table.startswith("old.") is (keeps == "schema") for _, table in detached)
        for _, table in detached:
            rows(managed, f"DROP TABLE {table} CASCADE")
    rows(managed, "CALL decrypt_column('q', 'ssn')")
    assert value(managed, "SELECT count(ssn) FROM q") == before - gone
    assert value(managed, "SELECT count(*) FROM encrypted_relation WHERE base::oid <> 0") == 0
