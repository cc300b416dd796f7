"""Searches by blind indexes of kinds other than equality give exactly what PostgreSQL gives on the plaintext.

Two tables have the same rows, one in the clear and one encrypted. Random conditions are asked of both, after each
kind of write, and while a build, a rotation and a migration are not done.
"""

import contextlib
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from ipaddress import IPv4Address

import column_database
import pytest
from conftest import Connection, rows, value
from database_session import Database
from partitioned_table import Procedure
from psycopg import errors, sql
from psycopg.types.json import Jsonb
from waiting import wait_until

server = column_database.server
database = column_database.database
admin = column_database.admin

SEED = 20261130
COLUMNS = {
    "t": "text",
    "i": "integer",
    "n": "numeric",
    "d": "date",
    "z": "timestamptz",
    "ip": "inet",
    "j": "jsonb",
}
KINDS = {"t": "text", "i": "range", "n": "range", "d": "range", "z": "range", "ip": "range", "j": "json"}
OPTIONS = {"n": '{"scale": 1}', "z": '{"precision": 3600}', "t": '{"sizes": [2, 3]}'}
TABLE = "CREATE TABLE {} (id integer PRIMARY KEY, " + ", ".join(f"{n} {t}" for n, t in COLUMNS.items()) + ")"
LETTERS = "aAbnN\u00e9\u00c9\u0301\u00df\u1e9e\u0130\u0131iI\u03c3\u03c2\u03a3%_\\ \u6f22\U0001f511"

Chance = random.Random
Condition = tuple[sql.Composable, sql.Composable]
"""A condition for the encrypted table, and one for the other."""


def text(chance: Chance, most: int = 9) -> str:
    """Return a text of few letters, so that parts of it occur elsewhere, too."""
    return "".join(chance.choice(LETTERS) for _ in range(chance.randrange(most)))


def number(chance: Chance) -> int:
    """Return an integer, often a small one, sometimes one of the ends."""
    ends = (-(2**31), 2**31 - 1, 0)
    return chance.choice([chance.randrange(-20, 20), chance.randrange(-(10**6), 10**6), chance.choice(ends)])


def decimal(chance: Chance) -> Decimal:
    """Return a numeric value."""
    special = ["NaN", "0.05", "-0.05", "1e30", "-1e30"]
    if chance.randrange(8) == 0:
        return Decimal(chance.choice(special))
    return Decimal(chance.randrange(-3000, 3000)) / Decimal(100)


def day(chance: Chance) -> date:
    """Return a date."""
    return date(2000, 1, 1) + timedelta(
        days=chance.choice([chance.randrange(60), chance.randrange(-400_000, 800_000)])
    )


def moment(chance: Chance) -> datetime:
    """Return a point in time."""
    return datetime(2024, 2, 29, tzinfo=UTC) + timedelta(microseconds=chance.randrange(-(10**12), 10**12))


def address(chance: Chance) -> str:
    """Return an address, or a network."""
    found = str(IPv4Address("10.0.0.0") + chance.randrange(2**12))
    return chance.choice([found, found + f"/{chance.randrange(8, 33)}", f"2001:db8::{chance.randrange(99):x}"])


def document(chance: Chance, depth: int = 3) -> object:
    """Return a JSON value."""
    if depth == 0 or chance.randrange(3) == 0:
        return chance.choice([None, True, False, 0, 1, 1.0, 1.5, -1, "", "a", "b", "1", "é"])
    if chance.randrange(2):
        return [document(chance, depth - 1) for _ in range(chance.randrange(4))]
    return {chance.choice("abc1"): document(chance, depth - 1) for _ in range(chance.randrange(4))}


MAKERS: dict[str, Callable[[Chance], object]] = {
    "t": text,
    "i": number,
    "n": decimal,
    "d": day,
    "z": moment,
    "ip": address,
    "j": lambda chance: Jsonb(document(chance)),
}


def row(chance: Chance) -> list[object]:
    """Return a row without its key; each value can be NULL."""
    return [None if chance.randrange(10) == 0 else make(chance) for make in MAKERS.values()]


def pattern(chance: Chance) -> str:
    """Return a pattern of LIKE that does not end in the middle of an escape."""
    found = "".join(chance.choice([*LETTERS, "%", "%", "_"]) for _ in range(chance.randrange(7)))
    found = chance.choice([found, f"%{found}%", f"{found}%", f"%{found}"])
    return found + "\\" if (len(found) - len(found.rstrip("\\"))) % 2 else found


