"""Counts the columns of public schemas that encrypt_column() accepts, and the reasons of those that it refuses.

    build/venv-cp311/bin/python test/acceptance/acceptance.py --directory DIRECTORY

The schemas belong to others and are not part of this repository. Their files, at the addresses below, have to be
in the directory, as NAME.sql, and their hashes are compared. An ordinary column is one of a table that belongs to
neither its primary key nor a foreign key, at either end. Partitions are not counted, since their columns are those
of the partitioned table; a column that is a foreign key in one of them is no ordinary one.

Each column is encrypted by itself, in a transaction that is rolled back; and then all of them in one database, one
after the other, with every view and function read afterwards.
"""

import argparse
import hashlib
import re
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import psycopg
from cluster import Cluster

GITHUB = "https://raw.githubusercontent.com"


class Source(NamedTuple):
    """A file that makes a schema.

    Attributes:
        address: where the file is.
        sha256: its hash.
    """

    address: str
    sha256: str


SOURCES = {
    "pagila": Source(
        f"{GITHUB}/devrimgunduz/pagila/23f7fe7a1e9f5772f85fc14f530583ffa258c6d2/pagila-schema.sql",
        "18de72ae8669a0099b47be6d54b60ca5334114f38db65bf21ae82b0fc752d1ad",
    ),
    "northwind": Source(
        f"{GITHUB}/pthom/northwind_psql/cd0ef28d66369fbe177778e604e4be0f153c9e5c/northwind.sql",
        "0ee30c01ba282f7194f38bf7f99cd6be0470b7ee5f67d0f7ca41fb058d735e0c",
    ),
    "chinook": Source(
        f"{GITHUB}/lerocha/chinook-database/7f67772503d71ba90f19283c38e93923addb43fa/ChinookDatabase/DataSources/"
        "Chinook_PostgreSql.sql",
        "e3fde5c1a5b51a2a91429a702c9ca6e69ba56e6c7f5e112724d70c3d03db695e",
    ),
}

ORDINARY = """
    SELECT c.oid::regclass::text, a.attname::text FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        AND a.attnum > 0 AND NOT a.attisdropped AND NOT EXISTS (
            SELECT FROM pg_constraint AS k, pg_attribute AS ka
            WHERE ka.attname = a.attname AND (
                k.contype IN ('p', 'f') AND ka.attrelid = k.conrelid AND ka.attnum = ANY (k.conkey)
                    AND (k.conrelid = c.oid OR k.conrelid IN (SELECT relid FROM pg_partition_tree(c.oid)))
                OR k.contype = 'f' AND ka.attrelid = k.confrelid AND ka.attnum = ANY (k.confkey) AND k.confrelid
                = c.oid))
    ORDER BY 1, a.attnum
"""
PHRASES = {
    "index": r"^index .* would index it",
    "partitioned table": "partitioned",
    "trigger function mentions it": "function .* mentions the column",
    "trigger argument mentions it": "argument of trigger",
    "generated column": "generated",
    "unique index that no blind index stands for": r"^(index|constraint) ",
}


def read(name: str, directory: Path) -> str:
    """Return the text of a schema's file."""
    source, path = SOURCES[name], directory / f"{name}.sql"
    content = path.read_bytes() if path.exists() else b""
    if hashlib.sha256(content).hexdigest() != source.sha256:
        raise SystemExit(f"{path} has to be the file of {source.address}")
    return content.decode()


def statements(text: str) -> list[str]:
    """Return the statements of a file, without those for psql and for whole databases.

    Args:
        text: the file's; a line that ends in a semicolon outside of a function's body ends a statement.
    """
    found, lines, quote = [], [], None
    for line in text.splitlines():
        if quote is None and re.match(r"\s*(\\|--|DROP DATABASE|CREATE DATABASE)", line):
            continue
        lines.append(line)
        for tag in re.findall(r"\$\w*\$", line):
            quote = None if tag == quote else quote or tag
        if quote is None and line.rstrip().endswith(";"):
            found.append("\n".join(lines))
            lines = []
    return found


