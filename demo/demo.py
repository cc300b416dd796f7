"""The main job, shown on throw-away clusters: ``make demo``.

It loads Debian's list of the world's provinces through an encrypting view (demo.sql), looks for their names
in everything that the server has written, rotates the key, and restores a dump into a second cluster: with no
root key, with a wrong one, and with the right one. Every row is compared with the list each time.
"""

import json
import secrets
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from cluster import Cluster
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

SQL = Path(__file__).with_name("demo.sql")
ISO_CODES = Path("/usr/share/iso-codes/json")
DATA_SETS = [("iso_3166-2.json", "3166-2", "code"), ("iso_639-3.json", "639-3", "alpha_3")]
"""File, the list in it, and what identifies an entry: the first that has enough entries is used."""

ROWS_MIN = 5000
NAME_BYTES_MIN = 8
"""Shorter names are not searched for: they occur by chance."""

BATCH = 250
ENVIRONMENT = {"PGKEYMGR_GETKEY": ""}
"""For the servers: whatever root key this machine has stays out of it."""

INSUFFICIENT_PRIVILEGE = "42501"
NO_ROOT_KEY = "55000"
NOT_AUTHENTIC = "22000"

_Item = TypeVar("_Item")
_Connection = psycopg.Connection[tuple[Any, ...]]
_Stored = dict[str, tuple[int, bytes, bytes]]


class CheckFailedError(Exception):
    """Something was not as this demo says it is."""


def require(condition: bool, otherwise: str) -> None:
    """Stop with this message unless the condition holds."""
    if not condition:
        raise CheckFailedError(otherwise)


class Show:
    """What is printed: headings and lines as it goes, and a table of the steps at the end."""

    def __init__(self) -> None:
        """Start with an empty table."""
        self.console = Console(highlight=False)
        self.table = Table(title="What was shown", title_justify="left", box=SIMPLE_HEAD, show_edge=False)
        self.table.add_column("step")
        self.table.add_column("result")
        for heading in ("rows", "s", "µs a row"):
            self.table.add_column(heading, justify="right", no_wrap=True)

    def heading(self, text: str) -> None:
        """Print the heading of a section."""
        self.console.print()
        self.console.rule(f"[bold]{text}", align="left", style="dim")

    def line(self, text: str) -> None:
        """Print a line; what is not markup in it must be escaped."""
        self.console.print(text)

    def error(self, error: psycopg.Error) -> None:
        """Print an error as psql would, with its hint."""
        self.line(f"[red]ERROR {error.sqlstate}[/]: {escape(error.diag.message_primary or '')}")
        if error.diag.message_hint:
            self.line(f"[red]HINT[/]: {escape(error.diag.message_hint)}")

    def progress(self, items: Iterable[_Item], text: str) -> Iterator[_Item]:
        """Go through the items with a progress bar, which is there only while it runs, on a terminal."""
        hidden = not self.console.is_terminal
        yield from track(items, text, console=self.console, transient=True, disable=hidden)

    @contextmanager
    def step(self, name: str, rows: int | None = None) -> Iterator[Callable[[str], None]]:
        """Time a step and put it into the table; the caller says the result.

        Args:
            name: what is done.
            rows: to how many rows, if the time for each is of interest.

        Yields:
            A function to be called with the result, before the end.
        """
        results: list[str] = []
        started = time.perf_counter()
        yield results.append
        seconds = time.perf_counter() - started
        counts = [f"{rows:,}", f"{seconds:.2f}", f"{seconds / rows * 1e6:.0f}"] if rows else ["", f"{seconds:.2f}"]
        self.line(f"[green]✓[/] {name}: {results[0]} [dim]({seconds:.2f} s)[/]")
        self.table.add_row(name, results[0], *counts)


