"""Finds the agent's socket.

Every backend that needs the root key imports this module, also without an agent. So it imports no other module of
the agent.
"""

import os
from collections.abc import Mapping

from ..errors import AgentError

ENVIRONMENT = "PGKEYMGR_AGENT"
SOCKET = "/run/pgkeymgr/agent.sock"

NONE = "none"
"""The value of the variable for a server that does not use the agent of its machine."""


def find_socket(environment: Mapping[str, str]) -> str | None:
    """Return the path of the agent's socket.

    Args:
        environment: the server's environment.

    Returns:
        The path in $PGKEYMGR_AGENT, or SOCKET if that exists, or None if the server does not use an agent, also
        because the variable is NONE.

    Raises:
        AgentError: the environment names a path that is not absolute.
    """
    named = environment.get(ENVIRONMENT)
    if not named:
        return SOCKET if os.path.lexists(SOCKET) else None
    if named == NONE:
        return None
    if not os.path.isabs(named):
        raise AgentError(
            f'the agent\'s socket "{named}" is not an absolute path',
            hint=f"Correct {ENVIRONMENT} in the environment of the server, and restart it.",
        )
    return named
