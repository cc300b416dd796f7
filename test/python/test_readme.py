"""Runs the SQL blocks of README.md and of the pages that a reader reads next, and checks commands and links."""

import re
from collections.abc import Iterator

import pytest
from cluster import Cluster
from conftest import rows, value
from document_blocks import TOP, blocks, result, run_sql
from installed import run

README = (TOP / "README.md").read_text(encoding="utf-8")
DOCS = sorted(path.name for path in (TOP / "docs").glob("*.md"))
PAGES = ["README.md", "SECURITY.md", "CONTRIBUTING.md", *(f"docs/{name}" for name in DOCS)]
WORDS_MAX = 850


@pytest.fixture
def server() -> Iterator[Cluster]:
    """A cluster without a root key, with a database without the extension, and with the roles of README.md."""
    with Cluster(root_keys=None) as cluster:
        (commands,) = (block.text for block in blocks("README.md", "sh") if "createdb" in block.text)
        cluster.client(["bash", "-ec", commands])
        yield cluster


def make_root_key(server: Cluster) -> None:
    """Run the command of docs/installation.md for a cluster outside of Debian."""
    keys = server.directory / "keys"
    keys.mkdir()
    server.give_to_server(keys)
    lines = "".join(block.text for block in blocks("docs/installation.md", "sh")).splitlines()
    (command,) = (line for line in lines if line.startswith("pgkeymgr init --"))
    places = {"/srv/postgresql": str(server.data), "/etc/pgkeymgr": str(keys)}
    done = run(*(re.sub("|".join(places), lambda found: places[found[0]], word) for word in command.split()[1:]))
    assert done.returncode == 0, done.stderr


def test_sql_blocks(server: Cluster) -> None:
    """Every statement works, with no other privileges than those that README.md grants."""
    make_root_key(server)
    results = {}
    for block in blocks("README.md", "sql"):
        results.update(run_sql(server, "shop", block))
    assert result(results, "SELECT id, ssn FROM customer") == [(1, "111-22-3333"), (2, "987-65-4321")]
    assert result(results, "SELECT id FROM customer WHERE email_bidx") == [(1,)]
    assert {row[0] for row in result(results, "SELECT * FROM pgkeymgr.doctor()")} >= {"root_key", "roles"}

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


def test_installation_and_keys(server: Cluster) -> None:
    """The pages that a reader reads next."""
    make_root_key(server)
    results = {}
    for page in ("docs/installation.md", "docs/keys.md"):
        for block in blocks(page, "sql"):
            results.update(run_sql(server, "shop", block))
    ((fingerprint, *_),) = result(results, "SELECT * FROM pgkeymgr.root_key_status()")
    assert fingerprint
    assert result(results, "SELECT pgkeymgr.token_decrypt_text") == [("+49 30 1234567",)]
    versions = result(results, "SELECT id, name, state")
    assert [row[1] for row in versions] == ["phone numbers", "phone numbers"]


def test_length() -> None:
    """A reader decides in a few minutes whether to go on."""
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    assert len(prose.split()) <= WORDS_MAX


def test_commands_exist() -> None:
    """The goals of make that README.md names are there."""
    makefile = (TOP / "Makefile").read_text(encoding="utf-8")
    commands = "".join(block.text for block in blocks("README.md", "sh"))
    goals = set(re.findall(r"\bmake (\S+)", commands + " ".join(re.findall(r"`(make .*?)`", README))))
    goals = {goal for goal in goals if goal != "#"}
    assert goals >= {"deps", "install", "demo", "test", "bench", "bench-docs"}
    # PGXS has the goals install and uninstall; the Makefile adds to them.
    assert {goal for goal in goals if not re.search(rf"^{goal}:", makefile, re.MULTILINE)} == set()


@pytest.mark.parametrize("page", PAGES)
def test_links(page: str) -> None:
    """Each relative link leads to a file, and to a heading in it."""
    path = TOP / page
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", path.read_text(encoding="utf-8")):
        file = path.parent / target if target else path
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_index() -> None:
    """docs/README.md leads to every page, once."""
    index = (TOP / "docs" / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\]\(([\w-]+\.md)\)", index)) == [name for name in DOCS if name != "README.md"]
