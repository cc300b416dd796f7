"""Installing: into any schema and any database, in place and out again, and what goes wrong in the field."""

import ast
import json
import os
import re
import subprocess
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import build_sql
import pgkeymgr
import psycopg
import pytest
from cluster import Cluster
from conftest import Connection, rows, value
from psycopg import errors

TOP = Path(__file__).parents[2]

# Everything in a database that has an owner, a name or a comment: what an extension can leave behind.
OBJECTS = """
    SELECT 'function', oid::regprocedure::text FROM pg_proc UNION ALL
    SELECT 'type', oid::regtype::text FROM pg_type UNION ALL
    SELECT 'relation', oid::regclass::text FROM pg_class UNION ALL
    SELECT 'schema', nspname || coalesce(nspacl::text, '') FROM pg_namespace
        WHERE nspname NOT LIKE 'pg\\_temp\\_%' AND nspname NOT LIKE 'pg\\_toast\\_temp\\_%' UNION ALL
    SELECT 'extension', extname::text FROM pg_extension UNION ALL
    SELECT 'event trigger', evtname::text FROM pg_event_trigger UNION ALL
    SELECT 'comment', description FROM pg_description
"""


def test_one_version_everywhere() -> None:
    control = (TOP / "pgkeymgr.control").read_text()
    meta = json.loads((TOP / "META.json").read_text())
    changes = (TOP / "CHANGELOG.md").read_text()
    version = pgkeymgr.__version__
    assert f"default_version = '{version}'" in control
    assert meta["version"] == meta["provides"]["pgkeymgr"]["version"] == version
    assert re.search(rf"^## {re.escape(version)}", changes, re.MULTILINE)


def test_bodies_hold_no_logic() -> None:
    """Each PL/Python function in sql/ is the loader's line and one call, which pgspot need not read."""
    count = 0
    for source in (TOP / "sql").rglob("*.sql"):
        for body in re.findall(r"LANGUAGE plpython3u.*?AS \$\$\n(.*?)\$\$;", source.read_text(), re.DOTALL):
            assert re.fullmatch(r"@load@\nreturn GD\['pgkeymgr'\]\.\w+\([\w, \[\]]*\)\n", body), body
            count += 1
    assert count > 90


def test_each_function_says_who_may_call_it() -> None:
    """The comment above it does. Otherwise, this raises an error, as the build does."""
    count = 0
    for source in (TOP / "sql").rglob("*.sql"):
        for routine in build_sql.routines(source.read_text()):
            count += bool(routine.comment)
    assert count > 230


def test_overloads_are_side_by_side() -> None:
    for source in (TOP / "sql").rglob("*.sql"):
        names = [routine.name for routine in build_sql.routines(source.read_text())]
        groups = [name for name, _ in groupby(names)]
        assert len(groups) == len(set(groups)), source


def build(*sources: Path) -> subprocess.CompletedProcess[str]:
    """Build an install script from some sources, into a file beside the first."""
    output = sources[0].with_suffix(".built")
    options = f"--libdir=/usr/local/bücher --version=9.9 --output={output}".split()
    command: list[str | Path] = [sys.executable, TOP / "scripts" / "build_sql.py", *options, *sources]
    return subprocess.run(command, check=False, capture_output=True, text=True, encoding="utf-8")


