"""The applications of test/application give the same results on plain tables and on encrypted columns.

Each has two databases with the same tables, rows and grants; in one of them, columns are then encrypted. Its tests
run on both as roles that own nothing.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from application.payroll.schema import ROLES
from cluster import Cluster
from conftest import rows, value

Results = dict[str, dict[str, Any]]

LEFT_BEHIND = b"Left-Behind"
"""A text that each suite writes into several columns, and does not remove."""


@dataclass(frozen=True)
class Suite:
    """An application and its tests.

    Attributes:
        name: in databases and files.
        prepare: the arguments of Python that make tables and rows, as their owner.
        grants: what the application is granted, as SQL.
        run: the arguments of Python that run the tests.
        at_least: how many tests there are.
        columns: for each table, the columns to be encrypted.
        left_behind: the tables in which the tests leave a row.
    """

    name: str
    prepare: tuple[tuple[str, ...], ...]
    grants: str
    run: tuple[str, ...]
    at_least: int
    columns: dict[str, tuple[str, ...]]
    left_behind: tuple[str, ...]


SUITES = (
    Suite(
        name="clinic",
        prepare=(
            ("-m", "application.clinic.manage", "migrate", "--verbosity=0"),
            ("-m", "application.clinic.manage", "loaddata", "--verbosity=0", "clinic"),
        ),
        grants="GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app",
        run=("-m", "application.clinic.manage", "test", "application.clinic"),
        at_least=103,
        columns={
            "clinic_patient": (
                "name", "ssn", "email", "birth_date", "blood_type", "balance", "height", "insurance_number",
                "registered_at", "is_active", "notes", "history", "phones", "card", "photo",
            ),
            "clinic_visit": ("ended_at", "diagnosis", "vitals", "fee", "discount"),
            "clinic_prescription": ("drug", "doses", "repeats"),
            "clinic_document": ("title", "body", "content", "signed_on"),
            "auth_user": ("first_name", "last_name", "email"),
        },
        left_behind=("clinic_patient",),
    ),
    Suite(
        name="shop",
        prepare=(("-m", "application.shop.schema"),),
        grants="GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app;"
        "GRANT USAGE ON SEQUENCE purchase_id_seq TO app",
        run=("-m", "application.shop"),
        at_least=64,
        columns={
            "customer": (
                "name", "email", "phone", "tier", "tags", "scores", "preferences", "consent", "credit",
                "birth_date", "last_seen", "avatar", "referral", "newsletter", "points", "logins",
            ),
            "purchase": ("status", "note", "placed_at", "shipping", "gift"),
            "product": ("title", "attributes", "weight"),
            "api_key": ("label", "secret", "expires_on"),
        },
        left_behind=("customer",),
    ),
    Suite(
        name="payroll",
        prepare=(("-m", "application.payroll.schema"),),
        grants="",  # schema.sql has them
        run=("-m", "application.payroll"),
        at_least=128,
        columns={
            "employee": (
                "name", "tax_number", "salary", "bonus", "level", "mail", "phones", "grid", "born", "hired_at",
                "active", "points", "desk", "reference", "photo", "profile", "contract", "last_day",
            ),
            "payslip": ("amount", "note", "paid"),
            "equipment": ("label", "price", "serial_number"),
            "appraisal": ("words", "score"),
            "case_file": ("subject", "body"),
        },
        left_behind=("employee", "payslip", "equipment"),
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def applications() -> Iterator[Cluster]:
    """A cluster with the roles of the applications."""
    with Cluster() as running:
        with running.connect() as connection:
            for role in ROLES:
                connection.execute(f"CREATE ROLE {role} LOGIN".encode())
        yield running


@pytest.fixture(scope="module", params=SUITES, ids=[suite.name for suite in SUITES])
def suite(request: pytest.FixtureRequest) -> Suite:
    """One application after the other."""
    chosen: Suite = request.param
    return chosen


@pytest.fixture(scope="module")
def plain(applications: Cluster, suite: Suite, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The results on plain tables."""
    database = f"{suite.name}_plain"
    with applications.connect() as connection:
        connection.execute(f"CREATE DATABASE {database}".encode())
    prepare(applications, suite, database)
    return run(applications, suite, database, tmp_path_factory.mktemp(database))


