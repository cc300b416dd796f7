"""The main job, shown on throw-away clusters: ``make demo``.

An application writes Debian's list of the world's provinces into a plain table, and goes on while the table's
column is encrypted, migrated and rotated around it (demo.sql). Everything that the server has written is searched
for their names before and after. At the end a dump is restored into a second cluster: with no root key, with a
wrong one, and with the right one. Every row is compared with the list each time.
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
"""File, the list in it, and what identifies an entry: the first that has enough entries is used."""

ROWS_MIN = 5000
NAME_BYTES_MIN = 8
"""Shorter names are not searched for: they occur by chance."""

ADDED = ("XX-ATL", "Ατλαντίς")
"""The place that demo.sql adds."""

ENVIRONMENT = {"PGKEYMGR_GETKEY": ""}
"""For the servers: whatever root key this machine has stays out of it."""

_Refusal = tuple[str, str]
"""An error's SQLSTATE, and what its message says."""

NO_PRIVILEGE: _Refusal = ("42501", "permission denied")
NO_ROOT_KEY: _Refusal = ("55000", "there is no root key")
OTHER_ROOT_KEY: _Refusal = ("55000", "made under the root key")
DESTROYED: _Refusal = ("55000", "was destroyed")
NOT_AUTHENTIC: _Refusal = ("22000", "is not authentic")

_Connection = psycopg.Connection[tuple[Any, ...]]


class CheckFailedError(Exception):
    """Something was not as this demo says it is."""


def require(condition: bool, otherwise: str) -> None:
    """Stop with this message unless the condition holds."""
    if not condition:
        raise CheckFailedError(otherwise)


class Show:
    """The output: headings and lines as it goes, and a table of the steps at the end."""

    def __init__(self) -> None:
        """Start with an empty table."""
        self.console = Console(highlight=False)
        self.table = Table(title="What was shown", title_justify="left", box=SIMPLE_HEAD, show_edge=False)
        self.table.add_column("step")
        self.table.add_column("result")
        self.table.add_column("s", justify="right", no_wrap=True)

    def heading(self, text: str) -> None:
        """Print the heading of a section."""
        self.console.print()
        self.console.rule(f"[bold]{text}", align="left", style="dim")

    def line(self, text: str) -> None:
        """Print a line; what is not markup in it must be escaped."""
        self.console.print(text)

    def error(self, error: psycopg.Error) -> None:
        """Print an error as psql would."""
        self.line(f"[red]ERROR {error.sqlstate}[/]: {escape(error.diag.message_primary or '')}")

    @contextmanager
    def step(self, name: str) -> Iterator[Callable[[str], None]]:
        """Time a step and put it into the table; the caller says the result, by the function that it gets."""
        results: list[str] = []
        started = time.perf_counter()
        yield results.append
        seconds = time.perf_counter() - started
        self.line(f"[green]✓[/] {name}: {results[0]} [dim]({seconds:.2f} s)[/]")
        self.table.add_row(name, results[0], f"{seconds:.2f}")


class Steps:
    """The numbered steps of demo.sql, each run by psql as the role that it names."""

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
    """A client that knows nothing of keys: one session from before the encryption to its end."""

    def __init__(self, cluster: Cluster) -> None:
        """Connect."""
        self._connection = cluster.connect("demo", "application")
        self.written: dict[str, str] = {}
        self.slowest = 0.0

    def write(self, names: Mapping[str, str]) -> None:
        """Insert places, or rename those that are there, each in a transaction of its own."""
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
            require(not wrong, f"{len(wrong)} rows are not what was written, {wrong[:1]} for one")
            result(f"all {len(seen):,} rows as written")

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()


def read_data() -> tuple[str, dict[str, str]]:
    """Read the data set.

    Returns:
        The name of its file, and the names by code.
    """
    require(ISO_CODES.is_dir(), f"there is no {ISO_CODES}: install the package iso-codes, or run make deps")
    for file, key, code in DATA_SETS:
        entries = json.loads((ISO_CODES / file).read_text("utf-8"))[key]
        names = {entry[code]: entry["name"] for entry in entries}
        if len(names) >= ROWS_MIN:
            return file, names
    raise CheckFailedError(f"no data set in {ISO_CODES} has {ROWS_MIN} rows: update the package iso-codes")


