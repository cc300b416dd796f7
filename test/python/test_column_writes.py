"""How encrypted columns are written: what is sealed, for which row, and what two sessions do to each other."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from cluster import Cluster
from conftest import Connection, rows, value
from psycopg import errors

ROLES = ("writes_app", "writes_in", "writes_owner", "writes_narrow")
TEMPLATE = "writes_template"
_DATABASES = itertools.count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A server with some roles, and a template database with the extension."""
    with Cluster(settings={"autovacuum": "off", "deadlock_timeout": "100ms"}) as running:
        with running.connect() as connection:
            for role in ROLES:
                rows(connection, f"CREATE ROLE {role} LOGIN")
            connection.execute("ALTER ROLE writes_owner SET search_path = public, pgkeymgr")
        running.create_database(TEMPLATE)
        with running.connect(TEMPLATE) as connection:
            connection.execute("GRANT CREATE ON SCHEMA public TO writes_owner")
        with running.connect() as connection:
            connection.execute("GRANT pgkeymgr_admin TO writes_owner")
        yield running


Connect = Callable[..., Connection]


@pytest.fixture
def connect(server: Cluster) -> Iterator[Connect]:
    """The function that opens sessions in a new database."""
    name = f"writes_{next(_DATABASES)}"
    opened = []

    def open_session(user: str = "postgres") -> Connection:
        path = "-c search_path=public,pgkeymgr"
        opened.append(server.connect(name, user=user, options=path, prepare_threshold=None))
        return opened[-1]

    with server.database_copy(TEMPLATE, name):
        try:
            yield open_session
        finally:
            for session in opened:
                session.close()


@pytest.fixture
def admin(connect: Connect) -> Connection:
    """A superuser's session in it."""
    return connect()


def encrypt(connection: Connection, table: str, *columns: str, options: str = "", migrate: bool = True) -> None:
    """Encrypt columns of a table, and the rows that are there."""
    for column in columns:
        rows(connection, f"SELECT encrypt_column('{table}', '{column}'{options})")
        if migrate:
            rows(connection, f"CALL migrate_column('{table}', '{column}')")


class Statement(threading.Thread):
    """A statement that another session runs at the same time."""

    def __init__(self, watcher: Connection, connection: Connection, sql: str) -> None:
        super().__init__(daemon=True)
        self._watcher = watcher
        self._connection = connection
        self._sql = sql
        self._found: list[tuple[Any, ...]] = []
        self._error: Exception | None = None
        self.start()

    def run(self) -> None:
        """Run it; ``finish`` returns its outcome."""
        try:
            self._found = rows(self._connection, self._sql)
        except Exception as error:
            self._error = error

    def wait_until_blocked(self) -> None:
        """Return when it waits for a lock of another session."""
        query = f"SELECT cardinality(pg_blocking_pids({self._connection.info.backend_pid}))"
        while self.is_alive() and not value(self._watcher, query):
            self.join(0.01)
        assert self.is_alive(), self._error or self._found

    def finish(self) -> list[tuple[Any, ...]]:
        """Wait for its end, and return its rows."""
        self.join(60)
        assert not self.is_alive()
        if self._error is not None:
            raise self._error
        return self._found


# Two sessions


@pytest.fixture
def account(admin: Connection) -> Connection:
    """A table with one encrypted column, of whose rows no transaction is newer than the sessions' snapshots."""
    admin.execute("CREATE TABLE account (id integer PRIMARY KEY, pin text, balance integer, note text)")
    admin.execute("INSERT INTO account VALUES (1, 'a', 10, 'x'), (2, 'b', 20, 'y')")
    encrypt(admin, "account", "pin")
    return admin


OVERTAKEN = {
    "another column": (
        "UPDATE account SET note = 'n' WHERE id = 1",
        "UPDATE account SET balance = 11 WHERE id = 1",
    ),
    "the same column": (
        "UPDATE account SET balance = balance + 1 WHERE id = 1",
        "UPDATE account SET balance = balance + 5 WHERE id = 1",
    ),
    "what the row had": (
        "UPDATE account SET balance = 10 WHERE id = 1",
        "UPDATE account SET balance = 11 WHERE id = 1",
    ),
    "the encrypted column": (
        "UPDATE account SET note = 'n' WHERE id = 1",
        "UPDATE account SET pin = 'c' WHERE id = 1",
    ),
    "what it was found by": (
        "UPDATE account SET balance = 0 WHERE note = 'x'",
        "UPDATE account SET note = 'other' WHERE id = 1",
    ),
    "below the view": (
        "UPDATE account SET note = 'n' WHERE id = 1",
        "UPDATE account_encrypted SET pin = 'c' WHERE id = 1",
    ),
}


@pytest.mark.parametrize("about", OVERTAKEN)
def test_an_update_that_was_overtaken_is_refused(account: Connection, connect: Connect, about: str) -> None:
    """It waits for the other one, and then does not undo it."""
    ours, theirs = OVERTAKEN[about]
    other, writer = connect(), connect()
    other.execute("BEGIN")
    other.execute(theirs.encode())
    changed = rows(other, "SELECT * FROM account ORDER BY id")
    waiting = Statement(account, writer, ours)
    waiting.wait_until_blocked()
    other.execute("COMMIT")
    with pytest.raises(errors.SerializationFailure, match="concurrent update"):
        waiting.finish()
    assert rows(account, "SELECT * FROM account ORDER BY id") == changed