class Search:
    """Finds which of many byte strings occur in files.

    An occurrence of at least 7 bytes holds a whole 4-byte word at a file offset that is a multiple of 4,
    whichever way it lies. So the set of such words of a file, which Python makes fast, tells which few are
    worth looking for; those then are looked for byte by byte.
    """

    WORD = 4
    CHUNK = 1 << 20

    def __init__(self, needles: Iterable[bytes]) -> None:
        """Prepare to search.

        Args:
            needles: what to look for, at least 7 bytes each.
        """
        # For the first whole word of a needle, in each of the ways it can lie: the needle and all its words.
        self._by_word: defaultdict[int, list[tuple[bytes, frozenset[int]]]] = defaultdict(list)
        self._overlap = 0
        for needle in needles:
            self._overlap = max(self._overlap, len(needle))
            for start in range(self.WORD):
                words = self._words(needle[start:])
                self._by_word[words[0]].append((needle, frozenset(words)))
        self._overlap += -self._overlap % self.WORD

    @classmethod
    def _words(cls, data: bytes) -> Sequence[int]:
        return memoryview(data)[: len(data) // cls.WORD * cls.WORD].cast("I")

    def in_bytes(self, data: bytes) -> set[bytes]:
        """Return those that occur in the data."""
        found: set[bytes] = set()
        # By chunks, to bound the memory; one begins a little before the end of the one before.
        for start in range(0, len(data), self.CHUNK):
            chunk = data[start : start + self.CHUNK + self._overlap]
            present = set(self._words(chunk))
            for word in present & self._by_word.keys():
                for needle, words in self._by_word[word]:
                    if words <= present and needle in chunk:
                        found.add(needle)
        return found

    def in_files(self, files: Iterable[Path]) -> dict[bytes, list[Path]]:
        """Return those that occur, each with the files it is in."""
        found: dict[bytes, list[Path]] = defaultdict(list)
        for file in files:
            try:
                data = file.read_bytes()
            except FileNotFoundError:
                continue  # The server removed it meanwhile.
            for needle in self.in_bytes(data):
                found[needle].append(file)
        return found


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


def written_files(cluster: Cluster) -> list[Path]:
    """Return all that the server has written: the data directory, with the WAL, and the log."""
    return [*sorted(path for path in cluster.data.rglob("*") if path.is_file()), cluster.log_file]


def value_of(connection: _Connection, query: str, values: Sequence[object] = ()) -> Any:
    """Return the one value that a query gives."""
    row = connection.execute(query, values).fetchone()
    assert row is not None
    return row[0]


def stored_rows(cluster: Cluster) -> _Stored:
    """Read the table behind the view, which takes a superuser or its owner."""
    with cluster.connect("demo") as connection:
        rows = connection.execute("SELECT code, key_id, nonce, data FROM registry.place_encrypted").fetchall()
    return {code: (key_id, nonce, data) for code, key_id, nonce, data in rows}


def verify(cluster: Cluster, show: Show, name: str, names: Mapping[str, str]) -> None:
    """Compare every row, as the application sees it, with the data set."""
    with cluster.connect("demo", "application") as connection, show.step(name, len(names)) as result:
        seen = dict(connection.execute("SELECT code, name FROM registry.place").fetchall())
        wrong = [code for code in seen.keys() | names.keys() if seen.get(code) != names.get(code)]
        require(not wrong, f"{len(wrong)} rows differ from the data set, {wrong[:1]} for one")
        result("all as in the data set")


def load(cluster: Cluster, show: Show, names: Mapping[str, str]) -> None:
    """Insert every row through the view, as the application."""
    rows = list(names.items())
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    with cluster.connect("demo", "application") as connection, show.step("load", len(rows)) as result:
        cursor = connection.cursor()
        for batch in show.progress(batches, "Loading"):
            cursor.executemany("INSERT INTO registry.place (code, name) VALUES (%s, %s)", batch)
        result("under derived key 1")


def show_rows(cluster: Cluster, show: Show, names: Mapping[str, str]) -> None:
    """Print some rows as they are stored and as they are seen."""
    beyond_ascii = [code for code, name in names.items() if not name.isascii()]
    codes = [next(iter(names)), *beyond_ascii[:: len(beyond_ascii) // 4][:4]]
    stored = stored_rows(cluster)
    table = Table(title="As stored, and as the application sees it", title_justify="left", box=SIMPLE_HEAD)
    for heading in ("code", "key", "nonce", "data", "name"):
        table.add_column(heading, no_wrap=heading != "name")
    with cluster.connect("demo", "application") as connection:
        for code in codes:
            key_id, nonce, data = stored[code]
            row = connection.execute("SELECT name FROM registry.place WHERE code = %s", [code]).fetchone()
            require(row == (names[code],), f"the view shows another name for {code}")
            cells = (code, str(key_id), f"\\x{nonce.hex()[:10]}…", f"\\x{data.hex()[:18]}…", names[code])
            table.add_row(*map(escape, cells))
    show.console.print(table)


def expect_error(connection: _Connection, query: str, sqlstate: str) -> psycopg.Error:
    """Run a query that must fail in this way, and return its error."""
    try:
        connection.execute(query)
    except psycopg.Error as error:
        require(error.sqlstate == sqlstate, f"expected the error {sqlstate}, got {error.sqlstate}: {error}")
        return error
    raise CheckFailedError(f"expected the error {sqlstate}, got none: {query}")


def show_rights(cluster: Cluster, show: Show) -> None:
    """Show that the application has the view, and neither the table nor the keys."""
    with cluster.connect("demo", "application") as connection:
        for query in ("SELECT data FROM registry.place_encrypted", "SELECT pgkeymgr.derive_key(1)"):
            show.line(f"The application: [bold]{query}[/]")
            show.error(expect_error(connection, query, INSUFFICIENT_PRIVILEGE))


def searched_for(cluster: Cluster, show: Show, names: Mapping[str, str]) -> set[bytes]:
    """Choose the names to search for: those that a cluster without them does not hold anyway."""
    long_names = {name.encode() for name in names.values() if len(name.encode()) >= NAME_BYTES_MIN}
    with cluster.connect("demo") as connection:
        connection.execute("CHECKPOINT")
    with show.step("search before the load") as result:
        there_anyway = Search(long_names).in_files(show.progress(written_files(cluster), "Searching"))
        chosen = long_names - there_anyway.keys()
        result(f"{len(chosen):,} names to look for")
    left_out = len(there_anyway)
    show.line(f"  {len(long_names):,} names have {NAME_BYTES_MIN} bytes or more; {left_out} are left out,")
    show.line("  because PostgreSQL's own files have them: comments on collations, for one")
    return chosen


def write_in_the_clear(cluster: Cluster) -> bytes:
    """Store one text unencrypted, so that the search can show that it finds what there is."""
    text = f"Ατλαντίς {secrets.token_hex(8)}"
    with cluster.connect("demo") as connection:
        connection.execute("CREATE TABLE registry.in_the_clear (name text)")
        connection.execute("INSERT INTO registry.in_the_clear VALUES (%s)", [text])
    return text.encode()


def search(cluster: Cluster, show: Show, name: str, chosen: set[bytes], control: bytes) -> None:
    """Search all that the server has written for the names, and for one text that is there."""
    with cluster.connect("demo") as connection:
        connection.execute("CHECKPOINT")
    files = written_files(cluster)
    with show.step(name) as result:
        found = Search(chosen | {control}).in_files(show.progress(files, "Searching"))
        where = [str(file.relative_to(cluster.directory)) for file in found.pop(control, [])]
        for kind, directory in (("table", "data/base/"), ("WAL", "data/pg_wal/")):
            require(
                any(file.startswith(directory) for file in where),
                f"the search missed the control in its {kind}",
            )
        require(not found, f"{len(found)} names are on disk in the clear, in {sorted(found.values())[:1]}")
        result(f"0 of {len(chosen):,} names found")
    show.line(f"  {len(files):,} files; the one text that was stored in the clear is in {', '.join(where)}")


def rotate(cluster: Cluster, show: Show, rows: int) -> None:
    """Re-encrypt every row under another key, as the owner."""
    before = stored_rows(cluster)
    require({key_id for key_id, _, _ in before.values()} == {1}, "a row is not under key 1")
    with cluster.connect("demo") as connection, show.step("rotate", rows) as result:
        connection.execute("SET ROLE registry_owner")
        rotated = 0
        # One call more than it takes: the last one finds nothing left.
        for _ in show.progress(range(-(-rows // BATCH) + 1), "Rotating"):
            count = value_of(connection, "SELECT registry.rotate(2, %s)", [BATCH])
            rotated += count
        require(count == 0 and rotated == rows, f"{rotated} rows of {rows} were rotated")
        result("all under derived key 2")
    after = stored_rows(cluster)
    require({key_id for key_id, _, _ in after.values()} == {2}, "a row is not under key 2")
    for index, what in ((1, "nonce"), (2, "ciphertext")):
        values = {row[index] for row in after.values()}
        require(len(values) == rows, f"two rows have the same {what}")
        require(values.isdisjoint(row[index] for row in before.values()), f"an old {what} is still there")
    show.line("  every row has key 2, and a nonce and a ciphertext that no row had before")


def dump(cluster: Cluster, show: Show, rows: int, chosen: set[bytes], control: bytes) -> tuple[str, str]:
    """Dump the roles and the database, and search the dump as well."""
    with show.step("dump", rows) as result:
        roles = cluster.client(["pg_dumpall", "--roles-only"]).stdout
        database = cluster.client(["pg_dump", "--create", "demo"]).stdout
        found = Search(chosen | {control}).in_bytes((roles + database).encode())
        require(control in found, "the search missed the text in the clear in the dump")
        require(found == {control}, f"{len(found) - 1} names are in the dump in the clear")
        result(f"0 of {len(chosen):,} names found")
    return roles, database


def restore(cluster: Cluster, show: Show, rows: int, dumped: tuple[str, str]) -> None:
    """Restore into a second cluster, which has no root key."""
    roles, database = dumped
    with show.step("restore", rows) as result:
        # Not to be stopped by an error: the role postgres is in the dump, and exists already.
        cluster.client(["psql", "--quiet"], input=roles)
        cluster.client(["psql", "--quiet", "--set=ON_ERROR_STOP=1"], input=database)
        result("into the second cluster")


def nothing_opens(cluster: Cluster, show: Show, name: str, names: Mapping[str, str], sqlstate: str) -> None:
    """Try every row on its own, as the application; each must fail in this way."""
    query = "SELECT name FROM registry.place WHERE code = %s"
    with cluster.connect("demo", "application") as connection:
        show.line("The application: [bold]SELECT * FROM registry.place[/]")
        show.error(expect_error(connection, "SELECT * FROM registry.place", sqlstate))
        outcomes: Counter[str | None] = Counter()
        with show.step(name, len(names)) as result:
            for code in show.progress(names, "Trying each row"):
                try:
                    connection.execute(query, [code]).fetchall()
                    outcomes["decrypted"] += 1
                except psycopg.Error as error:
                    outcomes[error.sqlstate] += 1
            require(outcomes == {sqlstate: len(names)}, f"not every row fails with {sqlstate}: {outcomes}")
            result(f"0 rows decrypt ({sqlstate})")


def find_all(cluster: Cluster, show: Show, chosen: set[bytes]) -> None:
    """Copy the view into an ordinary table, after which the same search must find every name."""
    with cluster.connect("demo") as connection:
        connection.execute("CREATE TABLE registry.all_in_the_clear AS SELECT * FROM registry.place")
        connection.execute("CHECKPOINT")
    with show.step("search after a clear copy") as result:
        found = Search(chosen).in_files(show.progress(written_files(cluster), "Searching"))
        require(found.keys() == chosen, f"the search misses {len(chosen - found.keys())} names that are there")
        result(f"{len(found):,} of {len(chosen):,} found")


def getkey(root_key: str) -> str:
    """Return a getkey script that prints this root key."""
    return f"#!/bin/sh\necho {root_key}\n"


def run(show: Show) -> None:
    """Do all of it; an error if anything is not as it should be."""
    file, names = read_data()
    root_key = secrets.token_hex(32)

    show.heading("A cluster with a new root key")
    with Cluster(environment=ENVIRONMENT, root_keys=[root_key]) as first:
        first.create_database("demo")
        first.client(["psql", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-"], "demo", input=SQL.read_text())
        with first.connect("demo") as connection:
            show.line(f"PostgreSQL {value_of(connection, 'SHOW server_version')}")
            fingerprint = value_of(connection, "SELECT fingerprint FROM pgkeymgr.root_key_status()")
            show.line(f"The root key's fingerprint: {fingerprint}")
        chosen = searched_for(first, show, names)

        show.heading(f"{len(names):,} rows of {file}, through an encrypting view")
        control = write_in_the_clear(first)
        load(first, show, names)
        verify(first, show, "read and compare", names)
        show_rows(first, show, names)
        show_rights(first, show)

        show.heading("What is on disk, after a CHECKPOINT")
        search(first, show, "search data, WAL and log", chosen, control)

        show.heading("Another key")
        rotate(first, show, len(names))
        verify(first, show, "read and compare again", names)
        search(first, show, "search again", chosen, control)
        dumped = dump(first, show, len(names), chosen, control)

    show.heading("A second cluster, without the root key")
    with Cluster(environment=ENVIRONMENT, root_keys=None) as second:
        restore(second, show, len(names), dumped)
        nothing_opens(second, show, "without a root key", names, NO_ROOT_KEY)
        show.heading("With a wrong root key")
        second.install_getkey(getkey(secrets.token_hex(32)))
        nothing_opens(second, show, "with a wrong root key", names, NOT_AUTHENTIC)
        show.heading("With the right root key")
        second.install_getkey(getkey(root_key))
        verify(second, show, "with the right root key", names)

        show.heading("Would the search have found them?")
        find_all(second, show, chosen)

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
