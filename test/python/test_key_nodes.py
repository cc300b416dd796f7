"""Nodes that share keys: the ids that they give, and the one that makes the keys."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import column_database
import pytest
from cluster import Cluster
from column_database import new_database
from conftest import Connection, rows, value
from database_session import Database
from installed import run
from key_nodes import TABLES, nodes, settle, subscribe
from psycopg import errors
from sealed_session import call
from waiting import wait_until_blocked

server = column_database.server
database = column_database.database
admin = column_database.admin

MISSING = "SELECT 1 FROM doctor() WHERE check_name = 'key_nodes' AND object = '{}' AND status = 'warning'"


def in_thread(work: Callable[[], Any], watcher: Connection, meanwhile: Callable[[], Any]) -> Any:
    """Do work in a thread, and something else as soon as it waits for a lock; return the result of the work."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(work())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        wait_until_blocked(watcher, thread, outcome)
    finally:
        meanwhile()
        thread.join()
    (result,) = outcome
    return result


# Sequences


LAGGING = {
    "create": ("SELECT create_data_key('new')", "key"),
    "supersede": ("SELECT supersede_data_key('other')", "key"),
    "tenant": ("INSERT INTO tenant VALUES (7, 'x', 'seven') RETURNING id", "key"),
    "column": ("SELECT encrypt_column('plain', 's', 'other')::text", "encrypted_relation"),
    "second column": ("SELECT encrypt_column('tenant', 'more', 'other')::text", "encrypted_column"),
}


@pytest.mark.parametrize("case", LAGGING)
def test_sequence_behind(admin: Connection, case: str) -> None:
    """A row gets an id that is free although the sequence is behind; the doctor finds that, before it is so."""
    statement, table = LAGGING[case]
    rows(admin, "SELECT create_data_key(name) FROM unnest('{a,b,c,other}'::text[]) AS name")
    rows(admin, "CREATE TABLE tenant (id integer PRIMARY KEY, s text, more text)")
    rows(admin, "CREATE TABLE plain (id integer PRIMARY KEY, s text)")
    rows(admin, "SELECT encrypt_column('tenant', 's', 'a', key_by => 'id')")
    rows(admin, "INSERT INTO tenant VALUES (1, 'one')")
    greatest = value(admin, f"SELECT max(id) FROM {table}")
    rows(admin, f"SELECT setval('{table}_id_seq', 1, false)")
    assert rows(admin, MISSING.format(f"{table}_id_seq")) == [(1,)]
    assert len(rows(admin, statement)) == 1
    assert value(admin, f"SELECT max(id) FROM {table}") == greatest + 1
    assert rows(admin, MISSING.format(f"{table}_id_seq")) == []
    assert rows(admin, "SELECT s FROM tenant WHERE id = 1") == [("one",)]
    assert value(admin, "SELECT reason IS NULL FROM verify_key_events()")


def test_ids_of_another_session(database: Database, admin: Connection) -> None:
    """An id that another session takes at the same moment is not an error, and not a taken name."""
    rows(admin, "SELECT create_data_key('first')")
    last = value(admin, "SELECT last_value FROM key_id_seq")
    with database.session() as other, database.session() as watcher:
        for statement in ("SELECT create_data_key('second')", "SELECT supersede_data_key('first')"):
            last = value(admin, "SELECT last_value FROM key_id_seq")
            other.execute("BEGIN")
            # As a subscription does.
            rows(
                other,
                "SET LOCAL session_replication_role = replica;"
                " INSERT INTO key (id, family, name, owner, owner_name)"
                f" VALUES ({last + 1}, {last + 1}, 'brought {last + 1}', 10, 'postgres')",
            )
            made = in_thread(lambda: value(admin, statement), watcher, lambda: other.execute("COMMIT"))  # noqa: B023
            assert made == last + 2
    # The version that was superseded names the one that is there.
    assert value(admin, "SELECT superseded_by FROM data_keys WHERE name = 'first' AND superseded_by > 0") == made
    assert value(admin, "SELECT token_decrypt_text(token_encrypt_text('first', 'x'))") == "x"


