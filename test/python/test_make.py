"""``make test`` runs every part, whatever fails, and the Makefile says what it misses on a bare machine."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from cluster import process_state

TOP = Path(__file__).parents[2]
PARTS = ["test-deps", "all install venv", "lint", "test-python", "test-pgtap", "test-hostile", "test-regress"]
# Not those of the make that runs these tests.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "PG"))}


def make_test(tmp_path: Path, failing: str = "", running: str = "true") -> tuple[int, list[str], str]:
    """Run ``make test`` with a make that only notes what it is to do.

    Args:
        tmp_path: for what it notes.
        failing: the goals that fail.
        running: a command that it runs for the goal test-python.

    Returns:
        The exit status, the goals, a line each, and the output.
    """
    notes = tmp_path / "notes"
    make = tmp_path / "make"
    make.write_text(
        "#!/bin/sh\nshift\n"
        f'echo "$*" >> {notes}\n'
        f'if [ "$*" = test-python ]; then {running}; fi\n'
        f'case " {failing} " in *" $1 "*) exit 2;; esac\n'
    )
    make.chmod(0o700)
    done = subprocess.run(
        [TOP / "test" / "all"],
        env={**ENVIRONMENT, "MAKE": str(make)},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    return done.returncode, notes.read_text().splitlines(), done.stdout


def test_make_test_runs_all_parts(tmp_path: Path) -> None:
    status, goals, said = make_test(tmp_path)
    assert status == 0, said
    assert goals == PARTS
    assert [line.split()[1] for line in said.splitlines() if "(about " in line] == [f"{n}/8" for n in range(1, 9)]
    assert re.fullmatch(r"== make test: passed in [01] minutes", said.splitlines()[-1])
    assert "error" not in said


@pytest.mark.parametrize(
    ("failing", "named"),
    [("lint", "lint"), ("test-python", "pytest"), ("test-pgtap test-regress", "pgTAP, walkthroughs")],
)
def test_a_part_that_fails_keeps_none_from_running(tmp_path: Path, failing: str, named: str) -> None:
    status, goals, said = make_test(tmp_path, failing)
    assert status == 1
    assert goals == PARTS
    assert said.splitlines()[-1] == f"== make test: FAILED: {named}"


@pytest.mark.parametrize(("failing", "named"), [("test-deps", "packages"), ("all", "build")])
def test_nothing_is_tested_that_is_not_built(tmp_path: Path, failing: str, named: str) -> None:
    status, goals, said = make_test(tmp_path, failing)
    assert status == 1
    assert goals == PARTS[: PARTS.index("lint") - (failing == "test-deps")]
    assert said.splitlines()[-1] == f"== make test: FAILED: {named}; nothing was tested"


@pytest.mark.parametrize(
    ("running", "complaint"),
    [
        ('touch "$TMPDIR/a file"', "left behind:"),
        ("sleep 1000 & echo $! > {}", "left running:"),
        ('env -i sh -c "sleep 1000; : $TMPDIR" & echo $! > {}', "left running:"),
    ],
    ids=["file", "process", "process without an environment"],
)
def test_leftovers_of_tests_are_a_failure(tmp_path: Path, running: str, complaint: str) -> None:
    pid, place = tmp_path / "pid", tmp_path / "place"
    status, goals, said = make_test(tmp_path, running=running.format(pid) + f'; echo "$TMPDIR" > {place}')
    assert status == 1, said
    assert goals == PARTS
    assert complaint in said
    assert said.splitlines()[-1] == "== make test: FAILED: leftovers"
    assert not Path(place.read_text().strip()).exists()
    if pid.exists():
        # Nobody waits for it here, and so it may be a zombie.
        assert process_state(int(pid.read_text())) in "ZX"


def test_pytest_s_own_directories_are_no_leftovers(tmp_path: Path) -> None:
    status, _, said = make_test(tmp_path, running='mkdir -p "$TMPDIR/pytest-of-root/pytest-0"')
    assert status == 0, said


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the real make."""
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=TOP,
        env=ENVIRONMENT,
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("goal", ["all", "install", "venv", "lint", "test-python"])
def test_without_postgresql(goal: str) -> None:
    done = make("--dry-run", "PG_CONFIG=/no/pg_config", goal)
    assert done.returncode == 2
    assert "There is no PGXS for '/no/pg_config': run 'make deps', or set PG_CONFIG" in done.stderr
    assert done.stdout == ""


def test_some_goals_need_no_postgresql() -> None:
    for goal in ("help", "deps", "test-deps", "test", "clean"):
        assert make("--dry-run", "PG_CONFIG=/no/pg_config", goal).returncode == 0, goal


def test_the_goals_after_deps_get_a_new_make() -> None:
    """Only then is it known where PostgreSQL is, and which Python it has."""
    done = make("--dry-run", "deps", "help", "clean")
    lines = done.stdout.splitlines()
    assert lines[:2] == ["test/deps run", "make help clean"]
    assert any("make deps " in line for line in lines[2:])


def test_the_goals_after_test_deps_get_one_new_make() -> None:
    """The tests' packages include those of deps."""
    done = make("--dry-run", "deps", "test-deps", "help")
    assert [line for line in done.stdout.splitlines() if line.startswith(("test/deps", "make help"))] == [
        "test/deps tests",
        "make help",
    ]


def test_a_server_gets_no_tools_of_the_tests(tmp_path: Path) -> None:
    """``make deps`` names PostgreSQL, PL/Python, pip and make; test-deps names more."""
    for name, text in {
        "apt-get": "#!/bin/sh\n",
        "apt-cache": (
            '#!/bin/sh\ncase $1 in depends) echo "  Depends: postgresql-17" ;; *) echo "libsodium23 - x" ;; esac\n'
        ),
        "dpkg-query": "#!/bin/sh\nexit 1\n",
        "find": "#!/bin/sh\n",
        "id": "#!/bin/sh\necho 1000\n",
    }.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)

    def packages(what: str) -> set[str]:
        done = subprocess.run(
            [TOP / "test" / "deps", what],
            env={**ENVIRONMENT, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        return set(done.stderr.partition("apt-get install ")[2].split())

    run, demo, tests = packages("run"), packages("demo"), packages("tests")
    assert run == {
        *("postgresql-17", "postgresql-plpython3-17", "python3", "python3-pip", "make", "ca-certificates")
    }
    assert demo == run | {"python3-venv", "iso-codes", "procps"}
    assert tests > demo | {"pgbouncer", "valgrind", "softhsm2", "postgresql-17-pgtap"}
