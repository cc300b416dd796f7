"""Tests the text that the command prints, its options, its man page and its completion, without a server."""

import csv
import io
import re
import shutil
import subprocess
from typing import Any

import man_page
import pytest
import typer
from in_process import invoke
from installed import COMMAND, run
from pgkeymgr.command import app, output
from pgkeymgr.command.interface import usual

FRAMES = re.compile("[\u2500-\u257f\u2580-\u259f]")
PREFIX = COMMAND.parents[1]
ROWS = [
    ["public.customer", "ssn", "a key with a name of several words", "encrypted", None],
    ["archive.customer_of_last_year", "ssn", "short", "migrating", None],
]
HEADINGS = ("table", "column", "key", "state", "blind index")


def _printed(capsys: pytest.CaptureFixture[str], columns: str | None, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    output.print_table("", HEADINGS, ROWS)
    return capsys.readouterr().out


def test_table_in_a_pipe(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A row is a line, and columns are aligned."""
    lines = _printed(capsys, None, monkeypatch).splitlines()
    assert len(lines) == 3
    assert lines[0].split() == ["TABLE", "COLUMN", "KEY", "STATE", "BLIND", "INDEX"]
    assert {line.index(word) for line, word in zip(lines, ["STATE", "encrypted", "migrating"], strict=True)} == {
        lines[0].index("STATE")
    }


@pytest.mark.parametrize("columns", [60, 70, 80, 100])
def test_table_is_wrapped_at_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    printed = _printed(capsys, str(columns), monkeypatch)
    assert all(len(line) <= columns for line in printed.splitlines())
    assert not FRAMES.search(printed)
    words = printed.split()
    for row in ROWS:
        for value in row:
            assert set((value or "").split()) <= set(words)


def test_narrow_table_is_a_list(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the longest words do not fit beside each other, each value has a line, and empty ones have none."""
    printed = _printed(capsys, "45", monkeypatch)
    assert printed.splitlines()[0] == "table   public.customer"
    assert "archive.customer_of_last_year" in printed
    assert "blind" not in printed
    assert all(len(line) <= 45 for line in printed.splitlines())


def test_csv(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_csv(("a name", "b"), [["x,\ny", None], [["encrypt", "decrypt"], 1]])
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert rows == [["a_name", "b"], ["x,\ny", ""], ["encrypt, decrypt", "1"]]


def test_control_characters_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table("", ("name",), [["\x1b[31mred\r"]])
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["-h"], ["--help"]),
        (["status", "-h"], ["status", "--help"]),
        (["status", "-h", "db.example"], ["status", "-h", "db.example"]),
        (["status", "-?"], ["status", "--help"]),
        (["status", "postgresql:///shop"], ["status", "--dsn", "postgresql:///shop"]),
        (
            ["migrate", "t", "c", "postgres://h/d", "--json"],
            ["migrate", "t", "c", "--dsn", "postgres://h/d", "--json"],
        ),
        (["doctor", "--also", "postgresql:///shop"], ["doctor", "--also", "postgresql:///shop"]),
        (["status", "-d", "postgresql:///shop"], ["status", "-d", "postgresql:///shop"]),
        ([], []),
    ],
)
def test_usual_arguments(given: list[str], meant: list[str]) -> None:
    assert usual(given) == meant


def _commands() -> list[list[str]]:
    return [names[1:] for _, names in man_page._leaves(typer.main.get_command(app), ["pgkeymgr"])]


def test_help_of_every_command() -> None:
    """It fits 80 columns, has no frames and no types of Python, and "help" shows the same."""
    click_command = typer.main.get_command(app)
    for names in _commands():
        command: Any = click_command
        for name in names:
            command = command.commands[name]
        context = command.context_class(command, info_name=" ".join(["pgkeymgr", *names]), terminal_width=80)
        text = command.get_help(context)
        assert not FRAMES.search(text), names
        assert not re.search("<(bool|str|int|float|list|path|file)", text), names
        assert all(len(line) <= 80 for line in text.splitlines()), names


@pytest.mark.parametrize(
    "words", [["--help"], ["-h"], ["help"], ["rotate", "root", "-h"], ["help", "rotate", "root"]]
)
def test_ways_to_the_help(words: list[str]) -> None:
    done = invoke(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: pgkeymgr rotate root" if "root" in words else "Usage: pgkeymgr ")
    assert "--install-completion" not in done.stdout


def test_version() -> None:
    assert run("-V").stdout == run("--version").stdout != ""


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["status", "--json", "--format", "csv"], "exclude each other"),
        (["escrow", "split", "--threshold", "5", "--shares", "3", "--stdout"], "there are only 3 shares"),
        (["grants", "list", "--column", "ssn"], "customer.ssn"),
        (["audit", "verify", "--link", "7"], "go together"),
        (["audit", "verify", "--link", "7", "--hash", "xyz"], "hexadecimal"),
        (["status", "--dsn", "host=a", "-d", "host=b"], "both connection strings"),
    ],
)
def test_wrong_usage(words: list[str], reason: str) -> None:
    """It is refused before anything is asked for, and before a connection is made."""
    done = invoke(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in " ".join(done.stderr.split())


# The man page and the completion.


def test_man_page_has_every_command() -> None:
    page = (PREFIX / "share/man/man1/pgkeymgr.1").read_text()
    for names in _commands():
        assert f'.SS "pgkeymgr {" ".join(names)}'.replace("-", "\\-") in page
    for option in ("--wait-standbys", "--dbname", "--output-directory"):
        assert option.replace("-", "\\-") in page


def test_man_page_is_well_formed() -> None:
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    page = PREFIX / "share/man/man1/pgkeymgr.1"
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", page], check=True, capture_output=True, text=True)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("text", "shown"), [("a-b\\c", "a\\-b\\ec"), (".x\n'y", "\\&.x\n\\&'y"), ("…", "\\[u2026]")]
)
def test_roff(text: str, shown: str) -> None:
    assert man_page.roff(text) == shown


def test_bash_completion() -> None:
    """The installed file completes commands and options in a shell."""
    file = PREFIX / "share/bash-completion/completions/pgkeymgr"
    script = f"""
        source {file}
        COMP_WORDS=({COMMAND} rotate root --wait) COMP_CWORD=3
        _pgkeymgr_completion {COMMAND}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["--wait-standbys"]


@pytest.mark.parametrize(
    ("path", "begins"),
    [
        ("share/zsh/site-functions/_pgkeymgr", "#compdef pgkeymgr"),
        ("share/fish/vendor_completions.d/pgkeymgr.fish", "complete --command pgkeymgr"),
    ],
)
def test_completion_files(path: str, begins: str) -> None:
    text = (PREFIX / path).read_text()
    assert text.startswith(begins)
    if "zsh" in path:
        # zsh calls the file as a function for the first completion.
        assert "loadautofunc" in text
