"""``pgkeymgr init``: make a root key, once."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .failure import failures_reported, report
from .output import Json, message, print_json, shown
from .provider_options import Kind, Settings

if TYPE_CHECKING:
    from ..errors import Error

ALREADY_THERE = 3

EPILOG = (
    "Exit status: 0, made; 1, it failed; 2, wrong usage; 3, there is a root key already, or something that gives "
    "one, and nothing was changed."
)

_KEY_FILE_NAME = "pgkeymgr_root_key"
_KEY_MODE = 0o400
_SCRIPT_MODE = 0o500


def init(
    pgdata: Annotated[
        Path | None, typer.Option(envvar="PGDATA", help="The cluster's data directory.", show_default=False)
    ] = None,
    config_file: Annotated[
        Path | None,
        typer.Option(help="Its postgresql.conf. [default: in the data directory, or Debian's only one]"),
    ] = None,
    path: Annotated[
        Path | None, typer.Option(help="Where the getkey script goes. [default: beside postgresql.conf]")
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option(help="Where the root key goes. [default: beside postgresql.conf]")
    ] = None,
    owner: Annotated[
        str | None, typer.Option(help="The server's user. [default: whose the data directory is, or postgres]")
    ] = None,
    share_directory: Annotated[
        Path | None, typer.Option(help="PostgreSQL's. [default: what pg_config says]", show_default=False)
    ] = None,
    use_existing_key: Annotated[
        bool, typer.Option("--use-existing-key", help="The key file is there: make the script for it.")
    ] = False,
    force_location: Annotated[
        bool, typer.Option("--force-location", help="Put the key into a data directory, and so into base backups.")
    ] = False,
    provider: Kind = None,
    settings: Settings = None,
    json: Json = False,
) -> None:
    """Make a root key, and the getkey script that gives it to the server. Never where there is one already.

    The key goes into a file that only the server's user can read, or with --provider into a key provider.
    """
    with failures_reported():
        if provider is not None:
            if path or key_file or use_existing_key:
                raise typer.BadParameter("with --provider, there is no script and no key file")
            document = _into_provider(provider, settings or [])
        else:
            if settings:
                raise typer.BadParameter("--set is for --provider")
            document = _into_file(
                pgdata, config_file, path, key_file, owner, share_directory, use_existing_key, force_location
            )
    if json:
        print_json(document)
    elif document["created"]:
        _tell(document)
    if not document["created"]:
        report(
            f"{document['found']} is there already: nothing was changed",
            "A second root key would make everything unreadable that is encrypted under the first. For a new one, "
            "see pgkeymgr rotate root."
            if not document.get("is_key_only")
            else "No getkey script prints it. If it is this cluster's, --use-existing-key makes one for it.",
        )
        raise typer.Exit(ALREADY_THERE)


def _into_file(
    pgdata: Path | None,
    config_file: Path | None,
    path: Path | None,
    key_file: Path | None,
    owner: str | None,
    share_directory: Path | None,
    use_existing_key: bool,
    force_location: bool,
) -> dict[str, Any]:
    from ..errors import ParameterError
    from ..root_key import fingerprint, getkey, memory, trusted_path
    from .files import create, data_directory_above
    from .getkey_script import with_file
    from .place import find_place, present_source

    place = find_place(config_file, pgdata)
    script = (path or place.directory / getkey.FILE_NAME).absolute()
    key_path = (key_file or place.directory / _KEY_FILE_NAME).absolute()
    present = present_source(place, share_directory or _share_directory())
    if present is None and os.path.lexists(script):
        present = script
    if present is not None:
        return {"created": False, "found": str(present)}
    data = data_directory_above(key_path)
    if data is not None and not force_location:
        raise ParameterError(
            f"{key_path} is in the data directory {data}, and every base backup would have the root key in it",
            hint="Name a place outside of it: --key-file. (--force-location puts it there all the same.)",
        )
    is_there = os.path.lexists(key_path)
    if is_there and not use_existing_key:
        return {"created": False, "found": str(key_path), "is_key_only": True}
    if use_existing_key and not is_there:
        raise ParameterError(f"{key_path} does not exist", hint="Name the key file: --key-file.")
    user = _user(owner, place.owner())
    text = with_file(key_path)
    for new in (key_path, script):
        # The server would refuse the script, and another user could exchange the key.
        os.close(trusted_path.open_directory(str(new.parent), _refuser(new), "the server", user))
    memory.forbid_core_dumps()
    try:
        if is_there:
            key = _read_key(key_path, user)
        else:
            key = os.urandom(32)
            create(key_path, key.hex().encode() + b"\n", _KEY_MODE, user)
        # After the key: a script without one would stop whoever tries again.
        create(script, text.encode(), _SCRIPT_MODE, user)
    except FileExistsError as error:
        # Somebody else was quicker.
        return {"created": False, "found": str(error.filename2 or error.filename)}
    return {
        "created": True,
        "fingerprint": fingerprint(key),
        "script": str(script),
        "key_file": str(key_path),
        # The server looks beside its postgresql.conf by itself.
        "needs_name": script != place.directory / getkey.FILE_NAME,
    }


def _share_directory() -> Path | None:
    command = shutil.which(os.environ.get("PG_CONFIG", "pg_config"))
    if command is None:
        return None
    done = subprocess.run([command, "--sharedir"], check=False, capture_output=True, text=True)
    return Path(done.stdout.strip()) if done.returncode == 0 else None


def _user(name: str | None, owner_of_data: int | None) -> int:
    from ..errors import ParameterError
    from .files import user_id

    if name is not None:
        user = user_id(name)
    elif owner_of_data is not None:
        user = owner_of_data
    elif os.geteuid() == 0:
        user = user_id("postgres")
    else:
        user = os.geteuid()
    if os.geteuid() not in (0, user):
        raise ParameterError(
            f"the server runs as user id {user}, and only root can make files for it", hint="Run this as root."
        )
    return user


def _refuser(path: Path) -> Callable[[str, str], "Error"]:
    from ..errors import ParameterError

    return lambda reason, hint: ParameterError(f"{path} {reason}", hint=hint)


def _read_key(path: Path, user: int) -> bytes:
    from ..errors import ParameterError
    from ..root_key import getkey, trusted_path

    descriptor = trusted_path.open_private(str(path), _refuser(path), "the server", user)
    with os.fdopen(descriptor, "rb") as file:
        if os.fstat(descriptor).st_uid != user:
            raise ParameterError(f"{path} must belong to the server's user", hint=f"chown {user} {path}")
        return getkey.parse(file.read(getkey.OUTPUT_BYTES_MAX), str(path))[0]


def _into_provider(kind: str, settings: list[str]) -> dict[str, Any]:
    from ..errors import ProviderTakenError
    from ..root_key import fingerprint, memory
    from .provider_options import provider_of

    memory.forbid_core_dumps()
    key = os.urandom(32)
    opened = provider_of(kind, settings)
    try:
        # It refuses to write over what it has, and reads back what it has written.
        opened.store([key])
    except ProviderTakenError:
        return {"created": False, "found": opened.source}
    return {"created": True, "fingerprint": fingerprint(key), "provider": kind, "source": opened.source}


def _tell(document: dict[str, Any]) -> None:
    typer.echo(f"root key    {document['fingerprint']}")
    if "script" in document:
        typer.echo(f"script      {shown(document['script'])}")
        typer.echo(f"key file    {shown(document['key_file'])}")
        message("Keep a copy of the root key elsewhere: without it, what is encrypted is lost.")
        message(
            f"  pgkeymgr escrow split --getkey {document['script']} --threshold 3 --shares 5 --output-directory …"
        )
        if document["needs_name"]:
            message(f"Name the script in the environment of the server: PGKEYMGR_GETKEY={document['script']}")
        message("Then, in the database: CREATE EXTENSION pgkeymgr CASCADE; SELECT * FROM root_key_status();")
    else:
        typer.echo(f"source      {shown(document['source'])}")
        message(
            "Keep a copy of the root key elsewhere, if this one can be lost: pgkeymgr escrow split --provider …"
        )
        message("Then write the same kind and settings into agent.toml, and start pgkeymgr agent.")
