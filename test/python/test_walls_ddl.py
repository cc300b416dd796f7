"""The walls between roles in DDL: what the event triggers do with the tables of others."""

import contextlib

import psycopg
import pytest
import walls_database
from conftest import Connection, rows, value
from psycopg import errors
from walls_database import SPY, Database, make_encrypted, privileges, run, spy

server = walls_database.server
database = walls_database.database
superuser = walls_database.superuser
owner = walls_database.owner


TAKEN = {
    "a view": "CREATE VIEW shared.t AS SELECT 1 AS id, 'theirs'::text AS s, 1 AS n",
    "a view with the same columns": "CREATE VIEW shared.t AS SELECT id, s, n FROM shared.source",
    "a table": "CREATE TABLE shared.t (id integer)",
    "a sequence": "CREATE SEQUENCE shared.t",
    "a type": "CREATE TYPE shared.t AS ENUM ('a')",
}


@pytest.mark.parametrize("taken", TAKEN)
@pytest.mark.parametrize("setting", ["on", "off"])
def test_a_name_that_is_taken(
    database: Database, owner: Connection, superuser: Connection, taken: str, setting: str
) -> None:
    """An event trigger that makes a view again replaces nothing of others, whatever is set."""
    make_encrypted(owner, superuser)
    with database.session("wall_victim") as victim:
        run(victim, "CREATE TABLE shared.source (id integer, s text, n integer)", TAKEN[taken])
    facts = (
        "SELECT 'class', oid, relowner::regrole::text, relkind::text, pg_get_viewdef(oid) FROM pg_class"
        " WHERE relnamespace = 'shared'::regnamespace AND relname = 't'"
        " UNION ALL SELECT 'type', oid, typowner::regrole::text, typtype::text, NULL FROM pg_type"
        " WHERE typnamespace = 'shared'::regnamespace AND typname = 't' ORDER BY 1"
    )
    before = rows(superuser, facts)
    owner.execute(f"SET check_function_bodies = {setting}".encode())
    run(owner, "DROP VIEW t")
    with pytest.raises((errors.DuplicateTable, errors.DuplicateObject)):
        rows(owner, "ALTER TABLE t_encrypted SET SCHEMA shared")
    # With the base table in that schema already, by another way.
    run(superuser, "SET session_replication_role = replica", "ALTER TABLE own.t_encrypted SET SCHEMA shared")
    superuser.execute("RESET session_replication_role")
    for statement in ("ALTER TABLE shared.t_encrypted ADD COLUMN more integer", "DROP VIEW IF EXISTS own.t"):
        with contextlib.suppress(errors.DuplicateTable, errors.DuplicateObject):
            rows(owner, statement)
    with pytest.raises((errors.DuplicateTable, errors.DuplicateObject)):
        rows(superuser, "SELECT refresh_encrypted_view('shared.t_encrypted')")
    assert rows(superuser, facts) == before
    run(superuser, "ALTER TABLE shared.t_encrypted SET SCHEMA own")
    assert rows(owner, "SELECT id, s FROM own.t") == [(1, "x")]


def test_a_view_of_anothers_in_the_place_of_the_view(
    database: Database, owner: Connection, superuser: Connection
) -> None:
    """The registry of a dump names relations, and another one may have the name by now."""
    make_encrypted(owner, superuser)
    with database.session("wall_victim") as victim:
        run(victim, "CREATE VIEW shared.theirs AS SELECT 1 AS id, 'theirs'::text AS s, 1 AS n")
    run(superuser, "UPDATE encrypted_relation SET relation = 'shared.theirs'")
    before = rows(superuser, "SELECT relowner, pg_get_viewdef(oid) FROM pg_class WHERE relname = 'theirs'")
    for statement in (
        "ALTER TABLE t_encrypted ADD COLUMN more integer",
        "ALTER TABLE t_encrypted RENAME COLUMN n TO m",
        "GRANT SELECT ON t TO wall_user",
    ):
        with contextlib.suppress(psycopg.Error):
            rows(owner, statement)
    assert rows(superuser, "SELECT relowner, pg_get_viewdef(oid) FROM pg_class WHERE relname = 'theirs'") == before


