#!/usr/bin/env bash
# Installs the daemon in one of its roles: ROLE and, for the proxy, WORKERS (names) come from the environment.
# In /etc/mysqlproxy lie what `mysqlproxy pki` made for this host and ROLE.environment, which root alone may read.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
etc=/etc/mysqlproxy

if [[ ! -x /opt/mysqlproxy/bin/mysqlproxy ]]; then
    python3.11 -m venv /opt/mysqlproxy
    /opt/mysqlproxy/bin/pip install --quiet --no-index --find-links "$here/../../wheels" mysqlproxy
fi

# With a user of that name there, systemd's DynamicUser takes it; its keys are its own.
getent passwd mysqlproxy >/dev/null || useradd --system --no-create-home --shell /sbin/nologin mysqlproxy
chown mysqlproxy: "$etc"/*.key
chmod 600 "$etc"/*.key
chmod 644 "$etc"/*.pem
[[ ! -e $etc/gatekeeper.pub ]] || chmod 644 "$etc/gatekeeper.pub"

# Managed servers have certificates of their provider.
servers_ca=ca.pem
[[ ! -e $etc/servers-ca.pem ]] || servers_ca=servers-ca.pem

clients=5000 # each has a connection from hop to hop
hop() { # NAME: the only server of this one
    cat <<TOML
[[servers]]
name = "$1"
address = "$1:3306"
max_connections = $clients
tls = "verify"
tls_ca = "ca.pem"
tls_certificate = "certificate.pem"
tls_key = "certificate.key"
TOML
}

server() { # NAME ROLE: an own one has its name in /etc/hosts, a managed one is in MANAGED
    local address=$1 one
    for one in ${MANAGED:-}; do
        [[ ${one%%=*} != "$1" ]] || address=${one#*=}
    done
    cat <<TOML

[[servers]]
name = "$1"
address = "$address:3306"
role = "$2"
tls = "verify"
tls_ca = "$servers_ca"
TOML
}

before() { # NAME: who may connect here, and nobody else
    cat <<TOML
[listen]
mysql = ["0.0.0.0:3306"]
allow_from = ["$(getent ahostsv4 "$1" | awk 'NR == 1 { print $1 }')/32"]

[tls]
certificate = "certificate.pem"
key = "certificate.key"
client_ca = "ca.pem"
required = true

TOML
}

{
    printf '[limits]\nmax_connections = %s\n\n' "$clients"
    case $ROLE in
    gatekeeper)
        cat <<'TOML'
[listen]
mysql = ["0.0.0.0:3306"]

[tls]
certificate = "certificate.pem"
key = "certificate.key"
required = true

[chain]
role = "gatekeeper"
signing_key = "signing.key"

TOML
        hop trusted-host
        for account in app direct random customized; do
            printf '\n[[users]]\nname = "%s"\npassword = { env = "APP_PASSWORD" }\n' "$account"
        done
        ;;
    trusted_host)
        before gatekeeper
        cat <<'TOML'
[chain]
role = "trusted_host"

[[chain.gatekeepers]]
name = "gatekeeper"
keys = "gatekeeper.pub"
certificate = { subject = "CN=gatekeeper" }

TOML
        hop proxy
        ;;
    proxy)
        before trusted-host
        cat <<'TOML'
[chain]
role = "proxy"
trusted_host = { subject = "CN=trusted-host" }

[[chain.gatekeepers]]
name = "gatekeeper"
keys = "gatekeeper.pub"

[monitor]
user = "monitor"
password = { env = "MONITOR_PASSWORD" }
TOML
        server manager manager
        for worker in $WORKERS; do
            server "$worker" worker
        done
        # The demo's accounts, one for each strategy; on the servers all of them are app.
        for account in app direct random customized; do
            printf '\n[[users]]\nname = "%s"\nserver_user = "app"\nserver_password = { env = "APP_DB_PASSWORD" }\n' "$account"
            [[ $account == app ]] || printf 'strategy = "%s"\n' "$account"
        done
        ;;
    esac
} >"$etc/$ROLE.toml.new"
chmod 644 "$etc/$ROLE.toml.new"
mv "$etc/$ROLE.toml.new" "$etc/$ROLE.toml"

unit=mysqlproxy@$ROLE
install -D -m 644 "$here/../systemd/mysqlproxy@.service" -t /etc/systemd/system
mkdir -p "/etc/systemd/system/$unit.service.d"
cat >"/etc/systemd/system/$unit.service.d/log.conf" <<'UNIT'
[Service]
LogsDirectory=mysqlproxy
StandardOutput=append:/var/log/mysqlproxy/daemon.log
StandardError=inherit
UNIT
cat >/etc/logrotate.d/mysqlproxy <<'CONF'
/var/log/mysqlproxy/daemon.log {
    daily
    rotate 7
    compress
    copytruncate
    missingok
}
CONF
(
    set -a
    # shellcheck source=/dev/null
    source "$etc/$ROLE.environment"
    if [[ $ROLE == proxy && ${MANAGED:-} ]]; then
        manager=${MANAGED%% *}
        /opt/mysqlproxy/bin/python "$here/managed.py" "${manager#*=}" "$etc/$servers_ca"
    fi
    /opt/mysqlproxy/bin/mysqlproxy check --config "$etc/$ROLE.toml"
)
systemctl daemon-reload
systemctl enable "$unit"
systemctl restart "$unit"
