"""Django's test runner that also writes each test's outcome to the file SUITES_OUTCOMES, one JSON array a line."""

from __future__ import annotations

import json
import os
import unittest
from pathlib import Path
from typing import Any

from django.test.runner import DiscoverRunner


class _Result(unittest.TextTestResult):
    def _write(self, test: Any, outcome: str) -> None:
        with Path(os.environ["SUITES_OUTCOMES"]).open("a", encoding="utf-8") as file:
            file.write(json.dumps([test.id(), outcome]) + "\n")

    def addSuccess(self, test: Any) -> None:
        super().addSuccess(test)
        self._write(test, "passed")

    def addFailure(self, test: Any, err: Any) -> None:
        super().addFailure(test, err)
        self._write(test, "failed")

    def addError(self, test: Any, err: Any) -> None:
        super().addError(test, err)
        self._write(test, "failed")

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._write(test, "failed")

    def addSkip(self, test: Any, reason: Any) -> None:
        super().addSkip(test, reason)
        self._write(test, "skipped")

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        super().addExpectedFailure(test, err)
        self._write(test, "skipped")

    def addUnexpectedSuccess(self, test: Any) -> None:
        super().addUnexpectedSuccess(test)
        self._write(test, "failed")


class Runner(DiscoverRunner):  # type: ignore[misc]  # Django has no types
    def get_resultclass(self) -> type[unittest.TextTestResult]:
        return super().get_resultclass() or _Result
