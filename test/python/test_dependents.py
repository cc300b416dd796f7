"""Objects that depend on encrypted tables: what commits, what takes several roles, and what is hostile."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from cluster import Cluster
from conftest import Connection, rows, value
from psycopg import errors

OWNER, OTHER, READER, ADMIN = "dep_owner", "dep_other", "dep_reader", "dep_admin"

TABLE = (
    "CREATE TABLE customer (id integer PRIMARY KEY, name text, ssn text, loyalty integer)",
    "INSERT INTO customer VALUES (1, 'ann', '111', 3), (2, 'bob', NULL, 4)",
)


def run(connection: Connection, *statements: str) -> None:
    """Run statements."""
    for statement in statements:
        rows(connection, statement)


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A server with roles."""
    with Cluster(settings={"autovacuum": "off"}) as running:
        with running.connect() as connection:
            for role in (OWNER, OTHER, READER, ADMIN):
                rows(connection, f"CREATE ROLE {role} LOGIN")
        yield running


@pytest.fixture
def database(server: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A new database with the extension."""
    name = f"dependents_{abs(hash(request.node.name))}"
    server.create_database(name)
    with server.connect(name) as connection:
        run(
            connection,
            f"GRANT CREATE ON SCHEMA public TO {OWNER}, {OTHER}",
            f"GRANT pgkeymgr_admin TO {ADMIN}",
            f"GRANT USAGE ON SCHEMA pgkeymgr TO {OWNER}, {OTHER}, {READER}",
        )
    yield name
    with server.connect() as connection:
        rows(connection, f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def session(server: Cluster, database: str, user: str = "postgres") -> Iterator[Connection]:
    """Open a session that finds the functions of the extension."""
    with server.connect(database, user=user, options="-c search_path=public,pgkeymgr") as connection:
        yield connection


@pytest.fixture
def superuser(server: Cluster, database: str) -> Iterator[Connection]:
    """A session of a superuser."""
    with session(server, database) as connection:
        yield connection


DEPENDENT = (
    "CREATE VIEW summary WITH (security_barrier) AS SELECT id, upper(name) AS name FROM customer",
    "COMMENT ON VIEW summary IS 'a comment'",
    f"GRANT SELECT ON summary TO {READER} WITH GRANT OPTION",
    "CREATE VIEW over AS SELECT name FROM summary",
    f"ALTER VIEW over OWNER TO {OTHER}",
    f"GRANT SELECT ON summary TO {OTHER}",
    "CREATE MATERIALIZED VIEW stored AS SELECT id, ssn FROM customer",
    "CREATE UNIQUE INDEX stored_id ON stored (id)",
    "CREATE FUNCTION everybody() RETURNS SETOF customer LANGUAGE sql AS 'SELECT * FROM customer ORDER BY id'",
    "CREATE VIEW through AS SELECT id, ssn FROM everybody()",
    "CREATE VIEW whole AS SELECT to_jsonb(c) ->> 'ssn' AS ssn FROM customer AS c",
    "CREATE VIEW counted AS SELECT count(*) AS n FROM customer",
)
READS = ("summary", "over", "stored", "through", "whole", "counted")


def seen(connection: Connection) -> list[Any]:
    """Return what the dependent objects show, and what they are."""
    found: list[Any] = [sorted(rows(connection, f"TABLE {name}"), key=str) for name in READS]
    found += rows(
        connection,
        "SELECT c.relname, pg_get_userbyid(c.relowner), c.reloptions, obj_description(c.oid),"
        " ARRAY(SELECT x::text FROM aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS x ORDER BY 1)"
        f" FROM pg_class AS c WHERE c.relname = ANY ('{{{','.join(READS)},stored_id}}') ORDER BY 1",
    )
    assert len(found) == 2 * len(READS) + 1
    return found


@pytest.mark.parametrize("first", [True, False], ids=["made before", "made after"])
def test_the_whole_life(server: Cluster, database: str, superuser: Connection, first: bool) -> None:
    """Dependent objects are the same on a plain table, on an encrypted one, and when it is plain again."""
    run(superuser, *TABLE)
    if first:
        run(superuser, *DEPENDENT)
        before = seen(superuser)
    run(superuser, "SELECT encrypt_column('customer', 'ssn')", "CALL migrate_column('customer', 'ssn')")
    if first:
        assert seen(superuser) == before
    else:
        run(superuser, *DEPENDENT)
        before = seen(superuser)
    run(superuser, "SELECT encrypt_column('customer', 'name')", "CALL migrate_column('customer', 'name')")
    assert seen(superuser) == before
    assert rows(superuser, "SELECT count(ssn), count(name) FROM customer_encrypted") == [(0, 0)]
    with session(server, database, READER) as reader:
        if first:
            assert sorted(rows(reader, "TABLE summary")) == [(1, "ANN"), (2, "BOB")]
        with pytest.raises(errors.InsufficientPrivilege):
            rows(reader, "SELECT name_encrypted FROM customer_encrypted")
    for column in ("ssn", "name"):
        run(superuser, f"CALL decrypt_column('customer', '{column}')")
        assert seen(superuser) == before
    assert value(superuser, "SELECT relkind FROM pg_class WHERE relname = 'customer'") == "r"


def test_drop_column(superuser: Connection) -> None:
    """DROP COLUMN ... CASCADE takes with it only what uses the column, as on a plain table."""
    run(superuser, *TABLE, "SELECT encrypt_column('customer', 'ssn')", "CALL migrate_column('customer', 'ssn')")
    run(
        superuser,
        *DEPENDENT,
        "CREATE VIEW loyal AS SELECT id, loyalty FROM customer",
        "CREATE VIEW over_loyal AS SELECT s.id FROM summary AS s JOIN loyal USING (id)",
        "CREATE VIEW of_base AS SELECT c.id FROM customer AS c JOIN customer_encrypted AS b USING (loyalty)",
        "CREATE TABLE log (id integer)",
        "CREATE RULE noting AS ON UPDATE TO customer DO ALSO INSERT INTO log VALUES (OLD.id)",
    )
    before = seen(superuser)
    with pytest.raises(errors.DependentObjectsStillExist):
        rows(superuser, "ALTER TABLE customer_encrypted DROP COLUMN loyalty")
    # PostgreSQL wrote the columns of the function's rows into the view, and would not take its definition back.
    with pytest.raises(errors.FeatureNotSupported, match="through cannot be created again"):
        rows(superuser, "ALTER TABLE customer_encrypted DROP COLUMN loyalty CASCADE")
    assert seen(superuser) == before
    run(superuser, "DROP VIEW through", "CREATE VIEW through AS SELECT id, ssn FROM customer")
    run(superuser, "ALTER TABLE customer_encrypted DROP COLUMN loyalty CASCADE")
    assert seen(superuser) == before
    for name in ("loyal", "over_loyal", "of_base"):
        assert value(superuser, f"SELECT to_regclass('{name}') IS NULL"), name
    run(superuser, "UPDATE customer SET ssn = '9' WHERE id = 2")
    assert rows(superuser, "TABLE log") == [(2,)]
    # In a transaction that ends in nothing, too, and in one after another ALTER TABLE.
    with contextlib.suppress(errors.DivisionByZero), superuser.transaction():
        run(superuser, "ALTER TABLE customer_encrypted DROP COLUMN name CASCADE", "SELECT 1 / 0")
    assert len(seen(superuser)) == len(before)
    with superuser.transaction():
        run(
            superuser,
            "CREATE TABLE another (i integer)",
            "ALTER TABLE another ADD j integer",
            "ALTER TABLE customer_encrypted DROP COLUMN name CASCADE",
        )
    assert value(superuser, "SELECT to_regclass('summary') IS NULL AND to_regclass('over') IS NULL")
    assert value(superuser, "SELECT n FROM counted") == 2
    # The statement of the client does not show that a column is dropped.
    run(
        superuser,
        "ALTER TABLE customer_encrypted ADD spare integer",
        "CREATE FUNCTION migrate_spare() RETURNS void LANGUAGE plpgsql AS"
        " 'BEGIN ALTER TABLE customer_encrypted DROP COLUMN spare CASCADE; END'",
    )
    with pytest.raises(errors.FeatureNotSupported, match="objects that depend on view customer would be lost"):
        rows(superuser, "SELECT migrate_spare()")
    assert value(superuser, "SELECT n FROM counted") == 2


@pytest.mark.parametrize("role", ["postgres", OWNER])
def test_a_trigger_that_stamps_rows(server: Cluster, database: str, superuser: Connection, role: str) -> None:
    """The procedures leave the values alone that a BEFORE trigger would give to a changed row."""
    run(superuser, f"GRANT pgkeymgr_admin TO {OWNER}")
    reads = "SELECT id, changed::text, note FROM stamped ORDER BY id"
    with session(server, database, role) as connection:
        run(
            connection,
            "SET timezone = 'UTC'",
            "CREATE TABLE stamped (id integer PRIMARY KEY, changed timestamptz, note text)",
            "INSERT INTO stamped SELECT i, '2000-01-01', 'n' FROM generate_series(1, 20) AS i",
            "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN NEW.changed := now(); RETURN NEW; END'",
            "CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON stamped FOR EACH ROW EXECUTE FUNCTION stamp()",
        )
        before = rows(connection, reads)
        run(connection, "SELECT encrypt_column('stamped', 'changed')")
        assert rows(connection, reads) == before
        for call in (
            "migrate_column('stamped', 'changed')",
            "rotate_column('stamped', 'changed')",
            "decrypt_column('stamped', 'changed')",
        ):
            run(connection, f"CALL {call}")
            assert rows(connection, reads) == before, call
        run(connection, "UPDATE stamped SET note = 'm' WHERE id = 1")
        assert value(connection, "SELECT changed > '2020-01-01' FROM stamped WHERE id = 1")


SPY = (
    "CREATE TABLE public.loot (who text, what text)",
    "GRANT INSERT ON public.loot TO PUBLIC",
    # Writes down who runs it, and tries to become somebody else.
    "CREATE FUNCTION public.spy(x text) RETURNS boolean LANGUAGE plpgsql AS $$"
    " BEGIN INSERT INTO public.loot VALUES (current_user, x);"
    " BEGIN EXECUTE 'RESET ROLE'; INSERT INTO public.loot VALUES (current_user, x); EXCEPTION WHEN OTHERS THEN"
    " NULL; END;"
    " BEGIN EXECUTE 'ALTER ROLE dep_other SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;"
    " RETURN true; END $$",
    "GRANT EXECUTE ON FUNCTION public.spy(text) TO PUBLIC",
)


def loot(connection: Connection) -> set[str]:
    """Return as whom the spy has run since the last call."""
    found = {who for (who,) in rows(connection, "SELECT who FROM public.loot")}
    assert not value(connection, f"SELECT rolsuper FROM pg_roles WHERE rolname = '{OTHER}'")
    run(connection, "DELETE FROM public.loot")
    return found


def test_definitions_of_another_owner(server: Cluster, database: str, superuser: Connection) -> None:
    """The code in the objects of another owner runs as that owner, not as the role that works on the table."""
    run(superuser, *TABLE, *SPY, f"ALTER TABLE customer OWNER TO {OWNER}", f"GRANT SELECT ON customer TO {OTHER}")
    with session(server, database, OTHER) as other:
        run(
            other,
            # Parsing a literal calls the domain's CHECK; a materialized view is filled; a policy is parsed.
            "CREATE DOMAIN trap AS text CHECK (public.spy(VALUE))",
            "CREATE VIEW literal AS SELECT c.id, c.ssn, '{x}'::trap[] AS t FROM customer AS c",
            "CREATE MATERIALIZED VIEW filled AS SELECT id, ssn FROM customer WHERE public.spy(ssn)",
            "CREATE FUNCTION volatile_index(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS"
            " 'BEGIN PERFORM public.spy($1); RETURN $1; END'",
            "CREATE INDEX filled_trap ON filled (volatile_index(ssn))",
            "CREATE TABLE guarded (ssn text)",
            "ALTER TABLE guarded ENABLE ROW LEVEL SECURITY",
            "CREATE POLICY guard ON guarded USING (ssn IN (SELECT c.ssn FROM customer AS c)"
            " AND '{y}'::trap[] IS NOT NULL)",
            "CREATE FUNCTION defaulted(c customer, d trap[] DEFAULT '{z}') RETURNS text LANGUAGE sql AS"
            " 'SELECT c.ssn'",
        )
        before = rows(other, "TABLE literal")
        loot(superuser)
        for statement in (
            "SELECT * FROM plan_encrypt_column('customer', 'ssn')",
            "SELECT encrypt_column('customer', 'ssn')",
            "CALL migrate_column('customer', 'ssn')",
            "ALTER TABLE customer_encrypted DROP COLUMN loyalty CASCADE",
            "CALL decrypt_column('customer', 'ssn')",
        ):
            run(superuser, statement)
            ran_as = loot(superuser)
            assert ran_as <= {OTHER}, statement
            if statement.startswith(("SELECT encrypt", "CALL decrypt", "ALTER")):
                assert ran_as == {OTHER}, statement
            assert sorted(rows(other, "TABLE literal")) == sorted(before), statement
        assert {
            owner
            for (owner,) in rows(
                superuser,
                "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname IN ('literal', 'filled',"
                " 'filled_trap')"
                " UNION ALL SELECT pg_get_userbyid(proowner) FROM pg_proc WHERE proname = 'defaulted'",
            )
        } == {OTHER}


def test_objects_of_somebody_else_are_refused(server: Cluster, database: str, superuser: Connection) -> None:
    """A caller who cannot act as the owner of an object is refused, and learns what to do. Nothing is changed."""
    run(superuser, *TABLE, f"ALTER TABLE customer OWNER TO {OWNER}", f"GRANT SELECT ON customer TO {OTHER}")
    run(superuser, f"GRANT pgkeymgr_admin TO {OWNER}")
    with session(server, database, OTHER) as other, session(server, database, OWNER) as owner:
        run(other, "CREATE VIEW theirs AS SELECT ssn FROM customer")
        for call in ("encrypt_column", "plan_encrypt_column"):
            try:
                found = str(rows(owner, f"SELECT * FROM {call}('customer', 'ssn')"))
            except errors.FeatureNotSupported as error:
                found = f"{error} {error.diag.message_hint}"
            assert f'view public.theirs belongs to role "{OTHER}"' in found
            assert 'DROP VIEW "public"."theirs"' in found
        assert value(owner, "SELECT relkind FROM pg_class WHERE relname = 'customer'") == "r"
        # A superuser may, and then the owner may not undo it.
        run(superuser, "SELECT encrypt_column('customer', 'ssn')", "CALL migrate_column('customer', 'ssn')")
        assert sorted(rows(other, "TABLE theirs"), key=str) == [("111",), (None,)]
        with pytest.raises(errors.FeatureNotSupported, match="belongs to role"):
            rows(owner, "CALL decrypt_column('customer', 'ssn')")
        assert sorted(rows(other, "TABLE theirs"), key=str) == [("111",), (None,)]
        # A member of both roles may.
        run(superuser, f"GRANT {OTHER} TO {OWNER}")
        run(owner, "CALL decrypt_column('customer', 'ssn')")
        assert sorted(rows(other, "TABLE theirs"), key=str) == [("111",), (None,)]
    run(superuser, f"REVOKE {OTHER} FROM {OWNER}")


def test_a_search_path_that_leads_elsewhere(server: Cluster, database: str, superuser: Connection) -> None:
    """Names in definitions mean what they meant, whatever the search_path of the caller."""
    run(superuser, *TABLE, f"ALTER TABLE customer OWNER TO {OWNER}", *SPY)
    run(
        superuser,
        "CREATE SCHEMA trap",
        "GRANT USAGE ON SCHEMA trap TO PUBLIC",
        # In the way of the operator and the functions in the definitions below.
        "CREATE FUNCTION trap.upper(text) RETURNS text LANGUAGE sql AS $$SELECT 'trapped'$$",
        "CREATE FUNCTION trap.equals(text, text) RETURNS boolean LANGUAGE sql AS $$SELECT public.spy($1)$$",
        "CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.equals)",
        "CREATE TABLE trap.customer (id integer, name text, ssn text, loyalty integer)",
        "CREATE TABLE trap.listed (name text)",
        "CREATE DOMAIN trap.text AS pg_catalog.text CHECK (VALUE IS NULL)",
        "CREATE TABLE listed (name text)",
        "INSERT INTO listed VALUES ('ann')",
        f"ALTER TABLE listed OWNER TO {OWNER}",
        f"SET ROLE {OWNER}",
        "CREATE VIEW shown AS SELECT upper(c.name) AS name, c.ssn::text AS ssn FROM customer AS c"
        " JOIN listed AS l ON l.name = c.name WHERE c.ssn = '111'",
        "CREATE MATERIALIZED VIEW stored AS SELECT * FROM shown",
        "RESET ROLE",
    )
    before = rows(superuser, "TABLE shown")
    assert before == [("ANN", "111")]
    run(superuser, "SET search_path = trap, pg_temp, pg_catalog, public, pgkeymgr")
    run(superuser, "CREATE TEMP TABLE listed (name pg_catalog.text)")
    run(
        superuser,
        "SELECT encrypt_column('public.customer', 'ssn')",
        "CALL migrate_column('public.customer', 'ssn')",
    )
    for statement in ("", "CALL decrypt_column('public.customer', 'ssn')"):
        if statement:
            run(superuser, statement)
        assert rows(superuser, "TABLE public.shown") == before
        assert rows(superuser, "TABLE public.stored") == before
    assert loot(superuser) == set()


def test_row_level_security(server: Cluster, database: str, superuser: Connection) -> None:
    """A view that would read past policies, or under other ones, is refused in both directions."""
    run(
        superuser,
        *TABLE,
        "ALTER TABLE customer ENABLE ROW LEVEL SECURITY",
        f"CREATE POLICY one ON customer TO {READER} USING (id = 1)",
        f"GRANT SELECT ON customer TO {READER}",
        "CREATE VIEW seen AS SELECT id, ssn FROM customer",
        f"GRANT SELECT ON seen TO {READER}",
    )
    with pytest.raises(errors.FeatureNotSupported, match="reads with the rights of its owner"):
        rows(superuser, "SELECT encrypt_column('customer', 'ssn')")
    run(superuser, "ALTER VIEW seen SET (security_invoker = true)")
    run(superuser, "SELECT encrypt_column('customer', 'ssn')", "CALL migrate_column('customer', 'ssn')")
    with session(server, database, READER) as reader:
        assert rows(reader, "TABLE seen") == [(1, "111")]
    run(superuser, "ALTER VIEW seen SET (security_invoker = false)")
    with pytest.raises(errors.FeatureNotSupported, match="reads with the rights of its owner"):
        rows(superuser, "CALL decrypt_column('customer', 'ssn')")
    run(superuser, "ALTER VIEW seen SET (security_invoker = true)", "CALL decrypt_column('customer', 'ssn')")
    with session(server, database, READER) as reader:
        assert rows(reader, "TABLE seen") == [(1, "111")]


def test_policies_come_later(server: Cluster, database: str, superuser: Connection) -> None:
    """The encrypted view is security_invoker again as soon as the table has row-level security."""
    option = "SELECT reloptions FROM pg_class WHERE relname = 'customer'"
    run(superuser, *TABLE, "CREATE VIEW seen AS SELECT id, ssn FROM customer", f"GRANT SELECT ON seen TO {READER}")
    run(superuser, "SELECT encrypt_column('customer', 'ssn')", "CALL migrate_column('customer', 'ssn')")
    with session(server, database, READER) as reader:
        assert len(rows(reader, "TABLE seen")) == 2
        run(superuser, "ALTER TABLE customer_encrypted ENABLE ROW LEVEL SECURITY")
        assert value(superuser, option) == ["security_invoker=true"]
        with pytest.raises(errors.InsufficientPrivilege):
            rows(reader, "TABLE seen")
    run(superuser, "ALTER TABLE customer_encrypted DISABLE ROW LEVEL SECURITY", "DROP VIEW seen")
    run(superuser, "SELECT refresh_encrypted_view('customer')")
    assert value(superuser, option) == ["security_invoker=true"]


def test_a_warning_of_copies(superuser: Connection) -> None:
    """encrypt_column() says where plaintext remains."""
    messages: list[str] = []
    superuser.add_notice_handler(lambda notice: messages.append(notice.message_primary or ""))
    run(
        superuser,
        "CREATE TABLE person (id integer PRIMARY KEY, mail text, mail_lower text, lower_case text, words"
        " tsvector)",
        "CREATE MATERIALIZED VIEW stored AS SELECT count(*) FROM person WHERE mail <> ''",
        "CREATE INDEX person_mail ON person (mail)",
        "SELECT encrypt_column('person', 'mail', drop_indexes => true)",
    )
    said = "\n".join(messages)
    for word in (
        "materialized view public.stored holds",
        '"mail_lower"',
        '"words"',
        "index public.person_mail was dropped",
    ):
        assert word in said
    assert "lower_case" not in said
    messages.clear()
    run(superuser, "SELECT encrypt_column('person', 'lower_case')")
    assert "stored" not in "\n".join(messages)
    found = rows(superuser, "SELECT object, status, hint FROM doctor() WHERE check_name = 'plaintext_left'")
    objects = {str(found_object) for found_object, status, hint in found if status != "ok" and hint}
    assert {f'column "{name}" of public.person_encrypted' for name in ("mail_lower", "words")} <= objects
    assert not any("lower_case" in each for each in objects)
    run(superuser, "ALTER TABLE person_encrypted DROP COLUMN mail_lower CASCADE")
    run(superuser, "SELECT encrypt_column('person', 'words')")
    found = rows(superuser, "SELECT object FROM doctor() WHERE check_name = 'plaintext_left'")
    assert not [each for (each,) in found if each and each.startswith("column")]


def test_alter_encrypted_table(server: Cluster, database: str, superuser: Connection) -> None:
    """The type of a plain column changes, and everything that depends on the view comes back."""
    run(superuser, *TABLE, "SELECT encrypt_column('customer', 'ssn')", "CALL migrate_column('customer', 'ssn')")
    run(
        superuser,
        *DEPENDENT,
        "CREATE VIEW loyal AS SELECT id, loyalty FROM customer",
        f"GRANT SELECT, INSERT ON customer TO {READER}",
        f"SELECT grant_data_key('public.customer.ssn', '{READER}')",
        "ALTER VIEW customer ALTER COLUMN ssn SET DEFAULT 'none'",
    )
    before = seen(superuser)
    with pytest.raises(errors.FeatureNotSupported):
        rows(superuser, "ALTER TABLE customer_encrypted ALTER loyalty TYPE bigint")
    type_of = "SELECT pg_typeof(loyalty)::text FROM {} LIMIT 1"
    run(superuser, "SELECT alter_encrypted_table('customer', 'ALTER COLUMN loyalty TYPE bigint')")
    assert [value(superuser, type_of.format(name)) for name in ("customer", "loyal")] == ["bigint", "bigint"]
    assert seen(superuser) == before
    with session(server, database, READER) as reader:
        run(reader, "INSERT INTO customer (id, name) VALUES (3, 'cy')")
        assert rows(reader, "SELECT ssn FROM customer WHERE id = 3") == [("none",)]
    run(superuser, "DELETE FROM customer WHERE id = 3", "DROP VIEW through")
    run(superuser, "SELECT alter_encrypted_table('customer_encrypted', 'DROP COLUMN loyalty')")
    assert value(superuser, "SELECT to_regclass('loyal') IS NULL AND to_regclass('summary') IS NOT NULL")
    columns = (
        "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'customer'::regclass"
    )
    assert value(superuser, columns) == "id name ssn"
    for action in (
        "ALTER COLUMN ssn TYPE varchar(10)",
        "DROP COLUMN ssn",
        "DROP COLUMN ssn_encrypted",
        "DROP COLUMN id",
        "ALTER COLUMN id TYPE text",
        "RENAME COLUMN name TO called",
    ):
        with pytest.raises(errors.FeatureNotSupported):
            rows(superuser, f"SELECT alter_encrypted_table('customer', $${action}$$)")
    assert value(superuser, columns) == "id name ssn"
    assert sorted(rows(superuser, "TABLE whole"), key=str) == [("111",), (None,)]
    run(superuser, f"GRANT pgkeymgr_admin TO {OWNER}")
    with session(server, database, OWNER) as owner, pytest.raises(errors.InsufficientPrivilege):
        rows(owner, "SELECT alter_encrypted_table('customer', 'ADD COLUMN x integer')")
