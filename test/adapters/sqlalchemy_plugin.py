"""A plugin of pytest for SQLAlchemy's own tests: it encrypts each table that is made, and keeps each outcome."""

import os
from pathlib import Path
from typing import Any

import pytest

from adapters.everything import Record, encrypt_everything

_record = Record()
_ENCRYPTED = os.environ.get("PGK_SUITE") == "encrypted"
_DATABASE = "the only one"


def pytest_configure() -> None:
    """Look at tables and statements."""
    if not _ENCRYPTED:
        return
    # Only now: SQLAlchemy's conftest decides which one is imported. The second registers the dialect.
    import pgkeymgr.sqlalchemy
    from sqlalchemy import Engine, Table, event
    from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

    # A dialect brings what SQLAlchemy's tests need for its database. Ours is for the same database as psycopg's.
    pgkeymgr.sqlalchemy.Dialect.load_provisioning = PGDialect_psycopg.load_provisioning  # type: ignore[method-assign]

    event.listen(Table, "after_create", _encrypt)
    event.listen(Engine, "before_cursor_execute", _statement)


def _encrypt(table: Any, connection: Any, **_: Any) -> None:
    driver = getattr(connection.connection, "driver_connection", None)
    # An engine that collects DDL is connected to nothing.
    if driver is None or connection.dialect.name != "postgresql" or connection.dialect.is_async:
        return
    name = connection.dialect.identifier_preparer.format_table(table)
    counts = encrypt_everything(driver, [], name)
    _record.counts.update(counts)
    if counts["tables"]:
        names = {table.name, f"{table.name}_encrypted"}
        _record.names[_DATABASE] = _record.names.get(_DATABASE, frozenset()) | names
    if hasattr(connection.dialect, "encrypted_tables"):
        connection.dialect.encrypted_tables = None


def _statement(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
    _record.statement(_DATABASE, statement)


def _name(nodeid: str) -> str:
    # SQLAlchemy puts the driver into the names of tests.
    return nodeid.replace("+pgkeymgr_", "+psycopg_")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logstart(nodeid: str) -> None:
    """Begin to look at statements of a test."""
    _record.current = _name(nodeid)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep an outcome."""
    if report.failed:
        _record.outcome(_name(report.nodeid), f"{report.when} error", report.longreprtext[-500:])
    elif report.skipped:
        _record.outcome(_name(report.nodeid), "skip")
    elif report.when == "call":
        _record.outcome(_name(report.nodeid), "ok")


def pytest_sessionfinish() -> None:
    """Write the results."""
    _record.write(Path(os.environ["RESULTS"]))
