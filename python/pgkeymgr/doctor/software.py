"""Whether the Python libraries are those that pgkeymgr was tested with, and the SQL is of the same version."""

import os
import re
from collections.abc import Iterator
from importlib import import_module, metadata

from .. import __version__
from ..crypto.libraries import DIRECTORY
from ..crypto.signcrypt import has_libsodium
from .finding import ERROR, NOTICE, OK, WARNING, Context, Finding

LOCK_FILE = os.path.join(DIRECTORY, "pgkeymgr", "requirements.txt")
"""requirements/runtime.txt, as make install puts it beside this package."""

_PINNED = re.compile(r"^([\w.-]+)==([^\s;\\]+)", re.MULTILINE)
_MODULES = {"pynacl": "nacl", "cryptography": "cryptography"}
_AGAIN = "Run make install again, and reconnect."


def check_libraries(context: Context) -> Iterator[Finding]:
    """Compare what is installed, and what this session has loaded, with the lock file."""
    with open(LOCK_FILE) as file:
        pinned = dict(_PINNED.findall(file.read()))
    installed = {
        distribution.metadata["Name"].lower(): distribution.version
        for distribution in metadata.distributions(path=[DIRECTORY])
    }
    loaded = {}
    for name, wanted in pinned.items():
        found = installed.get(name.lower())
        if found != wanted:
            yield Finding(
                ERROR if name in _MODULES else WARNING,
                name,
                f"version {wanted} is what pgkeymgr was tested with, and "
                + (f"{found} is installed in {DIRECTORY}" if found else f"it is not installed in {DIRECTORY}"),
                _AGAIN,
            )
        if name in _MODULES:
            module = import_module(_MODULES[name])
            path = os.path.dirname(getattr(module, "__file__", None) or "")
            loaded[name] = version = getattr(module, "__version__", "unknown")
            if version != wanted or not path.startswith(DIRECTORY + os.sep):
                yield Finding(
                    ERROR if version != wanted else WARNING,
                    f"{_MODULES[name]} in this session",
                    f"version {version} was loaded from {path}, and not {wanted} from {DIRECTORY}",
                    "Another PL/Python function of this session imported it first. Reconnect, and call a function "
                    "of pgkeymgr before that one.",
                )
    (row,) = context.rows(
        "SELECT e.extversion AS version, a.default_version AS newest FROM pg_catalog.pg_extension AS e"
        " LEFT JOIN pg_catalog.pg_available_extensions AS a ON a.name OPERATOR(pg_catalog.=) e.extname"
        " WHERE e.extname OPERATOR(pg_catalog.=) 'pgkeymgr'"
    )
    if row["version"] != __version__:
        yield Finding(
            ERROR,
            "extension pgkeymgr",
            f"the extension is of version {row['version']}, the Python package of {__version__}",
            "ALTER EXTENSION pgkeymgr UPDATE;",
        )
    elif row["newest"] not in (None, row["version"]):
        yield Finding(
            NOTICE,
            "extension pgkeymgr",
            f"version {row['newest']} is installed on this machine, and this database has {row['version']}",
            "ALTER EXTENSION pgkeymgr UPDATE;",
        )
    if not has_libsodium():
        yield Finding(
            NOTICE,
            "libsodium",
            "there is no libsodium 1.0.18 or newer on this machine: signcryption does not work, all else does",
            "To use it, install libsodium; on Debian and Ubuntu, the package is libsodium and a number.",
        )
    yield Finding(OK, None, ", ".join(f"{name} {version}" for name, version in loaded.items()))
