"""Run SQLAlchemy's own tests on plain tables and on encrypted ones, and compare.

    python test/adapters/sqlalchemy_suite.py [--reuse] [FILE…]

Without files, it runs those of its ORM that read and write most. The tests come from SQLAlchemy's sdist, in the
version that is installed. It ends with status 1 if less than 99 % of the tests that count pass.
"""

import argparse
import sys
from pathlib import Path

from cluster import Cluster

from adapters.django_suite import ROOT, run_suite, sources
from adapters.everything import compare

FILES = [
    *("test_mapper", "test_session", "test_unitofwork", "test_unitofworkv2", "test_query", "test_cascade"),
    *("test_transaction", "test_versioning", "test_relationships", "test_naturalpks", "test_defaults"),
    "dml/test_bulk_statements",
]


def main() -> int:
    """Run both, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reuse", action="store_true", help="compare with the plain results of last time")
    parser.add_argument("--results", type=Path, default=ROOT / "build", help="folder for results and logs")
    files = [f"test/orm/{name}.py" for name in FILES]
    parser.add_argument("files", nargs="*", default=files, metavar="FILE")
    arguments = parser.parse_args()
    folder = sources("sqlalchemy")
    results = {kind: arguments.results / f"sqlalchemy-{kind}.json" for kind in ("plain", "encrypted")}
    for kind, path in results.items():
        if kind == "plain" and arguments.reuse and path.exists():
            continue
        path.unlink(missing_ok=True)
        # A cluster each, since the suite leaves tables behind.
        with Cluster({"max_locks_per_transaction": "1024"}) as cluster:
            cluster.create_database("test")
            with cluster.connect("test") as connection:
                connection.execute("CREATE SCHEMA test_schema")
                connection.execute("CREATE SCHEMA test_schema_2")
                connection.execute("CREATE EXTENSION hstore")
                connection.execute("CREATE EXTENSION citext")
            driver = "pgkeymgr" if kind == "encrypted" else "psycopg"
            uri = f"postgresql+{driver}://postgres@/test?host={cluster.directory}&port={cluster.port}"
            command = [sys.executable, "-m", "pytest", "-p", "adapters.sqlalchemy_plugin", "-q", "--dburi", uri]
            command += ["-o", "addopts=", "-p", "no:cacheprovider", *arguments.files]
            if not run_suite(command, folder, cluster.client_environment("test"), kind, path):
                return 2
    return compare(results["plain"], results["encrypted"])


if __name__ == "__main__":
    sys.exit(main())
