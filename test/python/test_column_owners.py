"""Privileges, policies, owners and triggers of tables with encrypted columns, changed afterwards."""

import column_database
import pytest
from column_database import ANN, check_works, make_customer
from conftest import Connection, rows
from database_session import Database
from psycopg import errors

server = column_database.server
database = column_database.database
admin = column_database.admin


def privileges(connection: Connection, relation: str) -> list[str]:
    """Return the privileges on a relation, without who gave them."""
    found = rows(connection, f"SELECT unnest(relacl)::text FROM pg_class WHERE oid = '{relation}'::regclass")
    return sorted(row[0].rsplit("/", 1)[0] for row in found)


def test_grants_afterwards(database: Database, admin: Connection) -> None:
    make_customer(admin)
    for statement in (
        "GRANT SELECT ON customer TO col_app",
        "GRANT INSERT, UPDATE ON customer TO col_app WITH GRANT OPTION",
        "GRANT ALL ON customer TO col_other",
        "REVOKE DELETE, TRUNCATE ON customer FROM col_other",
        "GRANT SELECT ON customer TO PUBLIC",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO col_owner",
        "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM col_owner",
    ):
        rows(admin, statement)
        assert privileges(admin, "customer") == privileges(admin, "customer_encrypted"), statement
    assert "col_app=a*rw*" in privileges(admin, "customer_encrypted")
    for statement in (
        "REVOKE SELECT ON customer_encrypted FROM col_app",
        "REVOKE SELECT ON customer_encrypted FROM PUBLIC",
        "GRANT DELETE ON customer_encrypted TO col_app",
        "GRANT SELECT (name) ON customer_encrypted TO col_owner",
    ):
        with pytest.raises(errors.FeatureNotSupported, match="follow the privileges on view"):
            rows(admin, statement)
    with database.session("col_app") as app:
        # The key has grants of its own.
        with pytest.raises(errors.InsufficientPrivilege, match="permission denied for key"):
            rows(app, "SELECT ssn FROM customer")
        assert rows(app, "SELECT id, name FROM customer WHERE id = 1") == [(1, "Ann")]
        admin.execute("SELECT grant_data_key('public.customer.ssn', 'col_app')")
        admin.execute("GRANT DELETE ON customer TO col_app")
        check_works(app)
        # With the option to grant, it grants on, and the base table follows.
        app.execute("REVOKE SELECT ON customer FROM PUBLIC")
        app.execute("GRANT UPDATE ON customer TO col_owner")
        assert privileges(admin, "customer") == privileges(admin, "customer_encrypted")
        admin.execute("REVOKE ALL ON customer FROM PUBLIC")
        admin.execute("REVOKE ALL ON customer FROM col_app CASCADE")
        assert privileges(admin, "customer") == privileges(admin, "customer_encrypted")
        with pytest.raises(errors.InsufficientPrivilege, match="permission denied for view"):
            rows(app, "SELECT id FROM customer")
        with pytest.raises(errors.InsufficientPrivilege, match="permission denied for table"):
            rows(app, "SELECT id FROM customer_encrypted")
    admin.execute("DROP OWNED BY col_other")
    assert "col_other" not in f"{privileges(admin, 'customer')}{privileges(admin, 'customer_encrypted')}"
    check_works(admin)


def test_privileges_on_columns_afterwards(database: Database, admin: Connection) -> None:
    make_customer(admin)
    admin.execute("GRANT SELECT (id, ssn), UPDATE (ssn), INSERT (ssn) ON customer TO col_app")
    admin.execute("SELECT grant_data_key('public.customer.ssn', 'col_app')")
    with database.session("col_app") as app:
        assert rows(app, "SELECT id, ssn FROM customer ORDER BY id") == [(1, "111"), (2, None), (3, "333")]
        for column in ("name", "*"):
            with pytest.raises(errors.InsufficientPrivilege):
                rows(app, f"SELECT {column} FROM customer")
            with pytest.raises(errors.InsufficientPrivilege):
                rows(app, f"SELECT {column} FROM customer_encrypted")
        app.execute("INSERT INTO customer (ssn) VALUES ('444')")
        app.execute("UPDATE customer SET ssn = '4444' WHERE ssn = '444'")
        with pytest.raises(errors.InsufficientPrivilege):
            rows(app, "UPDATE customer SET name = 'x' WHERE id = 1")
        admin.execute("DELETE FROM customer WHERE id > 3")
        admin.execute("REVOKE UPDATE (ssn) ON customer FROM col_app")
        with pytest.raises(errors.InsufficientPrivilege):
            rows(app, "UPDATE customer SET ssn = 'x' WHERE id = 1")
        admin.execute("REVOKE ALL ON customer FROM col_app")
        with pytest.raises(errors.InsufficientPrivilege):
            rows(app, "SELECT id FROM customer")
    check_works(admin)


