"""Shows the main job of pgkeymgr on throw-away clusters: ``make demo``.

An application writes the names of the world's provinces, from Debian's list, into a plain table. It goes on while
demo.sql encrypts, migrates and rotates the column of the names. Before and after each step, the demo searches all
files of the server for the names. At the end, it restores a dump into a second cluster, without a root key, with
a wrong root key, and with the right one. Each time, it compares every row with the list.
"""

import json
import re
import secrets
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from cluster import Cluster
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

SQL = Path(__file__).with_name("demo.sql")
STEP = re.compile(r"^-- (\d+)\. As (a superuser|the owner|the application): ", re.MULTILINE)
ROLES = {"a superuser": "postgres", "the owner": "registry_owner", "the application": "application"}

ISO_CODES = Path("/usr/share/iso-codes/json")
DATA_SETS = [("iso_3166-2.json", "3166-2", "code"), ("iso_639-3.json", "639-3", "alpha_3")]
"""The file of each data set, its list, and the key of an entry. The first data set with enough entries is used."""

ROWS_MIN = 5000
NAME_BYTES_MIN = 8
"""Shorter names are not searched for, because they occur by chance."""

ADDED = ("XX-ATL", "Ατλαντίς")
"""The code and the name of the province that demo.sql adds."""

ENVIRONMENT = {"PGKEYMGR_GETKEY": "", "PGKEYMGR_AGENT": "none"}
"""The environment of the servers, which hides a root key and an agent of this machine from them."""

_Refusal = tuple[str, str]
"""The SQLSTATE of an error, and a part of its message."""

NO_PRIVILEGE: _Refusal = ("42501", "permission denied")
NO_ROOT_KEY: _Refusal = ("55000", "there is no root key")
OTHER_ROOT_KEY: _Refusal = ("55000", "the server's root key is")
DESTROYED: _Refusal = ("55000", "destroyed")
NOT_AUTHENTIC: _Refusal = ("22000", "authentic")

_Connection = psycopg.Connection[tuple[Any, ...]]


class CheckFailedError(Exception):
    """A check of the demo failed."""


def require(condition: bool, otherwise: str) -> None:
    """Raise CheckFailedError with this message unless the condition is true."""
    if not condition:
        raise CheckFailedError(otherwise)


class Show:
    """The output: headings and lines during the demo, and a table of the steps at its end."""

    def __init__(self) -> None:
        """Start with an empty table."""
        self.console = Console(highlight=False)
        self.table = Table(title="Summary of the steps", title_justify="left", box=SIMPLE_HEAD, show_edge=False)
        self.table.add_column("step")
        self.table.add_column("result")
        self.table.add_column("s", justify="right", no_wrap=True)

    def heading(self, text: str) -> None:
        """Print the heading of a section."""
        self.console.print()
        self.console.rule(f"[bold]{text}", align="left", style="dim")

    def line(self, text: str) -> None:
        """Print a line of Rich markup. Other text in it must be escaped."""
        self.console.print(text)

    def error(self, error: psycopg.Error) -> None:
        """Print an error as psql would."""
        self.line(f"[red]ERROR {error.sqlstate}[/]: {escape(error.diag.message_primary or '')}")

    @contextmanager
    def step(self, name: str) -> Iterator[Callable[[str], None]]:
        """Time a step and add it to the table. The caller passes the result to the yielded function."""
        results: list[str] = []
        started = time.perf_counter()
        yield results.append
        seconds = time.perf_counter() - started
        self.line(f"[green]✓[/] {name}: {results[0]} [dim]({seconds:.2f} s)[/]")
        self.table.add_row(name, results[0], f"{seconds:.2f}")


class Steps:
    """The numbered steps of demo.sql. psql runs each as the role that the step names."""

    def __init__(self, show: Show) -> None:
        """Read demo.sql."""
        self._show = show
        _, *parts = STEP.split(SQL.read_text("utf-8"))
        numbers = map(int, parts[::3])
        self._steps = dict(zip(numbers, zip(parts[1::3], parts[2::3], strict=True), strict=True))

    def run(self, cluster: Cluster, number: int) -> str:
        """Print the statements of a step, run them, and return what psql printed."""
        role, text = self._steps[number]
        title, *lines = text.splitlines()
        lines = [line for line in lines if line and not line.startswith("--")]
        self._show.line(f"As {role}: {escape(title.split('. ')[0].rstrip('.'))}")
        for line in lines:
            self._show.console.print(f"    [bold]{escape(line)}[/]", soft_wrap=True)
        command = ["psql", "--quiet", "--set=ON_ERROR_STOP=1", f"--username={ROLES[role]}", "--file=-"]
        return cluster.client(command, "demo", input="\n".join(lines)).stdout


