#!/usr/bin/env bash
# The chain on one machine: client, outsider, gatekeeper, trusted host, proxy, manager and two workers, each a host of its
# own (a network namespace with its own address and rules). Runs the demo's workload from the client's host, tries every
# door, says what each hop costs, and removes everything.
#   usage: sudo deploy/chain.sh [--once] [--dir FOLDER]
# As deploy/demo.sh, which it hands over to, it installs what is missing and says what; MYSQLPROXY=PROGRAM as there.
set -euo pipefail

if ((EUID != 0)); then
    cat >&2 <<'TEXT'
chain.sh needs root: it makes network namespaces, which takes CAP_SYS_ADMIN and CAP_NET_ADMIN. Run it with sudo, or in a
container that has both. All that it makes is inside namespaces of its own name, mysqlproxy-*, and gone when it ends.
TEXT
    exit 1
fi
export PATH=$PATH:/usr/sbin:/sbin
packages=()
command -v ip >/dev/null || packages+=(iproute2)
command -v nft >/dev/null || packages+=(nftables)
if ((${#packages[@]})); then
    if ! command -v apt-get >/dev/null; then
        printf 'chain.sh: install these with the package manager of your system: %s\n' "${packages[*]}" >&2
        exit 1
    fi
    printf 'Installing with apt-get: %s\n' "${packages[*]}"
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "${packages[@]}" >/dev/null
fi
exec "$(dirname "${BASH_SOURCE[0]}")/demo.sh" --chain "$@"