def test_row_level_security_afterwards(database: Database, admin: Connection) -> None:
    """It binds those who read and write through the view."""
    make_customer(admin)
    admin.execute("GRANT ALL ON customer TO col_app")
    admin.execute("SELECT grant_data_key('public.customer.ssn', 'col_app')")
    with database.session("col_app") as app:
        check_works(app)
        admin.execute("ALTER TABLE customer_encrypted ENABLE ROW LEVEL SECURITY")
        assert rows(app, "SELECT id FROM customer") == []
        admin.execute("CREATE POLICY part ON customer_encrypted USING (id <> 2) WITH CHECK (name <> 'no')")
        assert rows(app, "SELECT id, name, ssn FROM customer ORDER BY id") == [ANN[0], ANN[2]]
        assert rows(app, "UPDATE customer SET name = name RETURNING id") == [(1,), (3,)]
        assert rows(app, "DELETE FROM customer WHERE id = 2 RETURNING id") == []
        with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
            app.execute("INSERT INTO customer (name, ssn) VALUES ('no', '1')")
        admin.execute("DROP POLICY part ON customer_encrypted")
        assert rows(app, "SELECT id FROM customer") == []
        admin.execute("ALTER TABLE customer_encrypted DISABLE ROW LEVEL SECURITY")
        check_works(app)


def test_row_level_security_and_privileges_on_columns(database: Database, admin: Connection) -> None:
    """A view cannot honour both, whichever comes first."""
    make_customer(admin)
    admin.execute("GRANT SELECT (id, ssn) ON customer TO col_app")
    with pytest.raises(errors.FeatureNotSupported, match="row-level security"):
        admin.execute("ALTER TABLE customer_encrypted ENABLE ROW LEVEL SECURITY")
    admin.execute("REVOKE ALL ON customer FROM col_app")
    admin.execute("ALTER TABLE customer_encrypted ENABLE ROW LEVEL SECURITY")
    with pytest.raises(errors.FeatureNotSupported, match="row-level security"):
        admin.execute("GRANT SELECT (id) ON customer TO col_app")
    check_works(admin)


@pytest.mark.parametrize("change", ["VIEW customer", "TABLE customer_encrypted", "TABLE customer", "REASSIGN"])
def test_another_owner(database: Database, admin: Connection, change: str) -> None:
    make_customer(admin)
    admin.execute("ALTER VIEW customer OWNER TO col_other")
    if change == "REASSIGN":
        # Of which no event trigger hears.
        admin.execute("REASSIGN OWNED BY col_other TO col_owner")
        admin.execute("SELECT refresh_encrypted_view('customer')")
    else:
        rows(admin, f"ALTER {change} OWNER TO col_owner")
    owners = "SELECT DISTINCT pg_get_userbyid(relowner)::text FROM pg_class WHERE relname ~ '^customer'"
    assert rows(admin, owners) == [("col_owner",)]
    admin.execute("SELECT grant_data_key('public.customer.ssn', 'col_owner')")
    with database.session("col_owner") as owner:
        check_works(owner)
        admin.execute("GRANT pgkeymgr_admin TO col_owner")
        try:
            owner.execute("ALTER TABLE customer_encrypted ADD COLUMN more text DEFAULT 'x'")
            assert rows(owner, "SELECT DISTINCT more FROM customer") == [("x",)]
            check_works(owner)
        finally:
            admin.execute("REVOKE pgkeymgr_admin FROM col_owner")
    with database.session("col_other") as other, pytest.raises(errors.InsufficientPrivilege):
        rows(other, "SELECT id FROM customer")


def test_triggers_afterwards(database: Database, admin: Connection) -> None:
    """RETURNING gives a row as a trigger of the base table has changed it; and a trigger can log into a table."""
    make_customer(admin)
    with database.session() as other:
        check_works(other)
        admin.execute(
            "CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN NEW.name := upper(NEW.name); RETURN NEW; END $$"
        )
        admin.execute(
            "CREATE TRIGGER change BEFORE INSERT OR UPDATE ON customer_encrypted FOR EACH ROW"
            " EXECUTE FUNCTION change()"
        )
        inserted = "INSERT INTO customer (name, ssn) VALUES ('di', '444') RETURNING name, ssn"
        assert rows(other, inserted) == [("DI", "444")]
        assert rows(other, "UPDATE customer SET name = 'ed' WHERE ssn = '444' RETURNING name") == [("ED",)]
        assert rows(other, "SELECT name, ssn FROM customer WHERE id > 3") == [("ED", "444")]
        admin.execute("ALTER TRIGGER change ON customer_encrypted RENAME TO changed")
        assert rows(other, inserted) == [("DI", "444")]
        admin.execute("DROP TRIGGER changed ON customer_encrypted")
        assert rows(other, inserted) == [("di", "444")]
        # This trigger changes the key, to which the ciphertext is bound.
        admin.execute(
            "CREATE OR REPLACE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN NEW.id := NEW.id + 1000; RETURN NEW; END $$"
        )
        admin.execute(
            "CREATE TRIGGER change BEFORE INSERT ON customer_encrypted FOR EACH ROW EXECUTE FUNCTION change()"
        )
        (made,) = rows(other, "INSERT INTO customer (name, ssn) VALUES ('di', '555') RETURNING id, ssn")
        assert made[0] > 1000
        assert rows(other, f"SELECT ssn FROM customer WHERE id = {made[0]}") == [("555",)]
        admin.execute("DROP TRIGGER change ON customer_encrypted")
        # And one that keeps rows out.
        admin.execute(
            "CREATE OR REPLACE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$"
        )
        admin.execute(
            "CREATE TRIGGER change BEFORE INSERT OR DELETE ON customer_encrypted FOR EACH ROW"
            " EXECUTE FUNCTION change()"
        )
        assert rows(other, inserted) == []
        assert rows(other, "DELETE FROM customer WHERE id = 1 RETURNING id") == []
        admin.execute("DROP TRIGGER change ON customer_encrypted")
        admin.execute("DELETE FROM customer WHERE id > 3")
        check_works(other)
