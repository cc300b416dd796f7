"""Compound blind indexes: rows are found by the equality of several encrypted columns together."""

import datetime
import random
from hashlib import blake2b
from struct import pack

import column_database
import pytest
import sqlalchemy as sa
from cluster import Cluster
from column_database import adopt_a_copy, new_database
from conftest import Connection, rows, value
from database_session import Database
from pgkeymgr.column.blinding import compound_digest, compound_subkey
from pgkeymgr.sqlalchemy import blind_index
from psycopg import errors

server = column_database.server
database = column_database.database
admin = column_database.admin

TABLE = "CREATE TABLE person (id integer PRIMARY KEY, tenant integer, name text, born date, note text)"
PARTITIONED = """
    CREATE TABLE person (id integer PRIMARY KEY, tenant integer, name text, born date, note text)
        PARTITION BY RANGE (id);
    CREATE TABLE person_1 PARTITION OF person FOR VALUES FROM (0) TO (100);
    CREATE TABLE person_2 PARTITION OF person FOR VALUES FROM (100) TO (2000)
"""
KEYLESS = "CREATE TABLE person (id integer, tenant integer, name text, born date, note text)"
ADD = "SELECT add_blind_index('person', 'name', kind => 'compound', options => '{\"with\": [\"born\"]}'"
NAMES = ("Ann", "ann", "Bob", "", "Ann,1990-01-01", None)
DATES = ("1990-01-01", "1991-02-03", None)


def independent_digest(secret: bytes, texts: tuple[str, ...]) -> bytes:
    """Return the digest of some texts by hashlib alone."""
    key = blake2b(b"", digest_size=64, key=secret, person=b"pgkeymgrcompound").digest()
    message = b"".join(pack(">I", len(text.encode())) + text.encode() for text in texts)
    return blake2b(message, digest_size=16, key=key).digest()


def test_digests() -> None:
    secret = bytes(range(32))
    found = set()
    for texts in (
        ("Ann", "Ulm"),
        ("AnnUlm", ""),
        ("", "AnnUlm"),
        ("Ulm", "Ann"),
        ("Ann",),
        ("Ann", "Ulm", ""),
        ("Ä", "\0"),
    ):
        digest = compound_digest(compound_subkey(secret), texts)
        assert digest == independent_digest(secret, texts)
        found.add(digest)
    assert len(found) == 7
    # Written down when it was first made: an index on disk depends on it.
    assert independent_digest(secret, ("Ann", "Ulm")).hex() == "38a0eccaa79bc9f7d2242187b3b8c8e1"


def make(connection: Connection, ddl: str = TABLE, more: str = "", options: str = "") -> None:
    """Make the table with two encrypted columns, their index and a plain table ``shadow`` with the same rows."""
    rows(connection, ddl)
    rows(connection, "INSERT INTO person VALUES (1, 7, 'Ann', '1990-01-01', 'x'), (2, 8, NULL, '1990-01-01', 'x')")
    rows(connection, "CREATE TABLE shadow AS TABLE person")
    rows(connection, f"SELECT encrypt_column('person', 'name'{more}), encrypt_column('person', 'born')")
    rows(connection, f"{ADD}{options})")
    rows(connection, "CALL migrate_columns('person')")


def write(connection: Connection, statement: str) -> None:
    """Run a statement on the table and on the plain one; ``{t}`` stands for the name."""
    rows(connection, statement.format(t="person"))
    rows(connection, statement.format(t="shadow"))


def found(connection: Connection, condition: str, view: str = "person") -> list[tuple[str, str, list[int]]]:
    """Return the rows for which a condition holds, for each pair of values that is searched for."""
    query = (
        f"SELECT s.name, s.born::text, ARRAY(SELECT p.id FROM {view} AS p WHERE {condition} ORDER BY 1)"
        " FROM (SELECT * FROM unnest(%s::text[]) AS n (name), unnest(%s::date[]) AS d (born) OFFSET 0) AS s"
        " ORDER BY 1, 2"
    )
    return list(connection.execute(query.encode(), [list(NAMES), list(DATES)]))