def test_an_update_that_waited_for_nothing_goes_on(account: Connection, connect: Connect) -> None:
    """Rolled back, the other one has changed nothing."""
    other, writer = connect(), connect()
    for ours, theirs in OVERTAKEN.values():
        other.execute("BEGIN")
        other.execute(theirs.encode())
        writer.execute("BEGIN")
        waiting = Statement(account, writer, ours + " RETURNING id")
        waiting.wait_until_blocked()
        other.execute("ROLLBACK")
        assert waiting.finish() == [(1,)]
        writer.execute("ROLLBACK")


@pytest.mark.parametrize("about", OVERTAKEN)
def test_a_change_after_the_statement_began_is_noticed(account: Connection, connect: Connect, about: str) -> None:
    """Though nobody has the row locked any more when the trigger comes to it."""
    ours, theirs = OVERTAKEN[about]
    other, writer = connect(), connect()
    # Before the first row, the statement waits here; its snapshot is taken.
    account.execute(
        "CREATE FUNCTION hold() RETURNS boolean LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN true; END $$"
    )
    other.execute("SELECT pg_advisory_lock(1)")
    waiting = Statement(account, writer, f"{ours} AND (SELECT hold())")
    waiting.wait_until_blocked()
    other.execute(theirs.encode())
    changed = rows(other, "SELECT * FROM account ORDER BY id")
    other.execute("SELECT pg_advisory_unlock(1)")
    with pytest.raises(errors.SerializationFailure, match="concurrent update"):
        waiting.finish()
    assert rows(account, "SELECT * FROM account ORDER BY id") == changed


def test_a_row_that_was_locked_before_is_updated(account: Connection, connect: Connect) -> None:
    other, writer = connect(), connect()
    other.execute("BEGIN")
    other.execute("UPDATE account SET balance = 11, pin = 'new' WHERE id = 1")
    writer.execute("BEGIN")
    waiting = Statement(account, writer, "SELECT FROM account WHERE id = 1 FOR UPDATE")
    waiting.wait_until_blocked()
    other.execute("COMMIT")
    waiting.finish()
    writer.execute("UPDATE account SET balance = balance + 1 WHERE id = 1")
    writer.execute("UPDATE account SET note = 'again', pin = pin || '!' WHERE id = 1")
    writer.execute("COMMIT")
    assert rows(account, "SELECT * FROM account WHERE id = 1") == [(1, "new!", 12, "again")]


def test_rows_newer_than_an_open_transaction_are_updated(account: Connection, connect: Connect) -> None:
    """The row version alone does not tell then that the statement saw it; the values do."""
    old, writer = connect(), connect()
    old.execute("BEGIN")
    old.execute("SELECT pg_current_xact_id()")
    account.execute("INSERT INTO account VALUES (3, 'c', 30, 'z'), (4, NULL, NULL, NULL)")
    for change in ("balance = balance + 1", "pin = pin || '+'", "note = note || '+', pin = NULL", "id = id + 10"):
        updated = rows(writer, f"UPDATE account SET {change} WHERE id > 2 RETURNING id")
        assert len(updated) == 2, change
    assert rows(writer, "SELECT * FROM account WHERE id > 2 ORDER BY id") == [
        (13, None, 31, "z+"),
        (14, None, None, None),
    ]
    old.execute("COMMIT")


def test_a_deletion_waits_and_looks_again(account: Connection, connect: Connect) -> None:
    """As on a table: it deletes the row that is there then, if it is still one that it looks for."""
    other, writer = connect(), connect()
    for theirs, ours, left in (
        (
            "UPDATE account SET note = 'n' WHERE id = 1",
            "DELETE FROM account WHERE pin = 'a' RETURNING note",
            ["n"],
        ),
        ("UPDATE account SET pin = 'other' WHERE id = 2", "DELETE FROM account WHERE pin = 'b' RETURNING id", []),
    ):
        other.execute("BEGIN")
        other.execute(theirs.encode())
        waiting = Statement(account, writer, ours)
        waiting.wait_until_blocked()
        other.execute("COMMIT")
        assert [row[0] for row in waiting.finish()] == left
    assert rows(account, "SELECT id, pin FROM account") == [(2, "other")]


def test_a_row_that_another_session_deletes_is_not_updated(account: Connection, connect: Connect) -> None:
    other, writer = connect(), connect()
    other.execute("BEGIN")
    other.execute("DELETE FROM account WHERE id = 1")
    waiting = Statement(account, writer, "UPDATE account SET pin = 'new' RETURNING id")
    waiting.wait_until_blocked()
    other.execute("COMMIT")
    assert waiting.finish() == [(2,)]
    # And one that took its place is another one.
    other.execute("BEGIN")
    other.execute("DELETE FROM account WHERE id = 2")
    other.execute("INSERT INTO account VALUES (2, 'reborn', 1, 'z')")
    waiting = Statement(account, writer, "UPDATE account SET balance = 7 WHERE id = 2")
    waiting.wait_until_blocked()
    other.execute("COMMIT")
    waiting.join(60)
    assert rows(account, "SELECT * FROM account") == [(2, "reborn", 1, "z")]


def test_without_a_key_as_well(admin: Connection, connect: Connect) -> None:
    admin.execute("CREATE TABLE loose (pin text, n integer, b text)")
    admin.execute("INSERT INTO loose VALUES ('a', 1, 'x'), ('a', 1, 'x'), ('b', 1, 'x'), (NULL, NULL, NULL)")
    encrypt(admin, "loose", "pin", migrate=False)
    assert rows(admin, "UPDATE loose SET pin = 'c' WHERE pin = 'a' RETURNING n") == [(1,), (1,)]
    rows(admin, "CALL migrate_column('loose', 'pin')")
    assert len(rows(admin, "UPDATE loose SET n = n + 1 RETURNING pin")) == 4
    other, writer = connect(), connect()
    other.execute("BEGIN")
    other.execute("UPDATE loose SET pin = 'other' WHERE pin = 'b'")
    waiting = Statement(admin, writer, "UPDATE loose SET b = 'z' WHERE pin = 'b'")
    waiting.wait_until_blocked()
    other.execute("COMMIT")
    with pytest.raises(errors.SerializationFailure):
        waiting.finish()
    found = rows(admin, "SELECT pin, n, b FROM loose ORDER BY pin")
    assert found == [("c", 2, "x"), ("c", 2, "x"), ("other", 2, "x"), (None, None, None)]


