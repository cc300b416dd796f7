"""Where this machine has the pages and the samples that messages name."""

from os.path import dirname, exists, join

# The package is in PREFIX/lib/pgkeymgr/<version>/<Python>/pgkeymgr, or in the folder python of a checkout.
_PREFIX = dirname(dirname(dirname(dirname(dirname(dirname(__file__))))))


def page(name: str) -> str:
    """Return the path of a page of the documentation.

    Args:
        name: the name of a file of docs/.

    Returns:
        The path of the installed file. Where it is not installed, as with pip, the path within the repository.
    """
    path = join(_PREFIX, "share", "doc", "pgkeymgr", "docs", name)
    return path if exists(path) else f"docs/{name}"


def sample(name: str) -> str:
    """Return the path of a sample, or its name where it is not installed.

    Args:
        name: the name of a file of scripts/ that ``make install`` installs.
    """
    path = join(_PREFIX, "share", "pgkeymgr", name)
    return path if exists(path) else name
