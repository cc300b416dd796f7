"""Checks the intervals that options take."""

import re

import typer


def checked_interval(text: str | None) -> str | None:
    """Return an interval as it is. PostgreSQL checks the rest of its form.

    Args:
        text: the text of an interval, or None.

    Raises:
        typer.BadParameter: the text is a number without a unit. SQL would read 30 as 30 seconds, where a user who
            writes it means days.
    """
    if text is not None and re.fullmatch(r"\s*[-+]?[0-9.]*\s*", text):
        raise typer.BadParameter("write the unit of the interval, as in '30 days'")
    return text
