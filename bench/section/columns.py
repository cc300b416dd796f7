"""Statements on a table with an encrypted column, and on tables that are plain or hold other ciphertexts.

The tables have a primary key, a name, an encrypted text of 27 characters and a date.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from measure import NOOP, OURS, PGCRYPTO, PGP, PLAIN, TRIGGER, Bench, Work, each, net, seconds

KEY = "'sixteen bytes ..'"
COLUMNS = "(id, name, ssn, born)"


@dataclass(frozen=True)
class Table:
    """A table that holds the value in one way.

    Attributes:
        name: what statements name.
        base: where its rows are.
        stored: the column of the base.
        write: the expression that makes what is stored of the value.
        read: and back.
    """

    name: str
    base: str
    stored: str
    write: str
    read: str


TABLES = {
    OURS: Table("customer", "customer_encrypted", "ssn_encrypted", "{}", "ssn"),
    PLAIN: Table("plain", "plain", "ssn", "{}", "ssn"),
    NOOP: Table("plain_noop", "plain_noop", "ssn", "noop({})", "noop(ssn)"),
    PGCRYPTO: Table(
        "aes",
        "aes",
        "ssn",
        f"encrypt(({{}})::bytea, {KEY}, 'aes')",
        f"convert_from(decrypt(ssn, {KEY}, 'aes'), 'UTF8')",
    ),
    PGP: Table("pgp", "pgp", "ssn", "pgp_sym_encrypt({}, 'secret')", "pgp_sym_decrypt(ssn, 'secret')"),
}

# Its view is not read: that is the table's own speed.
WRITTEN = {**TABLES, TRIGGER: Table("triggered", "triggered_base", "ssn", "{}", "ssn")}

SETUP = """
CREATE TABLE IF NOT EXISTS source AS
    SELECT i AS id, 'name ' || i AS name, substr(md5(i::text), 1, 27) AS ssn, date '1950-01-01' + i % 20000 AS born
    FROM generate_series(1, {rows}) AS i;
