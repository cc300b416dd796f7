"""The walls around texts that others write: statements, functions, names, requests, and lines of files."""

import asyncio
import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from unicodedata import normalize

import column_database
import pytest
from conftest import Connection, rows
from database_session import Database
from in_process import invoke
from pgkeymgr.agent import checkpoint, metrics
from pgkeymgr.column import json_terms, obstacles
from pgkeymgr.column.blinding import normalized
from pgkeymgr.command import audit_checkpoint, failure, output
from pgkeymgr.doctor.searches import compares
from pgkeymgr.errors import DataError
from psycopg import errors

server = column_database.server
database = column_database.database
admin = column_database.admin

NAME = "\x1b[2J\x9bm\u202eevil\x7f\u2066"


@pytest.fixture
def _patience() -> Iterator[None]:
    """Fail instead of waiting for a pattern that takes hours. The correct ones take milliseconds."""

    def stop(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


class Transport(asyncio.Transport):
    """Keeps the answer to a request."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Any) -> None:
        """Keep a part of the answer."""
        self.written += bytes(data)

    def close(self) -> None:
        """Do nothing."""

    def abort(self) -> None:
        """Do nothing."""


def first_line(request: bytes) -> bytes:
    """Return the first line of the answer of the agent's metrics to a request."""

    async def ask() -> bytes:
        connection, transport = metrics.Request(dict, {}), Transport()
        connection.connection_made(transport)
        connection.data_received(request)
        connection.connection_lost(None)
        return transport.written.partition(b"\r\n")[0]

    return asyncio.run(ask())


@pytest.mark.usefixtures("_patience")
@pytest.mark.parametrize("field", [b"A:" + b" " * 8000 + b"\n", b"A:" + b" \t" * 4000 + b"\0", b"A" * 8000])
def test_no_request_keeps_the_agent_from_its_work(field: bytes) -> None:
    request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n" + field + b"\r\n\r\n"
    assert first_line(request) == b"HTTP/1.1 400 Bad Request"


def test_spaces_around_the_value_of_a_field() -> None:
    for value in (b"localhost", b"  localhost \t", b"\tlocalhost:1"):
        assert first_line(b"GET / HTTP/1.1\r\nHost:" + value + b"\r\n\r\n") == b"HTTP/1.1 404 Not Found"
    assert first_line(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n") == b"HTTP/1.1 421 Misdirected Request"


@pytest.mark.usefixtures("_patience")
@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ("ssn" + " :: text" * 1000 + " IS NULL", False),
        ("ssn" + " :: text" * 1000 + " = $1", True),
        ("ssn" + "::ssn" * 1000, False),
        ("ssn::" + "a " * 1000 + "!", False),
        ("ssn" + " )" * 1000 + "!", False),
        ("lower((ssn::character varying(30))::text) = $1", True),
        ("ssn::text IS NULL AND name = $1", False),
        ("ssn :: double precision IN ($1)", True),
    ],
)
def test_no_statement_keeps_the_doctor_busy(conditions: str, expected: bool) -> None:
    query = f"SELECT FROM customer WHERE {conditions}"
    assert compares(query, "customer", "ssn", "ssn_bidx", "equality") is expected


@pytest.mark.usefixtures("_patience")
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("begin new.s := now()" + " :: a b" * 1000 + " !", False),
        ("begin new.s := now()" + " at time zone 'a'" * 1000, False),
        ("begin new.s := now()" + " at time zone 'a'" * 100 + "; return new; end", True),
        ("begin\n" + "--;\n" * 20000 + "return new; end", False),
        ("begin -- x\n new.s = (now())::timestamp with time zone at time zone 'UTC' :: text; end", True),
        ("begin -- ; new.s := now();\n return new; end", False),
        ("begin new.s := now(); perform f('--', new.s); end", False),
    ],
)
def test_no_trigger_function_keeps_a_session_busy(source: str, expected: bool) -> None:
    assert obstacles._only_assigns("plpgsql", source, [], "s") is expected