def search(name: str, column: str, *more: sql.Composable) -> sql.Composable:
    """Return a condition that a person would write."""
    return sql.SQL("{}('secret', {}, {}, {}, {})").format(
        sql.Identifier(name),
        column,
        sql.Identifier(f"{column}_terms"),
        sql.Identifier(column),
        sql.SQL(", ").join(more),
    )


def bounds(chance: Chance, column: str) -> sql.Composable:
    """Return a range of a column's type, bounded or not, with its ends or without."""
    ranges = {"i": "int4range", "n": "numrange", "d": "daterange", "z": "tstzrange"}
    low, high = (MAKERS[column](chance) for _ in range(2))
    if column == "n":
        low, high = (Decimal(0) if isinstance(end, Decimal) and end.is_nan() else end for end in (low, high))
    low, high = sorted((low, high))  # type: ignore[type-var]
    kind = chance.choice(["[]", "()", "[)", "(]"])
    ends = [None if chance.randrange(6) == 0 else end for end in (low, high)]
    if column == "i":
        # The canonical form of such a range would need a number that is none.
        ends = [None if end == 2**31 - 1 else end for end in ends]
    elements = sql.SQL(", ").join(
        sql.SQL("CAST({} AS {})").format(sql.Literal(end), sql.SQL(COLUMNS[column])) for end in ends
    )
    return sql.SQL("{}({}, {})").format(sql.SQL(ranges[column]), elements, sql.Literal(kind))


def condition(chance: Chance, columns: list[str]) -> Condition:
    """Return a random condition about one of some columns in both forms."""
    column = chance.choice(columns)
    name = sql.Identifier(column)
    if column == "t":
        kind = chance.choice(["like", "ilike", "prefix", "suffix", "contains", "similar"])
        part = pattern(chance) if kind.endswith("like") else text(chance, 5)
        plain = {
            "like": "{} LIKE {}",
            "ilike": "{} ILIKE {}",
            "prefix": "left({0}, length({1})) = {1}",
            "suffix": "right({0}, length({1})) = {1}",
            "contains": "strpos({}, {}) > 0",
            "similar": "text_similarity({}, {}) >= 0.3",
        }[kind]
        if part == "" and kind in ("prefix", "suffix"):
            plain = "{} IS NOT NULL AND {} = ''"
        literal = sql.Literal(part)
        return search(f"search_{kind}", column, literal), sql.SQL(plain).format(name, literal)
    if column == "ip":
        network = sql.SQL("{}::inet").format(sql.Literal(address(chance)))
        return search("search_network", column, network), sql.SQL("{} <<= {}").format(name, network)
    if column == "j":
        return json_condition(chance, name)
    given = bounds(chance, column)
    # From 17 on, PostgreSQL takes NULL to be within a constant range without bounds.
    within = sql.SQL("{0} IS NOT NULL AND {0} <@ {1}").format(name, given)
    return search("search_within", column, given), within


def json_condition(chance: Chance, name: sql.Composable) -> Condition:
    """Return a random condition about JSON in both forms."""
    kind = chance.choice(["contains", "key", "path"])
    if kind == "key":
        key = sql.Literal(chance.choice(["a", "b", "c", "1", "x", ""]))
        return search("search_json_key", "j", key), sql.SQL("{} ? {}").format(name, key)
    part = sql.Literal(Jsonb(document(chance, 2)))
    if kind == "contains":
        return search("search_json", "j", part), sql.SQL("{} @> {}").format(name, part)
    steps = [chance.choice(["a", "b", "c", "0", "1", "-1"]) for _ in range(chance.randrange(3))]
    path = sql.Literal(steps) + sql.SQL("::text[]")
    return search("search_json_path", "j", path, part), sql.SQL("{} #> {} = {}").format(name, path, part)


