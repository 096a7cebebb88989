#!/usr/bin/env bash
# Runs everything that must pass: format, lint, types, import contracts, scripts, all tests.
#   usage: tests/run.sh [pytest arguments]
# Installs what is missing: packages with apt-get, everything else below .cache of this checkout.
set -euo pipefail

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$checkout"
cache=$checkout/.cache
python=${PYTHON:-python3}
mkdir -p "$cache"

step() { printf '\n== %s\n' "$*"; }
fail() {
    printf 'run.sh: %s\n' "$*" >&2
    exit 1
}
has() { PATH=$PATH:/usr/sbin:/usr/local/sbin command -v "$1" >/dev/null; }

step "packages"
updated=
update_lists() {
    [[ -n $updated ]] || "${as_root[@]}" apt-get -qq update || fail "apt-get update failed; apt-get says why above"
    updated=yes
}
as_root=(env)
((EUID == 0)) || as_root=(sudo env)
packages=()
has mariadbd || packages+=(mariadb-server-core)
has mariadb || packages+=(mariadb-client)
has sysbench || packages+=(sysbench)
has shellcheck || packages+=(shellcheck)
has ip || packages+=(iproute2)
has nft || packages+=(nftables)
has curl || packages+=(curl)
has gcc || packages+=(gcc libc6-dev)
has systemd-analyze || packages+=(systemd)
"$python" -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3 python3-venv)
"$python" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null ||
    packages+=(python3-dev)
