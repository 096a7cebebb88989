#!/usr/bin/env bash
# Packs what a host needs, so that hosts need no way to the internet: the package and its dependencies as wheels, and deploy/.
#   usage: deploy/provision/bundle.sh OUT.tar.gz
# PYTHON (default python3.11) must be the version that the hosts have, on the same architecture.
set -euo pipefail

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
out=$(realpath "${1:?usage: bundle.sh OUT.tar.gz}")
python=${PYTHON:-python3.11}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# From a copy, so that neither build/ nor compiled modules come to lie beside the sources.
mkdir -p "$work/source" "$work/mysqlproxy-bundle"
for file in mysqlproxy rules setup.cfg setup.py pyproject.toml README.md LICENSE; do
    cp -r "$checkout/$file" "$work/source"
done
find "$work/source" -name '*.so' -delete
"$python" -m pip wheel --quiet --disable-pip-version-check --wheel-dir "$work/mysqlproxy-bundle/wheels" "$work/source"
cp -r "$checkout/deploy" "$work/mysqlproxy-bundle"
tar --create --gzip --file "$out" --owner=0 --group=0 --directory "$work" mysqlproxy-bundle
echo "$out: $(du -h "$out" | cut -f 1), for $("$python" --version)"
