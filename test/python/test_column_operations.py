"""migrate_column, rotate_column and decrypt_column under load, stopped at arbitrary points, and started again."""

import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import column_workload
import pytest
from column_workload import (
    OPERATIONS,
    SEED,
    STATES,
    Call,
    Target,
    Workload,
    check_result,
    is_lost,
    left,
    make_ready,
    make_table,
    needs,
    progress,
    seeded,
    state_of,
)
from conftest import Connection, value
from psycopg import errors
from waiting import wait_until

server = column_workload.server
target = column_workload.target
report = column_workload.report


@pytest.mark.parametrize("operation", OPERATIONS)
def test_under_load(target: Target, operation: str, report: Callable[[str], None]) -> None:
    with target.session() as admin:
        initial = make_table(admin, 10_000)
        make_ready(admin, operation)
        with Workload(target, initial) as workload:
            workload.work(100)
            call = Call(target, operation, 500)
            call.finish()
            # It goes on afterwards.
            workload.work(200)
            verified = workload.settle(admin)
            check_result(admin, operation, workload.model.rows())
            workload.resume()
        report(
            f"{operation}, under load: {call.seconds:.1f} s, {verified} rows verified,"
            f" {workload.figure('writes')} transactions, {workload.figure('retries')} of them again after 40001,"
            f" {workload.figure('reads')} reads with {workload.figure('rows')} rows,"
            f" the longest took {workload.longest:.2f} s"
        )


# Stopped at arbitrary points

STOPS = ["backend"] * 8 + ["server"] * 4 + ["cancel"] * 3


@dataclass
class Stopped:
    """An operation that is stopped again and again, while the workload goes on."""

    target: Target
    operation: str
    workload: Workload
    random: random.Random
    figures: Counter[str] = field(default_factory=Counter)

    def stop(self, how: str, share: float) -> bool:
        """Start the procedure, and stop it at random in a share of what is left. Return whether it got there."""
        with contextlib.ExitStack() as stack:
            admin = stack.enter_context(self.target.session())
            todo = value(admin, f"SELECT count(*) FROM customer_encrypted WHERE {needs(self.operation)}")
            done, _ = progress(admin) or (0, 0)
            if state_of(admin) != STATES[self.operation]:
                todo = len(self.workload.model.rows())
            mark = done + self.random.random() * share * todo
            # Some of these are less than a block has rows, some are more.
            call = Call(self.target, self.operation, self.random.choice([20, 50, 100, 400]))
            call.wait_for(admin, mark)
            if not call.is_alive():
                call.finish()
                self.figures["ends"] += 1
                make_ready(admin, self.operation)
                return False
            self._stop(how, call, admin)
        is_stopped = self._go_on(call)
        self.figures[how if is_stopped else "ends"] += 1
        return is_stopped

    def stop_at_the_end(self) -> None:
        """Kill the procedure while it waits for a reader's transaction to end, with all rows done."""
        with contextlib.ExitStack() as stack:
            admin = stack.enter_context(self.target.session())
            reader = stack.enter_context(self.target.session())
            reader.execute("BEGIN")
            reader.execute("SELECT FROM customer LIMIT 1")
            call = Call(self.target, self.operation)
            wait_until(lambda: left(admin, self.operation) == 0 or not call.is_alive(), "all rows")
            assert call.is_alive(), call.error
            self._stop("backend", call, admin)
        assert self._go_on(call)
        self.figures["backend"] += 1

    def _stop(self, how: str, call: Call, admin: Connection) -> None:
        server = self.target.server
        if how == "cancel":
            admin.execute("SELECT pg_cancel_backend(%s)", [call.pid])
            return
        self.workload.expects_crash = True
        if how == "server":
            server.kill()
            server.start()
            return
        os.kill(call.pid, signal.SIGKILL)
        server.wait_until_recovered(admin)

    def _go_on(self, call: Call) -> bool:
        call.join(60)
        assert not call.is_alive()
        # Without an error, the signal came too late: it has ended.
        if call.error is not None:
            assert isinstance(call.error, errors.QueryCanceled) or is_lost(call.error), call.error
        self.target.server.wait_until_ready()
        with self.target.session() as admin:
            self.figures["verified"] += self.workload.settle(admin)
            self.workload.resume()
            if call.error is None:
                make_ready(admin, self.operation)
        return call.error is not None


@pytest.mark.parametrize("operation", OPERATIONS)
def test_stopped_at_arbitrary_points(target: Target, operation: str, report: Callable[[str], None]) -> None:
    with target.session() as admin:
        initial = make_table(admin, 8_000)
        make_ready(admin, operation)
    with Workload(target, initial, writers=3, readers=2) as workload:
        stopped = Stopped(target, operation, workload, seeded(operation))
        stops = stopped.random.sample(STOPS, len(STOPS))
        while stops:
            # In the meantime, the writers do some of the rows.
            if stopped.stop(stops[-1], 0.6 / len(stops)):
                stops.pop()
        if operation != "rotate":
            # The others have a column to drop, and have to wait for who uses the table.
            stopped.stop_at_the_end()
        Call(target, operation).finish()
        with target.session() as admin:
            stopped.figures["verified"] += workload.settle(admin)
            check_result(admin, operation, workload.model.rows())
        workload.resume()
    figures = stopped.figures
    assert figures["backend"] >= 8
    assert figures["server"] >= 4
    report(
        f"{operation}, stopped: {figures['backend']} backends and {figures['server']} servers killed,"
        f" {figures['cancel']} statements cancelled, {figures['verified']} rows verified,"
        f" {workload.figure('writes')} transactions, {workload.figure('ambiguous')} of them looked up,"
        f" {workload.figure('retries')} again after 40001, {workload.figure('reads')} reads;"
        f" it ended before it was stopped {figures['ends']} times; seed {SEED}"
    )
