"""Makes the daemon's accounts on a managed MySQL: hop.sh runs it on the proxy's host with the package's interpreter.

    MASTER_SECRET=ARN APP_DB_PASSWORD=... MONITOR_PASSWORD=... managed.py HOST CA_FILE

The master's password comes from Secrets Manager, where the service keeps it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pymysql

host, ca = sys.argv[1:]
shown = subprocess.run(
    [
        *[
            "aws",
            "secretsmanager",
            "get-secret-value",
            "--query",
            "SecretString",
            "--output",
            "text",
            "--secret-id",
        ],
        os.environ["MASTER_SECRET"],
    ],
    check=True,
    capture_output=True,
)
master = json.loads(shown.stdout)
connection = pymysql.connect(
    host=host.partition(":")[0],
    port=int(host.partition(":")[2] or 3306),
    user=master["username"],
    password=master["password"],
    ssl_ca=ca,
    ssl_verify_identity=True,
)
accounts = {
    "app": ("APP_DB_PASSWORD", "ALL PRIVILEGES ON app.*"),
    "monitor": ("MONITOR_PASSWORD", "REPLICATION CLIENT, SELECT, SHOW VIEW, TRIGGER ON *.*"),
}
with connection, connection.cursor() as cursor:
    cursor.execute("CREATE DATABASE IF NOT EXISTS app CHARACTER SET utf8mb4")
    for account, (variable, privileges) in accounts.items():
        password = os.environ[variable]
        cursor.execute(f"CREATE USER IF NOT EXISTS {account}@'%%' IDENTIFIED BY %s", (password,))
        cursor.execute(f"ALTER USER {account}@'%%' IDENTIFIED BY %s", (password,))
        cursor.execute(f"GRANT {privileges} TO {account}@'%'")