def check(connection: Connection) -> None:
    """Compare the results of searches with those on the plain table, and each value of the index with its row."""
    both = "SELECT id, tenant, name, born, note FROM {} ORDER BY 1, 2, 3, 4, 5"
    assert rows(connection, both.format("person")) == rows(connection, both.format("shadow"))
    search = "p.name_born_bidx = blind_index('person', 'name', s.name, s.born::text)"
    assert found(connection, search) == found(connection, "(p.name, p.born) = (s.name, s.born)", "shadow")
    missing = "SELECT count(*) FROM person WHERE (name_born_bidx IS NULL) <> (name IS NULL OR born IS NULL)"
    assert value(connection, missing) == 0
    for column in ("name", "born"):
        assert rows(connection, f"SELECT * FROM verify_column('person', '{column}')") == []


def random_statement(chance: random.Random, number: int) -> str:
    """Return a statement that writes a row, or several."""

    def literal(one: object) -> str:
        return "NULL" if one is None else f"'{one}'"

    name, born = literal(chance.choice(NAMES)), literal(chance.choice(DATES))
    row = f"id = {chance.randrange(1, number + 1)}"
    return chance.choice(
        (
            f"INSERT INTO {{t}} (id, tenant, name, born) VALUES ({number}, 7, {name}, {born})",
            f"INSERT INTO {{t}} (id, tenant, name, born) VALUES ({number}, 9, {name}, {born})",
            f"UPDATE {{t}} SET name = {name} WHERE {row}",
            f"UPDATE {{t}} SET born = {born} WHERE {row}",
            f"UPDATE {{t}} SET born = {born}, name = {name} WHERE {row}",
            f"UPDATE {{t}} SET born = {born} WHERE tenant = 7",
            f"UPDATE {{t}} SET note = 'y', tenant = 10 - tenant WHERE {row}",
            f"UPDATE {{t}} SET id = {number + 1000}, name = {name} WHERE {row}",
            f"UPDATE {{t}} SET id = {number + 1000} WHERE {row}",
            f"DELETE FROM {{t}} WHERE {row} AND note = 'y'",
        )
    )


@pytest.mark.parametrize(
    ("ddl", "more"),
    [(TABLE, ", key_by => 'tenant'"), (PARTITIONED, ""), (KEYLESS, ", compression => 'deflate'")],
    ids=["tenants", "partitioned", "keyless"],
)
def test_random_writes_are_found(admin: Connection, ddl: str, more: str) -> None:
    chance = random.Random(f"{ddl}{more}")  # noqa: S311
    make(admin, ddl, more)
    for round_ in range(4):
        for number in range(3 + 12 * round_, 15 + 12 * round_):
            write(admin, random_statement(chance, number))
        check(admin)
        # Rows that are written to the base table itself are found, too.
        written = 200 + round_ - chance.randrange(2)
        for table in ("person_encrypted", "shadow"):
            values = f"({200 + round_}, 8, 'Bob', '1991-02-03')"
            rows(admin, f"INSERT INTO {table} (id, tenant, name, born) VALUES {values}")
            rows(admin, f"UPDATE {table} SET name = 'Ann' WHERE id = {written}")
        check(admin)


