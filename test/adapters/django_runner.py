"""A runner for Django's own tests that encrypts all tables after they are made, and keeps each outcome."""

import os
import unittest
from pathlib import Path
from typing import Any

from django.db.backends.utils import CursorWrapper
from django.test.runner import DiscoverRunner

from adapters.everything import Record, encrypt_everything

_record = Record()
_execute = CursorWrapper._execute


def _recorded(self: Any, sql: Any, params: Any, *ignored: Any) -> Any:
    _record.statement(self.db.settings_dict["NAME"], str(sql), params)
    return _execute(self, sql, params, *ignored)


class Result(unittest.TextTestResult):
    """Keeps outcomes."""

    def startTest(self, test: unittest.TestCase) -> None:
        """Begin to look at statements."""
        _record.current = test.id()
        super().startTest(test)

    def stopTest(self, test: unittest.TestCase) -> None:
        """End that."""
        super().stopTest(test)
        _record.current = None

    def addSuccess(self, test: unittest.TestCase) -> None:
        """Keep a success."""
        super().addSuccess(test)
        _record.outcome(test.id(), "ok")

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        """Keep an error."""
        super().addError(test, err)
        _record.outcome(test.id(), "error", f"{err[0].__name__}: {err[1]}")

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        """Keep a failure."""
        super().addFailure(test, err)
        _record.outcome(test.id(), "failure", f"{err[0].__name__}: {err[1]}")

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        """Keep the failure of a part."""
        super().addSubTest(test, subtest, err)
        if err is not None:
            _record.outcome(test.id(), "failure", f"{err[0].__name__}: {err[1]}")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        """Keep that it was skipped."""
        super().addSkip(test, reason)
        _record.outcome(test.id(), "skip", reason)

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        """Keep a failure that Django expects."""
        super().addExpectedFailure(test, err)
        _record.outcome(test.id(), "expected failure")


class Runner(DiscoverRunner):
    """Encrypts, if $PGK_SUITE says so, and writes $RESULTS."""

    def get_resultclass(self) -> type[unittest.TextTestResult]:
        """Return the class that keeps outcomes."""
        return Result

    def setup_databases(self, **kwargs: Any) -> Any:
        """Make the tables, and encrypt them."""
        made = super().setup_databases(**kwargs)
        if os.environ["PGK_SUITE"] == "encrypted":
            for wrapper, _, _ in made:
                wrapper.ensure_connection()
                # It decides by itself what is applied before it looks at anything else.
                _record.counts.update(encrypt_everything(wrapper.connection, ["django_migrations"]))
                wrapper.forget_encrypted_tables()
                tables = wrapper.encrypted_tables
                _record.names[wrapper.settings_dict["NAME"]] = frozenset(
                    name for table in tables for name in (table.name, table.base)
                )
            CursorWrapper._execute = _recorded
        return made

    def run_suite(self, suite: Any, **kwargs: Any) -> Any:
        """Run, and write the results."""
        try:
            return super().run_suite(suite, **kwargs)
        finally:
            _record.write(Path(os.environ["RESULTS"]))
