"""Runs the SQL blocks of pages in docs/ in their order, as a reader would.

A page whose blocks need several servers, or results that are compared in detail, has a test file of its own:
``OTHER_TESTS``.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pytest
from cluster import Cluster
from conftest import rows
from document_blocks import TOP, Block, blocks, result, run_sql

OTHER_TESTS = {
    "docs/from-pgsodium.md": "test_from_pgsodium.py",
    "docs/from-vault.md": "test_vault.py",
    "docs/installation.md": "test_readme.py",
    "docs/key-lifecycle.md": "test_lifecycle_docs.py",
    "docs/keys.md": "test_readme.py",
    "docs/masks.md": "test_lifecycle_docs.py",
    "docs/replication.md": "test_published.py",
    "docs/runbooks.md": "test_runbooks.py",
    "docs/several-nodes.md": "test_several_nodes.py",
    "docs/upgrading.md": "test_update.py",
}
"""Which file tests the SQL of a page."""

CUSTOMER = """
CREATE TABLE customer (id integer PRIMARY KEY, name text, email text, ssn text);
INSERT INTO customer VALUES (1, 'Ann', 'ann@example.org', '123-45-6789');
GRANT SELECT ON customer TO app;
"""


class Page(NamedTuple):
    """How the SQL of a page runs.

    Attributes:
        before: SQL that the page takes for granted. The owner of the tables runs it before the block that begins
            with the key.
        not_run: the reason why the block that begins with the key is not run.
        values: a query for the value of each text that stands for a value.
    """

    before: Mapping[str, str] = {}
    not_run: Mapping[str, str] = {}
    values: Mapping[str, str] = {}


TERMINAL = "a person types a passphrase; test/regress/sql/sealed_secrets.sql has the same steps with a file"
CITUS = "it needs Citus: test_citus.py"

PAGES = {
    "docs/audit.md": Page(
        before={
            "SELECT * FROM pgkeymgr.verify_key_events": "SELECT pgkeymgr.create_data_key('letters');",
        },
        values={
            "1234": "SELECT max(link)::text FROM pgkeymgr.key_events",
            "\\x…": "SELECT (array_agg(hash ORDER BY link DESC))[1]::text FROM pgkeymgr.key_events",
        },
    ),
    "docs/doctor.md": Page(),
    "docs/encrypted-columns.md": Page(
        before={
            "SELECT pgkeymgr.encrypt_column('customer', 'ssn')": CUSTOMER,
            "-- as a superuser\nALTER SYSTEM": """
                SELECT pgkeymgr.encrypt_column('customer', 'ssn', deterministic => true);
                CALL pgkeymgr.migrate_column('customer', 'ssn');
            """,
            "SELECT pgkeymgr.add_blind_index('customer'": """
                SELECT pgkeymgr.encrypt_column('customer', 'email');
                CALL pgkeymgr.migrate_column('customer', 'email');
            """,
            "SELECT pgkeymgr.encrypt_column('invoice'": """
                CREATE TABLE invoice (id integer PRIMARY KEY, tenant_id integer NOT NULL, text text);
            """,
            "SELECT pgkeymgr.encrypt_column('document'": """
                CREATE TABLE document (id integer PRIMARY KEY, body text);
            """,
            "SELECT pgkeymgr.adopt_encrypted_table": """
                CREATE TABLE copy (LIKE customer_encrypted INCLUDING ALL);
                INSERT INTO copy SELECT * FROM customer_encrypted;
                DROP TABLE customer_encrypted CASCADE;
                ALTER TABLE copy RENAME TO customer_encrypted;
            """,
            "SELECT pgkeymgr.forget_dropped_table": "DROP TABLE customer_encrypted CASCADE;",
        },
    ),
    "docs/errors.md": Page(not_run={"BEGIN": "it is a part of a function"}),
    "docs/monitoring.md": Page(
        before={"-- as auditor\nSELECT role": CUSTOMER + "SELECT pgkeymgr.encrypt_column('customer', 'ssn');"},
    ),
    "docs/partitions.md": Page(
        before={
            "SELECT pgkeymgr.encrypt_column('measurement'": """
                CREATE TABLE measurement (day date, note text) PARTITION BY RANGE (day);
                CREATE TABLE archive_2020 (day date, note text);
                INSERT INTO archive_2020 VALUES ('2020-02-29', 'cold');
            """,
        },
        not_run={"UPDATE partman.part_config": "it needs pg_partman: test_partman.py"},
    ),
    "docs/root-rotation.md": Page(
        before={
            "SELECT pgkeymgr.crypto_secretbox_open": """
                CREATE TABLE old AS
                SELECT pgkeymgr.crypto_secretbox('text', nonce, pgkeymgr.derive_key(7)) AS data, nonce
                FROM pgkeymgr.crypto_secretbox_noncegen() AS nonce;
            """,
        },
        values={"bcfeb526…": "SELECT fingerprint FROM pgkeymgr.root_key_status()"},
    ),
    "docs/scale-out.md": Page(
        before={"-- as a superuser\nCREATE EXTENSION postgres_fdw": "DROP TABLE customer_encrypted CASCADE;"},
        not_run={
            "CREATE FUNCTION get_customer": "it needs PL/Proxy",
            "SET citus": CITUS,
            "SELECT undistribute_table": CITUS,
        },
    ),
    "docs/sealed-secrets.md": Page(
        not_run={
            "SELECT * FROM pgkeymgr.exchange_offer() \\gset": TERMINAL,
            "SELECT pgkeymgr.create_data_key('patients')": TERMINAL,
            "SELECT pgkeymgr.create_data_key('patients', wrap": TERMINAL,
            "BEGIN": TERMINAL,
        },
    ),
    "docs/search.md": Page(
        before={
            "SELECT pgkeymgr.add_blind_index('customer', 'name', 'casefold', kind => 'text')": """
                CREATE TABLE customer (id integer PRIMARY KEY, name text, born date, address inet, profile jsonb);
                INSERT INTO customer VALUES
                    (1, 'Ann Hofmann', '1990-05-01', '10.1.2.3', '{"city": "Ulm", "tags": ["new"]}');
                SELECT pgkeymgr.encrypt_column('customer', name)
                FROM unnest('{name,born,address,profile}'::name[]) AS name;
                CALL pgkeymgr.migrate_columns('customer');
            """,
        },
    ),
}
"""The pages whose blocks run here in psql."""


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A cluster with the roles that the pages name, and a database with the extension to copy."""
    with Cluster() as cluster:
        with cluster.connect() as connection:
            for role in ("shop_owner", "app", "loader"):
                rows(connection, f"CREATE ROLE {role} LOGIN")
        cluster.create_database("installed")
        with cluster.connect("installed") as connection:
            rows(connection, "GRANT pgkeymgr_admin TO shop_owner")
            rows(connection, "GRANT CREATE ON SCHEMA public TO shop_owner")
        yield cluster


