#!/usr/bin/env bash
# What a command of the Makefile needs and cargo does not bring.
#
#   prerequisites.sh build | test | bench | ollama
#
# Installs what is missing where it may: on Debian and its kin, as root or with a sudo that asks no password.
# Elsewhere it says what is missing. Only what the build itself needs makes it fail.
set -euo pipefail

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/target/tools
missing=()

say() { printf '%s\n' "$*" >&2; }

present() {
  case $1 in
  python3-venv) python3 -c 'import ensurepip, venv' 2>/dev/null ;;
  libc6-dev) [ -e /usr/include/stdlib.h ] || [ "$(uname)" != Linux ] ;;
  gcc) command -v cc >/dev/null ;;
  promtool) command -v promtool >/dev/null || [ -x "$tools/promtool" ] ;;
  postgresql) command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ;;
  util-linux) command -v taskset >/dev/null && command -v setpriv >/dev/null && command -v prlimit >/dev/null ;;
  golang-go) command -v go >/dev/null ;;
  wrk | nginx | pgbouncer) PATH=$PATH:/usr/sbin command -v "$1" >/dev/null ;;
  *) command -v "$1" >/dev/null ;;
  esac
}

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo --non-interactive "$@"; fi; }

may_install() {
  command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo --non-interactive true 2>/dev/null; }
}

# Installs those of the Debian packages that are not there; those that stay away are noted in `missing`.
need() {
  local package absent=()
  for package in "$@"; do present "$package" || absent+=("$package"); done
  [ ${#absent[@]} = 0 ] && return
  if may_install; then
    say "installing ${absent[*]}"
    as_root apt-get update --quiet=2 >&2 || true
    # A server that comes along is a program to us, not a service: none is started.
    for package in "${absent[@]}"; do
      as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install --quiet=2 --yes --no-install-recommends "$package" >/dev/null 2>&1 || say "$package cannot be installed"
    done
  fi
  for package in "${absent[@]}"; do present "$package" || missing+=("$package"); done
}

# promtool is one file of a package that would start a whole Prometheus: only the file is taken.
need_promtool() {
  present promtool && return
  local folder; folder=$(mktemp -d)
  may_install && as_root apt-get update --quiet=2 >&2 || true
  if (cd "$folder" && apt-get download --quiet=2 prometheus && dpkg-deb --extract ./*.deb .) >/dev/null 2>&1; then
    mkdir -p "$tools"
    cp "$folder/usr/bin/promtool" "$tools/"
  else
    missing+=(promtool)
  fi
  rm -rf "$folder"
}

if ! command -v cargo >/dev/null; then
  say "cargo is missing: install Rust (https://rustup.rs), then call this again"
  exit 1
fi

need gcc g++ libc6-dev cmake
if [ ${#missing[@]} != 0 ]; then
  say "Pannier cannot be built without: ${missing[*]} (Debian: apt-get install ${missing[*]})"
  exit 1
fi

case "${1:-build}" in
build) ;;
ollama) need curl python3 python3-venv ;;
test)
  need curl python3 python3-venv redis-server postgresql pgbouncer strace golang-go
  need_promtool
  ;;
bench) need nginx wrk util-linux redis-server postgresql ;;
*) sed -n '2,8p' "$0"; exit 2 ;;
esac

if [ ${#missing[@]} != 0 ]; then
  say "missing, and what needs it is skipped: ${missing[*]}"
fi
