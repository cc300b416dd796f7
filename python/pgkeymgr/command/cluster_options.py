"""The options that name a cluster on this machine."""

from pathlib import Path
from typing import Annotated

import typer

DataDirectory = Annotated[
    Path | None, typer.Option(envvar="PGDATA", help="The cluster's data directory.", show_default=False)
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        help="The cluster's postgresql.conf.", show_default="in the data directory, or in Debian's only cluster"
    ),
]
