"""The settings that Django's own tests run with; see tests/suites/runs.py for the variables.

With SUITES_ATOMIC=0 no test is wrapped in a transaction (as if the engine had none for tests): its reads are in
autocommit, as an application's are, and may go to workers.
"""

from __future__ import annotations

import os
import sys
from typing import Any

DRIVER = os.environ["SUITES_DRIVER"]
if DRIVER == "pymysql":
    import pymysql

    for loaded in [name for name in sys.modules if name.partition(".")[0] == "MySQLdb"]:
        del sys.modules[loaded]  # runtests.py imports mysqlclient where it is installed
    pymysql.install_as_MySQLdb()


def _database(name: str) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.mysql",
        "NAME": name,
        "HOST": "127.0.0.1",
        "PORT": os.environ["SUITES_PORT"],
        "USER": os.environ["SUITES_USER"],
        "PASSWORD": os.environ["SUITES_PASSWORD"],
        "TEST": {"CHARSET": "utf8mb4", "COLLATION": "utf8mb4_general_ci"},
    }


DATABASES = {"default": _database("django"), "other": _database("django_other")}
SECRET_KEY = "django_tests_secret_key"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
TEST_RUNNER = "split_runner.Runner"

if os.environ["SUITES_ATOMIC"] == "0":
    from django.db.backends.mysql.features import DatabaseFeatures

    DatabaseFeatures.supports_transactions = False