CREATE TABLE plain (id integer PRIMARY KEY, name text NOT NULL, ssn text, born date);
CREATE TABLE customer (LIKE plain INCLUDING ALL);
CREATE TABLE plain_noop (LIKE plain INCLUDING ALL);
CREATE TABLE aes (id integer PRIMARY KEY, name text NOT NULL, ssn bytea, born date);
CREATE TABLE pgp (LIKE aes INCLUDING ALL);
CREATE TABLE plain_indexed (LIKE plain INCLUDING ALL);
CREATE INDEX ON plain_indexed (ssn);
CREATE TABLE indexed (LIKE plain INCLUDING ALL);
CREATE TABLE triggered_base (LIKE plain INCLUDING ALL);
CREATE VIEW triggered AS SELECT * FROM triggered_base;
SELECT pgkeymgr.encrypt_column('customer', 'ssn');
SELECT pgkeymgr.encrypt_column('indexed', 'ssn');
SELECT pgkeymgr.add_blind_index('indexed', 'ssn');
VACUUM ANALYZE source
"""

_TRIGGERS = {
    "INSERT": "INSERT INTO {base} VALUES (NEW.id, NEW.name, NEW.ssn, NEW.born); RETURN NEW;",
    "UPDATE": (
        "UPDATE {base} SET (id, name, ssn, born) = (NEW.id, NEW.name, NEW.ssn, NEW.born)"
        " WHERE id = OLD.id;"
        " RETURN NEW;"
    ),
    "DELETE": "DELETE FROM {base} WHERE id = OLD.id; RETURN OLD;",
}


def triggers_of(view: str, base: str) -> str:
    """Return the statements that give a view INSTEAD OF triggers, which write what they are given to a table."""
    statements = []
    for event, body in _TRIGGERS.items():
        function = f"{view}_{event.lower()}()"
        statements.append(
            f"CREATE FUNCTION {function} RETURNS trigger LANGUAGE plpgsql"
            f" AS $$ BEGIN {body.format(base=base)} END $$;"
            f"CREATE TRIGGER {event.lower()} INSTEAD OF {event} ON {view} FOR EACH ROW"
            f" EXECUTE FUNCTION {function};"
        )
    return "".join(statements)


ROWS_A_STATEMENT = 1_000

ALL_ROWS = "SELECT, all rows"
ALL_ROWS_NET = "SELECT, all rows, net of the scan"
INSERT_SELECT = "INSERT … SELECT"
INSERT_INDEXED = "INSERT … SELECT, with an index for the value"
ONE_ROW = "SELECT, one row by its primary key"
UPDATE = "UPDATE of the encrypted column"
UPDATE_OTHER = "UPDATE of another column"
DELETE = "DELETE"
INSERT_BASE = "INSERT … SELECT into the base table"
COPY_BASE = "COPY into the base table"
FIXED = "the fixed cost of a SELECT of one row, more than with a no-op"
OTHER_COLUMN = "SELECT, a column that is not encrypted"
LIMIT = "SELECT … LIMIT 100"
LOOKUP = "lookup by the value"


def measure(bench: Bench) -> list[Work]:
    """Measure writing, then reading what was written, then changing and deleting."""
    section = _prepare(bench)
    writes = section.insert()
    reads = section.read()
    return [*reads, *writes, *section.look_up(), *section.change()]


def fill(bench: Bench) -> None:
    """Make the tables that other sections use, without measuring."""
    section = _prepare(bench)
    for way, table in TABLES.items():
        section.insert_select(way, table)()


def _prepare(bench: Bench) -> "_Columns":
    rows, part = bench.choose(50_000, 10_000), bench.choose(10_000, 2_000)
    bench.run(SETUP.format(rows=bench.choose(200_000, 50_000)))
    bench.connection.execute(triggers_of("triggered", "triggered_base").encode())
    return _Columns(bench, rows, part)


class _Columns:
    def __init__(self, bench: Bench, rows: int, part: int) -> None:
        self.bench = bench
        self.rows = rows
        self.part = part
        self.few = max(part // 10, 100)

    def _count(self, way: str, rows: int) -> int:
        # It is so slow that less of it has to do.
        return min(rows, self.few) if way == PGP else rows

    # Writing.

    def insert(self) -> list[Work]:
        samples: dict[str, dict[str, list[float]]] = {}
        for _ in self.bench.rounds("columns: INSERT"):
            for way, table in WRITTEN.items():
                for name, rows, act in self._inserts(way, table):
                    self.bench.run(f"TRUNCATE {table.base}; CHECKPOINT")
                    samples.setdefault(name, {}).setdefault(way, []).append(seconds(act) / rows * 1e6)
            for way, name in ((OURS, "indexed"), (PLAIN, "plain_indexed")):
                base = "indexed_encrypted" if way == OURS else name
                self.bench.run(f"TRUNCATE {base}; CHECKPOINT")
                statement = (
                    f"INSERT INTO {name} {COLUMNS} SELECT id, name, ssn, born FROM source LIMIT {self.part}"
                )
                taken = self.bench.seconds(statement) / self.part * 1e6
                samples.setdefault(INSERT_INDEXED, {}).setdefault(way, []).append(taken)
        # The last one was INSERT … SELECT of all rows: they are what is read.
        for base in (*(table.base for table in WRITTEN.values()), "indexed_encrypted", "plain_indexed"):
            self.bench.run(f"VACUUM ANALYZE {base}")
        return [Work(name, "µs", ways) for name, ways in samples.items()]

    def _inserts(self, way: str, table: Table) -> Iterator[tuple[str, int, Callable[[], object]]]:
        connection = self.bench.connection
        value = table.write.format("%s")
        single = (
            f"INSERT INTO {table.name} {COLUMNS} VALUES (%s, %s, {table.write.format('%s::text')}, %s)".encode()
        )
        count = self._count(way, max(self.part // 10, 100))
        rows = self._source(count)

        def insert_single() -> None:
            for row in rows:
                connection.execute(single, row, prepare=True)

        yield "INSERT, one row a statement", count, insert_single

        count = self._count(way, self.part)
        rows_of_lists = self._source(count)
        statements = [
            f"INSERT INTO {table.name} {COLUMNS} VALUES "
            + ", ".join(
                f"({number}, '{name}', {table.write.format(repr(ssn))}, '{born}')"
                for number, name, ssn, born in rows_of_lists[start : start + ROWS_A_STATEMENT]
            )
            for start in range(0, count, ROWS_A_STATEMENT)
        ]

        def insert_lists() -> None:
            for statement in statements:
                connection.execute(statement.encode(), prepare=False)

        yield f"INSERT, {ROWS_A_STATEMENT:,} rows a statement", count, insert_lists

        if value == "%s":
            copied = "".join("\t".join(map(str, row)) + "\n" for row in rows_of_lists).encode()
            yield "COPY", count, partial(self._copy, table.name, copied)
            if way in (OURS, PLAIN):
                yield COPY_BASE, count, partial(self._copy, table.base, copied)

        if way in (OURS, PLAIN):
            query = f"INSERT INTO {table.base} {COLUMNS} SELECT id, name, ssn, born FROM source LIMIT {self.rows}"
            yield INSERT_BASE, self.rows, partial(self.bench.connection.execute, query.encode(), prepare=False)
        yield INSERT_SELECT, self._count(way, self.rows), self.insert_select(way, table)

    def insert_select(self, way: str, table: Table) -> Callable[[], object]:
        """Return what fills a table with all rows."""
        count, value = self._count(way, self.rows), table.write.format("ssn")
        query = f"INSERT INTO {table.name} {COLUMNS} SELECT id, name, {value}, born FROM source LIMIT {count}"
        return partial(self.bench.connection.execute, query.encode(), prepare=False)

    def _copy(self, table: str, rows: bytes) -> None:
        with (
            self.bench.connection.cursor() as cursor,
            cursor.copy(f"COPY {table} {COLUMNS} FROM STDIN".encode()) as copy,
        ):
            copy.write(rows)

    def _source(self, count: int) -> list[tuple[int, str, str, str]]:
        query = f"SELECT id, name, ssn, born::text FROM source LIMIT {count}"
        return self.bench.connection.execute(query.encode(), prepare=False).fetchall()

    # Reading.

    def read(self) -> list[Work]:
        bench = self.bench
        tasks: dict[tuple[str, str], Callable[[], float]] = {}
        for way, table in TABLES.items():
            name, read = table.name, table.read

            def each_row(statement: str, way: str = way) -> float:
                return bench.seconds(statement) / self._count(way, self.rows) * 1e6

            tasks["scan", way] = partial(each_row, f"SELECT count({table.stored}) FROM {table.base}")
            tasks[ALL_ROWS, way] = partial(each_row, f"SELECT count({read}) FROM {name}")
            if way != PGP:
                tasks[OTHER_COLUMN, way] = partial(each_row, f"SELECT count(name) FROM {name}")
            tasks[LIMIT, way] = partial(self._repeat, f"SELECT id, name, {read} FROM {name} LIMIT 100", 20)
            tasks[ONE_ROW, way] = partial(self._one_by_one, f"SELECT name, {read} FROM {name}")
        samples = bench.take_turns("columns: SELECT", tasks)
        works: dict[str, Work] = {}
        for (name, way), numbers in samples.items():
            if name != "scan":
                note = "a statement" if name == LIMIT else ""
                works.setdefault(name, Work(name, "µs", {}, note)).samples[way] = numbers
        # The cost of one row's value is taken off: the rest is what a statement costs that reads one.
        one, row = (net(samples[name, OURS], samples[name, NOOP]) for name in (ONE_ROW, ALL_ROWS))
        works[FIXED] = Work(FIXED, "µs", {OURS: net(one, row)})
        net_ways = {way: net(samples[ALL_ROWS, way], samples["scan", way]) for way in TABLES if way != PLAIN}
        all_rows = works.pop(ALL_ROWS)
        return [all_rows, Work(ALL_ROWS_NET, "µs", net_ways), *works.values()]

    def _repeat(self, statement: str, times: int) -> float:
        return sum(self.bench.seconds(statement) for _ in range(times)) / times * 1e6

    def _one_by_one(self, select: str) -> float:
        count = self.few
        query = f"{select} WHERE id = %s".encode()

        def all_of_them() -> None:
            for number in range(1, count + 1):
                self.bench.connection.execute(query, (number,), prepare=True)

        return seconds(all_of_them) / count * 1e6

    # Looking up.

    def look_up(self) -> list[Work]:
        rows = self.bench.connection.execute(f"SELECT ssn FROM source LIMIT {self.few}".encode()).fetchall()
        queries = {
            OURS: b"SELECT * FROM indexed WHERE ssn_bidx = pgkeymgr.blind_index('indexed', 'ssn', %s)",
            PLAIN: b"SELECT * FROM plain_indexed WHERE ssn = %s",
        }

        def find(query: bytes) -> float:
            def all_of_them() -> None:
                for row in rows:
                    self.bench.connection.execute(query, row, prepare=True)

            return seconds(all_of_them) / len(rows) * 1e6

        for query in queries.values():
            if len(self.bench.connection.execute(query, rows[0]).fetchall()) != 1:
                raise RuntimeError(f"{query.decode()} does not find its row")
        tasks = {way: partial(find, query) for way, query in queries.items()}
        return [Work(LOOKUP, "µs", self.bench.take_turns("columns: lookups", tasks))]

    # Changing.

    def change(self) -> list[Work]:
        samples: dict[str, dict[str, list[float]]] = {}
        for number in self.bench.rounds("columns: UPDATE and DELETE"):
            for way, table in WRITTEN.items():
                count = self._count(way, self.part // 2)
                # Of the rows that are there, each round deletes others; what is slow has fewer to begin with.
                count = min(count, self._count(way, self.rows) // (self.bench.round_count + 1))
                which = f"WHERE id > {number * count} AND id <= {(number + 1) * count}"
                value = table.write.format(f"reverse({table.read.removeprefix('noop')})")
                statements = {
                    UPDATE: f"UPDATE {table.name} SET ssn = {value} {which}",
                    UPDATE_OTHER: f"UPDATE {table.name} SET name = name || '.' {which}",
                    DELETE: f"DELETE FROM {table.name} {which}",
                }
                for name, statement in statements.items():
                    if way == PGP and name != UPDATE:
                        continue
                    taken = each([self.bench.seconds(statement, after_checkpoint=True)], count)
                    samples.setdefault(name, {}).setdefault(way, []).extend(taken)
        return [Work(name, "µs", ways) for name, ways in samples.items()]
