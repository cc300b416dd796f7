"""A session's first value is not delayed by modules that decryption does not need."""

import re
from collections.abc import Iterator

import pytest
from cluster import Cluster
from conftest import Connection, rows, value
from pgkeymgr.key.ids import Lattice
from pgkeymgr.key.record import Record
from pgkeymgr.key.use_cache import Conditions

# Each of these takes milliseconds. The library cryptography imports typing itself, but only for an error.
SLOW = re.compile(
    r"(typing|enum|re|signal|dataclasses|json|uuid|subprocess|secrets|logging|inspect|email|socket|pathlib|tempfile"
    r"|datetime|importlib\.metadata|cffi|nacl\.(bindings|utils|exceptions)|cryptography\.(exceptions|x509)"
    r"|cryptography\.hazmat\.primitives|pgkeymgr\.(client|sealed|compat|doctor|provider|command|agent\.remote))\b"
)
OF_COLUMNS = {"__init__", "cell", "place", "quick", "transit"}
FIRST = {
    "a value through the view": "SELECT s FROM first",
    "a value into the view": "INSERT INTO first VALUES (2, 'two')",
    "a token": "SELECT pgkeymgr.token_decrypt_text(token) FROM tokens",
}


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A server with an encrypted column, a token, and a function that lists the session's modules."""
    with Cluster() as running:
        running.create_database("test")
        with running.connect("test") as admin:
            rows(admin, "CREATE TABLE first (id integer PRIMARY KEY, s text)")
            rows(admin, "INSERT INTO first VALUES (1, 'one')")
            rows(admin, "SELECT pgkeymgr.encrypt_column('first', 's')")
            rows(admin, "CALL pgkeymgr.migrate_column('first', 's')")
            rows(admin, "CREATE TABLE tokens AS SELECT pgkeymgr.create_data_key('k'), NULL::bytea AS token")
            rows(admin, "UPDATE tokens SET token = pgkeymgr.token_encrypt_text('k', 'x')")
            rows(
                admin,
                "CREATE FUNCTION loaded() RETURNS text[] LANGUAGE plpython3u AS"
                " $$ import sys; return list(sys.modules) $$",
            )
        yield running


def loaded(connection: Connection) -> set[str]:
    """Return the modules that a session has imported."""
    return set(value(connection, "SELECT loaded()"))


@pytest.mark.parametrize("first", FIRST)
def test_the_first_value_imports_no_slow_module(server: Cluster, first: str) -> None:
    with server.connect("test") as session:
        before = loaded(session)
        session.execute(FIRST[first].encode())
        new = loaded(session) - before
    assert "pgkeymgr.key.cipher" in new
    assert sorted(name for name in new if SLOW.match(name)) == []
    of_columns = {name.removeprefix("pgkeymgr.column.") for name in new if name.startswith("pgkeymgr.column.")}
    assert of_columns <= OF_COLUMNS


def test_an_error_imports_what_it_needs(server: Cluster) -> None:
    """The library raises an exception of its own for a token that does not verify."""
    with server.connect("test") as session:
        token = value(session, "SELECT token FROM tokens")
        with pytest.raises(Exception, match="not authentic"):
            session.execute("SELECT pgkeymgr.token_decrypt(%s)", (token[:-1] + bytes([token[-1] ^ 1]),))
        assert "cryptography.exceptions" in loaded(session)


def test_named_tuples_are_like_those_of_typing() -> None:
    conditions = Conditions(1, [2], True)
    assert (conditions.expires, conditions.roles, conditions.is_for_statement) == (1, [2], True)
    assert tuple(conditions) == (1, [2], True)
    assert Conditions._fields == ("expires", "roles", "is_for_statement")
    assert isinstance(conditions._replace(expires=None), Conditions)
    assert repr(conditions) == "Conditions(expires=1, roles=[2], is_for_statement=True)"
    assert Lattice._field_defaults["first_id"] == 1
    assert str(Record(*range(26))) == 'key 0 "4"'
    with pytest.raises(TypeError):
        Conditions(1)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        conditions.other = 1  # type: ignore[attr-defined]
