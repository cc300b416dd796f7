"""Installing over an installation that is in use, and removing one version while another is needed."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pgkeymgr
import pytest
from cluster import Cluster, pg_config
from installed import PREFIX, run
from pgkeymgr import documents

TOP = Path(__file__).parents[2]
SCRIPT = TOP / "scripts" / "installation.py"
EXTENSION_DIRECTORY = pg_config("sharedir") / "extension"
LIBRARIES = PREFIX / "lib" / "pgkeymgr" / pgkeymgr.__version__


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster whose database "user of it" has the installed extension."""
    with Cluster() as cluster:
        cluster.create_database("used")
        with cluster.connect() as connection:
            connection.execute("ALTER DATABASE used RENAME TO \"user of 'it'\"")
        yield cluster


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A directory with what is installed, as if it had just been built."""
    shutil.copy(EXTENSION_DIRECTORY / f"pgkeymgr--{pgkeymgr.__version__}.sql", tmp_path)
    (tree,) = (path for path in LIBRARIES.glob("cp*") if path.name[2:].isdigit())
    shutil.copytree(tree / "pgkeymgr", tmp_path / tree.name / "pgkeymgr")
    return tmp_path


def check(build: Path, *, bindir: Path | None = None, force: str = "") -> subprocess.CompletedProcess[str]:
    (tree,) = build.glob("cp*")
    (script,) = build.glob("*.sql")
    return subprocess.run(
        [
            *(sys.executable, SCRIPT, "check", "--version", pgkeymgr.__version__),
            *("--script", script, "--tree", tree, "--bindir", bindir or pg_config("bindir")),
            *("--extension-dir", EXTENSION_DIRECTORY, "--lib-dir", LIBRARIES),
        ],
        env={**os.environ, "FORCE": force},
        check=False,
        capture_output=True,
        text=True,
    )


def change(build: Path, what: str) -> None:
    """Make it another build, in its SQL or in its Python."""
    (file,) = build.glob("*.sql") if what == "sql" else build.glob("cp*/pgkeymgr/key/cipher.py")
    file.write_text(file.read_text() + "\n")


@pytest.mark.parametrize("what", ["sql", "python"])
def test_another_build_of_the_version_in_use_is_refused(cluster: Cluster, build: Path, what: str) -> None:
    change(build, what)
    done = check(build)
    assert done.returncode == 1
    assert f"of {cluster.data}, in: user of 'it'\n" in done.stderr
    assert "make install FORCE=1" in done.stderr
    assert "nothing was changed" in done.stderr


def test_force(cluster: Cluster, build: Path) -> None:
    change(build, "sql")
    done = check(build, force="1")
    assert done.returncode == 0
    assert str(cluster.data) in done.stderr


@pytest.mark.usefixtures("cluster")
def test_the_same_build_is_accepted(build: Path) -> None:
    done = check(build)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.usefixtures("cluster")
def test_a_build_that_nobody_uses_is_replaced(build: Path, tmp_path: Path) -> None:
    """The servers of another PostgreSQL have an extension directory of their own."""
    change(build, "sql")
    done = check(build, bindir=tmp_path)
    assert done.returncode == 0
    assert "it is replaced, since no running server uses it" in done.stdout


def test_a_server_that_cannot_be_asked_counts(cluster: Cluster, build: Path) -> None:
    change(build, "sql")
    configuration = cluster.data / "pg_hba.conf"
    before = configuration.read_text()
    configuration.write_text("local all all reject\n")
    try:
        cluster.reload()
        done = check(build)
        assert done.returncode == 1
        assert re.search(f"of {re.escape(str(cluster.data))}, which cannot be asked: .*rejects", done.stderr)
    finally:
        configuration.write_text(before)
        cluster.reload()


class Places:
    """Directories of an imagined machine, with two PostgreSQLs."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.prefix = top / "usr/local"
        self.command = self.prefix / "bin/pgkeymgr"

    def extension(self, postgresql: str) -> Path:
        """Return the extension directory of a PostgreSQL."""
        return self.top / "usr/share/postgresql" / postgresql / "extension"

    def install(self, version: str, postgresql: str = "15") -> None:
        """Make the files of a version."""
        extension = self.extension(postgresql)
        libraries = self.prefix / "lib/pgkeymgr" / version
        for directory in (
            *(extension, libraries / "cp311/pgkeymgr", self.command.parent),
            *(self.prefix / "share/pgkeymgr", self.prefix / "share/doc/pgkeymgr"),
        ):
            directory.mkdir(parents=True, exist_ok=True)
        (extension / f"pgkeymgr--{version}.sql").write_text(
            f"directory = '/usr/local/lib/pgkeymgr/{version}/cp%d'"
        )
        (extension / f"pgkeymgr--0.0.1--{version}.sql").write_text("")
        (extension / "pgkeymgr.control").write_text(f"comment = 'x'\ndefault_version = '{version}'\n")
        self.command.write_text(f'path = ["/usr/local/lib/pgkeymgr/{version}/cp311"]\n')
        self.command.chmod(0o755)
        (self.prefix / "share/pgkeymgr/getkey.sample").write_text("")
        (self.prefix / "share/doc/pgkeymgr/README.md").write_text("")

    def remove(self, version: str, postgresql: str = "15") -> str:
        """Remove a version, and return what was printed."""
        return subprocess.run(
            [
                *(sys.executable, SCRIPT, "remove", "--version", version, "--destdir", self.top),
                *("--extension-dir", self.extension(postgresql)),
                *("--lib-dir", self.prefix / "lib/pgkeymgr" / version),
                *("--share-dir", self.prefix / "share/pgkeymgr"),
                *("--doc-dir", self.prefix / "share/doc/pgkeymgr"),
                *("--command", self.command),
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def files(self) -> set[str]:
        """Return all files."""
        return {str(path.relative_to(self.top)) for path in self.top.rglob("*") if path.is_file()}


def test_remove_the_only_version(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.install("1.0.0")
    (places.extension("15") / "other.control").write_text("")
    assert places.remove("1.0.0") == ""
    assert places.files() == {"usr/share/postgresql/15/extension/other.control"}
    assert not (places.prefix / "lib/pgkeymgr").exists()


@pytest.mark.parametrize(("first", "second"), [("1.9.0", "1.10.0"), ("1.10.0", "1.9.0")])
def test_remove_the_version_that_was_installed_last(tmp_path: Path, first: str, second: str) -> None:
    """The other version is as it was, with the command and the control file."""
    places = Places(tmp_path)
    places.install(first)
    before = places.files()
    command, control = places.command.read_text(), (places.extension("15") / "pgkeymgr.control").read_text()
    places.install(second)
    assert f"is that of version {first} now" in places.remove(second)
    assert places.files() == before - {"usr/local/lib/pgkeymgr"}
    assert places.command.read_text() == command
    assert places.command.stat().st_mode & 0o777 == 0o755
    assert (places.extension("15") / "pgkeymgr.control").read_text() == control


def test_remove_the_version_that_was_installed_first(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.install("1.0.0")
    places.install("1.1.0")
    control = places.extension("15") / "pgkeymgr.control"
    command, text = places.command.read_text(), control.read_text()
    places.remove("1.0.0")
    assert (places.command.read_text(), control.read_text()) == (command, text)
    assert not (places.prefix / "lib/pgkeymgr/1.0.0").exists()
    assert (places.extension("15") / "pgkeymgr--1.1.0.sql").exists()
    assert not (places.extension("15") / "pgkeymgr--1.0.0.sql").exists()


def test_remove_from_one_postgresql_of_two(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.install("1.0.0", "15")
    places.install("1.0.0", "17")
    assert "stays, since" in places.remove("1.0.0", "15")
    left = places.files()
    assert not any("postgresql/15" in name for name in left)
    assert {"usr/local/bin/pgkeymgr", "usr/share/postgresql/17/extension/pgkeymgr.control"} <= left
    assert (places.prefix / "lib/pgkeymgr/1.0.0/cp311").is_dir()
    places.remove("1.0.0", "17")
    assert places.files() == set()


def test_the_pages_that_messages_name_are_installed() -> None:
    """A source names no page in another way, and each page that a source names is there."""
    named = set()
    for source in (TOP / "python" / "pgkeymgr").rglob("*.py"):
        if source.name == "documents.py":
            continue
        text = source.read_text()
        named |= set(re.findall(r"\bpage\(['\"]([\w.-]+)['\"]\)", text))
        # Docstrings and comments speak to who reads the repository.
        strings = re.sub(r'""".*?"""|#.*', "", text, flags=re.DOTALL | re.MULTILINE)
        assert re.findall(r"docs/[\w-]+\.md", strings) == [], source
    assert len(named) >= 5
    for name in named:
        assert (PREFIX / "share/doc/pgkeymgr/docs" / name).is_file(), name
    assert (PREFIX / "share/doc/pgkeymgr/README.md").is_file()


def test_where_nothing_is_installed() -> None:
    """This checkout is not below a PREFIX, and neither is what pip installs."""
    assert documents.page("agent.md") == "docs/agent.md"
    assert documents.sample("getkey.sample") == "getkey.sample"


def test_a_message_names_the_installed_page(tmp_path: Path) -> None:
    configuration = tmp_path / "agent.toml"
    configuration.write_text("mistake = 1\n")
    done = run("agent", "--config", configuration)
    assert f"See {PREFIX}/share/doc/pgkeymgr/docs/agent.md" in done.stderr