# What can be logged


@contextmanager
def plans(connection: Connection) -> Iterator[list[str]]:
    """Collect what auto_explain logs of all statements, those of triggers too, with all expressions."""
    seen: list[str] = []
    connection.execute("LOAD 'auto_explain'")
    for setting in (
        "log_min_duration = 0",
        "log_nested_statements = on",
        "log_verbose = on",
        "log_level = notice",
    ):
        rows(connection, f"SET auto_explain.{setting}")
    connection.execute("SET client_min_messages = notice")
    connection.add_notice_handler(lambda notice: seen.append(str(notice.message_primary)))
    yield seen
    connection.execute("SET auto_explain.log_min_duration = -1")


WRITES = (
    "UPDATE {t} SET note = 'NAMED' WHERE id = 1",
    "UPDATE {t} SET note = 'NAMED' WHERE id < 3",
    "UPDATE {t} SET ssn = ssn || '+' WHERE id = 2",
    "INSERT INTO {t} (id, ssn, note) SELECT id + 100, ssn, 'NAMED' FROM {t}",
    "UPDATE {t} SET id = id + 1000 WHERE id = 3",
    "UPDATE {t} SET ssn = NULL WHERE id = 4",
    "DELETE FROM {t} WHERE id = 5",
)


@pytest.mark.parametrize("shape", ["key", "no key", "columns", "no key, columns", "triggers", "check"])
@pytest.mark.parametrize("migrated", [True, False])
def test_plans_have_no_plaintext(admin: Connection, connect: Connect, shape: str, migrated: bool) -> None:
    """Neither an old value nor a new one that the client's statement does not name."""
    key = "" if "no key" in shape else "PRIMARY KEY"
    admin.execute(f"CREATE TABLE logged (id integer {key}, ssn text, note text)".encode())
    if shape == "check":
        admin.execute("ALTER TABLE logged ADD CHECK (ssn <> note)")
    if shape == "triggers":
        admin.execute(
            "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := NEW.note || '.';"
            " RETURN NEW; END $$; CREATE TRIGGER touch BEFORE INSERT OR UPDATE OF note ON logged FOR EACH ROW"
            " EXECUTE FUNCTION touch()"
        )
    admin.execute("INSERT INTO logged SELECT i, 'LEAK-ME', 'n' FROM generate_series(1, 6) AS i")
    if "columns" in shape:
        admin.execute("GRANT SELECT, INSERT, DELETE ON logged TO writes_narrow")
        admin.execute("GRANT UPDATE (id, ssn, note), SELECT (id) ON logged TO writes_narrow")
    encrypt(admin, "logged", "ssn", migrate=migrated)
    for statement in WRITES:
        if shape == "no key, columns" and not migrated and statement.startswith("UPDATE"):
            continue  # refused: only its plaintext would find the row
        with plans(admin) as seen:
            if "columns" in shape:
                admin.execute("SET ROLE writes_narrow")
            admin.execute(statement.format(t="logged").encode())
            admin.execute("RESET ROLE")
        assert seen
        found = [text for text in seen if "LEAK-ME" in text]
        assert not found, f"{statement}: {found[0]}"


def test_triggers_of_the_table_see_no_plaintext(admin: Connection) -> None:
    admin.execute(
        "CREATE TABLE seen (id integer PRIMARY KEY, ssn text, n integer); CREATE TABLE copied (what text);"
        "CREATE FUNCTION copy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO copied VALUES (to_jsonb(NEW)::text || coalesce(to_jsonb(OLD)::text, ''));"
        " RETURN NEW; END $$;"
        "CREATE TRIGGER a BEFORE INSERT OR UPDATE ON seen FOR EACH ROW EXECUTE FUNCTION copy();"
        "CREATE TRIGGER b AFTER INSERT OR UPDATE ON seen FOR EACH ROW EXECUTE FUNCTION copy()"
    )
    encrypt(admin, "seen", "ssn")
    admin.execute("INSERT INTO seen VALUES (1, 'LEAK-ME', 1); UPDATE seen SET ssn = 'LEAK-ME too', n = 2, id = 3")
    assert rows(admin, "SELECT * FROM seen") == [(3, "LEAK-ME too", 2)]
    assert value(admin, "SELECT count(*) FROM copied") == 4
    assert rows(admin, "SELECT what FROM copied WHERE what ~ 'LEAK'") == []