def test_an_owner_who_may_create_nothing(database: Database, owner: Connection, superuser: Connection) -> None:
    """The view that is there follows; no other is made in a schema where its owner could make none."""
    make_encrypted(owner, superuser)
    run(superuser, "CREATE SCHEMA closed", "GRANT USAGE ON SCHEMA closed TO PUBLIC")
    run(superuser, "ALTER VIEW own.t SET SCHEMA closed", "ALTER TABLE own.t_encrypted SET SCHEMA closed")
    run(
        owner,
        "ALTER TABLE closed.t_encrypted ADD COLUMN more text DEFAULT 'y'",
        "ALTER TABLE closed.t_encrypted RENAME COLUMN n TO m",
    )
    assert rows(owner, "SELECT id, s, m, more FROM closed.t") == [(1, "x", 1, "y")]
    owner.execute("DROP VIEW closed.t")
    with pytest.raises(errors.InsufficientPrivilege, match="may not create"):
        rows(owner, "ALTER TABLE closed.t_encrypted ADD COLUMN again integer")
    # The superuser may.
    run(superuser, "SELECT refresh_encrypted_view('closed.t_encrypted')", "CALL rotate_column('closed.t', 's')")
    assert rows(owner, "SELECT id, s FROM closed.t") == [(1, "x")]
    assert value(superuser, "SELECT relowner::regrole::text FROM pg_class WHERE relname = 't'") == "wall_owner"
    run(superuser, "CALL decrypt_column('closed.t', 's')")
    assert rows(owner, "SELECT id, s FROM closed.t") == [(1, "x")]


FAULTS = {
    "a grant on the base table": "GRANT SELECT ON own.t_encrypted TO wall_user",
    "a column of pgkeymgr's own": "ALTER TABLE own.t_encrypted DROP COLUMN s_encrypted CASCADE",
    "the key": "ALTER TABLE own.t_encrypted DROP COLUMN id CASCADE",
    "the view": "DROP VIEW own.t",
    "the view, and another one": "DROP VIEW own.t; CREATE VIEW own.t AS SELECT 1 AS other",
    "a function of pgkeymgr's": "DROP TRIGGER pgkeymgr_update ON own.t",
}
OTHERS = (
    "GRANT SELECT ON victim.own TO wall_user",
    "REVOKE SELECT ON victim.own FROM wall_user",
    "GRANT SELECT ON ALL TABLES IN SCHEMA victim TO wall_user",
    "ALTER TABLE victim.own ADD COLUMN j integer",
    "ALTER TABLE victim.own RENAME COLUMN j TO k",
    "CREATE INDEX ON victim.own (k)",
    "ALTER TABLE victim.own DROP COLUMN k CASCADE",
    "ALTER TYPE victim.kind ADD VALUE 'c'",
    "ALTER TYPE victim.kind RENAME VALUE 'a' TO 'z'",
    "ALTER TYPE victim.kind RENAME TO sort",
    "ALTER DOMAIN victim.text_of_theirs ADD CONSTRAINT more CHECK (VALUE <> 'no')",
    "ALTER DOMAIN victim.text_of_theirs DROP CONSTRAINT more",
    "ALTER VIEW victim.seen RENAME TO shown",
    "ALTER SCHEMA victim RENAME TO victim2",
    "CREATE SCHEMA another CREATE TABLE t (i integer) CREATE INDEX ON t (i) GRANT SELECT ON t TO wall_user",
    "DROP SCHEMA another CASCADE",
)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("way", ["by DDL", "past the event triggers"])
def test_the_ddl_of_others(
    database: Database, owner: Connection, superuser: Connection, fault: str, way: str
) -> None:
    """The statements of others do not fail, whatever an owner does to a table."""
    make_encrypted(owner, superuser)
    run(
        superuser,
        f"GRANT CREATE ON DATABASE {database.name} TO wall_victim",
        "CREATE SCHEMA victim AUTHORIZATION wall_victim",
    )
    if way == "by DDL":
        owner.execute("SET check_function_bodies = off")
        with contextlib.suppress(psycopg.Error):
            rows(owner, FAULTS[fault])
    else:
        run(superuser, "SET session_replication_role = replica", FAULTS[fault], "RESET session_replication_role")
    with database.session("wall_victim") as victim:
        run(
            victim,
            "CREATE TABLE victim.own (i integer)",
            "CREATE TYPE victim.kind AS ENUM ('a', 'b')",
            "CREATE DOMAIN victim.text_of_theirs AS text",
            "CREATE VIEW victim.seen AS SELECT i FROM victim.own",
        )
        for statement in OTHERS:
            rows(victim, statement)
        assert value(superuser, "SELECT to_regclass('victim2.own') IS NOT NULL")
    run(superuser, "GRANT SELECT ON victim2.own TO wall_user", "CREATE TABLE public.unrelated (i integer)")
    run(
        superuser,
        "GRANT SELECT ON public.unrelated TO wall_user",
        "ALTER TABLE public.unrelated ADD COLUMN j integer",
    )


