"""A database of one test, and sessions in it."""

import contextlib
from collections.abc import Iterator
from typing import Any

from cluster import Cluster
from conftest import Connection


class Database:
    """A database with the extension, of one test.

    Attributes:
        search_path: the path of its sessions.
    """

    search_path = "public,pgkeymgr"

    def __init__(self, server: Cluster, name: str) -> None:
        self.server = server
        self.name = name

    def connect(self, user: str = "postgres", **more: Any) -> Connection:
        """Open a session with the search path."""
        return self.server.connect(self.name, user=user, options=f"-c search_path={self.search_path}", **more)

    @contextlib.contextmanager
    def session(self, user: str = "postgres") -> Iterator[Connection]:
        """Open a session that ends with the block."""
        connection = self.connect(user)
        try:
            yield connection
        finally:
            connection.close()