def test_build(tmp_path: Path) -> None:
    first, second, last = tmp_path / "first.sql", tmp_path / "second.sql", tmp_path / "last.sql"
    first.write_text(
        "AS $$\n@load@\nreturn GD['pgkeymgr'].f(args[0])\n$$;\n"
        "GRANT EXECUTE ON FUNCTION @extschema@.f(\n    @extschema@.t, text\n)"
        " TO PUBLIC;\nDO $$\n    GRANT USAGE ON SCHEMA @extschema@ TO somebody;\n$$;\n"
    )
    second.write_text("GRANT SELECT, UPDATE ON @extschema@.r TO somebody;\n-- @version@\n")
    last.write_text("VALUES\n@privileges@\n;\n")
    done = build(first, second, last)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    script = first.with_suffix(".built").read_bytes().decode("ascii")
    assert script.startswith("AS $$\ntry:\n")
    assert re.search(r"\n        try: _function = GD\['pgkeymgr\.[0-9a-f]{16}\.@extschema@\.f'\]\n", script)
    assert "\n    return _function(args[0])\nexcept Exception as error:\n" in script
    refused = tmp_path / "refused.sql"
    refused.write_text("AS $$\n@load@\nreturn 1\n$$;\n")
    assert "the line after @load@ must be" in build(refused).stderr
    # In a string of Python.
    assert "directory = '/usr/local/b\\xfccher/cp%d%d'" in script
    assert script.endswith(
        "somebody;\n$$;\n\nGRANT SELECT, UPDATE ON @extschema@.r TO somebody;\n-- 9.9\n\nVALUES\n"
        "    ('FUNCTION', '%1$s.f(%1$s.t, text)', 'EXECUTE', 'PUBLIC'),\n"
        "    ('TABLE', '%1$s.r', 'SELECT', 'somebody'),\n"
        "    ('TABLE', '%1$s.r', 'UPDATE', 'somebody')\n;\n"
    )


def test_comments_become_statements() -> None:
    source = """\
-- This is about the file.

-- Return a user's number, or
-- NULL.
--
-- This is for readers of the source.
-- EXECUTE: app, PUBLIC
CREATE FUNCTION @extschema@.f(
    a integer,
    IN b @extschema@.t DEFAULT '(1, 2)',
    text[] = '{}',
    INOUT c numeric,
    VARIADIC rest "char"[],
    OUT d text
)
RETURNS record
LANGUAGE sql
SET x = 'AS'
AS $$ SELECT 1; $$;
CREATE TRIGGER t;

-- Do it.
-- EXECUTE: nobody
CREATE PROCEDURE @extschema@.p()
LANGUAGE sql
AS $body$ SELECT $$a$$; $body$;

-- Count.
-- EXECUTE: app
CREATE AGGREGATE @extschema@.a(state bytea, message bytea) (
    SFUNC = @extschema@.f,
    STYPE = bytea
);
"""
    f = '@extschema@.f(integer, @extschema@.t, text[], numeric, "char"[])'
    a = "@extschema@.a(bytea, bytea)"
    expected = source.replace(
        "1; $$;\n",
        f"1; $$;\nREVOKE ALL ON FUNCTION {f} FROM PUBLIC;\nGRANT EXECUTE ON FUNCTION {f} TO app;\n"
        f"GRANT EXECUTE ON FUNCTION {f} TO PUBLIC;\n"
        f"COMMENT ON FUNCTION {f} IS 'Return a user''s number, or NULL.';\n",
    )
    expected = expected.replace(
        "$body$;\n",
        "$body$;\nREVOKE ALL ON PROCEDURE @extschema@.p() FROM PUBLIC;\n"
        "COMMENT ON PROCEDURE @extschema@.p() IS 'Do it.';\n",
    )
    expected += (
        f"REVOKE ALL ON FUNCTION {a} FROM PUBLIC;\nGRANT EXECUTE ON FUNCTION {a} TO app;\n"
        f"COMMENT ON AGGREGATE {a} IS 'Count.';\n"
    )
    assert build_sql.expand_documentation(source) == expected


