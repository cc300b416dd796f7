"""Measure what pgkeymgr costs, beside other ways of doing the same, on a throw-away cluster.

    make bench                      # all of it, at most 10 minutes
    make bench ARGS=--quick         # a rough idea, in 1 minute
    make bench ARGS="--minutes 90"  # with the tables of 1,000,000 rows that are searched
    make bench ARGS="--only columns --only tokens"

The ratios hold from one machine to another, the times do not. The terminal shows a table for each section;
figures.json, figures.png and figures.svg go into the output folder.
"""

import argparse
import sys
import time
from pathlib import Path

from cluster import Cluster, pg_config
from measure import Bench, Work
from section import clients, columns, keys, operations, parallel, primitives, search, sessions, sizes, tokens

# In the order in which they are measured; the longest one comes last, and is cut where the time runs out.
SECTIONS = {
    "primitives": primitives.measure,
    "tokens": tokens.measure,
    "columns": columns.measure,
    "sessions": sessions.measure,
    "parallel": parallel.measure,
    "clients": clients.measure,
    "sizes": sizes.measure,
    "keys": keys.measure,
    "operations": operations.measure,
    "search": search.measure,
}
# They use its tables.
_NEED_COLUMNS = {"sessions", "parallel", "clients", "operations"}

_MINUTES = 10
# For what comes after the last measurement, and for the statement that runs when the time is over.
_RESERVE_SECONDS = 30

_NOOP = """
CREATE FUNCTION public.noop(message {type}) RETURNS {type} LANGUAGE plpython3u PARALLEL SAFE AS 'return message'
"""


def _prepare(bench: Bench) -> None:
    bench.run("SET max_parallel_workers_per_gather = 0; SET jit = off")
    bench.run("CREATE EXTENSION pgcrypto")
    if bench.has_pgsodium:
        bench.run("CREATE EXTENSION pgsodium")
    for type_ in ("text", "bytea"):
        bench.run(_NOOP.format(type=type_))
    bench.run("SET search_path = public, pgkeymgr")


def _measure(
    is_quick: bool, wanted: list[str], deadline: float
) -> tuple[dict[str, list[Work]], dict[str, float], Bench]:
    works: dict[str, list[Work]] = {}
    taken: dict[str, float] = {}
    # Background work would fall into the turn of one of the ways.
    settings = {"autovacuum": "off", "max_wal_size": "8GB", "shared_buffers": "512MB", "max_parallel_workers": "8"}
    cluster = Cluster(settings)
    has_pgsodium = (pg_config("sharedir") / "extension" / "pgsodium.control").exists()
    if has_pgsodium:
        # Its functions with keys work only in a server that has loaded it, with a script for its root key.
        script = cluster.install_getkey(
            f"#!/bin/sh\necho {'5a' * 32}\n", path=cluster.directory / "pgsodium_getkey"
        )
        cluster.configure({"shared_preload_libraries": "pgsodium", "pgsodium.getkey_script": str(script)})
    with cluster:
        cluster.create_database("bench")
        with cluster.connect("bench") as connection:
            server_version = connection.info.parameter_status("server_version") or ""
            bench = Bench(cluster, connection, is_quick, deadline, has_pgsodium, server_version.split()[0])
            _prepare(bench)
            for name, measure in SECTIONS.items():
                if name not in wanted:
                    if name == "columns" and _NEED_COLUMNS & set(wanted):
                        columns.fill(bench)
                    continue
                if time.monotonic() > deadline:
                    bench.cut.append(f"{name}: left out")
                    continue
                started = time.monotonic()
                works[name] = measure(bench)
                taken[name] = time.monotonic() - started
    return works, taken, bench


def main() -> int:
    """Measure, show and write; return 0 unless it could not be done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a rough idea, in a minute")
    parser.add_argument("--only", action="append", choices=SECTIONS, metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--minutes", type=int, default=_MINUTES, help=f"the time at most; default: {_MINUTES}")
    parser.add_argument("--output", type=Path, default=Path("build/bench"), help="a folder; default: build/bench")
    options = parser.parse_args()
    started = time.monotonic()
    deadline = started + options.minutes * 60 - _RESERVE_SECONDS
    works, taken, bench = _measure(options.quick, options.only or list(SECTIONS), deadline)
    # Not before: what they take to be imported is not part of the first section.
    import chart
    import report

    figures = report.as_json(works, taken, bench, time.monotonic() - started)
    options.output.mkdir(parents=True, exist_ok=True)
    report.write(figures, options.output)
    chart.draw(figures, options.output)
    report.show(figures)
    print(f"{options.output}: figures.json, figures.png, figures.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
