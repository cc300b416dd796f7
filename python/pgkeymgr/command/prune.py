"""``pgkeymgr prune``: schedule the destruction of superseded versions of keys that no column needs."""

from typing import Annotated

import typer

from .encrypt import PlanOnly, Yes
from .failure import problem_of, report_failures
from .interval import checked_interval
from .listing import end
from .output import Json, confirm, message, print_json, print_table
from .target import Dsn, OneDatabase, connects

EPILOG = "Exit status: 0, success; 1, failure; 2, wrong usage."

_CANDIDATES = """
    SELECT s.key_id AS id, s.name AS key, s.state::text AS state, s.created
    FROM {s}.superseded_data_keys(%s::text) AS s
    -- The bytes of a key with a number can be derived, so it is not pruned.
    JOIN {s}.key_versions AS v ON v.id = s.key_id AND v.derivation_id IS NULL
    WHERE pg_catalog.cardinality(s.needed_by) = 0 AND s.destroy_after IS NULL AND s.state <> 'destroyed'
        AND s.name IS NOT NULL
    ORDER BY s.name, s.key_id
"""


@connects
def prune(
    key: Annotated[
        str | None,
        typer.Argument(metavar="KEY", help="The name of the key.", show_default="every key"),
    ] = None,
    dsn: Dsn = "",
    database: OneDatabase = None,
    keep: Annotated[
        int,
        typer.Option("--keep", min=1, help="The number of newest versions to keep, including the current one."),
    ] = 1,
    after: Annotated[
        str,
        typer.Option(
            "--after",
            metavar="INTERVAL",
            callback=checked_interval,
            help="The time until the versions are destroyed.",
        ),
    ] = "30 days",
    plan: PlanOnly = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Destroy the superseded versions of keys that no column needs, after some time in which this can be canceled.

    They are disabled at once. Tokens that applications have stored themselves need them, and pgkeymgr does not
    know these: pgkeymgr keys cancel-destroy and pgkeymgr keys enable restore a version. A version that a
    transaction still writes with, or has locked, stays, and a notice says so.
    """
    import psycopg

    from .connection import open_database

    problems: dict[str, str] = {}

    with report_failures(), open_database(dsn, database) as opened:
        found = [dict(row) for row in opened.query(_CANDIDATES, key)]
        if not json:
            print_table("", ("id", "key", "state", "created"), [list(row.values()) for row in found])
        pruned: list[int] = []
        if found and not plan:
            confirm(
                f"Disable these versions, except the newest {keep} of a key, and destroy them in {after}?", yes
            )
            for name in dict.fromkeys(row["key"] for row in found):
                try:
                    rows = opened.query(
                        "SELECT id FROM {s}.prune_data_keys(%s::text, %s, %s::interval) AS id", name, keep, after
                    )
                except psycopg.Error as error:
                    if opened.connection.closed:
                        raise
                    # The other keys have their turn, and what was done so far is printed.
                    problems[name] = problem_of(error)
                else:
                    pruned += [row["id"] for row in rows]
    if json:
        print_json({"database": opened.name, "candidates": found, "pruned": pruned, "problems": problems})
    elif not found:
        message("Every superseded version is needed, or its destruction is scheduled already.")
    elif pruned or not (plan or problems):
        ids = ", ".join(map(str, sorted(pruned))) or "none"
        message(f"Versions that are disabled, and destroyed in {after}: {ids}.")
    end(problems)
