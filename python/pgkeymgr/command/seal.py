"""``pgkeymgr seal``: seal secrets for the server, for psql and other clients that cannot do it themselves."""

import re
from pathlib import Path
from typing import Annotated

import typer

from .failure import report_failures

_NOT_TEXT = "Use --exact to read the file byte for byte, with its final newline."


def _bytea(text: str) -> bytes:
    digits = text.removeprefix("\\x")
    if not re.fullmatch(r"([0-9A-Fa-f]{2})*", digits):
        raise typer.BadParameter(
            "invalid bytea value: write it in hexadecimal, as psql prints it with bytea_output = hex"
        )
    return bytes.fromhex(digits)


def _part(help_text: str) -> typer.models.ArgumentInfo:
    argument: typer.models.ArgumentInfo = typer.Argument(parser=_bytea, help=help_text, show_default=False)
    return argument


def seal(
    public: Annotated[bytes, _part("The public key of the offer, as psql prints it: \\x and hexadecimal digits.")],
    challenge: Annotated[bytes, _part("The challenge of the offer.")],
    server_key: Annotated[bytes, _part("The exchange key of the server.")],
    signature: Annotated[bytes, _part("The signature of the offer.")],
    fingerprint: Annotated[
        str, typer.Option(help="The fingerprint of the exchange key that you trust, from exchange_fingerprint().")
    ],
    secret_file: Annotated[
        list[Path] | None,
        typer.Option(
            help="A file with a secret; may be repeated, in the order of the secrets. A final newline is ignored."
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Read the files byte for byte, for example raw keys.")
    ] = False,
    secrets: Annotated[
        int | None, typer.Option(min=1, help="The number of secrets to ask for.", show_default="1")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="The prompt for a secret; repeated for each secret.")
    ] = None,
    confirm: Annotated[bool, typer.Option("--confirm", help="Ask for each secret twice.")] = False,
) -> None:
    r"""Seal secrets to an offer of the server, and print the sealed message for a function of the server.

    The secrets come from files or from the terminal. In psql:

    SELECT * FROM exchange_offer() \gset

    \set sealed `pgkeymgr seal :'public' :'challenge' :'server_key' :'signature' --fingerprint …`

    SELECT unlock_data_key('customers', :'sealed');
    """
    from ..sealed.message import Offer, check_offer
    from ..sealed.message import seal as seal_secrets
    from .secrets import ask_secrets, read_secret

    if secret_file and (secrets or label or confirm):
        raise typer.BadParameter("--secret-file excludes --secrets, --label and --confirm")
    if exact and not secret_file:
        raise typer.BadParameter("--exact requires --secret-file")
    if secrets and label and secrets != len(label):
        raise typer.BadParameter(f"--secrets is {secrets}, but --label was given {len(label)} times")
    labels = label or _labels(secrets or 1)
    with report_failures():
        offer = Offer(public, challenge, server_key, signature)
        # Check the offer before anybody types a secret for the wrong server.
        check_offer(offer, fingerprint)
        values = [read_secret(path, exact, _NOT_TEXT) for path in secret_file or ()]
        values = values or ask_secrets(labels, confirm, "Put the secret into a file, and use --secret-file.")
        typer.echo("\\x" + seal_secrets(offer, fingerprint, values).hex())


def _labels(count: int) -> list[str]:
    if count == 1:
        return ["Secret"]
    return [f"Secret {number} of {count}" for number in range(1, count + 1)]