_FUNCTION = "CREATE FUNCTION @extschema@.f(a text)\nRETURNS text\nLANGUAGE sql\nAS $$ SELECT a $$;\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-- one\nCOMMENT ON TYPE x IS 'ä';\n", ":2: a character that is not ASCII"),
        ("GRANT SELECT ON @extschema@.r TO a WITH GRANT OPTION;\n", "cannot read the statement: GRANT SELECT"),
        ("GRANT SELECT (c) ON @extschema@.r TO a;\n", "cannot read the statement: GRANT SELECT"),
        ("GRANT SELECT ON @extschema@.r, @extschema@.s TO a;\n", "cannot read the statement: GRANT SELECT"),
        ("GRANT ALL ON @extschema@.r TO a;\n", "there is no privilege ALL on a table"),
        ("GRANT EXECUTE ON @extschema@.r TO a;\n", "there is no privilege EXECUTE on a table"),
        (_FUNCTION, "f does not say who may call it"),
        (f"-- Do it.\n\n{_FUNCTION}", "f does not say who may call it"),
        (f"-- Do it.\n{_FUNCTION}REVOKE ALL ON FUNCTION @extschema@.f(text) FROM PUBLIC;\n", "f does not say who"),
        (f"-- EXECUTE: a\n{_FUNCTION}", "f has no comment above it"),
        (f"--\n-- Do it.\n-- EXECUTE: a\n{_FUNCTION}", "f has no comment above it"),
        (f"-- Do it.\n-- EXECUTE: a; b\n{_FUNCTION}", "f does not say who may call it"),
        (f"-- EXECUTE: a\n-- Do it.\n{_FUNCTION}", "-- EXECUTE is not the last line above f"),
        (f"-- Do it.\n-- EXECUTE: a\n{_FUNCTION.replace('a text', 'a double precision')}", "the argument of f"),
        (f"-- Do it.\n-- EXECUTE: a\n{_FUNCTION.replace('$$', chr(39))}", "cannot find the body of f"),
        (
            f"-- Do it.\n-- EXECUTE: a\n{_FUNCTION.replace('$$', '$a')}\n{_FUNCTION}",
            "cannot find the body of f",
        ),
        (
            f"-- Do it.\n-- EXECUTE: a\n{_FUNCTION}GRANT EXECUTE ON FUNCTION @extschema@.f(text) TO b;\n",
            "f has a statement of its own",
        ),
    ],
)
def test_build_refuses(tmp_path: Path, text: str, message: str) -> None:
    """A statement that cannot be read is not left out."""
    source = tmp_path / "source.sql"
    source.write_text(text, encoding="utf-8")
    done = build(source)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert not source.with_suffix(".built").exists()


