"""``pgkeymgr agent``: run the agent, which holds the root key outside PostgreSQL, and administer it."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from .failure import report_failures
from .interface import Command, Group

NOT_RUNNING = 3
LOCKED = 4

agent = typer.Typer(
    cls=Group,
    no_args_is_help=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
)

_Socket = Annotated[
    Path | None,
    typer.Option(
        help="The agent's socket.",
        show_default="$PGKEYMGR_AGENT, or the socket in the configuration",
    ),
]
_Config = Annotated[
    Path | None,
    typer.Option(help="The configuration file.", show_default="/etc/pgkeymgr/agent.toml"),
]


@agent.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    socket: _Socket = None,
    config: _Config = None,
    getkey: Annotated[Path | None, typer.Option(help="The getkey script that prints the root key.")] = None,
    allow_user: Annotated[
        list[str] | None,
        typer.Option(
            help="The name or number of a user that a server runs as; may be repeated.",
            show_default="postgres",
        ),
    ] = None,
    max_clients: Annotated[int | None, typer.Option(min=1, help="The maximum number of connections.")] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="The port on which to serve metrics to Prometheus.", show_default="none"
        ),
    ] = None,
    metrics_address: Annotated[
        str | None,
        typer.Option(help="The loopback address on which to serve metrics.", show_default="127.0.0.1"),
    ] = None,
    checkpoints: Annotated[Path | None, typer.Option(help="The file of checkpoints of the audit trail.")] = None,
    no_lock_memory: Annotated[
        bool,
        typer.Option("--no-lock-memory", help="Run even if the memory cannot be locked, and can get into swap."),
    ] = False,
) -> None:
    """Hold the root key outside PostgreSQL, and let the server use it through a socket.

    Without a command, run as the agent: fetch the root key once, and serve until SIGTERM. SIGHUP reloads it.
    """
    if context.invoked_subcommand is not None:
        if any(
            context.get_parameter_source(name) is not None and context.get_parameter_source(name).name != "DEFAULT"  # type: ignore[union-attr]
            for name in context.params
        ):
            raise typer.BadParameter("write the options after the command")
        return
    from ..agent import service, settings

    with report_failures():
        chosen = settings.read(_text(config)).changed(
            socket=_text(socket) or os.environ.get("PGKEYMGR_AGENT") or None,
            getkey=_text(getkey),
            allow_users=tuple(allow_user) if allow_user else None,
            max_clients=max_clients,
            metrics_port=metrics_port,
            metrics_address=metrics_address,
            checkpoints=_text(checkpoints),
            lock_memory=False if no_lock_memory else None,
        )
        service.run(chosen, _ask if sys.stdin is not None and sys.stdin.isatty() else None)


@agent.command(cls=Command)
def status(
    socket: _Socket = None,
    config: _Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show whether the agent is running, and which root key it holds.

    The exit status is 0 if the agent has the root key, 1 after an error, 3 if the agent is not running, and 4 if
    it is locked.
    """
    from ..agent.remote import Control, UnreachableError

    with report_failures():
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
            typer.echo("The memory of the agent is not locked: the root key can get into swap.")
    if state["state"] == "locked":
        raise typer.Exit(LOCKED)


@agent.command("audit-keys", cls=Command)
def audit_keys(socket: _Socket = None, config: _Config = None) -> None:
    """Print the public keys of the checkpoints of the audit trail, for the auditor.

    There is a line for each root key and algorithm: the fingerprint of the root key, the algorithm, and the key.
    """
    from ..agent.remote import Control

    with report_failures():
        typer.echo(Control(_find(socket, config)).audit_keys(), nl=False)


@agent.command(cls=Command)
def lock(socket: _Socket = None, config: _Config = None) -> None:
    """Make the agent forget the root key until it is unlocked."""
    from ..agent.remote import Control

    with report_failures():
        path = _find(socket, config)
        Control(path).lock()
    typer.echo(f"The agent at {path} is locked.")


@agent.command(cls=Command)
def unlock(socket: _Socket = None, config: _Config = None) -> None:
    """Make a locked agent fetch the root key again. A passphrase of the provider is asked for here."""
    from ..agent.remote import Control

    with report_failures():
        path = _find(socket, config)
        Control(path).unlock(_ask)
    typer.echo(f"The agent at {path} has the root key.")


@agent.command(cls=Command)
def reload(socket: _Socket = None, config: _Config = None) -> None:
    """Make the agent fetch the root key again, for example after a rotation. If that fails, nothing changes."""
    from ..agent.remote import Control

    with report_failures():
        path = _find(socket, config)
        Control(path).reload(_ask)
    typer.echo(f"The agent at {path} has fetched the root key again.")


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
