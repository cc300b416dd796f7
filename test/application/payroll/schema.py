"""Make the payroll's tables, with a few rows: run as the owner, when the roles are there."""

from pathlib import Path

import psycopg

ROLES = ("app", "reader", "editor", "clerk", "intake", "nobody", "north", "south")
"""The roles that log in; all but the first in test_roles.py only."""


def main() -> None:
    """Run schema.sql where the environment says, as libpq does."""
    with psycopg.connect() as connection:
        connection.execute((Path(__file__).parent / "schema.sql").read_bytes())


if __name__ == "__main__":
    main()
