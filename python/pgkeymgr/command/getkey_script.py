"""Writes getkey scripts from the samples that pgkeymgr installs."""

import re
import shlex
from pathlib import Path

from ..errors import UnsupportedError

_HERE = Path(__file__).resolve()
# The samples are found from PREFIX/lib/pgkeymgr/<version>/<Python>/pgkeymgr/command, and in a checkout.
_DIRECTORIES = [
    _HERE.parents[index] / directory
    for index, directory in ((6, "share/pgkeymgr"), (3, "scripts"))
    if index < len(_HERE.parents)
]

# The path in this line depends on the PostgreSQL that the samples were installed for.
_FILE_LINE = re.compile(r"^file=/etc/postgresql/\d+/main/pgkeymgr_root_key$", re.MULTILINE)
_KEY_LINE = "put-64-hexadecimal-characters-here"
_HEADER = "#!/bin/sh\n# A getkey script, made by the command pgkeymgr. {}\n#\n"


def script_for_file(key_file: Path) -> str:
    """Return a getkey script that prints the root key from a file.

    Args:
        key_file: the file with the root key, in hexadecimal.

    Returns:
        The script's text.

    Raises:
        UnsupportedError: the sample for it is not installed on this machine.
    """
    sample = _sample("getkey-file.sample")
    # The text above explains how to do by hand the steps that the command does.
    rest = sample[sample.index("# It protects") :]
    line = f"file={shlex.quote(str(key_file))}"
    text, count = _FILE_LINE.subn(lambda _: line, rest)
    assert count == 1
    return _HEADER.format("It prints the root key from the file named below.") + text


def script_for_key(key: bytes) -> str:
    """Return a getkey script that has the root key in it.

    Args:
        key: the root key, 32 bytes.

    Returns:
        The script's text.

    Raises:
        UnsupportedError: the sample for it is not installed on this machine.
    """
    sample = _sample("getkey.sample")
    # The lines above make the sample fail until somebody has edited it.
    text = sample[sample.index("cat <<'KEYS'") :]
    assert text.count(_KEY_LINE) == 1
    return _HEADER.format(
        "It has the root key in it.\n# A former root key goes on a line of its own below the new one."
    ) + text.replace(_KEY_LINE, key.hex())


def _sample(name: str) -> str:
    for directory in _DIRECTORIES:
        if (directory / name).exists():
            return (directory / name).read_text()
    raise UnsupportedError(
        f'sample getkey script "{name}" is not installed on this machine',
        hint="Run this command on the server's machine, after make install.",
    )
