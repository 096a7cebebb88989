#!/usr/bin/env bash
# The demo's workload from a client: with each strategy's account 20 writes and 20 reads; then which server served how many.
#   usage: workload.sh GATEKEEPER FOLDER PROXY_INSTANCE
# FOLDER is put_secrets.sh's: the clients' password and the CA. The counts are the proxy's metrics, read by Session Manager;
# METRICS may name another command that prints them, GATEKEEPER may have a port.
set -euo pipefail

gatekeeper=$1 folder=$2 instance=${3:-}
strategies=(direct random customized)
rounds=20
MYSQL_PWD=$(cat "$folder/app.password")
export MYSQL_PWD
port=3306
[[ $gatekeeper != *:* ]] || port=${gatekeeper##*:}
client() { # ACCOUNT: statements come by standard input
    mariadb --batch --skip-column-names --ssl-ca="$folder/ca.pem" --ssl-verify-server-cert \
        --host="${gatekeeper%:*}" --port="$port" --user="$1" app
}

metrics() {
    if [[ ${METRICS:-} ]]; then
        $METRICS
        return
    fi
    local command
    command=$(aws ssm send-command --instance-ids "$instance" --document-name AWS-RunShellScript --query Command.CommandId \
        --output text --parameters 'commands=["curl --silent http://127.0.0.1:9104/metrics | grep ^mysqlproxy_statements_total"]')
    aws ssm wait command-executed --command-id "$command" --instance-id "$instance"
    aws ssm get-command-invocation --command-id "$command" --instance-id "$instance" --query StandardOutputContent --output text
}

served() { # STRATEGY KIND: "server count, ", the growth from $before to $after
    awk -v strategy="strategy=\"$1\"" -v kind="kind=\"$2\"" '
        /^mysqlproxy_statements_total/ && index($1, strategy) && index($1, kind) {
            match($1, /server="[^"]*"/)
            server = substr($1, RSTART + 8, RLENGTH - 9)
            count[server] += (NR == FNR ? -$2 : $2)
        }
        END { for (server in count) if (count[server]) printf "%s %d, ", server, count[server] }
    ' <(echo "$before") <(echo "$after")
}

# Hosts that were given their secrets a moment ago may still copy data.
deadline=$((SECONDS + ${READY_WAIT:-900}))
until refused=$(client app <<<'DO 0' 2>&1); do
    ((SECONDS < deadline)) || {
        echo "workload.sh: $refused" >&2
        exit 1
    }
    sleep 2
done
wrong=0
for strategy in "${strategies[@]}"; do
    client "$strategy" <<<"CREATE TABLE IF NOT EXISTS ${strategy}_table (id INT PRIMARY KEY, note VARCHAR(40) NOT NULL);
        DELETE FROM ${strategy}_table"
done
sleep 2 # names that are new to the proxy count as no plain read for a moment
before=$(metrics)
for strategy in "${strategies[@]}"; do
    found=$(for ((number = 0; number < rounds; number++)); do
        echo "INSERT INTO ${strategy}_table VALUES ($number, 'row $number');"
        echo "SELECT note FROM ${strategy}_table WHERE id = $number;"
    done | client "$strategy")
    expected=$(for ((number = 0; number < rounds; number++)); do echo "row $number"; done)
    [[ $found == "$expected" ]] || { echo "$strategy: a read did not show the row written before" >&2; wrong=1; }
done
after=$(metrics)

printf '%-12s %-28s %s\n' strategy writes reads
for strategy in "${strategies[@]}"; do
    writes=$(served "$strategy" write) reads=$(served "$strategy" read)
    printf '%-12s %-28s %s\n' "$strategy" "${writes%, }" "${reads%, }"
done
exit "$wrong"
