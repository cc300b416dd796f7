"""Columns whose values are compressed before they are encrypted."""

import json
import os
from pathlib import Path

import column_database
import pytest
from cluster import Cluster
from column_database import new_database
from conftest import Connection, rows, value
from database_session import Database
from partitioned_database import make_partitioned
from psycopg import errors

server = column_database.server
database = column_database.database
admin = column_database.admin

JSON = json.dumps([{"name": f"name {number}", "city": "Springfield"} for number in range(100)])
SUITES = "SELECT id, get_byte(body_encrypted, 0) FROM document_encrypted ORDER BY id"
READ = "SELECT id, body FROM document ORDER BY id"
NUMBER_IN_2024 = 14
# Suites 4 and 5 are the compressed ones of 1 and 3.
VALUES: dict[int, tuple[str, int, int]] = {
    1: ("", 1, 1),
    2: ("x" * 63, 1, 1),
    3: ("x" * 64, 1, 4),
    4: (os.urandom(400).hex()[:60] + os.urandom(10).hex(), 1, 4),
    5: (JSON, 3, 4),
    6: (os.urandom(3000).hex(), 3, 5),
    7: ("ü€" * 500, 3, 4),
}
CONTENTS = [(number, text) for number, (text, _, _) in VALUES.items()]
PLAIN = [(number, plain) for number, (_, plain, _) in VALUES.items()]
COMPRESSED = [(number, compressed) for number, (_, _, compressed) in VALUES.items()]


def make(connection: Connection, more: str = ", compression => 'deflate'") -> None:
    """Make an encrypted table ``document`` without rows."""
    rows(connection, "CREATE TABLE document (id integer PRIMARY KEY, body text, other text)")
    rows(connection, f"SELECT encrypt_column('document', 'body'{more})")


def fill(connection: Connection, table: str = "document") -> None:
    """Insert all of ``VALUES``."""
    for number, text in CONTENTS:
        connection.execute(f"INSERT INTO {table} (id, body) VALUES (%s, %s)".encode(), (number, text))


@pytest.fixture
def document(admin: Connection) -> Connection:
    """A session in a database with a table that has a compressed column, and all values."""
    make(admin)
    fill(admin)
    return admin


def test_the_option_is_off_by_default(admin: Connection) -> None:
    make(admin, more="")
    fill(admin)
    assert value(admin, "SELECT compression FROM encrypted_columns") == "none"
    assert rows(admin, SUITES) == PLAIN
    assert rows(admin, READ) == CONTENTS


@pytest.mark.parametrize("table", ["document", "document_encrypted"])
def test_values_of_each_kind(admin: Connection, table: str) -> None:
    make(admin)
    fill(admin, table)
    assert value(admin, "SELECT compression FROM encrypted_columns") == "deflate"
    assert rows(admin, SUITES) == COMPRESSED
    assert rows(admin, READ) == CONTENTS
    assert rows(admin, "SELECT * FROM verify_column('document', 'body')") == []
    size = value(admin, "SELECT octet_length(body_encrypted) FROM document_encrypted WHERE id = 5")
    assert size < len(JSON) / 4
    rows(admin, f"UPDATE {table} SET body = repeat('y', 2000) WHERE id = 1")
    rows(admin, "UPDATE document SET body = body || body WHERE id = 3")
    rows(admin, f"UPDATE {table} SET id = 50 WHERE id = 5")  # it is encrypted again for its new place
    rows(admin, f"UPDATE {table} SET other = 'o'")
    changed = {1: "y" * 2000, 3: "x" * 128}
    expected = sorted((50 if number == 5 else number, changed.get(number, text)) for number, text in CONTENTS)
    assert rows(admin, READ) == expected
    assert dict(rows(admin, SUITES)) == {1: 4, 2: 1, 3: 4, 4: 4, 50: 4, 6: 5, 7: 4}


