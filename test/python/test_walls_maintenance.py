"""The walls between roles in maintenance: procedures and checks of a table run as its owner."""

import pytest
import walls_database
from conftest import Connection, rows, value
from psycopg import errors
from walls_database import SPY, Database, run, spy

server = walls_database.server
database = walls_database.database
superuser = walls_database.superuser
owner = walls_database.owner


TRAPS = {
    "a CHECK": ["ALTER TABLE t ADD CHECK (own.spy(n))"],
    "a generated column": ["ALTER TABLE t ADD COLUMN g boolean GENERATED ALWAYS AS (own.spy(n)) STORED"],
    "a domain": [
        "CREATE DOMAIN own.d AS boolean CHECK (own.spied(VALUE))",
        "ALTER TABLE t ADD COLUMN g own.d GENERATED ALWAYS AS (n > 0) STORED",
    ],
    "an index expression": ["CREATE INDEX ON t (own.spy(n))"],
    "an index predicate": ["CREATE INDEX ON t (n) WHERE own.spy(n)"],
    "a trigger": [
        "CREATE FUNCTION own.fire() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM own.spy(1); RETURN NEW; END $$",
        "CREATE TRIGGER fire BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION own.fire()",
        "CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON t DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION own.fire()",
    ],
    "a policy": [
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE t FORCE ROW LEVEL SECURITY",
        "CREATE POLICY seen ON t USING (own.spy(n))",
    ],
    "a cast of the key": ["CREATE CAST (own.e AS text) WITH FUNCTION own.spelt(own.e)"],
    "a default": ["ALTER TABLE t ADD COLUMN g boolean DEFAULT own.spy(1)"],
}


def make_trapped(owner: Connection, trap: str) -> None:
    """Make a table of wall_owner's with a trap in it."""
    run(
        owner,
        SPY,
        spy("spy", "integer"),
        spy("spied", "boolean"),
        "CREATE TYPE own.e AS ENUM ('x', 'y', 'z')",
        spy("spelt", "own.e", "text", "CASE $1 WHEN 'x' THEN 'x' WHEN 'y' THEN 'y' ELSE 'z' END"),
        "CREATE TABLE t (id integer, k own.e, n integer, s text, w text, PRIMARY KEY (id, k))",
        *TRAPS[trap],
        "INSERT INTO t (id, k, n, s, w) VALUES (1, 'x', 1, 'one', 'uno'), (2, 'y', 2, NULL, NULL),"
        " (3, 'z', 3, 'three', 'tre')",
    )


VALUES = [(1, "x", 1, "one", "uno"), (2, "y", 2, None, None), (3, "z", 3, "three", "tre")]
MAINTENANCE = (
    "SELECT encrypt_column('t', 's')",
    "CALL migrate_column('t', 's', 2)",
    "SELECT encrypt_column('t', 'w', deterministic => true)",
    "CALL migrate_column('t', 'w')",
    "CALL rotate_column('t', 's')",
    "SELECT add_blind_index('t', 's')",
    "SELECT * FROM verify_column('t', 's')",
    "SELECT refresh_encrypted_view('t')",
    "SELECT destroy_data_key(id, name) FROM data_keys WHERE superseded_by IS NOT NULL",
    "SELECT drop_blind_index('t', 's')",
    "CALL decrypt_column('t', 'w', 2)",
    "CALL decrypt_column('t', 's')",
)


@pytest.mark.parametrize("trap", TRAPS)
def test_maintenance_by_a_superuser(
    database: Database, owner: Connection, superuser: Connection, trap: str
) -> None:
    """The owner's code runs as the owner, if at all, cannot become anybody else, and leaves nothing behind."""
    make_trapped(owner, trap)
    for statement in MAINTENANCE:
        found = rows(superuser, statement)
        if "verify" in statement:
            assert found == []
        assert value(superuser, "SELECT current_setting('search_path')") == "own,pgkeymgr,public", statement
        assert value(superuser, "SELECT coalesce(current_setting('walls.left', true), '')") == "", statement
        assert value(superuser, "SELECT current_user::text") == "postgres", statement
        assert database.loot() == [], statement
        if trap != "a policy":
            assert rows(owner, "SELECT id, k::text, n, s, w FROM t ORDER BY id") == VALUES, statement
    assert rows(owner, "SELECT relkind::text FROM pg_class WHERE relname = 't'") == [("r",)]
    assert database.loot() == []


