"""Django's test runner that also writes each test's outcome to the file SUITES_OUTCOMES, one JSON array a line."""

import json
import os
import unittest
from pathlib import Path

from django.test.runner import DiscoverRunner


class _Result(unittest.TextTestResult):
    def _write(self, test, outcome):
        with Path(os.environ["SUITES_OUTCOMES"]).open("a", encoding="utf-8") as file:
            file.write(json.dumps([test.id(), outcome]) + "\n")

    def addSuccess(self, test):
        super().addSuccess(test)
        self._write(test, "passed")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._write(test, "failed")

    def addError(self, test, err):
        super().addError(test, err)
        self._write(test, "failed")

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._write(test, "failed")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._write(test, "skipped")

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self._write(test, "skipped")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self._write(test, "failed")


class Runner(DiscoverRunner):
    def get_resultclass(self):
        return super().get_resultclass() or _Result
