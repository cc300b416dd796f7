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
    yield from _find_other_versions(context)
    if not has_libsodium():
        yield Finding(
            NOTICE,
            "libsodium",
            "libsodium 1.0.18 or newer is not installed: only signcryption does not work",
            "For signcryption, install the libsodium runtime package (libsodium23 on Debian 12 and 13).",
        )
    yield Finding(OK, None, ", ".join(f"{name} {version}" for name, version in loaded.items()))


def _find_other_versions(context: Context) -> Iterator[Finding]:
    """Compare the version of the extension with those of the Python package and of the files on this machine."""
    (row,) = context.rows(
        """
        SELECT e.extversion AS version, a.default_version AS newest
        FROM pg_extension AS e
        LEFT JOIN pg_available_extensions AS a ON a.name = e.extname
        WHERE e.extname = 'pgkeymgr'
        """
    )
    if row["version"] != __version__:
        yield Finding(
            ERROR,
            "extension pgkeymgr",
            f"the extension has version {row['version']}, but the Python package has version {__version__}",
            "Run pgkeymgr upgrade.",
        )
    elif row["newest"] not in (None, row["version"]):
        yield Finding(
            NOTICE,
            "extension pgkeymgr",
            f"version {row['newest']} is installed on this machine, but this database has version "
            f"{row['version']}",
            "Run pgkeymgr upgrade.",
        )


def check_encoding(context: Context) -> Iterator[Finding]:
    """Look at the encoding of the database: PL/Python takes each text of PostgreSQL's errors for UTF-8.

    If it is none, PL/Python raises an error of its own past the frames of the interpreter, and the next query of
    the session crashes the server.
    """
    (row,) = context.rows("SELECT getdatabaseencoding()::text AS encoding")
    encoding = row["encoding"]
    if encoding == "UTF8":
        yield Finding(OK, None, encoding)
        return
    yield Finding(
        ERROR,
        encoding,
        "PL/Python crashes the server after an error whose message is not in ASCII, for instance one with a value",
        "Use a database with the encoding UTF8. Until then, SET lc_messages = 'C', and let only trusted roles "
        "call functions of pgkeymgr.",
    )
