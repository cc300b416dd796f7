"""Calls third-party libraries, which may be missing, and whose errors and logs may have a secret in them."""

import importlib
import logging
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from ..documents import page
from ..errors import Error, ProviderError

T = TypeVar("T")


def call_safely(call: Callable[[], T], describe: Callable[[Exception], Error]) -> T:
    """Call a function, and replace an error of a library by an error of pgkeymgr.

    Args:
        call: the function.
        describe: makes pgkeymgr's error from the library's. It may use the parts that cannot hold a secret, such
            as the type.

    Returns:
        The result of the call.

    Raises:
        Error: pgkeymgr's error. It has no reference to the library's error.
    """
    try:
        return call()
    except Error:
        raise
    except Exception as error:
        failure = describe(error)
    # Inside the handler, the library's error would be the context of this error, even with "from None".
    raise failure


def import_extra(module: str, extra: str) -> Any:
    """Import a library that an extra of pgkeymgr installs.

    Args:
        module: the full name of the module.
        extra: the name of the extra.

    Returns:
        The module.

    Raises:
        ProviderError: the module is missing, or could not be imported.
    """

    def load() -> Any:
        with warnings.catch_warnings():
            # Libraries warn of each other's deprecations, which the user cannot change.
            warnings.simplefilter("ignore")
            return importlib.import_module(module)

    return call_safely(
        load,
        lambda error: ProviderError(
            f"could not import {module}: {type(error).__name__}",
            hint=f'Install the extra of this provider: pip install "pgkeymgr[{extra}]". '
            f"See {page('providers.md')}.",
        ),
    )


def silence(*names: str) -> None:
    """Discard the log of libraries, which has the requests and the answers in it at some levels.

    Args:
        names: the names of the libraries' loggers; the loggers below them are included.
    """
    for name in names:
        logger = logging.getLogger(name)
        # The level holds for the loggers below that have none of their own. Without propagation, the records of
        # the other loggers reach no handler.
        logger.setLevel(logging.CRITICAL)
        if logger.propagate:
            logger.propagate = False
            logger.addHandler(logging.NullHandler())
