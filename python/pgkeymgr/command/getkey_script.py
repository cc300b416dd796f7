"""Getkey scripts, made of the samples that pgkeymgr installs."""

import shlex
from pathlib import Path

from ..errors import UnsupportedError

_HERE = Path(__file__).resolve()
# As make install puts it: PREFIX/lib/pgkeymgr/<version>/<Python>/pgkeymgr/command; and in a checkout.
_PLACES = [
    _HERE.parents[index] / place
    for index, place in ((6, "share/pgkeymgr"), (3, "scripts"))
    if index < len(_HERE.parents)
]

_FILE_LINE = "file=/etc/postgresql/15/main/pgkeymgr_root_key"
_KEY_LINE = "put-64-hexadecimal-characters-here"
_HEADER = "#!/bin/sh\n# A getkey script, made by the command pgkeymgr. {}\n#\n"


def with_file(key_file: Path) -> str:
    """Return a getkey script that prints a file.

    Args:
        key_file: the file with the root key, in hexadecimal.

    Returns:
        The script's text.

    Raises:
        UnsupportedError: the sample that it is made of is not on this machine.
    """
    sample = _sample("getkey-file.sample")
    # Above it is how to do by hand what has been done.
    rest = sample[sample.index("# It protects") :]
    assert rest.count(_FILE_LINE) == 1
    text = rest.replace(_FILE_LINE, f"file={shlex.quote(str(key_file))}")
    return _HEADER.format("It prints the root key from the file named below.") + text


def with_key(key: bytes) -> str:
    """Return a getkey script that has the root key in it.

    Args:
        key: the root key.

    Returns:
        The script's text.

    Raises:
        UnsupportedError: the sample that it is made of is not on this machine.
    """
    sample = _sample("getkey.sample")
    # What is above refuses to run until somebody has edited it.
    text = sample[sample.index("cat <<'KEYS'") :]
    assert text.count(_KEY_LINE) == 1
    return _HEADER.format(
        "It has the root key in it.\n# A former root key goes on a line of its own below the new one."
    ) + text.replace(_KEY_LINE, key.hex())


def _sample(name: str) -> str:
    for place in _PLACES:
        if (place / name).exists():
            return (place / name).read_text()
    raise UnsupportedError(
        f"{name} is not on this machine",
        hint="It comes with make install, on the server. There is no getkey script to make anywhere else.",
    )
