"""``pgkeymgr init``: generate the root key of a cluster, once."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..documents import page
from .cluster_options import ConfigFile, DataDirectory
from .failure import report, report_failures
from .output import Json, escape, message, print_json
from .provider_options import Kind, Settings

if TYPE_CHECKING:
    from ..errors import Error
    from .cluster import Cluster

ALREADY_THERE = 3

EPILOG = (
    "Exit status: 0, success; 1, failure; 2, wrong usage; 3, a root key or a source of root keys already exists, "
    "and nothing was changed."
)

_KEY_FILE_NAME = "pgkeymgr_root_key"
_KEY_MODE = 0o400
_SCRIPT_MODE = 0o500


def init(
    pgdata: DataDirectory = None,
    config_file: ConfigFile = None,
    path: Annotated[
        Path | None, typer.Option(help="The path of the new getkey script.", show_default="beside postgresql.conf")
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option(help="The path of the new key file.", show_default="beside postgresql.conf")
    ] = None,
    owner: Annotated[
        str | None,
        typer.Option(help="The server's user.", show_default="the owner of the data directory, or postgres"),
    ] = None,
    share_directory: Annotated[
        Path | None,
        typer.Option(help="PostgreSQL's share directory.", show_default="the answer of pg_config"),
    ] = None,
    use_existing_key: Annotated[
        bool, typer.Option("--use-existing-key", help="The key file exists: make only the script for it.")
    ] = False,
    force_location: Annotated[
        bool,
        typer.Option("--force-location", help="Allow a key file in the data directory, and so in base backups."),
    ] = False,
    provider: Kind = None,
    settings: Settings = None,
    json: Json = False,
) -> None:
    """Generate a root key, and a getkey script that prints it for the server, unless the server already has one.

    The key is stored in a file that only the server's user can read, or with --provider in a key provider.
    """
    with report_failures():
        if provider is not None:
            if path or key_file or use_existing_key:
                raise typer.BadParameter("--provider excludes --path, --key-file and --use-existing-key")
            document = _create_in_provider(provider, settings or [])
        else:
            if settings:
                raise typer.BadParameter("--set requires --provider")
            document = _create_in_file(
                pgdata, config_file, path, key_file, owner, share_directory, use_existing_key, force_location
            )
    if json:
        print_json(document)
    elif document["created"]:
        _print(document)
    if not document["created"]:
        report(
            f"{document['found']} already exists: nothing was changed",
            "A second root key would make all data under the first one unreadable. To change the root key, see "
            f"{page('root-rotation.md')} and pgkeymgr rotate root."
            if not document.get("is_key_only")
            else "No getkey script prints this key. If it is the key of this cluster, use --use-existing-key.",
        )
        raise typer.Exit(ALREADY_THERE)


def _create_in_file(
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
    from .cluster import find_cluster, find_source
    from .files import create, data_directory_above
    from .getkey_script import script_for_file

    cluster = find_cluster(config_file, pgdata)
    script = (path or cluster.directory / getkey.FILE_NAME).absolute()
    key_path = (key_file or cluster.directory / _KEY_FILE_NAME).absolute()
    present = find_source(cluster, share_directory or _share_directory())
    if present is None and os.path.lexists(script):
        present = script
    if present is not None:
        return {"created": False, "found": str(present)}
    data = data_directory_above(key_path)
    if data is not None and not force_location:
        raise ParameterError(
            f"{key_path} is in the data directory {data}: every base backup would have the root key in it",
            hint="Name a path outside of it with --key-file, or use --force-location.",
        )
    is_there = os.path.lexists(key_path)
    if is_there and not use_existing_key:
        return {"created": False, "found": str(key_path), "is_key_only": True}
    if use_existing_key and not is_there:
        raise ParameterError(f"{key_path} does not exist", hint="Name the key file with --key-file.")
    user = _user(owner, cluster.owner())
    text = script_for_file(key_path)
    for new in (key_path, script):
        # In such a directory, the server refuses the script, and another user could exchange the key.
        os.close(trusted_path.open_directory(str(new.parent), _refuser(new), "the server", user))
    memory.forbid_core_dumps()
    key = _read_key(key_path, user) if is_there else os.urandom(32)
    _refuse_another_key(cluster, user, fingerprint(key), is_new=not is_there)
    try:
        if not is_there:
            create(key_path, key.hex().encode() + b"\n", _KEY_MODE, user)
        # The script is created after the key. A script without a key would make the next call end with status 3.
        create(script, text.encode(), _SCRIPT_MODE, user)
    except FileExistsError as error:
        # Another process has created the file in the meantime.
        return {"created": False, "found": str(error.filename2 or error.filename)}
    return {
        "created": True,
        "fingerprint": fingerprint(key),
        "script": str(script),
        "key_file": str(key_path),
        # The server finds the script by itself only beside its postgresql.conf.
        "needs_name": script != cluster.directory / getkey.FILE_NAME,
    }


def _refuse_another_key(cluster: "Cluster", user: int, fingerprint: str, *, is_new: bool) -> None:
    """Refuse a root key that does not open the keys which databases of the running server have already."""
    from ..errors import KeyStateError
    from .needed_root_keys import needed_root_keys

    try:
        needed = needed_root_keys(cluster, user)
    except (OSError, subprocess.SubprocessError) as error:
        message(f"The running server could not be asked for the root keys that it needs: {type(error).__name__}.")
        return
    if not needed or fingerprint in (each.fingerprint for each in needed):
        return
    database, other = needed[0]
    what = "a new root key" if is_new else f"the root key {fingerprint}"
    raise KeyStateError(
        f'the keys of database "{database}" need the root key {other}: {what} does not open them',
        hint="Recover that key with pgkeymgr escrow combine, and call pgkeymgr init --use-existing-key. Drop the "
        "database first if its keys are given up.",
    )


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
            f"only root can create files for the server, which runs as user id {user}", hint="Run this as root."
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
            raise ParameterError(f"{path} does not belong to the server's user", hint=f"Run chown {user} {path}.")
        return getkey.parse_file(file.read(getkey.OUTPUT_BYTES_MAX), str(path))[0]


def _create_in_provider(kind: str, settings: list[str]) -> dict[str, Any]:
    from ..errors import ProviderTakenError
    from ..root_key import fingerprint, memory
    from .provider_options import provider_of

    memory.forbid_core_dumps()
    key = os.urandom(32)
    opened = provider_of(kind, settings)
    try:
        # The provider never replaces a root key, and reads back the key that it has stored.
        opened.store([key])
    except ProviderTakenError:
        return {"created": False, "found": opened.source}
    return {"created": True, "fingerprint": fingerprint(key), "provider": kind, "source": opened.source}


def _print(document: dict[str, Any]) -> None:
    typer.echo(f"root key    {document['fingerprint']}")
    if "script" in document:
        typer.echo(f"script      {escape(document['script'])}")
        typer.echo(f"key file    {escape(document['key_file'])}")
        message("Keep a copy of the root key elsewhere. Without it, all encrypted data is lost:")
        message(
            f"  pgkeymgr escrow split --getkey {document['script']} --threshold 3 --shares 5 --output-directory …"
        )
        if document["needs_name"]:
            message(f"Put PGKEYMGR_GETKEY={document['script']} into the environment of the server.")
        message(
            "Then create the extension in the database: CREATE SCHEMA pgkeymgr; CREATE EXTENSION pgkeymgr SCHEMA "
            "pgkeymgr CASCADE; SELECT * FROM pgkeymgr.root_key_status();"
        )
    else:
        typer.echo(f"source      {escape(document['source'])}")
        message(
            "Keep a copy of the root key elsewhere if this one can be lost: pgkeymgr escrow split --provider …"
        )
        message("Then write the same provider and settings into agent.toml, and start pgkeymgr agent.")
