"""The project's own linters of ``make lint``."""

import subprocess
import textwrap
from pathlib import Path

import lint_files
import lint_prose
import pytest


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tool-1.0-py3-none-any.whl", b"text"),
        ("lib/libx.so", b"text"),
        ("lib/libx.so.23", b"text"),
        ("a.O", b"text"),
        ("module.pyc", b"text"),
        ("data.tar.gz", b"text"),
        ("data.ZIP", b"text"),
        ("no-ending", b"text\0text"),
        ("late.txt", b"x" * 100_000 + b"\0"),
        ("picture.png", b"\x89PNG\0"),
        ("test/picture.png", b"\x89PNG\0"),
    ],
)
def test_binaries_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    assert lint_files.why_refused(tmp_path, name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("module.py", b"text"),
        ("empty", b""),
        ("latin1.txt", b"\xe4\xf6\xfc"),
        ("something.sold", b"text"),
        ("docs/picture.png", b"\x89PNG\0"),
        ("module.py", b"pass\n" * 1000),
        ("page.md", b"text\n" * 1001),
    ],
)
def test_texts_are_allowed(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    assert lint_files.why_refused(tmp_path, name) is None


@pytest.mark.parametrize("name", ["module.py", "test/subject.sql"])
def test_long_sources_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"pass\n" * 1001)
    assert "it has 1001 lines" in str(lint_files.why_refused(tmp_path, name))


def test_only_tracked_files_are_looked_at(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    tracked = ["ä b.txt", "in/a folder.txt"]
    for name in [*tracked, "untracked.whl"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    subprocess.run(["git", "add", *tracked], cwd=tmp_path, check=True)
    (tmp_path / tracked[0]).unlink()
    assert sorted(lint_files.tracked_files(tmp_path)) == sorted(tracked)
    assert not [name for name in tracked if lint_files.why_refused(tmp_path, name)]


PROSE = {
    "a.py": """
        # Call it anew.

        # The first line
        # goes on forever, and mends it.
        def anew() -> None:
            '''Tell whether it is there.'''
            raise DataError("the file could not be had")
        """,
    "b.md": """
        # Title

        What you write here counts. Not `SELECT anew()`, and not

            SELECT anew();

        ```
        anew
        ```

        - Those that are left.
        - **Who may do it.** The rest.
        """,
    "c.sql": """
        -- One that is not
        -- there meanwhile.
        COMMENT ON FUNCTION anew() IS 'It is done anew, for ever.';
        SELECT anew();
        """,
    "Makefile": """
        # Whatever it is, it is here.
        all:
        """,
}
FOUND = {
    "a.py": [(2, "anew"), (5, "mends"), (7, "Tell"), (7, "Tell whether"), (8, "be had")],
    "b.md": [(4, "What you write here counts."), (12, "Those that"), (13, "**Who may do it.")],
    "c.sql": [(2, "One that"), (3, "meanwhile"), (4, "anew"), (4, "for ever")],
    "Makefile": [(2, "Whatever it is, it is here.")],
}


@pytest.mark.parametrize("name", PROSE)
def test_prose(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(textwrap.dedent(PROSE[name]))
    assert [(line, words) for line, words, _ in sorted(lint_prose.findings(tmp_path / name))] == FOUND[name]


def test_prose_of_sql_with_dollar_quotes(tmp_path: Path) -> None:
    """An apostrophe in such a quote does not hide the words behind it."""
    (tmp_path / "file.sql").write_text("SELECT $$it's$$;\nSELECT ok(true, 'it is made anew');\n")
    assert [found[:2] for found in lint_prose.findings(tmp_path / "file.sql")] == [(2, "anew")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It runs with the rights of whoever calls it.", "whoever"),
        ("Whatever the setting is, it works whosoever calls.", "whosoever"),
        ("A role is told that the key exists.", "is told"),
        ("The log tells of it.", "tells of"),
        ("Make a key; its id.", "; its id."),
        ('there is an enabled key "x" already', 'there is an enabled key "x" already'),
        ("the role has a key pair already", "has a key pair already"),
        ("there is no role x", "there is no role"),
    ],
)
def test_bad_prose(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "page.md").write_text(text)
    assert words in [found for _, found, _ in lint_prose.findings(tmp_path / "page.md")]


@pytest.mark.parametrize(
    "text",
    [
        "What is it? Nobody knows. Who is there?",
        "Return whether it is there, and what it is.",
        "In the meantime it waits.",
        "Take it away.",
    ],
)
def test_good_prose(tmp_path: Path, text: str) -> None:
    (tmp_path / "text.md").write_text(text)
    assert list(lint_prose.findings(tmp_path / "text.md")) == []


def test_the_files_with_prose() -> None:
    files = {path.relative_to(lint_prose.TOP).as_posix() for path in lint_prose.files_with_prose()}
    assert {"bench/run.py", "test/pgtap/token.sql", "scripts/getkey.sample", "docs/errors.md"} <= files
    assert "test/data/wycheproof/README.md" not in files
