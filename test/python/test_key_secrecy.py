"""The secrecy of keys: their names, what each usage of a key is for, and the lines of the log."""

import contextlib
import re
from collections.abc import Iterator

import psycopg
import pytest
from cluster import Cluster
from conftest import Connection, rows, value
from psycopg import errors

TENANT = "ACME (secret merger)"
PASSWORD = "the right password"
GUESS = "a guess at it"
NO_UUID = "01234567-89ab-4cde-8f01-23456789abcd"
NO_ID = 123456
MESSAGE = """
    CREATE FUNCTION public.message(secret text) RETURNS bytea LANGUAGE sql VOLATILE AS $$
        SELECT pgkeymgr.crypto_box_seal(challenge || int4send(octet_length(secret)) || secret::bytea, public)
        FROM (SELECT * FROM pgkeymgr.exchange_offer() OFFSET 0) AS offer
    $$
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A server with a table that has a key for a tenant, with other keys, and with roles."""
    with Cluster() as running:
        running.create_database("secrecy")
        with session(running) as admin:
            for role, group in (
                ("user1", "pgkeymgr_user"),
                ("writer", "pgkeymgr_user"),
                ("admin1", "pgkeymgr_admin"),
            ):
                rows(admin, f"CREATE ROLE {role} LOGIN IN ROLE {group}")
            rows(admin, "CREATE ROLE nobody1 LOGIN; GRANT USAGE ON SCHEMA pgkeymgr TO nobody1")
            rows(admin, MESSAGE)
            rows(
                admin,
                "CREATE TABLE invoice (id integer PRIMARY KEY, tenant text, body text, pin integer, mood text)",
            )
            rows(admin, "SELECT encrypt_column('invoice', 'body', key_by => 'tenant')")
            rows(admin, "SELECT encrypt_column('invoice', 'pin')")
            rows(admin, "SELECT add_blind_index('invoice', 'pin')")
            rows(admin, "SELECT encrypt_column('invoice', 'mood', deterministic => true)")
            rows(admin, f"INSERT INTO invoice VALUES (1, '{TENANT}', 'text', 4711, 'calm')")
            rows(admin, "GRANT SELECT, INSERT ON invoice TO writer")
            rows(
                admin, "SELECT create_data_key('k'), create_key('aead-det', 'det'), create_key('auth', 'my auth')"
            )
            rows(admin, f"SELECT create_cryptokey('ck', 16, '{PASSWORD}')")
        yield running


@contextlib.contextmanager
def session(server: Cluster, user: str = "postgres") -> Iterator[Connection]:
    """Open a session with the extension's schema in its path."""
    with server.connect("secrecy", user=user, options="-c search_path=public,pgkeymgr") as connection:
        yield connection


def answer(connection: Connection, query: str, given: object) -> str:
    """Return what a query gives or fails with, without what the caller has given."""
    try:
        return without(str(rows(connection, query.format(given))), given)
    except psycopg.Error as error:
        diagnosis = error.diag
        texts = filter(None, (diagnosis.message_primary, diagnosis.message_detail, diagnosis.message_hint))
        return f"{error.sqlstate} {without(' '.join(texts), given)}"


def without(text: str, given: object) -> str:
    """Return a text without what the caller has given."""
    return re.sub(rf"(?<!\w){re.escape(str(given))}(?!\w)", "?", text)


TOKEN = "('\\x01'::bytea || int4send({}) || '\\x{zeros}'::bytea)".replace("{zeros}", "00" * 40)

