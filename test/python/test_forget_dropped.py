"""The roles that may forget a dropped table."""

import column_database
import pytest
from column_database import make_customer
from conftest import Connection, rows, value
from database_session import Database
from psycopg import errors

server = column_database.server
database = column_database.database
admin = column_database.admin

FORGET = "SELECT forget_dropped_table(id) FROM dropped_encrypted_columns"


def test_only_its_owner_forgets_a_dropped_table(database: Database, admin: Connection) -> None:
    """An administrator of keys cannot make the copies of another role's table unreadable by this."""
    make_customer(admin)
    rows(admin, "ALTER TABLE customer_encrypted OWNER TO col_owner")
    rows(admin, "GRANT pgkeymgr_admin TO col_other, col_owner")
    rows(admin, "SELECT grant_data_key('public.customer.ssn', 'col_owner')")
    try:
        # CREATE TABLE ... AS copies no CHECK, by which the copy would be recognized.
        rows(admin, "CREATE TABLE copy AS TABLE customer_encrypted")
        rows(admin, "DROP TABLE customer_encrypted CASCADE")
        rows(admin, "ALTER TABLE copy RENAME TO customer_encrypted")
        rows(admin, "ALTER TABLE customer_encrypted OWNER TO col_owner, ADD PRIMARY KEY (id)")
        with (
            database.session("col_other") as other,
            pytest.raises(errors.InsufficientPrivilege, match=r'cannot forget .*its owner, "col_owner"'),
        ):
            rows(other, FORGET)
        rows(admin, "SELECT adopt_encrypted_table('customer_encrypted')")
        assert value(admin, "SELECT ssn FROM customer WHERE id = 1") == "111"
        rows(admin, "DROP TABLE customer_encrypted CASCADE")
        with database.session("col_owner") as owner:
            rows(owner, FORGET)
        assert rows(admin, FORGET) == []
    finally:
        rows(admin, "REVOKE pgkeymgr_admin FROM col_other, col_owner")


def test_relation_that_does_not_exist(admin: Connection) -> None:
    """An OID of no relation is an error that says so, and not an internal one."""
    for call in ("plan_encrypt_column(4294967295::regclass, 's')", "encrypt_column(4294967295::regclass, 's')"):
        with pytest.raises(errors.UndefinedObject, match="does not exist any more"):
            rows(admin, f"SELECT * FROM {call}")