@pytest.fixture
def database(server: Cluster) -> Iterator[str]:
    """A database with the extension as docs/installation.md installs it."""
    with server.database_copy("installed", "shop"):
        yield "shop"


def find(by_beginning: Mapping[str, str], block: Block) -> str | None:
    """Return what belongs to a block, whose beginning is the key. The longest key counts."""
    found = [beginning for beginning in by_beginning if block.text.startswith(beginning)]
    return by_beginning[max(found, key=len)] if found else None


def user(block: Block) -> str:
    """Return the role that runs a block: the owner of the tables, unless the first line names another one."""
    return block.user if block.text.startswith("-- as ") else "shop_owner"


def script(name: str) -> str:
    """Return the SQL of a page for psql, in the roles that the blocks name."""
    page = PAGES[name]
    parts, connected = [], ""
    for block in blocks(name, "sql"):
        if find(page.not_run, block):
            continue
        text = block.text
        for number, (placeholder, query) in enumerate(page.values.items()):
            if placeholder in text:
                text = text.replace(f"'{placeholder}'", f":'value_{number}'").replace(
                    placeholder, f":value_{number}"
                )
                text = f"SELECT ({query}) AS value_{number} \\gset\n{text}"
        for role, lines in (("shop_owner", find(page.before, block)), (user(block), text)):
            if lines is not None:
                parts += [f"\\connect - {role}"] * (role != connected) + [lines]
                connected = role
    return "\n".join(parts)


@pytest.mark.parametrize("name", PAGES)
def test_page(server: Cluster, database: str, name: str) -> None:
    """Each block runs in psql, in the session of the one before it if both have the same role."""
    psql = ["psql", "--no-psqlrc", "--quiet", "--echo-errors", "--set=ON_ERROR_STOP=1"]
    server.client(psql, database, input=script(name))


def test_the_tables_name_pages_and_blocks() -> None:
    """Every page with SQL is run somewhere, and the texts above are in the pages."""
    with_sql = {
        path for path in (f"docs/{file.name}" for file in (TOP / "docs").glob("*.md")) if any(blocks(path, "sql"))
    }
    assert with_sql == {*PAGES, *OTHER_TESTS, "docs/from-pgcrypto.md"}
    for path, file in OTHER_TESTS.items():
        assert path.removeprefix("docs/") in (TOP / "test/python" / file).read_text(encoding="utf-8"), path
    for path, page in PAGES.items():
        texts = [block.text for block in blocks(path, "sql")]
        for beginning in (*page.before, *page.not_run):
            assert sum(text.startswith(beginning) for text in texts) > 0, f"{path}: {beginning}"
        for placeholder in page.values:
            assert sum(placeholder in text for text in texts) == 1, f"{path}: {placeholder}"


def test_no_block_is_indented() -> None:
    """Tests find code in blocks with a language. The signatures of docs/reference.md are generated."""
    for path in sorted((TOP / "docs").glob("*.md")):
        text = re.sub(r"^( *)```.*?^ *```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        if path.name != "reference.md":
            assert re.findall(r"\n\n    .*", text) == [], path.name


def test_from_pgcrypto(server: Cluster, database: str) -> None:
    results = {}
    for block in blocks("docs/from-pgcrypto.md", "sql"):
        results.update(run_sql(server, database, block))
    assert result(results, "SELECT count(*) FROM patient") == [(0,)]
    assert result(results, "SELECT count(*) FROM pgkeymgr.verify_column") == [(0,)]
    assert result(results, "SELECT id, diagnosis_text FROM patient WHERE id IN") == [
        (1000, "diagnosis 1000"),
        (1001, "measles"),
    ]
    assert result(results, "SELECT id, diagnosis_text FROM patient WHERE id = 1000") == [(1000, "diagnosis 1000")]
