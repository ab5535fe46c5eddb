#!/usr/bin/env bash
# The whole suite: cargo's own tests, and the walks on a real Ollama with real clients; and what it came to.
#
#   run.sh [WHAT…]   WHAT tells cargo what else is to be built, though it is not run
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repository"
log=$repository/target/test.log
walks=$repository/target/walks.log
built=$repository/target/walks.built
mkdir -p target
rm -f "$built"
export PATH=$repository/target/tools:$PATH
# Most tests wait for something most of the time.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(getconf _NPROCESSORS_ONLN)))}

# What the walks stand on is fetched and built while cargo builds; then they have a core, and cargo's tests the others.
walk() {
  # What is missing here is missing below, and is told there.
  nice tests/ollama/run.sh --prepare >/dev/null 2>&1 || true
  until [ -e "$built" ]; do sleep 1; done
  tests/ollama/run.sh
}

failed=0
{
  # In a group of its own, which ends with this, however this ends.
  set -m; walk >"$walks" 2>&1 & set +m
  walking=$!
  trap 'kill -- "-$walking" 2>/dev/null || true' EXIT
  # The program itself comes with any test that runs it. Alone it would be built once more, with fewer features.
  if cargo test --locked --no-run --test it 2>&1; then
    touch "$built"
    [ $# = 0 ] || cargo test --locked --no-run "$@" 2>&1 || failed=$?
    cargo test --locked --no-fail-fast 2>&1 || failed=$?
    wait "$walking" || walked=$?
  else
    failed=1
  fi
  cat "$walks"
  if [ "${walked:-0}" != 0 ]; then
    failed=1
    echo "FAILED: the walks on a real Ollama and with the real clients (see above)"
  fi
  exit "$failed"
} | tee "$log" || failed=1

# "test result: ok. 12 passed; 0 failed; 1 ignored" is cargo's line, "3 failed, 12 passed, 1 skipped in 4s" pytest's.
awk '
  /^test result: / || /^[0-9]+ (passed|failed|skipped|error).* in [0-9.]+s/ {
    gsub(/[;,]/, "")
    for (i = 2; i <= NF; i++) {
      if ($i == "passed") passed += $(i - 1)
      if ($i == "failed" || $i ~ /^errors?$/) failed += $(i - 1)
      if ($i == "ignored" || $i == "skipped") skipped += $(i - 1)
    }
  }
  /^(SKIPPED|FAILED): / { print }
  END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }
' "$log"
exit "$failed"
