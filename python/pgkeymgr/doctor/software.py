"""Checks the versions of the Python libraries and of the extension."""

import os
import re
from collections.abc import Iterator
from importlib import import_module, metadata

from .. import __version__
from ..crypto.libraries import DIRECTORY
from ..crypto.signcrypt import has_libsodium
from .finding import ERROR, NOTICE, OK, WARNING, Context, Finding

LOCK_FILE = os.path.join(DIRECTORY, "pgkeymgr", "requirements.txt")
"""The copy of requirements/runtime.txt that make install puts beside this package."""

_PINNED = re.compile(r"^([\w.-]+)==([^\s;\\]+)", re.MULTILINE)
_MODULES = {"pynacl": "nacl", "cryptography": "cryptography"}
_AGAIN = "Run make install again, and reconnect."


def check_libraries(context: Context) -> Iterator[Finding]:
    """Compare the installed libraries, and the libraries that this session has loaded, with the lock file."""
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
                (f"version {found} is installed in {DIRECTORY}" if found else f"not installed in {DIRECTORY}")
                + f", but pgkeymgr was tested with version {wanted}",
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
                    f"version {version} was loaded from {path} instead of version {wanted} from {DIRECTORY}",
                    "Another PL/Python function of this session has imported the module first. Reconnect, and "
                    "call a function of pgkeymgr before that function.",
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
            f"the extension has version {row['version']}, but the Python package has version {__version__}",
            "ALTER EXTENSION pgkeymgr UPDATE;",
        )
    elif row["newest"] not in (None, row["version"]):
        yield Finding(
            NOTICE,
            "extension pgkeymgr",
            f"version {row['newest']} is installed on this machine, but this database has version "
            f"{row['version']}",
            "ALTER EXTENSION pgkeymgr UPDATE;",
        )
    if not has_libsodium():
        yield Finding(
            NOTICE,
            "libsodium",
            "libsodium 1.0.18 or newer is not installed: only signcryption does not work",
            "For signcryption, install the libsodium runtime package (libsodium23 on Debian 12 and 13).",
        )
    yield Finding(OK, None, ", ".join(f"{name} {version}" for name, version in loaded.items()))
