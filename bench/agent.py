"""The number of operations that the agent does in a second, with real client processes over the real socket."""

import argparse
import multiprocessing
import os
import secrets
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from typing import Any

from agent_process import Agent
from pgkeymgr.agent.remote import RemoteRootKey
from rich.console import Console
from rich.progress import track
from rich.table import Table

CLIENTS = (1, 4, 16)
OPERATIONS = ("derive", "wrap", "unwrap")
LIMIT = 10_000
"""Operations a second that several clients must get out of it."""


def _operation(name: str, path: str) -> Callable[[], bytes]:
    root_key = RemoteRootKey(path)
    made_under = root_key.fingerprint
    secret, associated_data = secrets.token_bytes(32), b"a key's uuid, and its type"
    wrapped = root_key.wrap(secret, associated_data)
    calls: dict[str, Callable[[], bytes]] = {
        "derive": lambda: root_key.derive(1, 32, b"pgsodium"),
        "wrap": lambda: root_key.wrap(secret, associated_data),
        "unwrap": lambda: root_key.unwrap(wrapped, associated_data, made_under),
    }
    return calls[name]


def _client(name: str, path: str, seconds: float, ready: Barrier, counts: Any, number: int) -> None:
    call = _operation(name, path)
    ready.wait()
    done = 0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        call()
        done += 1
    counts[number] = done


def _rate(name: str, path: str, clients: int, seconds: float) -> float:
    """Return the operations a second of that many client processes together."""
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(clients)
    counts = context.Array("q", clients)
    processes = [
        context.Process(target=_client, args=(name, path, seconds, ready, counts, number))
        for number in range(clients)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return float(sum(counts[:])) / seconds


def main() -> int:
    """Measure, print, and return 0 if several clients get LIMIT operations a second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rates: dict[tuple[str, int], list[float]] = {}
    with Agent([secrets.token_hex(32)], users=[str(os.geteuid())]) as agent:
        for _ in track(range(options.rounds), description="measuring", transient=True):
            for name in OPERATIONS:
                for clients in CLIENTS:
                    rate = _rate(name, str(agent.socket), clients, options.seconds)
                    rates.setdefault((name, clients), []).append(rate)
    table = Table(title=f"operations a second, of all clients together; median of {options.rounds} rounds")
    table.add_column("operation")
    for clients in CLIENTS:
        table.add_column(f"{clients} client{'s' if clients > 1 else ''}", justify="right")
    medians = {key: statistics.median(measured) for key, measured in rates.items()}
    for name in OPERATIONS:
        table.add_row(name, *(f"{medians[name, clients]:.0f}" for clients in CLIENTS))
    Console().print(table)
    slowest = min(rate for (_, clients), rate in medians.items() if clients > 1)
    print(f"The slowest with several clients: {slowest:.0f} a second (limit {LIMIT})")
    return 0 if slowest >= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