def searchable(names: Iterable[str]) -> set[bytes]:
    """Return the names that are long enough to be searched for."""
    return {name.encode() for name in names if len(name.encode()) >= NAME_BYTES_MIN}


def occurring(path: Path, needles: set[bytes]) -> dict[bytes, set[str]]:
    """Return which of many byte strings occur in a file or in the files of a directory, each with where."""
    command = ["grep", "--text", "--only-matching", "--with-filename", "--null", "--no-messages", "--recursive"]
    done = subprocess.run(
        [*command, "--devices=skip", "--fixed-strings", "--file=-", str(path)],
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
        input=b"".join(needle + b"\n" for needle in needles),
        stdout=subprocess.PIPE,
        check=False,  # The status is an error if the server removed a file in between; controls show a failure.
    )
    found: defaultdict[bytes, set[str]] = defaultdict(set)
    for line in done.stdout.splitlines():
        file, _, needle = line.partition(b"\0")
        found[needle].add(str(Path(file.decode()).relative_to(path.parent if path.is_file() else path)))
    # grep gives the longest match only, though a name can be part of another.
    for whole in list(found):
        for part in needles:
            if part in whole and part != whole:
                found[part] |= found[whole]
    return found


def on_disk(cluster: Cluster, needles: set[bytes]) -> dict[bytes, set[str]]:
    """Return which occur in what the server has written: the data directory, with the WAL, and the log."""
    with cluster.connect("demo") as connection:
        connection.execute("CHECKPOINT")
    return occurring(cluster.directory, needles)


def write_in_the_clear(cluster: Cluster) -> bytes:
    """Store a text in a plain table, so that the search can show that it finds what there is."""
    text = f"in the clear {secrets.token_hex(8)}"
    with cluster.connect("demo") as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS registry.in_the_clear (text text)")
        connection.execute("INSERT INTO registry.in_the_clear VALUES (%s)", [text])
    return text.encode()


def search(cluster: Cluster, show: Show, name: str, needles: set[bytes]) -> None:
    """Search all that the server has written; nothing may be there but a text that was stored in the clear."""
    control = write_in_the_clear(cluster)
    with show.step(name) as result:
        found = on_disk(cluster, needles | {control})
        where = sorted(found.pop(control, []))
        for kind, directory in (("table", "data/base/"), ("WAL", "data/pg_wal/")):
            require(
                any(file.startswith(directory) for file in where),
                f"the search missed the control in its {kind}",
            )
        require(
            not found, f"{len(found)} names are on disk in the clear, in {sorted(found.values(), key=str)[:1]}"
        )
        result(f"0 of {len(needles):,} names found")
    show.line(f"  A text that was stored in the clear just now was found: {', '.join(where)}")


def while_writing(
    application: Application, show: Show, what: str, names: Mapping[str, str], run: Callable[[], object]
) -> None:
    """Run something while the application writes, and require that it wrote during that time."""
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


def stored_rows(cluster: Cluster) -> dict[str, tuple[bytes, int]]:
    """Read the ciphertext of each row, and the key that it needs."""
    query = (
        "SELECT code, name_encrypted, (pgkeymgr.token_info(name_encrypted)).key_id FROM registry.place_encrypted"
    )
    with cluster.connect("demo") as connection:
        return {code: (ciphertext, key) for code, ciphertext, key in connection.execute(query).fetchall()}


def show_rows(cluster: Cluster, show: Show, names: Mapping[str, str]) -> None:
    """Print some rows as they are stored and as they are seen."""
    beyond_ascii = [code for code, name in names.items() if not name.isascii()]
    stored = stored_rows(cluster)
    table = Table(title="As stored, and as the application sees it", title_justify="left", box=SIMPLE_HEAD)
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
    """Run a query that must fail in this way, and return its error."""
    sqlstate, text = refusal
    try:
        connection.execute(query, values)
    except psycopg.Error as error:
        as_expected = error.sqlstate == sqlstate and text in (error.diag.message_primary or "")
        require(as_expected, f"expected the error {sqlstate}, {text}, got {error.sqlstate}: {error}")
        return error
    raise CheckFailedError(f"expected the error {sqlstate}, got none: {query}")