def test_a_constraint_that_names_a_schema_of_others(
    database: Database, owner: Connection, superuser: Connection
) -> None:
    """It is text here, which does not follow: a warning for the other, an error for the owner."""
    run(
        superuser,
        "CREATE SCHEMA victim AUTHORIZATION wall_victim",
        "GRANT USAGE, CREATE ON SCHEMA victim TO PUBLIC",
    )
    run(superuser, f"GRANT CREATE ON DATABASE {database.name} TO wall_victim, wall_owner")
    with database.session("wall_victim") as victim:
        run(victim, "CREATE TYPE victim.kind AS ENUM ('a', 'b')")
        run(
            owner,
            "CREATE TABLE t (id integer PRIMARY KEY, s text, k victim.kind, CHECK (s <> '' OR k = 'a'))",
            "INSERT INTO t VALUES (1, 'x', 'a')",
        )
        run(superuser, "SELECT encrypt_column('t', 's')", "CALL migrate_column('t', 's')")
        database.messages.clear()
        run(victim, "ALTER SCHEMA victim RENAME TO victim2")
        assert any("does not follow" in message for message in database.messages)
        run(victim, "ALTER SCHEMA victim2 RENAME TO victim")
        run(victim, "ALTER TYPE victim.kind RENAME TO sort", "ALTER TYPE victim.sort RENAME TO kind")
    run(superuser, "ALTER SCHEMA victim OWNER TO wall_owner", "ALTER TYPE victim.kind OWNER TO wall_owner")
    for statement in ("ALTER SCHEMA victim RENAME TO victim2", "ALTER TYPE victim.kind RENAME TO sort"):
        with pytest.raises(errors.FeatureNotSupported, match="CHECK"):
            rows(owner, statement)
    run(owner, "UPDATE t SET s = 'y'")
    with pytest.raises(errors.CheckViolation):
        rows(owner, "UPDATE t SET s = '', k = 'b'")


def test_a_literal_in_a_constraint(database: Database, owner: Connection, superuser: Connection) -> None:
    """PostgreSQL checks the domains of an array's elements as soon as it parses the array."""
    run(
        owner,
        SPY,
        spy("spied", "text"),
        "CREATE DOMAIN own.d AS text CHECK (own.spied(VALUE))",
        "CREATE TYPE own.pair AS (a own.d, b integer)",
        "CREATE TABLE t (id integer PRIMARY KEY, s text CHECK (s <> ALL ('{x}'::own.d[]::text[])),"
        " w text CHECK (w <> ('(x,1)'::own.pair).a))",
        "INSERT INTO t VALUES (1, 'one', 'uno')",
    )
    for column in "sw":
        run(superuser, f"SELECT encrypt_column('t', '{column}')", f"CALL migrate_column('t', '{column}')")
    run(owner, "ALTER TABLE t_encrypted ADD COLUMN n integer")
    run(superuser, "ALTER TABLE t_encrypted ADD COLUMN m integer", "SELECT refresh_encrypted_view('t')")
    assert rows(owner, "SELECT * FROM t") == [(1, "one", "uno", None, None)]
    for violated in ("s = 'x'", "w = 'x'"):
        with pytest.raises(errors.CheckViolation):
            rows(owner, f"UPDATE t SET {violated}")
    assert database.loot() == []


def test_dependents_of_generated_functions_hinder_nobody(
    database: Database, owner: Connection, superuser: Connection
) -> None:
    """Views of those who may call the functions, and triggers of the owner's, are not in the way of others."""
    run(superuser, "GRANT USAGE ON SCHEMA pgkeymgr TO wall_user")
    run(
        owner, "CREATE TABLE t (id integer PRIMARY KEY, s text CHECK (s <> ''))", "INSERT INTO t VALUES (1, 'one')"
    )
    run(superuser, "SELECT encrypt_column('t', 's')", "CALL migrate_column('t', 's')")
    number = value(superuser, "SELECT id FROM encrypted_relation WHERE name = 't'")
    with database.session("wall_user") as user:
        use = f"CREATE OR REPLACE TEMP VIEW uses AS SELECT pgkeymgr._check_{number}('x'::text)"
        run(user, use)
        run(owner, "ALTER TABLE t_encrypted ADD COLUMN n integer")
        with pytest.raises(errors.CheckViolation):
            rows(owner, "UPDATE t SET s = ''")
        run(user, use)
        run(superuser, "SELECT encrypt_column('t', 'n')", "CALL migrate_column('t', 'n')")
        run(user, use)
        run(superuser, "CALL decrypt_column('t', 'n')")
        run(
            owner,
            "CREATE TABLE other (LIKE t_encrypted)",
            "CREATE TRIGGER x BEFORE INSERT ON other FOR EACH ROW"
            f" EXECUTE FUNCTION pgkeymgr._seal_insert_{number}()",
        )
        run(user, use)
        run(superuser, "DROP TABLE t_encrypted CASCADE")
    assert value(superuser, f"SELECT count(*) FROM pg_proc WHERE proname ~ '^_[a-z_]+_{number}$'") == 0


