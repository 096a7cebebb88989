#!/usr/bin/env bash
# Sets up MariaDB as the manager or as a worker of it: ROLE and NAME come from the environment.
# In /etc/mysqlproxy-server lie ca.pem, server.pem, server.key and `environment`, which root alone may read: the
# passwords of the accounts that this server must know.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
etc=/etc/mysqlproxy-server
# shellcheck source=/dev/null
source "$etc/environment"

chown mysql:mysql "$etc/server.key"
chmod 600 "$etc/server.key"
chmod 644 "$etc"/*.pem
# Debian includes one folder, the Red Hat family another.
options=/etc/my.cnf.d
[[ ! -d /etc/mysql/mariadb.conf.d ]] || options=/etc/mysql/mariadb.conf.d
address=$(getent ahostsv4 "$NAME" | awk 'NR == 1 { print $1 }')
cat >"$options/99-mysqlproxy.cnf" <<CNF
[mariadb]
bind_address = $address
server_id = $(cut -d . -f 4 <<<"$address")
log_bin = binlog
log_slave_updates = ON
gtid_strict_mode = ON
log_bin_trust_function_creators = ON
skip_name_resolve = ON
read_only = $([[ $ROLE == worker ]] && echo ON || echo OFF)
max_allowed_packet = 64M
require_secure_transport = ON
ssl_ca = $etc/ca.pem
ssl_cert = $etc/server.pem
ssl_key = $etc/server.key
CNF
systemctl enable mariadb
systemctl restart mariadb
root() { mariadb --batch --skip-column-names "$@"; }
for _ in {1..300}; do
    ! root -e 'DO 0' 2>/dev/null || break
    sleep 0.2
done

if [[ $ROLE == manager ]]; then
    # Passwords by standard input. Each account may come from the network, which lets only its host through.
    root <<SQL
CREATE DATABASE IF NOT EXISTS app CHARACTER SET utf8mb4;
CREATE USER IF NOT EXISTS app@'%' IDENTIFIED BY '$APP_DB_PASSWORD';
GRANT ALL PRIVILEGES ON app.* TO app@'%';
CREATE USER IF NOT EXISTS monitor@'%' IDENTIFIED BY '$MONITOR_PASSWORD';
GRANT SLAVE MONITOR, BINLOG MONITOR, SELECT, SHOW VIEW, TRIGGER ON *.* TO monitor@'%';
CREATE USER IF NOT EXISTS replication@'%' IDENTIFIED BY '$REPLICATION_PASSWORD' REQUIRE SSL;
GRANT REPLICATION SLAVE ON *.* TO replication@'%';
CREATE USER IF NOT EXISTS copy@'%' IDENTIFIED BY '$COPY_PASSWORD' REQUIRE SSL;
GRANT SELECT, LOCK TABLES, SHOW VIEW, EVENT, TRIGGER, BINLOG MONITOR ON *.* TO copy@'%';
SQL
    exit
fi

umask 077
cat >"$etc/manager.cnf" <<CNF
[client]
host = manager
user = copy
password = $COPY_PASSWORD
ssl-ca = $etc/ca.pem
ssl-verify-server-cert
CNF
printf '[client]\nuser = root\n' >"$etc/local.cnf"
# The manager may come up after its workers.
for _ in {1..900}; do
    ! mariadb --defaults-file="$etc/manager.cnf" -e 'DO 0' 2>/dev/null || break
    sleep 2
done
REPLICATION_PASSWORD=$REPLICATION_PASSWORD "$here/replica.sh" --from "$etc/manager.cnf" --to "$etc/local.cnf" \
    --manager manager:3306 --tls-ca "$etc/ca.pem"