class Application:
    """A client that does not know pgkeymgr. It has one session from before the encryption to the end."""

    def __init__(self, cluster: Cluster) -> None:
        """Connect."""
        self._connection = cluster.connect("demo", "application")
        self.written: dict[str, str] = {}
        self.slowest = 0.0

    def write(self, names: Mapping[str, str]) -> None:
        """Insert provinces, or rename existing ones, each in a transaction of its own."""
        for code, name in names.items():
            started = time.perf_counter()
            if code in self.written:
                query = "UPDATE registry.place SET name = %(name)s WHERE code = %(code)s"
            else:
                query = "INSERT INTO registry.place (code, name) VALUES (%(code)s, %(name)s)"
            done = self._connection.execute(query, {"code": code, "name": name})
            require(done.rowcount == 1, f"the application could not write {code}")
            self.written[code] = name
            self.slowest = max(self.slowest, time.perf_counter() - started)

    def verify(self, show: Show, name: str) -> None:
        """Compare every row with what was written."""
        with show.step(name) as result:
            seen = dict(self._connection.execute("SELECT code, name FROM registry.place").fetchall())
            wrong = [
                code for code in seen.keys() | self.written.keys() if seen.get(code) != self.written.get(code)
            ]
            require(not wrong, f"{len(wrong)} rows differ from the written ones, for example {wrong[:1]}")
            result(f"all {len(seen):,} rows are as written")

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()


def read_data() -> tuple[str, dict[str, str]]:
    """Read the data set.

    Returns:
        The name of its file, and the names by code.
    """
    require(
        ISO_CODES.is_dir(),
        f"directory {ISO_CODES} does not exist: install the package iso-codes",
    )
    for file, key, code in DATA_SETS:
        entries = json.loads((ISO_CODES / file).read_text("utf-8"))[key]
        names = {entry[code]: entry["name"] for entry in entries}
        if len(names) >= ROWS_MIN:
            return file, names
    raise CheckFailedError(f"no data set in {ISO_CODES} has {ROWS_MIN} rows: update the package iso-codes")


def long_enough(names: Iterable[str]) -> set[bytes]:
    """Return the names that are long enough to be searched for."""
    return {name.encode() for name in names if len(name.encode()) >= NAME_BYTES_MIN}


def find_in_files(path: Path, needles: set[bytes]) -> dict[bytes, set[str]]:
    """Return the needles that occur in a file or in the files of a directory, each with the files."""
    command = ["grep", "--text", "--only-matching", "--with-filename", "--null", "--no-messages", "--recursive"]
    done = subprocess.run(
        [*command, "--devices=skip", "--fixed-strings", "--file=-", str(path)],
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
        input=b"".join(needle + b"\n" for needle in needles),
        stdout=subprocess.PIPE,
        check=False,  # The status is 2 if the server has removed a file. The control shows a real failure.
    )
    found: defaultdict[bytes, set[str]] = defaultdict(set)
    for line in done.stdout.splitlines():
        file, _, needle = line.partition(b"\0")
        found[needle].add(str(Path(file.decode()).relative_to(path.parent if path.is_file() else path)))
    # grep prints only the longest match, but a name can be part of another.
    for whole in list(found):
        for part in needles:
            if part in whole and part != whole:
                found[part] |= found[whole]
    return found


def find_on_disk(cluster: Cluster, needles: set[bytes]) -> dict[bytes, set[str]]:
    """Return the needles that occur in the data directory, the WAL or the log, each with the files."""
    with cluster.connect("demo") as connection:
        connection.execute("CHECKPOINT")
    return find_in_files(cluster.directory, needles)


def write_in_the_clear(cluster: Cluster) -> bytes:
    """Store a text in a plain table. A search must find it, which shows that the search works."""
    text = f"in the clear {secrets.token_hex(8)}"
    with cluster.connect("demo") as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS registry.in_the_clear (text text)")
        connection.execute("INSERT INTO registry.in_the_clear VALUES (%s)", [text])
    return text.encode()