# By what a key is asked for, and how.
ASKS = [
    ("name", "SELECT token_encrypt('{}', 'x'::bytea)"),
    ("name", "SELECT token_encrypt_text('{}', 'x', '', true)"),
    ("name", "SELECT unlock_data_key('{}', message('x'))"),
    ("name", "SELECT change_passphrase('{}', message('x'))"),
    ("name", f"SELECT get_cryptokey('{{}}', '{GUESS}')"),
    ("name", f"SELECT set_cryptokey('{{}}', '{GUESS}')"),
    ("name", f"SELECT change_cryptokey_password('{{}}', '{GUESS}', 'new')"),
    ("name", f"SELECT supersede_cryptokey('{{}}', 16, '{GUESS}')"),
    ("name", f"SELECT drop_cryptokey('{{}}', '{GUESS}')"),
    ("id", "SELECT token_encrypt({}, 'x'::bytea)"),
    ("id", f"SELECT token_decrypt({TOKEN})"),
    ("id", f"SELECT token_try_decrypt({TOKEN})"),
    ("id", f"SELECT token_reencrypt({TOKEN}, 1)"),
    ("id", f"SELECT (token_info({TOKEN})).key_name"),
    ("id", "SELECT unlock_data_key({}, message('x'))"),
    ("id", f"SELECT get_cryptokey({{}}, '{GUESS}')"),
    ("id", f"SELECT reencrypt_data('', {{0}}, {{0}}, '{GUESS}')"),
    ("id", f"SELECT drop_cryptokey({{}}, '{GUESS}')"),
    ("uuid", "SELECT crypto_auth('x', '{}'::uuid)"),
    ("uuid", "SELECT crypto_auth_verify('x', 'x', '{}'::uuid)"),
    ("uuid", "SELECT crypto_aead_det_encrypt('x', '', '{}'::uuid)"),
    ("uuid", "SELECT crypto_aead_det_decrypt('x', '', '{}'::uuid)"),
    ("uuid", "SELECT crypto_secretbox('x', crypto_secretbox_noncegen(), '{}'::uuid)"),
    ("uuid", "SELECT get_key_by_id('{}'::uuid)"),
    ("id", "SELECT _blind({}, 'none', 'x')"),
    ("id", f"SELECT _open_text({TOKEN}, '', 1)"),
    ("id", "SELECT _seal_text({}, 'x', '')"),
    ("id", "SELECT _key_by({}, 'x')"),
]


@pytest.mark.parametrize("role", ["nobody1", "user1"])
@pytest.mark.parametrize(("by", "ask"), ASKS)
def test_without_a_usage_no_key_is_shown(server: Cluster, role: str, by: str, ask: str) -> None:
    """Neither its name nor that it exists: the answer for each key is that for one that is not there."""
    missing = {"name": "a key that is not there", "id": NO_ID, "uuid": NO_UUID}[by]
    with session(server) as admin, session(server, role) as connection:
        keys = [
            row[0]
            for row in rows(admin, f"SELECT {by} FROM key WHERE name LIKE '%(%' OR name IN ('k', 'ck', 'det')")
        ]
        names = [row[0] for row in rows(admin, "SELECT name FROM key WHERE length(name) > 3")]
        expected = answer(connection, ask, missing)
        assert len(keys) == 4
        for key in keys:
            found = answer(connection, ask, key)
            assert found == expected
            assert not [name for name in names if name in found]


def test_an_administrator_learns_of_all_keys(server: Cluster) -> None:
    """That there is no such key; and of one that is not granted, its name."""
    with session(server, "admin1") as connection:
        for call, called in (
            ("token_encrypt('no such', 'x'::bytea)", '"no such"'),
            (f"token_encrypt({NO_ID}, 'x'::bytea)", str(NO_ID)),
            (f"crypto_auth('x', '{NO_UUID}'::uuid)", f"with uuid {NO_UUID}"),
            (f"disable_data_key({NO_ID})", str(NO_ID)),
            ("get_cryptokey('no such', 'x')", '"no such"'),
        ):
            with pytest.raises(errors.UndefinedObject, match=f"key {called} does not exist"):
                rows(connection, f"SELECT {call}")
        with pytest.raises(errors.InsufficientPrivilege, match=r'denied to encrypt with key [0-9]+ "k"'):
            rows(connection, "SELECT token_encrypt('k', 'x'::bytea)")


