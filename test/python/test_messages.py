"""Errors as a client and the log see them: one prefix, the hint, and no frame or source line of Python."""

import re
from collections.abc import Iterator

import psycopg
import pytest
from cluster import Cluster
from conftest import Connection, rows, value

EMPTY_TRACEBACK = "Traceback (most recent call last):"
"""The title that PL/Python gives even a traceback without frames; see docs/architecture.md."""


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A server with a table whose column ``ssn`` is encrypted under key 1, which is disabled."""
    with Cluster() as running:
        running.create_database("test")
        with running.connect("test", options="-c search_path=pgkeymgr,public") as connection:
            for statement in (
                "CREATE TABLE public.customer (id integer PRIMARY KEY, ssn text)",
                "SELECT create_data_key('k')",
                "SELECT encrypt_column('customer', 'ssn', key => 'k')",
                "INSERT INTO customer VALUES (1, '111')",
                "SELECT disable_data_key(1)",
            ):
                rows(connection, statement)
        yield running


@pytest.fixture
def session(server: Cluster) -> Iterator[Connection]:
    """A superuser's session on it."""
    with server.connect("test", options="-c search_path=pgkeymgr,public") as connection:
        yield connection


DIRECT = "SELECT token_encrypt('k', 'x')"
NESTED = (
    "SELECT ssn FROM customer",
    "INSERT INTO customer VALUES (2, '222')",
    "UPDATE customer SET ssn = '333'",
    """SELECT upsert('customer', '{"id": 3, "ssn": "333"}')""",
    "SELECT add_blind_index('customer', 'ssn')",
    "CALL rotate_column('customer', 'ssn')",
    "DO $$ BEGIN PERFORM token_encrypt('k', 'x'); END $$",
)


@pytest.mark.parametrize("statement", [DIRECT, *NESTED])
def test_an_error_keeps_its_hint_and_has_one_prefix(session: Connection, statement: str) -> None:
    """Also an error in a query that a function or a trigger of pgkeymgr has run."""
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as caught:
        rows(session, statement)
    said = caught.value.diag
    assert str(said.message_primary).count("pgkeymgr: ") == 1
    assert "is disabled" in str(said.message_primary)
    assert said.message_hint == "enable_data_key(1) enables it."


@pytest.mark.parametrize("statement", [DIRECT, *NESTED, "SELECT derive_key(NULL)", "SELECT derive_key(1, 3)"])
def test_an_error_shows_no_frame_of_python(server: Cluster, session: Connection, statement: str) -> None:
    position = len(server.log)
    with pytest.raises(psycopg.Error) as caught:
        rows(session, statement)
    context = str(caught.value.diag.context)
    assert EMPTY_TRACEBACK in context
    for text in (context, server.log[position:]):
        assert not re.search(r'PL/Python (function|procedure) "\w+", line', text)
        assert "GD[" not in text


def test_an_error_of_the_loader_shows_no_frame_either(session: Connection) -> None:
    """Such as that of an installation whose parts do not belong together."""
    body = value(session, "SELECT prosrc FROM pg_proc WHERE proname = 'crypto_box_noncegen'")
    rows(
        session,
        "CREATE FUNCTION public.other() RETURNS bytea LANGUAGE plpython3u AS $body$"
        + body.replace("pgkeymgr.pgkeymgr", "pgkeymgr.other").replace(
            "bridge.install(GD, '", "bridge.install(GD, '9."
        )
        + "$body$",
    )
    with pytest.raises(psycopg.Error, match="the extension's SQL has version 9") as caught:
        rows(session, "SELECT public.other()")
    assert caught.value.diag.context == f'{EMPTY_TRACEBACK}\nPL/Python function "other"'