class Pair:
    """The two tables, and the conditions that were asked of both."""

    def __init__(self, connection: Connection, record: Callable[[str, object], None]) -> None:
        self.connection = connection
        self._record = record
        self.chance = random.Random(SEED)  # noqa: S311
        self.searched = [*"ttttindzjjj", "ip"]
        self.compared = 0
        self.found = 0

    def make(self, count: int) -> None:
        """Make both tables, with some rows."""
        for name in ("plain", "secret"):
            rows(self.connection, TABLE.format(name))
        self.insert("secret", range(1, count + 1))

    def both(self, statement: str) -> None:
        """Run a statement on both tables, which an ``@`` stands for."""
        for name in ("plain", "secret"):
            rows(self.connection, statement.replace("@", name))

    def insert(self, target: str, numbers: range) -> None:
        """Insert rows; into the encrypted table by one of its names."""
        places = ", ".join(["%s"] * (1 + len(COLUMNS)))
        names = ", ".join(["id", *COLUMNS])
        for key in numbers:
            made = [key, *row(self.chance)]
            for name in ("plain", target):
                self.connection.execute(f"INSERT INTO {name} ({names}) VALUES ({places})".encode(), made)

    def encrypt(self, columns: Iterable[str] = COLUMNS) -> None:
        """Encrypt columns, and give them their indexes."""
        for name in columns:
            rows(self.connection, f"SELECT encrypt_column('secret', '{name}')")

    def index(self, columns: Iterable[str] = COLUMNS) -> None:
        """Give columns their indexes."""
        for name in columns:
            rows(self.connection, f"SELECT add_blind_index({arguments(name)})")

    def report(self) -> None:
        """Let the summary of the tests say how many conditions were compared."""
        text = f"{self.compared} conditions compared, which {self.found} rows matched"
        self._record("summary", text)

    def compare(self, count: int) -> None:
        """Ask random conditions of both tables."""
        for _ in range(count):
            mine, plain = condition(self.chance, self.searched)
            query = sql.SQL("SELECT coalesce(array_agg(id ORDER BY id), '{{}}') FROM {} WHERE {}")
            expected = self.connection.execute(query.format(sql.Identifier("plain"), plain)).fetchall()
            found = self.connection.execute(query.format(sql.Identifier("secret"), mine)).fetchall()
            assert found == expected, plain.as_string(self.connection)
            self.compared += 1
            self.found += len(found[0][0])


def arguments(column: str) -> str:
    """Return the arguments with which a column gets its index."""
    options = f", options => '{OPTIONS[column]}'" if column in OPTIONS else ""
    normalize = ", \"normalize\" => 'casefold'" if column == "t" else ""
    return f"'secret', '{column}'{normalize}, kind => '{KINDS[column]}', force => true{options}"


@pytest.fixture
def pair(admin: Connection, record_property: Callable[[str, object], None]) -> Pair:
    """Two tables that are yet to be made."""
    return Pair(admin, record_property)


def test_exact_after_each_kind_of_write(pair: Pair) -> None:
    pair.make(100)
    pair.encrypt()
    # The rows that are there are plaintext still.
    pair.index()
    pair.compare(80)
    pair.both("UPDATE @ SET t = t WHERE id % 2 = 0")
    rows(pair.connection, "CALL migrate_columns('secret')")
    pair.compare(80)
    pair.insert("secret_encrypted", range(201, 240))
    pair.both(
        "UPDATE @ SET t = 'banana' || t, i = i / 2, n = -n, d = d - 1, j = jsonb_build_array(j) WHERE id % 3 = 0"
    )
    pair.compare(80)
    pair.both("UPDATE @ SET id = id + 1000, t = NULL, j = '{\"a\": 1}' WHERE id % 7 = 0")
    pair.both("DELETE FROM @ WHERE id % 11 = 0")
    names = ", ".join(["id", *COLUMNS])
    rows(pair.connection, f"CREATE TABLE spare AS SELECT {names} FROM plain WHERE id < 40")
    for name in ("plain", "secret"):
        with pair.connection.cursor() as cursor:
            with cursor.copy("COPY spare TO STDOUT") as source:
                data = b"".join(source)
            rows(pair.connection, f"DELETE FROM {name} WHERE id < 40")
            with cursor.copy(f"COPY {name} ({names}) FROM STDIN".encode()) as copy:
                copy.write(data)
    pair.compare(80)
    rows(
        pair.connection,
        'SELECT upsert(\'secret\', jsonb_agg(to_jsonb(s) || \'{"t": "Nabanan", "i": 5}\')) FROM spare AS s',
    )
    # In a JSON object, the NULL of SQL and that of JSON are the same.
    rows(
        pair.connection,
        "UPDATE plain SET t = 'Nabanan', i = 5, j = nullif(j, 'null') WHERE id IN (SELECT id FROM spare)",
    )
    rows(pair.connection, "UPDATE secret_encrypted SET d = '2001-01-01', j = '[1, \"a\"]' WHERE id % 5 = 0")
    rows(pair.connection, "UPDATE plain SET d = '2001-01-01', j = '[1, \"a\"]' WHERE id % 5 = 0")
    pair.compare(80)
    for name in COLUMNS:
        assert rows(pair.connection, f"SELECT * FROM verify_column('secret', '{name}')") == []
    pair.report()


