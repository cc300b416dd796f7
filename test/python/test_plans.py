"""Typical queries have the same plans on a table with an encrypted column as on a plain one.

docs/plans.md has the queries and their plans, and says where they differ. The test compares it with the present
plans; with PGK_WRITE_PLANS=1 in the environment, it writes the page instead.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cluster import Cluster
from conftest import Connection, rows, value

PAGE = Path(__file__).parents[2] / "docs" / "plans.md"

SETUP = """
CREATE TABLE plain.customer (
    id integer PRIMARY KEY, name text NOT NULL, ssn text, city text NOT NULL, born date NOT NULL, note text
);
CREATE TABLE plain.purchase (
    id integer PRIMARY KEY, customer_id integer NOT NULL REFERENCES plain.customer, amount numeric NOT NULL
);
CREATE INDEX customer_city ON plain.customer (city);
CREATE INDEX customer_born ON plain.customer (born);
CREATE INDEX purchase_customer ON plain.purchase (customer_id);
CREATE TABLE hidden.customer (LIKE plain.customer INCLUDING ALL EXCLUDING INDEXES, PRIMARY KEY (id));
CREATE TABLE hidden.purchase (
    id integer PRIMARY KEY, customer_id integer NOT NULL REFERENCES hidden.customer, amount numeric NOT NULL
);
CREATE INDEX customer_city ON hidden.customer (city);
CREATE INDEX customer_born ON hidden.customer (born);
CREATE INDEX purchase_customer ON hidden.purchase (customer_id);
CREATE INDEX customer_ssn ON plain.customer (ssn);
SELECT pgkeymgr.encrypt_column('hidden.customer', 'ssn');
SELECT pgkeymgr.add_blind_index('hidden.customer', 'ssn');
INSERT INTO plain.customer SELECT i, 'name ' || i, substr(md5(i::text), 1, 11), 'city ' || i % 100,
    date '1950-01-01' + i % 20000, repeat('n', 300) FROM generate_series(1, 5000) AS i;
INSERT INTO hidden.customer SELECT * FROM plain.customer;
INSERT INTO plain.purchase SELECT i, i % 5000 + 1, i % 90 FROM generate_series(1, 20000) AS i;
INSERT INTO hidden.purchase SELECT * FROM plain.purchase;
VACUUM (FREEZE, ANALYZE)
"""

BLIND = "ssn_bidx = pgkeymgr.blind_index('hidden.customer', 'ssn', '1679091c5a8')"


class Query(NamedTuple):
    """A query on the tables customer and purchase.

    Attributes:
        text: the query.
        why: why the plan differs on the view; empty where it must not.
        on_view: the query that does the same on the view, if it is another one.
    """

    text: str
    why: str = ""
    on_view: str = ""


QUERIES = (
    Query("SELECT * FROM customer WHERE id = 7"),
    Query("SELECT name FROM customer WHERE id = 7"),
    Query("SELECT * FROM customer WHERE id IN (7, 8, 9)"),
    Query("SELECT * FROM customer WHERE id BETWEEN 100 AND 200"),
    Query("SELECT * FROM customer WHERE city = 'city 7'"),
    Query("SELECT * FROM customer WHERE city = 'city 7' ORDER BY id LIMIT 10"),
    Query("SELECT * FROM customer WHERE id > 1000 ORDER BY id LIMIT 100"),
    Query("SELECT * FROM customer ORDER BY id LIMIT 100 OFFSET 1000"),
    Query("SELECT * FROM customer ORDER BY born DESC LIMIT 10"),
    Query("SELECT * FROM customer WHERE born < '1950-02-01' AND city = 'city 7'"),
    Query("SELECT count(*) FROM customer"),
    Query(
        "SELECT count(ssn) FROM customer",
        "The view decrypts a value before it is counted. `count(*)` decrypts nothing.",
    ),
    Query("SELECT city, count(*) FROM customer GROUP BY city"),
    Query("SELECT max(born) FROM customer"),
    Query("SELECT DISTINCT city FROM customer"),
    Query("SELECT name, row_number() OVER (PARTITION BY city ORDER BY born) FROM customer"),
    Query("SELECT c.ssn, p.amount FROM customer AS c JOIN purchase AS p ON p.customer_id = c.id WHERE c.id = 7"),
    Query("SELECT c.ssn, p.amount FROM customer AS c JOIN purchase AS p ON p.customer_id = c.id WHERE p.id = 7"),
    Query("SELECT c.city, sum(amount) FROM customer AS c JOIN purchase AS p ON p.customer_id = c.id GROUP BY 1"),
    Query("SELECT name FROM customer AS c WHERE EXISTS (SELECT FROM purchase WHERE customer_id = c.id)"),
    Query("SELECT name FROM customer AS c WHERE NOT EXISTS (SELECT FROM purchase WHERE customer_id = c.id)"),
    Query("SELECT c.ssn FROM customer AS c LEFT JOIN purchase AS p ON p.customer_id = c.id WHERE p.id IS NULL"),
    Query("SELECT * FROM customer WHERE id = 7 FOR UPDATE"),
    Query("UPDATE customer SET name = 'x' WHERE id = 7"),
    Query("UPDATE customer SET name = 'x' WHERE city = 'city 7'"),
    Query("DELETE FROM customer WHERE id = 7"),
    Query("DELETE FROM customer WHERE city = 'city 7'"),
    Query(
        "SELECT * FROM customer WHERE ssn = '1679091c5a8'",
        on_view=f"SELECT * FROM customer WHERE {BLIND}",
    ),
    Query(
        "SELECT * FROM customer WHERE ssn = '1679091c5a8'",
        "An index cannot hold the value. Search by `blind_index()`, as in the row above.",
    ),
    Query(
        "SELECT * FROM customer ORDER BY ssn LIMIT 10",
        "Ciphertexts have no order, so all values are decrypted. Order by another column.",
    ),
    Query("SELECT * FROM customer WHERE ssn LIKE '%167%'"),
)


@pytest.fixture(scope="module")
def session() -> Iterator[Connection]:
    """A superuser's session with the tables, once plain and once with an encrypted column."""
    with Cluster(settings={"autovacuum": "off"}) as server:
        server.create_database("test")
        with server.connect("test") as connection:
            connection.execute("CREATE SCHEMA plain")
            connection.execute("CREATE SCHEMA hidden")
            for statement in SETUP.split(";"):
                connection.execute(statement.encode())
            yield connection