def test_values_that_wait_are_for_their_user_and_statement(admin: Connection) -> None:
    """An error can keep the table's trigger from taking a value: here the writer may not use the key."""
    admin.execute("CREATE TABLE waiting (id integer PRIMARY KEY, ssn text)")
    encrypt(admin, "waiting", "ssn")
    admin.execute(
        "GRANT INSERT ON waiting TO writes_app; SELECT revoke_data_key('public.waiting.ssn', 'writes_app');"
        " GRANT USAGE ON SCHEMA pgkeymgr TO writes_in"
    )
    take = """DO $$ DECLARE taken text; BEGIN
        FOR i IN 0..20 LOOP
            BEGIN
                taken := pgkeymgr._take_text('\\x00'::bytea || int8send(i));
                RAISE EXCEPTION 'taken: %', taken USING ERRCODE = 'ZZZZZ';
            EXCEPTION WHEN data_exception THEN NULL;
            END;
        END LOOP; END $$"""
    leave = """DO $$ BEGIN
            INSERT INTO waiting VALUES (1, 'LEAK-ME');
        EXCEPTION WHEN insufficient_privilege THEN NULL; END $$"""
    admin.execute("SET ROLE writes_app")
    admin.execute(leave)
    admin.execute(take)
    admin.execute("SET ROLE writes_in")
    admin.execute(take)
    # Within one statement, by a function of the other role.
    admin.execute("RESET ROLE; GRANT CREATE ON SCHEMA public TO writes_app; SET ROLE writes_app")
    body = leave.removeprefix("DO $$").removesuffix("$$")
    admin.execute(
        f"CREATE FUNCTION leave() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$ {body} $$".encode()
    )
    admin.execute("SET ROLE writes_in")
    admin.execute(take.replace("FOR i IN", "PERFORM leave(); FOR i IN").encode())
    # It was there for the one who left it.
    admin.execute("SET ROLE writes_app")
    with pytest.raises(psycopg.Error, match="taken: LEAK-ME"):
        admin.execute(take.replace("FOR i IN", "PERFORM leave(); FOR i IN").encode())


# Sealed for the row as it is stored


def opens(connection: Connection, table: str, column: str = "ssn") -> None:
    """Require that all values of a column open where they are, and that none of them is there in the clear."""
    assert rows(connection, f"SELECT * FROM verify_column('{table}', '{column}')") == []
    assert value(connection, f"SELECT count({column}) FROM {table}_encrypted") == 0


@pytest.mark.parametrize("migrated", [True, False])
def test_referential_actions_move_values(admin: Connection, connect: Connect, migrated: bool) -> None:
    """They run as the table's owner, whichever role deletes or changes the row that is referred to."""
    admin.execute(
        "CREATE TABLE tenant (id integer PRIMARY KEY); INSERT INTO tenant VALUES (0), (1), (2), (3);"
        "CREATE TABLE doc (tenant integer DEFAULT 0 REFERENCES tenant ON UPDATE CASCADE ON DELETE SET DEFAULT,"
        " n integer, ssn text, by_tenant text, PRIMARY KEY (tenant, n));"
        "INSERT INTO doc SELECT t, t, 'of ' || t, 'key ' || t FROM generate_series(1, 3) AS t;"
        "ALTER TABLE doc OWNER TO writes_owner;"
        "GRANT SELECT, UPDATE, DELETE ON tenant TO writes_app; GRANT REFERENCES, SELECT ON tenant TO writes_owner"
    )
    encrypt(admin, "doc", "ssn", migrate=migrated)
    encrypt(admin, "doc", "by_tenant", options=", key_by => 'tenant'", migrate=migrated)
    app = connect("writes_app")
    app.execute("UPDATE tenant SET id = 10 WHERE id = 1")
    app.execute("DELETE FROM tenant WHERE id = 2")
    expected = [(0, 2, "of 2", "key 2"), (3, 3, "of 3", "key 3"), (10, 1, "of 1", "key 1")]
    assert rows(admin, "SELECT * FROM doc ORDER BY tenant") == expected
    under = (
        "SELECT tenant, (token_info(by_tenant_encrypted)).key_name FROM doc_encrypted WHERE tenant <> 3 ORDER BY 1"
    )
    assert rows(admin, under) == [(0, "public.doc.by_tenant:0"), (10, "public.doc.by_tenant:10")]
    for column in ("ssn", "by_tenant"):
        rows(admin, f"CALL migrate_column('doc', '{column}')")
        opens(admin, "doc", column)


TENANT = """
    CREATE TABLE {t} (id text PRIMARY KEY, tenant integer, ssn text NOT NULL);
    CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        NEW.id := coalesce(NEW.id, 'made ' || NEW.tenant);
        NEW.tenant := NEW.tenant + 40;
        RETURN NEW;
    END $$;
    CREATE TRIGGER fill BEFORE INSERT OR UPDATE ON {t} FOR EACH ROW EXECUTE FUNCTION fill();
    GRANT INSERT ON {t} TO writes_in;
    GRANT SELECT, UPDATE ON {t} TO writes_app;
"""


def test_triggers_that_set_the_key_or_the_tenant(admin: Connection, connect: Connect) -> None:
    """Also for a role that may encrypt and not decrypt."""
    admin.execute(TENANT.format(t="filled").encode())
    encrypt(admin, "filled", "ssn", options=", key_by => 'tenant'")
    writer, app = connect("writes_in"), connect("writes_app")
    writer.execute("INSERT INTO filled (tenant, ssn) VALUES (1, 'a'), (2, 'b')")
    writer.execute("INSERT INTO filled VALUES ('own', 3, 'c')")
    with pytest.raises(errors.NotNullViolation):
        writer.execute("INSERT INTO filled (tenant) VALUES (4)")
    with pytest.raises(errors.NotNullViolation):
        writer.execute("INSERT INTO filled (ssn) VALUES ('x')")
    with pytest.raises(errors.InsufficientPrivilege):
        writer.execute("SELECT ssn FROM filled")
    app.execute("UPDATE filled SET ssn = ssn || '!' WHERE id = 'own'")
    found = "SELECT id, tenant, ssn FROM filled ORDER BY id"
    assert rows(app, found) == [("made 1", 41, "a"), ("made 2", 42, "b"), ("own", 83, "c!")]
    keys = rows(admin, "SELECT (token_info(ssn_encrypted)).key_name FROM filled_encrypted ORDER BY id")
    assert keys == [("public.filled.ssn:41",), ("public.filled.ssn:42",), ("public.filled.ssn:83",)]
    # No key was made for a tenant that a row only seemed to have.
    made = rows(admin, "SELECT name FROM data_keys WHERE name LIKE 'public.filled.ssn:%' ORDER BY id")
    assert [name.rpartition(":")[2] for (name,) in made] == ["41", "42", "43", "83"]
    opens(admin, "filled")


