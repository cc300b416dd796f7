"""A table that is spread over real second servers, by the means that PostgreSQL has: docs/scale-out.md.

Each shard encrypts for itself, with a root key and data keys of its own. The coordinator has no extension. It has
a table with hash partitions, which are foreign tables on the views of the shards.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from cluster import Cluster
from conftest import Connection, rows, value
from installed import run
from psycopg import errors

SHARDS = 2
ROWS = 40


@pytest.fixture(scope="module")
def shards() -> Iterator[list[Cluster]]:
    """Servers with different root keys, whose tables have an encrypted column with a blind index."""
    with ExitStack() as stack:
        made = []
        for number in range(SHARDS):
            cluster = stack.enter_context(Cluster(root_keys=(f"{number + 1}0" * 32,)))
            cluster.create_database("shard")
            with cluster.connect("shard") as connection:
                connection.execute("SET search_path = public, pgkeymgr")
                connection.execute("CREATE TABLE customer (id integer PRIMARY KEY, name text, ssn text)")
                connection.execute("SELECT encrypt_column('customer', 'ssn')")
                connection.execute("SELECT add_blind_index('customer', 'ssn')")
            made.append(cluster)
        yield made


@pytest.fixture(scope="module")
def coordinator(shards: list[Cluster]) -> Iterator[Cluster]:
    """A server with the partitioned table."""
    with Cluster(root_keys=None) as cluster:
        with cluster.connect() as connection:
            connection.execute("CREATE EXTENSION postgres_fdw")
            connection.execute("CREATE EXTENSION dblink")
            connection.execute(
                "CREATE TABLE customer (id integer, name text, ssn text, ssn_bidx bytea) PARTITION BY HASH (id)"
            )
            for number, shard in enumerate(shards):
                place = f"host '{shard.directory}', port '{shard.port}', dbname 'shard'"
                connection.execute(
                    f"CREATE SERVER shard_{number} FOREIGN DATA WRAPPER postgres_fdw"
                    f" OPTIONS ({place}, batch_size '100')".encode()
                )
                connection.execute(
                    f"CREATE USER MAPPING FOR postgres SERVER shard_{number} OPTIONS (user 'postgres')".encode()
                )
                connection.execute(
                    f"CREATE FOREIGN TABLE customer_{number} PARTITION OF customer"
                    f" FOR VALUES WITH (MODULUS {SHARDS}, REMAINDER {number})"
                    f" SERVER shard_{number} OPTIONS (table_name 'customer')".encode()
                )
        yield cluster


@pytest.fixture
def admin(coordinator: Cluster, shards: list[Cluster]) -> Iterator[Connection]:
    """A session of the coordinator, with rows on both shards."""
    for shard in shards:
        with shard.connect("shard") as connection:
            connection.execute("DELETE FROM customer")
    with coordinator.connect() as connection:
        # The blind index belongs to the shard, which fills it in.
        connection.execute(
            "INSERT INTO customer (id, name, ssn)"
            f" SELECT i, 'n' || i, 's' || i FROM generate_series(1, {ROWS}) AS i"
        )
        yield connection


def stored(shards: list[Cluster], query: str) -> list[list[tuple[Any, ...]]]:
    """Return the result of a query on each shard."""
    results = []
    for shard in shards:
        with shard.connect("shard") as connection:
            connection.execute("SET search_path = public, pgkeymgr")
            results.append(rows(connection, query))
    return results


def remote_sql(connection: Connection, statement: str) -> str:
    """Return the plan of a statement, with what it sends to the shards."""
    return "\n".join(row[0] for row in rows(connection, f"EXPLAIN (VERBOSE, COSTS OFF) {statement}"))


def test_rows_are_spread_and_sealed(admin: Connection, shards: list[Cluster]) -> None:
    """INSERT and COPY: each shard has a part of the rows, as ciphertext under its own key."""
    with admin.cursor() as cursor, cursor.copy("COPY customer (id, name, ssn) FROM STDIN") as copy:
        for number in range(1000, 1020):
            copy.write_row((number, "copied", f"c{number}"))
    found = stored(
        shards,
        "SELECT count(*), count(ssn_encrypted), count(ssn), count(DISTINCT ssn_bidx) FROM customer_encrypted",
    )
    counts = [result[0][0] for result in found]
    assert sum(counts) == ROWS + 20
    assert min(counts) > 0
    assert all(result == [(count, count, 0, count)] for result, count in zip(found, counts, strict=True))
    assert rows(admin, "SELECT count(*), count(DISTINCT ssn), min(ssn) FROM customer") == [
        (ROWS + 20, ROWS + 20, "c1000")
    ]
    tokens = stored(shards, "SELECT ssn_encrypted FROM customer_encrypted")
    assert not {token for (token,) in tokens[0]} & {token for (token,) in tokens[1]}


def test_conditions_are_pushed_down(admin: Connection) -> None:
    """One shard is asked for a row by its key; each shard decrypts for a condition on the encrypted column."""
    by_key = "SELECT ssn FROM customer WHERE id = 7"
    assert remote_sql(admin, by_key).count("Remote SQL") == 1
    assert rows(admin, by_key) == [("s7",)]
    by_value = "SELECT id FROM customer WHERE ssn = 's8'"
    plan = remote_sql(admin, by_value)
    assert plan.count("Remote SQL") == SHARDS
    assert plan.count("WHERE ((ssn = 's8'))") == SHARDS
    assert rows(admin, by_value) == [(8,)]


def test_changes_that_are_pushed_down(admin: Connection) -> None:
    update = "UPDATE customer SET ssn = 'new' WHERE ssn IN ('s1', 's2', 's3') RETURNING id, ssn"
    assert "Foreign Update" in remote_sql(admin, update)
    assert sorted(rows(admin, update)) == [(1, "new"), (2, "new"), (3, "new")]
    delete = "DELETE FROM customer WHERE id < 3 RETURNING ssn"
    assert "Foreign Delete" in remote_sql(admin, delete)
    assert rows(admin, delete) == [("new",), ("new",)]
    with admin.transaction(force_rollback=True):
        rows(admin, "UPDATE customer SET name = 'gone'")
    assert value(admin, "SELECT count(*) FROM customer WHERE name = 'gone'") == 0


def test_changes_that_are_not_pushed_down(admin: Connection, shards: list[Cluster]) -> None:
    """postgres_fdw finds the rows by their ctid then, which no view has. A list of keys is pushed down."""
    admin.execute("CREATE TEMP TABLE wanted AS SELECT i AS id, 'w' || i AS name FROM generate_series(5, 8) AS i")
    before = stored(shards, "TABLE customer_encrypted ORDER BY id")
    for statement in (
        "UPDATE customer AS c SET name = w.name FROM wanted AS w WHERE w.id = c.id",
        "DELETE FROM customer AS c USING wanted AS w WHERE w.id = c.id",
        "UPDATE customer SET name = 'x' WHERE random() < 2",
    ):
        with pytest.raises(errors.UndefinedColumn, match='column "ctid" does not exist'):
            rows(admin, statement)
    assert stored(shards, "TABLE customer_encrypted ORDER BY id") == before
    rows(admin, "UPDATE customer SET name = 'y' WHERE id = ANY (ARRAY(SELECT id FROM wanted))")
    assert rows(admin, "SELECT id FROM customer WHERE name = 'y' ORDER BY 1") == [(5,), (6,), (7,), (8,)]
    rows(admin, "DELETE FROM customer WHERE id = ANY (ARRAY(SELECT id FROM wanted))")
    assert value(admin, "SELECT count(*) FROM customer") == ROWS - 4
    # Different values for different rows: a statement for each.
    rows(
        admin,
        "DO $$ DECLARE one record; BEGIN FOR one IN VALUES (1, 'p'), (2, 'q') LOOP"
        " UPDATE customer SET name = one.column2 WHERE id = one.column1; END LOOP; END $$",
    )
    assert rows(admin, "SELECT name FROM customer WHERE id < 3 ORDER BY id") == [("p",), ("q",)]


def test_upsert(admin: Connection) -> None:
    """ON CONFLICT does not reach through a view. An UPDATE first, and then an INSERT, do."""
    with pytest.raises(errors.UniqueViolation):
        rows(admin, "INSERT INTO customer (id, ssn) VALUES (1, 'x') ON CONFLICT DO NOTHING")
    with pytest.raises(errors.Error):
        rows(admin, "INSERT INTO customer (id, ssn) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET ssn = 'x'")
    admin.execute(
        "CREATE FUNCTION pg_temp.put (integer, text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN"
        " LOOP UPDATE customer SET ssn = $2 WHERE id = $1; EXIT WHEN FOUND;"
        " BEGIN INSERT INTO customer (id, ssn) VALUES ($1, $2); EXIT;"
        " EXCEPTION WHEN unique_violation THEN NULL; END; END LOOP; END $$"
    )
    rows(admin, "SELECT pg_temp.put(1, 'one'), pg_temp.put(500, 'five hundred')")
    assert rows(admin, "SELECT id, ssn FROM customer WHERE id IN (1, 500) ORDER BY 1") == [
        (1, "one"), (500, "five hundred"),
    ]  # fmt: skip


def test_lookup_by_blind_index_on_all_shards(admin: Connection, shards: list[Cluster]) -> None:
    """Each shard has a key of its own for it, so each computes the search term and uses its index."""
    admin.execute(
        "CREATE OR REPLACE FUNCTION by_ssn (sought text) RETURNS TABLE (id integer, name text)"
        " LANGUAGE plpgsql AS $$ DECLARE one name; BEGIN"
        " FOR one IN SELECT srvname FROM pg_foreign_server ORDER BY 1 LOOP"
        " RETURN QUERY SELECT * FROM public.dblink(one, format('SELECT id, name FROM public.customer WHERE"
        " ssn_bidx = pgkeymgr.blind_index(''customer'', ''ssn'', %L)', sought)) AS t (id integer, name text);"
        " END LOOP; END $$"
    )
    rows(admin, "UPDATE customer SET ssn = 'twin' WHERE id IN (1, 2, 3, 4)")
    assert sorted(row[0] for row in rows(admin, "SELECT id FROM by_ssn('twin')")) == [1, 2, 3, 4]
    assert rows(admin, "SELECT id FROM by_ssn('s9')") == [(9,)]
    terms = [result[0][0] for result in stored(shards, "SELECT blind_index('customer', 'ssn', 'twin')")]
    assert len(set(terms)) == SHARDS


def options(shards: list[Cluster]) -> list[str]:
    """Return the options of the command that name the shards."""
    return [
        word
        for shard in shards
        for word in (
            "--shard",
            f"host={shard.directory} port={shard.port} user=postgres dbname=shard password=secret",
        )
    ]


def key_ids(shards: list[Cluster]) -> list[list[tuple[Any, ...]]]:
    """Return the keys that the ciphertexts of each shard are under."""
    return stored(shards, "SELECT DISTINCT (token_info(ssn_encrypted)).key_id FROM customer_encrypted")


def test_rotation_on_all_shards(admin: Connection, shards: list[Cluster]) -> None:
    """One command, one result for each."""
    before = key_ids(shards)
    done = run("rotate", "column", "customer", "ssn", *options(shards))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done") == SHARDS
    assert "secret" not in done.stdout + done.stderr
    after = key_ids(shards)
    assert all(new[0] > old[0] and len(new) == 1 for new, old in zip(after, before, strict=True))
    assert value(admin, "SELECT count(DISTINCT ssn) FROM customer") == ROWS


def test_rotation_where_a_shard_fails(admin: Connection, shards: list[Cluster]) -> None:
    """The others are rotated. The result says which shard is left, and a second call does that."""
    with shards[0].connect("shard") as connection:
        connection.execute("ALTER TABLE customer_encrypted ADD CONSTRAINT broken CHECK (id <> 5) NOT VALID")
        (number,) = next(iter(rows(connection, "SELECT id FROM customer LIMIT 1")))
        connection.execute("ALTER TABLE customer_encrypted DROP CONSTRAINT broken")
        connection.execute(
            f"ALTER TABLE customer_encrypted ADD CONSTRAINT broken CHECK (id <> {number}) NOT VALID".encode()
        )
    before = key_ids(shards)
    done = run("rotate", "column", "customer", "ssn", "--json", *options(shards))
    assert done.returncode == 1
    results = json.loads(done.stdout)["shards"]
    assert [result["done"] for result in results] == [False, True]
    assert "broken" in results[0]["error"]
    assert str(shards[0].directory) in done.stderr
    assert key_ids(shards)[1] != before[1]
    # Reads and writes go on in the meantime, under both versions.
    assert value(admin, "SELECT count(DISTINCT ssn) FROM customer") == ROWS
    with shards[0].connect("shard") as connection:
        connection.execute("ALTER TABLE customer_encrypted DROP CONSTRAINT broken")
    done = run("rotate", "column", "customer", "ssn", "--json", *options(shards))
    assert done.returncode == 0
    assert all(len(ids) == 1 for ids in key_ids(shards))
    refused = run("rotate", "column", "customer", "ssn", "--database", "x", *options(shards))
    assert refused.returncode == 2


def test_a_shard_that_is_gone(coordinator: Cluster, admin: Connection, shards: list[Cluster]) -> None:
    """Its rows are out of reach, with an error. A statement on both shards changes neither of them."""
    there = value(admin, "SELECT min(id) FROM customer_0")
    gone = value(admin, "SELECT min(id) FROM customer_1")
    shards[1].stop()
    try:
        done = run("rotate", "column", "customer", "ssn", "--json", *options(shards))
        assert done.returncode == 1
        assert [result["done"] for result in json.loads(done.stdout)["shards"]] == [True, False]
        with coordinator.connect() as connection:
            assert rows(connection, f"SELECT ssn FROM customer WHERE id = {there}") == [(f"s{there}",)]
            for statement in (
                f"SELECT ssn FROM customer WHERE id = {gone}",
                "SELECT count(*) FROM customer",
                "UPDATE customer SET name = 'half'",
            ):
                with pytest.raises(psycopg.OperationalError):
                    rows(connection, statement)
    finally:
        shards[1].start()
    with coordinator.connect() as connection:
        assert value(connection, "SELECT count(*) FROM customer WHERE name = 'half'") == 0
        assert value(connection, "SELECT count(*) FROM customer") == ROWS


def test_a_shard_that_fails_in_the_middle(coordinator: Cluster, admin: Connection, shards: list[Cluster]) -> None:
    """Of a transaction, before its end: nothing is changed on the other shard."""
    there = value(admin, "SELECT min(id) FROM customer_0")
    gone = value(admin, "SELECT min(id) FROM customer_1")
    with coordinator.connect() as connection:
        rows(connection, "BEGIN")
        for number in (there, gone):
            rows(connection, f"UPDATE customer SET ssn = 'half' WHERE id = {number}")
        shards[1].stop("immediate")
        with pytest.raises(psycopg.OperationalError):
            rows(connection, f"UPDATE customer SET ssn = 'other' WHERE id = {gone}")
        rows(connection, "ROLLBACK")
    shards[1].start()
    with coordinator.connect() as connection:
        assert value(connection, "SELECT count(*) FROM customer WHERE ssn IN ('half', 'other')") == 0
        assert value(connection, "SELECT count(DISTINCT ssn) FROM customer") == ROWS


@pytest.fixture
def sealing(shards: list[Cluster]) -> Iterator[Connection]:
    """A session of a coordinator that has the extension, with partitions on plain tables of the shards."""
    with Cluster() as cluster:
        cluster.create_database("b")
        with cluster.connect("b") as connection:
            connection.execute("SET search_path = public, pgkeymgr")
            connection.execute("CREATE EXTENSION postgres_fdw")
            connection.execute("CREATE TABLE vault (id integer, note text, ssn bytea) PARTITION BY HASH (id)")
            for number, shard in enumerate(shards):
                place = f"host '{shard.directory}', port '{shard.port}', dbname 'shard'"
                for statement in (
                    f"CREATE SERVER shard_{number} FOREIGN DATA WRAPPER postgres_fdw OPTIONS ({place})",
                    f"CREATE USER MAPPING FOR postgres SERVER shard_{number} OPTIONS (user 'postgres')",
                    f"CREATE FOREIGN TABLE vault_{number} PARTITION OF vault FOR VALUES WITH (MODULUS {SHARDS},"
                    f" REMAINDER {number}) SERVER shard_{number} OPTIONS (table_name 'vault')",
                ):
                    connection.execute(statement.encode())
                with shard.connect("shard") as there:
                    there.execute("DROP TABLE IF EXISTS vault")
                    there.execute("CREATE TABLE vault (id integer PRIMARY KEY, note text, ssn bytea)")
            yield connection


def test_the_coordinator_encrypts_no_foreign_partitions(sealing: Connection) -> None:
    """Neither triggers nor columns can be made on their servers, and nothing is changed here."""
    for relation in ("vault", "vault_0"):
        with pytest.raises(errors.FeatureNotSupported):
            rows(sealing, f"SELECT encrypt_column('{relation}', 'note')")
    assert value(sealing, "SELECT count(*) FROM encrypted_relation") == 0
    assert value(sealing, "SELECT count(*) FROM data_keys") == 0


def test_tokens_of_the_coordinator(sealing: Connection, shards: list[Cluster]) -> None:
    """Tokens by hand: the shards have ciphertext only, and no key for it. A value opens in its own row."""
    rows(sealing, "SELECT create_data_key('vault')")
    rows(
        sealing,
        "INSERT INTO vault SELECT i, 'n', token_encrypt_text('vault', 'secret ' || i, int4send(i))"
        " FROM generate_series(1, 20) AS i",
    )
    opened = "SELECT id, token_decrypt_text(ssn, int4send(id)) FROM vault"
    assert rows(sealing, f"{opened} WHERE id = 7") == [(7, "secret 7")]
    assert len(set(rows(sealing, opened))) == 20
    seen = "count(*) FILTER (WHERE position('secret'::bytea IN ssn) > 0)"
    found = [result[0] for result in stored(shards, f"SELECT count(*), {seen} FROM vault")]
    assert sum(count for count, _ in found) == 20
    assert all(visible == 0 for _, visible in found)
    # Not pushed down, and the tables of the shards have a ctid.
    rows(sealing, "UPDATE vault SET ssn = token_encrypt_text('vault', 'new', int4send(id)) WHERE id IN (7, 8, 9)")
    rows(sealing, "DELETE FROM vault WHERE token_decrypt_text(ssn, int4send(id)) = 'secret 1'")
    left = ["new"] * 3 + [f"secret {number}" for number in range(2, 7)]
    assert sorted(row[1] for row in rows(sealing, f"{opened} WHERE id < 10")) == left
    for shard in shards:
        with shard.connect("shard") as connection:
            connection.execute("UPDATE vault SET ssn = (SELECT ssn FROM vault ORDER BY id LIMIT 1)")
    with pytest.raises(errors.DataException):
        rows(sealing, opened)
    rows(sealing, "UPDATE vault SET ssn = token_encrypt_text('vault', 'again', int4send(id))")
    (new,) = rows(sealing, "SELECT supersede_data_key('vault')")[0]
    rows(sealing, "UPDATE vault SET ssn = token_reencrypt(ssn, 'vault', int4send(id))")
    assert rows(sealing, "SELECT DISTINCT (token_info(ssn)).key_id FROM vault") == [(new,)]
    assert {row[1] for row in rows(sealing, opened)} == {"again"}