def search(cluster: Cluster, show: Show, name: str, needles: set[bytes]) -> None:
    """Search all files of the server, which must hold the text that was stored in the clear, and no name."""
    control = write_in_the_clear(cluster)
    with show.step(name) as result:
        found = find_on_disk(cluster, needles | {control})
        where = sorted(found.pop(control, []))
        for kind, directory in (("table", "data/base/"), ("WAL", "data/pg_wal/")):
            require(
                any(file.startswith(directory) for file in where),
                f"the search missed the control in its {kind}",
            )
        require(
            not found,
            f"{len(found)} names are on disk in the clear, in {sorted(found.values(), key=str)[:1]}",
        )
        result(f"0 of {len(needles):,} names found")
    show.line(f"  As a control, the search found a text that was stored in the clear: {', '.join(where)}")


def run_while_writing(
    application: Application, show: Show, what: str, names: Mapping[str, str], run: Callable[[], object]
) -> None:
    """Call ``run`` while the application writes, and require that the application wrote in that time."""
    application.slowest = 0.0
    with ThreadPoolExecutor(1) as executor, show.step(what) as result:
        writing = executor.submit(application.write, names)
        first = next(iter(names))
        while application.written.get(first) != names[first] and not writing.done():
            time.sleep(0.001)
        run()
        meanwhile = sum(application.written.get(code) == name for code, name in list(names.items()))
        writing.result()
        require(meanwhile > 1, "the application wrote nothing during this step")
        result(f"{meanwhile:,} writes during this step")
    show.line(f"  The application had no error; its slowest write took {application.slowest * 1000:.0f} ms")


def read_ciphertexts(cluster: Cluster) -> dict[str, tuple[bytes, int]]:
    """Return the ciphertext of each row and the id of its key, by code."""
    query = (
        "SELECT code, name_encrypted, (pgkeymgr.token_info(name_encrypted)).key_id FROM registry.place_encrypted"
    )
    with cluster.connect("demo") as connection:
        return {code: (ciphertext, key) for code, ciphertext, key in connection.execute(query).fetchall()}


