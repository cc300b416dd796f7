"""Checks the sequences of ids, and the part of this database among those that share keys."""

from collections.abc import Iterator
from functools import partial

from ..key.ids import KEYS, TABLES, Lattice, behind
from ..key.nodes import read_status
from .finding import NOTICE, OK, WARNING, Context, Finding, join_names

_SHARED = ("key", "key_wrap", "key_grant", "user_key", "server_key", "root_key_fingerprint")


def check_nodes(context: Context) -> Iterator[Finding]:
    """Find sequences that are behind the ids of their tables, and key tables that no subscription brings."""
    database = context.database
    status = database.as_owner(lambda: read_status(database))
    if status.lattice is not None or status.maker is not None:
        number = "" if status.lattice is None else f"node {status.lattice.node} of {status.lattice.nodes}; "
        maker = "here" if status.maker is None else f"by {status.maker}"
        yield Finding(OK, "this node", f"{number}keys are made {maker}")
    if status.source is not None and not status.subscriptions:
        yield Finding(
            NOTICE,
            "this node",
            f"keys are made by {status.maker}, and no subscription of this database brings them",
            "Create the subscription. If this node is to make keys from now on, SELECT make_keys_here();",
        )
    if status.subscriptions:
        yield from _missing_tables(context)
    for table in TABLES:
        if table == KEYS and status.maker is not None:
            continue  # The sequence is set forward when this node begins to make keys.
        lattice = (status.lattice or Lattice()) if table == KEYS else Lattice()
        for last, greatest in database.as_owner(partial(behind, database, table, lattice)):
            yield Finding(
                WARNING,
                f"{table}_id_seq",
                f"the sequence is at {last}, and {table} has the id {greatest}, which came from another database",
                "The next row sets it forward, and so does make_keys_here(). Set your own sequences, too.",
            )


def _missing_tables(context: Context) -> Iterator[Finding]:
    rows = context.rows(
        """
        SELECT t.name
        FROM unnest($1) WITH ORDINALITY AS t (name, position)
        WHERE NOT EXISTS (
            SELECT FROM pg_subscription_rel AS r WHERE r.srrelid = ('{s}.' || t.name)::regclass
        )
        ORDER BY t.position
        """,
        ("text[]", list(_SHARED)),
    )
    if rows:
        yield Finding(
            WARNING,
            "this node",
            f"a subscription brings the table key, but not {join_names([row['name'] for row in rows])}",
            "Add the tables to the publication of the node that makes the keys, and run "
            "ALTER SUBSCRIPTION ... REFRESH PUBLICATION here.",
        )
