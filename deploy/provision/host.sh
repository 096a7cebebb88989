#!/usr/bin/env bash
# Makes this machine what /etc/mysqlproxy-host says it is. Called once by cloud-init as root; may be run again.
#   /etc/mysqlproxy-host   ROLE (gatekeeper, trusted_host, proxy, manager, worker), NAME, SECRET, LOG_GROUP and for the proxy
#                          WORKERS and, with managed servers, MANAGED and MASTER_SECRET
#   /etc/hosts             the names of all hosts of the chain
# Secrets are fetched here, with the machine's own role; user data and Terraform's state hold none.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
set -a
# shellcheck source=/dev/null
source "${HOST_FILE:-/etc/mysqlproxy-host}"
set +a

case $ROLE in
gatekeeper | trusted_host | proxy)
    "$here/secrets.sh" "$SECRET" /etc/mysqlproxy
    "$here/hop.sh"
    ;;
manager | worker)
    "$here/secrets.sh" "$SECRET" /etc/mysqlproxy-server
    "$here/database.sh"
    ;;
*)
    echo "host.sh: no role is called $ROLE" >&2
    exit 1
    ;;
esac

[[ ! -x /opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl ]] || "$here/monitoring.sh"