def test_sessions_behind_at_once(database: Database, admin: Connection) -> None:
    """Sessions that find the sequence behind at the same time make keys with different ids."""
    rows(admin, "SELECT create_data_key('key ' || i) FROM generate_series(1, 10) AS i")
    for round_number in range(5):
        rows(admin, "SELECT setval('key_id_seq', 1)")
        barrier = threading.Barrier(4)
        made: list[Any] = []

        def make(number: int, at: int = round_number) -> None:
            with database.session() as session:
                rows(session, "SELECT token_encrypt('key 1', 'warm')")
                barrier.wait()  # noqa: B023
                try:
                    made.append(value(session, f"SELECT create_data_key('round {at} {number}')"))  # noqa: B023
                except Exception as error:
                    made.append(error)  # noqa: B023

        threads = [threading.Thread(target=make, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({*made}) == 4, made
        assert all(isinstance(each, int) for each in made), made


@pytest.mark.parametrize("number", [1, 2, 7])
def test_ids_of_a_node(server: Cluster, number: int) -> None:
    """A node of seven gives the ids of its class, also from a restored dump, and with its sequence behind."""
    with new_database(server) as source, new_database(server, "template0") as target:
        with source.session() as node:
            rows(node, "SELECT create_data_key('before')")
            rows(node, f"SELECT set_key_node({number}, 7, 20)")
            made = [value(node, f"SELECT create_data_key('{name}')") for name in "abc"]
            expected = [each for each in range(20, 60) if each % 7 == number % 7]
            assert made == expected[:3]
            rows(node, "SELECT setval('key_id_seq', 1)")
            assert value(node, "SELECT supersede_data_key('before')") == expected[3]
        dump = server.client(["pg_dump", source.name]).stdout
        server.client(["psql", "--set=ON_ERROR_STOP=1"], dbname=target.name, input=dump)
        with target.session() as node:
            assert value(node, "SELECT create_data_key('after')") == expected[4]
            assert rows(node, "SELECT node, nodes, first_id FROM key_node_status()") == [(number, 7, 20)]


# The node that makes the keys


@pytest.fixture(scope="module")
def two() -> Iterator[list[Connection]]:
    """Two nodes: the second has a subscription to the keys of the first, and nothing says so but that."""
    with nodes(2) as sessions:
        source, follower = sessions
        rows(source, "SELECT create_data_key('shared'), create_data_key('spare'), exchange_fingerprint()")
        rows(source, "CREATE ROLE reader; GRANT pgkeymgr_user TO reader")
        rows(follower, "CREATE ROLE reader; GRANT pgkeymgr_user TO reader")
        rows(source, "CREATE TABLE tenant (id integer PRIMARY KEY, s text)")
        rows(source, "SELECT encrypt_column('tenant', 's', 'shared', key_by => 'id')")
        rows(source, "INSERT INTO tenant VALUES (1, 'one')")
        subscribe(follower, source)
        rows(follower, "CREATE TABLE tenant (id integer PRIMARY KEY, s text, t text)")
        rows(follower, "SELECT encrypt_column('tenant', 's', 'shared', key_by => 'id')")
        yield sessions


REFUSED = (
    "SELECT create_data_key('new')",
    "SELECT create_key()",
    "SELECT create_cryptokey('new', 32, 'password')",
    "SELECT supersede_data_key('shared')",
    "SELECT disable_data_key(1)",
    "SELECT enable_data_key(1)",
    "SELECT destroy_data_key(2, 'spare', force => true)",
    "SELECT move_expiry('shared', 'infinity')",
    "SELECT add_root_wrap(1)",
    "SELECT rotate_root_key()",
    "SELECT rotate_exchange_key()",
    "INSERT INTO tenant VALUES (2, 'two')",
    "SELECT encrypt_column('tenant', 't')",
    "SELECT add_blind_index('tenant', 's')",
    "CALL rotate_column('tenant', 's')",
    "SELECT separate_column('tenant', 's')",
)


@pytest.mark.parametrize("statement", REFUSED)
def test_follower_makes_no_keys(two: list[Connection], statement: str) -> None:
    """A subscription to the key table is enough for each call that would change a key to be refused."""
    follower = two[1]
    keys = rows(follower, "SELECT * FROM key ORDER BY id")
    wraps = rows(follower, "SELECT * FROM key_wrap ORDER BY 1, 2, 3")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="publisher of subscription keys_2 makes them"):
        rows(follower, statement)
    assert rows(follower, "SELECT * FROM key ORDER BY id") == keys
    assert rows(follower, "SELECT * FROM key_wrap ORDER BY 1, 2, 3") == wraps
    assert value(follower, "SELECT state::text FROM encrypted_columns") == "encrypted"


def test_follower_takes_no_sealed_secrets(two: list[Connection]) -> None:
    """Sealed secrets that would change keys are refused; nothing is left of them."""
    for query in ("import_data_key('new', %s)", "add_passphrase('shared', %s)", "create_user_key(%s)"):
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match="subscription keys_2"):
            call(two[1], f"SELECT {query}", b"k" * 32)
    assert value(two[1], "SELECT count(*) FROM user_key") == 0


