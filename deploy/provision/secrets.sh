#!/usr/bin/env bash
# Writes the entries of a secret as files: a JSON object of names and texts, in AWS Secrets Manager.
#   usage: secrets.sh SECRET FOLDER
# Waits, for up to an hour, until the secret has been given a value (put_secrets.sh). Root alone may read what it writes.
set -euo pipefail
umask 077

secret=$1 folder=$2
mkdir -p "$folder"
chmod 755 "$folder"
until value=$(aws secretsmanager get-secret-value --secret-id "$secret" --query SecretString --output text); do
    ((SECONDS < ${SECRET_WAIT:-3600})) || exit 1
    sleep 3
done
python3 -c '
import json, pathlib, sys
for name, text in json.load(sys.stdin).items():
    if "/" in name or name.startswith("."):
        sys.exit(f"secrets.sh: {name} is no name of a file")
    pathlib.Path(sys.argv[1], name).write_text(text)
' "$folder" <<<"$value"
