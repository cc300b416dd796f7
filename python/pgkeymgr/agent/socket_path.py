"""Where the agent's socket is.

Every backend that needs the root key asks this, the agent or not: so it imports nothing of the agent's.
"""

import os
from collections.abc import Mapping

from ..errors import AgentError

ENVIRONMENT = "PGKEYMGR_AGENT"
SOCKET = "/run/pgkeymgr/agent.sock"


def find_socket(environment: Mapping[str, str]) -> str | None:
    """Find the agent's socket.

    Args:
        environment: the server's.

    Returns:
        Its path: what $PGKEYMGR_AGENT says, or SOCKET if that exists; None if there is no agent to use.

    Raises:
        AgentError: the environment names a path that is not absolute.
    """
    named = environment.get(ENVIRONMENT)
    if not named:
        return SOCKET if os.path.lexists(SOCKET) else None
    if not os.path.isabs(named):
        raise AgentError(
            f'the agent\'s socket "{named}" is not an absolute path',
            hint=f"Correct {ENVIRONMENT} in the environment of the server, and restart it.",
        )
    return named