def test_some_usage_is_enough_to_learn_of_a_key(server: Cluster) -> None:
    with session(server) as admin, session(server, "user1") as connection:
        rows(admin, "SELECT create_data_key('told'), grant_data_key('told', 'user1', '{search}')")
        try:
            for usage in ("encrypt", "decrypt"):
                token = value(admin, "SELECT token_encrypt('told', 'x')")
                use = f"token_{usage}('told', 'x')" if usage == "encrypt" else f"token_{usage}('\\x{token.hex()}')"
                with pytest.raises(errors.InsufficientPrivilege, match=f'{usage} with key [0-9]+ "told"'):
                    rows(connection, f"SELECT {use}")
            assert value(connection, f"SELECT (token_info('\\x{token.hex()}')).key_name") == "told"
            rows(admin, "SELECT disable_data_key(id) FROM data_keys WHERE name = 'told'")
            with pytest.raises(errors.InsufficientPrivilege, match="to encrypt with"):
                rows(connection, "SELECT token_encrypt('told', 'x')")
        finally:
            rows(
                admin,
                "DELETE FROM key WHERE name = 'told'; DELETE FROM key_grant WHERE grantee = 'user1'::regrole",
            )


def test_names_of_keys_in_the_view_of_columns(server: Cluster) -> None:
    query = "SELECT key_name FROM encrypted_columns WHERE column_name = 'body'"
    with session(server) as admin:
        assert value(admin, query) == "public.invoice.body"
        rows(admin, "SELECT grant_data_key('public.invoice.body', 'writer', '{search}')")
        for role, expected in (
            ("user1", None),
            ("writer", "public.invoice.body"),
            ("admin1", "public.invoice.body"),
        ):
            with session(server, role) as connection:
                assert value(connection, query) == expected
        rows(admin, "SELECT revoke_data_key('public.invoice.body', 'writer')")


def test_a_name_that_only_others_know_of_is_free_for_pgcryptokey(server: Cluster) -> None:
    """Any user may make its keys. A taken name must not reveal other keys, or be in their way."""
    name = f"public.invoice.body:{TENANT}"
    with session(server) as admin, session(server, "user1") as connection:
        made = value(connection, f"SELECT create_cryptokey('{name}', 16, '{PASSWORD}')")
        try:
            assert len(value(connection, f"SELECT get_cryptokey('{name}', '{PASSWORD}')")) == 32
            squatted = value(connection, f"SELECT create_cryptokey('public.invoice.body:Later', 16, '{PASSWORD}')")
            # By name, all others mean the key that is not pgcryptokey's.
            rows(admin, "INSERT INTO invoice VALUES (2, 'Later', 'text')")
            for each in (name, "public.invoice.body:Later"):
                token = value(admin, f"SELECT token_encrypt('{each}', 'x')")
                assert value(admin, f"SELECT (token_info('\\x{token.hex()}')).key_id") not in (made, squatted)
            with pytest.raises(errors.DuplicateObject):
                rows(admin, f"SELECT create_cryptokey('{name}', 16, '{PASSWORD}')")
        finally:
            rows(admin, f"SELECT drop_cryptokey(id, '{PASSWORD}') FROM key WHERE owner = 'user1'::regrole")
            rows(admin, "DELETE FROM invoice WHERE id = 2")


# The usage that each use needs.

MOOD = "(SELECT token_encrypt_text('k', 'calm', '', true))"
SEARCHES = [
    "SELECT token_encrypt('k', 'x'::bytea, '', true)",
    "SELECT token_encrypt_text('k', 'x', '', true)",
    "SELECT token_encrypt({id}, 'x'::bytea, deterministic => true)",
    "SELECT blind_index('invoice', 'pin', '4711')",
    "SELECT deterministic_tokens('invoice', 'mood', 'calm')",
    "SELECT crypto_aead_det_encrypt('x', '', '{uuid}'::uuid)",
    "SELECT crypto_aead_det_encrypt('x', '', '{uuid}'::uuid, '\\x00112233445566778899aabbccddeeff'::bytea)",
]
KEYS = ("k", "det", "public.invoice.pin", "public.invoice.mood")


