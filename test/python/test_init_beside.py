"""``pgkeymgr init`` beside a running server whose databases have keys already."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import ROOT_KEY, Cluster
from conftest import rows, value
from installed import run

NAME = 'my"shop'


@pytest.fixture
def server() -> Iterator[Cluster]:
    """A running cluster with a key in a database, whose getkey script is lost."""
    with Cluster() as cluster:
        with cluster.connect() as connection:
            rows(connection, 'CREATE DATABASE "my""shop"')
        with cluster.connect(NAME) as connection:
            rows(connection, 'CREATE SCHEMA "My Schema"')
            rows(connection, 'CREATE EXTENSION pgkeymgr SCHEMA "My Schema" CASCADE')
            rows(connection, "SELECT \"My Schema\".create_data_key('k')")
        cluster.getkey.unlink()
        yield cluster


def arguments(server: Cluster, name: str = "root_key") -> tuple[str | Path, ...]:
    """Return the arguments of init, with a key file in a folder of the server's user."""
    keys = server.directory / "keys"
    keys.mkdir(exist_ok=True)
    server.give_to_server(keys)
    return "init", "--pgdata", server.data, "--key-file", keys / name


def write_key(server: Cluster, name: str, key: str) -> None:
    """Write a root key to a file that belongs to the server's user."""
    path = server.directory / "keys" / name
    path.write_text(f"{key}\n")
    path.chmod(0o400)
    server.give_to_server(path)


def test_no_second_root_key(server: Cluster) -> None:
    done = run(*arguments(server))
    assert done.returncode == 1
    assert f'the keys of database "{NAME}" need the root key' in done.stderr
    assert "--use-existing-key" in done.stderr
    assert list((server.directory / "keys").iterdir()) == []
    assert not server.getkey.exists()


def test_only_the_right_root_key(server: Cluster) -> None:
    words = (*arguments(server, "wrong"), "--use-existing-key")
    write_key(server, "wrong", "ab" * 32)
    done = run(*words)
    assert done.returncode == 1
    assert "does not open them" in done.stderr
    assert not server.getkey.exists()

    words = (*arguments(server, "right"), "--use-existing-key")
    write_key(server, "right", ROOT_KEY)
    done = run(*words)
    assert done.returncode == 0, done.stderr
    with server.connect(NAME) as connection:
        assert value(connection, "SELECT \"My Schema\".token_encrypt_text('k', 'text') IS NOT NULL")


def test_a_server_that_does_not_run(server: Cluster) -> None:
    server.stop()
    done = run(*arguments(server))
    assert done.returncode == 0, done.stderr