def show_rights(cluster: Cluster, show: Show) -> None:
    """Show that the application gets no key."""
    query = "SELECT pgkeymgr.derive_key(1)"
    with cluster.connect("demo", "application") as connection:
        show.line(f"As the application: try to get a key\n    [bold]{query}[/]")
        show.error(expect_error(connection, query, [], NO_PRIVILEGE))


def put_back(cluster: Cluster, show: Show, name: str, code: str, ciphertext: bytes, refusal: _Refusal) -> None:
    """Put a ciphertext into a row, as a superuser could, and require that it does not open there."""
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
    """Check what the lookup of demo.sql printed, and that the same in a big table would not read all of it."""
    show.line(escape(output.rstrip()))
    require(" | ".join(ADDED) in output, "the lookup did not find the place")
    query = "SELECT name FROM registry.place WHERE name_bidx = pgkeymgr.blind_index('registry.place', 'name', 'x')"
    with cluster.connect("demo", "application") as connection, show.step("look up by blind index") as result:
        plan = "\n".join(line for (line,) in connection.execute(f"EXPLAIN (COSTS off) {query}").fetchall())
        require("Index" in plan and "Seq Scan" not in plan, f"the lookup does not use the index:\n{plan}")
        result("found, by the index")


def rotate(cluster: Cluster, show: Show, application: Application, steps: Steps, names: Mapping[str, str]) -> None:
    """Rotate the key while the application writes, and destroy the old version."""
    before = stored_rows(cluster)
    (old_key,) = {key for _, key in before.values()}
    while_writing(application, show, "rotate", names, lambda: steps.run(cluster, 8))
    after = stored_rows(cluster)
    require(after.keys() == application.written.keys(), "there are other rows than were written")
    keys = {key for _, key in after.values()}
    require(len(keys) == 1 and old_key not in keys, f"the rows are under the keys {keys}")
    ciphertexts = {ciphertext for ciphertext, _ in after.values()}
    require(len(ciphertexts) == len(after), "two rows have the same ciphertext")
    require(ciphertexts.isdisjoint(ciphertext for ciphertext, _ in before.values()), "an old ciphertext is there")
    show.line(f"  every row is under key {keys.pop()}, none under key {old_key}, and every ciphertext is new")
    steps.run(cluster, 9)
    code = next(iter(before))
    put_back(cluster, show, "a row of an old backup", code, before[code][0], DESTROYED)


def dump(cluster: Cluster, show: Show, names: set[bytes]) -> tuple[str, str]:
    """Dump the roles and the database, and search the dump as well."""
    control = write_in_the_clear(cluster)
    file = cluster.directory / "dump.sql"
    # A dump has bytea in hexadecimal: names could be in it in that form, too.
    needles = names | {name.hex().encode() for name in names}
    with show.step("dump") as result:
        roles = cluster.client(["pg_dumpall", "--roles-only"]).stdout
        database = cluster.client(["pg_dump", "--create", "demo"]).stdout
        file.write_text(roles + database, "utf-8")
        found = occurring(file, needles | {control})
        require(control in found, "the search missed the text in the clear in the dump")
        require(found.keys() == {control}, f"{len(found) - 1} names are in the dump in the clear")
        result(f"0 of {len(names):,} names found")
    return roles, database


def restore(cluster: Cluster, show: Show, dumped: tuple[str, str]) -> None:
    """Restore into a second cluster, which has no root key."""
    roles, database = dumped
    with show.step("restore") as result:
        # Not to be stopped by an error: the role postgres is in the dump, and exists already.
        cluster.client(["psql", "--quiet"], input=roles)
        cluster.client(["psql", "--quiet", "--set=ON_ERROR_STOP=1"], input=database)
        result("into the second cluster")