def shape(node: dict[str, Any]) -> str:
    """Return the plan as text: each node, its relation or index, and in parentheses the nodes below it."""
    text: str = node["Node Type"] if node["Node Type"] != "ModifyTable" else node["Operation"]
    if node.get("Join Type", "Inner") != "Inner":
        text += f" {node['Join Type']}"
    name = node.get("Index Name", node.get("Relation Name"))
    if name is not None:
        name = name.replace("_encrypted", "").replace("ssn_bidx_idx", "ssn")
        text += f" {name}"
    if "Plans" in node:
        text += f" ({', '.join(shape(below) for below in node['Plans'])})"
    return text


def plan(connection: Connection, schema: str, query: str) -> str:
    """Return the shape of the plan of a query on the tables of a schema."""
    connection.execute(f"SET search_path = {schema}, pgkeymgr".encode())
    explained = value(connection, f"EXPLAIN (FORMAT JSON) {query}")
    assert isinstance(explained, list)
    return shape(explained[0]["Plan"])


def page(found: list[tuple[Query, str, str]]) -> str:
    """Return the text of docs/plans.md."""
    lines = [
        "# Plans of typical queries",
        "",
        "The table compares the plans of typical queries on a plain table and on the view of a table whose column",
        "`ssn` is encrypted. `test/python/test_plans.py` makes the page, and fails if another plan differs.",
        "The plans are those of PostgreSQL 15, with the suffix `_encrypted` of the base table left out.",
        "",
        "| query | plan on the plain table | plan on the view |",
        "| --- | --- | --- |",
    ]
    for query, plain, hidden in found:
        text = f"`{query.text}`" + (f" (on the view: `{query.on_view}`)" if query.on_view else "")
        lines.append(f"| {text} | {plain} | {'the same' if plain == hidden else f'{hidden}. {query.why}'} |")
    return "\n".join(lines) + "\n"


def test_plans(session: Connection) -> None:
    found = [
        (query, plan(session, "plain", query.text), plan(session, "hidden", query.on_view or query.text))
        for query in QUERIES
    ]
    if os.environ.get("PGK_WRITE_PLANS"):
        PAGE.write_text(page(found))
    for query, plain, hidden in found:
        assert (plain == hidden) is not bool(query.why), (query.text, plain, hidden)
    if session.info.server_version < 160000:  # other versions may choose other plans, but the same for both
        assert PAGE.read_text() == page(found)


def test_few_calls_start_no_worker(session: Connection) -> None:
    """A worker starts Python and reads the key, which takes as long as many thousand calls."""
    rows(session, "SET search_path = hidden, pgkeymgr")
    rows(session, "CREATE TABLE token (id integer, token bytea)")
    rows(session, "INSERT INTO token SELECT i, '\\x01' FROM generate_series(1, 1000) AS i")
    rows(session, "ANALYZE token")
    rows(session, "SET min_parallel_table_scan_size = 0")
    try:
        for query in (
            "SELECT ssn FROM customer",
            "SELECT token_decrypt(token) FROM token",
            "SELECT token_decrypt_text(token) FROM token WHERE token_try_decrypt(token) IS NOT NULL",
            "SELECT crypto_auth_hmacsha256(token, token) FROM token",
        ):
            assert "Gather" not in plan(session, "hidden", query), query
        rows(session, "INSERT INTO token SELECT i, '\\x01' FROM generate_series(1, 100000) AS i")
        rows(session, "ANALYZE token")
        many = "SELECT count(crypto_auth_hmacsha256(token, token)) FROM token"
        assert "Gather" in plan(session, "hidden", many)
    finally:
        rows(session, "RESET min_parallel_table_scan_size")