def test_a_statement_that_fails_as_the_owner(database: Database, owner: Connection, superuser: Connection) -> None:
    """Afterwards the caller is who it was, with the settings that it had."""
    run(
        owner,
        "CREATE FUNCTION own.fails(integer) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN"
        " IF session_user <> 'wall_owner' THEN PERFORM set_config('work_mem', '1234kB', false);"
        " RAISE EXCEPTION 'no'; END IF; RETURN true; END $$",
        "CREATE TABLE t (id integer PRIMARY KEY CHECK (own.fails(id)), s text)",
        "INSERT INTO t VALUES (1, 'x')",
    )
    run(superuser, "SELECT encrypt_column('t', 's')")
    before = value(superuser, "SELECT current_setting('work_mem')")
    for _ in range(2):
        with pytest.raises(errors.RaiseException, match="no"):
            rows(superuser, "CALL migrate_column('t', 's')")
        assert rows(superuser, "SELECT current_user::text, session_user::text") == [("postgres", "postgres")]
        assert value(superuser, "SELECT current_setting('work_mem')") == before
    with superuser.transaction():
        with pytest.raises(errors.RaiseException), superuser.transaction():
            rows(superuser, "SELECT add_blind_index('t', 's')")
        assert value(superuser, "SELECT current_user::text") == "postgres"
        assert value(superuser, "SELECT current_setting('work_mem')") == before
    run(superuser, "CREATE ROLE wall_new", "DROP ROLE wall_new")


def test_a_member_of_the_owner(database: Database, owner: Connection, superuser: Connection) -> None:
    """A role that may act as the owner does so: the owner's code has the rights of the owner."""
    make_trapped(owner, "a CHECK")
    with database.session("wall_admin") as admin:
        with pytest.raises(errors.InsufficientPrivilege, match="must be owner"):
            rows(admin, "SELECT encrypt_column('t', 's')")
        superuser.execute("GRANT wall_owner TO wall_admin")
        try:
            for statement in MAINTENANCE[:2]:
                rows(admin, statement)
        finally:
            superuser.execute("REVOKE wall_owner FROM wall_admin")
    assert database.loot() == []
    assert rows(owner, "SELECT s FROM t WHERE id = 1") == [("one",)]


def test_an_owner_without_the_key(owner: Connection, superuser: Connection) -> None:
    """Rows are sealed as the owner: the caller learns which grant is missing, before anything is done."""
    run(owner, "CREATE TABLE t (id integer PRIMARY KEY, s text)", "INSERT INTO t VALUES (1, 'x')")
    run(
        superuser,
        "SELECT encrypt_column('t', 's')",
        "SELECT revoke_data_key('own.t.s', 'wall_owner', '{decrypt}')",
    )
    for statement in (
        "CALL migrate_column('t', 's')",
        "SELECT * FROM verify_column('t', 's')",
        "SELECT add_blind_index('t', 's')",
    ):
        with pytest.raises(
            errors.InsufficientPrivilege, match=r'owner of own\.t_encrypted, "wall_owner", may not'
        ) as e:
            rows(superuser, statement)
        assert "grant_data_key('own.t.s', '\"wall_owner\"')" in (e.value.diag.message_hint or "")
    superuser.execute("SELECT grant_data_key('own.t.s', '\"wall_owner\"')")
    run(superuser, "CALL migrate_column('t', 's')")
    assert rows(owner, "SELECT s FROM t") == [("x",)]


def break_base(superuser: Connection, how: str) -> None:
    """Make a base table what no DDL of an owner's makes of it any more, as if no event trigger had heard."""
    run(superuser, "SET session_replication_role = replica", "DROP VIEW t")
    if how == "another type":
        run(
            superuser,
            "SET ROLE wall_owner",
            "CREATE TYPE own.c AS (b bytea)",
            SPY,
            spy("opened", "own.c", "bytea", "$1.b"),
            "CREATE CAST (own.c AS bytea) WITH FUNCTION own.opened(own.c) AS IMPLICIT",
            "ALTER TABLE t_encrypted DROP CONSTRAINT s_encrypted_check",
            "ALTER TABLE t_encrypted ALTER COLUMN s_encrypted TYPE own.c USING ROW(s_encrypted)::own.c",
            "RESET ROLE",
        )
    elif how == "a domain":
        run(
            superuser,
            "CREATE DOMAIN own.d AS bytea",
            "ALTER TABLE t_encrypted ALTER COLUMN s_encrypted TYPE own.d",
        )
    elif how == "gone":
        run(superuser, "ALTER TABLE t_encrypted DROP COLUMN s_encrypted")
    elif how == "a rule":
        run(
            superuser,
            "SET ROLE wall_owner",
            SPY,
            spy("spy", "integer"),
            "TRUNCATE t_encrypted",
            "DO $$ DECLARE change text; BEGIN FOR change IN"
            " SELECT format('DROP CONSTRAINT %I', conname) FROM pg_constraint"
            " WHERE conrelid = 't_encrypted'::regclass AND contype <> 'n'"
            " LOOP EXECUTE 'ALTER TABLE t_encrypted ' || change; END LOOP; FOR change IN"
            " SELECT format('DROP TRIGGER %I ON t_encrypted', tgname) FROM pg_trigger"
            " WHERE tgrelid = 't_encrypted'::regclass LOOP EXECUTE change; END LOOP; END $$",
            "ALTER TABLE t_encrypted ALTER COLUMN id DROP NOT NULL",
            "VACUUM t_encrypted",  # which notices that triggers and indexes have gone
            'CREATE RULE "_RETURN" AS ON SELECT TO t_encrypted DO INSTEAD'
            " SELECT 1 AS id, ''::text AS s, '\\x01'::bytea AS s_encrypted FROM (SELECT own.spy(1)) AS spied (so)"
            " WHERE so",
            "RESET ROLE",
        )
    run(superuser, "RESET session_replication_role")


