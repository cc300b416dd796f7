"""The keys that encrypted columns depend on: destroyed, of the same name, granted at the same time."""

import threading

import column_database
import pytest
from column_database import check_works, make_customer
from conftest import Connection, rows, value
from database_session import Database
from psycopg import errors

server = column_database.server
database = column_database.database
admin = column_database.admin


def test_destroying_a_key_that_a_column_needs(admin: Connection) -> None:
    make_customer(admin)
    admin.execute("SELECT add_blind_index('customer', 'ssn')")

    def destroy(name: str, which: str) -> str:
        return (
            f"SELECT destroy_data_key(id, name) FROM data_keys WHERE name ~ '{name}' AND superseded_by IS {which}"
        )

    with pytest.raises(errors.ObjectNotInPrerequisiteState, match='column "ssn" of customer is written with it'):
        rows(admin, destroy("^public.customer.ssn$", "NULL"))
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match='the blind index of column "ssn" of customer'):
        rows(admin, destroy("bidx", "NULL"))
    admin.execute("SELECT supersede_data_key('public.customer.ssn')")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match='column "ssn" of customer has values under it'):
        rows(admin, destroy("^public.customer.ssn$", "NOT NULL"))
    check_works(admin)
    admin.execute("CALL rotate_column('customer', 'ssn')")
    assert len(rows(admin, destroy("^public.customer.ssn$", "NOT NULL"))) == 2
    check_works(admin)
    admin.execute("SELECT drop_blind_index('customer', 'ssn')")
    admin.execute("CALL decrypt_column('customer', 'ssn')")
    assert len(rows(admin, destroy("^public.customer.ssn$", "NULL"))) == 1
    check_works(admin)


def test_destroying_an_unrelated_key_of_the_same_name(admin: Connection) -> None:
    """Only keys in use have a name of their own. A column needs the versions of its key alone."""
    old = value(admin, "SELECT create_data_key('same')")
    admin.execute(f"SELECT disable_data_key({old})".encode())
    admin.execute("SELECT create_data_key('same')")
    make_customer(admin, encrypted=False)
    admin.execute("SELECT encrypt_column('customer', 'ssn', key => 'same')")
    admin.execute("CALL migrate_column('customer', 'ssn')")
    assert len(rows(admin, f"SELECT destroy_data_key({old}, 'same')")) == 1
    check_works(admin)


def test_an_unrelated_key_of_the_same_name_is_not_used(admin: Connection) -> None:
    make_customer(admin, encrypted=False)
    own = value(admin, "SELECT create_data_key('same')")
    admin.execute("SELECT encrypt_column('customer', 'ssn', key => 'same')")
    admin.execute("CALL migrate_column('customer', 'ssn')")
    admin.execute(f"SELECT disable_data_key({own})".encode())
    other = value(admin, "SELECT create_data_key('same')")
    for statement in (
        "CALL rotate_column('customer', 'ssn')",
        "CALL decrypt_column('customer', 'ssn')",
        "SELECT separate_column('customer', 'ssn')",
        "SELECT add_blind_index('customer', 'ssn')",
    ):
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match=f"key {own} .* is disabled"):
            rows(admin, statement)
    assert value(admin, f"SELECT superseded_by FROM data_keys WHERE id = {other}") is None
    admin.execute(f"SELECT disable_data_key({other})".encode())
    admin.execute(f"SELECT enable_data_key({own})".encode())
    check_works(admin)


def test_destroying_the_key_of_a_tenant_with_a_long_name(admin: Connection) -> None:
    """Its name is cut, so it does not begin with the whole name of the column's key."""
    admin.execute("SELECT create_data_key(repeat('k', 250))")
    admin.execute("CREATE TABLE bill (id integer PRIMARY KEY, tenant text, body text)")
    admin.execute("SELECT encrypt_column('bill', 'body', key => repeat('k', 250), key_by => 'tenant')")
    admin.execute("INSERT INTO bill VALUES (1, 'a tenant', 'x')")
    ((key, name),) = rows(
        admin, "SELECT d.id, d.name FROM data_keys AS d JOIN key AS k USING (id) WHERE k.key_value = 'a tenant'"
    )
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match='column "body" of bill has values under it'):
        rows(admin, f"SELECT destroy_data_key({key}, '{name}')")
    assert rows(admin, "SELECT body FROM bill") == [("x",)]


def test_sessions_grant_at_the_same_time(database: Database) -> None:
    """On different tables: what both need of the extension's schema, they have."""
    names = ("one", "two", "three")
    with database.session() as owner:
        rows(owner, "SELECT create_data_key('k')")
        for name in names:
            rows(owner, f"CREATE TABLE {name} (id integer PRIMARY KEY, secret text)")
            rows(owner, f"SELECT encrypt_column('{name}', 'secret', key => 'k')")
            rows(owner, f"GRANT SELECT ON {name} TO col_app")
    failed: list[Exception] = []

    def grant(name: str) -> None:
        try:
            with database.session() as connection:
                for _ in range(30):
                    rows(connection, f"REVOKE SELECT ON {name} FROM col_app")
                    rows(connection, f"GRANT SELECT ON {name} TO col_app")
        except errors.Error as error:
            failed.append(error)

    threads = [threading.Thread(target=grant, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
