"""Equal values with different texts get no blind index, and a notice if their ciphertexts are deterministic."""

from collections.abc import Iterator

import pytest
from cluster import Cluster
from conftest import Connection, rows, value
from psycopg import errors


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[Cluster]:
    with cluster.temporary_database("equal_values"):
        yield cluster


@pytest.fixture
def admin(database: Cluster) -> Iterator[Connection]:
    """A superuser's session in a transaction, with a collation that ignores case."""
    with database.connect("equal_values") as connection:
        connection.execute("""
            BEGIN; CREATE SCHEMA own; SET LOCAL search_path = own, pgkeymgr;
            CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
            CREATE DOMAIN name_of_any_case AS text COLLATE any_case""")
        try:
            yield connection
        finally:
            connection.execute("ROLLBACK")


def make(admin: Connection, column: str) -> None:
    rows(admin, f"CREATE TABLE t (id integer PRIMARY KEY, v {column}, s text)")


def check_refused(admin: Connection, statement: str, message: str) -> None:
    with pytest.raises(errors.FeatureNotSupported, match=message), admin.transaction():
        rows(admin, statement)


@pytest.mark.parametrize("column", ["text COLLATE any_case", "name_of_any_case"])
def test_a_collation_that_ignores_case(admin: Connection, column: str) -> None:
    make(admin, column)
    rows(admin, "SELECT encrypt_column('t', 'v'), encrypt_column('t', 's')")
    for arguments in (
        "'t', 'v'",
        "'t', 'v', 'casefold', true",
        "'t', 'v', kind => 'text'",
        """'t', 's', kind => 'compound', options => '{"with": ["v"]}'""",
    ):
        message = '"v" of t: values that are equal by its collation'
        check_refused(admin, f"SELECT add_blind_index({arguments})", message)
    rows(admin, "SELECT add_blind_index('t', 's')")


def test_different_deterministic_ciphertexts(admin: Connection) -> None:
    make(admin, "numeric")
    rows(
        admin,
        "ALTER TABLE t ADD COLUMN j jsonb, ADD COLUMN i interval, ADD COLUMN a text[],"
        " ADD COLUMN c text COLLATE any_case, ADD COLUMN d name_of_any_case",
    )
    notices: list[str] = []
    admin.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    for column in "vjiacd":
        rows(admin, f"SELECT encrypt_column('t', '{column}', deterministic => true)")
        assert notices[-1].startswith(f'pgkeymgr: equal values of column "{column}" of t can have different texts')


def test_equal_values_have_equal_ciphertexts(admin: Connection) -> None:
    make(admin, "numeric(8, 2)")
    rows(admin, "ALTER TABLE t ADD COLUMN c char(4), ADD COLUMN z timestamptz")
    notices: list[str] = []
    admin.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    for column in "vcz":
        rows(admin, f"SELECT encrypt_column('t', '{column}', deterministic => true)")
    assert not any("equal values of column" in notice for notice in notices)
    rows(
        admin,
        "INSERT INTO t (id, v, c, z) VALUES (1, 1.5, 'a', '2026-01-01 12:00+00'),"
        " (2, 1.50, 'a  ', '2026-01-01 13:00+01')",
    )
    for column, text in (("v", "1.500"), ("c", "a "), ("z", "2026-01-01 14:00+02")):
        assert value(admin, f"SELECT count(DISTINCT {column}_encrypted) FROM t_encrypted") == 1
        found = f"{column}_encrypted = ANY (deterministic_tokens('t', '{column}', '{text}'))"
        assert value(admin, f"SELECT count(*) FROM t_encrypted WHERE {found}") == 2