@pytest.mark.parametrize("how", ["another type", "a domain", "gone", "a rule"])
def test_a_base_that_is_none_any_more(
    database: Database, owner: Connection, superuser: Connection, how: str
) -> None:
    """It is not read: each function says why, and a key that it may need is not destroyed."""
    run(owner, "CREATE TABLE t (id integer PRIMARY KEY, s text)", "INSERT INTO t VALUES (1, 'x')")
    run(superuser, "SELECT encrypt_column('t', 's')", "SELECT grant_data_key('own.t.s', 'wall_admin')")
    if how == "a rule":  # PostgreSQL makes no view of a table with a dropped column
        run(superuser, "SELECT supersede_data_key('own.t.s')")
    else:
        run(superuser, "CALL migrate_column('t', 's')", "CALL rotate_column('t', 's')")
    try:
        break_base(superuser, how)
    except errors.WrongObjectType:
        pytest.skip("PostgreSQL makes no view of a table any more")
    for statement in (
        "CALL migrate_column('t_encrypted', 's')",
        "CALL rotate_column('t_encrypted', 's')",
        "CALL decrypt_column('t_encrypted', 's')",
        "SELECT add_blind_index('t_encrypted', 's')",
        "SELECT * FROM verify_column('t_encrypted', 's')",
        "SELECT _count_values('t_encrypted', 's')",
        "SELECT refresh_encrypted_view('t_encrypted')",
    ):
        with pytest.raises(errors.FeatureNotSupported):
            rows(superuser, statement)
        assert database.loot() == [], statement
    destroy = "SELECT destroy_data_key(id, name) FROM data_keys WHERE superseded_by IS NOT NULL"
    with database.session("wall_admin") as admin:
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match="could not be looked at"):
            rows(admin, destroy)
        assert database.loot() == []
        rows(admin, destroy.replace("name)", "name, true)"))


def test_keys_of_tables_with_policies(owner: Connection, database: Database, superuser: Connection) -> None:
    """No policy hides a row from the search for values under a key, nor from who may see all of them."""
    run(
        owner,
        "CREATE TABLE t (id integer PRIMARY KEY, s text)",
        "INSERT INTO t VALUES (1, 'x')",
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE t FORCE ROW LEVEL SECURITY",
        "GRANT SELECT ON t TO wall_admin",
    )
    run(superuser, "SELECT encrypt_column('t', 's')", "CALL migrate_column('t', 's')")
    superuser.execute("SELECT supersede_data_key('own.t.s')")
    with database.session("wall_admin") as admin:
        for setting in ("on", "off"):
            admin.execute(f"SET row_security = {setting}".encode())
            with pytest.raises(errors.ObjectNotInPrerequisiteState, match="has values under it"):
                rows(admin, "SELECT destroy_data_key(id, name) FROM data_keys WHERE superseded_by IS NOT NULL")
        # The keys of the rows would be shown.
        run(owner, "ALTER TABLE t_encrypted NO FORCE ROW LEVEL SECURITY")
        admin.execute("SET row_security = on")
        with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
            rows(admin, "SELECT * FROM verify_column('t', 's')")
    assert rows(superuser, "SELECT * FROM verify_column('t', 's')") == []
    # As where the row comes from elsewhere: the table's trigger would refuse it.
    run(superuser, "SET session_replication_role = replica")
    run(superuser, "UPDATE t_encrypted SET s_encrypted = set_byte(s_encrypted, 20, 0) WHERE id = 1")
    run(superuser, "RESET session_replication_role")
    assert rows(superuser, "SELECT row_key FROM verify_column('t', 's')") == [("1",)]


