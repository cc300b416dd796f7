"""Imports PyNaCl and cryptography, and refuses versions that pgkeymgr was not installed with.

A session's PL/Python functions share one interpreter. If one of them has imported another version of a library, an
``import`` here returns that version, which was not tested with this code.
"""

import importlib
import os
import sys
from types import ModuleType

from ..errors import LibraryError

DIRECTORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
"""The directory of this package. ``make install`` puts the libraries of the lock file into it."""

_DISTRIBUTIONS = {"nacl": "PyNaCl", "cryptography": "cryptography"}


def import_library(name: str) -> ModuleType:
    """Import a module of PyNaCl or of cryptography.

    Args:
        name: the module's full name.

    Returns:
        The module.

    Raises:
        LibraryError: the module is missing, or the session has imported another version of it before.
    """
    package = name.partition(".")[0]
    try:
        module = importlib.import_module(name)
    except Exception as error:
        # If the session has another version, the import fails in odd ways. The version is the cause to report.
        _check_version(package)
        raise LibraryError(
            f"could not import {name}: {type(error).__name__}",
            hint=f"Install pgkeymgr's Python package into {DIRECTORY} again, with make install.",
        ) from None
    _check_version(package)
    return module


def _check_version(package: str) -> None:
    loaded = sys.modules.get(package)
    path = getattr(loaded, "__file__", None)
    if path is None or path.startswith(DIRECTORY + os.sep):
        return
    from importlib import metadata  # This module is slow to import, and hardly ever needed.

    found = getattr(loaded, "__version__", "unknown")
    try:
        wanted = metadata.version(_DISTRIBUTIONS[package])
    except metadata.PackageNotFoundError:
        wanted = "its own"
    if found != wanted:
        raise LibraryError(
            f"this session has imported {package} {found} from {os.path.dirname(path)}, and pgkeymgr "
            f"needs version {wanted}",
            hint="Another PL/Python function imported it first. Reconnect, and call a function of "
            "pgkeymgr before that one.",
        )
