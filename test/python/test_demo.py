"""``make demo`` leaves an installation of the machine alone. The demo itself is no part of the tests."""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster, pg_config
from conftest import value
from pgkeymgr.agent import socket_path

import demo

TOP = Path(__file__).parents[2]
PG_CONFIG = pg_config("bindir") / "pg_config"


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that the server's user can enter, which tmp_path is not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def private_pg_config(place: Path) -> Path:
    """The pg_config of a copy of the server's programs."""
    command = [TOP / "demo" / "private_server", PG_CONFIG, place]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Path(done.stdout.strip())


def test_nothing_is_installed_outside(private_pg_config: Path, place: Path) -> None:
    """The copy has directories of its own for what make install writes, and the machine's extensions but ours."""
    for option in ("--bindir", "--sharedir", "--pkglibdir", "--pgxs"):
        shown = subprocess.run(
            [private_pg_config, option], check=True, capture_output=True, text=True
        ).stdout.strip()
        assert shown.startswith(f"{place}/"), option
        assert Path(shown).exists(), option
    extensions = place / str(pg_config("sharedir")).lstrip("/") / "extension"
    assert extensions.is_dir()
    assert not extensions.is_symlink()
    installed = {path.name for path in (pg_config("sharedir") / "extension").iterdir()}
    assert "pgkeymgr.control" in installed
    assert {path.name for path in extensions.iterdir()} == {
        name for name in installed if not name.startswith("pgkeymgr")
    }


def test_a_second_call_changes_nothing(private_pg_config: Path, place: Path) -> None:
    """A second call changes nothing."""
    before = sorted(place.rglob("*"))
    subprocess.run([TOP / "demo" / "private_server", PG_CONFIG, place], check=True, capture_output=True)
    assert sorted(place.rglob("*")) == before
    assert private_pg_config.exists()


def test_the_copy_runs(private_pg_config: Path, monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """Its server has PL/Python, and not the machine's pgkeymgr."""
    monkeypatch.setenv("PG_CONFIG", str(private_pg_config))
    with Cluster(root_keys=None) as cluster, cluster.connect() as connection:
        connection.execute("CREATE EXTENSION plpython3u")
        query = "SELECT count(*) FROM pg_available_extensions WHERE name = 'pgkeymgr'"
        assert value(connection, query) == 0
        assert value(connection, "SELECT setting FROM pg_config WHERE name = 'SHAREDIR'").startswith(str(place))


def test_neither_key_nor_agent_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The servers of the demo use no agent, even where one runs."""
    agent = tmp_path / "agent.sock"
    agent.touch()
    monkeypatch.setattr(socket_path, "SOCKET", str(agent))
    assert socket_path.find_socket({}) == str(agent)
    assert socket_path.find_socket(demo.ENVIRONMENT) is None
    assert demo.ENVIRONMENT["PGKEYMGR_GETKEY"] == ""


def test_small_environment() -> None:
    """Its requirements are those of the demo, in the versions of the command."""

    def versions(name: str) -> set[str]:
        text = (TOP / "requirements" / name).read_text()
        return set(re.findall(r"^([\w-]+==[\w.]+)", text, re.MULTILINE))

    assert {line.partition("==")[0] for line in versions("demo.txt")} >= {"psycopg", "psycopg-binary", "rich"}
    assert versions("demo.txt") <= versions("command.txt")
    assert len(versions("demo.txt")) < 10
    makefile = (TOP / "Makefile").read_text()
    assert re.search(r"^run-demo: demo-venv\n\t@\$\(PGK_DEMO_VENV\)", makefile, re.MULTILINE)


def test_the_steps_are_announced() -> None:
    text = (TOP / "demo" / "run").read_text()
    announced = re.findall(r"^announce .* '[^']+'$", text, re.MULTILINE)
    assert len(announced) == 4
    assert "step %d of 4" in text