def test_follower_uses_keys_and_grants(two: list[Connection]) -> None:
    """A follower encrypts and decrypts. The publisher does not overwrite the grants that it makes."""
    source, follower = two
    rows(follower, "INSERT INTO tenant VALUES (1, 'here')")
    assert rows(follower, "SELECT id, s FROM tenant") == [(1, "here")]
    rows(source, "SELECT grant_data_key('shared', 'reader', '{search}')")
    settle(two)
    rows(follower, "SELECT grant_data_key('shared', 'reader', '{search,decrypt}')")
    rows(follower, "SELECT grant_data_key('shared', 'reader', '{decrypt}')")
    rows(source, "SELECT grant_data_key('shared', 'reader', '{encrypt}')")
    settle(two)
    usages = "SELECT usage FROM key_grant WHERE grantee = 'reader'::regrole ORDER BY usage"
    assert rows(follower, usages) == [(["decrypt"],), (["encrypt", "search"],)]
    rows(source, "SELECT disable_data_key(id) FROM data_keys WHERE name = 'spare'")
    settle(two)
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="disabled"):
        rows(follower, "SELECT token_encrypt_text('spare', 'x')")
    rows(source, "SELECT enable_data_key(id) FROM data_keys WHERE name = 'spare'")


def test_blind_index_key_stays(two: list[Connection]) -> None:
    """A key that was made for a blind index on a publisher stays, since subscribers may have it."""
    source, follower = two
    rows(source, "SELECT add_blind_index('tenant', 's')")
    settle(two)
    key = value(source, "SELECT id FROM data_keys WHERE name LIKE '%.bidx.%'")
    rows(follower, f"SELECT add_blind_index('tenant', 's', 'none', false, {key})")
    rows(source, "SELECT drop_blind_index('tenant', 's')")
    settle(two)
    assert value(follower, f"SELECT state::text FROM key WHERE id = {key}") == "enabled"
    rows(follower, "UPDATE tenant SET s = 'again'")
    found = "SELECT s FROM tenant WHERE s_bidx = blind_index('tenant', 's', 'again')"
    assert rows(follower, found) == [("again",)]
    rows(follower, "SELECT drop_blind_index('tenant', 's')")
    assert value(follower, f"SELECT count(*) FROM key WHERE id = {key}") == 1


def test_destroy_published(two: list[Connection]) -> None:
    """A published key is destroyed with force only, and then on all nodes. Subscribers name its dependents."""
    source, follower = two
    rows(source, "SELECT create_data_key('to destroy')")
    settle(two)
    rows(follower, "CREATE TABLE other (id integer PRIMARY KEY, s text)")
    rows(follower, "SELECT encrypt_column('other', 's', 'to destroy')")
    destroy = "SELECT destroy_data_key(id, name{}) FROM data_keys WHERE name = 'to destroy'"
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="is in publication keys") as refused:
        rows(source, destroy.format(""))
    assert "key_dependents(" in (refused.value.diag.message_hint or "")
    assert rows(source, "SELECT * FROM key_dependents('to destroy')") == []
    assert rows(follower, "SELECT * FROM key_dependents('to destroy')") == [
        ('column "s" of other is written with it',)
    ]
    rows(source, destroy.format(", force => true"))
    settle(two)
    assert value(follower, "SELECT state::text FROM key WHERE name = 'to destroy'") == "destroyed"
    assert value(follower, "SELECT count(*) FROM key_wrap JOIN key ON id = key_id WHERE name = 'to destroy'") == 0