def test_children_are_not_read(database: Database, owner: Connection, superuser: Connection) -> None:
    """A table that inherits from the base table is none of its rows."""
    run(owner, "CREATE TABLE t (id integer PRIMARY KEY, s text)", "INSERT INTO t VALUES (1, 'x')")
    run(
        superuser,
        "SELECT encrypt_column('t', 's')",
        "CALL migrate_column('t', 's')",
        "CALL rotate_column('t', 's')",
    )
    run(
        owner,
        SPY,
        spy("spy", "integer"),
    )
    # The event trigger refuses such a table, unless a superuser has disabled it.
    run(superuser, "ALTER EVENT TRIGGER pgkeymgr_ddl DISABLE")
    run(owner, "CREATE TABLE child (CHECK (own.spy(id))) INHERITS (t_encrypted)")
    run(superuser, "ALTER EVENT TRIGGER pgkeymgr_ddl ENABLE")
    run(
        owner,
        "INSERT INTO child (id, s_encrypted) SELECT 2, set_byte(s_encrypted, 20, 0) FROM ONLY t_encrypted",
    )
    assert rows(superuser, "SELECT * FROM verify_column('t', 's')") == []
    assert value(superuser, "SELECT _count_values('t', 's')") == 1
    run(superuser, "CALL rotate_column('t', 's')")
    assert database.loot() == []


def test_only_a_role_that_may_read_and_decrypt_verifies(
    database: Database, owner: Connection, superuser: Connection
) -> None:
    """It takes the right to read the table and the right to decrypt, as reading it by oneself would."""
    run(owner, "CREATE TABLE t (id integer PRIMARY KEY, s text)", "INSERT INTO t VALUES (1, 'x')")
    run(superuser, "SELECT encrypt_column('t', 's')", "CALL migrate_column('t', 's')")
    with database.session("wall_admin") as admin:
        with pytest.raises(errors.InsufficientPrivilege, match="permission denied for table"):
            rows(admin, "SELECT * FROM verify_column('t', 's')")
        with pytest.raises(errors.InsufficientPrivilege, match="permission denied for table"):
            rows(admin, "SELECT _count_values('t', 's')")
        owner.execute("GRANT SELECT ON t TO wall_admin")
        with pytest.raises(errors.InsufficientPrivilege, match="permission denied to decrypt"):
            rows(admin, "SELECT * FROM verify_column('t', 's')")
        superuser.execute("SELECT grant_data_key('own.t.s', 'wall_admin', '{decrypt}')")
        assert rows(admin, "SELECT * FROM verify_column('t', 's')") == []


@pytest.mark.parametrize("normalize", ["none", "casefold"])
def test_blind_indexes_are_verified(owner: Connection, superuser: Connection, normalize: str) -> None:
    """A blind index that is another value's, or there for no value, or not there, is named, and no other row."""
    run(
        owner,
        "CREATE TABLE t (id integer PRIMARY KEY, s text, n numeric UNIQUE)",
        "INSERT INTO t SELECT i, 'Value ' || i, i FROM generate_series(1, 9) AS i",
        "INSERT INTO t VALUES (10, NULL, NULL)",
    )
    run(superuser, "SELECT encrypt_column('t', 's')", f"SELECT add_blind_index('t', 's', '{normalize}')")
    run(superuser, "SELECT encrypt_column('t', 'n')")
    verify = "SELECT row_key, problem FROM verify_column('t', '{}') ORDER BY row_key::integer"
    for step in ("SELECT 1", "UPDATE t SET s = s, n = n WHERE id < 4", "CALL migrate_column('t', 's')"):
        rows(superuser, step)
        assert rows(superuser, verify.format("s")) == rows(superuser, verify.format("n")) == [], step
    run(
        superuser,
        "SET session_replication_role = replica",
        "UPDATE t_encrypted SET s_bidx = (SELECT s_bidx FROM t_encrypted WHERE id = 1) WHERE id IN (2, 10)",
        "UPDATE t_encrypted SET s_bidx = NULL WHERE id = 3",
        "UPDATE t_encrypted SET s_encrypted = set_bit(s_encrypted, 99, 1 - get_bit(s_encrypted, 99)) WHERE id = 4",
        "UPDATE t_encrypted SET n_bidx = set_bit(n_bidx, 9, 1 - get_bit(n_bidx, 9)) WHERE id = 5",
        "RESET session_replication_role",
    )
    mismatch = "blind index does not match its value"
    found = rows(superuser, verify.format("s"))
    assert [(key, problem == mismatch) for key, problem in found] == [
        ("2", True),
        ("3", True),
        ("4", False),
        ("10", True),
    ]
    assert rows(superuser, verify.format("n")) == [("5", mismatch)]