def load(connection: psycopg.Connection, text: str) -> None:
    """Run the statements of a schema."""
    for statement in statements(text):
        connection.execute(statement.encode())
    connection.execute("SET search_path = public, pgkeymgr")


def reasons_of(error: psycopg.Error) -> list[str]:
    """Return the reasons of a refusal in short."""
    message = (error.diag.message_primary or "").removeprefix("pgkeymgr: ")
    found = []
    for reason in message.split(": ", 1)[-1].split("; "):
        short = next((phrase for phrase, pattern in PHRASES.items() if re.search(pattern, reason)), None)
        if short or not reason.startswith("add_blind_index"):
            found.append(short or f"other: {reason}")
    return sorted(set(found)) or [message]


def attempt(connection: psycopg.Connection, table: str, column: str, *, drop_indexes: bool) -> list[str]:
    """Encrypt a column; return the reasons of a refusal, or none."""
    try:
        connection.execute(
            "SELECT encrypt_column(%s::regclass, %s, drop_indexes => %s)", (table, column, drop_indexes)
        )
    except psycopg.Error as error:
        if error.sqlstate != "0A000":
            raise
        return reasons_of(error)
    return []


def alone(connection: psycopg.Connection, columns: list[tuple[str, str]], *, drop_indexes: bool) -> Counter[str]:
    """Encrypt each column by itself; return how often each reason for a refusal was given; "" is none."""
    found: Counter[str] = Counter()
    for table, column in columns:
        with connection.transaction(force_rollback=True):
            reasons = []
            try:
                with connection.transaction():
                    reasons = attempt(connection, table, column, drop_indexes=drop_indexes)
                    if reasons:
                        raise psycopg.Rollback
            except psycopg.errors.InFailedSqlTransaction:
                pass
        found[" and ".join(reasons)] += 1
    return found


def together(connection: psycopg.Connection, columns: list[tuple[str, str]]) -> tuple[int, int]:
    """Encrypt and migrate all columns, one after the other, and read all views.

    Args:
        connection: to a database with the schema.
        columns: their tables and names.

    Returns:
        How many columns were accepted, and how many views were read.
    """
    accepted = 0
    for table, column in columns:
        if not attempt(connection, table, column, drop_indexes=True):
            connection.execute("CALL migrate_column(%s::regclass, %s)", (table, column))
            accepted += 1
    views = connection.execute(
        "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN"
        " ('v', 'm')"
        " AND relispopulated"
    ).fetchall()
    for (view,) in views:
        connection.execute(f"SELECT count(*) FROM (SELECT * FROM {view} OFFSET 0) AS all_of_it".encode())
    return accepted, len(views)


def report(server: Cluster, name: str, directory: Path) -> float:
    """Print the figures of a schema; return the share of columns that are accepted."""
    server.create_database(name)
    with server.connect(name) as connection:
        load(connection, read(name, directory))
        columns: list[tuple[str, str]] = connection.execute(ORDINARY).fetchall()
        print(f"\n{name}: {len(columns)} ordinary columns")
        for drop_indexes in (False, True):
            found = alone(connection, columns, drop_indexes=drop_indexes)
            share = found[""] / len(columns)
            print(f"  drop_indexes => {str(drop_indexes).lower()}: {found.pop('')} accepted, {share:.1%}")
            for reason, number in found.most_common():
                print(f"    {number:4} refused: {reason}")
        accepted, views = together(connection, columns)
        print(f"  all in one database: {accepted} accepted and migrated, {views} views read")
    return share


def main() -> int:
    """Report on the schemas. The exit status is 0 if at least 90 % of the columns of each are accepted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, required=True, help="where the files are")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(SOURCES)}")
    options = parser.parse_args()
    with Cluster() as server:
        shares = [report(server, name, options.directory) for name in options.names or SOURCES]
    return 0 if min(shares) >= 0.9 else 1


if __name__ == "__main__":
    sys.exit(main())