def grant(admin: Connection, *usages: str) -> None:
    """Give the role writer these usages of all keys of the searches, and no other."""
    for key in KEYS:
        rows(admin, f"SELECT revoke_data_key('{key}', 'writer')")
        if usages:
            rows(admin, f"SELECT grant_data_key('{key}', 'writer', '{{{','.join(usages)}}}')")


@pytest.mark.parametrize("search", SEARCHES)
def test_only_search_or_decrypt_lets_a_role_compare_values(server: Cluster, search: str) -> None:
    """Equality is seen by who may search or decrypt: who may only encrypt could find values out by trying."""
    with session(server) as admin, session(server, "writer") as connection:
        query = search.format(
            id=value(admin, "SELECT id FROM key WHERE name = 'k'"),
            uuid=value(admin, "SELECT uuid FROM key WHERE name = 'det'"),
        )
        refused: list[tuple[str, ...]] = [(), ("encrypt",)]
        for usages in refused:
            grant(admin, *usages)
            with pytest.raises(errors.InsufficientPrivilege):
                rows(connection, query)
        for usage in ("search", "decrypt"):
            grant(admin, "encrypt", usage)
            assert rows(connection, query)
        # In the session that has just done it, too.
        grant(admin, "encrypt")
        with pytest.raises(errors.InsufficientPrivilege, match="permission denied to search"):
            rows(connection, query)


def test_to_write_is_to_encrypt(server: Cluster) -> None:
    """A writer goes on writing columns with a blind index, and deterministic ones."""
    with session(server) as admin, session(server, "writer") as connection:
        grant(admin, "encrypt")
        rows(connection, "INSERT INTO invoice (id, pin, mood) VALUES (9, 31337, 'calm')")
        with pytest.raises(errors.InsufficientPrivilege):
            rows(connection, "SELECT pin FROM invoice")
        assert value(admin, "SELECT id FROM invoice WHERE pin_bidx = blind_index('invoice', 'pin', '31337')") == 9
        rows(admin, "DELETE FROM invoice WHERE id = 9")


def test_reencryption_in_the_deterministic_suite_is_a_search(server: Cluster) -> None:
    with session(server) as admin, session(server, "writer") as connection:
        rows(admin, "SELECT create_data_key('other'), grant_data_key('other', 'writer', '{decrypt}')")
        grant(admin, "encrypt")
        for deterministic in (False, True):
            token = value(admin, f"SELECT token_encrypt('other', 'x', '', {deterministic})").hex()
            query = f"SELECT token_reencrypt('\\x{token}', 'k')"
            if deterministic:
                with pytest.raises(errors.InsufficientPrivilege, match="to search"):
                    rows(connection, query)
            else:
                assert rows(connection, query)
        rows(admin, "DELETE FROM key WHERE name = 'other'")


def test_usages_are_shown_and_revoked(server: Cluster) -> None:
    usages = "SELECT my_usage FROM data_keys WHERE name = 'k'"
    with session(server) as admin, session(server, "writer") as connection:
        for granted, shown in (
            (("search",), ["search"]),
            (("encrypt", "search"), ["encrypt", "search"]),
            (("decrypt", "search"), ["decrypt"]),
        ):
            grant(admin, *granted)
            assert value(connection, usages) == shown
        rows(admin, "SELECT revoke_data_key('k', 'writer', '{decrypt}')")
        assert value(connection, usages) == ["search"]
        rows(admin, "SELECT revoke_data_key('k', 'writer')")
        assert rows(connection, usages) == []
        with pytest.raises(errors.InvalidParameterValue, match="encrypt, decrypt, search and masked"):
            rows(admin, "SELECT grant_data_key('k', 'writer', '{delete}')")


# A function that gives a secret away, or the right to use a key, writes a line into the log before it returns.

