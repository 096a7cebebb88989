#!/usr/bin/env bash
# Unpacks Debian unstable's MySQL server and client with all their libraries below FOLDER, for the tests that ask a real
# MySQL. Installs nothing: apt works on lists and a package database of its own, which are removed at the end.
#   usage: tests/support/get_mysql.sh FOLDER      afterwards FOLDER/bin/{mysqld,mysql,mysqladmin,mysqldump} run; it may be moved
set -euo pipefail

folder=${1:?usage: get_mysql.sh FOLDER}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
work=$(mktemp -d "$folder/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists,cache/archives}/partial "$work/state" "$work/etc/apt.conf.d"

# The mirror that this machine uses for Debian itself.
# shellcheck disable=SC2016 # $(REPO_URI) is for apt-get
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1)
[[ -n $mirror ]] || { echo "get_mysql.sh: apt has no lists of Debian; run apt-get update first" >&2; exit 1; }
printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s sid main\n' "$mirror" >"$work/sources"

# Nothing counts as installed, so that apt fetches every library; perl is only for scripts that are not used.
arch=$(dpkg --print-architecture)
cat >"$work/status" <<STATUS
Package: perl
Status: install ok installed
Architecture: $arch
Multi-Arch: allowed
Version: 99
Maintainer: nobody
Description: not needed here

STATUS
cat >"$work/apt.conf" <<CONF
Dir::Etc::SourceList "$work/sources";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "$work/state";
Dir::State::Lists "$work/lists";
Dir::State::Status "$work/status";
Dir::Cache "$work/cache";
APT::Sandbox::User "";
// Lists are signed for a week, and a mirror may be older; the signature itself is checked.
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
Acquire::Retries "3";
CONF
export APT_CONFIG=$work/apt.conf
apt-get -qq update
apt-get -qq install --yes --download-only --no-install-recommends mysql-server-core mysql-client-core

rm -rf "${folder:?}"/{root,bin}
mkdir "$folder/root" "$folder/bin"
for package in "$work"/cache/archives/*.deb; do
    dpkg-deb --extract "$package" "$folder/root"
done

# Each program is run by the loader and on the libraries that came with it, whatever this machine has.
cd "$folder/root"
loader=$(find usr/lib -name 'ld-linux*.so.*' | head -n 1)
for program in usr/sbin/mysqld usr/bin/mysql usr/bin/mysqladmin usr/bin/mysqldump; do
    wrapper=$folder/bin/${program##*/}
    cat >"$wrapper" <<WRAPPER
#!/bin/sh
root=\$(dirname "\$(readlink -f "\$0")")/../root
exec "\$root/$loader" --library-path "\$root/${loader%/*}" "\$root/$program" "\$@"
WRAPPER
    chmod +x "$wrapper"
done
"$folder/bin/mysqld" --no-defaults --version
