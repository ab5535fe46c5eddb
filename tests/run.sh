#!/usr/bin/env bash
# The whole suite: cargo's own tests, then the walks on a real Ollama with real clients; and what it came to.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repository"
log=$repository/target/test.log
mkdir -p target
export PATH=$repository/target/tools:$PATH

failed=0
{
  cargo test --locked --no-fail-fast 2>&1 || failed=$?
  # The walks need the program itself, also where no test of cargo's asked for it.
  cargo build --locked --quiet 2>&1 && tests/ollama/run.sh 2>&1 || {
    failed=1
    echo "FAILED: the walks on a real Ollama and with the real clients (see above)"
  }
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
