#!/usr/bin/env bash
# The demo on a fresh machine: installs what is missing, then runs `mysqlproxy demo`.
#   usage: deploy/demo.sh [--once] [--dir FOLDER]
# With MYSQLPROXY=PROGRAM it runs that one, installed already, and installs none.
# Besides the packages that it announces it writes only below this checkout (.venv) and, while the demo runs,
# below the temporary folder.
set -euo pipefail

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$checkout/.venv
python=${PYTHON:-python3}

fail() {
    printf 'demo.sh: %s\n' "$*" >&2
    exit 1
}

has() { PATH=$PATH:/usr/sbin:/usr/local/sbin command -v "$1" >/dev/null; }

packages=()
reasons=()
need() {
    packages+=("$1")
    reasons+=("  $(printf '%-20s' "$1") $2")
}

has mariadbd || need mariadb-server-core "the database server's program, for a manager and two workers; starts no service"
has mariadb || need mariadb-client "the client, to log in through the proxy"
has "$python" || need python3 "what the proxy is written in"
[[ -n ${MYSQLPROXY:-} ]] || "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    need python3-venv "for the virtual environment in $venv"

if ((${#packages[@]})); then
    if ! has apt-get; then
        printf 'demo.sh: this is no Debian or Ubuntu. Install these with the package manager of your system, then run it again:\n' >&2
        printf '%s\n' "${reasons[@]}" >&2
        exit 1
    fi
    printf 'Installing with apt-get:\n'
    printf '%s\n' "${reasons[@]}"
    as_root=(env)
    if ((EUID != 0)); then
        as_root=(sudo env)
        { has sudo && sudo true; } ||
            fail "apt-get needs root, and sudo is not to be had; as root: apt-get install ${packages[*]}"
    fi
    "${as_root[@]}" apt-get -qq update || fail "apt-get update failed; apt-get says why above"
    "${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends \
        "${packages[@]}" >/dev/null || fail "apt-get install ${packages[*]} failed; apt-get says why above"
fi

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version) is too old; set PYTHON to one of 3.11 or newer"

[[ -z ${MYSQLPROXY:-} ]] || exec "$MYSQLPROXY" demo "$@"

# Again only when a source is newer than the last installation.
if [[ ! -e $venv/installed || -n $(find "$checkout"/{mysqlproxy,setup.cfg,setup.py,pyproject.toml} -type f \
    -not -name '*.pyc' -newer "$venv/installed" -print -quit) ]]; then
    printf 'Installing mysqlproxy and the Python packages that it needs into %s\n' "$venv"
    [[ ! -e $venv || -w $venv ]] || fail "$venv belongs to somebody else; remove it"
    "$python" -m venv "$venv" || fail "no virtual environment can be made in $venv; the reason is above"
    # Built from a copy: neither build/ nor compiled modules come to lie beside the sources.
    rm -rf "$venv/source"
    mkdir "$venv/source"
    touch "$venv/before"
    for file in mysqlproxy rules setup.cfg setup.py pyproject.toml README.md LICENSE; do
        [[ ! -e $checkout/$file ]] || cp -r "$checkout/$file" "$venv/source"
    done
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir "$venv/source" ||
        fail "pip could not install it; pip says why above"
    rm -rf "$venv/source"
    mv "$venv/before" "$venv/installed"
fi

exec "$venv/bin/mysqlproxy" demo "$@"