def test_writes_below_the_view(admin: Connection) -> None:
    """INSERT, COPY and UPDATE of the base table seal, also where triggers of the origin do not fire."""
    admin.execute("CREATE TABLE below (id integer PRIMARY KEY, ssn text CHECK (ssn <> ''), n integer)")
    encrypt(admin, "below", "ssn")
    admin.execute("INSERT INTO below_encrypted VALUES (1, 'a', 1)")
    with admin.cursor().copy("COPY below_encrypted (id, ssn) FROM STDIN") as copy:
        copy.write_row((2, "b"))
        copy.write_row((3, None))
    admin.execute("UPDATE below_encrypted SET ssn = 'A', id = 4 WHERE id = 1")
    with pytest.raises(errors.CheckViolation):
        admin.execute("UPDATE below_encrypted SET ssn = '' WHERE id = 2")
    with pytest.raises(errors.UniqueViolation):
        admin.execute("INSERT INTO below_encrypted VALUES (4, 'twice')")
    admin.execute("INSERT INTO below_encrypted VALUES (4, 'new') ON CONFLICT (id) DO UPDATE SET n = 44")
    admin.execute("SET session_replication_role = replica")
    admin.execute("INSERT INTO below_encrypted VALUES (5, 'e'); UPDATE below_encrypted SET id = 6 WHERE id = 5")
    admin.execute("RESET session_replication_role")
    assert rows(admin, "SELECT * FROM below ORDER BY id") == [
        (2, "b", None),
        (3, None, None),
        (4, "A", 44),
        (6, "e", None),
    ]
    opens(admin, "below")


def test_doctor_names_what_keeps_triggers_from_firing(admin: Connection) -> None:
    found = "SELECT object FROM doctor() WHERE check_name = 'column_writes' AND status <> 'ok' ORDER BY 1"
    admin.execute("CREATE TABLE watched (id integer PRIMARY KEY, ssn text)")
    encrypt(admin, "watched", "ssn")
    assert rows(admin, found) == []
    admin.execute("ALTER ROLE writes_app SET session_replication_role = replica")
    try:
        assert rows(admin, found) == [("role writes_app",)]
        admin.execute("SET session_replication_role = replica")
        admin.execute("ALTER TABLE watched_encrypted DISABLE TRIGGER ALL")
        everything = {("role writes_app",), ("this session",), ("public.watched_encrypted",)}
        assert set(rows(admin, found)) == everything
    finally:
        admin.execute("ALTER ROLE writes_app RESET session_replication_role")
    admin.execute("RESET session_replication_role")
    with pytest.raises(errors.CheckViolation):
        admin.execute("INSERT INTO watched VALUES (1, 'x')")
    admin.execute("SELECT refresh_encrypted_view('watched')")
    assert rows(admin, found) == []
    admin.execute("INSERT INTO watched VALUES (1, 'x')")
    assert rows(admin, "SELECT * FROM watched") == [(1, "x")]


def test_names_that_plpgsql_has(admin: Connection) -> None:
    names = (
        "found",
        "tg_op",
        "new",
        "old",
        "b",
        "pgkeymgr_now",
        "pgkeymgr_ticket_1",
        "pgkeymgr_writes_1",
        "xmin_",
    )
    columns = ", ".join(f'"{name}" boolean' for name in names)
    table = f"id integer PRIMARY KEY, {columns}, ssn text, u text, CHECK (found OR ssn <> u)"
    rows(admin, f"CREATE TABLE named ({table})")
    encrypt(admin, "named", "ssn", "u")
    trues, falses = ", ".join("true" for _ in names), ", ".join("false" for _ in names)
    rows(admin, f"INSERT INTO named VALUES (1, {trues}, 's', 's'), (2, {falses}, 's', 'u')")
    with pytest.raises(errors.CheckViolation):
        rows(admin, f"INSERT INTO named VALUES (3, {falses}, 's', 's')")
    for name in names:
        rows(admin, f'UPDATE named SET u = u || \'.\', "{name}" = NOT "{name}" WHERE id = 2')
        rows(admin, f'UPDATE named SET "{name}" = NOT "{name}" WHERE id = 2')
    rows(admin, "UPDATE named SET id = 20 WHERE id = 2")
    assert rows(admin, "SELECT id, found, b, ssn, u FROM named ORDER BY id") == [
        (1, True, True, "s", "s"),
        (20, False, False, "s", "u" + "." * len(names)),
    ]