def show_rows(cluster: Cluster, show: Show, names: Mapping[str, str]) -> None:
    """Print some rows as the table stores them, and as the application sees them."""
    beyond_ascii = [code for code, name in names.items() if not name.isascii()]
    stored = read_ciphertexts(cluster)
    table = Table(
        title="Rows in the table, and the names that the application sees", title_justify="left", box=SIMPLE_HEAD
    )
    for heading in ("code", "key", "name_encrypted", "name"):
        table.add_column(heading, no_wrap=heading != "name")
    for code in [next(iter(names)), *beyond_ascii[:: len(beyond_ascii) // 4][:4]]:
        ciphertext, key = stored[code]
        cells = (code, str(key), f"\\x{ciphertext.hex()[:36]}…", names[code])
        table.add_row(*map(escape, cells))
    show.console.print(table)


def expect_error(
    connection: _Connection, query: str, values: Sequence[object], refusal: _Refusal
) -> psycopg.Error:
    """Run a query that must fail with this error, and return the error."""
    sqlstate, text = refusal
    try:
        connection.execute(query, values)
    except psycopg.Error as error:
        as_expected = error.sqlstate == sqlstate and text in (error.diag.message_primary or "")
        require(as_expected, f"expected the error {sqlstate}, {text}, got {error.sqlstate}: {error}")
        return error
    raise CheckFailedError(f"expected the error {sqlstate}, got none: {query}")


def show_rights(cluster: Cluster, show: Show) -> None:
    """Show that the application cannot get a key."""
    query = "SELECT pgkeymgr.derive_key(1)"
    with cluster.connect("demo", "application") as connection:
        show.line(f"As the application: try to get a key\n    [bold]{query}[/]")
        show.error(expect_error(connection, query, [], NO_PRIVILEGE))


def put_back(cluster: Cluster, show: Show, name: str, code: str, ciphertext: bytes, refusal: _Refusal) -> None:
    """Put a ciphertext into a row, as a superuser can, and require that it cannot be decrypted there."""
    query = "SELECT name FROM registry.place WHERE code = %s"
    with cluster.connect("demo") as connection, connection.transaction(force_rollback=True):
        # The triggers would refuse it.
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(
            "UPDATE registry.place_encrypted SET name_encrypted = %s WHERE code = %s", [ciphertext, code]
        )
        with show.step(name) as result:
            error = expect_error(connection, query, [code], refusal)
            result("refused")
    show.error(error)


def look_up(cluster: Cluster, show: Show, output: str) -> None:
    """Check the output of the lookup in demo.sql, and that the lookup uses the index."""
    show.line(escape(output.rstrip()))
    require(" | ".join(ADDED) in output, "the lookup did not find the province")
    query = "SELECT name FROM registry.place WHERE name_bidx = pgkeymgr.blind_index('registry.place', 'name', 'x')"
    with cluster.connect("demo", "application") as connection, show.step("look up by blind index") as result:
        plan = "\n".join(line for (line,) in connection.execute(f"EXPLAIN (COSTS off) {query}").fetchall())
        require("Index" in plan and "Seq Scan" not in plan, f"the lookup does not use the index:\n{plan}")
        result("found, by the index")


def rotate(cluster: Cluster, show: Show, application: Application, steps: Steps, names: Mapping[str, str]) -> None:
    """Rotate the key while the application writes, and destroy the old version."""
    before = read_ciphertexts(cluster)
    (old_key,) = {key for _, key in before.values()}
    run_while_writing(application, show, "rotate", names, lambda: steps.run(cluster, 8))
    after = read_ciphertexts(cluster)
    require(after.keys() == application.written.keys(), "the table has other rows than the written ones")
    keys = {key for _, key in after.values()}
    require(len(keys) == 1 and old_key not in keys, f"the rows are under the keys {keys}")
    ciphertexts = {ciphertext for ciphertext, _ in after.values()}
    require(len(ciphertexts) == len(after), "two rows have the same ciphertext")
    require(
        ciphertexts.isdisjoint(ciphertext for ciphertext, _ in before.values()),
        "an old ciphertext is still in the table",
    )
    show.line(f"  Every row is under key {keys.pop()}, no row is under key {old_key}, and every ciphertext is new")
    steps.run(cluster, 9)
    code = next(iter(before))
    put_back(cluster, show, "a row of an old backup", code, before[code][0], DESTROYED)


def dump(cluster: Cluster, show: Show, names: set[bytes]) -> tuple[str, str]:
    """Dump the roles and the database, and search the dump for the names."""
    control = write_in_the_clear(cluster)
    file = cluster.directory / "dump.sql"
    # A dump has bytea in hexadecimal, so names could also be in it in that form.
    needles = names | {name.hex().encode() for name in names}
    with show.step("dump") as result:
        roles = cluster.client(["pg_dumpall", "--roles-only"]).stdout
        database = cluster.client(["pg_dump", "--create", "demo"]).stdout
        file.write_text(roles + database, "utf-8")
        found = find_in_files(file, needles | {control})
        require(control in found, "the search missed the text in the clear in the dump")
        require(found.keys() == {control}, f"{len(found) - 1} names are in the dump in the clear")
        result(f"0 of {len(names):,} names found")
    return roles, database


def restore(cluster: Cluster, show: Show, dumped: tuple[str, str]) -> None:
    """Restore into a second cluster, which has no root key."""
    roles, database = dumped
    with show.step("restore") as result:
        # Errors are ignored here: the dump creates the role postgres, which already exists.
        cluster.client(["psql", "--quiet"], input=roles)
        cluster.client(["psql", "--quiet", "--set=ON_ERROR_STOP=1"], input=database)
        result("into the second cluster")


def expect_no_plaintext(cluster: Cluster, show: Show, name: str, codes: Iterable[str], refusal: _Refusal) -> None:
    """Read every row alone, as the application. Each attempt must fail with this error."""
    query = "SELECT name FROM registry.place WHERE code = %s"
    show.line("As the application: read each row alone, which takes a while")
    with cluster.connect("demo", "application") as connection:
        with show.step(name) as result:
            errors = [expect_error(connection, query, [code], refusal) for code in codes]
            result(f"0 of {len(errors):,} rows decrypted")
        show.error(errors[0])


def getkey(root_key: str) -> str:
    """Return a getkey script that prints this root key."""
    return f"#!/bin/sh\necho {root_key}\n"


def encrypt(cluster: Cluster, show: Show) -> tuple[dict[str, str], tuple[str, str]]:
    """Run the steps on the first cluster.

    Returns:
        The names that the application wrote, by code, and the dump.
    """
    file, names = read_data()
    rows = list(names.items())
    before = dict(rows[: len(rows) * 3 // 5])
    # Both have new provinces, and new names of existing provinces.
    during_migration = {code: name.upper() for code, name in rows[:300]} | dict(
        rows[len(before) : len(rows) * 4 // 5]
    )
    during_rotation = {code: name.upper() for code, name in rows[300:600]} | dict(rows[len(rows) * 4 // 5 :])
    afterwards = {*during_migration.values(), *during_rotation.values(), ADDED[1]}
    steps = Steps(show)

    steps.run(cluster, 1)
    # PostgreSQL's own files have some of the names, for example in comments on collations.
    there_anyway = find_on_disk(cluster, long_enough({*before.values(), *afterwards})).keys()
    in_before = long_enough(before.values()) - there_anyway

    show.heading(f"A plain table, with {len(before):,} rows of {file}")
    steps.run(cluster, 2)
    application = Application(cluster)
    with show.step("write") as result:
        application.write(before)
        result("in the clear")
    with cluster.connect("demo") as connection:
        connection.execute("ANALYZE registry.place")  # Autovacuum would do this later.
    with show.step("search data, WAL and log") as result:
        # All names are searched for, since some names of the later rows are parts of names of these rows.
        found = find_on_disk(cluster, long_enough({*before.values(), *afterwards})).keys()
        require(in_before <= found, f"the search missed {len(in_before - found)} existing names")
        result(f"all {len(in_before):,} names found")
    in_afterwards = long_enough(afterwards) - found

    show.heading("Encrypt the column")
    steps.run(cluster, 3)
    run_while_writing(application, show, "migrate", during_migration, lambda: steps.run(cluster, 4))
    application.verify(show, "read and compare")
    show_rows(cluster, show, application.written)
    show_rights(cluster, show)

    show.heading("Search the disk, after a CHECKPOINT")
    search(cluster, show, "search for the names written since", in_afterwards)
    remains = find_on_disk(cluster, in_before).keys() & in_before
    show.line(
        f"Dead rows, statistics and WAL still have {len(remains):,} of the {len(in_before):,} names from before"
    )
    steps.run(cluster, 5)
    search(cluster, show, "search for all", in_before | in_afterwards)

    show.heading("Look up a name")
    steps.run(cluster, 6)
    look_up(cluster, show, steps.run(cluster, 7))
    application.written.update([ADDED])

    show.heading("Move a ciphertext to another row")
    thief, victim = list(before)[:2]
    put_back(cluster, show, "a ciphertext moved", thief, read_ciphertexts(cluster)[victim][0], NOT_AUTHENTIC)

    show.heading("Rotate the key")
    rotate(cluster, show, application, steps, during_rotation)
    application.verify(show, "read and compare again")
    application.close()
    search(cluster, show, "search for all again", in_before | in_afterwards)
    return application.written, dump(cluster, show, in_before | in_afterwards)


def run(show: Show) -> None:
    """Run the whole demo.

    Raises:
        CheckFailedError: a result is not the expected one.
    """
    root_key = secrets.token_hex(32)

    show.heading("A cluster with a new root key")
    with Cluster({"wal_recycle": "off"}, ENVIRONMENT, [root_key]) as first:
        first.create_database("demo")
        with first.connect("demo") as connection:
            query = "SELECT current_setting('server_version'), fingerprint FROM pgkeymgr.root_key_status()"
            for version, fingerprint in connection.execute(query).fetchall():
                show.line(f"PostgreSQL {version}, root key with the fingerprint {fingerprint}")
        names, dumped = encrypt(first, show)

    show.heading("The dump in a second cluster, without a root key")
    with Cluster(environment=ENVIRONMENT, root_keys=None) as second:
        restore(second, show, dumped)
        expect_no_plaintext(second, show, "without a root key", names, NO_ROOT_KEY)
        show.heading("With another root key")
        second.install_getkey(getkey(secrets.token_hex(32)))
        expect_no_plaintext(second, show, "with another root key", names, OTHER_ROOT_KEY)
        show.heading("With the same root key")
        second.install_getkey(getkey(root_key))
        same = Application(second)
        same.written = names
        same.verify(show, "with the same root key")
        same.close()

    left = [cluster.directory for cluster in (first, second) if cluster.directory.exists()]
    require(not left, f"the clusters were not removed: {left}")
    show.line("\nBoth clusters are stopped and removed.\n")
    show.console.print(show.table)


def main() -> int:
    """Run the demo, and return the exit status: 0 if every result was the expected one."""
    # An exception, as after Ctrl-C, makes sure that the clusters are removed.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        run(Show())
    except (CheckFailedError, psycopg.Error, RuntimeError) as error:
        print(f"\ndemo: FAILED: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
