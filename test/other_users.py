"""Python for processes that tests start as other users.

Those users may not be able to enter the folder that this checkout lies in: /root is closed to all others. So they
get the system's interpreter, not the virtual environment's, and the installed package, not the checkout's.
"""

import os
import sys
from pathlib import Path

from pgkeymgr import __version__

PREFIX = Path(os.environ.get("PREFIX", "/usr/local"))

PYTHON = str(Path(sys.executable).resolve())
"""The interpreter that the virtual environment is made of."""

_TREE = PREFIX / "lib" / "pgkeymgr" / __version__ / f"cp{sys.version_info.major}{sys.version_info.minor}"

ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{_TREE}:{_TREE}-command"}
"""The environment in which it finds the installed package, and what the command needs."""
