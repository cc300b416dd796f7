"""Random statements on encrypted tables and plain ones, compared: see test/model."""

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import model
import pytest
from cluster import Cluster
from conftest import rows
from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from model.compare import OWNER, Comparison
from model.kinds import TYPES
from model.machine import Machine
from model.pair import Pair
from model.step import read
from model.tally import Tally

SEED = int(os.environ.get("PGK_MODEL_SEED", "16"))
"""CI takes the same examples each time."""
SECONDS = float(os.environ.get("PGK_MODEL_SECONDS", "0"))
"""The number of seconds to go on with random seeds instead."""
SHRINKS = os.environ.get("PGK_MODEL_SHRINK") != "0"
"""Without it, a failure is shown as it was found, which is quicker."""
EXAMPLES, STEPS = 60, 50
CASES = sorted((Path(model.__file__).parent / "cases").glob("*.sql"))
PLAIN, ENCRYPTED = "model_plain", "model_encrypted"


@contextmanager
def sessions() -> Iterator[Pair]:
    """Start a server, and open the sessions in a database without the extension and in one with it."""
    with Cluster(settings={"autovacuum": "off", "max_connections": "20"}) as running:
        running.create_database(ENCRYPTED, has_traps=False)
        with running.connect() as connection:
            connection.execute(f"CREATE DATABASE {PLAIN}")
            rows(connection, f"CREATE ROLE {OWNER}")
            rows(connection, f"GRANT pgkeymgr_admin TO {OWNER}")
        for database in (PLAIN, ENCRYPTED):
            with running.connect(database) as connection:
                connection.execute(TYPES)
        with Pair(*map(running.connect, (PLAIN, ENCRYPTED, ENCRYPTED))) as opened:
            yield opened


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """The sessions of all tests."""
    with sessions() as opened:
        yield opened


@pytest.fixture(scope="module")
def tally() -> Tally:
    """The counts of this module's tests."""
    return Tally()


def run(pair: Pair, tally: Tally, number: int) -> None:
    Machine.pair, Machine.tally = pair, tally
    run_state_machine_as_test(
        seed(number)(type("Seeded", (Machine,), {})),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, *([Phase.shrink] if SHRINKS else [])],
            report_multiple_bugs=False,
            verbosity=Verbosity.quiet,
        ),
    )


def test_model(pair: Pair, tally: Tally, record_property: Callable[[str, object], None]) -> None:
    deadline = time.monotonic() + SECONDS
    number = SEED if not SECONDS else secrets.randbelow(2**32)
    try:
        while True:
            print(f"PGK_MODEL_SEED={number}")
            run(pair, tally, number)
            if time.monotonic() >= deadline:
                break
            number = secrets.randbelow(2**32)
    finally:
        record_property("summary", f"seed {number}: {tally}")


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_an_example_that_failed_once(pair: Pair, tally: Tally, path: Path) -> None:
    # Each has failed once.
    tally.examples += 1
    comparison = Comparison(pair, tally.examples, tally)
    try:
        for step in read(path):
            comparison.run(step)
    finally:
        comparison.drop()