def test_messages_are_ascii() -> None:
    """In another encoding than UTF-8, PostgreSQL would report that it has no such character, and not the error."""
    found = []
    for path in sorted((TOP / "python" / "pgkeymgr").rglob("*.py")):
        if "command" in path.parts:
            continue  # its terminal has its own encoding
        if path.name == "folding.py":
            continue  # its strings are letters to be folded, and in no message
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documents = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and isinstance(node.body[0], ast.Expr)
        }
        found += [
            f"{path.relative_to(TOP)}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and not node.value.isascii()
            and id(node) not in documents
        ]
    assert found == []


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("EUC_JP", "日本"),
        ("EUC_KR", "한국"),
        ("EUC_CN", "中国"),
        ("EUC_TW", "臺灣"),
        ("LATIN1", "Grüße"),
        ("WIN1251", "ключи"),
    ],
)
def test_any_encoding(cluster: Cluster, encoding: str, text: str) -> None:
    with cluster.connect() as connection:
        rows(connection, f"CREATE DATABASE encoded ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    try:
        with cluster.connect("encoded", client_encoding="UTF8") as connection:
            rows(connection, "CREATE SCHEMA k; CREATE EXTENSION pgkeymgr SCHEMA k CASCADE")
            rows(connection, "SET search_path = public, k; CREATE TABLE t (id int PRIMARY KEY, n text)")
            rows(connection, f"INSERT INTO t VALUES (1, '{text}')")
            rows(connection, "SELECT encrypt_column('t', 'n')")
            # With a hint, whose characters there are in each encoding.
            with pytest.raises(errors.FeatureNotSupported) as refused:
                rows(connection, "SELECT encrypt_column('t', 'id')")
            assert refused.value.diag.message_hint == "Nothing was changed."
            rows(connection, "CALL migrate_column('t', 'n')")
            rows(connection, f"INSERT INTO t VALUES (2, '{text}')")
            assert rows(connection, "SELECT id, n FROM t ORDER BY id") == [(1, text), (2, text)]
            assert rows(connection, "SELECT * FROM doctor() WHERE message LIKE 'could not%'") == []
    finally:
        with cluster.connect() as connection:
            connection.execute("DROP DATABASE encoded")


def test_create_and_drop_leave_nothing(cluster: Cluster) -> None:
    with cluster.connect() as connection:
        connection.execute("CREATE DATABASE empty")
    try:
        with cluster.connect("empty") as connection:
            connection.execute("CREATE EXTENSION plpython3u")
            before = sorted(rows(connection, OBJECTS))
            connection.execute("CREATE EXTENSION pgkeymgr")
            assert value(connection, "SELECT pgkeymgr_derive(1)")
            assert len(rows(connection, OBJECTS)) > len(before) + 100
            connection.execute("DROP EXTENSION pgkeymgr")
            assert sorted(rows(connection, OBJECTS)) == before
    finally:
        with cluster.connect() as connection:
            connection.execute("DROP DATABASE empty")


@pytest.mark.parametrize("schema", ["public", "pgsodium", "My Schema", "a" * 63, "ключи"])
def test_any_schema(cluster: Cluster, schema: str) -> None:
    cluster.create_database("elsewhere", schema)
    try:
        with cluster.connect("elsewhere") as connection:
            derived = value(connection, f'SELECT "{schema}".derive_key(1)')
            call = f"\"{schema}\".crypto_auth('', 1::bigint)"
            assert value(connection, f"SELECT {call} = \"{schema}\".crypto_auth('', '\\x{derived.hex()}'::bytea)")
            # No body names the schema, so that renaming it breaks nothing.
            if schema != "public":
                connection.execute(f'ALTER SCHEMA "{schema}" RENAME TO renamed')
                connection.execute("CREATE ROLE some_app IN ROLE pgkeymgr_user")
                connection.execute("SET ROLE some_app")
                assert value(connection, "SELECT renamed.crypto_auth('', 1::bigint)")
    finally:
        with cluster.connect() as connection:
            connection.execute("DROP DATABASE elsewhere")
            connection.execute("DROP ROLE IF EXISTS some_app")


def test_two_databases_of_one_cluster(cluster: Cluster) -> None:
    cluster.create_database("second", "other")
    with cluster.connect("second") as second, cluster.connect("test") as first:
        assert value(first, "SELECT pgkeymgr.derive_key(1)") == value(second, "SELECT other.derive_key(1)")
        second.execute("DROP EXTENSION pgkeymgr")
        first.execute("SELECT pgkeymgr.derive_key(1)")
    with cluster.connect() as connection:
        connection.execute("DROP DATABASE second")


def test_dump_and_restore(cluster: Cluster) -> None:
    """A dump names the extension and no function of it, and its views and grants come back."""
    cluster.create_database("source")
    with cluster.connect("source") as connection:
        connection.execute("CREATE VIEW shown AS SELECT pgkeymgr.crypto_auth('', 1::bigint) AS mac")
        expected = value(connection, "SELECT mac FROM shown")
    dump = cluster.client(["pg_dump", "source"]).stdout
    assert "CREATE EXTENSION IF NOT EXISTS pgkeymgr" in dump
    assert "CREATE FUNCTION" not in dump
    with cluster.connect() as connection:
        connection.execute("CREATE DATABASE target")
    cluster.client(["psql", "--set=ON_ERROR_STOP=1", "--quiet"], dbname="target", input=dump)
    with cluster.connect("target") as connection:
        assert value(connection, "SELECT mac FROM shown") == expected
    with cluster.connect() as connection:
        connection.execute("DROP DATABASE source")
        connection.execute("DROP DATABASE target")


def test_on_a_standby(cluster: Cluster) -> None:
    """A physical standby with the same root key decrypts what the primary encrypts, read-only as it is."""
    nonce = "decode(repeat('00', 24), 'hex')"
    with cluster.connect("test") as primary:
        primary.execute("CREATE TABLE sealed (id bigint, data bytea)")
        rows(primary, f"INSERT INTO sealed VALUES (7, pgkeymgr.crypto_secretbox('kept', {nonce}, 7::bigint))")
    standby = Cluster(initialize=False)
    try:
        backup = ["pg_basebackup", "--write-recovery-conf", "--checkpoint=fast", f"--pgdata={standby.data}"]
        standby.run_as_server([cluster.bin / backup[0], *backup[1:], f"--dbname={cluster.dsn()}"])
        with standby, standby.connect("test") as connection:
            assert value(connection, "SELECT pg_is_in_recovery()")
            opened = f"pgkeymgr.crypto_secretbox_open(data, {nonce}, id)"
            assert value(connection, f"SELECT {opened} FROM sealed") == b"kept"
    finally:
        with cluster.connect("test") as primary:
            primary.execute("DROP TABLE sealed")


def _copy_of(connection: Connection, function: str, *changes: tuple[str, str]) -> None:
    """Make pg_temp.copy of a function, with changes to its source."""
    source = value(connection, f"SELECT pg_get_functiondef('pgkeymgr.{function}'::regprocedure)")
    name = function.partition("(")[0]
    for old, new in ((f"pgkeymgr.{name}(", "pg_temp.copy("), *changes):
        assert old in source
        source = source.replace(old, new)
    rows(connection, source)


def test_missing_python_package(connection: Connection) -> None:
    """As after a restore on a machine where nobody ran make install."""
    _copy_of(connection, "crypto_hash_sha256(bytea)", ("/lib/pgkeymgr/", "/lib/not-there/"))
    with pytest.raises(
        errors.UndefinedFile, match=r"cannot import its Python package from .*/not-there/"
    ) as missing:
        connection.execute("SELECT pg_temp.copy('')")
    assert missing.value.diag.message_hint == "Install pgkeymgr on this machine, for this Python: make install."
    # Without harm to the functions whose package is there.
    assert value(connection, "SELECT crypto_hash_sha256('')")


def test_another_version_of_the_python_package(connection: Connection) -> None:
    _copy_of(connection, "crypto_hash_sha256(bytea)", (f"GD, '{pgkeymgr.__version__}'", "GD, '9.9.9'"))
    with pytest.raises(
        errors.UndefinedFile, match=r"SQL has version 9\.9\.9, but its Python package has"
    ) as other:
        connection.execute("SELECT pg_temp.copy('')")
    assert other.value.diag.message_hint is not None
    assert "Reconnect" in other.value.diag.message_hint


def test_another_build_of_the_python_package(connection: Connection) -> None:
    """Two install scripts of one version, as two commits between releases can have, do not share a package."""
    source = value(connection, "SELECT prosrc FROM pg_proc WHERE proname = 'lock'")
    (build,) = set(re.findall("[0-9a-f]{16}", source))
    _copy_of(connection, "crypto_hash_sha256(bytea)", (build, "0" * 16))
    # The functions that this session has used before are those of the other build, too.
    for _ in range(2):
        with pytest.raises(errors.UndefinedFile, match=r"two builds of version .*, which differ") as other:
            connection.execute("SELECT pg_temp.copy('')")
        assert "make install" in str(other.value.diag.message_hint)
        assert value(connection, "SELECT crypto_hash_sha256('')")


def test_a_function_that_came_with_an_update(connection: Connection) -> None:
    """A session that loaded the package before ALTER EXTENSION UPDATE says what to do."""
    connection.execute("SELECT crypto_hash_sha256('')")
    _copy_of(connection, "crypto_hash_sha256(bytea)", ("crypto_hash_sha256", "crypto_hash_sha1024"))
    with pytest.raises(errors.UndefinedFile, match="has no function crypto_hash_sha1024") as missing:
        connection.execute("SELECT pg_temp.copy('')")
    assert missing.value.diag.message_hint == "The extension has been updated since this session began. Reconnect."


def _python(connection: Connection, body: str) -> Any:
    """Run Python in the session, after a first call, and return what it returns."""
    connection.execute("SELECT crypto_hash_sha256('')")
    connection.execute(
        f"CREATE OR REPLACE FUNCTION pg_temp.python() RETURNS text[] LANGUAGE plpython3u AS $${body}$$"
    )
    return value(connection, "SELECT pg_temp.python()")


def test_sql_calls_what_is_there_and_nothing_else_is(connection: Connection) -> None:
    called = set()
    for source in (TOP / "sql").rglob("*.sql"):
        called |= set(re.findall(r"return GD\['pgkeymgr'\]\.(\w+)\(", source.read_text()))
    assert len(called) > 190
    missing = _python(
        connection,
        "functions = GD['pgkeymgr.pgkeymgr']\n"
        f"return [name for name in {sorted(called)} if not callable(getattr(functions, name, None))]",
    )
    assert missing == []
    listed = _python(
        connection,
        "from pgkeymgr.backend import functions\n"
        "from pgkeymgr.crypto import by_id\n"
        "from pgkeymgr.compat import by_uuid\n"
        "return [name for names in functions.FUNCTIONS.values() for name in names]"
        " + [name + '_by_id' for name in by_id._KEY_LAST] + [name + '_by_uuid' for name in by_uuid._KEY_TYPES]",
    )
    assert set(listed) <= called
    assert len(set(listed)) == len(listed)
    assert (
        _python(
            connection,
            "names = 'crypto_sign_by_id', 'crypto_sign_by_uuid', 'nothing_by_id', 'crypto_x', 'find', 'sodium'\n"
            "for name in names:\n"
            "    try: getattr(GD['pgkeymgr.pgkeymgr'], name)\n"
            "    except plpy.Error: continue\n"
            "    return [name]\n",
        )
        is None
    )


def test_a_first_call_imports_little(connection: Connection) -> None:
    """A session waits for what it needs, not for the management of columns, keys and secrets."""
    token = value(connection, "SELECT token_encrypt_text(create_data_key('one'), 'x')")
    with psycopg.connect(connection.info.dsn, autocommit=True) as other:
        other.execute("SELECT pgkeymgr.token_decrypt_text(%s)", (token,))
        other.execute(
            "CREATE FUNCTION pg_temp.loaded() RETURNS text[] LANGUAGE plpython3u AS"
            " $$ import sys; return list(sys.modules) $$"
        )
        loaded = value(other, "SELECT pg_temp.loaded()")
    assert {"pgkeymgr.key.cipher", "pgkeymgr.root_key.getkey"} <= set(loaded)
    for name in loaded:
        assert not re.match(
            r"dataclasses|subprocess|json|uuid|secrets|nacl\.bindings|pgkeymgr\.(column|sealed|compat|doctor|agent\.remote|provider)\.?\b",
            name,
        ), name


def test_a_package_that_went_away(connection: Connection) -> None:
    """Modules that a session has not imported yet may be gone when they are needed."""
    for module, call in (
        ("pgkeymgr.doctor", "doctor()"),
        ("pgkeymgr.column.relations", "blind_index('pg_class', 'relname', 'x')"),
        ("pgkeymgr.crypto.sign", "crypto_sign_init()"),
        ("uuid", "create_data_key('x')"),
    ):
        _python(connection, f"import sys; sys.modules['{module}'] = None")
        with pytest.raises(errors.UndefinedFile, match=f"can no longer import {module}") as gone:
            connection.execute(f"SELECT {call}")
        assert (
            gone.value.diag.message_hint == "The extension has been updated since this session began. Reconnect."
        )
    assert value(connection, "SELECT crypto_hash_sha256('')")


@pytest.mark.parametrize(
    ("package", "call"),
    [
        ("nacl", "crypto_hash_sha256('')"),
        ("cryptography", "crypto_stream_xchacha20(1, decode(repeat('00', 24), 'hex'), 1::bigint)"),
    ],
)
def test_a_foreign_library_is_refused(cluster: Cluster, connection: Connection, package: str, call: str) -> None:
    """Another PL/Python function of the session has imported an old version from elsewhere."""
    foreign = cluster.directory / "foreign" / package
    foreign.mkdir(parents=True)
    (foreign / "__init__.py").write_text("__version__ = '0.9'\n")
    code = f"import sys; sys.path.insert(0, '{foreign.parent}'); import {package}"
    rows(connection, f"DO LANGUAGE plpython3u $$ {code} $$")
    with pytest.raises(errors.UndefinedFile) as refused:
        rows(connection, f"SELECT {call}")
    # In the DETAIL where the package cannot be imported at all, in the message where one call cannot be.
    assert re.search(f"imported {package} 0.9 from .*needs version", str(refused.value))
    assert refused.value.diag.message_hint is not None
    assert "Reconnect" in refused.value.diag.message_hint


def test_a_cipher_that_does_nothing_is_refused(connection: Connection) -> None:
    """Before a session gets any function, the ciphers have to give known answers."""
    source = value(connection, "SELECT prosrc FROM pg_proc WHERE proname = 'crypto_hash_sha256'")
    (directory,) = re.findall(r"directory = ('.*)", source)
    code = (
        f"import sys; sys.path.insert(0, {directory}); from pgkeymgr.crypto import secretbox;"
        " secretbox._encrypt = lambda *arguments: 0"
    )
    rows(connection, f"DO LANGUAGE plpython3u $$ {code} $$")
    for _ in range(2):
        with pytest.raises(errors.UndefinedFile, match="PyNaCl's secretbox does not give the known answer"):
            connection.execute("SELECT crypto_hash_sha256('')")


def _files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


def test_destdir_prefix_and_uninstall(tmp_path: Path) -> None:
    def make(*arguments: str) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
        command = ["make", "--silent", f"DESTDIR={tmp_path}", *arguments]
        subprocess.run(command, cwd=TOP, env=environment, check=True, capture_output=True)

    make("install")
    files = _files(tmp_path)
    version = pgkeymgr.__version__
    assert any(
        re.fullmatch(rf"usr/local/lib/pgkeymgr/{version}/cp3\d+/pgkeymgr/backend/bridge\.py", f) for f in files
    )
    assert any(
        re.fullmatch(r"usr/local/lib/.*/pgkeymgr/backend/__pycache__/bridge\.cpython-3\d+\.pyc", f) for f in files
    )
    # Compiled so that a copy does not count as stale: each session would compile that again.
    (compiled,) = tmp_path.glob(f"usr/local/lib/pgkeymgr/{version}/*/pgkeymgr/backend/__pycache__/bridge.*.pyc")
    unchecked_hash = 1
    assert int.from_bytes(compiled.read_bytes()[4:8], "little") == unchecked_hash
    assert "usr/local/share/pgkeymgr/getkey.sample" in files
    assert "usr/local/share/pgkeymgr/pgkeymgr-agent.service" in files
    assert any(f.endswith(f"/extension/pgkeymgr--{version}.sql") for f in files)
    # The command has libraries of its own, which no session of the server finds.
    assert any(re.fullmatch(rf"usr/local/lib/pgkeymgr/{version}/cp3\d+-command/typer/main\.py", f) for f in files)
    assert not any(re.search(r"/cp3\d+/(typer|rich|psycopg|pydantic)", f) for f in files)
    assert not any(re.search(r"/cp3\d+-command/(nacl|cryptography|cffi|pgkeymgr)", f) for f in files)
    command = tmp_path / "usr/local/bin/pgkeymgr"
    assert command.stat().st_mode & 0o777 == 0o755
    assert re.match(r"#!/\S+/python3\.\d+ -I\n", command.read_text())
    # As it will be once DESTDIR is the root; of this checkout's environment it takes nothing.
    moved = tmp_path / "moved"
    moved.write_text(command.read_text().replace('"/usr/local/', f'"{tmp_path}/usr/local/'))
    moved.chmod(0o755)
    shown = subprocess.run([moved, "--version"], check=True, capture_output=True, text=True)
    assert shown.stdout == f"pgkeymgr {version}\n"
    moved.unlink()
    # Nothing is put where the system's Python looks.
    assert not any("dist-packages" in f or "site-packages" in f for f in files)
    make("uninstall")
    left = {str(path) for path in tmp_path.rglob("*") if not path.is_dir()}
    assert left == set()
    assert not (tmp_path / "usr/local/lib/pgkeymgr").exists()
