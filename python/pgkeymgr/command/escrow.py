"""``pgkeymgr escrow``: a copy of the root key in shares, some of which give it back."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .failure import failures_reported
from .output import Json, message, print_json
from .provider_options import Kind, Settings

if TYPE_CHECKING:
    from .shares import Read

app = typer.Typer(
    no_args_is_help=True,
    help="Split the root key into shares for several people, and get it back from some of them.",
)

_EPILOG = "Exit status: 0, done; 1, it failed, and nothing was written; 2, wrong usage."

_SHARE_MODE = 0o600
_KEY_MODE = 0o600
_SCRIPT_MODE = 0o500
_FORM_FEED = "\f"


@app.command(epilog=_EPILOG)
def split(
    threshold: Annotated[int, typer.Option(min=2, max=16, help="How many shares give the key back.")],
    shares: Annotated[int, typer.Option(min=2, max=16, help="How many shares are made.")],
    getkey: Annotated[
        Path | None, typer.Option(help="Take the key from this getkey script.", show_default=False)
    ] = None,
    provider: Kind = None,
    settings: Settings = None,
    fingerprint: Annotated[
        str | None, typer.Option(help="Split the key of this fingerprint, a previous one for instance.")
    ] = None,
    output_directory: Annotated[
        Path | None, typer.Option(help="Write a file for each share, that only you can read.")
    ] = None,
    stdout: Annotated[
        bool, typer.Option("--stdout", help="Print the shares even if that is no terminal.")
    ] = False,
    json: Json = False,
) -> None:
    """Make shares of the root key, a page each. Without --getkey and --provider, the key is asked for."""
    from datetime import date

    from .. import root_key
    from . import shares as sharing

    if json and (output_directory is None or stdout):
        raise typer.BadParameter("--json is for --output-directory: it has no shares in it")
    with failures_reported():
        if output_directory is None and not (stdout or sys.stdout.isatty()):
            raise typer.BadParameter("this is no terminal: give --output-directory, or --stdout")
        key = _key(getkey, provider, settings or [], fingerprint)
        made = root_key.fingerprint(key)
        pages = [
            sharing.page(words, number, shares, threshold, made, date.today().isoformat())
            for number, words in enumerate(sharing.split(key, threshold, shares), 1)
        ]
        files = _write_pages(pages, output_directory) if output_directory else []
    if json:
        print_json(
            {"fingerprint": made, "threshold": threshold, "shares": shares, "files": [str(file) for file in files]}
        )
    elif files:
        for file in files:
            typer.echo(file)
        message("Print each or give it to its keeper, and delete these files: together they are the root key.")
    else:
        typer.echo(_FORM_FEED.join(pages), nl=False)


@app.command(epilog=_EPILOG)
def combine(
    share_files: Annotated[
        list[Path] | None,
        typer.Argument(help="Files with a share each. Without any, shares are asked for.", show_default=False),
    ] = None,
    fingerprint: Annotated[
        str | None,
        typer.Option(help="The root key's, as on the pages: without it, typed shares are not checked so."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the key to this new file, that only you can read.")
    ] = None,
    script: Annotated[
        Path | None, typer.Option(help="Write a new getkey script with the key in it.", show_default=False)
    ] = None,
    owner: Annotated[str | None, typer.Option(help="To whom it belongs: the server's user.")] = None,
    stdout: Annotated[bool, typer.Option("--stdout", help="Print the key.")] = False,
    json: Json = False,
) -> None:
    """Get the root key back from enough of its shares, and write it to a file."""
    from .. import root_key
    from ..root_key import memory
    from . import shares as sharing

    if (output is not None) + (script is not None) + stdout != 1:
        raise typer.BadParameter("where to? give one of --output, --script and --stdout")
    if json and stdout:
        raise typer.BadParameter("--json has no key in it: give --output or --script")
    with failures_reported():
        memory.forbid_core_dumps()
        read = _read_files(share_files) if share_files else _ask_shares()
        key = sharing.combine(read, fingerprint.lower() if fingerprint else None)
        found = root_key.fingerprint(key)
        if stdout:
            typer.echo(key.hex())
        else:
            _write_key(key, output, script, owner)
    if json:
        print_json({"fingerprint": found, "file": str(output or script)})
    else:
        message(f"The root key has the fingerprint {found}.")
        if not fingerprint and not any(share.fingerprint for share in read):
            message("Compare it with the one on the pages: it was not given.")


def _key(getkey: Path | None, provider: str | None, settings: list[str], wanted: str | None) -> bytes:
    from .. import root_key
    from ..errors import ParameterError
    from ..root_key import memory

    memory.forbid_core_dumps()
    if getkey and provider:
        raise typer.BadParameter("--getkey or --provider, not both")
    if settings and not provider:
        raise typer.BadParameter("--set is for --provider")
    if getkey:
        from .present_key import run_getkey

        keys = run_getkey(getkey)
    elif provider:
        from .provider_options import provider_of

        keys = provider_of(provider, settings).load()
    else:
        keys = [_typed_key()]
    by_fingerprint = {root_key.fingerprint(key): key for key in keys}
    if wanted is None:
        if len(keys) > 1:
            message(
                f"There are {len(keys) - 1} previous root keys, which old backups need: --fingerprint splits one."
            )
        return keys[0]
    if wanted.lower() not in by_fingerprint:
        raise ParameterError(
            f"there is no root key {wanted}", hint=f"There is: {', '.join(by_fingerprint)}, the newest first."
        )
    return by_fingerprint[wanted.lower()]


def _typed_key() -> bytes:
    from ..errors import DataError
    from .secrets import ask_secrets

    (typed,) = ask_secrets(["Root key, in hexadecimal"], confirm=False)
    if not re.fullmatch(rb"([0-9A-Fa-f]{64})", typed.strip()):
        raise DataError("what was typed is not a root key: 64 hexadecimal characters")
    return bytes.fromhex(typed.decode())


def _write_pages(pages: list[str], directory: Path) -> list[Path]:
    from .files import create

    directory.mkdir(mode=0o700, exist_ok=True)
    files: list[Path] = []
    try:
        for number, page in enumerate(pages, 1):
            file = directory / f"share-{number}-of-{len(pages)}.txt"
            create(file, page.encode(), _SHARE_MODE)
            files.append(file)
    except BaseException:
        # Half of a split is of no use to its owner.
        for file in files:
            file.unlink()
        raise
    return files


def _write_key(key: bytes, output: Path | None, script: Path | None, owner: str | None) -> None:
    from .files import create, user_id
    from .getkey_script import with_key

    user = user_id(owner) if owner else None
    if output:
        create(output, key.hex().encode() + b"\n", _KEY_MODE, user)
    elif script:
        create(script, with_key(key).encode(), _SCRIPT_MODE, user)


def _read_files(paths: list[Path]) -> list["Read"]:
    from . import shares as sharing
    from .secrets import read_secret

    read: list[Read] = []
    for path in paths:
        one = sharing.read(read_secret(path, exact=False).decode(), str(path))
        sharing.check_belongs(one, read, str(path))
        read.append(one)
    return read


def _ask_shares() -> list["Read"]:
    from ..errors import DataError
    from . import shares as sharing
    from .failure import report
    from .secrets import ask_secrets

    read: list[Read] = []
    needed = "?"
    while not read or len(read) < read[0].share.member_threshold:
        name = f"share {len(read) + 1} of {needed}"
        (typed,) = ask_secrets([f"{name.capitalize()}, its {sharing.WORDS} words"], confirm=False)
        try:
            one = sharing.read(typed.decode(), name)
            sharing.check_belongs(one, read, name)
        except DataError as error:
            # The others need not be typed again.
            report(error.message, error.hint)
            continue
        read.append(one)
        needed = str(one.share.member_threshold)
    return read
