"""Runs the command ``pgkeymgr`` of this checkout in this process, which is faster than a process of its own."""

import os
import subprocess
from collections.abc import Mapping

from pgkeymgr.command import app
from typer.testing import CliRunner


def invoke(*arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command without a terminal, as ``installed.run`` runs the installed one.

    Args:
        arguments: of the command.
        environment: more variables; those that begin with PG are no others.

    Returns:
        Its status and its output.
    """
    cleared: dict[str, str | None] = {name: None for name in os.environ if name.startswith("PG")}
    result = CliRunner().invoke(
        app,
        list(arguments),
        prog_name="pgkeymgr",
        env={**cleared, "NO_COLOR": "1", "COLUMNS": "300", **(environment or {})},
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return subprocess.CompletedProcess(list(arguments), result.exit_code, result.stdout, result.stderr)
