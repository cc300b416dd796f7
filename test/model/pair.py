"""Two sessions, in the plain database and in the encrypted one, that run statements at the same time."""

from typing import Any, NamedTuple, Self

import psycopg
from psycopg import pq

CANCELLED = "57014"
"""The SQLSTATE of a statement that was cancelled."""


class Outcome(NamedTuple):
    """How the statements of a side ended.

    Attributes:
        sqlstate: of the error, or empty.
        message: of the error.
        results: of each statement that ended well, its command tag and its rows.
    """

    sqlstate: str
    message: str
    results: list[tuple[str, list[tuple[Any, ...]]]]


class Side:
    """One session."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self._protocol = connection.pgconn
        self._copy = b""

    def send(self, sql: str, copy: str = "") -> None:
        """Send statements, which are one string and so one round trip, without waiting for them."""
        self._copy = copy.encode()
        self._protocol.send_query(sql.encode())

    def receive(self) -> Outcome:
        """Wait for what was sent, and end a transaction that it has left open."""
        outcome = Outcome("", "", [])
        while (result := self._protocol.get_result()) is not None:
            if result.status == pq.ExecStatus.FATAL_ERROR:
                sqlstate = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
                outcome = outcome._replace(sqlstate=sqlstate, message=result.error_message.decode())
            elif result.status == pq.ExecStatus.COPY_IN:
                self._protocol.put_copy_data(self._copy)
                self._protocol.put_copy_end()
            else:
                rows = [
                    tuple(result.get_value(row, column) for column in range(result.nfields))
                    for row in range(result.ntuples)
                ]
                outcome.results.append(((result.command_status or b"").decode(), rows))
        if self._protocol.transaction_status != pq.TransactionStatus.IDLE:
            self._protocol.exec_(b"ROLLBACK")
        return outcome

    def is_busy(self) -> bool:
        """Return whether what was sent is still running."""
        self._protocol.consume_input()
        return bool(self._protocol.is_busy())

    def run(self, sql: str) -> Outcome:
        """Run statements."""
        self.send(sql)
        return self.receive()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Run statements that must succeed, and return the rows of the last."""
        outcome = self.run(sql)
        assert not outcome.sqlstate, f"{outcome.message}\n{sql}"
        return outcome.results[-1][1]


class Pair:
    """The two sessions, and one more of a superuser on the encrypted side; a context manager that closes them."""

    def __init__(self, plain: psycopg.Connection[Any], *encrypted: psycopg.Connection[Any]) -> None:
        self.plain = Side(plain)
        self.encrypted, self.other = map(Side, encrypted)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.plain.connection.close()
        self.encrypted.connection.close()
        self.other.connection.close()

    def run(self, plain: str, encrypted: str, copy: str = "") -> tuple[Outcome, Outcome]:
        """Run statements on both sides at the same time; nothing on a side whose text is empty."""
        if plain:
            self.plain.send(plain, copy)
        if encrypted:
            self.encrypted.send(encrypted, copy)
        nothing = Outcome("", "", [])
        return (
            self.plain.receive() if plain else nothing,
            self.encrypted.receive() if encrypted else nothing,
        )

    def interrupt(self, blocker: str, sql: str) -> Outcome:
        """Run a statement on the encrypted side, and cancel it when it waits for another session.

        Args:
            blocker: what the other session does in a transaction.
            sql: the statement.

        Returns:
            The end of the statement: it may have had nothing to wait for.
        """
        other = self.other.connection
        pid = self.encrypted.connection.info.backend_pid
        with other.transaction():
            other.execute(blocker.encode())
            self.encrypted.send(sql)
            while self.encrypted.is_busy():
                if other.execute("SELECT pg_blocking_pids(%s) <> '{}'", [pid]).fetchone() == (True,):
                    other.execute("SELECT pg_cancel_backend(%s)", [pid])
                    break
            return self.encrypted.receive()