def test_every_way_to_write(admin: Connection) -> None:
    make(admin)
    rows(admin, "CREATE VIEW later AS SELECT id, name_born_bidx FROM person")
    returned = rows(
        admin, "INSERT INTO person VALUES (3, 1, 'Bob', '1991-02-03', 'z') RETURNING name_born_bidx, note"
    )
    assert returned == rows(admin, "SELECT name_born_bidx, note FROM person WHERE id = 3")
    returned = rows(admin, "UPDATE person SET name = 'Ann' WHERE id = 3 RETURNING name_born_bidx")
    assert returned == rows(admin, "SELECT name_born_bidx FROM later WHERE id = 3")
    assert returned[0][0] is not None
    rows(admin, "INSERT INTO shadow VALUES (3, 1, 'Ann', '1991-02-03', 'z')")
    for table in ("person", "shadow"):
        with admin.cursor().copy(f"COPY {table} (id, name, born) FROM STDIN") as copy:
            copy.write_row((4, "Bob", "1990-01-01"))
    check(admin)
    row = '{"id": 4, "name": "Ann", "born": "1991-02-03"}'
    assert rows(admin, f"SELECT upsert('person', '{row}')") == [(False,)]
    rows(admin, "UPDATE shadow SET name = 'Ann', born = '1991-02-03' WHERE id = 4")
    check(admin)
    # A trigger of the user's changes one of the values.
    rows(
        admin,
        "CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.born := '1990-01-01';"
        " RETURN NEW; END $$",
    )
    for table in ("person_encrypted", "shadow"):
        rows(
            admin,
            f"CREATE TRIGGER change BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION change()",
        )
    write(admin, "INSERT INTO {t} (id, name, born) VALUES (5, 'Bob', '1991-02-03')")
    write(admin, "UPDATE {t} SET name = 'Bob' WHERE id = 4")
    check(admin)
    # A value that a client writes is not taken: neither by the view nor, without a change, by the base table.
    rows(admin, "UPDATE person SET name_born_bidx = 'x' WHERE id = 1")
    rows(admin, "INSERT INTO person (id, name, born, name_born_bidx) VALUES (6, 'Ann', '1990-01-01', 'x')")
    rows(admin, "INSERT INTO shadow (id, name, born) VALUES (6, 'Ann', '1990-01-01')")
    rows(admin, "UPDATE shadow SET id = 1 WHERE id = 1")
    check(admin)
    # A ciphertext from elsewhere in the same row.
    rows(admin, "CREATE TABLE kept AS SELECT * FROM person_encrypted WHERE id = 6")
    write(admin, "UPDATE {t} SET name = 'Bob' WHERE id = 6")
    rows(
        admin,
        "UPDATE person_encrypted AS p SET name_encrypted = k.name_encrypted FROM kept AS k WHERE p.id = k.id",
    )
    rows(admin, "UPDATE shadow SET name = 'Ann' WHERE id = 6")
    check(admin)
    # A row that is replicated is stored as it comes.
    rows(admin, "DELETE FROM person WHERE id = 6")
    rows(admin, "SET session_replication_role = replica")
    rows(admin, "INSERT INTO person_encrypted SELECT * FROM kept")
    rows(admin, "RESET session_replication_role")
    check(admin)


def test_procedures(admin: Connection) -> None:
    make(admin)
    write(admin, "INSERT INTO {t} SELECT i, 7, 'Ann', '1991-02-03' FROM generate_series(3, 40) AS i")
    for call in (
        "CALL rotate_column('person', 'name')",
        "CALL rotate_columns('person')",
        "CALL rotate_blind_index('person', 'name', kind => 'compound', batch_size => 10)",
        "SELECT separate_column('person', 'born')",
        "SELECT refresh_encrypted_view('person')",
    ):
        before = value(admin, "SELECT name_born_bidx FROM person WHERE id = 3")
        rows(admin, call)
        check(admin)
        after = value(admin, "SELECT name_born_bidx FROM person WHERE id = 3")
        assert (before == after) is ("blind_index" not in call), call
    for column in ("name", "born"):
        with pytest.raises(errors.FeatureNotSupported, match='compound blind index "name_born_bidx"') as error:
            rows(admin, f"CALL decrypt_column('person', '{column}')")
        assert "drop_blind_index('public.person', 'name', 'compound')" in (error.value.diag.message_hint or "")
    key = value(admin, "SELECT id FROM data_keys WHERE name ~ 'compound'")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="the blind index of column"):
        rows(admin, f"SELECT destroy_data_key(id, name) FROM data_keys WHERE id = {key}")
    rows(admin, "SELECT drop_blind_index('person', 'name', 'compound')")
    assert value(admin, "SELECT count(*) FROM data_keys WHERE name ~ 'compound'") == 0
    with pytest.raises(errors.UndefinedObject, match="has no blind index of kind compound"):
        rows(admin, "SELECT blind_index('person', 'name', 'Ann', '1990-01-01')")
    rows(admin, "CALL decrypt_columns('person')")
    assert rows(admin, "TABLE person ORDER BY id") == rows(admin, "TABLE shadow ORDER BY id")
    assert value(admin, "SELECT count(*) FROM encrypted_terms") == 0