@pytest.mark.usefixtures("_patience")
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("insert into a " * 20000, False),
        ("insert into a " * 20000 + "values (new.*)", True),
        ("insert into a values (1); perform new.*", False),
        ("perform 1; INSERT  INTO log SELECT new.*", True),
    ],
)
def test_no_trigger_function_keeps_a_session_busy_with_inserts(source: str, expected: bool) -> None:
    assert obstacles._copies_rows(source, has_transition_tables=False) is expected


MARKS = """
from pgkeymgr.column.blinding import normalized
text = normalized("A" + "\\u0301\\u0316" * 250_000, "casefold")
assert text == "\\u00e1" + "\\u0316" * 250_000 + "\\u0301" * 249_999
"""


def test_no_marks_keep_a_blind_index_busy() -> None:
    # Python sorts marks in C, which no signal ends. So another process does it.
    subprocess.run([sys.executable, "-c", MARKS], check=True, timeout=60)


def test_sorted_marks_give_the_same_text() -> None:
    """Also those of characters that Unicode takes apart: \u0f73 has no combining class, and its two parts have."""
    marks = "\u0301\u0316\u0344\u0f73\u0f71\u3099\u0327\u05b0"
    letters = "a\u00e9\u0130\u1e69\u304b\uac00\u1100\u1161\u11a8\u03b0"
    for marked in itertools.permutations(marks, 4):
        text = "".join(letter + "".join(marked) for letter in letters) + "".join(marked) * 300
        for each in (text, text[::-1]):
            assert len(each) > 1000
            composed = normalize("NFC", normalize("NFC", each).casefold())
            assert normalized(each, "casefold") == composed


@pytest.mark.usefixtures("_patience")
@pytest.mark.parametrize("key", ["k" * 500_000, "1" * 500_000])
def test_no_document_keeps_a_json_index_busy(key: str) -> None:
    options = json_terms.JsonOptions()
    secret = json_terms.subkey(bytes(32))
    terms = json_terms.value_terms(secret, json.dumps({key: [0] * 200_000}), options)
    assert terms == json_terms.value_terms(secret, json.dumps({key: [0]}), options)
    assert len(terms) == 3


def test_nested_lines_of_files_are_faults() -> None:
    line = b"[" * 100000 + b"]" * 100000
    with pytest.raises(DataError, match="the line is not a checkpoint"):
        checkpoint.read(line)
    with pytest.raises(DataError, match="line 7 of the export is not an event"):
        audit_checkpoint._exported(7, line)


def test_names_do_not_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.message(f"It is {NAME}.\nNext line.")
    failure.report(f'table "{NAME}\npgkeymgr: fine" does not exist', f"Drop {NAME}.")
    output.print_json({NAME: [NAME, "é\U000e0001"]})
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 4
    assert all(character.isprintable() or character == "\n" for character in printed.err + printed.out)
    assert json.loads(printed.out) == {NAME: [NAME, "é\U000e0001"]}
    assert "é" in printed.out


def test_warnings_of_the_server_do_not_control_the_terminal(admin: Connection, database: Database) -> None:
    rows(admin, f'CREATE TABLE "{NAME}" (id integer PRIMARY KEY, s text)')
    arguments = ("encrypt", f'"{NAME}"', "s", "--yes", "--dsn", database.server.dsn(database.name))
    done = invoke(*arguments)
    assert done.returncode == 0, done.stderr
    failed = invoke(*arguments)
    assert failed.returncode == 1
    assert "is encrypted already" in failed.stderr
    texts = done.stdout + done.stderr + failed.stdout + failed.stderr
    assert all(character.isprintable() or character == "\n" for character in texts)


