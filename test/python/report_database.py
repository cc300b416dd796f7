"""A server with keys, columns, grants, events and hostile names, for the tests of ``report`` and ``metrics``."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent_process import Agent
from cluster import ROOT_KEY, Cluster
from conftest import rows
from installed import run

HOSTILE = '<script>alert(1)</script> "it\'s" \\n &amp; \u202e'
"""The name of a key, of a role, of a table and of a column. The last character changes the direction of text."""
TABLE = HOSTILE[:30]
PLAINTEXT = "plaintext that no page has"
MONITOR = "watcher"
OTHER_KEY = "ab" * 32
ROWS = 300


@dataclass
class Server:
    """A running cluster, whose root key is in an agent, with the databases shop, empty and without."""

    cluster: Cluster
    agent: Agent

    def call(
        self, *arguments: str | Path, status: int = 0, user: str = MONITOR
    ) -> subprocess.CompletedProcess[str]:
        """Run the installed command, check its status, and that it prints no secret."""
        cluster = self.cluster
        environment = {"PGHOST": str(cluster.directory), "PGPORT": str(cluster.port), "PGUSER": user}
        done = run(*arguments, environment=environment)
        assert done.returncode == status, done.stdout + done.stderr
        check_secrecy(done.stdout + done.stderr)
        assert "Traceback" not in done.stderr
        return done


def check_secrecy(text: str) -> None:
    """Check that a text has no root key and no plaintext."""
    assert not re.search(f"{ROOT_KEY}|{OTHER_KEY}|{PLAINTEXT}", text)


@contextmanager
def running() -> Iterator[Server]:
    """Yield a server with the three databases."""
    own = "postgres" if os.geteuid() == 0 else str(os.geteuid())
    with (
        Agent([ROOT_KEY], users=[own]) as agent,
        Cluster(environment={"PGKEYMGR_AGENT": str(agent.socket)}, root_keys=None) as cluster,
    ):
        cluster.create_database("shop")
        with cluster.connect() as connection:
            connection.execute("CREATE DATABASE without")
            # PostgreSQL does not know the encoding of the texts in it.
            connection.execute("CREATE DATABASE empty ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0")
            connection.execute(f"CREATE ROLE {MONITOR} LOGIN IN ROLE pgkeymgr_monitor".encode())
        with cluster.connect("empty") as connection:
            rows(connection, "CREATE SCHEMA pgkeymgr; CREATE EXTENSION pgkeymgr SCHEMA pgkeymgr CASCADE")
        _fill(cluster)
        yield Server(cluster, agent)


def _fill(cluster: Cluster) -> None:
    hostile, table = (name.replace('"', '""') for name in (HOSTILE, TABLE))
    with cluster.connect("shop") as connection:
        connection.execute("SET search_path = public, pgkeymgr")
        rows(connection, f'CREATE ROLE app LOGIN; CREATE ROLE "{hostile}" LOGIN')
        for name, column in (("customer", "ssn"), ("visit", "note"), (table, table)):
            rows(connection, f'CREATE TABLE "{name}" (id integer PRIMARY KEY, "{column}" text)')
            rows(
                connection,
                f"INSERT INTO \"{name}\" SELECT n, '{PLAINTEXT} ' || n FROM generate_series(1, {ROWS}) AS n",
            )
            connection.execute(
                "SELECT encrypt_column(%s::text::regclass, %s)", [f'"{name}"', column.replace('""', '"')]
            )
        connection.execute("CALL migrate_column('customer', 'ssn')")
        connection.execute("SELECT add_blind_index('customer', 'ssn')")
        rows(connection, "ANALYZE customer_encrypted; ANALYZE visit_encrypted")
        rows(
            connection,
            "INSERT INTO column_operation (column_id, operation, rows_done, rows_total, seconds)"
            f" SELECT id, 'migrate', 100, {ROWS}, 2 FROM encrypted_column WHERE column_name = 'note'",
        )
        connection.execute("SELECT create_data_key(%s)", [HOSTILE])
        connection.execute("SELECT create_data_key('short', expires => now() + interval '5 days')")
        connection.execute("SELECT create_data_key('off')")
        connection.execute("SELECT disable_data_key(id) FROM data_keys WHERE name = 'off'")
        connection.execute("SELECT limit_encryption('off', now() + interval '100 days')")
        connection.execute(
            "SELECT destroy_data_key(id, name, after => interval '50 days') FROM data_keys WHERE name = 'off'"
        )
        connection.execute("SELECT set_mask('customer', 'ssn', 'last4')")
        connection.execute("SELECT set_key_policy('public.customer.ssn', rotate_every => '9 years')")
        connection.execute("SELECT create_data_key('gone')")
        connection.execute("SELECT destroy_data_key(id, name) FROM data_keys WHERE name = 'gone'")
        connection.execute("SELECT supersede_data_key('short')")
        connection.execute("SELECT grant_data_key('public.customer.ssn', 'app')")
        connection.execute("SELECT grant_data_key(%s, %s::text::regrole, '{decrypt}')", [HOSTILE, f'"{hostile}"'])
        # Some keys are old, and one has expired.
        rows(
            connection,
            "UPDATE key SET created = created - interval '400 days' WHERE name LIKE 'public.%';"
            "UPDATE key SET expires = now() - interval '1 hour' WHERE name = 'public.visit.note'",
        )