def test_a_renamed_schema(database: Database, owner: Connection, superuser: Connection) -> None:
    """Renamed by who owns it, or by a superuser: triggers name it, and follow."""
    make_encrypted(owner, superuser)
    run(
        superuser,
        "CREATE SCHEMA victim AUTHORIZATION wall_victim",
        "GRANT CREATE, USAGE ON SCHEMA victim TO PUBLIC",
    )
    run(superuser, f"GRANT CREATE ON DATABASE {database.name} TO wall_victim")
    run(owner, "ALTER TABLE t_encrypted SET SCHEMA victim")
    with database.session("wall_victim") as victim:
        run(victim, "ALTER SCHEMA victim RENAME TO victim2")
    run(owner, "INSERT INTO t VALUES (2, 'y', 2)", "UPDATE t SET s = s || '+'", "DELETE FROM t WHERE id = 2")
    assert rows(owner, "SELECT id, s FROM t") == [(1, "x+")]
    run(superuser, "ALTER SCHEMA own RENAME TO own2", "SET search_path = own2, pgkeymgr")
    run(owner, "UPDATE own2.t SET s = 'z'")
    assert rows(owner, "SELECT id, s FROM own2.t") == [(1, "z")]


def test_grants_by_others_on_a_table(database: Database, owner: Connection, superuser: Connection) -> None:
    """By a superuser, by who has the option to grant, and in functions that run as somebody else."""
    make_encrypted(owner, superuser)
    run(owner, "GRANT SELECT, INSERT ON t TO wall_grantor WITH GRANT OPTION")
    run(superuser, "GRANT UPDATE ON own.t TO wall_user")
    with database.session("wall_grantor") as grantor:
        run(grantor, "GRANT SELECT ON own.t TO wall_user")
        assert privileges(superuser, "t") == privileges(superuser, "t_encrypted")
        with pytest.raises(errors.FeatureNotSupported, match="follow the privileges on view"):
            rows(grantor, "GRANT SELECT ON own.t_encrypted TO wall_victim")
        run(
            owner,
            "CREATE FUNCTION own.open() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN"
            " GRANT DELETE ON own.t TO wall_victim; END $$",
            "GRANT EXECUTE ON FUNCTION own.open() TO PUBLIC",
        )
        rows(grantor, "SELECT own.open()")
    assert privileges(superuser, "t") == privileges(superuser, "t_encrypted")
    assert {"wall_user select", "wall_user update", "wall_victim delete"} <= privileges(superuser, "t_encrypted")
    # Several in one transaction, on savepoints, on columns, and next to unrelated ones.
    run(owner, "CREATE TABLE plain (i integer)", "BEGIN", "GRANT SELECT ON plain TO wall_user", "SAVEPOINT one")
    run(owner, "REVOKE UPDATE ON t FROM wall_user", "ROLLBACK TO one", "GRANT SELECT (id) ON t TO wall_victim")
    run(owner, "REVOKE SELECT ON t FROM wall_user", "RELEASE one")
    with pytest.raises(errors.FeatureNotSupported), owner.transaction():
        rows(owner, "GRANT TRUNCATE ON t_encrypted TO wall_user")
    run(owner, "GRANT INSERT ON plain TO wall_user", "COMMIT")
    assert privileges(superuser, "t") == privileges(superuser, "t_encrypted")
    assert "wall_user update" in privileges(superuser, "t_encrypted")
    with database.session("wall_victim") as victim:
        assert rows(victim, "SELECT id FROM own.t") == [(1,)]
    with database.session("wall_owner") as later:
        run(later, "BEGIN", "SAVEPOINT one", "GRANT TRUNCATE ON t TO wall_user", "COMMIT")
    assert "wall_user truncate" in privileges(superuser, "t_encrypted")
    with database.session("wall_owner") as later:
        run(later, "GRANT UPDATE (n) ON t TO wall_victim")
    assert value(superuser, "SELECT has_column_privilege('wall_victim', 'own.t_encrypted', 'n', 'UPDATE')")