def test_generated_columns_in_checks(admin: Connection) -> None:
    """They count as they will be stored, though a BEFORE trigger does not see them."""
    admin.execute(
        "CREATE TABLE judged (id integer PRIMARY KEY, org text, is_company boolean GENERATED ALWAYS AS"
        " (org IS NOT NULL) STORED, size integer, kind text, ssn text,"
        " CONSTRAINT who CHECK (is_company OR ssn IS NOT NULL),"
        " CONSTRAINT big CHECK (kind = 'k' OR ssn <> 'big'));"
        "CREATE FUNCTION sort() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.size > 9 THEN NEW.kind := 'k'; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER sort BEFORE INSERT OR UPDATE ON judged FOR EACH ROW EXECUTE FUNCTION sort()"
    )
    encrypt(admin, "judged", "ssn")
    admin.execute("INSERT INTO judged (id, org) VALUES (1, 'acme'); INSERT INTO judged (id, ssn) VALUES (2, 's')")
    admin.execute("INSERT INTO judged (id, size, kind, ssn) VALUES (3, 10, 'x', 'big')")
    for refused, constraint in (
        ("INSERT INTO judged (id) VALUES (4)", "who"),
        ("INSERT INTO judged_encrypted (id) VALUES (4)", "who"),
        ("UPDATE judged SET org = NULL WHERE id = 1", "who"),
        ("UPDATE judged_encrypted SET org = NULL WHERE id = 1", "who"),
        ("UPDATE judged SET ssn = NULL WHERE id = 2", "who"),
        ("INSERT INTO judged (id, size, kind, ssn) VALUES (4, 1, 'x', 'big')", "big"),
        ("UPDATE judged SET size = 1, kind = 'x' WHERE id = 3", "big"),
    ):
        with pytest.raises(errors.CheckViolation) as raised:
            admin.execute(refused.encode())
        assert raised.value.diag.constraint_name == constraint, refused
    admin.execute("UPDATE judged SET org = 'now', ssn = NULL WHERE id = 2")
    admin.execute("UPDATE judged SET size = 10, kind = 'x' WHERE id = 3")
    rows(admin, "CALL decrypt_column('judged', 'ssn')")


def test_constants_mean_the_same_in_every_session(admin: Connection) -> None:
    """A CHECK and a default are kept as text while the column is encrypted."""
    admin.execute("SET DateStyle = 'SQL, DMY'; SET IntervalStyle = sql_standard; SET extra_float_digits = -10")
    admin.execute(
        "CREATE TABLE dated (id integer PRIMARY KEY, born date DEFAULT '2000-02-01'"
        " CHECK (born >= '2000-02-01' AND born - '-1 day -2 hours'::interval > '1999-01-01'), f float8,"
        " CHECK (f <> 0.1234567890123456789 OR born IS NULL))"
    )
    encrypt(admin, "dated", "born")
    admin.execute("SET DateStyle = 'SQL, MDY'; RESET IntervalStyle; RESET extra_float_digits")
    for refused in ("'2000-01-31', 1", "'2000-02-01', 0.1234567890123456789"):
        with pytest.raises(errors.CheckViolation):
            rows(admin, f"INSERT INTO dated VALUES (1, {refused})")
    admin.execute("INSERT INTO dated (id, f) VALUES (1, 1)")
    rows(admin, "CALL decrypt_column('dated', 'born')")
    admin.execute("INSERT INTO dated (id) VALUES (2)")
    assert rows(admin, "SELECT DISTINCT to_char(born, 'YYYY-MM-DD') FROM dated") == [("2000-02-01",)]


def test_composite_values_and_null(admin: Connection) -> None:
    """NULL is the NULL datum; ROW(NULL, NULL) is a value."""
    admin.execute(
        "CREATE TYPE addr AS (street text, zip text); CREATE DOMAIN home AS addr;"
        "CREATE TABLE lives (id integer PRIMARY KEY, a addr NOT NULL, h home, t integer);"
        "INSERT INTO lives VALUES (1, ROW('Main', NULL), ROW(NULL, NULL), 1), (2, ROW(NULL, NULL), NULL, 1)"
    )
    read = "SELECT id, a::text, h::text FROM lives ORDER BY id"
    expected = [(1, "(Main,)", "(,)"), (2, "(,)", None)]
    encrypt(admin, "lives", "a", migrate=False)
    encrypt(admin, "lives", "h", options=", key_by => 't'", migrate=False)
    assert rows(admin, read) == expected
    for column in ("a", "h"):
        rows(admin, f"CALL migrate_column('lives', '{column}')")
    assert rows(admin, read) == expected
    admin.execute("INSERT INTO lives VALUES (3, ROW(NULL, NULL), ROW(NULL, 'z'), 2)")
    with pytest.raises(errors.NotNullViolation):
        admin.execute("INSERT INTO lives VALUES (4, NULL, NULL, 2)")
    with pytest.raises(errors.NotNullViolation):
        admin.execute("UPDATE lives SET a = NULL")
    admin.execute(
        "UPDATE lives SET h = NULL, t = 3 WHERE id = 1; UPDATE lives SET h = ROW(NULL, NULL) WHERE id = 2"
    )
    expected = [(1, "(Main,)", None), (2, "(,)", "(,)"), (3, "(,)", "(,z)")]
    for step in ("SELECT", "CALL rotate_column('lives', 'h')", "CALL rotate_column('lives', 'a')",
                 "CALL decrypt_column('lives', 'h')", "CALL decrypt_column('lives', 'a')"):  # fmt: skip
        rows(admin, step)
        assert rows(admin, read) == expected, step


# encrypt_column and the procedures


