"""Runs the SQL blocks of README.md in their order, as a new user would, and checks its commands and figures."""

import re
from collections.abc import Iterator
from pathlib import Path

import document
import pytest
from cluster import Cluster
from conftest import rows, value
from installed import run

TOP = Path(__file__).parents[2]
README = (TOP / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ROLE = re.compile(r"-- as (a superuser|\w+)\n")


def blocks(language: str) -> list[str]:
    """Return the blocks of README.md in a language."""
    return [text for name, text in BLOCK.findall(README) if name == language]


def statements(block: str) -> list[str]:
    """Return the statements of a SQL block, none of which has a semicolon or two hyphens in a string."""
    text = re.sub(r"--.*", "", block)
    return [statement.strip() for statement in text.split(";") if statement.strip()]


@pytest.fixture
def server() -> Iterator[Cluster]:
    """A cluster without a root key, with a database without the extension, and with the roles of README.md."""
    with Cluster(root_keys=None) as cluster:
        with cluster.connect() as connection:
            rows(connection, "CREATE ROLE shop_owner LOGIN")
            rows(connection, "CREATE ROLE app LOGIN")
            rows(connection, "CREATE DATABASE shop OWNER shop_owner")
        yield cluster


def test_sql_blocks(server: Cluster) -> None:
    """Every statement works, with no other privileges than those that README.md grants."""
    keys = server.directory / "keys"
    keys.mkdir()
    server.give_to_server(keys)
    (command,) = (line for line in "".join(blocks("sh")).splitlines() if line.startswith("pgkeymgr init --"))
    places = {"/srv/postgresql": str(server.data), "/etc/pgkeymgr": str(keys)}
    arguments = [re.sub("|".join(places), lambda found: places[found[0]], word) for word in command.split()[1:]]
    done = run(*arguments)
    assert done.returncode == 0, done.stderr

    results = {}
    for block in blocks("sql"):
        role = ROLE.match(block)
        assert role, f"the block does not say who runs it: {block}"
        user = "postgres" if role[1] == "a superuser" else role[1]
        with server.connect("shop", user) as connection:
            for statement in statements(block):
                try:
                    results[statement] = rows(connection, statement)
                except Exception as error:
                    raise AssertionError(f"{user}: {statement}: {error}") from error

    def result(beginning: str) -> list[tuple[object, ...]]:
        (found,) = (rows_ for statement, rows_ in results.items() if statement.startswith(beginning))
        return found

    assert result("SELECT id, ssn FROM customer") == [(1, "111-22-3333"), (2, "987-65-4321")]
    assert result("SELECT id FROM customer WHERE email_bidx") == [(1,)]
    assert result("SELECT pgkeymgr.token_decrypt_text") == [("+49 30 1234567",)]
    assert {row[1] for row in result("SELECT id, name, state")} >= {"phone numbers", "public.customer.ssn"}
    assert {row[0] for row in result("SELECT * FROM pgkeymgr.doctor()")} >= {"root_key", "roles"}

    with server.connect("shop") as connection:
        # The reader's data is as it was, and as it was described.
        plain = "SELECT id, email, ssn FROM customer ORDER BY id"
        assert rows(connection, plain) == [
            (1, "ann@example.org", "111-22-3333"),
            (2, "bob@example.org", "987-65-4321"),
        ]
        ciphertexts = rows(connection, "SELECT ssn_encrypted FROM customer_encrypted")
        assert len(ciphertexts) == 2
        assert not any(b"111-22" in bytes(ciphertext) for (ciphertext,) in ciphertexts)
        assert rows(connection, "SELECT column_name::text FROM pgkeymgr.encrypted_columns") == [("ssn",)]
        assert value(connection, "SELECT count(*) FROM pgkeymgr.data_keys WHERE state <> 'enabled'") == 0
        # Nothing of the extension is in the schema that everybody uses.
        assert (
            rows(connection, "SELECT p.proname FROM pg_proc AS p WHERE pronamespace = 'public'::regnamespace")
            == []
        )


def test_commands_exist() -> None:
    """The goals of make and the subcommands that README.md names are there."""
    makefile = (TOP / "Makefile").read_text(encoding="utf-8")
    goals = set(re.findall(r"\bmake (\S+)", "".join(blocks("sh")) + " ".join(re.findall(r"`(make .*?)`", README))))
    goals = {goal for goal in goals if goal != "#"}
    assert goals >= {"deps", "install", "demo", "test", "bench", "bench-docs"}
    # PGXS has the goals install and uninstall; the Makefile adds to them.
    assert {goal for goal in goals if not re.search(rf"^{goal}:", makefile, re.MULTILINE)} == set()


def test_links() -> None:
    """Each relative link leads to a file, and to a heading in it."""
    links = re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]*))?\)", README)
    assert len(links) > 20
    for path, anchor in links:
        assert (TOP / path).exists(), path
        if anchor:
            headings = re.findall(r"^#+ (.*)$", (TOP / path).read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_figures() -> None:
    """The figures of README.md are those of docs/performance.md."""
    page = (TOP / "docs" / "performance.md").read_text(encoding="utf-8")
    assert document.with_summary(README, page) == README