def python(cluster: Cluster, database: str, user: str, arguments: tuple[str, ...], **environment: str) -> str:
    """Run Python with the applications, and return what it prints, whether it succeeds or not."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env={
            **cluster.client_environment(database),
            "PGUSER": user,
            "PYTHONPATH": str(Path(__file__).parents[1]),
            **environment,
        },
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if user == "postgres" and done.returncode:
        raise RuntimeError(done.stdout)
    return done.stdout


def prepare(cluster: Cluster, suite: Suite, database: str) -> None:
    """Make tables, rows and grants."""
    for arguments in suite.prepare:
        python(cluster, database, "postgres", arguments)
    with cluster.connect(database) as connection:
        connection.execute(suite.grants.encode())


def run(cluster: Cluster, suite: Suite, database: str, directory: Path) -> Results:
    """Run the tests, show what they print, and return what they recorded."""
    results = directory / "results.json"
    print(python(cluster, database, "app", suite.run, RESULTS=str(results)))
    found: Results = json.loads(results.read_text())
    return found


def encrypt(cluster: Cluster, suite: Suite, database: str) -> None:
    """Encrypt the columns, and the rows that are there."""
    with cluster.connect(database) as connection:
        connection.execute(f"GRANT pgkeymgr_user TO {', '.join(ROLES)}".encode())
        for table, columns in suite.columns.items():
            for column in columns:
                connection.execute("SELECT pgkeymgr.encrypt_column(%s::regclass, %s)", [table, column])
                connection.execute(f"CALL pgkeymgr.migrate_column('{table}', '{column}')".encode())


def data_on_disk(cluster: Cluster, database: str, table: str) -> bytes:
    """Return the files of a table and of its TOAST table."""
    with cluster.connect(database) as connection:
        connection.execute("CHECKPOINT")
        paths = value(
            connection,
            "SELECT array_agg(pg_relation_filepath(d.oid)) FROM pg_class AS c"
            f" JOIN pg_class AS d ON d.oid IN (c.oid, c.reltoastrelid) WHERE c.oid = '{table}'::regclass",
        )
    return b"".join((cluster.data / path).read_bytes() for path in paths)


def not_ok(results: Results) -> dict[str, str]:
    """Return the outcomes of the tests that failed, or were skipped."""
    return {name: result["outcome"] for name, result in results.items() if result["outcome"] != "ok"}


def test_plain_tables(applications: Cluster, suite: Suite, plain: Results) -> None:
    assert not_ok(plain) == {}
    assert len(plain) >= suite.at_least
    for table in suite.left_behind:
        assert LEFT_BEHIND in data_on_disk(applications, f"{suite.name}_plain", table)


def test_encrypted_columns(applications: Cluster, suite: Suite, plain: Results, tmp_path: Path) -> None:
    database = f"{suite.name}_encrypted"
    applications.create_database(database)
    prepare(applications, suite, database)
    encrypt(applications, suite, database)
    encrypted = run(applications, suite, database, tmp_path)
    assert not_ok(encrypted) == {}
    assert {name: result for name, result in encrypted.items() if result != plain.get(name)} == {}
    assert encrypted == plain
    with applications.connect(database) as connection:
        for table, columns in suite.columns.items():
            assert value(connection, f"SELECT relkind FROM pg_class WHERE oid = '{table}'::regclass") == "v"
            there = rows(
                connection,
                "SELECT attname, atttypid::regtype::text FROM pg_attribute"
                f" WHERE attrelid = '{table}_encrypted'::regclass AND attnum > 0 AND NOT attisdropped",
            )
            for column in columns:
                assert value(connection, f"SELECT count({column}) FROM {table}_encrypted") == 0
                assert dict(there)[f"{column}_encrypted"] == "bytea"
                # Of the rows from before, at least one has a value.
                tokens = rows(
                    connection,
                    f"SELECT DISTINCT (pgkeymgr.token_info({column}_encrypted)).format FROM {table}_encrypted"
                    f" WHERE {column}_encrypted IS NOT NULL",
                )
                assert tokens
    for table in suite.left_behind:
        assert LEFT_BEHIND not in data_on_disk(applications, database, f"{table}_encrypted")
