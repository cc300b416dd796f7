"""``pgkeymgr escrow``: split a copy of the root key into shares, and combine some of them to the key again."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .failure import report_failures
from .interface import Command, Group
from .output import Json, message, print_json
from .provider_options import Kind, Settings

if TYPE_CHECKING:
    from .shares import ReadShare

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Split the root key into shares for several people, and recover it from some of them.",
)

_EPILOG = "Exit status: 0, success; 1, failure, and nothing was written; 2, wrong usage."

_SHARE_MODE = 0o600
_KEY_MODE = 0o600
_SCRIPT_MODE = 0o500
_FORM_FEED = "\f"


@app.command(cls=Command, epilog=_EPILOG)
def split(
    threshold: Annotated[int, typer.Option(min=2, max=16, help="The number of shares that recover the key.")],
    shares: Annotated[int, typer.Option(min=2, max=16, help="The number of shares to make.")],
    getkey: Annotated[
        Path | None, typer.Option(help="Get the key from this getkey script.", show_default=False)
    ] = None,
    provider: Kind = None,
    settings: Settings = None,
    fingerprint: Annotated[
        str | None, typer.Option(help="Split the key with this fingerprint, for example a previous root key.")
    ] = None,
    output_directory: Annotated[
        Path | None, typer.Option(help="Write each share to a file that only you can read.")
    ] = None,
    stdout: Annotated[
        bool, typer.Option("--stdout", help="Print the shares even if stdout is not a terminal.")
    ] = False,
    json: Json = False,
) -> None:
    """Split the root key into shares, a page each. Without --getkey and --provider, the key is asked for."""
    from datetime import date

    from .. import root_key
    from . import shares as sharing

    if json and (output_directory is None or stdout):
        raise typer.BadParameter("--json requires --output-directory: the document has no shares in it")
    if threshold > shares:
        raise typer.BadParameter(f"--threshold is {threshold}, but there are only {shares} shares")
    with report_failures():
        if output_directory is None and not (stdout or sys.stdout.isatty()):
            raise typer.BadParameter("stdout is not a terminal: specify --output-directory or --stdout")
        key = _get_key(getkey, provider, settings or [], fingerprint)
        key_fingerprint = root_key.fingerprint(key)
        pages = [
            sharing.page(words, number, shares, threshold, key_fingerprint, date.today().isoformat())
            for number, words in enumerate(sharing.split(key, threshold, shares), 1)
        ]
        files = _write_pages(pages, output_directory) if output_directory else []
    if json:
        print_json(
            {
                "fingerprint": key_fingerprint,
                "threshold": threshold,
                "shares": shares,
                "files": [str(file) for file in files],
            }
        )
    elif files:
        for file in files:
            typer.echo(file)
        message(
            "Print each share or give it to its keeper. Then delete these files: together they are the root key."
        )
    else:
        typer.echo(_FORM_FEED.join(pages), nl=False)


@app.command(cls=Command, epilog=_EPILOG)
def combine(
    share_files: Annotated[
        list[Path] | None,
        typer.Argument(help="Files with one share each.", show_default="ask for the shares"),
    ] = None,
    fingerprint: Annotated[
        str | None,
        typer.Option(help="The fingerprint of the root key, as on the pages. The key is checked against it."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the key to this new file, which only you can read.")
    ] = None,
    script: Annotated[
        Path | None, typer.Option(help="Write a new getkey script that has the key in it.", show_default=False)
    ] = None,
    owner: Annotated[
        str | None,
        typer.Option(help="The owner of the new file: the server's user.", show_default="you"),
    ] = None,
    stdout: Annotated[bool, typer.Option("--stdout", help="Print the key.")] = False,
    json: Json = False,
) -> None:
    """Recover the root key from enough of its shares, and write it to a file."""
    from .. import root_key
    from ..root_key import memory
    from . import shares as sharing

    if (output is not None) + (script is not None) + stdout != 1:
        raise typer.BadParameter("specify exactly one of --output, --script, --stdout")
    if json and stdout:
        raise typer.BadParameter("--json requires --output or --script: the document has no key in it")
    with report_failures():
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
            message("Compare it with the fingerprint on the pages, since no fingerprint was given.")


def _get_key(getkey: Path | None, provider: str | None, settings: list[str], wanted: str | None) -> bytes:
    from .. import root_key
    from ..errors import ParameterError
    from ..root_key import memory

    memory.forbid_core_dumps()
    if getkey and provider:
        raise typer.BadParameter("--getkey and --provider exclude each other")
    if settings and not provider:
        raise typer.BadParameter("--set requires --provider")
    if getkey:
        from .present_key import run_getkey

        keys = run_getkey(getkey)
    elif provider:
        from .provider_options import provider_of

        keys = provider_of(provider, settings).load()
    else:
        keys = [_ask_key()]
    by_fingerprint = {root_key.fingerprint(key): key for key in keys}
    if wanted is None:
        if len(keys) > 1:
            message(
                f"There are {len(keys) - 1} previous root keys, which old backups need. "
                "Split them with --fingerprint."
            )
        return keys[0]
    if wanted.lower() not in by_fingerprint:
        raise ParameterError(
            f"root key {wanted} does not exist",
            hint=f"These root keys exist, the newest first: {', '.join(by_fingerprint)}.",
        )
    return by_fingerprint[wanted.lower()]


def _ask_key() -> bytes:
    from ..errors import DataError
    from .secrets import ask_secrets

    (typed,) = ask_secrets(["Root key, in hexadecimal"], confirm=False)
    if not re.fullmatch(rb"([0-9A-Fa-f]{64})", typed.strip()):
        raise DataError(
            "invalid root key",
            hint="A root key has 64 hexadecimal characters.",
        )
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
        # An incomplete set of shares is useless, and has secrets in it.
        for file in files:
            file.unlink()
        raise
    return files


def _write_key(key: bytes, output: Path | None, script: Path | None, owner: str | None) -> None:
    from .files import create, user_id
    from .getkey_script import script_for_key

    user = user_id(owner) if owner else None
    if output:
        create(output, key.hex().encode() + b"\n", _KEY_MODE, user)
    elif script:
        create(script, script_for_key(key).encode(), _SCRIPT_MODE, user)


def _read_files(paths: list[Path]) -> list["ReadShare"]:
    from . import shares as sharing
    from .secrets import read_secret

    read: list[ReadShare] = []
    for path in paths:
        text = read_secret(path, False, "Name a file with the text of one share.").decode()
        share = sharing.read(text, str(path))
        sharing.check_belongs(share, read, str(path))
        read.append(share)
    return read


def _ask_shares() -> list["ReadShare"]:
    from ..errors import DataError
    from . import shares as sharing
    from .failure import report
    from .secrets import ask_secrets

    read: list[ReadShare] = []
    needed = "?"
    while not read or len(read) < read[0].share.member_threshold:
        name = f"share {len(read) + 1} of {needed}"
        (typed,) = ask_secrets([f"{name.capitalize()}, its {sharing.WORDS} words"], confirm=False)
        try:
            share = sharing.read(typed.decode(), name)
            sharing.check_belongs(share, read, name)
        except DataError as error:
            # Ask for this share again, but not for the shares before it.
            report(error.message, error.hint)
            continue
        read.append(share)
        needed = str(share.share.member_threshold)
    return read