if ((${#packages[@]})); then
    has apt-get || fail "install these with your system's package manager: ${packages[*]}"
    echo "apt-get install ${packages[*]}"
    update_lists
    "${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends \
        "${packages[@]}" >/dev/null || fail "apt-get install ${packages[*]} failed; apt-get says why above"
fi
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version) is too old; set PYTHON to one of 3.11 or newer"

# Debian's package would start a Prometheus of the system; its two programs are enough.
if ! has promtool && has apt-get && [[ ! -x $cache/prometheus/usr/bin/promtool ]]; then
    update_lists
    rm -rf "$cache/prometheus"
    mkdir "$cache/prometheus"
    if (cd "$cache/prometheus" && apt-get -qq download prometheus && dpkg-deb --extract prometheus_*.deb . &&
        rm prometheus_*.deb); then
        echo "prometheus and promtool are in .cache/prometheus"
    else
        echo "no prometheus could be had; the tests that need it say so"
    fi
fi
# The same for one plugin of the server, MariaDB's ed25519.
plugin=usr/lib/mysql/plugin/auth_ed25519.so
if [[ ! -e /$plugin && ! -e $cache/mariadb-server/$plugin ]] && has apt-get; then
    update_lists
    rm -rf "$cache/mariadb-server"
    mkdir "$cache/mariadb-server"
    if (cd "$cache/mariadb-server" && apt-get -qq download mariadb-server && dpkg-deb --extract mariadb-server_*.deb . &&
        rm mariadb-server_*.deb); then
        echo "auth_ed25519.so is in .cache/mariadb-server"
    else
        echo "no auth_ed25519.so could be had; the tests that need it say so"
    fi
fi
export PATH=$PATH:$cache/prometheus/usr/bin:/usr/sbin

# Installed, cloud-init would take this machine for one to set up; its schema is enough.
if has apt-get && [[ ! -d $cache/cloud-init/usr ]]; then
    update_lists
    rm -rf "$cache/cloud-init"
    mkdir "$cache/cloud-init"
    (cd "$cache/cloud-init" && apt-get -qq download cloud-init && dpkg-deb --extract cloud-init_*.deb . &&
        rm cloud-init_*.deb) || echo "no cloud-init could be had; the test of its schema says so"
fi

if [[ -z ${MYSQL97_DIR:-} && ! -x /opt/mysql97/bin/mysqld && ! -x $cache/mysql97/bin/mysqld ]]; then
    if has apt-get && update_lists && tests/support/get_mysql.sh "$cache/mysql97" >"$cache/mysql97.log" 2>&1; then
        echo "MySQL is in .cache/mysql97"
    else
        echo "no MySQL could be had, the tests that need it are skipped (.cache/mysql97.log):"
        tail -n 3 "$cache/mysql97.log" || true
    fi
fi

step "virtual environment, with the package as it ships"
venv=$cache/venv-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [[ ! -e $venv/installed || -n $(find mysqlproxy setup.cfg setup.py pyproject.toml -type f -not -name '*.pyc' \
    -newer "$venv/installed" -print -quit) ]]; then
    [[ -x $venv/bin/pip ]] || "$python" -m venv "$venv"
    # Built from a copy: neither build/ nor stale compiled modules come to lie beside the sources.
    rm -rf "$venv/source"
    mkdir "$venv/source"
    touch "$venv/before"
    for file in mysqlproxy rules setup.cfg setup.py pyproject.toml README.md LICENSE; do
        [[ ! -e $file ]] || cp -r "$file" "$venv/source"
    done
    find "$venv/source" -name '*.so' -delete
    pip=("$venv/bin/pip" --quiet --disable-pip-version-check)
    rm -rf "$venv/wheel"
    "${pip[@]}" wheel --no-deps --wheel-dir "$venv/wheel" "$venv/source" # compiling it takes most of a minute
    wheel=("$venv"/wheel/mysqlproxy-*.whl)
    "${pip[@]}" install "${wheel[0]}[test]"
    "${pip[@]}" install --no-deps --force-reinstall "${wheel[0]}"
    rm -rf "$venv/source" "$venv/wheel"
    mv "$venv/before" "$venv/installed"
fi
"$venv/bin/mysqlproxy" --version
if has terraform && ! "$venv/bin/python" -m tests.machines.aws_schema; then
    echo "no schema of Terraform's AWS provider could be had; the test that needs it says so"
fi
tests/clients/get.sh "$cache/clients" "$venv/bin/python"

step "format and lint"
"$venv/bin/ruff" format --check .
"$venv/bin/ruff" check .

step "types"
"$venv/bin/mypy"

step "import contracts"
"$venv/bin/lint-imports"

step "shell scripts"
mapfile -t scripts < <(git ls-files '*.sh' '.ci/run' 'tests/machines/stand_ins/*' ':!*.py')
shellcheck "${scripts[@]}"

if (($#)); then
    step "tests"
    exec "$venv/bin/python" -m pytest "$@"
fi

# The modules on the path of every statement run as plain Python in the tests of the parts, and compiled in the daemon
# that the others start; these go in two heaps at a time, each with servers of its own.
"$venv/bin/mysqlproxy" --version | grep -q '(compiled)' || fail "the installed modules are not compiled"
copy=$cache/compiled
rm -rf "$copy"
mkdir "$copy"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents --target-directory "$copy"
ln -s "$cache" "$copy/.cache"
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
(cd "$site" && find mysqlproxy -name '*.so' -exec cp --parents --target-directory "$copy" {} +)
heap=(tests/apps tests/bench tests/clients tests/machines tests/suites tests/integration/test_[p-z]*.py)
(cd "$copy" && exec "$venv/bin/python" -m pytest "${heap[@]}") >"$cache/heap.log" 2>&1 &
other=$!
trap 'kill "$other" 2>/dev/null || true' EXIT

status=0
step "tests of the parts, in plain Python"
"$venv/bin/python" -m pytest tests/unit tests/wire || status=$?
step "tests of the whole, with the compiled modules"
(cd "$copy" && "$venv/bin/python" -m pytest tests "${heap[@]/#/--ignore=}" --ignore=tests/unit) || status=$?
step "tests of the whole, the other heap"
wait "$other" || status=$?
cat "$cache/heap.log"
rm -rf "$copy"
exit "$status"