GIVEN = {
    "grant": ("SELECT grant_data_key('k', 'user1')", 'grant key {id} "k" by postgres'),
    "enable": ("SELECT enable_data_key({id})", 'enable key {id} "k" by postgres'),
    "export": (
        "SELECT export_data_key('k', public) FROM crypto_box_new_keypair()",
        'export key {id} "k" by postgres',
    ),
    "share": ("SELECT share_data_key('k', 'admin1')", 'share key {id} "k" by postgres'),
    "unlock": ("SELECT unlock_data_key('p', message('secret'))", "unlock key"),
    "unlock a pair": ("SELECT unlock_user_key(message('secret'))", "unlock_user_key by postgres"),
    "add_root_wrap": ("SELECT add_root_wrap('k')", 'add_root_wrap key {id} "k" by postgres'),
    "derive": (
        "SELECT derive_key(777)",
        "derive by postgres from [local] (number 777, context pgsodium, 32 bytes)",
    ),
    "pgkeymgr_derive": (
        "SELECT pgkeymgr_derive(778, 16, '\\x00')",
        "number 778, context 0000000000000000, 16 bytes",
    ),
    "derive_under": (
        "SELECT derive_key_under(779, 32, 'pgsodium', fingerprint) FROM root_key_status()",
        "number 779, context pgsodium, 32 bytes from the root key ",
    ),
    "get_cryptokey": (f"SELECT get_cryptokey('ck', '{PASSWORD}')", 'get_cryptokey key {ck} "ck" by postgres'),
    "set_cryptokey": (f"SELECT set_cryptokey('ck', '{PASSWORD}')", 'set_cryptokey key {ck} "ck" by postgres'),
}


@pytest.fixture(scope="module")
def shared(server: Cluster) -> Cluster:
    """The server, with what sharing and unlocking need."""
    with session(server) as admin:
        rows(admin, "SELECT create_user_key(message('secret'))")
        rows(admin, "SELECT create_data_key('p'), add_passphrase('p', message('secret'))")
        with session(server, "admin1") as connection:
            rows(connection, "SELECT create_user_key(message('secret'))")
    return server


def new_lines(server: Cluster, start: int) -> list[str]:
    """Return the lines that the server has logged since then."""
    return server.log[start:].splitlines()


@pytest.mark.parametrize("given", GIVEN)
def test_a_revealed_secret_is_logged_at_once(shared: Cluster, given: str) -> None:
    """Also if the transaction is rolled back; without the statement, which may have a password in it."""
    query, expected = GIVEN[given]
    with session(shared) as connection:
        key_id, ck = (value(connection, f"SELECT max(id) FROM key WHERE name = '{name}'") for name in ("k", "ck"))
        if given == "pgkeymgr_derive":
            query = query.replace("'\\x00'", "'\\x0000000000000000'")
        if given == "enable":
            rows(connection, f"SELECT disable_data_key({key_id})")
        start = len(shared.log)
        connection.execute("BEGIN")
        rows(connection, query.format(id=key_id))
        lines = new_lines(shared, start)
        connection.execute("ROLLBACK")
        if given == "enable":
            rows(connection, f"SELECT enable_data_key({key_id})")
    wanted = expected.format(id=key_id, ck=ck)
    assert [line for line in lines if "LOG:  pgkeymgr: " in line and wanted in line]
    text = "\n".join(lines)
    assert PASSWORD not in text
    assert "STATEMENT" not in text
    assert "CONTEXT" not in text.partition("LOG:")[2].partition("WARNING")[0]


def test_a_revealed_secret_is_in_the_trail_once_the_session_writes_again(shared: Cluster) -> None:
    count = "SELECT count(*) FROM key_events WHERE event = 'derive' AND detail LIKE 'number 4242,%'"
    with session(shared) as connection:
        connection.execute("BEGIN")
        rows(connection, "SELECT derive_key(4242)")
        connection.execute("ROLLBACK")
        assert value(connection, count) == 0
        rows(connection, "SELECT exchange_offer()")
        assert value(connection, count) == 1
        rows(connection, "SELECT exchange_offer()")
        assert value(connection, count) == 1
        assert value(connection, "SELECT broken_link FROM verify_key_events()") is None


