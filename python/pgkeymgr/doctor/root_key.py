"""Checks that the root key can be loaded, is the right one, and is stored outside of backups."""

import os
import re
import stat
from collections.abc import Iterable, Iterator

from ..errors import Error, GetkeyError
from ..key.database import Database
from ..key.root_wrap import RootWraps
from ..root_key import trusted_path
from .finding import ERROR, NOTICE, OK, WARNING, Context, Finding, explain

SCRIPT_BYTES_MAX = 65536

BACKUP_DIRECTORIES = ("/var/backups", "/var/lib/barman", "/var/lib/pgbackrest", "/var/spool/pgbackrest")
"""Common directories of backups."""

# These directories have programs that scripts call, and public files.
_SYSTEM = ("/bin", "/dev", "/etc/ssl/certs", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr")
_PATH = re.compile(rb"(?<![\w./~}$-])/[\w.+@%,:/-]*[\w+@-]")


def check_root_key(context: Context) -> Iterator[Finding]:
    """Check that the root key can be loaded."""
    error = context.root_key_error
    if context.root_key is not None:
        yield Finding(OK, context.root_key.source, f"the root key {context.root_key.fingerprint} is loaded")
    elif error is not None:
        hint = error.hint if isinstance(error, Error) else None
        path = _find_getkey(context.database)
        yield Finding(ERROR, path, explain(error), hint or "See the server's log.")


def check_fingerprint(context: Context) -> Iterator[Finding]:
    """Compare the root keys of the wraps in this database with the root keys of the server."""
    root_key = context.root_key
    if root_key is None:
        yield Finding(NOTICE, None, "could not be checked: there is no root key", "See the check root_key.")
        return
    uses = context.database.as_owner(RootWraps(context.database).counts)
    for made_under, wraps in sorted(uses.items()):
        if made_under in root_key.previous:
            yield Finding(
                WARNING,
                made_under,
                f"{wraps} wraps of this database are under the previous root key {made_under}",
                "SELECT rotate_root_key();",
            )
        elif made_under != root_key.fingerprint:
            yield Finding(
                ERROR,
                made_under,
                f"{wraps} wraps of this database are under the root key {made_under}, but the server's root key "
                f"is {root_key.fingerprint}",
                "Add that root key to the output of the getkey script, on a line of its own: on the first line "
                "if it is the current root key, below it if it is a previous one.",
            )
    for previous in root_key.previous:
        if previous not in uses:
            yield Finding(
                NOTICE,
                previous,
                f"no wrap of this database needs the previous root key {previous}",
                "Withdraw it if no other database, standby or backup needs it, and no ciphertexts of keys by "
                "number or results of wrap_key() were made under it.",
            )


def _find_getkey(database: Database) -> str | None:
    from ..root_key import getkey

    try:
        return getkey.find(os.environ, database.config_file(), database.share_directory())
    except Error:
        return None


def check_location(context: Context) -> Iterator[Finding]:
    """Check whether backups include the getkey script or a file that it names, and who can read these files."""
    script = _find_getkey(context.database)
    if script is None:
        yield Finding(OK, None, "there is no getkey script")
        return
    directories = _backed_up_directories(context)
    yield from _check_path(script, "the getkey script", WARNING, directories)
    # The script is opened as the server opens it to run it. A plain open() would wait for a pipe in its place.
    descriptor = trusted_path.open_to_read(
        script, lambda reason, hint: GetkeyError(f'the getkey script "{script}" {reason}', hint=hint), "the server"
    )
    with os.fdopen(descriptor, "rb") as file:
        script_mode = os.fstat(descriptor).st_mode
        text = file.read(SCRIPT_BYTES_MAX)
    if script_mode & (stat.S_IRGRP | stat.S_IROTH):
        yield Finding(
            WARNING,
            script,
            "the group of the getkey script or others can read it",
            f"If the root key is in the script: chmod go-rwx {script}",
        )
    for path in key_files(text):
        yield from _check_path(path, "the file, which the getkey script names,", ERROR, directories)
        mode = os.stat(path).st_mode
        if mode & (stat.S_IRGRP | stat.S_IROTH):
            yield Finding(
                ERROR if mode & stat.S_IROTH else WARNING,
                path,
                ("everybody" if mode & stat.S_IROTH else "its group")
                + " can read the file, which the getkey script names",
                f"chmod go-rwx {path}",
            )


def key_files(text: bytes) -> list[str]:
    """Find the files that a getkey script may read its key from.

    Args:
        text: the text of the script.

    Returns:
        The absolute paths in the text that are regular files, except programs and files of the system.
    """
    found = []
    for path in sorted({os.fsdecode(match) for match in _PATH.findall(text)}):
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            continue
        is_system = any(_is_in(path, directory) for directory in _SYSTEM)
        if stat.S_ISREG(status.st_mode) and not status.st_mode & 0o111 and not is_system:
            found.append(path)
    return found


def archive_directories(command: str) -> list[str]:
    """Find the directories that an archive_command names.

    Args:
        command: the command.

    Returns:
        The existing directories, without the root directory and directories of the system.
    """
    found = set()
    for match in _PATH.findall(command.encode(errors="surrogateescape")):
        path = os.fsdecode(match)
        while not os.path.isdir(path) and path != "/":
            if os.path.exists(path):
                path = "/"  # The path leads to a file, most often a program.
                break
            path = os.path.dirname(path)
        if path != "/" and not any(_is_in(path + "/", directory) for directory in _SYSTEM):
            found.add(path)
    return sorted(found)


def _backed_up_directories(context: Context) -> list[tuple[str, str]]:
    """Return the directories that backups include, each with a description."""
    directories = [(context.setting("data_directory"), "the data directory, and every base backup includes it")]
    for row in context.rows(
        "SELECT spcname::text AS name, pg_tablespace_location(oid) AS location FROM pg_tablespace"
    ):
        if row["location"]:
            directories.append((row["location"], f"the tablespace {row['name']}, which base backups include"))
    for directory in archive_directories(context.setting("archive_command")):
        directories.append((directory, f"{directory}, to which archive_command writes"))
    directories += [(directory, f"{directory}, a directory of backups") for directory in BACKUP_DIRECTORIES]
    return directories


def _check_path(path: str, noun: str, status: str, directories: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    for directory, description in directories:
        # Base backups include symbolic links, but not their targets.
        if directory and _is_in(os.path.realpath(path), os.path.realpath(directory)):
            yield Finding(
                status,
                path,
                f"{noun} is in {description}",
                "Move the script to a directory outside of all backups, such as /etc/pgkeymgr, and put its path "
                "into PGKEYMGR_GETKEY in the environment of the server. If a backup already contains the root "
                "key, rotate it."
                if noun == "the getkey script"
                else "Move the file to a directory outside of all backups, such as /etc/pgkeymgr, and change its "
                "path in the getkey script. If a backup already contains the root key, rotate it.",
            )
            return


def _is_in(path: str, directory: str) -> bool:
    return path.startswith(directory.rstrip("/") + "/")
