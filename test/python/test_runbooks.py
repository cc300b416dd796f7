"""Runs each runbook of docs/runbooks.md on clusters of its own."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from agent_process import Agent
from cluster import ROOT_KEY, Cluster
from conftest import rows, value
from document_blocks import Block, blocks, run_sql
from installed import COMMAND, run
from psycopg import errors

PAGE = "docs/runbooks.md"
CUSTOMERS = [(1, "123-45-6789"), (2, "987-65-4321")]


class Host:
    """A host of the runbooks: a cluster, and the folders that the commands name.

    Attributes:
        server: the cluster, which has no root key yet.
        places: the folder for each path in the page.
    """

    def __init__(self, server: Cluster, shared: Path) -> None:
        """Make the folders of a host.

        Args:
            server: its cluster.
            shared: a folder that all hosts have, for what somebody carries from one to the other.
        """
        self.server = server
        keys = server.directory / "keys"
        keys.mkdir()
        server.give_to_server(keys)
        self.places = {
            "/srv/postgresql": server.data,
            "/etc/pgkeymgr": keys,
            "/srv/backup": shared,
            "/root": shared,
        }

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables with which a command finds the cluster."""
        server = self.server
        return {"PGHOST": str(server.directory), "PGPORT": str(server.port), "PGUSER": "postgres"}

    def init(self) -> None:
        """Make a root key."""
        done = run("init", "--pgdata", self.server.data, "--key-file", self.places["/etc/pgkeymgr"] / "root_key")
        assert done.returncode == 0, done.stderr

    def run_block(self, block: Block) -> str:
        """Run a block of shell commands or of SQL. Return the output and the messages of commands."""
        if block.language == "sql":
            run_sql(self.server, "shop", block)
            return ""
        text = block.text
        for path, place in self.places.items():
            text = text.replace(f"{path}/", f"{place}/").replace(f"{path} ", f"{place} ")
        inherited = {key: word for key, word in os.environ.items() if not key.startswith(("PYTHON", "PG"))}
        path = f"{COMMAND.parent}:{self.server.bin}:{inherited['PATH']}"
        done = subprocess.run(
            ["setsid", "--wait", "bash", "-euc", text],
            env={**inherited, **self.environment, "PATH": path, "NO_COLOR": "1", "COLUMNS": "300"},
            stdin=subprocess.DEVNULL,
            check=False,
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def customers(self, user: str = "postgres") -> list[tuple[Any, ...]]:
        """Return the rows that the README's table shows."""
        with self.server.connect("shop", user) as connection:
            return rows(connection, "SELECT id, ssn FROM customer ORDER BY id")


def runbook(heading: str) -> list[Block]:
    """Return the blocks of a runbook that a person runs."""
    found = [block for block in blocks(PAGE) if block.heading == heading and block.language in ("sh", "sql")]
    assert found
    return found


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A host with the README's database."""
    with Cluster(root_keys=None) as server:
        host = Host(server, tmp_path)
        host.init()
        with server.connect() as connection:
            for role in ("shop_owner", "app", "carol"):
                rows(connection, f"CREATE ROLE {role} LOGIN")
        server.create_database("shop")
        with server.connect("shop") as connection:
            rows(connection, "GRANT pgkeymgr_admin TO shop_owner")
            rows(connection, "GRANT CREATE ON SCHEMA public TO shop_owner")
        with server.connect("shop", "shop_owner") as connection:
            rows(connection, "CREATE TABLE customer (id integer PRIMARY KEY, ssn text NOT NULL)")
            rows(connection, "GRANT SELECT, INSERT, UPDATE ON customer TO app, carol")
            rows(connection, "SELECT pgkeymgr.encrypt_column('customer', 'ssn')")
            rows(connection, "CALL pgkeymgr.migrate_column('customer', 'ssn')")
            for number, ssn in CUSTOMERS:
                connection.execute("INSERT INTO customer VALUES (%s, %s)", [number, ssn])
        yield host


def root_keys(host: Host) -> tuple[str, list[str], list[str]]:
    """Return the fingerprints of the root key, of previous ones, and of those that are still needed."""
    with host.server.connect("shop") as connection:
        ((newest, previous, needed),) = rows(
            connection, "SELECT fingerprint, previous, still_needed FROM pgkeymgr.root_key_status()"
        )
    return newest, previous or [], needed or []


def key_ids(host: Host) -> set[int]:
    """Return the ids of the keys that the stored values are under."""
    query = "SELECT DISTINCT key_id FROM customer_encrypted, pgkeymgr.token_info(ssn_encrypted)"
    with host.server.connect("shop") as connection:
        return {row[0] for row in rows(connection, query)}


def split(host: Host, folder: Path) -> None:
    """Split the root key into three shares, two of which recover it."""
    options = ("--threshold", "2", "--shares", "3", "--output-directory", folder)
    done = run("escrow", "split", "--getkey", host.server.getkey, *options)
    assert done.returncode == 0, done.stderr


def test_every_runbook_is_tested() -> None:
    headings = {block.heading for block in blocks(PAGE)}
    text = Path(__file__).read_text(encoding="utf-8")
    assert {heading for heading in headings if f'runbook("{heading}")' not in text} == set()


def test_yearly_rotation(host: Host) -> None:
    before, old_keys = root_keys(host)[0], key_ids(host)
    for block in runbook("Rotate everything once a year"):
        host.run_block(block)
    newest, previous, needed = root_keys(host)
    assert newest != before
    assert previous == [before]
    assert needed == []
    assert not old_keys & key_ids(host)
    assert host.customers() == CUSTOMERS
    # The shares are those of the new root key.
    shares = sorted((host.places["/root"] / "shares").glob("share-*.txt"))
    assert len(shares) == 3
    done = run("escrow", "combine", *shares[:2], "--fingerprint", newest, "--output", host.places["/root"] / "key")
    assert done.returncode == 0, done.stderr


def test_employee_leaves(host: Host) -> None:
    assert host.customers("carol") == CUSTOMERS
    for block in runbook("An employee leaves"):
        host.run_block(block)
    with host.server.connect("shop") as connection:
        assert value(connection, "SELECT count(*) FROM pg_roles WHERE rolname = 'carol'") == 0
        assert value(connection, "SELECT count(*) FROM pgkeymgr.key_grants WHERE role = 'carol'") == 0
    assert host.customers("app") == CUSTOMERS


def test_restore_on_another_host(host: Host, tmp_path: Path) -> None:
    split(host, tmp_path / "shares")
    on_old, on_new = runbook("Restore on another host")
    host.run_block(on_old)
    host.server.stop("immediate")
    with Cluster(root_keys=None) as server:
        new = Host(server, tmp_path)
        new.run_block(on_new)
        assert new.customers("app") == CUSTOMERS


def test_escrow(host: Host, tmp_path: Path) -> None:
    split(host, tmp_path / "shares")
    for block in runbook("Test the escrow"):
        output = host.run_block(block)
        fingerprint = root_keys(host)[0]
        assert output.count(fingerprint) >= 2, "both commands show the fingerprint"
    assert not (tmp_path / "recovered_key").exists()


def test_agent_is_lost(tmp_path: Path) -> None:
    """The commands of the runbook are for systemd, so that the agent is started here without them."""
    (block,) = runbook("The agent is lost")
    assert block.text == "systemctl start pgkeymgr-agent\npgkeymgr agent status\n"
    with (
        Agent([ROOT_KEY], users=("postgres",)) as agent,
        Cluster(root_keys=None, environment={"PGKEYMGR_AGENT": str(agent.socket)}) as server,
    ):
        server.create_database("shop")
        with server.connect("shop") as connection:
            rows(connection, "SELECT pgkeymgr.create_data_key('k')")
            token = value(connection, "SELECT pgkeymgr.token_encrypt_text('k', 'text')")
            agent.stop(signal.SIGKILL)
            decrypt = "SELECT pgkeymgr.token_decrypt_text(%s)"
            # A session that has opened its keys goes on.
            assert connection.execute(decrypt, [token]).fetchone() == ("text",)
        with server.connect("shop") as connection:
            with pytest.raises(errors.SystemError) as raised:
                connection.execute(decrypt, [token])
            assert str(agent.socket) in str(raised.value)
            agent.start()
            assert connection.execute(decrypt, [token]).fetchone() == ("text",)


def test_root_key_is_compromised(host: Host) -> None:
    before, old_keys = root_keys(host)[0], key_ids(host)
    with host.server.connect("shop") as connection:
        exchange = value(connection, "SELECT pgkeymgr.exchange_fingerprint()")
    for block in runbook("The root key is compromised"):
        host.run_block(block)
    newest, _, needed = root_keys(host)
    assert newest != before
    assert needed == []
    assert not old_keys & key_ids(host)
    with host.server.connect("shop") as connection:
        assert value(connection, "SELECT pgkeymgr.exchange_fingerprint()") != exchange
    assert host.customers("app") == CUSTOMERS


def test_change_the_schema(host: Host) -> None:
    for block in runbook("Change the schema"):
        host.run_block(block)
    with host.server.connect("shop", "app") as connection:
        connection.execute("UPDATE customer SET phone = '+49 30 1234567' WHERE id = 1")
        assert rows(connection, "SELECT phone FROM customer ORDER BY id") == [("+49 30 1234567",), (None,)]
    with host.server.connect("shop") as connection:
        assert value(connection, "SELECT count(*) FROM customer_encrypted WHERE phone IS NOT NULL") == 0


def test_leave(host: Host) -> None:
    for block in runbook("Leave pgkeymgr"):
        host.run_block(block)
    with host.server.connect("shop") as connection:
        assert value(connection, "SELECT relkind::text FROM pg_class WHERE oid = 'customer'::regclass") == "r"
        assert value(connection, "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'pgkeymgr%'") == 0
    assert host.customers("app") == CUSTOMERS