def test_secrets_given_away_for_each_row_are_bounded(shared: Cluster) -> None:
    """The log has each number once in a transaction; the trail has a hundred, and then that there are more."""
    with session(shared) as connection:
        start = len(shared.log)
        rows(connection, "SELECT count(derive_key(i % 150)) FROM generate_series(1, 1000) AS i")
        lines = [line for line in new_lines(shared, start) if "pgkeymgr: derive" in line]
        assert len(lines) == len(set(lines)) == 151
        assert all(any(f"number {number}, " in line for line in lines) for number in range(150))
        assert len([line for line in lines if "more than 100 secrets in one transaction" in line]) == 1
        details = "SELECT detail FROM key_events WHERE event = 'derive' ORDER BY link DESC LIMIT 101"
        (last, *listed) = [detail for (detail,) in rows(connection, details)]
        assert last.startswith("more than 100 secrets")
        assert {detail.partition(",")[0] for detail in listed} == {
            f"number {number % 150}" for number in range(1, 101)
        }
        start = len(shared.log)
        rows(connection, "SELECT derive_key(149)")
        assert len([line for line in new_lines(shared, start) if "number 149," in line]) == 1


@pytest.mark.parametrize("how", ["read-only", "parallel"])
def test_where_nothing_can_be_written_the_log_has_it(shared: Cluster, how: str) -> None:
    with session(shared) as connection:
        before = value(connection, "SELECT count(*) FROM key_events")
        start = len(shared.log)
        if how == "read-only":
            rows(connection, "SET default_transaction_read_only = on")
        else:
            parallel = "debug_parallel_query"
            if value(connection, "SELECT current_setting('server_version_num')::integer < 160000"):
                parallel = "force_parallel_mode"
            rows(connection, f"SET {parallel} = on")
        assert len(value(connection, "SELECT derive_key(99)")) == 32
        rows(connection, "RESET ALL")
        lines = [line for line in new_lines(shared, start) if "number 99," in line]
        assert len(lines) == 1
        assert ("in a parallel query" in lines[0]) == (how == "parallel")
        assert value(connection, "SELECT count(*) FROM pgkeymgr.key_events") == before


def test_guesses_at_passwords_of_pgcryptokey(shared: Cluster) -> None:
    """They are counted, logged and slowed; the guess is neither in the line nor in the error."""
    with session(shared, "user1") as connection, session(shared) as admin:
        key_id = value(admin, "SELECT id FROM key WHERE name = 'ck'")
        for function, arguments in (
            ("get_cryptokey", f"'ck', '{GUESS}'"),
            ("set_cryptokey", f"{key_id}, '{GUESS}'"),
            ("change_cryptokey_password", f"'ck', '{GUESS}', 'new'"),
            ("reencrypt_data", f"'', {key_id}, {key_id}, '{GUESS}'"),
            ("supersede_cryptokey", f"'ck', 16, '{GUESS}'"),
            ("drop_cryptokey", f"'ck', '{GUESS}'"),
        ):
            start = len(shared.log)
            with pytest.raises(errors.InvalidPassword) as caught:
                rows(connection, f"SELECT {function}({arguments})")
            assert GUESS not in f"{caught.value} {caught.value.diag.message_hint}"
            (line,) = [line for line in new_lines(shared, start) if f"failed_{function} key {key_id}" in line]
            assert "by user1" in line
            assert "attempt" in line
            assert GUESS not in line
        # A key that is not there is guessed at, too.
        start = len(shared.log)
        with pytest.raises(errors.InvalidPassword):
            rows(connection, f"SELECT get_cryptokey('no such key', '{GUESS}')")
        assert [line for line in new_lines(shared, start) if "failed_get_cryptokey by user1" in line]
        rows(connection, "SELECT exchange_offer()")
        failures = (
            "SELECT count(*) FROM key_events WHERE event LIKE 'failed%cryptokey%' OR event LIKE 'failed_reenc%'"
        )
        assert value(admin, failures) >= 7