def test_types(admin: Connection) -> None:
    rows(admin, "CREATE TABLE typed (id integer PRIMARY KEY, b bytea, j jsonb, a integer[])")
    rows(
        admin,
        "INSERT INTO typed VALUES (1, decode(repeat('00ff', 500), 'hex'),"
        " jsonb_build_object('k', repeat('v', 500)), array_fill(1, ARRAY[500]))",
    )
    before = rows(admin, "TABLE typed")
    for column in "bja":
        rows(admin, f"SELECT encrypt_column('typed', '{column}', compression => 'deflate')")
        rows(admin, f"CALL migrate_column('typed', '{column}')")
    assert rows(admin, "TABLE typed") == before
    lengths = "SELECT " + ", ".join(f"octet_length({c}_encrypted), get_byte({c}_encrypted, 0)" for c in "bja")
    (found,) = rows(admin, f"{lengths} FROM typed_encrypted")
    assert found[1::2] == (4, 4, 4)
    assert max(found[::2]) < 100
    for column in "bja":
        rows(admin, f"CALL decrypt_column('typed', '{column}')")
    assert rows(admin, "TABLE typed") == before


def test_the_option_changes_and_a_rotation_converts(admin: Connection) -> None:
    make(admin, more="")
    fill(admin)
    rows(admin, "SELECT set_column_compression('document', 'body', 'deflate')")
    assert value(admin, "SELECT compression FROM encrypted_columns") == "deflate"
    assert (rows(admin, SUITES), rows(admin, READ)) == (PLAIN, CONTENTS)
    admin.execute("INSERT INTO document VALUES (8, %s)", (JSON,))
    assert value(admin, f"SELECT suite FROM ({SUITES}) AS s (id, suite) WHERE id = 8") == 4
    rows(admin, "DELETE FROM document WHERE id = 8")
    rows(admin, "CALL rotate_column('document', 'body')")
    assert (rows(admin, SUITES), rows(admin, READ)) == (COMPRESSED, CONTENTS)
    rows(admin, "SELECT set_column_compression('document_encrypted', 'body', 'none')")
    assert (rows(admin, SUITES), rows(admin, READ)) == (COMPRESSED, CONTENTS)
    rows(admin, "CALL rotate_column('document', 'body')")
    assert (rows(admin, SUITES), rows(admin, READ)) == (PLAIN, CONTENTS)


def test_the_change_takes_effect_in_a_session_that_has_written(database: Database, document: Connection) -> None:
    with database.session() as writer:
        for number, (option, suite) in enumerate([("deflate", 4), ("none", 1), ("deflate", 4)], 100):
            rows(document, f"SELECT set_column_compression('document', 'body', '{option}')")
            rows(writer, f"INSERT INTO document VALUES ({number}, repeat('z', 500))")
            assert dict(rows(document, SUITES))[number] == suite
    rows(document, "BEGIN")
    rows(document, "SELECT set_column_compression('document', 'body', 'none')")
    rows(document, "ROLLBACK")
    rows(document, "INSERT INTO document VALUES (200, repeat('z', 500))")
    assert dict(rows(document, SUITES))[200] == 4


def test_a_ciphertext_of_another_row_or_of_the_other_suite_does_not_open(document: Connection) -> None:
    write = "UPDATE document_encrypted SET body_encrypted = %s WHERE id = 5"
    made = value(document, "SELECT body_encrypted FROM document_encrypted WHERE id = 5")
    other = value(document, "SELECT body_encrypted FROM document_encrypted WHERE id = 7")
    for bad in (other, b"\1" + made[1:], made[:-1], made + b"\0", made[:60] + bytes([made[60] ^ 1]) + made[61:]):
        with pytest.raises(errors.DataException):
            document.execute(write.encode(), (bad,))
        rows(document, "SET session_replication_role = replica")
        document.execute(write.encode(), (bad,))
        rows(document, "RESET session_replication_role")
        with pytest.raises(errors.DataException, match='column "body" of "document" in the row with id = 5'):
            rows(document, "SELECT body FROM document WHERE id = 5")
        assert [row for row, _ in rows(document, "SELECT * FROM verify_column('document', 'body')")] == ["5"]
    rows(document, "SET session_replication_role = replica")
    document.execute(write.encode(), (made,))
    assert rows(document, READ) == CONTENTS


