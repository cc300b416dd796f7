"""Whether the root key is there, is the right one, and lies where backups do not take it."""

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
"""Where backups usually lie."""

# What scripts call, and what is public.
_SYSTEM = ("/bin", "/dev", "/etc/ssl/certs", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr")
_PATH = re.compile(rb"(?<![\w./~}$-])/[\w.+@%,:/-]*[\w+@-]")


def check_root_key(context: Context) -> Iterator[Finding]:
    """Find out why there is no root key, if there is none."""
    error = context.root_key_error
    if context.root_key is not None:
        yield Finding(OK, context.root_key.source, f"the root key {context.root_key.fingerprint} is loaded")
    elif error is not None:
        hint = error.hint if isinstance(error, Error) else None
        path = _getkey(context.database)
        yield Finding(ERROR, path, explain(error), hint or "See the server's log.")


def check_fingerprint(context: Context) -> Iterator[Finding]:
    """Compare what the wraps of this database were made under with the root keys that there are."""
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
                f"{wraps} wraps of this database are under the root key {made_under}, which is not there: the "
                f"server's is {root_key.fingerprint}",
                "Give the server that root key, too, as the newest or as a previous one: another line of what the "
                "getkey script prints.",
            )
    for previous in root_key.previous:
        if previous not in uses:
            yield Finding(
                NOTICE,
                previous,
                f"nothing in the key table of this database needs the previous root key {previous}: it can be "
                "withdrawn here",
                "See that no other database, standby or backup needs it, nor ciphertexts of keys by number or "
                "values of wrap_key() that were made under it.",
            )


def _getkey(database: Database) -> str | None:
    from ..root_key import getkey

    try:
        return getkey.find(os.environ, database.config_file(), database.share_directory())
    except Error:
        return None


def check_location(context: Context) -> Iterator[Finding]:
    """See whether a backup has the getkey script in it, or a file that it names, and who can read them."""
    script = _getkey(context.database)
    if script is None:
        yield Finding(OK, None, "there is no getkey script")
        return
    places = _places(context)
    yield from _check_place(script, "the getkey script", WARNING, places)
    # As it would be run: another user's pipe in its place would be waited for.
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
            "the getkey script can be read by its group or by others",
            f"If the root key is in it: chmod go-rwx {script}",
        )
    for path in key_files(text):
        yield from _check_place(path, "a file that the getkey script names", ERROR, places)
        mode = os.stat(path).st_mode
        if mode & (stat.S_IRGRP | stat.S_IROTH):
            yield Finding(
                ERROR if mode & stat.S_IROTH else WARNING,
                path,
                "a file that the getkey script names can be read by "
                + ("everybody" if mode & stat.S_IROTH else "its group"),
                f"chmod go-rwx {path}",
            )


def key_files(text: bytes) -> list[str]:
    """Find the files that a getkey script may have its key from.

    Args:
        text: the script's.

    Returns:
        The absolute paths in it that are regular files, and neither programs nor the system's own.
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
        Those that are there, without the root directory and the system's own.
    """
    found = set()
    for match in _PATH.findall(command.encode(errors="surrogateescape")):
        path = os.fsdecode(match)
        while not os.path.isdir(path) and path != "/":
            if os.path.exists(path):
                path = "/"  # a file, a program most of the time
                break
            path = os.path.dirname(path)
        if path != "/" and not any(_is_in(path + "/", directory) for directory in _SYSTEM):
            found.add(path)
    return sorted(found)


def _places(context: Context) -> list[tuple[str, str]]:
    places = [(context.setting("data_directory"), "the data directory, so that every base backup has it in it")]
    for row in context.rows(
        "SELECT spcname::text AS name, pg_catalog.pg_tablespace_location(oid) AS location"
        " FROM pg_catalog.pg_tablespace"
    ):
        if row["location"]:
            places.append((row["location"], f"the tablespace {row['name']}, which base backups take along"))
    for directory in archive_directories(context.setting("archive_command")):
        places.append((directory, f"{directory}, to which the archive_command writes"))
    places += [(directory, f"{directory}, where backups lie") for directory in BACKUP_DIRECTORIES]
    return places


def _check_place(path: str, called: str, status: str, places: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    for directory, described in places:
        # Of a link, base backups do not take what it leads to.
        if directory and _is_in(os.path.realpath(path), os.path.realpath(directory)):
            yield Finding(
                status,
                path,
                f"{called} lies in {described}",
                "Move it to a directory that no backup takes, such as /etc/pgkeymgr, and name the script in "
                "PGKEYMGR_GETKEY in the environment of the server. If a backup has the root key in it already, "
                "make a new root key."
                if called == "the getkey script"
                else "Move it to a directory that no backup takes, such as /etc/pgkeymgr, and name that in the "
                "getkey script. If a backup has the root key in it already, make a new root key.",
            )
            return


def _is_in(path: str, directory: str) -> bool:
    return path.startswith(directory.rstrip("/") + "/")
