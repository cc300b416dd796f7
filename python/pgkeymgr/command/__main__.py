"""Run the command as ``python -m pgkeymgr.command``, without an installation."""

from . import app

app(prog_name="pgkeymgr")