def test_refusals(document: Connection) -> None:
    rows(document, "CREATE TABLE more (id integer PRIMARY KEY, a text, b text)")
    rows(document, "SELECT encrypt_column('more', 'a', deterministic => true)")
    call = "encrypt_column('more', 'b', "
    for statement, error, message in (
        (f"SELECT {call}compression => 'zstd')", errors.InvalidParameterValue, 'must be "none" or "deflate"'),
        (f"SELECT plan_{call}compression => 'zstd')", errors.InvalidParameterValue, 'must be "none" or "deflate"'),
        (f"SELECT {call}compression => NULL)", errors.DataException, "compression must not be NULL"),
        (
            f"SELECT {call}deterministic => true, compression => 'deflate')",
            errors.FeatureNotSupported,
            "compressed",
        ),
        (
            f"SELECT plan_{call}deterministic => true, compression => 'deflate')",
            errors.FeatureNotSupported,
            "compressed",
        ),
        ("SELECT set_column_compression('more', 'a', 'deflate')", errors.FeatureNotSupported, "compressed"),
        ("SELECT set_column_compression('more', 'b', 'deflate')", errors.UndefinedObject, "not encrypted"),
        ("SELECT set_column_compression('more', 'a', NULL)", errors.DataException, "must not be NULL"),
        ("SELECT set_column_compression('more', NULL, 'none')", errors.DataException, "must not be NULL"),
        ("SELECT set_column_compression('document', 'body', 'lz4')", errors.InvalidParameterValue, "lz4"),
    ):
        with pytest.raises(error, match=message):
            rows(document, statement)
    rows(document, "SELECT set_column_compression('more', 'a', 'none')")
    leaks = "SELECT detail FROM plan_encrypt_column('more', 'b'%s) WHERE detail LIKE 'compressed:%%'"
    assert rows(document, leaks % "") == []
    assert len(rows(document, leaks % ", compression => 'deflate'")) == 1


def test_a_role_that_does_not_own_the_table_cannot_change_it(document: Connection) -> None:
    rows(document, "GRANT pgkeymgr_admin TO col_other")
    try:
        rows(document, "GRANT ALL ON document TO col_other")
        rows(document, "SET ROLE col_other")
        with pytest.raises(errors.InsufficientPrivilege):
            rows(document, "SELECT set_column_compression('document', 'body', 'none')")
    finally:
        rows(document, "RESET ROLE")
        rows(document, "REVOKE pgkeymgr_admin FROM col_other")
    assert value(document, "SELECT compression FROM encrypted_columns") == "deflate"


def test_the_option_and_the_values_are_in_a_dump(
    server: Cluster, database: Database, document: Connection
) -> None:
    with new_database(server, "template0") as copy:
        dump = server.client(["pg_dump", database.name]).stdout
        server.client(["psql", "-qXv", "ON_ERROR_STOP=1", copy.name], input=dump)
        with copy.session() as restored:
            assert value(restored, "SELECT compression FROM encrypted_columns") == "deflate"
            assert (rows(restored, SUITES), rows(restored, READ)) == (COMPRESSED, CONTENTS)
            rows(restored, "INSERT INTO document VALUES (8, repeat('z', 100))")
            assert dict(rows(restored, SUITES))[8] == 4
            rows(restored, "CALL rotate_column('document', 'body')")
            assert rows(restored, f"{READ} LIMIT {len(CONTENTS)}") == CONTENTS


def test_partitions(admin: Connection) -> None:
    make_partitioned(admin, "t", "range")
    rows(admin, "UPDATE t SET ssn = repeat(ssn, 100)")
    before = rows(admin, "SELECT id, ssn FROM t ORDER BY id")
    rows(admin, "SELECT encrypt_column('t', 'ssn', compression => 'deflate')")
    rows(admin, "CALL migrate_column('t', 'ssn')")
    suites = "SELECT DISTINCT get_byte(ssn_encrypted, 0) FROM "
    assert rows(admin, f"{suites}t_encrypted") == [(4,)]
    assert rows(admin, "SELECT id, ssn FROM t ORDER BY id") == before
    rows(admin, "ALTER TABLE t_encrypted DETACH PARTITION t_2024")
    found = "SELECT compression FROM encrypted_columns WHERE base_relation = 't_2024'::regclass"
    assert value(admin, found) == "deflate"
    rows(admin, "UPDATE t_2024_decrypted SET ssn = ssn || 'x'")
    assert rows(admin, f"{suites}t_2024") == [(4,)]
    # The option of the two may differ, since each value says by itself how it is read.
    rows(admin, "SELECT set_column_compression('t_2024_decrypted', 'ssn', 'none')")
    rows(admin, "UPDATE t_2024_decrypted SET ssn = left(ssn, -1) WHERE id < 5")
    assert sorted(rows(admin, f"{suites}t_2024")) == [(1,), (4,)]
    before = [(number, ssn + "x" * (5 <= number <= NUMBER_IN_2024)) for number, ssn in before]
    rows(admin, "ALTER TABLE t_encrypted ATTACH PARTITION t_2024 FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')")
    assert rows(admin, "SELECT id, ssn FROM t ORDER BY id") == before
    rows(admin, "CALL rotate_column('t', 'ssn')")
    assert rows(admin, f"{suites}t_encrypted") == [(4,)]
    assert rows(admin, "SELECT id, ssn FROM t ORDER BY id") == before


