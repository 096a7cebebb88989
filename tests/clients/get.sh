#!/usr/bin/env bash
# Gets client programs for tests/clients, as far as they are to be had; what is missing, its tests name and skip.
#   usage: tests/clients/get.sh --packages       installs Debian's packages: PHP, Perl's and Java's drivers, Node, headers
#          tests/clients/get.sh FOLDER PYTHON    Node's drivers into FOLDER, Python's that are built from source for PYTHON
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
has() { command -v "$1" >/dev/null; }

if [[ ${1:-} == --packages ]]; then
    packages=()
    has php && php -m | grep '^mysqli$' >/dev/null || packages+=(php-cli php-mysql)
    perl -MDBD::MariaDB -e1 2>/dev/null || packages+=(libdbd-mariadb-perl)
    if has java && [[ ! -e /usr/share/java/mariadb-java-client.jar ]]; then packages+=(libmariadb-java); fi
    has node || packages+=(nodejs npm)
    has mariadb_config || packages+=(libmariadb-dev)
    has pkg-config || packages+=(pkg-config)
    ((${#packages[@]})) || exit 0
    as_root=(env)
    ((EUID == 0)) || as_root=(sudo env)
    echo "apt-get install ${packages[*]}"
    "${as_root[@]}" apt-get -qq update
    "${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends \
        "${packages[@]}" >/dev/null
    exit 0
fi

folder=${1:?usage: get.sh --packages, or get.sh FOLDER PYTHON}
python=${2:?usage: get.sh --packages, or get.sh FOLDER PYTHON}
mkdir -p "$folder"

if ! has npm; then
    echo "no npm: Node's drivers are not tested"
elif [[ ! -e $folder/installed || $here/programs/package.json -nt $folder/installed ]]; then
    cp "$here/programs/package.json" "$folder"
    if (cd "$folder" && npm install --silent --no-audit --no-fund --ignore-scripts >npm.log 2>&1); then
        touch "$folder/installed"
    else
        rm -rf "$folder/node_modules"
        echo "npm install failed, Node's drivers are not tested ($folder/npm.log)"
    fi
fi

modules=(asyncmy)
has mariadb_config && has pkg-config && modules+=(mysqlclient mariadb)
for module in "${modules[@]}"; do
    "$python" -m pip show --quiet "$module" 2>/dev/null && continue
    "$python" -m pip install --quiet --disable-pip-version-check "$module" >"$folder/$module.log" 2>&1 ||
        echo "$module could not be built and is not tested ($folder/$module.log)"
done
