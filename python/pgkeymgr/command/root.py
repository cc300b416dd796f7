"""``pgkeymgr root``: make a new root key, and put it first where the getkey script keeps the root keys."""

import fcntl
import os
import re
import secrets
import shlex
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..documents import page
from ..errors import GetkeyError, ParameterError, UnsupportedError
from .cluster_options import ConfigFile, DataDirectory
from .failure import report_failures
from .interface import Command, Group
from .output import Json, confirm, escape, message, print_json

if TYPE_CHECKING:
    from ..errors import Error

_FILE_LINE = re.compile(r"(?m)^file=(.+)$")
_SCRIPT_BYTES_MAX = 65536

app = typer.Typer(cls=Group, no_args_is_help=True, rich_markup_mode=None, help="Make a new root key.")


@app.command(cls=Command, epilog="Exit status: 0, success; 1, failure, and nothing was changed; 2, wrong usage.")
def new(
    pgdata: DataDirectory = None,
    config_file: ConfigFile = None,
    getkey: Annotated[
        Path | None, typer.Option(help="The getkey script.", show_default="the script that the server uses")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Make a new root key, above the present ones, in the file of a getkey script that init has made.

    The file is replaced by a new one in one step. The key is never printed. Nothing is wrapped under it before
    pgkeymgr rotate root.
    """
    with report_failures():
        document = _new(pgdata, config_file, getkey, yes)
    if json:
        print_json(document)
    else:
        typer.echo(f"root key    {document['fingerprint']}")
        for fingerprint in document["previous"]:
            typer.echo(f"previous    {fingerprint}")
        typer.echo(f"key file    {escape(document['key_file'])}")
    message("Copy the key file to every standby, and let an agent fetch it: pgkeymgr agent reload.")
    message("Then wrap all keys under the new root key: pgkeymgr rotate root.")
    message("The shares of the escrow are of the old root key. Split the new one, too:")
    message(f"  pgkeymgr escrow split --getkey {document['script']} --threshold 3 --shares 5 --output-directory …")
    message(f"Keep the old shares as long as a backup needs the old root key: see {page('root-rotation.md')}.")


def _new(pgdata: Path | None, config_file: Path | None, getkey: Path | None, yes: bool) -> dict[str, Any]:
    from ..root_key import memory
    from .present_key import owner_of, run_as

    memory.forbid_core_dumps()
    script = (getkey or _find_script(pgdata, config_file)).absolute()
    owner = owner_of(script)
    path = Path(run_as(owner, script, lambda: {"path": str(_key_file(script))})["path"])
    confirm(f"Put a new root key above the present one in {path}?", yes)
    if _is_safe(path):
        found = _add_key(script, path, owner)
    else:
        # The owner of the directory could lead root's changes to other files.
        found = run_as(owner, script, lambda: _add_key(script, path, owner))
    return {**found, "script": str(script), "key_file": str(path)}


def _is_safe(path: Path) -> bool:
    """Return whether nobody but root, or this process's own user, can exchange the directory of a file."""
    from ..errors import Error
    from ..root_key import trusted_path

    try:
        os.close(trusted_path.open_directory(str(path.parent), _refuser(path), "this command"))
    except Error:
        return False
    return True


def _add_key(script: Path, path: Path, owner: int) -> dict[str, Any]:
    """Add a root key to a file, and return the fingerprints: of the new root key, and of the present ones."""
    from .. import root_key
    from ..crypto import kdf
    from ..root_key import getkey
    from .present_key import run_getkey

    with _locked(path.parent):
        text, status = _read(path, owner)
        keys = getkey.parse_file(text, str(path))
        if run_getkey(script) != keys:
            raise GetkeyError(
                f'the getkey script "{script}" does not print the keys in {path}',
                hint=f"Put the new root key where the script gets it: see {page('root-rotation.md')}.",
            )
        key = os.urandom(kdf.KEY_BYTES)
        mode = stat.S_IMODE(status.st_mode)
        _replace(path, key.hex().encode() + b"\n" + text, mode, status.st_uid)
        try:
            is_used = run_getkey(script) == [key, *keys]
        except GetkeyError:
            is_used = False
        if not is_used:
            _replace(path, text, mode, status.st_uid)
            raise GetkeyError(
                f'the getkey script "{script}" does not print the new root key, so {path} is as it was',
                hint="Try the script by hand, as the server's user.",
            )
    return {"fingerprint": root_key.fingerprint(key), "previous": [root_key.fingerprint(each) for each in keys]}


def _find_script(pgdata: Path | None, config_file: Path | None) -> Path:
    from .cluster import find_cluster, find_source

    found = find_source(find_cluster(config_file, pgdata), None)
    if found is None:
        raise ParameterError(
            "the cluster has no root key yet",
            hint="pgkeymgr init makes the first one. Name a getkey script in another place with --getkey.",
        )
    if found.is_socket() or found.suffix == ".toml":
        raise UnsupportedError(
            f"the server gets its root key from the agent: {found}",
            hint="Name the agent's getkey script with --getkey. For another provider, put the new root key there: "
            f"see {page('root-rotation.md')}.",
        )
    return found


def _key_file(script: Path) -> Path:
    """Return the file that a getkey script prints."""
    from ..root_key import trusted_path

    descriptor = trusted_path.open_to_read(str(script), _refuser(script), "the server")
    with os.fdopen(descriptor, "rb") as file:
        text = file.read(_SCRIPT_BYTES_MAX).decode(errors="replace")
    found = _FILE_LINE.findall(text)
    try:
        words = shlex.split(found[0]) if len(found) == 1 else []
    except ValueError:
        words = []
    if len(words) != 1 or not os.path.isabs(words[0]):
        raise UnsupportedError(
            f'getkey script "{script}" does not print a file, as the scripts of pgkeymgr init do',
            hint=f"Put the new root key where the script gets it: see {page('root-rotation.md')}.",
        )
    # A symbolic link to the file stays: the file that it leads to is replaced.
    return Path(os.path.realpath(words[0]))


def _refuser(path: Path) -> Callable[[str, str], "Error"]:
    return lambda reason, hint: ParameterError(f"{path} {reason}", hint=hint)


def _read(path: Path, owner: int) -> tuple[bytes, os.stat_result]:
    """Return the content of a key file that belongs to the script's owner, and that nobody else can read."""
    from ..root_key import getkey, trusted_path

    user = path.stat().st_uid
    if user not in (0, owner) or os.geteuid() not in (0, user):
        raise ParameterError(
            f"{path} belongs to user id {user}",
            hint="Run this as root. The file must belong to the script's owner.",
        )
    descriptor = trusted_path.open_private(str(path), _refuser(path), "the server", user)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(getkey.OUTPUT_BYTES_MAX), os.fstat(descriptor)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Let one command at a time change the files in a directory."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, content: bytes, mode: int, owner: int) -> None:
    """Replace a file by another one in one step: at any moment, one of them is there completely."""
    from .files import create

    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    create(beside, content, mode, owner)
    try:
        os.rename(beside, path)
    except BaseException:
        beside.unlink()
        raise
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
