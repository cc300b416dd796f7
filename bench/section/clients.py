"""Several clients at once, with pgbench: transactions a second, most of them of one statement."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from measure import NOOP, OURS, PGCRYPTO, PLAIN, TRIGGER, Bench, Work

from section import columns

CLIENTS = (1, 2, 4, 8)
READ = "SELECT of one row"
INSERT = "INSERT of one row"
UPDATE = "UPDATE of another column of one row"
DELETE = "DELETE of one row"
MIXED = "a transaction that reads, updates and reads a row"

WAYS = {
    READ: (OURS, PLAIN, NOOP, PGCRYPTO),
    INSERT: (OURS, PLAIN, NOOP, TRIGGER, PGCRYPTO),
    UPDATE: (OURS, PLAIN, NOOP, TRIGGER),
    DELETE: (OURS, PLAIN, NOOP),
    MIXED: (OURS, PLAIN, NOOP),
}
"""The ways of each transaction. The other ways do not differ from a plain table in it."""

_TABLES = {
    OURS: "client_customer",
    PLAIN: "client_plain",
    NOOP: "client_noop",
    TRIGGER: "client_triggered",
    PGCRYPTO: "client_aes",
}
_READS = {NOOP: "noop(ssn)", PGCRYPTO: columns.TABLES[PGCRYPTO].read}
_ROWS = 20_000

# The view of the no-op decrypts nothing, and the one with triggers only passes on what it is given.
_SETUP = f"""
CREATE TABLE client_plain (LIKE plain INCLUDING ALL);
CREATE TABLE client_customer (LIKE plain INCLUDING ALL);
CREATE TABLE client_noop_base (LIKE plain INCLUDING ALL);
CREATE VIEW client_noop AS SELECT id, name, noop(ssn) AS ssn, born FROM client_noop_base;
CREATE TABLE client_triggered_base (LIKE plain INCLUDING ALL);
CREATE VIEW client_triggered AS SELECT * FROM client_triggered_base;
CREATE TABLE client_aes (LIKE aes INCLUDING ALL);
SELECT pgkeymgr.encrypt_column('client_customer', 'ssn');
INSERT INTO client_customer SELECT id, name, ssn, born FROM source LIMIT {_ROWS};
CREATE TABLE client_sealed AS SELECT * FROM client_customer_encrypted;
INSERT INTO client_aes SELECT id, name, encrypt(ssn::bytea, {columns.KEY}, 'aes'), born FROM source LIMIT {_ROWS};
CREATE SEQUENCE client_id START {_ROWS + 1} CACHE 100
"""
_BASES = {
    OURS: "client_customer_encrypted",
    PLAIN: "client_plain",
    NOOP: "client_noop_base",
    TRIGGER: "client_triggered_base",
    PGCRYPTO: "client_aes",
}

# Each client has rows of its own, so that none waits for another's.
_RANDOM = "\\set id random(0, {per_client} - 1) * {clients} + :client_id + 1\n"
_SCRIPTS = {
    READ: _RANDOM + "SELECT name, {read} FROM {table} WHERE id = :id;\n",
    INSERT: (
        "INSERT INTO {table} (id, name, ssn, born) VALUES (nextval('client_id'), 'name', {write}, '1990-01-01');\n"
    ),
    UPDATE: _RANDOM + "UPDATE {table} SET name = 'name of ' || :id WHERE id = :id;\n",
    DELETE: "\\set id :id + {clients}\n\\set row :id + :client_id\nDELETE FROM {table} WHERE id = :row;\n",
    MIXED: (
        _RANDOM + "BEGIN;\nSELECT name, {read} FROM {table} WHERE id = :id;\n"
        "UPDATE {table} SET name = 'name of ' || :id WHERE id = :id;\n"
        "SELECT name, {read} FROM {table} WHERE id = :id;\nCOMMIT;\n"
    ),
}
_VALUE = "'123-45-6789 of somebody'"

# A client's first transaction, which brings its session to where it stays, is not counted. It takes
# longer, the more clients there are for each core.
_SECONDS = 0.4
_SECONDS_A_CLIENT = 0.04


def measure(bench: Bench) -> list[Work]:
    """Measure all kinds of transactions with each number of clients."""
    counts = CLIENTS if not bench.is_quick else CLIENTS[1:2]
    return rates(bench, WAYS, counts)


def rates(bench: Bench, names: Iterable[str], counts: Iterable[int]) -> list[Work]:
    """Measure some kinds of transactions.

    Args:
        bench: with the tables of the section ``columns``.
        names: the kinds.
        counts: the numbers of clients.
    """
    counts = tuple(counts)
    _prepare(bench)
    folder = bench.cluster.directory / "pgbench"
    folder.mkdir()
    tasks: dict[tuple[str, int, str], Callable[[], float]] = {}
    for name in names:
        for clients in counts:
            for way in WAYS[name]:
                path = folder / f"script{len(tasks)}.sql"
                path.write_text(_script(name, way, clients))
                tasks[name, clients, way] = partial(_rate, bench, name, way, path, clients)
    samples = bench.take_turns("clients", tasks)
    return [
        Work(
            f"{name}, {clients} clients",
            "a second",
            {way: samples[name, clients, way] for way in WAYS[name]},
        )
        for name in names
        for clients in counts
    ]


def _prepare(bench: Bench) -> None:
    bench.run(_SETUP)
    bench.connection.execute(columns.triggers_of("client_triggered", "client_triggered_base").encode())
    for way in (PLAIN, NOOP, TRIGGER):
        bench.run(f"INSERT INTO {_BASES[way]} SELECT id, name, ssn, born FROM source LIMIT {_ROWS}")
    for base in _BASES.values():
        bench.run(f"VACUUM ANALYZE {base}")


def _script(name: str, way: str, clients: int) -> str:
    read = _READS.get(way, "ssn") if way != NOOP else "ssn"
    write = {PGCRYPTO: f"encrypt({_VALUE}::bytea, {columns.KEY}, 'aes')"}.get(way, _VALUE)
    table = _TABLES[way]
    if way == NOOP and name == INSERT:
        table, write = _BASES[way], f"noop({_VALUE})"
    return _SCRIPTS[name].format(clients=clients, per_client=_ROWS // clients, read=read, write=write, table=table)


def _refill(bench: Bench, way: str) -> None:
    source = "client_sealed" if way == OURS else f"source LIMIT {_ROWS}"
    names = "*" if way == OURS else "id, name, ssn, born"
    with bench.connection.transaction():
        # So the base table's trigger leaves the ciphertexts as they are.
        bench.run(
            f"TRUNCATE {_BASES[way]}; SET LOCAL session_replication_role = replica;"
            f"INSERT INTO {_BASES[way]} SELECT {names} FROM {source}"
        )
    bench.run(f"VACUUM ANALYZE {_BASES[way]}; CHECKPOINT")


def _rate(bench: Bench, name: str, way: str, script: Path, clients: int) -> float:
    """Return the transactions a second from when all clients are warm until pgbench stops."""
    seconds = _SECONDS + _SECONDS_A_CLIENT * clients
    for times_as_long in (1, 2, 4, 8):
        ends = _run(bench, script, clients, times_as_long * seconds)
        if name == DELETE:
            _refill(bench, way)
        if len(ends) == clients:
            warm = max(times[0] for times in ends.values())
            last = min(times[: _ROWS // clients][-1] for times in ends.values()) if name == DELETE else None
            counted = [at for times in ends.values() for at in times if at > warm and (last is None or at <= last)]
            if counted:
                return len(counted) / (max(counted) - warm)
    raise RuntimeError(f"pgbench's {clients} clients are not warm after {8 * seconds:.0f} s")


def _run(bench: Bench, script: Path, clients: int, seconds: float) -> dict[int, list[float]]:
    """Run pgbench, and return when each client's transactions ended."""
    log = script.with_suffix(".log")
    command: list[str | Path] = [bench.cluster.bin / "pgbench", "--no-vacuum", "--log", f"--log-prefix={log}"]
    command += [f"--client={clients}", "--time=60", "--protocol=prepared", f"--file={script}"]
    command += [f"--define=id={1 - clients}"]
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
