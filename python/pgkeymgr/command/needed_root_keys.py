"""Finds the root keys that the databases of a running cluster need already, before ``init`` makes another one."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .cluster import Cluster

_SECONDS = 5
"""The longest time to wait for an answer. A server that is starting up or hung cannot be asked."""
_PORT_LINE = 3
_SOCKET_LINE = 4
_MAINTENANCE_DATABASES = ("postgres", "template1")
_DATABASES = "SELECT datname FROM pg_catalog.pg_database WHERE datallowconn"
_SCHEMA = """
    SELECT pg_catalog.quote_ident(n.nspname)
    FROM pg_catalog.pg_extension AS e
    JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) e.extnamespace
    WHERE e.extname OPERATOR(pg_catalog.=) 'pgkeymgr'
"""
_FINGERPRINTS = "SELECT fingerprint FROM {schema}.root_key_fingerprint"


class NeededRootKey(NamedTuple):
    """A root key that a database needs.

    Attributes:
        database: the name of the database.
        fingerprint: the fingerprint of the root key.
    """

    database: str
    fingerprint: str


def needed_root_keys(cluster: Cluster, user: int) -> list[NeededRootKey]:
    """Return the root keys that the wraps in the databases of a cluster are made under.

    The server is asked by psql, as its own user, whom Debian's pg_hba.conf lets in.

    Args:
        cluster: the cluster. If it does not run, the answer is an empty list.
        user: the user id of the server.

    Raises:
        OSError, subprocess.SubprocessError: the server runs, and could not be asked.
    """
    try:
        lines = (cluster.data / "postmaster.pid").read_text().splitlines() if cluster.data else []
    except FileNotFoundError:
        return []
    # See pidfile.h of PostgreSQL. A server that is starting has written fewer lines.
    if len(lines) <= _SOCKET_LINE or not Path(f"/proc/{lines[0]}").exists():
        return []
    host, port = lines[_SOCKET_LINE] or "localhost", lines[_PORT_LINE]
    found = []
    for database in _databases(host, port, user):
        for schema in _ask(host, port, user, database, _SCHEMA):
            for fingerprint in _ask(host, port, user, database, _FINGERPRINTS.format(schema=schema)):
                found.append(NeededRootKey(database, fingerprint))
    return found


def _databases(host: str, port: str, user: int) -> Iterator[str]:
    first, second = _MAINTENANCE_DATABASES
    try:
        yield from _ask(host, port, user, first, _DATABASES)
    except subprocess.CalledProcessError:
        yield from _ask(host, port, user, second, _DATABASES)


def _ask(host: str, port: str, user: int, database: str, query: str) -> list[str]:
    """Return the values of the only column of a query."""
    name = database.replace("\\", "\\\\").replace("'", "\\'")
    target = f"host='{host}' port={port} dbname='{name}' connect_timeout={_SECONDS}"
    options = ["--no-psqlrc", "--no-password", "--tuples-only", "--no-align", "--record-separator-zero"]
    is_root = os.geteuid() == 0
    done = subprocess.run(
        [_psql(), *options, "--command", query, "--dbname", target],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "PGOPTIONS": "-c search_path="},
        cwd="/",
        user=user if is_root else None,
        extra_groups=[] if is_root else None,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        text=True,
        timeout=2 * _SECONDS,
    )
    return [row.removesuffix("\n") for row in done.stdout.split("\0") if row.strip()]


def _psql() -> str:
    pg_config = shutil.which(os.environ.get("PG_CONFIG", "pg_config"))
    if pg_config is not None:
        done = subprocess.run([pg_config, "--bindir"], check=False, capture_output=True, text=True)
        path = Path(done.stdout.strip()) / "psql"
        if path.exists():
            return str(path)
    return "psql"
