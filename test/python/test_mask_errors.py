"""The errors of masks: each names the column once, and none has a message of the owner's function."""

import column_database
import pytest
from column_database import make_customer
from conftest import Connection, rows
from database_session import Database
from psycopg import errors

server = column_database.server
database = column_database.database
admin = column_database.admin

COLUMN = 'column "ssn" of "customer"'
READ = "SELECT ssn FROM customer WHERE id = 1"
FAILING = "RAISE EXCEPTION 'the value is %', $1"
BODIES = {
    "plpgsql": (f"BEGIN {FAILING}; END", errors.DataException, "P0001"),
    "canceled": (f"BEGIN {FAILING} USING ERRCODE = '57014'; END", errors.QueryCanceled, "was canceled"),
    "shut down": (f"BEGIN {FAILING} USING ERRCODE = '57P01'; END", errors.QueryCanceled, "was canceled"),
    "nested": ("BEGIN RETURN pgkeymgr.token_decrypt_text('no token'); END", errors.DataException, "22000"),
}


@pytest.fixture
def masked(admin: Connection) -> Connection:
    """An encrypted table with masks of the four bodies, and with one that works."""
    make_customer(admin)
    rows(admin, "GRANT SELECT ON customer TO col_app")
    rows(admin, "SELECT grant_data_key('public.customer.ssn', 'col_app', '{masked}')")
    bodies = {name: body for name, (body, *_) in BODIES.items()} | {"works": "BEGIN RETURN 'x'; END"}
    for name, body in bodies.items():
        rows(admin, f'CREATE FUNCTION "{name}"(text) RETURNS text LANGUAGE plpgsql AS $$ {body} $$')
    return admin


def set_mask(admin: Connection, name: str) -> None:
    """Set one of the functions as the mask."""
    admin.execute("SELECT set_mask('customer', 'ssn', %s::text::regprocedure)", [f'"{name}"(text)'])


def test_a_function_that_fails(masked: Connection, database: Database) -> None:
    """Also in a session that has read another mask before."""
    with database.session("col_app") as app:
        for name, (_, kind, message) in BODIES.items():
            set_mask(masked, name)
            for _ in range(2):
                with pytest.raises(kind, match=message) as caught:
                    rows(app, READ)
                said = caught.value.diag
                assert str(said.message_primary).count(COLUMN) == 1, name
                assert str(said.message_primary).count("pgkeymgr: ") == 1, name
                assert "value is" not in f"{caught.value} {said.message_detail} {said.message_hint}"
                if kind is errors.DataException:
                    assert "set_mask()" in str(said.message_hint)
            set_mask(masked, "works")
            assert rows(app, READ) == [("x",)]


def test_a_value_that_was_altered(masked: Connection, database: Database) -> None:
    set_mask(masked, "works")
    with database.session("col_app") as app:
        assert rows(app, READ) == [("x",)]
        rows(masked, "ALTER TABLE customer_encrypted DISABLE TRIGGER ALL")
        altered = "set_byte(ssn_encrypted, 20, 1 # get_byte(ssn_encrypted, 20))"
        rows(masked, f"UPDATE customer_encrypted SET ssn_encrypted = {altered} WHERE id = 1")
        for _ in range(2):
            with pytest.raises(errors.DataException, match="is not authentic") as caught:
                rows(app, READ)
            assert str(caught.value.diag.message_primary).count(COLUMN) == 1