def test_a_column_keeps_its_place_comment_and_privileges(admin: Connection, connect: Connect) -> None:
    """Its place, its comment, its statistics target and the privileges on it; with rows, and without."""
    looks = (
        "SELECT attnum, attname, attstattarget, col_description(attrelid, attnum) FROM pg_attribute"
        " WHERE attrelid = '{t}'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY 1",
        "SELECT has_column_privilege('writes_app', '{t}', c, p), c, p FROM unnest('{{a,b}}'::text[]) AS c,"
        " unnest('{{SELECT,INSERT,UPDATE}}'::text[]) AS p ORDER BY 2, 3",
    )
    for table, filled in (("kept", False), ("kept_rows", True)):
        rows(
            admin,
            f"CREATE TABLE {table} (id integer PRIMARY KEY, a text NOT NULL DEFAULT 'd', b text);"
            f"COMMENT ON COLUMN {table}.a IS 'A'; ALTER TABLE {table} ALTER a SET STATISTICS 7;"
            f"GRANT SELECT (id, a), INSERT (id, a), UPDATE (a) ON {table} TO writes_app",
        )
        if filled:
            rows(admin, f"INSERT INTO {table} VALUES (1, 'x', 'y'); ANALYZE {table}")
        before = [rows(admin, look.format(t=table)) for look in looks]
        rows(admin, f"SELECT encrypt_column('{table}', 'a')")
        shown = [row[:2] + row[3:] for row in before[0]]
        assert [row[:2] + row[3:] for row in rows(admin, looks[0].format(t=table))] == shown
        assert rows(admin, looks[1].format(t=table)) == before[1]
        app = connect("writes_app")
        rows(app, f"INSERT INTO {table} (id, a) VALUES (5, 'five')")
        assert rows(app, f"SELECT a FROM {table} WHERE id = 5") == [("five",)]
        rows(app, f"UPDATE {table} SET a = 'six' WHERE id = 5")
        rows(admin, f"CALL migrate_column('{table}', 'a')")
        # The planner's statistics of a column are values of it.
        statistics = (
            f"SELECT most_common_vals::text FROM pg_stats WHERE tablename = '{table}_encrypted' AND attname = 'a'"
        )
        assert rows(admin, statistics) == []
        rows(admin, f"CALL decrypt_column('{table}', 'a')")
        assert [rows(admin, look.format(t=table)) for look in looks] == before


@pytest.mark.parametrize("procedure", ["migrate", "rotate", "decrypt"])
def test_an_owner_whose_table_has_a_trigger(connect: Connect, procedure: str) -> None:
    """A procedure undoes changes of BEFORE triggers to its rows; it refuses others before the start."""
    owner = connect("writes_owner")
    owner.execute(
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.at := now(); NEW.n := 0;"
        " RETURN NEW; END $$;"
        "CREATE TABLE touched (id integer PRIMARY KEY, s text, n integer, at timestamptz);"
        "INSERT INTO touched SELECT i, 's' || i, i, '2020-01-01' FROM generate_series(1, 50) AS i;"
        "CREATE TRIGGER touch BEFORE UPDATE ON touched FOR EACH ROW EXECUTE FUNCTION touch()"
    )
    before = rows(owner, "SELECT * FROM touched ORDER BY id")
    rows(owner, "SELECT encrypt_column('touched', 's')")
    if procedure != "migrate":
        rows(owner, "CALL migrate_column('touched', 's')")
    rows(owner, f"CALL {procedure}_column('touched', 's', 7)")
    assert rows(owner, "SELECT * FROM touched ORDER BY id") == before
    owner.execute("UPDATE touched SET s = 'new' WHERE id = 1")
    assert rows(owner, "SELECT s, n FROM touched WHERE id = 1") == [("new", 0)]
    owner.execute("CREATE TABLE noted (id integer PRIMARY KEY, s text); INSERT INTO noted VALUES (1, 'x')")
    owner.execute("CREATE TRIGGER note AFTER UPDATE ON noted FOR EACH ROW EXECUTE FUNCTION touch()")
    with pytest.raises(errors.InsufficientPrivilege, match="triggers"):
        owner.execute("SELECT encrypt_column('noted', 's')")
    assert value(owner, "SELECT relkind::text FROM pg_class WHERE relname = 'noted'") == "r"


REFUSED = {
    "generated": "k integer GENERATED ALWAYS AS (n + 1) STORED PRIMARY KEY, n integer, s text",
    "key_by": "id integer PRIMARY KEY, n integer, k integer GENERATED ALWAYS AS (n + 1) STORED, s text",
    "does not accept NULL": "id integer PRIMARY KEY, k integer, s never_null",
    "does not accept NULL, by CHECK": "id integer PRIMARY KEY, k integer, s some_text",
}


@pytest.mark.parametrize("why", REFUSED)
def test_columns_that_cannot_be_null_or_are_generated_are_refused(admin: Connection, why: str) -> None:
    admin.execute(
        "CREATE DOMAIN never_null AS text NOT NULL; CREATE DOMAIN some_text AS text CHECK (VALUE IS NOT NULL)"
    )
    rows(admin, f"CREATE TABLE odd ({REFUSED[why]})")
    by = ", key_by => 'k'" if why == "key_by" else ""
    match = "does not accept NULL" if "NULL" in why else "is generated"
    with pytest.raises(errors.FeatureNotSupported, match=match):
        rows(admin, f"SELECT encrypt_column('odd', 's'{by})")
    assert value(admin, "SELECT relkind::text FROM pg_class WHERE relname = 'odd'") == "r"