def test_an_owner_given_by_a_superuser(database: Database, owner: Connection, superuser: Connection) -> None:
    """View and table change hands together, whichever is altered; the former owner keeps nothing."""
    make_encrypted(owner, superuser)
    run(superuser, "GRANT USAGE ON SCHEMA own TO wall_victim", "SELECT grant_data_key('own.t.s', 'wall_victim')")
    owners = "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relname IN ('t', 't_encrypted')"
    for statement, now in (
        ("ALTER VIEW own.t OWNER TO wall_victim", "wall_victim"),
        ("ALTER TABLE own.t_encrypted OWNER TO wall_owner", "wall_owner"),
        ("ALTER TABLE own.t OWNER TO wall_victim", "wall_victim"),
    ):
        rows(superuser, statement)
        assert rows(superuser, owners) == [(now,)]
        with database.session(now) as session:
            run(
                session,
                "UPDATE own.t SET s = s",
                "ALTER TABLE own.t_encrypted ADD COLUMN IF NOT EXISTS more integer",
            )
            assert rows(session, "SELECT s FROM own.t") == [("x",)]
    with pytest.raises(errors.InsufficientPrivilege):
        rows(owner, "SELECT s FROM own.t")


# A thousand tables


def rows_read(connection: Connection, statement: str) -> int:
    """Return how many rows of tables and catalogs a statement and its triggers read, the least of many."""
    query = "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::integer FROM pg_stat_xact_all_tables"

    def once() -> int:
        with connection.transaction(force_rollback=True):
            before = value(connection, query)
            in_between = value(connection, query)
            rows(connection, statement)
            after = value(connection, query)
        # The query itself reads rows, too.
        return int(after - in_between - (in_between - before))

    # A session reads the catalog again when it hears of changes, which those of autovacuum can be.
    return min(once() for _ in range(20))


def test_statements_on_unrelated_tables_among_a_thousand(
    database: Database, owner: Connection, superuser: Connection
) -> None:
    """They read no row of the registry more than once."""
    run(
        superuser,
        "CREATE TABLE public.unrelated (i integer)",
    )
    make_encrypted(owner, superuser)
    # As many rows in the catalog and the registry as a thousand encrypted tables have.
    run(
        superuser,
        "DO $$ BEGIN FOR i IN 1 .. 1000 LOOP"
        " EXECUTE format('CREATE TABLE own.b%s (id integer PRIMARY KEY, s_encrypted bytea, n integer)', i);"
        " EXECUTE format('CREATE VIEW own.v%s AS SELECT id, n FROM own.b%s', i, i);"
        " IF i % 100 = 0 THEN COMMIT; END IF; END LOOP; END $$",
    )
    statements = (
        "GRANT SELECT ON public.unrelated TO wall_user",
        "REVOKE SELECT ON public.unrelated FROM wall_user",
        "ALTER TABLE public.unrelated ALTER COLUMN i SET DEFAULT 1",
    )
    run(superuser, "VACUUM ANALYZE pg_class, pg_attribute, pg_depend, pg_type")
    few = [rows_read(superuser, statement) for statement in statements]
    run(
        superuser,
        "INSERT INTO encrypted_relation (base, relation, name, columns, key_columns, key_encodings)"
        " SELECT ('own.b' || i)::regclass, ('own.v' || i)::regclass, 'v' || i, '{id,n}', '{id}', '{integer}'"
        " FROM generate_series(1, 1000) AS i",
        "INSERT INTO encrypted_column (relation_id, column_name, cipher_column, data_type, type_modifier,"
        " not_null, key_name, key_family, deterministic, state, had_plaintext)"
        " SELECT id, 's', 's_encrypted', 'text', -1, false, 'own.t.s', 1, false, 'encrypted', false"
        " FROM encrypted_relation WHERE name ~ '^v'",
    )
    run(superuser, "VACUUM ANALYZE encrypted_relation, encrypted_column")
    many = [rows_read(superuser, statement) for statement in statements]
    for statement, before, after in zip(statements, few, many, strict=True):
        assert after < before + 1500, (statement, before, after)
    # And nothing was done to the others.
    assert not any("does not follow" in message for message in database.messages)