def test_built_in_batches(admin: Connection) -> None:
    make(admin)
    rows(admin, "SELECT drop_blind_index('person', 'name', 'compound')")
    write(admin, "INSERT INTO {t} SELECT i, 7, 'Ann', '1991-02-03' FROM generate_series(3, 40) AS i")
    options = 'options => \'{"with": ["born"]}\''
    rows(admin, f"CALL build_blind_index('person', 'name', kind => 'compound', batch_size => 7, {options})")
    check(admin)
    query = "SELECT blind_index_statements('person', 'name', kind => 'compound')"
    assert value(admin, "SELECT count(*) FROM doctor() WHERE check_name = 'blind_indexes' AND status <> 'ok'") == 1
    for (statement,) in rows(admin, query):
        rows(admin, statement)
    assert rows(admin, query) == []
    assert value(admin, "SELECT count(*) FROM doctor() WHERE check_name = 'blind_indexes' AND status <> 'ok'") == 0
    admin.execute("SET enable_seqscan = off")
    search = "SELECT id FROM person WHERE name_born_bidx = blind_index('person', 'name', 'Ann', '1990-01-01')"
    plan = rows(admin, f"EXPLAIN {search}")
    assert any("person_name_born_bidx_idx" in line for (line,) in plan), plan
    # A call after the end does nothing, and one with other columns is refused.
    rows(admin, f"CALL build_blind_index('person', 'name', kind => 'compound', {options})")
    with pytest.raises(errors.DuplicateObject, match="with other options"):
        rows(admin, f"CALL build_blind_index('person', 'name', 'casefold', kind => 'compound', {options})")
    rows(admin, "SELECT encrypt_column('person', 'note')")
    with pytest.raises(errors.DuplicateObject, match="already has a blind index with born"):
        rows(
            admin,
            f"CALL build_blind_index('person', 'name', kind => 'compound', {options.replace('born', 'note')})",
        )


def test_dump_and_restore(server: Cluster, admin: Connection, database: Database) -> None:
    make(admin)
    rows(admin, "SELECT add_blind_index('person', 'name'), add_blind_index('person', 'name', kind => 'text')")
    described = "SELECT * FROM encrypted_columns ORDER BY column_name"
    before = rows(admin, described)
    assert len(before) == 2
    with new_database(server, "template0") as target:
        dump = server.client(["pg_dump", database.name]).stdout
        server.client(["psql", "--set=ON_ERROR_STOP=1"], dbname=target.name, input=dump)
        with target.session() as connection:
            assert rows(connection, described) == before
            check(connection)
            write(connection, "INSERT INTO {t} (id, name, born) VALUES (3, 'Bob', '1991-02-03')")
            write(connection, "UPDATE {t} SET born = '1991-02-03' WHERE id = 1")
            check(connection)
            rows(connection, "CALL rotate_blind_index('person', 'name', kind => 'compound')")
            check(connection)


def test_partitions_come_and_go(admin: Connection) -> None:
    make(admin, PARTITIONED)
    write(admin, "INSERT INTO {t} (id, name, born) VALUES (101, 'Bob', '1991-02-03')")
    check(admin)
    rows(admin, "ALTER TABLE person_encrypted DETACH PARTITION person_2")
    view = value(
        admin, "SELECT relation::text FROM encrypted_columns WHERE base_relation = 'person_2'::regclass LIMIT 1"
    )
    rows(admin, f"INSERT INTO {view} (id, name, born) VALUES (102, 'Ann', '1991-02-03')")
    rows(admin, f"UPDATE {view} SET born = '1990-01-01' WHERE id = 101")
    search = f"p.name_born_bidx = blind_index('{view}', 'name', s.name, s.born::text)"
    results = [result for result in found(admin, search, view) if result[2]]
    assert results == [("Ann", "1991-02-03", [102]), ("Bob", "1990-01-01", [101])]
    rows(admin, "ALTER TABLE person_encrypted ATTACH PARTITION person_2 FOR VALUES FROM (100) TO (2000)")
    rows(admin, "UPDATE shadow SET born = '1990-01-01' WHERE id = 101")
    rows(admin, "INSERT INTO shadow (id, name, born) VALUES (102, 'Ann', '1991-02-03')")
    check(admin)
    rows(admin, TABLE.replace("person", "person_3"))
    for table in ("person_3", "shadow"):
        rows(
            admin, f"INSERT INTO {table} (id, name, born) VALUES (2001, 'Ann', '1991-02-03'), (2002, 'Bob', NULL)"
        )
    rows(admin, "CALL attach_encrypted_partition('person', 'person_3', 'FOR VALUES FROM (2000) TO (3000)')")
    check(admin)
    write(admin, "UPDATE {t} SET id = 50 WHERE id = 101")
    check(admin)


