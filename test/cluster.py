"""Throw-away PostgreSQL clusters for the tests, the demo and the benchmark.

A cluster lives in a temporary directory, listens on a Unix socket there and nowhere else unless its settings say
so, and is gone afterwards. Run as root, its server runs as the user postgres, since PostgreSQL refuses root.

As a script, it runs a command against a cluster that has a root key, pgTAP and the extension:

    python test/cluster.py pg_prove test/pgtap/secretbox.sql

With PGK_HOSTILE=1 in the environment, the extension's code runs with a search_path full of traps: hostile.sql.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

ROOT_KEY = "10" * 32
"""The root key that the vectors of test/data were made under, in hexadecimal."""

PORT = 5432

IS_HOSTILE = bool(os.environ.get("PGK_HOSTILE"))
"""Whether databases get the traps of hostile.sql."""
_HOSTILE = Path(__file__).with_name("hostile.sql")


def pg_config(option: str) -> Path:
    """Ask pg_config, of $PG_CONFIG if that is set, for a directory."""
    command = [os.environ.get("PG_CONFIG", "pg_config"), f"--{option}"]
    return Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


def _run(command: Sequence[str | Path], **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a command; its output is shown only if it fails."""
    words = [str(word) for word in command]
    done: subprocess.CompletedProcess[str] = subprocess.run(
        words, check=False, text=True, capture_output=True, **more
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
    return done


class Cluster:
    """A PostgreSQL cluster of its own; a context manager that starts it, and removes it at the end."""

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        root_keys: Sequence[str] | None = (ROOT_KEY,),
        initialize: bool = True,
        port: int = PORT,
        programs: Path | None = None,
    ) -> None:
        """Make a cluster, not started yet.

        Args:
            settings: for postgresql.conf, values quoted by this function.
            environment: more variables for the server.
            root_keys: what its getkey script prints, a line each; None for no getkey script.
            initialize: run initdb; otherwise the data directory is left to be made, by pg_basebackup, say.
            port: of its socket, and of the addresses that listen_addresses may have.
            programs: the directory of the server's programs; None for pg_config's.
        """
        self.bin = programs or pg_config("bindir")
        self.user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        self.directory = Path(tempfile.mkdtemp(prefix="pgkeymgr-"))
        self.give_to_server(self.directory)
        self.port = port
        self.data = self.directory / "data"
        self.log_file = self.directory / "server.log"
        self.environment = dict(environment or {})
        try:
            self._prepare(settings or {}, root_keys, initialize)
        except BaseException:
            # The processes that initdb started end when their input does, and remove this file last.
            deadline = time.monotonic() + 10
            while (self.data / "postmaster.pid").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            shutil.rmtree(self.directory, ignore_errors=True)
            raise

    def _prepare(self, settings: Mapping[str, str], root_keys: Sequence[str] | None, initialize: bool) -> None:
        if initialize:
            options = "--no-sync --auth=trust --username=postgres --encoding=UTF8 --locale=C.UTF-8"
            self.run_as_server(
                [self.bin / "initdb", *options.split(), "--data-checksums", f"--pgdata={self.data}"]
            )
            self.configure({"fsync": "off", "listen_addresses": "", "max_connections": "50"})
            self.configure(settings)
            if root_keys is not None:
                self.install_getkey("#!/bin/sh\n" + "".join(f"echo {key}\n" for key in root_keys))

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            # Python does not call __exit__ after this, not for Ctrl-C either.
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def give_to_server(self, path: Path) -> None:
        """Make a file or a directory belong to the server's user."""
        if os.geteuid() == 0:
            entry = pwd.getpwnam(self.user)
            os.chown(path, entry.pw_uid, entry.pw_gid)

    def run_as_server(self, command: Sequence[str | Path], **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a command as the server's user; its output is shown only if it fails."""
        # The server's Python is to find the installed package, not the one of this checkout.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment = {**inherited, **self.environment, "LC_ALL": "C.UTF-8"}
        who: dict[str, Any] = {}
        if os.geteuid() == 0:
            who = {"user": self.user, "group": self.user, "extra_groups": []}
        return _run(command, env=environment, cwd=self.directory, **who, **more)

    def configure(self, settings: Mapping[str, str]) -> None:
        """Add to postgresql.conf; takes effect at the next start or reload."""
        with (self.data / "postgresql.conf").open("a") as conf:
            for name, value in settings.items():
                conf.write("{} = '{}'\n".format(name, value.replace("'", "''")))

    @property
    def getkey(self) -> Path:
        """Where this cluster's getkey script is looked for first, without an environment variable."""
        return self.data / "pgkeymgr_getkey"

    def install_getkey(self, text: str, mode: int = 0o500, path: Path | None = None) -> Path:
        """Write a getkey script that belongs to the server's user."""
        path = path or self.getkey
        # Written beside and renamed: a running script cannot be overwritten.
        new = path.with_name(path.name + ".new")
        new.write_text(text)
        self.give_to_server(new)
        new.chmod(mode)
        new.rename(path)
        return path

    def _pg_ctl(self, *arguments: str) -> None:
        # The server must not hold the pipes of run_as_server open; its log is a file.
        self.run_as_server(
            [self.bin / "pg_ctl", f"--pgdata={self.data}", f"--log={self.log_file}", "--wait", *arguments]
        )

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        self._pg_ctl("start", "--core-files", f"--options=-k {self.directory} -p {self.port}")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: smart, fast or immediate."""
        self._pg_ctl("stop", f"--mode={mode}")

    def reload(self) -> None:
        """Make the server read postgresql.conf again."""
        self._pg_ctl("reload")

    def wait_until_recovered(self, witness: psycopg.Connection[Any]) -> None:
        """Wait until the server has recovered from a crash of one of its processes.

        Args:
            witness: a session from before the crash; it is closed. Until the postmaster notices, and ends it,
                others are let in, and ended, too.
        """
        deadline = time.monotonic() + 60
        with contextlib.suppress(psycopg.OperationalError):
            while time.monotonic() < deadline:
                witness.execute("SELECT")
        witness.close()
        self.wait_until_ready()

    def wait_until_ready(self, seconds: float = 60) -> None:
        """Wait until the server accepts connections."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.connect().close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise

    def kill(self) -> None:
        """Kill all processes of the server with SIGKILL at once, and wait until they are gone."""
        postmaster = int((self.data / "postmaster.pid").read_text().split()[0])
        # While it is stopped, it makes no new ones, nor does it tell the others that one is gone.
        os.kill(postmaster, signal.SIGSTOP)
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        pids = [*map(int, children), postmaster]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while not all(_is_gone(pid) for pid in pids):
            if time.monotonic() > deadline:
                raise TimeoutError("the server's processes do not end")
        (self.data / "postmaster.pid").unlink()
        (self.directory / f".s.PGSQL.{self.port}.lock").unlink(missing_ok=True)

    def remove(self) -> None:
        """Stop the server if it runs, and delete everything.

        Raises:
            RuntimeError: a trap of hostile.sql was sprung.
        """
        if (self.data / "postmaster.pid").exists():
            self.stop("immediate")
        sprung = sorted({line.partition("LOG:")[2] for line in self.log.splitlines() if "LOG:  hostile:" in line})
        shutil.rmtree(self.directory)
        if sprung:
            raise RuntimeError("pgkeymgr's code found what is not PostgreSQL's:\n" + "\n".join(sprung))

    def dsn(self, dbname: str = "postgres", user: str = "postgres") -> str:
        """Return a connection string."""
        return f"host={self.directory} port={self.port} dbname={dbname} user={user}"

    def connect(
        self, dbname: str = "postgres", user: str = "postgres", **more: Any
    ) -> psycopg.Connection[tuple[Any, ...]]:
        """Connect, in autocommit mode."""
        return psycopg.connect(self.dsn(dbname, user), autocommit=True, **more)

    def client_environment(self, dbname: str = "postgres") -> dict[str, str]:
        """Return the environment for psql and its like."""
        return {
            **os.environ,
            "PGHOST": str(self.directory),
            "PGPORT": str(self.port),
            "PGUSER": "postgres",
            "PGDATABASE": dbname,
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "PSQLRC": "/dev/null",
        }

    def client(
        self, command: Sequence[str | Path], dbname: str = "postgres", **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run psql, pg_dump or their like against this cluster."""
        return _run(command, env=self.client_environment(dbname), **more)

    def create_database(self, name: str, schema: str = "pgkeymgr", has_traps: bool = IS_HOSTILE) -> None:
        """Make a database with the extension in a schema.

        Args:
            name: the database's.
            schema: the extension's.
            has_traps: whether the extension's code finds the traps of hostile.sql there.
        """
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        with self.connect(name) as connection:
            if has_traps:
                connection.execute(_HOSTILE.read_bytes())
            connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
            connection.execute(f'CREATE EXTENSION pgkeymgr SCHEMA "{schema}" CASCADE')

    @contextlib.contextmanager
    def temporary_database(self, name: str, schema: str = "pgkeymgr") -> Iterator[None]:
        """Do ``create_database``, and drop the database after the block."""
        self.create_database(name, schema)
        try:
            yield
        finally:
            self._drop_database(name)

    @contextlib.contextmanager
    def database_copy(self, template: str, name: str) -> Iterator[None]:
        """Make a copy of a database, which is dropped after the block.

        Args:
            template: the database to copy, which nobody is connected to.
            name: the copy's.
        """
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        try:
            yield
        finally:
            self._drop_database(name)

    def _drop_database(self, name: str) -> None:
        with self.connect() as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    @property
    def log(self) -> str:
        """The text that the server has logged so far; empty if it was never started."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""


def process_state(pid: int) -> str:
    """Return the letter of a process's state, see proc_pid_stat(5); ``X``, dead, for one that is not there."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def _is_gone(pid: int) -> bool:
    # Ended, whether or not its parent has asked how.
    return process_state(pid) in "ZX"


def main() -> int:
    """Run the command of the arguments against a cluster, and return its exit status."""
    with Cluster() as cluster:
        cluster.create_database("test")
        with cluster.connect("test") as connection:
            connection.execute("CREATE SCHEMA tap")
            connection.execute("CREATE EXTENSION pgtap SCHEMA tap")
        status = subprocess.run(sys.argv[1:], env=cluster.client_environment("test"), check=False).returncode
        if status:
            print(cluster.log[-4000:], file=sys.stderr)
        return status


if __name__ == "__main__":
    sys.exit(main())