def test_doctor_of_a_follower(two: list[Connection]) -> None:
    """The doctor names the maker of the keys, and misses the tables that are not published."""
    source, follower = two
    found = "SELECT status, message FROM doctor() WHERE check_name = 'key_nodes'"
    assert rows(follower, found) == [("ok", "keys are made by the publisher of subscription keys_2")]
    rows(source, "ALTER PUBLICATION keys DROP TABLE pgkeymgr.key_grant, pgkeymgr.user_key")
    rows(follower, "ALTER SUBSCRIPTION keys_2 REFRESH PUBLICATION")
    assert rows(follower, found) == [
        ("warning", "a subscription brings the table key, but not key_grant, user_key"),
    ]


def test_status_of_a_node(server: Cluster, database: Database, admin: Connection) -> None:
    """The command shows the number of the node, and the name of the one that makes the keys."""
    environment = server.client_environment(database.name)

    def status(user: str, *options: str) -> str:
        return run(
            "status", "--database", database.name, *options, environment={**environment, "PGUSER": user}
        ).stdout

    assert "key node" not in status("postgres")
    rows(admin, "SELECT set_key_node(2, 3), follow_key_source('main')")
    assert re.search(r"key node +2 of 3\n +keys made by +main\n", status("postgres"))
    (found,) = json.loads(status("postgres", "--json"))["databases"]
    assert found["key_node"] == {"node": 2, "nodes": 3, "makes_keys": False, "source": "main", "subscriptions": ""}
    rows(admin, "GRANT pgkeymgr_user TO col_other; GRANT USAGE ON SCHEMA pgkeymgr TO col_other")
    (found,) = json.loads(status("col_other", "--json"))["databases"]
    assert found["key_node"] is None
    assert found["columns"] == []


def test_switch_over_by_subscription() -> None:
    """Without its subscription, the follower makes keys, with ids that none has; not before."""
    with nodes(2) as (source, follower):
        rows(source, "SELECT create_data_key('key ' || i) FROM generate_series(1, 5) AS i")
        subscribe(follower, source)
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match="subscription keys_2 brings") as refused:
            rows(follower, "SELECT make_keys_here()")
        assert "DROP SUBSCRIPTION keys_2" in (refused.value.diag.message_hint or "")
        rows(follower, "SELECT follow_key_source('a')")
        rows(follower, "DROP SUBSCRIPTION keys_2")
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match='node "a" makes them'):
            rows(follower, "SELECT create_data_key('early')")
        rows(follower, "SELECT make_keys_here()")
        assert value(follower, "SELECT last_value FROM key_id_seq") == 5
        assert value(follower, "SELECT create_data_key('late')") == 6
        assert rows(follower, "SELECT event, detail FROM key_events WHERE key_id IS NULL ORDER BY link") == [
            ("follow_key_source", 'node "a"'),
            ("make_keys_here", "key_id_seq was behind"),
        ]


def test_waits_for_changes(database: Database, admin: Connection) -> None:
    """follow_key_source() returns when no transaction changes keys any more, and each later one is refused."""
    with database.session() as other, database.session() as watcher:
        other.execute("BEGIN")
        rows(other, "SELECT create_data_key('under way')")
        in_thread(
            lambda: rows(admin, "SELECT follow_key_source('a')"),
            watcher,
            lambda: other.execute("COMMIT"),
        )
        assert value(admin, "SELECT source FROM key_node_status()") == "a"
        # Its snapshot is from before.
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        rows(admin, "SELECT make_keys_here()")
        assert value(other, "SELECT count(*) FROM key") == 1
        rows(admin, "SELECT follow_key_source('b')")
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match='node "b" makes them'):
            rows(other, "SELECT create_data_key('late')")
        other.execute("ROLLBACK")


def test_all_tables(database: Database, admin: Connection) -> None:
    """A publication of all tables has the keys, too; without a key table in it, a publication does not matter."""
    rows(admin, "SELECT create_data_key('a'), create_data_key('b'), create_data_key('c')")
    rows(admin, "CREATE TABLE public.mine (id integer PRIMARY KEY)")
    rows(admin, "CREATE PUBLICATION mine FOR TABLE public.mine")
    rows(admin, "SELECT destroy_data_key(1, 'a')")
    for publication in ("FOR ALL TABLES", "FOR TABLES IN SCHEMA pgkeymgr", f"FOR TABLE {TABLES}"):
        rows(admin, f'CREATE PUBLICATION "All" {publication}')
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match='publication "All"'):
            rows(admin, "SELECT destroy_data_key(2, 'b')")
        rows(admin, 'DROP PUBLICATION "All"')
    rows(admin, "SELECT destroy_data_key(2, 'b')")
