"""Waiting for a condition in tests, instead of sleeping."""

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Poll until a condition is truthy, and return what it gave."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, f"it took longer than {seconds} s: {what}"
        time.sleep(0.001)


def wait_until_blocked(watcher: psycopg.Connection[Any], thread: threading.Thread, outcome: list[Any]) -> None:
    """Wait until a session waits for a lock. Its thread must run until then; the outcome explains a failure."""

    def is_blocked() -> bool:
        cursor = watcher.execute("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        assert thread.is_alive(), outcome
        return cursor.rowcount > 0

    wait_until(is_blocked, "a session waits for a lock")