def test_with_all_that_a_column_can_have(admin: Connection) -> None:
    """A compressed column works with a CHECK, a blind index, a key for each tenant, and a new id."""
    rows(admin, "CREATE TABLE full_one (id integer PRIMARY KEY, tenant text, body text CHECK (length(body) > 3))")
    rows(admin, "SELECT encrypt_column('full_one', 'body', key_by => 'tenant', compression => 'deflate')")
    rows(admin, "SELECT add_blind_index('full_one', 'body')")
    rows(
        admin, "INSERT INTO full_one SELECT i, 't' || i % 3, repeat('x' || i, 100) FROM generate_series(1, 9) AS i"
    )
    with pytest.raises(errors.CheckViolation):
        rows(admin, "INSERT INTO full_one VALUES (10, 't', 'x')")
    read = "SELECT id, body FROM full_one ORDER BY id"
    expected = [(number, f"x{number}" * 100) for number in range(1, 10)]
    suites = "SELECT DISTINCT get_byte(body_encrypted, 0) FROM full_one_encrypted"
    search = "SELECT id FROM full_one WHERE body_bidx = blind_index('full_one', 'body', repeat('x4', 100))"
    rows(admin, "UPDATE full_one SET tenant = 'other' WHERE id = 2")
    assert (rows(admin, read), rows(admin, suites), rows(admin, search)) == (expected, [(4,)], [(4,)])
    rows(admin, "SELECT separate_column('full_one', 'body')")
    assert (rows(admin, read), rows(admin, suites), rows(admin, search)) == (expected, [(4,)], [(4,)])
    rows(admin, "SELECT upsert('full_one', jsonb_build_object('id', 4, 'tenant', 't', 'body', repeat('y', 200)))")
    assert (value(admin, "SELECT body FROM full_one WHERE id = 4"), rows(admin, suites)) == ("y" * 200, [(4,)])


def test_a_compressed_token_is_compressed_under_another_key(document: Connection) -> None:
    rows(document, "SELECT create_data_key('other')")
    (made,) = rows(
        document,
        "SELECT token_reencrypt(body_encrypted, 'other', place), place FROM document_encrypted"
        " CROSS JOIN LATERAL (SELECT 'column'::bytea || uuid_send(column_id) || int8send(id)"
        " FROM encrypted_columns) AS p (place) WHERE id = 5",
    )
    info = document.execute("SELECT suite, key_name FROM token_info(%s)", made[:1]).fetchone()
    assert info == ("deflate+aes-256-gcm-siv", "other")
    assert document.execute("SELECT token_decrypt_text(%s, %s)", made).fetchone() == (JSON,)


def test_zlib_is_imported_by_the_first_compressed_value_only(database: Database, document: Connection) -> None:
    rows(document, "CREATE TABLE plain (id integer PRIMARY KEY, body text)")
    rows(document, "SELECT encrypt_column('plain', 'body')")
    rows(
        document,
        "CREATE FUNCTION is_loaded() RETURNS boolean LANGUAGE plpython3u AS"
        " $$ import sys; return 'zlib' in sys.modules $$",
    )
    with database.session() as session:
        rows(session, "INSERT INTO plain VALUES (1, repeat('x', 2000))")
        rows(session, "SELECT body FROM plain")
        assert value(session, "SELECT is_loaded()") is False
        rows(session, "SELECT body FROM document WHERE id = 5")
        assert value(session, "SELECT is_loaded()") is True


def test_a_value_of_100_mb_of_zeros(document: Connection) -> None:
    rows(document, "INSERT INTO document VALUES (1000, repeat('0', 100000000))")
    assert value(document, "SELECT octet_length(body_encrypted) < 200000 FROM document_encrypted WHERE id = 1000")
    assert value(document, "SELECT length(body) FROM document WHERE id = 1000") == 100_000_000
    peak = next(
        int(line.split()[1])
        for line in Path(f"/proc/{document.info.backend_pid}/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    )
    assert peak < 700_000, "kilobytes"
