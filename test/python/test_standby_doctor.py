"""The doctor and the command ``pgkeymgr status`` on a standby."""

import json
from collections.abc import Iterator

import pytest
from cluster import Cluster
from conftest import rows
from installed import run
from standby import standby_of, wait_for_replay

NAME = "followed"


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with Cluster() as running:
        running.create_database(NAME)
        yield running


def test_a_standby_is_examined(server: Cluster) -> None:
    with server.connect(NAME, options="-c search_path=public,pgkeymgr") as admin:
        rows(
            admin, "CREATE TABLE half (id integer PRIMARY KEY, s text); INSERT INTO half VALUES (1, 'x'), (2, 'y')"
        )
        rows(admin, "CREATE TABLE whole (id integer PRIMARY KEY, s text)")
        rows(admin, "SELECT encrypt_column('half', 's'), encrypt_column('whole', 's')")
        with (
            standby_of(server) as standby,
            standby.connect(NAME, options="-c default_transaction_read_only=on") as reader,
        ):
            wait_for_replay(admin, reader)
            found = rows(reader, "SELECT check_name, status, object, message, hint FROM pgkeymgr.doctor()")
            assert not [row for row in found if "could not be checked" in row[3]]
            assert not [row for row in found if row[1] == "error"]
            (unfinished,) = [row for row in found if row[0] == "columns_unfinished"]
            assert unfinished[1:3] == ("notice", "half.s") or unfinished[1:3] == ("notice", "public.half.s")
            assert unfinished[4].startswith("On the primary: CALL migrate_column(")
            (here,) = [row for row in found if row[0] == "standby"]
            assert here[1] == "ok"
            done = run("status", "--dsn", standby.dsn(NAME), "--json")
            assert done.returncode == 0, done.stderr
            (document,) = json.loads(done.stdout)["databases"]
            assert {(each["relation"], each["state"]) for each in document["columns"]} == {
                ("public.half", "migrating"),
                ("public.whole", "encrypted"),
            }
            done = run("doctor", "--dsn", standby.dsn(NAME))
            assert "could not be checked" not in done.stdout + done.stderr
            assert "half.s" in done.stdout
