"""Keys that are imported with the id and the uuid that they have elsewhere."""

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
import sealed_session
from cluster import Cluster
from conftest import Connection, rows, value
from database_session import Database
from pgkeymgr.client import Client
from psycopg import errors
from sealed_session import TEMPLATE, fingerprint_of

server = sealed_session.server
database = sealed_session.database
admin = sealed_session.admin

SECRET = b"s" * 32
ID = 4711
UUID_ELSEWHERE = UUID("0d0cc8ab-3ecf-4f0e-a5f3-4ef6bd1b0d43")


@pytest.fixture
def client(admin: Connection) -> Client:
    """A client of the database of one test."""
    return Client(admin, fingerprint_of(admin))


@pytest.fixture
def elsewhere(server: Cluster) -> Iterator[Connection]:
    """A session in another database."""
    with server.database_copy(TEMPLATE, "elsewhere"), Database(server, "elsewhere").session() as connection:
        yield connection


def test_tokens_travel(admin: Connection, client: Client, elsewhere: Connection) -> None:
    """A key that is imported with its id and uuid reads tokens of both kinds, and gives the same ones."""
    rows(elsewhere, "SELECT create_data_key('not this one'), create_data_key('k', 16)")
    (key_id, uuid) = rows(elsewhere, "SELECT id, uuid FROM data_keys WHERE name = 'k'")[0]
    secret = Client(elsewhere, fingerprint_of(elsewhere)).export_data_key("k")
    assert client.import_data_key("k", secret, comment="c", key_id=key_id, key_uuid=uuid) == key_id
    assert rows(admin, "SELECT id, uuid, comment FROM data_keys") == [(key_id, uuid, "c")]
    assert rows(admin, "SELECT family FROM key") == [(key_id,)]
    for plaintext in ("", "x", "y" * 5000):
        for deterministic in ("true", "false"):
            make = f"SELECT token_encrypt_text('k', '{plaintext}', 'ad', deterministic => {deterministic})"
            token = value(elsewhere, make)
            assert value(admin, f"SELECT token_decrypt_text('\\x{token.hex()}', 'ad')") == plaintext
            assert (value(admin, make) == token) is (deterministic == "true")
    assert rows(admin, "SELECT event, key_id, key_name FROM key_events") == [("import", key_id, "k")]
    # The next ids are free.
    assert value(admin, "SELECT supersede_data_key('k')") == key_id + 1
    token = value(elsewhere, "SELECT token_encrypt_text('k', 'old')")
    assert value(admin, f"SELECT token_decrypt_text('\\x{token.hex()}')") == "old"


TAKEN = {
    "id": (ID, uuid4(), "new", f"a key with id {ID} already exists"),
    "uuid": (ID + 1, UUID_ELSEWHERE, "new", f"a key with uuid {UUID_ELSEWHERE} already exists"),
    "id and uuid": (ID, UUID_ELSEWHERE, "new", f"a key with id {ID} already exists"),
    "name": (ID + 1, uuid4(), "k", 'an enabled key "k" already exists'),
    "name without an id": (None, None, "k", 'an enabled key "k" already exists'),
    "uuid without an id": (None, UUID_ELSEWHERE, "new", f"a key with uuid {UUID_ELSEWHERE} already exists"),
}


@pytest.mark.parametrize("case", TAKEN)
def test_an_id_a_uuid_or_a_name_that_is_taken_is_refused(admin: Connection, client: Client, case: str) -> None:
    """A call is refused, and says which property is taken; nothing of it is left."""
    client.import_data_key("k", SECRET, key_id=ID, key_uuid=UUID_ELSEWHERE)
    before = rows(admin, "SELECT * FROM key")
    key_id, uuid, name, message = TAKEN[case]
    with pytest.raises(errors.DuplicateObject, match=message):
        client.import_data_key(name, SECRET, key_id=key_id, key_uuid=uuid)
    assert rows(admin, "SELECT * FROM key") == before
    assert value(admin, "SELECT count(*) FROM key_wrap") == 1
    assert client.export_data_key("k") == SECRET


@pytest.mark.parametrize(
    ("key_id", "uuid", "naming"),
    [(0, None, "key_id must be"), (-1, None, "key_id must be"), (None, UUID(int=0), "key_uuid must not be")],
)
def test_out_of_range(client: Client, key_id: int | None, uuid: UUID | None, naming: str) -> None:
    """Ids that no key has are refused."""
    with pytest.raises(errors.InvalidParameterValue, match=naming):
        client.import_data_key("k", SECRET, key_id=key_id, key_uuid=uuid)


def test_destroyed_key_keeps_its_id(admin: Connection, client: Client) -> None:
    """The id of a destroyed key is taken, although its name is not."""
    client.import_data_key("k", SECRET, key_id=ID)
    rows(admin, f"SELECT destroy_data_key({ID}, 'k')")
    with pytest.raises(errors.DuplicateObject, match=f"a key with id {ID} already exists"):
        client.import_data_key("k", SECRET, key_id=ID)


def test_family_of_another_key(admin: Connection, client: Client) -> None:
    """A key does not get into the family of other keys, nor the grants of a dropped one."""
    client.import_data_key("k", SECRET, key_id=ID)
    rows(admin, f"SELECT grant_data_key({ID}, 'alice'), supersede_data_key('k')")
    rows(admin, f"DELETE FROM key WHERE id = {ID}")
    with pytest.raises(errors.DuplicateObject, match=rf"key {ID + 1} is a later version of a key with id {ID}"):
        client.import_data_key("new", SECRET, key_id=ID)
    assert value(admin, "SELECT count(*) FROM key_grant") == 1
    rows(admin, "DELETE FROM key")
    client.import_data_key("new", SECRET, key_id=ID)
    assert value(admin, "SELECT count(*) FROM key_grant") == 0


def test_lost_key(admin: Connection, client: Client) -> None:
    """A column that lost its key opens again with the key from its escrow."""
    rows(admin, "CREATE TABLE t (id integer PRIMARY KEY, s text)")
    rows(admin, "SELECT create_data_key('k'), encrypt_column('t', 's', 'k')")
    rows(admin, "INSERT INTO t VALUES (1, 'one')")
    ((key_id, uuid),) = rows(admin, "SELECT id, uuid FROM data_keys WHERE name = 'k'")
    secret = client.export_data_key("k")
    rows(admin, "DELETE FROM key")
    with pytest.raises(errors.Error):
        rows(admin, "SELECT s FROM t")
    client.import_data_key("k", secret, key_id=key_id, key_uuid=uuid)
    assert rows(admin, "SELECT s FROM t") == [("one",)]


def test_under_a_passphrase(admin: Connection, client: Client) -> None:
    """The wrap is bound to the uuid that was given."""
    client.import_data_key("k", SECRET, wrap="passphrase", passphrase="p", key_id=ID, key_uuid=UUID_ELSEWHERE)
    client.unlock_data_key("k", "p")
    assert client.export_data_key(ID) == SECRET
    rows(admin, "UPDATE key SET uuid = gen_random_uuid()")
    client.lock()
    with pytest.raises(errors.Error):
        client.unlock_data_key("k", "p")
