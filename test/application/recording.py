"""The recorder of the three suites: each test records values, and a run writes the outcomes to a JSON file."""

import json
import os
import sys
import unittest
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]


def comparable(value: Any) -> Any:
    """Return a value as JSON holds it, with the types that a driver gave it kept apart."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{type(value).__name__}: {bytes(value).hex()}"
    if isinstance(value, Mapping):
        return {str(key): comparable(item) for key, item in value.items()}
    if isinstance(value, Iterable):
        return [comparable(item) for item in value]
    return f"{type(value).__name__}: {value}"


class Recording:
    """A mixin for test cases: what a test records is compared between the runs."""

    recorded: list[Any] | None = None

    def record(self, *values: Any) -> None:
        """Keep values for the comparison: none that differ from run to run by themselves."""
        self.recorded = [*(self.recorded or []), *map(comparable, values)]


class RecordingResult(unittest.TextTestResult):
    """Collects each test's outcome and the values that it recorded, and writes them when all have run."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.outcomes: dict[str, Any] = {}

    def _keep(self, test: unittest.TestCase, outcome: str) -> None:
        kept: dict[str, Any] = {"outcome": outcome}
        if recorded := getattr(test, "recorded", None):
            kept["recorded"] = recorded
        self.outcomes[test.id()] = kept

    def _keep_failure(self, test: unittest.TestCase, error: ExcInfo) -> None:
        # The whole of the traceback is in what unittest prints.
        self._keep(test, f"fail: {error[0].__name__ if error[0] else ''}: {error[1]}")

    def addSuccess(self, test: unittest.TestCase) -> None:
        """Keep a success."""
        super().addSuccess(test)
        self._keep(test, "ok")

    def addFailure(self, test: unittest.TestCase, err: ExcInfo) -> None:
        """Keep an assertion that did not hold."""
        super().addFailure(test, err)
        self._keep_failure(test, err)

    def addError(self, test: unittest.TestCase, err: ExcInfo) -> None:
        """Keep an error, of a test or of the set-up of a class."""
        super().addError(test, err)
        self._keep_failure(test, err)

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: ExcInfo | None) -> None:
        """Keep a sub-test that failed; the test itself is then no success."""
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._keep_failure(subtest, err)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        """Keep that a test was skipped, which counts as no success."""
        super().addSkip(test, reason)
        self._keep(test, f"skip: {reason}")

    def stopTestRun(self) -> None:
        """Write the file that $RESULTS names."""
        super().stopTestRun()
        Path(os.environ["RESULTS"]).write_text(json.dumps(self.outcomes, indent=1, sort_keys=True))


def main(*modules: str) -> int:
    """Run the test cases of some modules, and return the exit status."""
    suite = unittest.defaultTestLoader.loadTestsFromNames(modules)
    runner = unittest.TextTestRunner(sys.stderr, resultclass=RecordingResult)
    return 0 if runner.run(suite).wasSuccessful() else 1
