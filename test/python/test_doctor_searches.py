"""The doctor's look at statements that compare an encrypted column without its blind index."""

import pytest
from cluster import Cluster
from conftest import rows
from pgkeymgr.doctor.searches import compares


@pytest.mark.parametrize(
    ("query", "kind", "expected"),
    [
        ("SELECT * FROM customer WHERE ssn = $1", "equality", True),
        ('select count(*) from shop."customer" c where c."ssn" IN ($1, $2)', "equality", True),
        ("SELECT * FROM customer WHERE ssn::text = $1", "equality", True),
        ("DELETE FROM customer WHERE id = $1 AND lower(ssn) = $2", "equality", True),
        ("SELECT * FROM customer WHERE ssn_bidx = blind_index($1, $2, $3) AND ssn = $4", "equality", False),
        ("SELECT * FROM customers WHERE ssn = $1", "equality", False),
        ("SELECT * FROM customer WHERE other_ssn = $1", "equality", False),
        ("UPDATE customer SET ssn = $1 WHERE id = $2", "equality", False),
        ("SELECT ssn = $1 FROM customer", "equality", False),
        ("SELECT f(ssn => $1) FROM customer WHERE f(ssn => $2)", "equality", False),
        ("SELECT * FROM customer WHERE ssn LIKE $1", "text", True),
        ("SELECT * FROM customer WHERE UPPER(ssn::text) LIKE UPPER($1)", "text", True),
        ("SELECT * FROM customer WHERE ssn = $1", "text", False),
        ("SELECT * FROM customer WHERE ssn BETWEEN $1 AND $2", "range", True),
        ("SELECT * FROM customer WHERE ssn >= $1", "range", True),
        ("SELECT * FROM customer WHERE ssn @> $1", "json", True),
    ],
)
def test_compares(query: str, kind: str, expected: bool) -> None:
    assert compares(query, "customer", "ssn", "ssn_bidx", kind) is expected


def test_searches() -> None:
    with Cluster(settings={"shared_preload_libraries": "pg_stat_statements"}) as cluster:
        cluster.create_database("test")
        with cluster.connect("test") as connection:

            def found() -> list[tuple[str, str | None, str]]:
                return rows(
                    connection,
                    "SELECT status, object, message FROM pgkeymgr.doctor() WHERE check_name = 'searches'",
                )

            rows(connection, "CREATE TABLE customer (id integer PRIMARY KEY, ssn text, name text)")
            rows(connection, "INSERT INTO customer SELECT i, i, 'secret ' || i FROM generate_series(1, 50) AS i")
            for name in ("ssn", "name"):
                rows(connection, f"SELECT pgkeymgr.encrypt_column('customer', '{name}')")
                rows(connection, f"CALL pgkeymgr.migrate_column('customer', '{name}')")
            rows(connection, "SELECT * FROM customer WHERE ssn = '7'")
            assert found() == [("ok", None, "nothing found")]
            # The extension is not there yet. Without an index, nothing better could be done.
            rows(connection, "CREATE EXTENSION pg_stat_statements")
            assert found() == [("ok", None, "nothing found")]
            rows(connection, "SELECT pgkeymgr.add_blind_index('customer', 'ssn')")
            rows(connection, "SELECT pgkeymgr.add_blind_index('customer', 'name', kind => 'text')")
            rows(connection, "SELECT * FROM customer WHERE name LIKE '%secret 7%'")
            reported = found()
            assert [(status, name) for status, name, _ in reported] == [
                ("notice", "public.customer.ssn"),
                ("notice", "public.customer.name"),
            ]
            assert "equality blind index" in reported[0][2]
            assert "1 call," in reported[1][2]
            assert not any("secret" in message for _, _, message in reported)
            # Statements that use the index are as they should be.
            rows(connection, "SELECT pg_stat_statements_reset()")
            search = "pgkeymgr.search_like('customer', 'name', name_terms, name, '%secret 7%')"
            rows(connection, f"SELECT * FROM customer WHERE {search}")
            assert found() == [("ok", None, "nothing found")]
