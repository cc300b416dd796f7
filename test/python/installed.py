"""The installed command ``pgkeymgr``, run as a process of its own."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

PREFIX = Path(os.environ.get("PREFIX", "/usr/local"))
COMMAND = PREFIX / "bin" / "pgkeymgr"

ENVIRONMENT = {
    # Neither this checkout's Python, nor a cluster that somebody has set.
    **{name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PG"))},
    "PG_CONFIG": os.environ.get("PG_CONFIG", "pg_config"),
    "NO_COLOR": "1",
    "COLUMNS": "300",
}


def run(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run it without a terminal, to its end.

    Args:
        arguments: of the command.
        environment: more variables.

    Returns:
        Its status and its output.
    """
    return subprocess.run(
        ["setsid", "--wait", COMMAND, *arguments],
        env={**ENVIRONMENT, **(environment or {})},
        stdin=subprocess.DEVNULL,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
