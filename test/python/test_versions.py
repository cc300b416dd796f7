"""Version numbers: each names one install script. And the scripts that build update scripts."""

import json
import os
import re
from pathlib import Path

import build_sql
import build_update
import old_version
import pgkeymgr
import pytest

TOP = Path(__file__).parents[2]
RELEASES = json.loads((TOP / "test" / "data" / "releases.json").read_text())
CHANGES = (TOP / "CHANGELOG.md").read_text(encoding="utf-8")
INSTALLED = Path(os.environ.get("PREFIX", "/usr/local")) / "lib" / "pgkeymgr" / pgkeymgr.__version__


def test_a_released_version_has_one_install_script() -> None:
    """After a release, a change of SQL raises the version. Until then, the script may change."""
    version = pgkeymgr.__version__
    is_released = re.search(rf"^## {re.escape(version)} \(unreleased\)$", CHANGES, re.MULTILINE) is None
    assert is_released == (version in RELEASES), (
        "test/data/releases.json has the versions that CHANGELOG.md calls released"
    )
    builds = {path.read_text().strip() for path in INSTALLED.glob("cp*/pgkeymgr/build.txt")}
    assert len(builds) == 1
    if is_released:
        assert builds == {RELEASES[version]["build"]}, "the SQL has changed, and the version has not"


def test_each_release_can_be_updated() -> None:
    for version in RELEASES.keys() - {pgkeymgr.__version__}:
        assert re.search(rf"^## {re.escape(version)}$", CHANGES, re.MULTILINE)
        assert (TOP / "sql" / "updates" / f"pgkeymgr--{version}--{pgkeymgr.__version__}.sql").exists()


@pytest.mark.skipif(old_version.why_not() is not None, reason=str(old_version.why_not()))
def test_the_first_version(tmp_path: Path) -> None:
    old_version.extract(tmp_path)
    script = old_version.install_script(tmp_path, "@libdir@")
    assert build_sql.build_hash(script, old_version.VERSION) == RELEASES[old_version.VERSION]["build"]
    assert RELEASES[old_version.VERSION]["commit"] == old_version.COMMIT


def test_the_hash_does_not_depend_on_the_directory(tmp_path: Path) -> None:
    source = tmp_path / "source.sql"
    source.write_text("AS $$\n@load@\nreturn GD['pgkeymgr'].f(a)\n$$;\n")
    one, other = (build_sql.build([source], directory, "9.9") for directory in ("/one", "/other"))
    assert one.replace("/one/", "/other/") == other
    assert one != build_sql.build([source], "/one", "9.8").replace("9.8", "9.9")


INSTALL = """\\
-- A comment; with a semicolon.
\\echo Use "CREATE EXTENSION" to load this file. \\quit
CREATE TYPE @extschema@.color AS ENUM ('red', 'it''s; blue');
-- Return one.
CREATE FUNCTION @extschema@.f(a integer, b text DEFAULT ';\n')
RETURNS text
LANGUAGE sql
AS $$ SELECT 'a'; SELECT 1;
$$;
CREATE VIEW @extschema@.v WITH (security_barrier) AS
SELECT 1 AS "a;b"; -- It is short.
CREATE EVENT TRIGGER e ON sql_drop
    EXECUTE FUNCTION @extschema@.g();
COMMENT ON EVENT TRIGGER e IS 'x';
GRANT SELECT ON @extschema@.v TO PUBLIC;
"""


def test_statements() -> None:
    found = build_update.statements(INSTALL.removeprefix("\\\n"))
    assert [(each.kind, each.name) for each in found] == [
        ("TYPE", "color"),
        ("FUNCTION", "f"),
        ("VIEW", "v"),
        ("EVENT TRIGGER", "e"),
        ("", ""),
        ("", ""),
    ]
    assert found[1].text.endswith("SELECT 1;\n$$;")


def test_update_script() -> None:
    script = build_update.build("\n@begin@\n\n@install@\n\n@end@\n", INSTALL.removeprefix("\\\n"))
    expected = (
        "SELECT pg_pgkeymgr_update.create_type('color', ARRAY['red', 'it''s; blue']::pg_catalog.text[], ",
        "SELECT pg_pgkeymgr_update.replace_routine('@extschema@.f(integer, text)', $statement$CREATE OR REPLACE ",
        "SELECT pg_pgkeymgr_update.replace_view('v', $statement$CREATE OR REPLACE VIEW @extschema@.v WITH ",
        "GRANT SELECT ON @extschema@.v TO PUBLIC;",
        "    '@extschema@.f(integer, text)'\n]::pg_catalog.regprocedure[]",
        "DROP SCHEMA pg_pgkeymgr_update CASCADE;\nCREATE EVENT TRIGGER e ON ",
    )
    places = [script.find(text) for text in expected]
    assert -1 not in places
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("steps", "install", "message"),
    [
        ("\n@begin@\n\n@install@\n", "SELECT 1;\n", "the steps must have one line @end@"),
        ("\n@begin@\n\n@install@\n\n@end@\n", "SELECT 1", "the last statement has no end"),
        ("\n@begin@\n\n@install@\n\n@end@\n", "CREATE VIEW @extschema@.v AS SELECT '$statement$';\n", "contains"),
    ],
)
def test_scripts_that_cannot_be_read(steps: str, install: str, message: str) -> None:
    with pytest.raises(build_sql.SourceError, match=message):
        build_update.build(steps, install)