def test_a_trigger_that_would_come_last_is_refused(admin: Connection) -> None:
    admin.execute(
        "CREATE TABLE ordered (id integer PRIMARY KEY, s text);"
        "CREATE FUNCTION last() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$"
    )
    create = "CREATE TRIGGER {} BEFORE {} ON {} FOR EACH ROW EXECUTE FUNCTION last()"
    admin.execute(create.format('"~"', "INSERT", "ordered").encode())
    with pytest.raises(errors.FeatureNotSupported, match='trigger "~" fires after'):
        admin.execute("SELECT encrypt_column('ordered', 's')")
    admin.execute('ALTER TRIGGER "~" ON ordered RENAME TO first')
    admin.execute("SELECT encrypt_column('ordered', 's')")
    for name, event in (("zzzzz", "INSERT OR UPDATE"), ("zzzz_pgkeymgr_inserts", "INSERT"), ("é", "UPDATE")):
        with pytest.raises(errors.FeatureNotSupported, match="fires after"):
            admin.execute(create.format(name, event, "ordered_encrypted").encode())
    with pytest.raises(errors.FeatureNotSupported, match="fires after"):
        admin.execute("ALTER TRIGGER first ON ordered_encrypted RENAME TO zzzzz")
    # By a role that may make triggers, too.
    admin.execute("GRANT TRIGGER ON ordered TO writes_app; SET ROLE writes_app")
    with pytest.raises(errors.FeatureNotSupported, match="fires after"):
        admin.execute(create.format("zzzzz", "INSERT", "ordered_encrypted").encode())
    admin.execute("RESET ROLE")
    admin.execute(create.format("zzzzz", "DELETE", "ordered_encrypted").encode())
    admin.execute("INSERT INTO ordered VALUES (1, 'x')")
    assert rows(admin, "SELECT * FROM ordered") == [(1, "x")]


def test_old_snapshots_see_the_values(admin: Connection, connect: Connect) -> None:
    """A migration ends without waiting for transactions that see its rows as they were."""
    admin.execute(
        "CREATE TABLE seen (id integer PRIMARY KEY, s text); INSERT INTO seen VALUES (1, 'x'), (2, NULL)"
    )
    rows(admin, "SELECT encrypt_column('seen', 's')")
    reader = connect()
    reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    reader.execute("SELECT")
    rows(admin, "CALL migrate_column('seen', 's')")
    assert value(admin, "SELECT state::text FROM encrypted_columns") == "encrypted"
    assert rows(reader, "SELECT * FROM seen ORDER BY id") == [(1, "x"), (2, None)]


def test_old_snapshots_on_a_standby_see_the_values(server: Cluster, admin: Connection) -> None:
    name = admin.info.dbname
    admin.execute("CREATE TABLE seen (id integer PRIMARY KEY, s text)")
    admin.execute("INSERT INTO seen SELECT i, 'x' || i FROM generate_series(1, 500) AS i")
    rows(admin, "SELECT encrypt_column('seen', 's')")
    standby = Cluster(initialize=False)
    standby.run_as_server(
        [
            server.bin / "pg_basebackup", "--write-recovery-conf", "--checkpoint=fast", f"--pgdata={standby.data}",
            "--create-slot", "--slot=writes", f"--dbname={server.dsn()}",
        ]
    )  # fmt: skip
    standby.configure({"hot_standby_feedback": "on", "max_standby_streaming_delay": "-1"})
    try:
        with standby, standby.connect(name) as reader:
            reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            reader.execute("SELECT")
            rows(admin, "CALL migrate_column('seen', 's')")
            position = value(admin, "SELECT pg_current_wal_lsn()")
            with standby.connect(name) as watcher:
                while not value(watcher, f"SELECT pg_last_wal_replay_lsn() >= '{position}'"):
                    pass
            assert rows(reader, "SELECT count(*), count(s) FROM seen") == [(500, 500)]
    finally:
        admin.execute("SELECT pg_drop_replication_slot('writes')")


def test_a_column_is_renamed_in_every_state(admin: Connection) -> None:
    admin.execute(
        "CREATE TABLE called (id integer PRIMARY KEY, a text NOT NULL); INSERT INTO called VALUES (1, 'x')"
    )
    names = iter("bcdefg")
    now = "a"
    for step in ("SELECT encrypt_column('called', '{}')", "CALL migrate_column('called', '{}')",
                 "CALL rotate_column('called', '{}')"):  # fmt: skip
        rows(admin, step.format(now))
        new = next(names)
        rows(admin, f"ALTER VIEW called RENAME COLUMN {now} TO {new}")
        now = new
        rows(admin, f"UPDATE called SET {now} = {now} || '.'")
        rows(admin, f"UPDATE called_encrypted SET {now} = 'below' WHERE id = 5")
    rows(admin, f"CALL decrypt_column('called', '{now}')")
    assert rows(admin, f"SELECT id, {now} FROM called") == [(1, "x...")]


def test_ids_do_not_meet_those_of_a_restored_schema(server: Cluster, admin: Connection) -> None:
    """The functions of a table that came without the registry's rows stay its own."""
    admin.execute("CREATE TABLE first (id integer PRIMARY KEY, s text)")
    encrypt(admin, "first", "s")
    schema = server.client(["pg_dump", "--schema-only", admin.info.dbname]).stdout
    with server.connect() as connection:
        connection.execute("CREATE DATABASE writes_restored TEMPLATE template0")
    try:
        server.client(["psql", "--set=ON_ERROR_STOP=1"], dbname="writes_restored", input=schema)
        with server.connect("writes_restored", options="-c search_path=public,pgkeymgr") as restored:
            restored.execute("CREATE TABLE second (id integer PRIMARY KEY, s text)")
            encrypt(restored, "second", "s")
            restored.execute("INSERT INTO first VALUES (1, 'of the first'); INSERT INTO second VALUES (2, 'b')")
            assert rows(restored, "SELECT * FROM first") == [(1, "of the first")]
            assert rows(restored, "SELECT * FROM second") == [(2, "b")]
    finally:
        with server.connect() as connection:
            connection.execute("DROP DATABASE writes_restored")
