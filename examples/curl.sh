#!/usr/bin/env bash
# The same question twice: the second answer comes from memory, and says so in Cache-Status.
set -euo pipefail
url=${PANNIER_URL:-http://127.0.0.1:8000}

for _ in first second; do
  curl --silent --show-error --fail --include "$url/api/chat" --data '{
    "model": "smollm2:135m",
    "stream": false,
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "options": {"temperature": 0, "num_predict": 16}
  }' | grep --ignore-case --extended-regexp '^cache-status|"content"'
done
