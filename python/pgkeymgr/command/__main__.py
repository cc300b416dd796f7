"""The command as ``python -m pgkeymgr.command``, where it is not installed."""

from . import app

app(prog_name="pgkeymgr")