def test_a_killed_session_ends_no_other_databases_turn(database: Database) -> None:
    with column_database.new_database(database.server) as other:
        with database.session() as superuser:
            killing = 'plpy.execute("SELECT pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid())")\n'
            superuser.execute(
                "UPDATE pg_proc SET prosrc = %s || prosrc WHERE proname IN ('root_key_status', 'doctor')",
                [killing],
            )
        databases = ("--dsn", database.server.dsn(), "--database", database.name, "--database", other.name)
        for command in ("status", "doctor", "metrics", "report"):
            done = invoke(command, *databases)
            assert done.returncode != 0
            assert f"{database.name}: " in done.stderr
            assert f"{other.name}: " not in done.stderr
            assert other.name in done.stdout
        rotated = invoke("rotate", "root", *databases, "--json")
        assert [each["database"] for each in json.loads(rotated.stdout)["databases"]] == [other.name]
        # No agent serves these databases, and no table has such a name.
        for arguments in (("audit", "checkpoint"), ("verify", "--table", "a.b.c.d")):
            done = invoke(*arguments, *databases)
            assert done.returncode == 1
            assert f"{database.name}: " in done.stderr
            assert f"{other.name}: " in done.stderr


def test_a_name_from_another_encoding_ends_no_server(admin: Connection, database: Database) -> None:
    """PL/Python itself crashes when a query returns a text that is not valid in the encoding of the database."""
    rows(admin, "CREATE DATABASE walls_ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    try:
        with database.server.connect("walls_ascii") as ascii_database:
            ascii_database.execute(b'CREATE ROLE "walls_\xff" LOGIN IN ROLE pgkeymgr_user, pgkeymgr_admin')
            ascii_database.execute(b'CREATE DATABASE "walls_\xff"')
            oid = ascii_database.execute("SELECT oid FROM pg_roles WHERE rolname ~ '^walls_'").fetchall()[0][0]
        findings = rows(admin, "SELECT message FROM doctor() WHERE check_name = 'roles'")
        assert any("could not be checked: invalid byte sequence" in message for (message,) in findings)
        with pytest.raises(errors.CharacterNotInRepertoire):
            rows(
                admin,
                f"DO $$ BEGIN EXECUTE 'SET ROLE ' || {oid}::regrole::text; PERFORM create_data_key('k'); END $$",
            )
        rows(admin, "RESET ROLE")
        rows(admin, "CREATE TABLE own (id integer PRIMARY KEY, s text)")
        rows(admin, f"DO $$ BEGIN EXECUTE 'GRANT SELECT ON own TO ' || {oid}::regrole::text; END $$")
        with pytest.raises(errors.CharacterNotInRepertoire):
            rows(admin, "SELECT encrypt_column('own', 's')")
        rows(admin, f"DO $$ BEGIN EXECUTE 'ALTER TABLE own OWNER TO ' || {oid}::regrole::text; END $$")
        with pytest.raises(errors.CharacterNotInRepertoire):
            rows(admin, "SELECT encrypt_column('own', 's')")
        status = invoke("status", "--dsn", database.server.dsn(), "--all-databases")
        assert status.returncode == 1
        assert r'database "walls_\xff" does not exist' in status.stderr
        assert database.name in status.stdout
    finally:
        with database.server.connect("walls_ascii") as ascii_database:
            ascii_database.execute(b'DROP DATABASE IF EXISTS "walls_\xff"')
        rows(admin, "DROP TABLE IF EXISTS own")
        rows(admin, "DROP DATABASE walls_ascii")
        rows(admin, f"DO $$ BEGIN EXECUTE 'DROP ROLE ' || {oid}::regrole::text; END $$")


def test_a_checkpoint_has_no_event_that_can_be_undone(admin: Connection) -> None:
    with pytest.raises(errors.FeatureNotSupported, match="needs the agent"):
        rows(admin, "SELECT checkpoint_key_events()")
    rows(admin, "BEGIN")
    rows(admin, "SELECT create_data_key('k')")
    rows(admin, "SET CONSTRAINTS ALL IMMEDIATE")
    with pytest.raises(errors.FeatureNotSupported, match="in a transaction that has written something"):
        rows(admin, "SELECT checkpoint_key_events()")
    rows(admin, "ROLLBACK")
