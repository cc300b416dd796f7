"""Run Django's own tests on plain tables and on encrypted ones, and compare.

    python test/adapters/django_suite.py [--reuse] [SUITE…]

Without suites, it runs those that differed most. The tests come from Django's sdist, in the version that is
installed. It ends with status 1 if less than 99 % of the tests that count pass.
"""

import argparse
import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

from cluster import Cluster

from adapters.everything import compare

ROOT = Path(__file__).resolve().parents[2]

SUITES = [
    "aggregation",
    "aggregation_regress",
    "annotations",
    "expressions_case",
    "postgres_tests",
    "inspectdb",
    "introspection",
    "constraints",
    "bulk_create",
    "get_or_create",
    "fixtures_regress",
    "backends",
    "transactions",
    "transaction_hooks",
    "schema",
]


def sources(package: str) -> Path:
    """Return the folder with the sources of an installed package, fetched if need be."""
    version = importlib.metadata.version(package)
    into = ROOT / "build" / "sdist"
    folder = into / f"{package}-{version}"
    if not folder.is_dir():
        into.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", package),
                *("--dest", str(into), f"{package}=={version}"),
            ],
            check=True,
        )
        shutil.unpack_archive(into / f"{package}-{version}.tar.gz", into)
    return folder


def run_suite(command: list[str], folder: Path, environment: dict[str, str], kind: str, path: Path) -> bool:
    """Run the tests of a library on one kind of tables.

    Args:
        command: the command of the tests.
        folder: the folder to run it in.
        environment: the environment of clients of the cluster.
        kind: ``plain`` or ``encrypted``.
        path: the file for the results; the log is beside it.

    Returns:
        Whether there are results. Otherwise, the end of the log is printed.
    """
    log_file = path.with_suffix(".log")
    own = {"PGK_SUITE": kind, "RESULTS": str(path), "PYTHONPATH": f"{ROOT / 'python'}:{ROOT / 'test'}"}
    with log_file.open("w") as log:
        subprocess.run(
            command, cwd=folder, env={**environment, **own}, check=False, stdout=log, stderr=subprocess.STDOUT
        )
    if not path.exists():
        print(log_file.read_text()[-3000:])
        return False
    return True


def main() -> int:
    """Run both, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reuse", action="store_true", help="compare with the plain results of last time")
    parser.add_argument("--results", type=Path, default=ROOT / "build", help="folder for results and logs")
    parser.add_argument("suites", nargs="*", default=SUITES, metavar="SUITE")
    arguments = parser.parse_args()
    tests = sources("django") / "tests"
    results = {kind: arguments.results / f"django-{kind}.json" for kind in ("plain", "encrypted")}
    with Cluster({"max_locks_per_transaction": "1024"}) as cluster:
        cluster.create_database("with_pgkeymgr")
        for kind, path in results.items():
            if kind == "plain" and arguments.reuse and path.exists():
                continue
            path.unlink(missing_ok=True)
            environment = cluster.client_environment()
            environment.pop("PGDATABASE")
            command = [sys.executable, "runtests.py", "--settings=adapters.django_settings", "--parallel=1"]
            if not run_suite([*command, "--noinput", *arguments.suites], tests, environment, kind, path):
                return 2
    return compare(results["plain"], results["encrypted"])


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    sys.exit(main())
