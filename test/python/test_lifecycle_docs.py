"""Runs the examples of docs/key-lifecycle.md and docs/masks.md, in their order."""

import re
import shlex
from pathlib import Path

import column_database
from column_database import make_customer
from conftest import Connection, rows
from database_session import Database

server = column_database.server
database = column_database.database
admin = column_database.admin

DOCS = Path(__file__).resolve().parents[2] / "docs"
BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```\n", re.MULTILINE | re.DOTALL)


def run(connection: Connection, page: str) -> None:
    """Run the SQL blocks of a page, and compare what a block without a language says of the last statement."""
    last: list[tuple[object, ...]] = []
    for block in BLOCK.finditer((DOCS / page).read_text(encoding="utf-8")):
        if block["language"] == "sql":
            for statement in re.split(r";\n(?!\s)", block["text"]):
                if statement.strip():
                    found = rows(connection, statement)
                    last = found if statement.startswith("SELECT") else last
        elif block["text"].endswith(" row)\n"):
            shown = [line.strip() for line in block["text"].splitlines()[2:-1]]
            assert shown == [str(row[0]) for row in last]


def test_masks(admin: Connection) -> None:
    try:
        run(admin, "masks.md")
    finally:
        rows(admin, "RESET ROLE; DROP OWNED BY helpdesk; DROP ROLE helpdesk")


def test_key_lifecycle(admin: Connection) -> None:
    make_customer(admin)
    run(admin, "key-lifecycle.md")


def test_schedulers(admin: Connection, database: Database) -> None:
    """The commands of cron and of systemd, and the statement of pg_cron, run the policies."""
    make_customer(admin)
    page = (DOCS / "key-lifecycle.md").read_text(encoding="utf-8")
    (cron,) = re.findall(r"^30 2 \* \* \*  postgres  (psql .*)$", page, re.MULTILINE)
    (systemd,) = re.findall(r"^ExecStart=/usr/bin/(psql .*)$", page, re.MULTILINE)
    (statement,) = re.findall(r"cron\.schedule\('[^']*', '30 2 \* \* \*', '([^']*)'\)", page)
    name = "public.customer.ssn"
    rows(admin, f"SELECT set_key_policy('{name}', '90 days')")
    calls = [
        [word.replace("=shop", f"={database.name}") for word in shlex.split(line)] for line in (cron, systemd)
    ]
    for number, call in enumerate([*calls, ["psql", "--dbname", database.name, "--command", statement]], 2):
        rows(admin, f"UPDATE key SET created = created - interval '1 year' WHERE name = '{name}'")
        database.server.client(call)
        assert rows(admin, f"SELECT count(*) FROM key WHERE name = '{name}'") == [(number,)]
