#!/usr/bin/env python3
"""cloud-init as far as the user data uses it: `write_files`, then `runcmd`, up to the first command that fails."""

import subprocess
import sys
from pathlib import Path

import yaml

wanted = yaml.safe_load(Path(sys.argv[1]).read_text())
for file in wanted["write_files"]:
    path = Path(file["path"])
    with path.open("a" if file.get("append") else "w") as out:
        out.write(file["content"])
    if "permissions" in file:
        path.chmod(int(file["permissions"], 8))
for command in wanted["runcmd"]:
    subprocess.run(command, check=True)
secret = [
    path for path in Path("/etc").glob("mysqlproxy*/*") if path.suffix in (".key", ".environment", ".cnf", "")
]
Path("/stage/secret").write_text("".join(f"{path.stat().st_mode & 0o777:o} {path.name}\n" for path in secret))
