"""Calls of other people's libraries: whose errors and logs may have a secret in them, and whose may be missing."""

import importlib
import logging
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import Error, ProviderError

T = TypeVar("T")


def guarded(call: Callable[[], T], describe: Callable[[Exception], Error]) -> T:
    """Make a call, and turn an error that is not pgkeymgr's own into one that is.

    Args:
        call: what to call.
        describe: makes the error; of the other it may tell what cannot have a secret in it, its type for one.

    Returns:
        What the call returns.

    Raises:
        Error: the one that was made. It does not lead to the other.
    """
    try:
        return call()
    except Error:
        raise
    except Exception as error:
        failure = describe(error)
    # Not inside the handler: there, the other would be its context, even with "from None".
    raise failure


def import_extra(module: str, extra: str) -> Any:
    """Import a library that is there only if pgkeymgr was installed with an extra.

    Args:
        module: its full name.
        extra: the extra.

    Returns:
        The module.

    Raises:
        ProviderError: it is missing, or cannot be imported.
    """

    def load() -> Any:
        with warnings.catch_warnings():
            # What libraries warn each other of is no news for who runs this.
            warnings.simplefilter("ignore")
            return importlib.import_module(module)

    return guarded(
        load,
        lambda error: ProviderError(
            f"cannot import {module}: {type(error).__name__}",
            hint=f'This provider needs its extra: pip install "pgkeymgr[{extra}]"; see docs/providers.md.',
        ),
    )


def silence(*names: str) -> None:
    """Keep what libraries log from everyone: at some level, what they send and get is in it.

    Args:
        names: of their loggers, those below them included.
    """
    for name in names:
        logger = logging.getLogger(name)
        # The level is for those below that have none of their own; those that have one do not reach a handler.
        logger.setLevel(logging.CRITICAL)
        if logger.propagate:
            logger.propagate = False
            logger.addHandler(logging.NullHandler())
