"""Tables that are published: subscribers follow their encryption by the statements of docs/replication.md."""

import re
from collections.abc import Iterator
from pathlib import Path

import column_database
import pytest
from cluster import Cluster
from column_database import ANN, SETTINGS, make_customer, new_database
from conftest import rows, value
from installed import PREFIX
from psycopg import errors
from subscribers import catch_up, subscription

server = column_database.server
PAGE = Path(__file__).parents[2] / "docs" / "replication.md"
INSTALLED_PAGE = PREFIX / "share/doc/pgkeymgr/docs/replication.md"


def recipes() -> list[list[tuple[str, str]]]:
    """Return the page's recipes: lists of the place, from the comment, and the statements there."""
    blocks = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    return [re.findall(r"-- (.*)\n((?:[^-].*\n)*)", block) for block in blocks]


@pytest.fixture(scope="module")
def subscriber() -> Iterator[Cluster]:
    with Cluster(settings={**SETTINGS, "wal_retrieve_retry_interval": "100ms"}) as running:
        yield running


@pytest.mark.parametrize("has_extension", [False, True], ids=["bytes", "extension"])
def test_the_recipe(server: Cluster, subscriber: Cluster, has_extension: bool) -> None:
    recipe = next(
        each for each in recipes() if has_extension == any("with the extension" in place for place, _ in each)
    )
    with new_database(server) as database, database.session() as publisher:
        make_customer(publisher, encrypted=False)
        notices: list[str] = []
        publisher.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        kind = "FOR ALL TABLES" if has_extension else "FOR TABLE customer"
        with subscription(database, subscriber, kind, has_extension=has_extension) as reader:
            assert recipe
            for place, statements in recipe:
                if place == "wait for the subscriber":
                    catch_up(publisher)
                elif place == "publisher":
                    rows(publisher, statements)
                    # Writes go on, whatever the subscriber has.
                    rows(publisher, "INSERT INTO customer (name, ssn) VALUES ('New', '9')")
                else:
                    assert place == "subscriber" + " with the extension" * has_extension
                    reader.execute(statements.encode())
            catch_up(publisher)
            all_rows = [*ANN, (4, "New", "9"), (5, "New", "9")]
            assert rows(publisher, "SELECT id, name, ssn FROM customer ORDER BY id") == all_rows
            if has_extension:
                assert rows(reader, "SELECT id, name, ssn FROM customer ORDER BY id") == all_rows
                assert value(reader, "SELECT state::text FROM encrypted_columns") == "encrypted"
            else:
                assert rows(reader, "SELECT count(ssn), count(ssn_encrypted) FROM customer_encrypted") == [(0, 4)]
        told = [notice for notice in notices if "is published" in notice]
        assert told == [
            'pgkeymgr: public.customer_encrypted is published ("everything"): on each subscriber, '
            'rename "customer" to "customer_encrypted", and add the column "ssn_encrypted"; '
            f"see {INSTALLED_PAGE}"
        ]


def test_later_changes_are_told(server: Cluster) -> None:
    with new_database(server) as database, database.session() as admin:
        make_customer(admin)
        notices: list[str] = []
        admin.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        rows(admin, "CREATE PUBLICATION one FOR TABLE customer_encrypted")
        rows(admin, "CREATE PUBLICATION two FOR TABLES IN SCHEMA public")
        rows(admin, "SELECT add_blind_index('customer', 'ssn')")
        rows(admin, "CALL decrypt_column('customer', 'ssn')")
        start = 'pgkeymgr: public.customer_encrypted is published ("one", "two"): on each subscriber, '
        assert [notice.removeprefix(start) for notice in notices if "is published" in notice] == [
            f'add the column "ssn_bidx"; see {INSTALLED_PAGE}',
            f'rename it to "customer", and drop the column "ssn_encrypted"; see {INSTALLED_PAGE}',
        ]


def test_partitions_are_published(server: Cluster) -> None:
    """A publication has the partitions of a partitioned table, or the table itself."""
    with new_database(server) as database, database.session() as admin:
        notices: list[str] = []
        admin.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        rows(admin, "CREATE TABLE parted (id integer PRIMARY KEY, s text, t text) PARTITION BY RANGE (id)")
        rows(admin, "CREATE TABLE parted_0 PARTITION OF parted DEFAULT")
        rows(admin, "CREATE PUBLICATION leaves FOR TABLE parted")
        rows(admin, "SELECT encrypt_column('parted', 's')")
        rows(admin, "ALTER PUBLICATION leaves SET (publish_via_partition_root)")
        rows(admin, "SELECT encrypt_column('parted', 't')")
        assert [notice.split(":")[1] for notice in notices if "is published" in notice] == [
            ' public.parted_encrypted is published ("leaves")'
        ] * 2


PUBLICATIONS = {
    "no key": ("CREATE TABLE log (note text)", "FOR ALL TABLES"),
    "filter": ("CREATE TABLE log (id integer PRIMARY KEY, note text)", "FOR TABLE log WHERE (note IS NOT NULL)"),
    "partition": (
        "CREATE TABLE log (id integer, note text) PARTITION BY LIST (id);"
        " CREATE TABLE log_1 PARTITION OF log DEFAULT",
        "FOR TABLE log_1",
    ),
}


@pytest.mark.parametrize("name", PUBLICATIONS)
def test_a_table_that_cannot_be_updated_is_refused(server: Cluster, name: str) -> None:
    """No procedure could encrypt its rows, nor decrypt them again."""
    table, publication = PUBLICATIONS[name]
    with new_database(server) as database, database.session() as admin:
        rows(admin, table.replace("note text", "note text, secret text"))
        rows(
            admin,
            "INSERT INTO log (note, secret) VALUES ('n', 's')"
            if name == "no key"
            else "INSERT INTO log VALUES (1, 'n', 's')",
        )
        rows(admin, f"CREATE PUBLICATION changes {publication}")
        with pytest.raises(
            errors.InvalidColumnReference if name == "filter" else errors.ObjectNotInPrerequisiteState,
            match="cannot update table",
        ):
            rows(admin, "SELECT encrypt_column('log', 'secret')")
        assert value(admin, "SELECT relkind FROM pg_class WHERE relname = 'log'") != "v"
        rows(admin, "ALTER PUBLICATION changes SET (publish = 'insert')")
        rows(admin, "SELECT encrypt_column('log', 'secret')")
        rows(admin, "CALL migrate_column('log', 'secret')")
        assert rows(admin, "SELECT note, secret FROM log") == [("n", "s")]