def test_a_copy_is_adopted(admin: Connection) -> None:
    make(admin)
    adopt_a_copy(admin, "person_encrypted")
    check(admin)
    write(admin, "UPDATE {t} SET name = 'Bob'")
    check(admin)


def test_names(admin: Connection) -> None:
    make(admin)
    rows(admin, "ALTER TABLE person RENAME COLUMN born TO birthday")
    rows(admin, "ALTER TABLE person RENAME COLUMN birthday TO day")
    rows(admin, "ALTER TABLE person RENAME COLUMN name TO called")
    query = "SELECT id FROM person WHERE name_born_bidx = blind_index('person', 'called', 'Ann', '1991-02-03')"
    rows(admin, "UPDATE person SET day = '1991-02-03' WHERE id = 1")
    assert rows(admin, query) == [(1,)]
    assert rows(admin, "SELECT compound_index, compound_columns FROM encrypted_columns ORDER BY 1") == [
        ("name_born_bidx", ["called", "day"]),
        (None, None),
    ]
    with pytest.raises(errors.InvalidParameterValue, match="needs 2 values: called, day"):
        rows(admin, "SELECT blind_index('person', 'called', 'Ann', 'Ann', 'Ann')")
    with pytest.raises(errors.FeatureNotSupported, match="follows the name"):
        rows(admin, "ALTER TABLE person RENAME COLUMN name_born_bidx TO x")
    for column in ("name_born_bidx", "day"):
        with pytest.raises(errors.Error, match=r"pgkeymgr's own|belongs to an encrypted column"):
            rows(admin, f"ALTER TABLE person_encrypted DROP COLUMN {column} CASCADE")
    rows(admin, "ALTER TABLE person_encrypted DROP COLUMN note CASCADE")
    assert rows(admin, query) == [(1,)]


def test_rights(admin: Connection, database: Database) -> None:
    """A role that searches for values of several columns may search in each of them."""
    make(admin)
    rows(admin, "GRANT SELECT, INSERT, UPDATE ON person TO col_app")
    search = "SELECT blind_index('person', 'name', 'Ann', '1990-01-01') IS NOT NULL"
    key = value(admin, "SELECT id FROM data_keys WHERE name ~ 'compound'")
    internal = f"SELECT _blind_compound({key}, 'none,none', '{{Ann,1990-01-01}}') IS NOT NULL"
    with database.session("col_app") as connection:
        connection.execute("SET search_path = pgkeymgr, public")
        for name, usage, may_search, may_write in (
            ("name", "search", False, False),
            ("born", "search", True, True),
            ("name", "encrypt", True, True),
        ):
            rows(admin, f"SELECT grant_data_key('public.person.{name}', 'col_app', '{{{usage}}}')")
            for query, may in ((search, may_search), (internal, may_write)):
                if may:
                    assert rows(connection, query) == [(True,)]
                else:
                    with pytest.raises(errors.InsufficientPrivilege, match="permission denied"):
                        rows(connection, query)
        rows(admin, "SELECT revoke_data_key('public.person.born', 'col_app', '{search}')")
        for query in (search, internal):
            with pytest.raises(errors.InsufficientPrivilege, match="permission denied"):
                rows(connection, query)
        rows(admin, "SELECT grant_data_key('public.person.born', 'col_app', '{encrypt}')")
        rows(connection, "INSERT INTO person (id, name, born) VALUES (3, 'Bob', '1991-02-03')")
        with pytest.raises(errors.InsufficientPrivilege, match="search"):
            rows(connection, search)
        # The other value would have to be read.
        with pytest.raises(errors.InsufficientPrivilege, match="decrypt"):
            rows(connection, "UPDATE person SET name = 'Ann' WHERE id = 3")
    rows(admin, "INSERT INTO shadow (id, name, born) VALUES (3, 'Bob', '1991-02-03')")
    check(admin)


