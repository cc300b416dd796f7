"""``pgkeymgr seal``: seal secrets for the server, where the client is psql or another that cannot do it itself."""

import re
from pathlib import Path
from typing import Annotated

import typer

from .failure import failures_reported


def _bytea(text: str) -> bytes:
    digits = text.removeprefix("\\x")
    if not re.fullmatch(r"([0-9A-Fa-f]{2})*", digits):
        raise typer.BadParameter("not a bytea in hexadecimal, as psql prints it with bytea_output = hex")
    return bytes.fromhex(digits)


def _part(help_text: str) -> typer.models.ArgumentInfo:
    argument: typer.models.ArgumentInfo = typer.Argument(parser=_bytea, help=help_text, show_default=False)
    return argument


def seal(
    public: Annotated[bytes, _part("The offer's public key, as psql prints it: \\x and hexadecimal digits.")],
    challenge: Annotated[bytes, _part("The offer's challenge.")],
    server_key: Annotated[bytes, _part("The server's exchange key.")],
    signature: Annotated[bytes, _part("The offer's signature.")],
    fingerprint: Annotated[
        str, typer.Option(help="Of the exchange key that you trust: exchange_fingerprint() told it, once.")
    ],
    secret_file: Annotated[
        list[Path] | None,
        typer.Option(help="A file with a secret, in their order; a newline at its end is not of the secret."),
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Take the files byte for byte: raw keys.")] = False,
    secrets: Annotated[int | None, typer.Option(min=1, help="How many secrets to ask for; 1 by default.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="What to ask for, once a secret.")] = None,
    confirm: Annotated[bool, typer.Option("--confirm", help="Ask for each secret twice.")] = False,
) -> None:
    r"""Seal secrets to an offer of the server, and print what to give to the function that wants them.

    They come from files, or are asked for on the terminal. In psql:

    SELECT * FROM exchange_offer() \gset

    \set sealed `pgkeymgr seal :'public' :'challenge' :'server_key' :'signature' --fingerprint …`

    SELECT unlock_data_key('customers', :'sealed');
    """
    from ..sealed.message import Offer, check_offer
    from ..sealed.message import seal as seal_secrets
    from .secrets import ask_secrets, read_secret

    if secret_file and (secrets or label or confirm):
        raise typer.BadParameter("with --secret-file, nothing is asked for: no --secrets, --label, --confirm")
    if exact and not secret_file:
        raise typer.BadParameter("--exact is for --secret-file")
    if secrets and label and secrets != len(label):
        raise typer.BadParameter(f"--secrets {secrets}, and --label {len(label)} times")
    labels = label or _labels(secrets or 1)
    with failures_reported():
        offer = Offer(public, challenge, server_key, signature)
        # Nobody should type a secret for a server that is not the right one.
        check_offer(offer, fingerprint)
        taken = [read_secret(path, exact) for path in secret_file or ()] or ask_secrets(labels, confirm)
        typer.echo("\\x" + seal_secrets(offer, fingerprint, taken).hex())


def _labels(count: int) -> list[str]:
    if count == 1:
        return ["Secret"]
    return [f"Secret {number} of {count}" for number in range(1, count + 1)]