def nothing_opens(cluster: Cluster, show: Show, name: str, codes: Iterable[str], refusal: _Refusal) -> None:
    """Try every row on its own, as the application; each must fail in this way."""
    query = "SELECT name FROM registry.place WHERE code = %s"
    with cluster.connect("demo", "application") as connection:
        with show.step(name) as result:
            errors = [expect_error(connection, query, [code], refusal) for code in codes]
            result(f"0 of {len(errors):,} rows open")
        show.error(errors[0])


def getkey(root_key: str) -> str:
    """Return a getkey script that prints this root key."""
    return f"#!/bin/sh\necho {root_key}\n"


def encrypt(cluster: Cluster, show: Show) -> tuple[dict[str, str], tuple[str, str]]:
    """Do the work on the first cluster.

    Returns:
        What the application wrote, by code, and the dump.
    """
    file, names = read_data()
    rows = list(names.items())
    before = dict(rows[: len(rows) * 3 // 5])
    # In both, new places and new names of places that are there.
    during_migration = {code: name.upper() for code, name in rows[:300]} | dict(
        rows[len(before) : len(rows) * 4 // 5]
    )
    during_rotation = {code: name.upper() for code, name in rows[300:600]} | dict(rows[len(rows) * 4 // 5 :])
    afterwards = {*during_migration.values(), *during_rotation.values(), ADDED[1]}
    steps = Steps(show)

    steps.run(cluster, 1)
    # PostgreSQL's own files have some of them: comments on collations, for one.
    there_anyway = on_disk(cluster, searchable({*before.values(), *afterwards})).keys()
    in_before = searchable(before.values()) - there_anyway

    show.heading(f"A plain table, with {len(before):,} rows of {file}")
    steps.run(cluster, 2)
    application = Application(cluster)
    with show.step("write") as result:
        application.write(before)
        result("in the clear")
    with cluster.connect("demo") as connection:
        connection.execute("ANALYZE registry.place")  # As autovacuum would, sooner or later.
    with show.step("search data, WAL and log") as result:
        # All of them: some names of the other rows are parts of names of these.
        found = on_disk(cluster, searchable({*before.values(), *afterwards})).keys()
        require(in_before <= found, f"the search misses {len(in_before - found)} names that are there")
        result(f"all {len(in_before):,} names found")
    in_afterwards = searchable(afterwards) - found

    show.heading("Encrypt the column")
    steps.run(cluster, 3)
    while_writing(application, show, "migrate", during_migration, lambda: steps.run(cluster, 4))
    application.verify(show, "read and compare")
    show_rows(cluster, show, application.written)
    show_rights(cluster, show)

    show.heading("What is on disk, after a CHECKPOINT")
    search(cluster, show, "search for what was written since", in_afterwards)
    remains = on_disk(cluster, in_before).keys() & in_before
    show.line(
        f"{len(remains):,} of the {len(in_before):,} names from before are still in dead rows, statistics and WAL"
    )
    steps.run(cluster, 5)
    search(cluster, show, "search for all", in_before | in_afterwards)

    show.heading("Look a name up")
    steps.run(cluster, 6)
    look_up(cluster, show, steps.run(cluster, 7))
    application.written.update([ADDED])

    show.heading("Ciphertext in another row")
    thief, victim = list(before)[:2]
    put_back(cluster, show, "a ciphertext moved", thief, stored_rows(cluster)[victim][0], NOT_AUTHENTIC)

    show.heading("Another key")
    rotate(cluster, show, application, steps, during_rotation)
    application.verify(show, "read and compare again")
    application.close()
    search(cluster, show, "search for all again", in_before | in_afterwards)
    return application.written, dump(cluster, show, in_before | in_afterwards)


def run(show: Show) -> None:
    """Do all of it; an error if anything is not as it should be."""
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
        nothing_opens(second, show, "without a root key", names, NO_ROOT_KEY)
        show.heading("With another root key")
        second.install_getkey(getkey(secrets.token_hex(32)))
        nothing_opens(second, show, "with another root key", names, OTHER_ROOT_KEY)
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
    """Run the demo, and return 0 if all was as it should be."""
    # As Ctrl-C does: an exception, so that the clusters are removed.
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
