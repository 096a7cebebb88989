#!/usr/bin/env bash
# Makes certificates, keys and passwords and puts them into AWS Secrets Manager, one secret for each host; for the operator.
#   usage: put_secrets.sh PREFIX FOLDER GATEKEEPER_NAMES [WORKER...]
# FOLDER gets the CA and all of it: keep it where no host reaches it, and give it again to renew. GATEKEEPER_NAMES are the
# names and addresses that clients use, with commas between. With managed servers no WORKER is given, and SERVERS_CA names the
# file of their provider's CA.
set -euo pipefail
umask 077

prefix=$1 folder=$2 gatekeeper=$3
shift 3

renew=()
[[ ! -e $folder/ca.key ]] || renew=(--renew)
mysqlproxy pki --dir "$folder" --gatekeeper "gatekeeper,$gatekeeper" --trusted-host trusted-host --proxy proxy "${renew[@]}"

password() { # NAME: the same one again when it was made before
    [[ -e $folder/$1.password ]] || openssl rand -hex 24 >"$folder/$1.password"
    cat "$folder/$1.password"
}
app=$(password app) app_db=$(password app_db) monitor=$(password monitor)
replication=$(password replication) copy=$(password copy)

servers=(manager "$@")
[[ ! ${SERVERS_CA:-} ]] || servers=()
for host in "${servers[@]}"; do
    mkdir -p "$folder/$host"
    cp "$folder/ca.pem" "$folder/$host/"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 397 -CA "$folder/ca.pem" \
        -CAkey "$folder/ca.key" -subj "/CN=$host" -addext "subjectAltName=DNS:$host" -addext basicConstraints=CA:false \
        -keyout "$folder/$host/server.key" -out "$folder/$host/server.pem" 2>/dev/null
    printf 'REPLICATION_PASSWORD=%s\nCOPY_PASSWORD=%s\n' "$replication" "$copy" >"$folder/$host/environment"
done
printf 'APP_DB_PASSWORD=%s\nMONITOR_PASSWORD=%s\n' "$app_db" "$monitor" >"$folder/proxy/proxy.environment"
if [[ ${SERVERS_CA:-} ]]; then
    cp "$SERVERS_CA" "$folder/proxy/servers-ca.pem"
else
    cat "$folder/proxy/proxy.environment" >>"$folder/manager/environment"
fi
printf 'APP_PASSWORD=%s\n' "$app" >"$folder/gatekeeper/gatekeeper.environment"
: >"$folder/trusted-host/trusted_host.environment"

for host in gatekeeper trusted-host proxy "${servers[@]}"; do
    # By a file and not an argument: arguments are seen by everybody on the machine.
    python3 -c '
import json, pathlib, sys
print(json.dumps({file.name: file.read_text() for file in pathlib.Path(sys.argv[1]).iterdir()}))
' "$folder/$host" >"$folder/$host.json"
    aws secretsmanager put-secret-value --secret-id "$prefix/$host" --secret-string "file://$folder/$host.json" >/dev/null
    rm "$folder/$host.json"
    echo "$prefix/$host is set"
done
echo "clients log in with the password in $folder/app.password and trust $folder/ca.pem"
