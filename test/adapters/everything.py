"""Encrypt every column that is accepted of every table, for the suites of others."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

Row = tuple[Any, ...]

_CANDIDATES = """
    SELECT a.attname::text, format('%%I.%%I', n.nspname, c.relname)
    FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid AND NOT c.relname = ANY (%s)
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND (%s::text IS NULL OR c.oid = %s::regclass)
        AND a.attnum > 0 AND NOT a.attisdropped
        AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pgkeymgr') AND n.nspname NOT LIKE 'pg_%%'
        AND NOT EXISTS (
            SELECT FROM pg_depend AS d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
        )
        AND NOT EXISTS (
            SELECT FROM pg_constraint AS k
            WHERE k.conrelid = c.oid AND k.contype IN ('p', 'f') AND a.attnum = ANY (k.conkey)
        )
        AND NOT EXISTS (SELECT FROM pgkeymgr.encrypted_columns AS e WHERE e.base_relation = c.oid)
    ORDER BY c.oid, a.attnum
"""

_INDEXES = """
    SELECT i.indexrelid::regclass::text
    FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indrelid = coalesce(
            (SELECT base_relation FROM pgkeymgr.encrypted_columns WHERE relation = %s::regclass LIMIT 1),
            %s::regclass
        )
        AND a.attname = %s AND i.indnatts = 1 AND NOT i.indisunique AND i.indpred IS NULL
"""

_IS_MIGRATING = """
    SELECT 1 FROM pgkeymgr.encrypted_columns
    WHERE relation = %s::regclass AND column_name = %s AND state = 'migrating'
"""


def encrypt_everything(connection: Any, but: list[str], table: str | None = None) -> Counter[str]:
    """Encrypt all columns, as the operation EncryptColumn of a migration does.

    Args:
        connection: a connection of psycopg. It is in autocommit mode if there are rows.
        but: names of tables that stay as they are.
        table: the only table to encrypt, or None for all.

    Returns:
        How many columns were accepted, accepted without their indexes, and refused, and how many tables there are.
    """
    import psycopg

    counts: Counter[str] = Counter()
    tables = set()
    for column, name in connection.execute(_CANDIDATES, [but, table, table]).fetchall():
        indexes = [row[0] for row in connection.execute(_INDEXES, [name, name, column]).fetchall()]
        try:
            with connection.transaction():
                for index in indexes:
                    connection.execute(f"DROP INDEX {index}")
                connection.execute("SELECT pgkeymgr.encrypt_column(%s, %s)", [name, column])
        except psycopg.Error as error:
            counts[f"refused: {str(error).partition(chr(10))[0][:120]}"] += 1
            counts["refused"] += 1
            continue
        if connection.execute(_IS_MIGRATING, [name, column]).fetchall():
            connection.execute("CALL pgkeymgr.migrate_column(%s, %s)", [name, column])
        counts["accepted without indexes" if indexes else "accepted"] += 1
        tables.add(name)
    counts["tables"] = len(tables)
    return counts


class Record:
    """The outcome of each test, and whether it ran a statement on an encrypted table.

    Attributes:
        names: the names of encrypted tables, for each database.
        current: the test that runs, or None.
    """

    def __init__(self) -> None:
        self.names: dict[str, frozenset[str]] = {}
        self.current: str | None = None
        self.outcomes: dict[str, list[str]] = {}
        self.touched: set[str] = set()
        self.counts: Counter[str] = Counter()

    def statement(self, database: str, text: str, parameters: Any = None) -> None:
        """Keep that a statement ran, if it is about an encrypted table: by its text, or by a parameter."""
        if self.current is None or self.current in self.touched:
            return
        # Names are quoted, or stand among other characters.
        words = set(text.replace('"', " ").replace("(", " ").replace(".", " ").replace(",", " ").split())
        if isinstance(parameters, list | tuple):
            words |= {each for each in parameters if isinstance(each, str)}
        if words & self.names.get(database, frozenset()):
            self.touched.add(self.current)

    def outcome(self, test: str, outcome: str, detail: str = "") -> None:
        """Keep an outcome: the first of a test counts, except that a failure counts more than a success."""
        kept = self.outcomes.get(test)
        if kept is None or kept[0] == "ok":
            self.outcomes[test] = [outcome, detail]

    def write(self, path: Path) -> None:
        """Write it all."""
        path.write_text(
            json.dumps(
                {"outcomes": self.outcomes, "touched": sorted(self.touched), "counts": dict(self.counts)}, indent=1
            )
        )


def compare(plain: Path, encrypted: Path) -> int:
    """Print what differs, test by test, and return 1 if less than 99 % of the tests that count pass.

    A test counts if it passes on plain tables, and ran a statement on an encrypted one. A test that did not run
    because the set-up of its class failed counts, too.
    """
    before, after = (json.loads(path.read_text()) for path in (plain, encrypted))
    touched = set(after["touched"])
    passed = [test for test, (outcome, _) in before["outcomes"].items() if outcome == "ok"]
    missing = {test for test in passed if test not in after["outcomes"]}
    counted = [test for test in passed if test in touched or test in missing]
    differ = [test for test in passed if after["outcomes"].get(test, ["missing"])[0] != "ok"]
    for test in differ:
        outcome, detail = after["outcomes"].get(test, ["missing", ""])
        print(f"DIFFERS{'' if test in counted else ' (no encrypted table)'} {test}: {outcome}: {detail[-400:]}")
    differ_counted = sum(test in counted for test in differ)
    print(json.dumps(after["counts"], indent=1))
    print(
        f"{len(before['outcomes'])} tests, {len(passed)} pass on plain tables, {len(counted)} of them ran a"
        f" statement on an encrypted table; {len(counted) - differ_counted} of these pass"
        f" ({100 * (len(counted) - differ_counted) / max(len(counted), 1):.2f} %), {differ_counted} differ;"
        f" {len(differ) - differ_counted} more differ without an encrypted table"
    )
    return int(differ_counted > len(counted) / 100)