class Middle:
    """Holds procedures after they have begun, and before they have written a row.

    In each of its transactions, a procedure first takes a lock of its columns, see ``Registry.lock_column``. The
    lock goes to those who wait for it in their order.
    """

    def __init__(self, database: Database, watcher: Connection) -> None:
        self._database = database
        self._watcher = watcher

    @contextlib.contextmanager
    def of(self, call: str, column: str) -> Iterator[None]:
        """Run a procedure whose first column is given; it has begun when the block runs, and ends after that."""
        number = value(self._watcher, f"SELECT id FROM encrypted_column WHERE column_name = '{column}'")
        rows(self._watcher, f"INSERT INTO column_turn VALUES ({number}) ON CONFLICT DO NOTHING")
        lock = f"SELECT FROM column_turn WHERE column_id = {number} FOR UPDATE"
        begun = f"SELECT count(*) FROM column_progress WHERE column_name = '{column}'"
        with self._database.session() as first, self._database.session() as second:
            holder, other = first, second
            rows(holder, f"BEGIN; {lock}")
            procedure = Procedure(self._database, call)  # type: ignore[arg-type]
            self._wait_for(1)
            while not value(self._watcher, begun):
                # The procedure has the lock for one transaction.
                waiter = threading.Thread(target=rows, args=(other, f"BEGIN; {lock}"))
                waiter.start()
                self._wait_for(2)
                rows(holder, "COMMIT")
                waiter.join(60)
                holder, other = other, holder
                self._wait_for(1)
                assert procedure.is_alive(), procedure.error
            yield
            rows(holder, "COMMIT")
        procedure.finish()

    def _wait_for(self, count: int) -> None:
        query = "SELECT count(*) FROM pg_locks WHERE locktype IN ('tuple', 'transactionid') AND NOT granted"
        wait_until(lambda: value(self._watcher, query) == count, f"{count} sessions wait for the lock")


def test_exact_in_the_middle_of_each_procedure(pair: Pair, database: Database) -> None:
    pair.make(100)
    pair.encrypt()
    pair.index(("t", "d", "i"))
    middle = Middle(database, pair.connection)
    names = "{" + ",".join(COLUMNS) + "}"
    pair.searched = ["t", "t", "d", "i"]
    some = (
        "UPDATE @ SET t = t || 'i', d = d + 1, i = i / 3, n = n + 1, z = z - '1 day'::interval, ip = ip + 1,"
        " j = jsonb_build_array(j) WHERE id % 3 = 0"
    )
    for operation in ("migrate", "rotate"):
        with middle.of(f"{operation}_columns('secret', '{names}')", "t"):
            pair.both(some)
            pair.compare(80)
        pair.compare(20)
    for column in ("n", "z", "ip", "j"):
        with middle.of(f"build_blind_index({arguments(column)})", column):
            pair.both(some)
            pair.compare(20)
            call = f"search_range_terms('secret', '{column}', NULL, NULL)"
            if column == "j":
                call = "search_json_terms('secret', 'j', '{}')"
            with pytest.raises(errors.ObjectNotInPrerequisiteState, match="is being built"):
                rows(pair.connection, f"SELECT {call}")
            filled = f"SELECT DISTINCT {column}_terms IS NULL FROM secret_encrypted ORDER BY 1"
            assert rows(pair.connection, filled) == [(False,), (True,)]
        assert rows(pair.connection, f"SELECT * FROM verify_column('secret', '{column}')") == []
        for (statement,) in rows(pair.connection, f"SELECT blind_index_statements('secret', '{column}')"):
            rows(pair.connection, statement)
    pair.searched = [*COLUMNS]
    pair.compare(120)
    assert rows(pair.connection, "SELECT status FROM doctor() WHERE check_name = 'blind_indexes'") == [("ok",)]
    pair.report()
