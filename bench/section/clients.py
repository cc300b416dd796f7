"""Several clients at once, with pgbench: transactions a second, of one statement each."""

import signal
import subprocess
import time
from pathlib import Path

from measure import NOOP, OURS, PGCRYPTO, PLAIN, Bench, Work

from section import columns

CLIENTS = (1, 2, 4, 8)
SELECT = "SELECT of one row"
INSERT = "INSERT of one row"

_WAYS = (OURS, PLAIN, NOOP, PGCRYPTO)
_SETUP = """
CREATE TABLE written_customer (LIKE plain INCLUDING ALL);
CREATE TABLE written_plain (LIKE plain INCLUDING ALL);
CREATE TABLE written_plain_noop (LIKE plain INCLUDING ALL);
CREATE TABLE written_aes (LIKE aes INCLUDING ALL);
SELECT pgkeymgr.encrypt_column('written_customer', 'ssn');
CREATE SEQUENCE written_id CACHE 100
"""
# A client's first transaction, which brings its session to where it stays, is not counted. It takes
# longer, the more clients there are for each core.
_SECONDS = 0.4
_SECONDS_A_CLIENT = 0.04


def measure(bench: Bench) -> list[Work]:
    """Measure both kinds of transactions with each number of clients."""
    bench.run(_SETUP)
    folder = bench.cluster.directory / "pgbench"
    folder.mkdir()
    rows = bench.value("SELECT max(id) FROM customer")
    scripts = {}
    for way in _WAYS:
        table = columns.TABLES[way]
        # Some rows were deleted by another section; all tables have lost the same ones.
        scripts[SELECT, way] = (
            f"\\set id random({rows // 2}, {rows})\nSELECT name, {table.read} FROM {table.name} WHERE id = :id;\n"
        )
        value = table.write.format("'123-45-6789 of somebody'::text")
        scripts[INSERT, way] = (
            f"INSERT INTO written_{table.name} {columns.COLUMNS} VALUES "
            f"(nextval('written_id'), 'name', {value}, '1990-01-01');\n"
        )
    paths = {}
    for number, (key, script) in enumerate(scripts.items()):
        paths[key] = folder / f"script{number}.sql"
        paths[key].write_text(script)
    counts = CLIENTS if not bench.is_quick else CLIENTS[::2]
    ways = _WAYS if not bench.is_quick else _WAYS[:2]
    tasks = {
        (name, clients, way): lambda path=path, clients=clients: _rate(bench, path, clients)
        for clients in counts
        for (name, way), path in paths.items()
        if way in ways
    }
    samples = bench.take_turns("clients", tasks)
    return [
        Work(f"{name}, {clients} clients", "a second", {way: samples[name, clients, way] for way in ways})
        for name in (SELECT, INSERT)
        for clients in counts
    ]


def _rate(bench: Bench, script: Path, clients: int) -> float:
    """Return the transactions a second from when all clients are warm until pgbench stops."""
    seconds = _SECONDS + _SECONDS_A_CLIENT * clients
    for times_as_long in (1, 2, 4, 8):
        ends = _run(bench, script, clients, times_as_long * seconds)
        if len(ends) == clients:
            warm = max(times[0] for times in ends.values())
            counted = [at for times in ends.values() for at in times if at > warm]
            if counted:
                return len(counted) / (max(counted) - warm)
    raise RuntimeError(f"pgbench's {clients} clients are not warm after {8 * seconds:.0f} s")


def _run(bench: Bench, script: Path, clients: int, seconds: float) -> dict[int, list[float]]:
    """Run pgbench, and return when each client's transactions ended."""
    log = script.with_suffix(".log")
    command: list[str | Path] = [bench.cluster.bin / "pgbench", "--no-vacuum", "--log", f"--log-prefix={log}"]
    command += [f"--client={clients}", "--time=60", "--protocol=prepared", f"--file={script}"]
    with subprocess.Popen(
        command,
        env=bench.cluster.client_environment("bench"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as pgbench:
        time.sleep(seconds)
        # It takes whole seconds only; this is the signal by which it stops when its time is over.
        pgbench.send_signal(signal.SIGALRM)
        output, _ = pgbench.communicate()
    # The signal ends it where it came before pgbench expected it.
    if pgbench.returncode not in (0, -signal.SIGALRM):
        raise RuntimeError(f"pgbench failed:\n{output}")
    ends: dict[int, list[float]] = {}
    for path in script.parent.glob(f"{log.name}.*"):
        if pgbench.returncode == 0:
            for line in path.read_text().splitlines():
                client, _, _, _, at, microseconds, *_ = line.split()
                ends.setdefault(int(client), []).append(int(at) + int(microseconds) / 1e6)
        path.unlink()
    return ends
