#!/usr/bin/env bash
# Makes an empty MariaDB server a replica: copies another server's data with mariadb-dump, then follows the manager.
# For a new worker and for one that was lost; the donor, a worker or the manager, goes on serving.
#   usage: REPLICATION_PASSWORD=... replica.sh --from DONOR.cnf --to LOCAL.cnf --manager HOST:PORT [--user NAME] [--tls-ca FILE]
# DONOR.cnf and LOCAL.cnf are option files with a [client] section: an account on the donor with SELECT, LOCK TABLES,
# SHOW VIEW, EVENT, TRIGGER and BINLOG MONITOR, and root on the empty server. The copy includes the accounts.
set -euo pipefail

fail() {
    printf 'replica.sh: %s\n' "$*" >&2
    exit 1
}

from='' to='' manager='' user=replication tls_ca=''
while (($#)); do
    (($# > 1)) || fail "$1 needs a value"
    case $1 in
    --from) from=$2 ;;
    --to) to=$2 ;;
    --manager) manager=$2 ;;
    --user) user=$2 ;;
    --tls-ca) tls_ca=$2 ;;
    *) fail "what is $1?" ;;
    esac
    shift 2
done
[[ $from && $to && $manager ]] || fail "--from, --to and --manager are needed"
[[ ${REPLICATION_PASSWORD:-} ]] || fail "REPLICATION_PASSWORD is not set"

here() { mariadb --defaults-file="$to" --batch --skip-column-names "$@"; }
donor() { mariadb --defaults-file="$from" --batch --skip-column-names "$@"; }
quoted() {
    local text=${1//\\/\\\\}
    printf "'%s'" "${text//\'/\\\'}"
}

if [[ $(here -e 'SHOW SLAVE STATUS') ]]; then
    echo "replica.sh: it is a replica already; nothing done"
    exit 0
fi
own=$(here -e "SELECT COUNT(*) FROM information_schema.TABLES
               WHERE TABLE_SCHEMA NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys')")
((own == 0)) || fail "the server to fill has $own tables; start from an empty data directory"

here -e 'SET GLOBAL read_only = ON; RESET MASTER; SET GLOBAL gtid_slave_pos = ""'
# The dump sets gtid_slave_pos to where the donor was; sql_log_bin=0 keeps the copy out of this server's own history.
mariadb-dump --defaults-file="$from" --all-databases --single-transaction --quick --master-data=1 --gtid \
    --routines --events --triggers --hex-blob --flush-privileges |
    here --init-command='SET sql_log_bin = 0' --max-allowed-packet=1G

ssl=''
[[ -z $tls_ca ]] || ssl=", MASTER_SSL = 1, MASTER_SSL_CA = $(quoted "$tls_ca"), MASTER_SSL_VERIFY_SERVER_CERT = 1"
# The password by standard input: arguments are seen by everybody on the machine.
here <<SQL
CHANGE MASTER TO MASTER_HOST = $(quoted "${manager%:*}"), MASTER_PORT = ${manager##*:}, MASTER_USER = $(quoted "$user"),
    MASTER_PASSWORD = $(quoted "$REPLICATION_PASSWORD"), MASTER_USE_GTID = slave_pos,
    MASTER_CONNECT_RETRY = 1, MASTER_HEARTBEAT_PERIOD = 1$ssl;
START SLAVE;
SQL

position=$(donor -e 'SELECT @@gtid_current_pos')
reached=$(here -e "SELECT MASTER_GTID_WAIT('$position', 600)")
((reached == 0)) || fail "it does not catch up; SHOW SLAVE STATUS says why"
echo "replica.sh: it follows $manager and has all that the donor had"
