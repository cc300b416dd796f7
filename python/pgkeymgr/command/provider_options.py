"""The options that name a key provider and its settings."""

import tomllib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ParameterError

if TYPE_CHECKING:
    from ..provider import Provider

Kind = Annotated[
    str | None,
    typer.Option(
        "--provider",
        metavar="KIND",
        help="A key provider: file, passphrase, command, pkcs11, kmip, aws-kms, vault.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="A setting of the provider, as in agent.toml; may be repeated."
    ),
]


def provider_of(kind: str, settings: Sequence[str]) -> "Provider":
    """Open the provider that the options name.

    Args:
        kind: the kind of the provider.
        settings: texts of the form ``name=value``. A value that is not valid TOML is a plain text.

    Returns:
        The provider. It asks for passphrases on the terminal.

    Raises:
        ParameterError: a setting does not have the form ``name=value``.
        ProviderError: the provider refuses its settings.
    """
    from ..provider import open_provider
    from .secrets import ask_secrets

    table: dict[str, Any] = {"kind": kind}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not (name and equals):
            raise ParameterError("invalid setting in --set", hint="Write --set name=value.")
        try:
            table[name] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            table[name] = value
    return open_provider(table, lambda prompt: ask_secrets([prompt.rstrip(": ")], confirm=False)[0])