def test_privileges_on_columns(admin: Connection, database: Database) -> None:
    """A role with privileges on one of the columns reads nothing of the other one by the index, and writes it."""
    rows(admin, TABLE)
    rows(admin, "CREATE TABLE shadow AS TABLE person")
    rows(admin, "SELECT encrypt_column('person', 'name'), encrypt_column('person', 'born')")
    rows(admin, "GRANT SELECT (id, name), INSERT (id, name, born), UPDATE (name) ON person TO col_app")
    rows(admin, f"{ADD})")
    for name in ("name", "born"):
        rows(admin, f"SELECT grant_data_key('public.person.{name}', 'col_app', '{{encrypt,decrypt}}')")
    with database.session("col_app") as connection:
        rows(connection, "INSERT INTO person (id, name, born) VALUES (5, 'Bob', '1991-02-03')")
        with pytest.raises(errors.InsufficientPrivilege):
            rows(connection, "SELECT name_born_bidx FROM person")
        rows(connection, "UPDATE person SET name = 'Ann' WHERE id = 5")
        rows(admin, "GRANT SELECT (name_born_bidx) ON person TO col_app")
        search = "SELECT id FROM person WHERE name_born_bidx = blind_index('person', 'name', 'Ann', '1991-02-03')"
        assert rows(connection, search) == [(5,)]
    rows(admin, "INSERT INTO shadow (id, name, born) VALUES (5, 'Ann', '1991-02-03')")
    check(admin)


def test_given_keys_and_collations(admin: Connection) -> None:
    """Indexes of several tables under one key can be joined, whatever the collations of their columns."""
    rows(admin, "SELECT create_data_key('shared')")
    for table in ("one", "two"):
        rows(
            admin,
            f'CREATE TABLE {table} (id integer PRIMARY KEY, a text COLLATE "C", b varchar(9) COLLATE "POSIX",'
            " c bytea, d numeric)",
        )
        rows(admin, f"SELECT encrypt_column('{table}', c) FROM unnest(ARRAY['a', 'b', 'c', 'd']::name[]) AS c")
        rows(
            admin,
            f"SELECT add_blind_index('{table}', 'a', 'casefold', key => 'shared', kind => 'compound',"
            ' options => \'{"with": ["b", "c", "d"]}\')',
        )
    rows(admin, "INSERT INTO one VALUES (1, 'Ann', 'b', '\\x00', 1.0), (2, 'Annb', '', '\\x00', 1)")
    rows(admin, "INSERT INTO two VALUES (1, 'ANN', 'B', '\\x00', 1), (2, 'Anna', '', '\\x00', 1)")
    joined = "SELECT one.id, two.id FROM one JOIN two ON one.a_b_c_d_bidx = two.a_b_c_d_bidx"
    assert rows(admin, joined) == [(1, 1)]
    search = "SELECT id FROM two WHERE a_b_c_d_bidx = blind_index('two', 'a', 'aNN', 'b', '\\x00', '1.00')"
    assert rows(admin, search) == [(1,)]
    for table in ("one", "two"):
        for column in "abcd":
            assert rows(admin, f"SELECT * FROM verify_column('{table}', '{column}')") == []


def test_sqlalchemy(server: Cluster, admin: Connection, database: Database) -> None:
    make(admin)
    query = {"host": str(server.directory), "port": str(server.port)}
    url = sa.URL.create("postgresql+pgkeymgr", username="postgres", database=database.name, query=query)
    engine = sa.create_engine(url)
    try:
        person = sa.Table("person", sa.MetaData(), autoload_with=engine)
        assert person.c.name_born_bidx.info == {"pgkeymgr": "blind index"}
        both = (person.c.name, person.c.born)
        statement = sa.select(person.c.id).where(blind_index(both, ("Ann", datetime.date(1990, 1, 1))))
        with engine.connect() as connection:
            assert connection.execute(statement).all() == [(1,)]
        with pytest.raises(ValueError, match="shorter"):
            blind_index(both, ("Ann",))
    finally:
        engine.dispose()
