"""Sessions that exchange sealed secrets with a server, for the tests."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from cluster import Cluster
from conftest import Connection, rows, value
from database_session import Database
from pgkeymgr.sealed.message import Offer, seal
from psycopg import errors

SETTINGS = {
    "log_statement": "all",
    "log_parameter_max_length_on_error": "-1",
    "autovacuum": "off",
}
TEMPLATE = "sealed_template"
ROLES = {
    "alice": "pgkeymgr_user",
    "bob": "pgkeymgr_user",
    "boss": "pgkeymgr_admin",
    "escrow": "pgkeymgr_admin",
}
_DATABASES = itertools.count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A server with some roles, and a template database with the extension."""
    with Cluster(settings=SETTINGS) as running:
        running.create_database(TEMPLATE)
        with running.connect() as connection:
            for role, group in ROLES.items():
                rows(connection, f"CREATE ROLE {role} LOGIN IN ROLE {group}")
        yield running


@pytest.fixture
def database(server: Cluster) -> Iterator[Database]:
    """A new database with the extension."""
    name = f"sealed_{next(_DATABASES)}"
    with server.database_copy(TEMPLATE, name):
        with server.connect() as connection:
            rows(connection, f"GRANT CREATE ON DATABASE {name} TO boss")
        yield Database(server, name)


@pytest.fixture
def admin(database: Database) -> Iterator[Connection]:
    """A superuser's session in it."""
    with database.session() as connection:
        yield connection


def offer_to(connection: Connection) -> Offer:
    """Return a new offer of a session."""
    row = connection.execute("SELECT * FROM pgkeymgr.exchange_offer()").fetchone()
    assert row is not None
    return Offer(*row)


def fingerprint_of(connection: Connection) -> str:
    """Return the fingerprint of the exchange key, as a client pins it."""
    return str(value(connection, "SELECT pgkeymgr.exchange_fingerprint()"))


def sealed(connection: Connection, *parts: str | bytes) -> bytes:
    """Seal secrets to a new offer of a session."""
    pinned = fingerprint_of(connection)
    return seal(offer_to(connection), pinned, [p.encode() if isinstance(p, str) else p for p in parts])


def call(connection: Connection, query: str, *parts: str | bytes) -> Any:
    """Run a query whose ``%s`` is the secrets, sealed; return the first column of its row."""
    row = connection.execute(query.encode(), (sealed(connection, *parts),)).fetchone()
    assert row is not None
    return row[0]


def passphrase_key(admin: Connection, name: str = "k") -> None:
    """Make a key that opens with the passphrase ``first`` only, which alice may use."""
    rows(admin, f"SELECT create_data_key('{name}')")
    call(admin, f"SELECT add_passphrase('{name}', %s)", "first")
    rows(admin, f"SELECT drop_root_wrap('{name}')")
    rows(admin, f"SELECT grant_data_key('{name}', 'alice')")


def user_pair(connection: Connection, passphrase: str, *, unlock: bool = True) -> None:
    """Make the key pair of a session's role."""
    call(connection, "SELECT create_user_key(%s)", passphrase)
    if unlock:
        call(connection, "SELECT unlock_user_key(%s)", passphrase)


def token_of(connection: Connection, key: str) -> str:
    """Encrypt ``x``, and return the token as a literal."""
    token = value(connection, f"SELECT token_encrypt_text('{key}', 'x')")
    return f"'\\x{token.hex()}'::bytea"


def decrypt(token: str) -> str:
    """Return the query that decrypts a token."""
    return f"SELECT token_decrypt_text({token})"


def events(connection: Connection, event: str) -> list[tuple[Any, ...]]:
    """Return what the audit trail has of a kind of event: role and detail."""
    return rows(connection, f"SELECT role, detail FROM key_events WHERE event = '{event}' ORDER BY link")


def check_chain(connection: Connection) -> int:
    """Check the audit trail's chain, and that no link is left out; return how many events it has."""
    ((count, broken, reason, _),) = rows(connection, "SELECT * FROM verify_key_events()")
    assert (broken, reason) == (None, None)
    assert rows(connection, "SELECT min(link), max(link), count(*) FROM key_events") == [(1, count, count)]
    assert isinstance(count, int)
    return count


LOCKED = pytest.raises(errors.ObjectNotInPrerequisiteState, match="is locked: it has no wrap under the root key")
STALE = pytest.raises(errors.InvalidAuthorizationSpecification, match="is good for one call")
FOREIGN = pytest.raises(
    errors.InvalidAuthorizationSpecification, match="not for the present offer of this session"
)
