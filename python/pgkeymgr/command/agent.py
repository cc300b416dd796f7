"""``pgkeymgr agent``: the process that holds the root key outside PostgreSQL, and its administration."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from .failure import failures_reported

NOT_RUNNING = 3
LOCKED = 4

agent = typer.Typer(no_args_is_help=False, pretty_exceptions_enable=False, pretty_exceptions_show_locals=False)

_Socket = Annotated[
    Path | None,
    typer.Option(help="The agent's socket; by default that of $PGKEYMGR_AGENT, or of the configuration."),
]
_Config = Annotated[
    Path | None, typer.Option(help="The configuration; /etc/pgkeymgr/agent.toml by default.", show_default=False)
]


@agent.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    socket: _Socket = None,
    config: _Config = None,
    getkey: Annotated[Path | None, typer.Option(help="The getkey script that has the root key.")] = None,
    allow_user: Annotated[
        list[str] | None,
        typer.Option(help="A user, by name or number, that a server runs as; postgres by default."),
    ] = None,
    max_clients: Annotated[int | None, typer.Option(min=1, help="How many connections to keep.")] = None,
    no_lock_memory: Annotated[
        bool, typer.Option("--no-lock-memory", help="Run even though memory can get into swap.")
    ] = False,
) -> None:
    """Hold the root key outside PostgreSQL, and let the server use it through a socket.

    Without a command, be the agent: get the root key once, and serve until SIGTERM. SIGHUP is a reload.
    """
    if context.invoked_subcommand is not None:
        if any(
            context.get_parameter_source(name) is not None and context.get_parameter_source(name).name != "DEFAULT"  # type: ignore[union-attr]
            for name in context.params
        ):
            raise typer.BadParameter("options go behind the command")
        return
    from ..agent import service, settings

    with failures_reported():
        taken = settings.read(_text(config)).changed(
            socket=_text(socket) or os.environ.get("PGKEYMGR_AGENT") or None,
            getkey=_text(getkey),
            allow_users=tuple(allow_user) if allow_user else None,
            max_clients=max_clients,
            lock_memory=False if no_lock_memory else None,
        )
        service.run(taken, _ask if sys.stdin is not None and sys.stdin.isatty() else None)


@agent.command()
def status(
    socket: _Socket = None,
    config: _Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it, as JSON.")] = False,
) -> None:
    """Tell whether an agent is running, and which root key it holds.

    The exit status is 0 if it has the root key, 1 for an error, 3 if it is not running, 4 if it is locked.
    """
    from ..agent.remote import Control, UnreachableError

    with failures_reported():
        path = _find(socket, config)
        try:
            state = Control(path).status()
        except UnreachableError as error:
            if as_json:
                typer.echo(json.dumps({"state": "not running", "socket": path}))
            else:
                typer.echo(f"pgkeymgr: {error.message}", err=True)
            raise typer.Exit(NOT_RUNNING) from None
    if as_json:
        typer.echo(json.dumps(state, indent=2))
    else:
        typer.echo(f"The agent at {path} is {state['state']}.")
        if state["fingerprint"]:
            typer.echo(f"root key     {state['fingerprint']}, from {state['source']}")
        for fingerprint in state["previous"]:
            typer.echo(f"previous     {fingerprint}")
        typer.echo(f"process      {state['pid']}, of user id {state['uid']}, since {state['started']}")
        typer.echo(f"clients      {state['clients']} of at most {state['max_clients']}")
        if not state["memory_locked"]:
            typer.echo("Its memory is not locked: the root key can get into swap.")
    if state["state"] == "locked":
        raise typer.Exit(LOCKED)


@agent.command()
def lock(socket: _Socket = None, config: _Config = None) -> None:
    """Have the agent forget the root key, until it is unlocked."""
    from ..agent.remote import Control

    with failures_reported():
        Control(_find(socket, config)).lock()


@agent.command()
def unlock(socket: _Socket = None, config: _Config = None) -> None:
    """Have a locked agent get the root key anew; if the provider wants a passphrase, it is asked for here."""
    from ..agent.remote import Control

    with failures_reported():
        Control(_find(socket, config)).unlock(_ask)


@agent.command()
def reload(socket: _Socket = None, config: _Config = None) -> None:
    """Have the agent get the root key anew, after a rotation say; if that fails, it keeps what it has."""
    from ..agent.remote import Control

    with failures_reported():
        Control(_find(socket, config)).reload(_ask)


def _ask(prompt: str) -> bytes:
    from .secrets import ask_secrets

    (secret,) = ask_secrets([prompt.rstrip(": ")], confirm=False)
    return secret


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())


def _find(socket: Path | None, config: Path | None) -> str:
    from ..agent import settings
    from ..agent.socket_path import ENVIRONMENT, find_socket

    if socket is not None:
        return str(socket.absolute())
    if config is None and os.environ.get(ENVIRONMENT):
        return find_socket(os.environ) or ""
    return settings.read(_text(config)).socket
