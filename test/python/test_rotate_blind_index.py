"""rotate_blind_index: a blind index gets another key, while others search by it and write, and it is killed."""

import contextlib
import random
import threading

import column_workload
import psycopg
import pytest
from column_workload import SEED, Target, is_lost
from conftest import Connection, rows, value
from partitioned_table import (
    PARTITIONS,
    Procedure,
    contents,
    encrypt,
    make_table,
    start_writers,
    stop_writers,
)
from psycopg import errors
from test_online_blind_index import PLAIN
from waiting import wait_until

server = column_workload.server
target = column_workload.target

FIXED = {number: ("eu", None, f"fixed value {number}") for number in range(5_000_001, 5_000_021)}
CONDITIONS = {
    "equality": "email_bidx = pgkeymgr.blind_index('customer', 'email', %s)",
    "text": "pgkeymgr.search_like('customer', 'email', email_terms, email, %s)",
}
NAMES = (
    "SELECT c.relname::text FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid"
    " WHERE c.relname ~ %s AND NOT c.relispartition ORDER BY 1"
)


class Searcher(threading.Thread):
    """A session that searches for rows that nobody changes, until it has ended."""

    def __init__(self, target: Target, kind: str) -> None:
        super().__init__(daemon=True)
        self._target = target
        self._query = f"SELECT id FROM customer WHERE {CONDITIONS[kind]}"
        self._is_over = threading.Event()
        self.searches = 0
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Search until it is enough."""
        chance = random.Random(SEED)  # noqa: S311
        try:
            while not self._is_over.is_set():
                with contextlib.suppress(psycopg.OperationalError), self._target.session() as connection:
                    while not self._is_over.is_set():
                        self._search(connection, chance)
                self._target.server.wait_until_ready()
        except BaseException as error:
            self.error = error

    def _search(self, connection: Connection, chance: random.Random) -> None:
        number = chance.choice(list(FIXED))
        try:
            found = connection.execute(self._query.encode(), [FIXED[number][2]]).fetchall()
        except psycopg.OperationalError as error:
            if not is_lost(error):
                raise AssertionError from error
            raise
        assert found == [(number,)]
        self.searches += 1

    def stop(self) -> int:
        """End, and return the number of searches."""
        self._is_over.set()
        self.join(60)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error
        return self.searches


def make_ready(
    connection: Connection, count: int, ddl: str, kind: str
) -> dict[int, tuple[str, str | None, str | None]]:
    """Make the table, with its columns encrypted, and a blind index of ``email``."""
    expected = make_table(connection, count, ddl)
    for number, (region, _, email) in FIXED.items():
        connection.execute("INSERT INTO customer (id, region, email) VALUES (%s, %s, %s)", [number, region, email])
    encrypt(connection, "ssn", "email")
    connection.execute("CALL pgkeymgr.migrate_columns('customer')")
    rows(connection, f"SELECT pgkeymgr.add_blind_index('customer', 'email', kind => '{kind}')")
    return expected


@pytest.mark.parametrize(("kind", "ddl"), [("equality", PARTITIONS), ("text", PLAIN)], ids=["equality", "text"])
def test_rotated_with_kills_while_others_search_and_write(target: Target, kind: str, ddl: str) -> None:
    chance = random.Random(f"{SEED} rotation")  # noqa: S311
    suffix = "bidx" if kind == "equality" else "terms"
    with target.session() as admin:
        expected = make_ready(admin, 600, ddl, kind)
        indexes = admin.execute(NAMES, [f"customer_email_{suffix}"]).fetchall()
        before = value(admin, "SELECT id FROM pgkeymgr.data_keys WHERE name ~ 'email\\.(bidx|terms)'")
    writers = start_writers(target, expected, 1)
    searcher = Searcher(target, kind)
    call = f"rotate_blind_index('customer', 'email', batch_size => 10, kind => '{kind}')"
    progress = "SELECT coalesce(sum(rows_done), 0) FROM pgkeymgr.column_progress WHERE operation = 'reindexing'"
    for _ in range(2):
        procedure = Procedure(target, call)
        with target.session() as watcher:
            goal = value(watcher, progress) + chance.randrange(10, 100)
            wait_until(lambda: not procedure.is_alive() or value(watcher, progress) >= goal, "progress")  # noqa: B023
            if not procedure.is_alive():
                break
            procedure.kill()
            target.server.wait_until_recovered(watcher)
    Procedure(target, call.replace("10", "200")).finish()
    assert searcher.stop() > 0
    expected = stop_writers(writers)
    with target.session() as admin:
        assert contents(admin) == expected | FIXED
        assert rows(admin, "SELECT * FROM pgkeymgr.verify_column('customer', 'email')") == []
        assert rows(admin, "TABLE pgkeymgr.column_progress") == []
        assert admin.execute(NAMES, [f"customer_email_{suffix}"]).fetchall() == indexes
        keys = rows(admin, "SELECT id FROM pgkeymgr.data_keys WHERE name ~ 'email\\.(bidx|terms)'")
        assert len(keys) == 1
        assert keys[0][0] != before
        admin.execute("SET enable_seqscan = off")
        plan = admin.execute(f"EXPLAIN SELECT id FROM customer WHERE {CONDITIONS[kind]}".encode(), ["fixed value"])
        scans = [line for (line,) in plan if "Scan" in line]
        assert scans
        assert not [line for line in scans if "Seq Scan" in line], plan
        findings = rows(
            admin,
            "SELECT check_name, object FROM pgkeymgr.doctor()"
            " WHERE check_name IN ('blind_indexes', 'columns_unfinished') AND status <> 'ok'",
        )
        assert findings == []


def test_names_constraints_and_privileges_stay(target: Target) -> None:
    with target.session() as admin:
        admin.execute("SET search_path = public, pgkeymgr")
        rows(admin, "CREATE TABLE account (id integer PRIMARY KEY, email text UNIQUE, name text)")
        rows(admin, "SELECT encrypt_column('account', 'email'), encrypt_column('account', 'name')")
        rows(admin, "SELECT add_blind_index('account', 'name', 'casefold', true)")
        rows(admin, "CREATE VIEW names AS SELECT id, name_bidx FROM account")
        rows(admin, "INSERT INTO account VALUES (1, 'a@example.org', 'Ann'), (2, 'b@example.org', 'Bob')")
        rows(admin, "CALL rotate_blind_index('account', 'email')")
        rows(admin, "CALL rotate_blind_index('account', 'name')")
        query = "SELECT id FROM names WHERE name_bidx = blind_index('account', 'name', 'ANN')"
        assert rows(admin, query) == [(1,)]
        for statement in (
            "INSERT INTO account VALUES (3, 'a@example.org', 'Cy')",
            "INSERT INTO account VALUES (3, 'c@example.org', 'bob')",
        ):
            with pytest.raises(errors.UniqueViolation, match=r"account_(email_key|name_bidx_idx)"):
                rows(admin, statement)
        rows(admin, "CREATE INDEX own ON account_encrypted (name_bidx)")
        with pytest.raises(errors.FeatureNotSupported, match='"own"'):
            rows(admin, "CALL rotate_blind_index('account', 'name')")
        rows(admin, "DROP INDEX own")
        with pytest.raises(errors.UndefinedObject):
            rows(admin, "CALL rotate_blind_index('account', 'name', kind => 'text')")
        rows(admin, "DROP VIEW names")
        rows(admin, "CALL decrypt_columns('account')")
        assert rows(admin, "SELECT id, email, name FROM account ORDER BY id") == [
            (1, "a@example.org", "Ann"),
            (2, "b@example.org", "Bob"),
        ]


def test_given_keys(target: Target) -> None:
    """Comparable indexes stay comparable: the caller says which key they get."""
    with target.session() as admin:
        admin.execute("SET search_path = public, pgkeymgr")
        rows(admin, "SELECT create_data_key('shared')")
        for name in ("one", "two"):
            rows(admin, f"CREATE TABLE {name} (id integer PRIMARY KEY, t text)")
            rows(admin, f"SELECT encrypt_column('{name}', 't'), add_blind_index('{name}', 't', key => 'shared')")
            rows(admin, f"INSERT INTO {name} VALUES (1, 'same')")
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match="a key that was named"):
            rows(admin, "CALL rotate_blind_index('one', 't')")
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match="already"):
            rows(admin, "CALL rotate_blind_index('one', 't', key => 'shared')")
        rows(admin, "SELECT supersede_data_key('shared')")
        for name in ("one", "two"):
            rows(admin, f"CALL rotate_blind_index('{name}', 't', key => 'shared')")
        assert value(admin, "SELECT count(*) FROM one JOIN two ON one.t_bidx = two.t_bidx") == 1
        assert value(admin, "SELECT count(*) FROM data_keys WHERE name = 'shared'") == 2


def test_waits_for_earlier_snapshots(target: Target) -> None:
    """A transaction that sees rows as they were before finds them until it ends."""
    with target.session() as admin, target.session() as earlier:
        make_ready(admin, 30, PLAIN, "equality")
        search = f"SELECT id FROM customer WHERE {CONDITIONS['equality']}".encode()
        earlier.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        rows(earlier, "SELECT")
        procedure = Procedure(target, "rotate_blind_index('customer', 'email')")
        waits = "which may see earlier versions of rows"
        wait_until(lambda: any(waits in notice for notice in procedure.notices), "it waits")
        assert earlier.execute(search, ["email 1"]).fetchall() == [(1,)]
        earlier.execute("COMMIT")
        procedure.finish()
        assert earlier.execute(search, ["email 1"]).fetchall() == [(1,)]
